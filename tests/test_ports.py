"""Ports that are missing, busy, silent, closed by the other end, or asked for what they cannot do."""

import contextlib
import os
import pty
import re
import signal
import socket
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace

import pytest
import serial
from serial.rfc2217 import PortManager

from host import stream
from host.base import cli
from host.board import link, ports, serialport, transport
from host.board.transport import LinkLost

RUN = ("--rows", "10", "--limit", "40", "--test-limit", "12")
SECONDS = 60  # that a busy machine may take for what takes one


@pytest.fixture
def command(answer, monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """command(...) is host.stream in this process, in an empty directory: exit code, stdout, stderr."""
    monkeypatch.setattr(link, "PATIENCE", 1.3)
    return partial(answer, stream.main)


@pytest.fixture
def hangs_up() -> Iterator[int]:
    """The number of a TCP port at which every connection is closed at once."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                server.accept()[0].close()
        except OSError:
            pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def test_a_socket_that_is_closed_at_once_is_an_error_within_some_patience(command, hangs_up, tmp_path) -> None:
    ctrl_c = threading.Timer(SECONDS, signal.raise_signal, [signal.SIGINT])  # else the test itself would never end
    ctrl_c.start()
    code, _, err = command("--port", f"socket://127.0.0.1:{hangs_up}", *RUN)
    ctrl_c.cancel()
    assert code == cli.EXIT_USER_ERROR
    lines = err.splitlines()
    assert sum("waiting for the board" in line for line in lines) == 1
    assert re.match(r"error: no firmware answered: the other end of socket://\S+ has closed the connection", lines[-1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("port", ["/dev/shoreline-none", "nonsense://here", "socket://127.0.0.1:1", "/dev/null"])
def test_a_port_that_is_not_there_leaves_no_run_directory_behind(command, tmp_path, port: str) -> None:
    for named in ([], ["--run-dir", tmp_path / "run"]):
        code, _, err = command("--port", port, *RUN, *named)
        assert list(tmp_path.iterdir()) == []
        assert code == cli.EXIT_USER_ERROR and err.splitlines()[-1].startswith("error: ")


def test_a_busy_port_and_a_silent_one_leave_no_run_directory_behind(command, tmp_path) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    try:
        with serial.Serial(name, exclusive=True):
            code, _, err = command("--port", name, *RUN)
            assert code == cli.EXIT_USER_ERROR and "is busy" in err
        code, _, err = command("--port", name, *RUN)
        assert code == cli.EXIT_USER_ERROR and "no firmware answered" in err
    finally:
        os.close(master)
        os.close(slave)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rest", ["127.0.0.1", "127.0.0.1:99999", ":4000", "127.0.0.1:x", "127.0.0.1:0"])
@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_a_url_without_host_or_port_number_is_told_so(scheme: str, rest: str) -> None:
    with pytest.raises(cli.UserError, match=r"names no host or no port there .*give both"):
        serialport.SerialTransport(f"{scheme}://{rest}")


@pytest.mark.parametrize("baud", [-1, 0, 2**40])
def test_a_rate_that_no_port_takes_is_named(command, baud: int) -> None:
    master, slave = pty.openpty()
    try:
        with pytest.raises(cli.UserError, match=f"--baud {baud}\\b"):
            serialport.SerialTransport(os.ttyname(slave), baud)
    finally:
        os.close(master)
        os.close(slave)


def test_the_port_that_was_found_is_opened_once_and_not_again_for_the_first_use(monkeypatch) -> None:
    """Each opening resets many a board."""
    opened: list[str] = []

    class Opened:
        def __init__(self, port: str, *options: object) -> None:
            opened.append(port)

        def close(self) -> None:
            opened.append("closed")

    monkeypatch.setattr(ports, "SerialTransport", Opened)
    with ports.reach("/dev/x", print) as connect:
        assert opened == ["/dev/x"]
        first = connect()
        assert opened == ["/dev/x"]
        assert connect() is not first and opened == ["/dev/x"] * 2
    with ports.reach("/dev/y", print):
        pass
    assert opened[2:] == ["/dev/y", "closed"]


BACKENDS = [OSError(5, "Input/output error"), serial.SerialException("gone"), TypeError("closed"), ValueError("fd -1"),
            termios.error(5, "Input/output error"), AttributeError("None")]  # fmt: skip


@pytest.mark.parametrize("error", BACKENDS, ids=lambda error: type(error).__name__)
def test_whatever_a_port_raises_the_link_is_lost_or_the_port_an_error(monkeypatch, error: Exception) -> None:
    def fails(*args: object, **options: object) -> None:
        raise error

    master, slave = pty.openpty()
    try:
        name = os.ttyname(slave)
        line = serialport.SerialTransport(name)
        for method in ("read", "write", "close"):
            monkeypatch.setattr(line.serial, method, fails)
        with pytest.raises(LinkLost):
            line.read(0.1)
        with pytest.raises(LinkLost):
            line.write(b"x")
        line.close()
        monkeypatch.setattr(serial, "serial_for_url", fails)
        with pytest.raises(cli.UserError):
            serialport.SerialTransport(name)
    finally:
        os.close(master)
        os.close(slave)


def test_a_host_that_does_not_answer_does_not_keep_ctrl_c_waiting(monkeypatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(serial, "serial_for_url", lambda *args, **options: held.wait(SECONDS))
    begun = time.monotonic()
    with pytest.raises(transport.Gone):
        serialport.SerialTransport("socket://far.invalid:1", stopped=lambda: time.monotonic() > begun + 0.2)
    held.set()


def test_a_board_behind_a_telnet_server_is_reached() -> None:
    """RFC 2217: the other end is pyserial's own server, with a port that echoes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer = server.accept()[0]
        with serial.serial_for_url("loop://", timeout=0.01) as port:
            manager = PortManager(port, SimpleNamespace(write=peer.sendall))
            peer.settimeout(0.01)
            while True:
                with contextlib.suppress(TimeoutError):
                    if not (data := peer.recv(1000)):
                        return
                    port.write(b"".join(manager.filter(data)))
                if data := port.read(port.in_waiting):
                    peer.sendall(b"".join(manager.escape(data)))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    line = serialport.SerialTransport(f"rfc2217://127.0.0.1:{server.getsockname()[1]}")
    line.write(b"there \0\xff and back")
    found = b""
    until = time.monotonic() + SECONDS
    while len(found) < 17 and time.monotonic() < until:
        found += line.read(1.0)
    assert found == b"there \0\xff and back"
    line.close()
    thread.join(SECONDS)
    server.close()


def test_a_line_that_takes_no_more_bytes_is_lost_before_ctrl_c_has_to_wait() -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        line = serialport.SerialTransport(os.ttyname(slave))
        begun = time.monotonic()
        with pytest.raises(LinkLost):
            while time.monotonic() < begun + SECONDS:
                begun = time.monotonic()
                line.write(bytes(200))
        assert time.monotonic() - begun < 3
        line.close()
    finally:
        os.close(master)
        os.close(slave)
