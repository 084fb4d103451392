"""Serial ports as the link's transport: opening with errors that help, reading, writing."""

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

import serial
from serial.tools import list_ports

from firmware import wire
from host.base.cli import UserError
from host.board.transport import Gone, LinkLost

POLL = 0.02  # seconds; pyserial cannot wake up early for a Ctrl-C, so it sleeps in short naps
NAP = 0.1  # seconds that a read may last: then whoever reads looks at Ctrl-C
STUCK = 0.5  # seconds until a line that takes no more bytes counts as lost; the kernel takes far more than the credit


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
    """A pyserial port, or any URL that pyserial knows (socket://host:port, rfc2217://..., spy://...).

    What a port raises when it goes away differs from backend to backend: OSError, termios.error (which is none),
    TypeError or ValueError where it was closed meanwhile. So all of it counts as LinkLost, here and nowhere else.
    """

    room = "free space on its file system"

    def __init__(self, port: str, baud: int = 115200, stopped: Callable[[], bool] = lambda: False):
        """Raises UserError if it cannot be opened, with the cause and the way out; Gone if `stopped` meanwhile."""
        self.port = port
        options: dict[str, float] = {"baudrate": baud, "timeout": POLL}
        if "://" not in port:
            options["exclusive"] = True
        if baud > 0 and not port.startswith("rfc2217:"):  # which has none
            options["write_timeout"] = STUCK + 10 * wire.MAX_FRAME / baud

        def opened() -> serial.SerialBase:
            if baud < 1:
                raise ValueError(f"not a baud rate: {baud}")
            return serial.serial_for_url(port, **options)

        try:
            self.serial = patiently(opened, stopped) if "://" in port else opened()
        except Exception as error:
            raise UserError(explain(port, baud, error)) from error

    def read(self, timeout: float) -> bytes:
        """Return what has arrived, or arrives within `timeout` seconds, at most NAP. Raises LinkLost."""
        until = time.monotonic() + min(timeout, NAP)
        try:
            while True:
                data: bytes = self.serial.read(max(1, self.serial.in_waiting))
                if data or time.monotonic() >= until:
                    return data
        except Exception as error:
            raise self._lost(error) from error

    def write(self, data: bytes) -> None:
        """Send all of it. Raises LinkLost."""
        try:
            self.serial.write(data)
        except Exception as error:
            raise self._lost(error) from error

    def close(self) -> None:
        """Let go of the port."""
        with contextlib.suppress(Exception):  # it may have gone before we do
            self.serial.close()

    def _lost(self, error: Exception) -> LinkLost:
        who = f"the other end of {self.port} has closed the connection" if "://" in self.port else "the port has gone"
        return LinkLost(f"{who} ({error})")


def patiently(opened: Callable[[], serial.SerialBase], stopped: Callable[[], bool]) -> serial.SerialBase:
    """opened(), which may wait for a host that does not answer, in a thread that is left behind on Ctrl-C."""
    results: SimpleQueue[serial.SerialBase | Exception] = SimpleQueue()

    def work() -> None:
        try:
            results.put(opened())
        except Exception as error:
            results.put(error)

    threading.Thread(target=work, daemon=True).start()
    while not stopped():
        with contextlib.suppress(Empty):
            found = results.get(timeout=NAP)
            if isinstance(found, Exception):
                raise found
            return found
    raise Gone


def incomplete(url: str) -> bool:
    """Whether a URL that leads to another machine does not say which, or to which of its ports."""
    parts = urlsplit(url)
    try:
        return parts.scheme in ("socket", "rfc2217") and not (parts.hostname and parts.port)
    except ValueError:  # no number, or too large a one
        return True


def explain(port: str, baud: int, error: Exception) -> str:
    """Why a port could not be opened, and what to do about it."""
    text = " ".join(str(error).split())
    number = getattr(error, "errno", None)
    if "baud" in text.lower() or isinstance(error, OverflowError):
        return f"{port} takes no --baud {baud} ({text}); give the rate of the board's UART, such as 115200"
    if isinstance(error, ValueError):
        return f"{port} is no port that pyserial knows ({text}); give a device or an URL such as socket://host:port"
    if incomplete(port):
        return f"{port} names no host or no port there (1 to 65535); give both, as in socket://192.168.1.20:4000"
    if "://" in port:
        return f"cannot open {port} ({text}); is the other end up?"
    try:
        about = os.stat(port)
    except OSError:
        there = ", ".join(found.device for found in list_ports.comports()) or "none"
        return f"there is no port {port}; is the board plugged in? The serial ports of this computer: {there}"
    if number in (13, 1) or "ermission" in text:
        try:
            import grp

            group = grp.getgrgid(about.st_gid).gr_name
        except (ImportError, KeyError):
            group = "dialout"
        return f"no permission for {port}; add yourself to its group: sudo usermod -aG {group} $USER, then log in anew"
    if number in (11, 16) or "exclusively lock" in text or "busy" in text:
        return f"{port} is busy: another program has it open; close that (a serial monitor, mpremote) and try again"
    if not stat.S_ISCHR(about.st_mode) or "Inappropriate ioctl" in text:
        return f"{port} is no serial port; name the board's device, or use --port auto"
    return f"cannot open {port} ({text}); plug the board in again, or try another port"
