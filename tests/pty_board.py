"""The firmware in a real MicroPython behind a pseudo-terminal, with a main.py of the test's choice, and a host."""

import contextlib
import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from host.base.scratch import Scratch
from host.board import micropythons
from host.board.sim import SimBoard

ROOT = Path(__file__).resolve().parent.parent


@functools.cache
def scratch() -> Scratch:
    """Where the firmware is compiled to, once for all boards of these tests; it goes with this process."""
    made = Scratch("firmware")
    micropythons.compile_tree("x64", [ROOT / "fixedpoint", ROOT / "firmware"], made.path)
    return made


def compiled() -> Path:
    """The compiled firmware."""
    return scratch().path


class Board(SimBoard):
    """A SimBoard with another main.py, perhaps, that counts the frames of each type that it gets."""

    def __init__(self, main: str | None = None, options: tuple[str, ...] = (), **keywords: object):
        self.frames: dict[int, int] = {}
        self.main, self.options = main, options
        self.counted = threading.Condition()
        super().__init__("x64", damage=self._count, **keywords)  # type: ignore[arg-type]

    def _install(self, heap: str) -> list[str]:
        command = super()._install(heap)
        if self.main is not None:
            (self.flash / "main.py").write_text(self.main)
        return [*command[:-1], *self.options, *(command[-1:] if self.main != "" else ())]

    def _count(self, data: bytes, to_board: bool) -> bytes:
        if to_board:
            with self.counted:
                for frame in data.split(b"\0"):
                    if len(frame) > 1:
                        self.frames[frame[1]] = self.frames.get(frame[1], 0) + 1
                self.counted.notify_all()
        return data

    def wait_for(self, kind: int, count: int) -> None:
        """Until so many frames of this type have come."""
        with self.counted:
            assert self.counted.wait_for(lambda: self.frames.get(kind, 0) >= count, 20)


@contextlib.contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Do something in another thread, and show what went wrong there."""
    trouble: list[BaseException] = []

    def work() -> None:
        try:
            action()
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not trouble, trouble


@contextlib.contextmanager
def process(*args: object, cwd: Path) -> Iterator[subprocess.Popen]:
    """host.stream in a process of its own."""
    command = [sys.executable, "-m", "host.stream", *map(str, args)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        command,
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as child:
        try:
            yield child
        finally:
            child.kill()
