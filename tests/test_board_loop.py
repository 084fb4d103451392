"""firmware.main: HELLOs, Ctrl-C and the silence of a host in virtual time, and stdin and stdout as they are."""

import random
import re
import struct
import subprocess
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from frames import SESSION, ask_body, frame, open_body, unframe
from interpreters import interpreter

from firmware import main, wire
from host.board import micropythons

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "firmware/README.md").read_text()


class Line:
    """firmware.main on a board in virtual time: a clock that wraps as on a board, and a host that follows a script.

    script: (milliseconds of silence before, bytes), and at its end EXIT. slow: milliseconds that an answer takes.
    log: what the board did, with the time.
    """

    def __init__(
        self, patch: pytest.MonkeyPatch, root: Path, script: list[tuple[int, bytes]], start: int = 0, slow: int = 0
    ) -> None:
        self.now = self.start = start
        self.script = [*script, (0, frame(bytes([wire.EXIT])))]
        self.due: int | None = None
        self.slow = slow
        self.log: list[tuple[int, str, Any]] = []
        patch.setattr(main, "millis", lambda: self.now % 2**30)
        patch.setattr(main, "elapsed", lambda now, before: (now - before + 2**29) % 2**30 - 2**29)
        patch.setattr(main, "interrupt_on", lambda code: self.log.append((self.now - start, "interrupt", code)))
        for name in ("wait", "read", "write"):
            patch.setattr(main, name, getattr(self, name))
        main.main(root=f"{root}/")

    def wait(self, ms: int) -> bool:
        if self.due is None:
            self.due = self.now + self.script[0][0]
        if self.now + ms < self.due < self.now + 60000:
            self.now += ms
            return False
        self.now = self.due  # days pass at once
        return True

    def read(self, buffer: bytearray) -> int:
        _, data = self.script.pop(0)
        self.due = None
        buffer[: len(data)] = data
        return len(data)

    def write(self, buffer: bytearray, n: int) -> None:
        body = unframe(bytes(buffer[:n]), SESSION ^ 1)
        flags = struct.unpack(wire.HELLO_FORMAT, body)[5] if body[0] == wire.HELLO else None
        self.log.append((self.now - self.start, f"{body[0]:x}", flags))
        self.now += self.slow if flags is None else 0

    def hellos(self) -> list[int]:
        """When the board said that it has no host."""
        return [time for time, what, flags in self.log if what == "41" and not flags & wire.FLAG_ATTACHED]


@pytest.mark.parametrize("start", [0, 2**30 - 700, 2**29 - 700])
def test_a_board_without_a_host_says_so(start: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(monkeypatch, tmp_path, [(1790, frame(wire.GREETING)), (3000, b"\0")], start)
    assert line.hellos() == [0, 500, 1000, 1500], "and not while one is there, whatever the clock does"
    interrupts = [entry for entry in line.log if entry[1] == "interrupt"]
    assert interrupts[0] == (1790, "interrupt", -1) and interrupts[-1][2] == 3, "off with ATTACH, on at the end"
    assert line.log.index(interrupts[0]) < line.log.index((1790, "41", wire.FLAG_ATTACHED))


def test_a_silent_host_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte counts, though it be noise; then Ctrl-C and the HELLOs are back, and the session is still there."""
    greeting, opening = frame(wire.GREETING), frame(open_body())
    script = [(100, greeting), (0, opening), (9000, b"?"), (9000, b"\0"), (12000, greeting), (0, opening)]
    line = Line(monkeypatch, tmp_path, script)
    given_up = line.hellos()[1]
    assert 18100 + 10000 < given_up < 18100 + 10000 + 600
    assert [code for time, what, code in line.log if what == "interrupt" and time > 20000][:2] == [3, -1]
    assert [what for _, what, _ in line.log].count("c4") == 2


def test_a_long_step_is_not_the_hosts_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = [(100, frame(wire.GREETING)), (0, frame(open_body())), (900, b"\0")]
    assert Line(monkeypatch, tmp_path, script, slow=30000).hellos() == [0]


def test_hellos_come_back_after_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks differ rightly for six days only: the last HELLO before the host came is no measure."""
    week, close = 7 * 86400 * 1000, frame(ask_body(wire.CLOSE), SESSION ^ 1)
    script = [(100, frame(wire.GREETING)), (0, frame(open_body())), (week, close), (2000, b"\0")]
    line = Line(monkeypatch, tmp_path, script)
    assert [time - week - 100 for time in line.hellos()[1:4]] == [500, 1000, 1500]


def test_credit_is_what_a_board_can_hold() -> None:
    """Two frames of seven rows where there is room for them; a whole frame everywhere."""
    text = (ROOT / "firmware/main.py").read_text()
    large, small = (int(number) for number in re.search(r"^WINDOW = (\d+) if .* else (\d+)$", text, re.M).groups())
    assert 2 * (wire.HEADER + 7 * 28 + wire.MAX_FRAME - wire.MAX_BODY) <= large < 511
    assert wire.MAX_FRAME <= small < 255
    assert large == main.WINDOW
    assert f"credit {large}" in README and f"credit {small}" in README


STDIO = """
import sys
sys.path.insert(0, sys.argv[-1])
from micropython import heap_lock, heap_unlock
import firmware.main as main
main.DEVICE_OS = sys.argv[-2] == "board"
buffer = bytearray(512)

def echo():
    total = 0
    while total < 600:
        if main.wait(1000):
            n = main.read(buffer)
            main.write(buffer, n)
            total += n

main.wait(0)  # the poller makes itself a tuple, once
heap_lock()
echo()
heap_unlock()
"""


@pytest.mark.parametrize("arch", ["i386", "x64"])
@pytest.mark.parametrize("reader", ["board", "process"])
def test_stdin_to_stdout_as_it_is_and_without_allocation(arch: str, reader: str, tmp_path: Path) -> None:
    """As a board reads, a byte at a time after a poll, and as a process does: all values, none translated."""
    argv = interpreter(arch)
    (tmp_path / "run.py").write_text(STDIO)
    data = bytes(range(256)) + b"\r\n\3\4\0" * 20 + random.Random(1).randbytes(244)
    argv += [str(tmp_path / "run.py"), reader, str(ROOT)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(argv, **pipes) as process:
        guard = Timer(30, process.kill)
        guard.start()
        process.stdin.write(data)
        process.stdin.flush()
        if reader == "process":  # it would wait for more; a board's stdin has no end
            process.stdin.close()
        echoed = process.stdout.read(len(data))
        process.stdin.close()
        error = process.stderr.read()
        process.wait()
        guard.cancel()
    assert (process.returncode, echoed) == (0, data), error


DYING = """
import sys
sys.path.insert(0, sys.argv[-1])
import firmware.main as main
main.DEVICE_OS = True
main.IDLE_MS = 300
main.main(root="no flash/")
"""


@pytest.mark.parametrize("arch", ["i386", "x64"])
def test_a_host_that_dies_within_a_frame_is_given_up(arch: str, tmp_path: Path) -> None:
    """The board does not wait for the rest of the frame: it says HELLO again and hears the next host."""
    argv = interpreter(arch)
    micropythons.compile_tree(arch, [ROOT / "firmware", ROOT / "fixedpoint"], tmp_path / "board")
    (tmp_path / "run.py").write_text(DYING)
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([*argv, str(tmp_path / "run.py"), str(tmp_path / "board")], bufsize=0, **pipes) as process:
        guard = Timer(60, process.kill)
        guard.start()

        def heard() -> tuple[int, int]:
            """Type and HELLO flags of the next frame."""
            data = b""
            while len(data) < 3 or data[-1]:
                byte = process.stdout.read(1)
                assert byte, process.stderr.read()
                data = byte if data == b"\0" and byte == b"\0" else data + byte
            body = unframe(data)
            return body[0], body[5]

        greeting = frame(wire.GREETING)
        for _ in range(2):
            while heard() != (wire.HELLO, 0):
                pass
            process.stdin.write(greeting)
            while heard() != (wire.HELLO, wire.FLAG_ATTACHED):
                pass
            process.stdin.write(frame(open_body())[:30])
        while heard() != (wire.HELLO, 0):
            pass
        process.stdin.write(b"\0" + frame(bytes([wire.EXIT])))
        process.stdout.read()
        assert process.wait() == 0, process.stderr.read()
        guard.cancel()
