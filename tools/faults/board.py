"""A board in the world of faults: it runs the firmware, its buffer overflows, and its power can go at any moment."""

from collections import Counter
from typing import Protocol

from firmware import wire
from firmware.device import Device
from firmware.main import CHUNK, IDLE_MS
from tools.faults.flash import PowerCut
from tools.faults.golden import Golden, Violation

BEAT, IDLE = wire.BEAT_MS / 1000, IDLE_MS / 1000

Saved = tuple[int, int, int] | None  # session, step and words of a checkpoint


class Surroundings(Protocol):
    """What a Board needs of the World it is in."""

    golden: Golden
    window: int
    lossy: bool
    pace: float

    def from_board(self, data: bytes, now: float) -> None:
        """Put bytes on the line to the host."""


class Board:
    """The firmware's Device with firmware.main's loop around it, in virtual time."""

    def __init__(self, world: Surroundings):
        self.world = world
        self.input = bytearray()  # arrived, and not yet read
        self.unread = 0  # most that ever were
        self.overruns = 0
        self.crash: int | None = None  # calls of send() and micros() until the power is cut
        self.counters: Counter[str] = Counter()
        self.device: Device | None = None
        self.step = 0  # of the device, when it was last compared with the golden model
        self.saved: list[Saved] = [None]  # one of these must be found in its flash
        self.now = self.heard = self.beat = 0.0
        self.boot(0.0)

    def boot(self, now: float, saving: bool = False) -> None:
        """Start the firmware at this time. saving: the power went while it wrote a checkpoint."""
        if device := self.device:
            self.count()
            self.saved = [device.saved]
            if saving and device.lattice is not None:
                self.saved.append((device.session, device.lattice.step, len(device.lattice.w)))
        self.device = None
        self.input.clear()
        self.crash = None
        self.now = self.beat = self.heard = now

    def swap(self, now: float) -> None:
        """Another board is in its place, with an empty flash."""
        self.boot(now)
        self.saved = [None]

    def _start(self) -> None:
        self.device = device = Device(self._send, self._micros, self.world.window, 0, 0)
        if device.saved not in self.saved:
            raise Violation(f"the board's checkpoint is {device.saved}, which is not one of {self.saved}")
        if device.saved:
            self.counters["boots with a checkpoint"] += 1
        self.step = 0
        device.hello()
        self.beat = self.heard = self.now

    def count(self) -> None:
        """Add up the device's own counters, before they are lost."""
        if self.device:
            self.counters["frames asked for twice"] += self.device.counters[7]
            self.counters["frames damaged"] += self.device.receiver.damaged
            self.counters["frames too long"] += self.device.receiver.overlong
            self.counters["steps trained"] += self.device.counters[1]

    def _interrupted(self) -> None:
        if self.crash is not None:
            self.crash -= 1
            if self.crash < 0:
                self.crash = None
                raise PowerCut

    def _send(self, buffer: bytearray, n: int) -> None:
        self._interrupted()
        self.world.from_board(bytes(buffer[:n]), self.now)
        self._interrupted()

    def _micros(self) -> int:
        self._interrupted()
        self.now += self.world.pace
        return int(self.now * 1e6)

    def arrive(self, data: bytes, now: float) -> None:
        """Bytes come in; what the buffer cannot hold is lost, as on a UART."""
        if now < self.beat:  # not yet booted
            return
        self.input += data
        self.unread = max(self.unread, len(self.input))
        if len(self.input) > self.world.window:
            self.overruns += 1
            if self.world.lossy:
                del self.input[self.world.window :]

    def due(self) -> float:
        """When it has something to do next."""
        if self.device is None:
            return self.now
        if self.input:
            return self.now
        return max(self.now, self.heard + IDLE if self.device.attached else self.beat + BEAT)

    def work(self, now: float) -> None:
        """One turn of firmware.main.loop."""
        self.now = max(self.now, now)
        if self.device is None:
            self._start()
            return
        device = self.device
        if self.input:
            chunk = bytes(self.input[:CHUNK])
            del self.input[:CHUNK]
            device.receive(chunk, len(chunk))
            self.heard = self.now
            lattice = device.lattice
            if lattice is not None and not device.loading and lattice.step != self.step:
                self.step = lattice.step
                self.world.golden.check(lattice.step, lattice.digest())
        elif device.attached:
            device.attached = device.open = False
            self.counters["idle time-outs"] += 1
        if not device.attached and self.now >= self.beat + BEAT:
            device.hello()
            self.beat = self.now
