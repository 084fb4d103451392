"""Line, board, flash and time, and what happens to the things at the ends of the line."""

import os
import types
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import host.base.files
import host.board.learner
import host.runs.run
from firmware import storage
from host.base.cli import UserError
from host.board.transport import LinkLost
from tools.faults.board import Board
from tools.faults.changed import changed, segments
from tools.faults.flash import Flash, PowerCut
from tools.faults.golden import Golden, Violation
from tools.faults.injector import BYTE_FAULTS, Injector

LATENCY = 0.001  # seconds a byte is on its way
BOOT = 0.2  # seconds from the reset of a board to its first word
MOST_CALLS = 200_000  # of its port by a host for one chunk of images, whatever happens

# What happens to the things at the ends of the line.
WORLD_FAULTS = {
    "stall": 12,  # nothing moves, in one direction, for a time
    "unplug": 3,  # bytes under way are lost, the port is gone for a while
    "reset": 3,  # of the board, between two frames
    "crash": 4,  # of the board, in the midst of its work
    "swap": 1,  # of the board for another, which knows nothing of this run
    "kill": 3,  # of the host; it is started anew with --resume
}
CHECKPOINT_FAULTS = ("power cut", "host cut")  # in the midst of a checkpoint on the board, and on the host
KINDS = (*BYTE_FAULTS, *WORLD_FAULTS, *CHECKPOINT_FAULTS)


class Killed(BaseException):
    """The host's process ends here and now."""


class Port:
    """A Transport on the world's line: one opening of the port."""

    room = "it has enough"

    def __init__(self, world: "World"):
        self.world = world

    def _alive(self) -> None:
        self.world.call()
        if self.world.port is not self:
            raise LinkLost("the port has gone")

    def read(self, timeout: float) -> bytes:
        """As Transport.read."""
        self._alive()
        return self.world.read(timeout)

    def write(self, data: bytes) -> None:
        """As Transport.write."""
        self._alive()
        self.world.to_board(data)

    def close(self) -> None:
        """As Transport.close."""
        if self.world.port is self:
            self.world.port = None


class World:
    """Line, board, flash and time. rate: chance of a fault of WORLD_FAULTS in each call of the host's port.

    window: the board's input buffer; lossy: it drops what does not fit. pace: seconds of a piece of the board's work.
    dtr: opening the port may reset the board.
    """

    def __init__(
        self,
        seed: int,
        golden: Golden,
        window: int = 512,
        lossy: bool = True,
        pace: float = 0.0005,
        dtr: bool = False,
        fat: bool = False,
    ):
        self.random = Random(seed)
        self.golden, self.window, self.lossy, self.pace, self.dtr = golden, window, lossy, pace, dtr
        self.now = 0.0
        self.limit, self.calls = inf, 0
        self.injector = Injector(self.random)
        self.rate = 0.0
        self.counts: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()
        self.planned: list[list[Any]] = []  # [calls until then, kind]
        self.lines: dict[bool, deque[tuple[float, bytes]]] = {True: deque(), False: deque()}
        self.open_until = {True: 0.0, False: 0.0}  # when a line carries again that has stalled
        self.at_host = bytearray()
        self.port: Port | None = None
        self.plugged = 0.0  # from when on the port is there
        self.files_cut: int | None = None  # the host's file operations until it is killed
        self.file_chance = 0.0
        self.flash = Flash(self.random, fat)
        self.board = Board(self)

    # What the host sees

    def monotonic(self) -> float:
        """time.monotonic for the host."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """time.sleep for the host."""
        self._until(self.now + seconds)

    def connect(self) -> Port:
        """Open the port."""
        self.call()
        if self.now < self.plugged:
            raise UserError("there is no port; is the board plugged in?")
        if self.dtr and self.random.random() < 0.5:
            self.reset()
        self.at_host.clear()
        self.port = Port(self)
        return self.port

    def read(self, timeout: float) -> bytes:
        """What has come, or what comes within `timeout`."""
        until = self.now + timeout
        self._settle()
        while not self.at_host and self.now < until and self.port:
            self.now = min(until, max(self.now, self._next()))
            self._settle()
        data = bytes(self.at_host)
        self.at_host.clear()
        return data

    def to_board(self, data: bytes) -> None:
        """Put bytes on the line."""
        self._carry(self.injector.damage(data, True), True, self.now)

    def from_board(self, data: bytes, now: float) -> None:
        """The same in the other direction."""
        if self.now >= self.plugged:
            self._carry(self.injector.damage(data, False), False, now)

    def _carry(self, data: bytes, to_board: bool, now: float) -> None:
        line = self.lines[to_board]
        at = max(now + LATENCY, self.open_until[to_board], line[-1][0] if line else 0.0)
        if data:
            line.append((at, data))

    # What happens

    def _next(self) -> float:
        at = self.board.due()
        for line in self.lines.values():
            if line:
                at = min(at, line[0][0])
        return at

    def _settle(self) -> None:
        """Let everything happen that is due."""
        now, board, ahead, back = self.now, self.board, self.lines[True], self.lines[False]
        while True:
            while ahead and ahead[0][0] <= now:
                board.arrive(ahead.popleft()[1], now)
            if board.due() > now:
                break
            try:
                board.work(now)
            except PowerCut:
                saving = self.flash.cuts > self.counts["power cut"]
                self.counts["power cut" if saving else "crash"] += 1
                board.boot(now + BOOT, saving)
        while back and back[0][0] <= now:
            self.at_host += back.popleft()[1]

    def _until(self, until: float) -> None:
        self._settle()
        while self.now < until:
            self.now = min(until, max(self.now, self._next()))
            self._settle()

    def call(self) -> None:
        """The host calls its port: the moment at which things happen to those at the line's ends."""
        self.calls += 1
        if self.now > self.limit or self.calls > MOST_CALLS:
            raise Violation("the host does not get on")
        if self.planned:
            for plan in list(self.planned):
                plan[0] -= 1
                if plan[0] < 0:
                    self.planned.remove(plan)
                    self.happen(plan[1])
        if self.rate and self.random.random() < self.rate:
            self.happen(self.random.choices(tuple(WORLD_FAULTS), tuple(WORLD_FAULTS.values()))[0])

    def begin(self, until: float) -> None:
        """The host starts on something that it must have done at that time, and not in too many calls."""
        self.limit, self.calls = until, 0

    def plan(self, kind: str, after: int) -> None:
        """Let this happen after so many calls of the host's port."""
        self.planned.append([after, kind])

    def happen(self, kind: str) -> None:
        """One of WORLD_FAULTS, or a cut in the next checkpoint."""
        random = self.random
        if kind == "stall":
            self.counts[kind] += 1
            seconds = 10 ** random.uniform(-2, 1.2)  # up to 16 s: longer than any time-out
            self.open_until[random.random() < 0.5] = self.now + seconds
        elif kind == "unplug":
            self.counts[kind] += 1
            self.port = None
            self.plugged = self.now + random.choice((0.0, 0.3, 3.0, 30.0))
            self.at_host.clear()
            for line in self.lines.values():
                line.clear()
        elif kind == "reset":
            self.counts[kind] += 1
            self.reset()
        elif kind == "swap":
            self.counts[kind] += 1
            self.flash.files.clear()
            self.board.swap(self.now + BOOT)
        elif kind == "crash":
            if self.board.crash is None:
                self.board.crash = random.randrange(12)  # counted when it comes
        elif kind == "power cut":
            self.flash.cut = random.randrange(8)
        elif kind == "host cut":
            self.files_cut = random.randrange(4)
        elif kind == "kill":
            self.counts[kind] += 1
            self.die()

    def reset(self) -> None:
        """Reset the board."""
        self.board.boot(self.now + BOOT)

    def die(self) -> None:
        """Kill the host."""
        self.port = None
        raise Killed

    def host_file(self) -> None:
        """The host does something to a file of its run directory."""
        if self.files_cut is None and self.file_chance and self.random.random() < self.file_chance:
            self.files_cut = self.random.randrange(4)
        if self.files_cut is not None:
            self.files_cut -= 1
            if self.files_cut < 0:
                self.files_cut = None
                self.counts["host cut"] += 1
                self.die()

    def deadline(self) -> float:
        """When a run must have ended in which nothing happens any more."""
        return max(self.now, *self.open_until.values(), self.plugged) + 600 + self.golden.total * (4 + 100 * self.pace)

    def finished(self) -> None:
        """The run has ended: count what the board has counted."""
        self.board.count()

    def faults(self) -> Counter[str]:
        """All that was injected so far."""
        return self.counts + self.injector.counts

    def calm(self) -> None:
        """No more faults."""
        self.injector.calm()
        self.rate = self.flash.chance = self.file_chance = 0.0
        self.flash.cut = self.files_cut = self.board.crash = None
        self.planned.clear()
        self.dtr = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within, the programs live in this world."""
        clock = types.SimpleNamespace(sleep=self.sleep, monotonic=self.monotonic)
        files = types.SimpleNamespace(fsync=lambda number: self.host_file(), replace=self._replace)
        with (
            segments(),
            changed(storage, os=self.flash, open=self.flash.open),
            changed(host.board.learner, time=clock),
            changed(host.runs.run, time=clock),
            changed(host.base.files, os=files),
        ):
            yield

    def _replace(self, old: Path, new: Path) -> None:
        self.host_file()
        os.replace(old, new)
        self.host_file()
