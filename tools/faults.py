"""A world in one process, with a clock of its own: host, line, board and flash, and everything that can go wrong.

The host's and the board's programs are the real ones (host.board, host.link, host.run; firmware.device, .storage,
.codec, .wire). What is simulated is what lies between and around them: time, the line, the board's input buffer and
its file system. Whatever happens there comes from one seed, so that a failure can be run again.

Every step is compared with the golden model at once: the board's digest after n steps, each prediction, each line of
epochs.jsonl; so is what a board has for a checkpoint when it starts. A difference raises Violation.
"""

import io
import os
import tempfile
import types
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from pathlib import Path
from random import Random
from typing import Protocol

import numpy as np

import host.board
import host.config
import host.run
from firmware import storage, wire
from firmware.device import Device
from firmware.main import CHUNK, IDLE_MS
from host.cli import UserError
from host.config import Config
from host.dataset import Dataset
from host.link import ANSWER, BoardReset, Link, LinkLost, Transport
from host.run import Run, RunDirectory

LATENCY = 0.001  # seconds a byte is on its way
BOOT = 0.2  # seconds from the reset of a board to its first word
BEAT, IDLE = wire.BEAT_MS / 1000, IDLE_MS / 1000
LONGEST_BURST = 512
SEGMENT = 6  # images between two learning rates
MOST_CALLS = 200_000  # of its port by a host for one chunk of images, whatever happens
MEMORY = 64  # frames of each direction that may come again later

# What happens to bytes, with its share of all such faults.
BYTE_FAULTS = {
    "flip": 6,  # one bit
    "drop": 6,  # one byte
    "duplicate": 5,  # one byte
    "insert": 5,  # one byte
    "zero": 2,  # a byte becomes a delimiter
    "garbage": 2,  # up to 512 bytes between two others: noise, or pieces of what was sent before
    "garble": 2,  # up to 512 bytes, whatever they were, become noise
    "erase": 2,  # up to 512 bytes do not come
    "lose": 3,  # a whole frame does not come
    "repeat": 3,  # a whole frame comes twice
    "late": 3,  # a whole frame comes again after others, many of them perhaps
}
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


class Violation(AssertionError):
    """What must never happen has happened."""


Saved = tuple[int, int, int] | None  # session, step and words of a checkpoint


class PowerCut(BaseException):
    """The board loses its power here and now."""


class Killed(BaseException):
    """The host's process ends here and now."""


class Injector:
    """Damages what goes over a line. rate: chance of a fault in a chunk, and after each fault of another one there."""

    def __init__(self, random: Random, rate: float = 0.0, weights: dict[str, int] | None = None):
        weights = BYTE_FAULTS if weights is None else weights
        self.random, self.rate = random, rate
        self.kinds, self.weights = tuple(weights), tuple(weights.values())
        self.counts: Counter[str] = Counter()
        self.planned: list[list] = []  # [chunks until then, direction, kind]
        self.memory: dict[bool, deque[bytes]] = {way: deque(maxlen=MEMORY) for way in (True, False)}
        self.bursts = {True: ["", 0], False: ["", 0]}  # what still happens to so many bytes to come

    def plan(self, kind: str, to_board: bool, after: int) -> None:
        """Let this fault hit the chunk after so many others."""
        self.planned.append([after, to_board, kind])

    def calm(self) -> None:
        """No more faults."""
        self.rate = 0.0
        self.planned.clear()
        self.bursts = {True: ["", 0], False: ["", 0]}

    def damage(self, data: bytes, to_board: bool) -> bytes:
        """What arrives when `data` is sent."""
        random = self.random
        memory = self.memory[to_board]
        memory.append(data)
        if self.bursts[to_board][1]:
            data = self._burst(data, self.bursts[to_board])
        if self.planned:
            for plan in [plan for plan in self.planned if plan[1] == to_board]:
                plan[0] -= 1
                if plan[0] < 0:
                    self.planned.remove(plan)
                    data = self.fault(plan[2], data, to_board)
        while self.rate and random.random() < self.rate:
            data = self.fault(random.choices(self.kinds, self.weights)[0], data, to_board)
        return data

    def fault(self, kind: str, data: bytes, to_board: bool) -> bytes:
        """One fault of this kind, somewhere in data."""
        random, memory = self.random, self.memory[to_board]
        if not data and kind in ("flip", "drop", "duplicate", "zero"):
            kind = "insert"
        self.counts[kind] += 1
        at = random.randrange(len(data) + (kind in ("insert", "garbage"))) if data else 0
        if kind == "flip":
            return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        if kind == "drop":
            return data[:at] + data[at + 1 :]
        if kind == "duplicate":
            return data[:at] + data[at : at + 1] + data[at:]
        if kind == "insert":
            return data[:at] + bytes([random.randrange(256)]) + data[at:]
        if kind == "zero":
            return data[:at] + b"\0" + data[at + 1 :]
        if kind == "garbage":
            return data[:at] + self._garbage(memory) + data[at:]
        if kind == "lose":
            return b""
        if kind in ("garble", "erase"):
            self.bursts[to_board] = [kind, self._length()]
            return data[:at] + self._burst(data[at:], self.bursts[to_board])
        if kind == "repeat":
            return data + data
        if kind == "late":
            return data + memory[random.randrange(len(memory))]
        raise ValueError(kind)

    def _length(self) -> int:
        return min(LONGEST_BURST, int(2 ** (9.1 * self.random.random())))

    def _garbage(self, memory: deque[bytes]) -> bytes:
        """Noise, or, harder to tell from frames, pieces of frames."""
        random, length = self.random, self._length()
        if random.random() < 0.5 or not memory:
            return random.randbytes(length)
        out = b""
        while len(out) < length:
            piece = memory[random.randrange(len(memory))]
            at = random.randrange(len(piece) + 1)
            out += piece[at : at + random.randrange(1, 40)] or b"\0"
        return out[:length]

    def _burst(self, data: bytes, burst: list) -> bytes:
        n = min(burst[1], len(data))
        burst[1] -= n
        return (self.random.randbytes(n) if burst[0] == "garble" else b"") + data[n:]


class Flash:
    """The board's file system, in memory. cut: operations until the power is cut, torn writes included; None: never.

    fat: as MicroPython does on FAT, rename() removes the old file first.
    """

    def __init__(self, random: Random, fat: bool = False):
        self.random, self.fat = random, fat
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.chance = 0.0  # of a cut, for each file that is opened for writing
        self.cuts = 0

    def _operation(self) -> bool:
        """Count an operation; return whether the power is cut in it."""
        if self.cut is None:
            return False
        self.cut -= 1
        if self.cut >= 0:
            return False
        self.cut = None
        self.cuts += 1
        return True

    def _exists(self, name: str) -> None:
        if name not in self.files:
            raise OSError(2, name)

    def open(self, name: str, mode: str) -> "io.BytesIO | FlashFile":
        """As the builtin open, for `rb` and `wb`."""
        if mode == "rb":
            self._exists(name)
            return io.BytesIO(self.files[name])
        if self.cut is None and self.chance and self.random.random() < self.chance:
            self.cut = self.random.randrange(8)
        if self._operation():
            raise PowerCut
        self.files[name] = b""
        return FlashFile(self, name)

    def rename(self, old: str, new: str) -> None:
        """As os.rename."""
        self._exists(old)
        if self.fat and new in self.files:
            self.remove(new)
        if self._operation():
            raise PowerCut
        self.files[new] = self.files.pop(old)
        if self._operation():
            raise PowerCut

    def remove(self, name: str) -> None:
        """As os.remove."""
        self._exists(name)
        if self._operation():
            raise PowerCut
        del self.files[name]

    def stat(self, name: str) -> tuple[int, ...]:
        """As os.stat, size only."""
        self._exists(name)
        return (0, 0, 0, 0, 0, 0, len(self.files[name]), 0, 0, 0)


class FlashFile:
    """A file that is being written."""

    def __init__(self, flash: Flash, name: str):
        self.flash, self.name = flash, name

    def write(self, data: bytes) -> int:
        """Append; a write in which the power is cut is torn."""
        data = bytes(data)
        if self.flash._operation():
            random = self.flash.random
            torn = data[: random.randrange(len(data) + 1)]
            self.flash.files[self.name] += torn + random.choice((b"", b"\xff" * (len(data) - len(torn))))
            raise PowerCut
        self.flash.files[self.name] += data
        return len(data)

    def __enter__(self) -> "FlashFile":
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class Board:
    """The firmware's Device with firmware.main's loop around it, in virtual time."""

    def __init__(self, world: "World"):
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


class Golden:
    """What an undisturbed run does: digest after n steps, prediction in step n, and each epoch's line."""

    def __init__(self, config: Config, data: Dataset):
        """data: as host.config.prepare() returns it. Learning rates change every SEGMENT images, as in the world."""
        with segments():
            self._run(config, data)

    def _run(self, config: Config, data: Dataset) -> None:
        self.config, self.data, self.total = config, data, config.total
        lattice = config.lattice()
        self.digests = [lattice.digest()]
        self.predictions: list[int] = []
        self.epochs: list[dict] = []
        images, labels = [image.tobytes() for image in data.train_images], data.train_labels.tolist()
        tests = [image.tobytes() for image in data.test_images]
        for epoch in range(config.epochs):
            right = 0
            for k in config.order(epoch).tolist():
                lattice.set_rates(config.rates(lattice.step))
                self.predictions.append(lattice.train(images[k], labels[k]))
                self.digests.append(lattice.digest())
                right += self.predictions[-1] == labels[k]
            hits = sum(map(int.__eq__, map(lattice.predict, tests), data.test_labels.tolist()))
            self.epochs.append(
                {
                    "epoch": epoch + 1,
                    "step": lattice.step,
                    "train_accuracy": round(right / config.images, 6),
                    "test_accuracy": round(hits / len(tests), 6),
                    "digest": f"{lattice.digest():08x}",
                }
            )

    def check(self, step: int, digest: int) -> None:
        """Compare a board's digest after `step` steps. Raises Violation."""
        if step > self.total or self.digests[step] != digest:
            wanted = f"{self.digests[step]:08x}" if step <= self.total else "no step at all"
            raise Violation(f"the board's digest after step {step} is {digest:08x}, the golden model's is {wanted}")


class GoldenTwin:
    """The golden model's record in the place of BoardLearner's twin, so that each answer of a board is compared."""

    def __init__(self, golden: Golden):
        self.golden, self.step = golden, 0
        self.lattice = self

    def set_rates(self, config: Config, step: int) -> None:
        """They are in the record."""

    def train(self, pixels: np.ndarray, label: int) -> int:
        """The prediction of the next step."""
        self.step += 1
        return self.golden.predictions[self.step - 1]

    def load(self, params: np.ndarray, step: int) -> None:
        """Go to a step."""
        self.step = step

    def digest(self) -> str:
        """The digest after the last step."""
        return f"{self.golden.digests[self.step]:08x}"

    def params(self) -> np.ndarray:
        """Not in the record."""
        return np.zeros(0, np.int32)


class WatchedLearner(host.board.BoardLearner):
    """A BoardLearner that counts in `paths` what it had to do."""

    paths: Counter[str]

    def _session(self, flags: int) -> tuple[int, int, int]:
        step, digest, found = super()._session(flags)
        paths = self.paths
        if flags & wire.FLAG_RESTART:
            paths["run restarted"] += 1
        elif found & wire.FLAG_LOADING:
            paths["parameters half written"] += 1
        elif step > self.step:
            paths["result asked for again" if step <= self.target else "board ahead of the host"] += 1
        elif step < self.known[1]:
            paths["parameters given back"] += 1
        elif step < self.step:
            paths["steps trained again"] += 1
        elif self.step:
            paths["session taken up"] += 1
        return step, digest, found

    def lost(self, error: LinkLost) -> None:
        self.paths["board seen to have reset" if isinstance(error, BoardReset) else "link lost"] += 1
        super().lost(error)


class Port:
    """A Transport on the world's line: one opening of the port."""

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
    """Line, board, flash and time. host_rate: chance of a fault of WORLD_FAULTS in each call of the host's port.

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
        self.planned: list[list] = []  # [calls until then, kind]
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
            changed(host.board, time=clock),
            changed(host.run, time=clock, os=files),
        ):
            yield

    def _replace(self, old: Path, new: Path) -> None:
        self.host_file()
        os.replace(old, new)
        self.host_file()


@contextmanager
def changed(module: types.ModuleType, **values: object) -> Iterator[None]:
    """Within, these names of a module mean something else."""
    before = {name: vars(module)[name] for name in values if name in vars(module)}
    vars(module).update(values)
    try:
        yield
    finally:
        for name in values:
            del vars(module)[name]
        vars(module).update(before)


@contextmanager
def segments() -> Iterator[None]:
    """Within, learning rates change every SEGMENT images: so often that a board that misses a change is found out."""
    with ExitStack() as stack:
        for module in (host.config, host.run, host.board):
            stack.enter_context(changed(module, SEGMENT=SEGMENT))
        yield


class Stage(Protocol):
    """Where an Episode plays: a World, or a real line to a real process (tools.soak)."""

    golden: Golden
    random: Random
    paths: Counter[str]

    def monotonic(self) -> float:
        """The clock."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def connect(self) -> Transport:
        """Open the port."""

    def begin(self, until: float) -> None:
        """The host starts on something that it must have done at that time; else its calls raise Violation."""

    def calm(self) -> None:
        """No more faults."""

    def deadline(self) -> float:
        """When a run must have ended in which nothing happens any more."""

    def faults(self) -> Counter[str]:
        """All that was injected so far."""

    def finished(self) -> None:
        """The run has ended."""


class Episode:
    """One run of a small lattice on a Stage, from its start to its end, whatever happens on the way.

    The host's process is started again as often as it dies. chunk, interval: as host.stream and host.run have them;
    largest, answer: as host.link; twin: compare each result, and not only what the board and the run come to. replace:
    let the board forget another run.
    """

    def __init__(
        self,
        world: Stage,
        directory: Path,
        chunk: int = 5,
        interval: float = 10.0,
        largest: int = wire.MAX_BODY,
        twin: bool = True,
        answer: float = ANSWER,
        replace: bool = False,
    ):
        self.world, self.golden = world, world.golden
        self.path, self.chunk, self.interval, self.twin, self.answer = directory / "run", chunk, interval, twin, answer
        self.largest, self.replace = largest, replace
        self.stop = False  # Ctrl-C has been pressed
        self.until = inf  # when the run must have ended
        self.run: Run | None = None
        self.learner: WatchedLearner | None = None
        self.chunks: Iterator = iter(())
        self.statistics: Counter[str] = Counter()

    def start(self) -> None:
        """Start the host's process, as `python -m host.stream --run-dir ... [--resume]` would."""
        world, config, data = self.world, self.golden.config, self.golden.data
        resume = (self.path / "config.json").exists()
        directory = RunDirectory(self.path, config, resume)
        link = Link(
            None,  # type: ignore[arg-type]
            world.monotonic,
            answer=self.answer,
            largest=self.largest,
            draw=lambda: world.random.getrandbits(32),
        )
        self.learner = WatchedLearner(
            config, data, world.connect, replace=self.replace, stopped=lambda: self.stop, link=link
        )
        self.learner.paths = world.paths
        self.learner.twin = GoldenTwin(self.golden) if self.twin else None  # type: ignore[assignment]
        self.run = Run(config, data, self.learner, directory, self.interval)
        if resume:
            self.run.resume()
        self.chunks = self.run.train(self.chunk)

    def end(self) -> None:
        """The host's process has ended, however."""
        if self.learner:
            for name, value in vars(self.learner.link.statistics).items():
                self.statistics[name] += value
            self.learner.close()
        self.run = self.learner = None

    def advance(self) -> bool:
        """Train one more chunk, or whatever the host comes to; return whether there is more to do."""
        return self.do(lambda run: next(self.chunks, None) is not None)

    def do(self, action: Callable[[Run], bool | None]) -> bool:
        """Let the host do something; it is started if it does not run, and may end. False: the run has ended."""
        self.world.begin(self.until)
        try:
            if self.run is None:
                self.start()
            assert self.run is not None
            if action(self.run) is False:
                self._finish()
                return False
            if self.stop:
                self._interrupted()
            return True
        except Killed:
            self.world.paths["host started again"] += 1
        except KeyboardInterrupt as error:
            self._interrupted(isinstance(error, host.board.Stopped))
        except UserError as error:  # at the first attempt of a new process: it says so and leaves
            if not any(cause in str(error) for cause in ("no firmware answered", "there is no port")):
                raise Violation(f"the host gave up: {error}") from error
            self.world.paths["host found no board and left"] += 1
        self.end()
        self.world.sleep(1.0)
        return True

    def _interrupted(self, save: bool = True) -> None:
        """What follows Ctrl-C."""
        self.stop = False
        if save:
            self.world.paths["interrupted and saved"] += 1
            self.do(Run.save)
        self.end()

    def _finish(self) -> None:
        """Compare what the run has left behind with the undisturbed run's."""
        assert self.run is not None
        found = [{k: v for k, v in line.items() if k != "images_per_second"} for line in self.run.epochs]
        if found != self.golden.epochs:
            raise Violation(f"the run's epochs are {found}, the undisturbed run's {self.golden.epochs}")
        saved = host.run.Checkpoint.read(self.path / "checkpoint.npz")
        self.golden.check(saved.step, int(saved.digest, 16))
        if saved.step != self.golden.total:
            raise Violation(f"the run has ended at step {saved.step} of {self.golden.total}")
        self.end()

    def to_end(self, faults: int = 0) -> None:
        """Go on to the end. Once there were so many faults no more come, and the run must end soon."""
        world = self.world
        more = True
        while more:
            if self.until == inf and world.faults().total() >= faults:
                world.calm()
                self.until = world.deadline()
            more = self.advance()
            if world.monotonic() > self.until:
                raise Violation(f"the run does not get on, at step {self.run.step if self.run else '?'}")
        world.finished()


def episode(seed: int, directory: Path, storm: bool = True) -> Episode:
    """The Episode of a seed: lattice, line and faults are drawn from it. storm=False: the same without faults."""
    random = Random(seed)
    rows, cols, steps = random.choice(((2, 2, 4), (3, 2, 3), (2, 3, 5), (1, 2, 3)))
    bits = random.choice((8, 8, 4, 1))
    golden = small(seed, random.choice((12, 20)), 4, (rows, cols, steps), random.choice((1, 2)), bits)
    world = World(
        seed,
        golden,
        window=random.choice((64, 80, 128, 512)),
        lossy=random.random() < 0.7,
        pace=random.choice((0.0001, 0.002, 0.02, 0.3, 2.0)),
        dtr=random.random() < 0.2,
        fat=random.random() < 0.3,
    )
    if storm:
        world.injector.rate = random.choice((0.03, 0.1, 0.2, 0.3, 0.45))
        world.rate = random.choice((0.0, 0.002, 0.006, 0.02))
        world.flash.chance = random.choice((0.0, 0.2, 0.5))
        world.file_chance = random.choice((0.0, 0.05))
    return Episode(
        world,
        directory,
        chunk=random.choice((1, 3, 7)),
        interval=random.choice((2.0, 10.0, 30.0)),
        largest=wire.HEADER + random.choice((1, 2, 3, 6, 200)) * max(1, rows * bits // 8),
        twin=random.random() < 0.7,
    )


def small(seed: int, images: int, tests: int, size: tuple[int, int, int], epochs: int = 1, bits: int = 8) -> Golden:
    """The golden run of a lattice of this size (rows, cols, steps) on noise."""
    rows, cols, steps = size
    random = np.random.default_rng(seed)
    data = Dataset(
        "noise",
        random.integers(0, 256, (images, steps, rows), np.uint8),
        random.integers(0, cols, images, np.uint8),
        random.integers(0, 256, (tests, steps, rows), np.uint8),
        random.integers(0, cols, tests, np.uint8),
    )
    config = host.config.configure(data, ("critical", "article")[seed % 2], seed, epochs, rows, cols, bits)
    return Golden(config, host.config.prepare(data, config))


def play(seed: int, faults: int, storm: bool = True) -> Episode:
    """Run the episode of a seed to its end, with so many faults at the most. Raises Violation."""
    with tempfile.TemporaryDirectory(prefix="shoreline-faults-") as name:
        story = episode(seed, Path(name), storm)
        assert isinstance(story.world, World)
        with story.world.entered():
            story.to_end(faults if storm else 0)
        return story
