"""A simulated board: the real firmware in a real MicroPython process, behind a pseudo-terminal.

A thread carries the bytes between the process's terminal and the one that the host opens. It can limit their rate to a
UART's and damage them, and the board can be reset and unplugged: what the tests do to it.
"""

import contextlib
import os
import pty
import select
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path

from host.base import cli
from host.base.files import copy_sources
from host.base.scratch import Scratch
from host.board import micropythons
from host.board.link import explain
from host.board.serialport import SerialTransport
from host.board.transport import NoFirmware

ROOT = Path(__file__).resolve().parents[2]
MAIN = "import firmware.main\nfirmware.main.main()\n"
ARCHITECTURES = ("x64", "i386", "armhf", "cpython")
DEATHS, WITHIN = 3, 10.0  # a process that is killed so often in so many seconds is not started again
LAST_WORDS = 4000  # bytes of the board's output that are kept to explain its end


def best_architecture() -> str:
    """x64 where a MicroPython is installed, else CPython as the stand-in."""
    return "x64" if micropythons.available("x64") else "cpython"


def no_room(error: OSError) -> cli.UserError:
    """What to say if there is no terminal or process to be had."""
    return cli.UserError(f"cannot start the simulated board ({error}); end other programs and try again")


class SimBoard:
    """One board: its flash is the directory `flash`, its port the path `port`.

    arch: x64, i386, armhf (MicroPython), cpython. baud: limit of the line's rate, 10 bits a byte; None is unlimited.
    damage(data, to_board) may return other bytes than it is given. A process that is killed is started again on the
    same flash, which say() is told. Raises UserError if the MicroPython is not there.
    """

    def __init__(
        self,
        arch: str | None = None,
        flash: Path | None = None,
        baud: int | None = None,
        heap: str = "2M",
        damage: Callable[[bytes, bool], bytes] | None = None,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ):
        self.arch = arch or best_architecture()
        self.baud, self.damage, self.say = baud, damage or (lambda data, to_board: data), say
        self.own: Scratch | None = None
        if flash is None:
            self.own = Scratch("board")
            flash = self.own.path
        self.flash = flash
        self.room = f"make room in {self.flash}, or name another place with {'TMPDIR' if self.own else '--flash'}"
        self.link = self.flash / "port"
        self.port = str(self.link)
        try:
            self.command = self._install(heap)
        except OSError as error:
            raise cli.UserError(f"cannot write the simulated board's flash ({error.strerror}); {self.room}") from error
        self.process: subprocess.Popen[bytes] | None = None
        self.master = self.outer = -1
        self.lock = threading.Lock()  # of the terminals
        self.switch = threading.RLock()  # of the process: what we end ourselves was not killed
        self.running = True
        self.deaths: list[float] = []
        self.words = b""
        self.trouble = ""  # why there is no process any more
        try:
            self.power_on()
            self.plug()
        except BaseException:
            self.power_off()
            raise
        self.thread = threading.Thread(target=self._pump, daemon=True)
        self.thread.start()

    def _install(self, heap: str) -> list[str]:
        """Put the firmware into the flash as it would be put on a board; return the command that runs it."""
        self.flash.mkdir(parents=True, exist_ok=True)
        (self.flash / "main.py").write_text(MAIN)
        if self.arch == "cpython":
            for name in ("fixedpoint", "firmware"):
                copy_sources(ROOT / name, self.flash / name)
            return [sys.executable, "main.py"]
        micropythons.compile_tree(self.arch, [ROOT / "fixedpoint", ROOT / "firmware"], self.flash)
        return [*micropythons.command(self.arch), "-X", f"heapsize={heap}", "main.py"]

    def power_on(self) -> None:
        """Start the firmware on a fresh terminal. Raises UserError if the machine has no room for it."""
        with self.switch:
            try:
                master, inner = pty.openpty()
                tty.setraw(inner)
                mode = termios.tcgetattr(inner)
                mode[6][termios.VMIN], mode[6][termios.VTIME] = 0, 0  # reads return what is there, as a poll has said
                termios.tcsetattr(inner, termios.TCSANOW, mode)
                self.process = subprocess.Popen(
                    self.command, stdin=inner, stdout=inner, stderr=inner, cwd=self.flash, start_new_session=True
                )
            except OSError as error:
                raise no_room(error) from error
            os.close(inner)
            os.set_blocking(master, False)  # what a board does not read, and a host that is not there, is lost
            with self.lock:
                self.master, self.words = master, b""
            self.trouble = ""

    def power_off(self) -> None:
        """Cut the power: the process dies wherever it is; what it has in flash stays."""
        with self.switch:
            if self.process:
                self.process.kill()
                self.process.wait()
                self.process = None
            with self.lock:
                if self.master >= 0:
                    os.close(self.master)
                    self.master = -1

    def reset(self) -> None:
        """Power off and on."""
        with self.switch:
            self.power_off()
            self.power_on()

    def check(self) -> None:
        """Raise NoFirmware, with the reason, if the board's process has ended for good."""
        if self.trouble:
            raise NoFirmware(self.trouble)

    def _look_after(self) -> None:
        """Start a process again that was killed, but not for ever; note why one ended that ended by itself."""
        with self.switch:
            code = self.process.poll() if self.process else None
            if code is None or self.trouble:
                return
            if code >= 0:
                said = explain(self.words, True) or f"its program has ended with exit code {code}"
                self.trouble = f"the simulated board does not run any more: {said}"
                return
            now = time.monotonic()
            self.deaths = [then for then in self.deaths if now - then < WITHIN] + [now]
            killed = f"the simulated board's process was killed (signal {-code})"
            if len(self.deaths) >= DEATHS:
                self.trouble = f"{killed}, {DEATHS} times in {WITHIN:.0f} s; see what kills it (too little memory?)"
                return
            try:
                self.reset()
            except cli.UserError as error:
                self.trouble = str(error)
                return
        with contextlib.suppress(OSError, ValueError):  # of a stderr that is closed: the board has to run on
            self.say(f"{killed}; started again with what is in its flash")

    def plug(self) -> None:
        """Connect the cable: the port appears. Raises UserError if the machine has no room for it."""
        try:
            outer, slave = pty.openpty()
        except OSError as error:
            raise no_room(error) from error
        tty.setraw(slave)
        os.set_blocking(outer, False)
        name = os.ttyname(slave)
        with self.lock:
            self.outer, self.slave = outer, slave  # our own end of it keeps the terminal up between two hosts
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(name)

    def unplug(self) -> None:
        """Pull the cable: the port goes away; the board runs on."""
        self.link.unlink(missing_ok=True)
        with self.lock:
            os.close(self.outer)
            os.close(self.slave)
            self.outer = -1

    def close(self) -> None:
        """End the board."""
        self.running = False
        self.thread.join()
        self.power_off()
        if self.outer >= 0:
            self.unplug()
        if self.own:
            self.own.close()

    def __enter__(self) -> "SimBoard":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _pump(self) -> None:
        """Carry bytes both ways until the board is closed."""
        free = {True: 0.0, False: 0.0}  # when each direction of the line has carried what it was given
        while self.running:
            now, ended = time.monotonic(), False
            with self.lock:
                ways = [(self.outer, self.master, True), (self.master, self.outer, False)]
                sources = [source for source, _, to_board in ways if source >= 0 and now >= free[to_board]]
            soon = min([0.02, *(left for to_board in free if (left := free[to_board] - now) > 0)])
            try:
                ready = select.select(sources, [], [], soon)[0]
            except (OSError, ValueError):  # closed meanwhile
                continue
            with self.lock:
                for source, target, to_board in ways:
                    if source in ready and source in (self.outer, self.master):
                        count = self._carry(source, target, to_board)
                        ended |= not count and not to_board
                        if self.baud:
                            free[to_board] = max(free[to_board], time.monotonic() - 0.02) + count * 10 / self.baud
            if ended:
                self._look_after()

    def _carry(self, source: int, target: int, to_board: bool) -> int:
        """Carry what has arrived; return how many bytes that was."""
        try:
            data = os.read(source, 64 if self.baud else 4096)
        except OSError:  # the process behind it has ended
            time.sleep(0.005)
            return 0
        if not to_board:
            self.words = (self.words + data)[-LAST_WORDS:]
        sent = self.damage(data, to_board)
        if target >= 0:
            with contextlib.suppress(OSError):
                while sent:
                    sent = sent[os.write(target, sent) :]
        return len(data)


class SimTransport(SerialTransport):
    """The line to a simulated board, which knows what a real one cannot tell: that its process is no more."""

    def __init__(self, board: SimBoard):
        """Raises NoFirmware if the board has ended for good."""
        board.check()
        self.board, self.room = board, board.room
        super().__init__(board.port)

    def read(self, timeout: float) -> bytes:
        """As Transport.read. Raises NoFirmware too."""
        data = super().read(timeout)
        if not data:
            self.board.check()
        return data
