"""Serial ports as the link's transport: opening with errors that help, reading, writing."""

import contextlib
import os
import stat
import time

import serial
from serial.tools import list_ports

from host.cli import UserError
from host.link import LinkLost

POLL = 0.02  # seconds; pyserial cannot wake up early for a Ctrl-C, so it sleeps in short naps
STUCK = 3.0  # seconds until a line that takes no more bytes counts as lost


def find_port() -> str:
    """The one USB serial port there is. Raises UserError, with the candidates, if there is none or more than one."""
    ports = [port for port in list_ports.comports() if port.vid is not None]
    if len(ports) == 1:
        return str(ports[0].device)
    if not ports:
        raise UserError("no USB serial port found; plug the board in, or name its port with --port")
    names = ", ".join(f"{port.device} ({port.description})" for port in ports)
    raise UserError(f"{len(ports)} USB serial ports found: {names}; choose one with --port")


class SerialTransport:
    """A pyserial port, or any URL that pyserial knows (socket://host:port, rfc2217://..., spy://...)."""

    def __init__(self, port: str, baud: int = 115200):
        """Raises UserError if it cannot be opened, with the cause and the way out."""
        try:
            self.serial = serial.serial_for_url(
                port, baudrate=baud, timeout=POLL, write_timeout=STUCK, **({} if "://" in port else {"exclusive": True})
            )
        except (serial.SerialException, OSError, ValueError) as error:
            raise UserError(explain(port, error)) from error

    def read(self, timeout: float) -> bytes:
        """Return what has arrived, at least one byte unless `timeout` seconds pass. Raises LinkLost."""
        until = time.monotonic() + timeout
        try:
            while True:
                data = self.serial.read(max(1, self.serial.in_waiting))
                if data or time.monotonic() >= until:
                    return data
        except (serial.SerialException, OSError, TypeError) as error:  # TypeError: pyserial, closed meanwhile
            raise LinkLost(f"the port has gone ({error})") from error

    def write(self, data: bytes) -> None:
        """Send all of it. Raises LinkLost."""
        try:
            self.serial.write(data)
        except (serial.SerialException, OSError, TypeError) as error:
            raise LinkLost(f"the port has gone ({error})") from error

    def close(self) -> None:
        """Let go of the port."""
        with contextlib.suppress(serial.SerialException, OSError):  # it may have gone before we do
            self.serial.close()


def explain(port: str, error: Exception) -> str:
    """Why a port could not be opened, and what to do about it."""
    text = str(error)
    if isinstance(error, ValueError):
        return f"{port} is no port that pyserial knows ({text}); give a device or an URL such as socket://host:port"
    if "://" in port:
        return f"cannot open {port} ({text}); is the other end up?"
    if not os.path.exists(port):
        return f"there is no port {port}; is the board plugged in? `--port auto` lists what is there"
    number = getattr(error, "errno", None)
    if number in (13, 1) or "ermission" in text:
        try:
            import grp

            group = grp.getgrgid(os.stat(port).st_gid).gr_name
        except (ImportError, KeyError, OSError):
            group = "dialout"
        return f"no permission for {port}; add yourself to its group: sudo usermod -aG {group} $USER, then log in anew"
    if number in (11, 16) or "exclusively lock" in text or "busy" in text:
        return f"{port} is busy: another program has it open; close that (a serial monitor, mpremote) and try again"
    if not stat.S_ISCHR(os.stat(port).st_mode):
        return f"{port} is no serial port; name the board's device, or use --port auto"
    return f"cannot open {port} ({text})"
