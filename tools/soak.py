"""Injects faults between host and board until so many were injected, and finds out whether a step is lost or doubled.

A run after the other trains a small network, of any graph and rule, while bytes, frames, cables, boards and hosts fail.
Everything is compared with the golden model: each prediction and digest, the board's checkpoints, the epochs' lines,
the final parameters. A difference ends the soak with exit code 1 and the seed that runs the same again. Examples:

  python -m tools.soak                           a million faults in one process, in virtual time; some ten minutes
  python -m tools.soak --seed 1234 --faults 1    the run of one seed, as it was named by a failure
  python -m tools.soak --pty                     10,000 faults through a real pty to a real MicroPython, in real time
  python -m tools.soak --pty --arch i386         the same on a 32-bit machine

With --pty the faults come from the seed too, but when they come depends on the machine's load.
"""

import contextlib
import functools
import gc
import json
import os
import struct
import sys
import threading
import time
import traceback
import types
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random

import host.base.files
import host.board.frames
import host.board.learner
import host.board.link
from firmware import storage, wire
from fixedpoint.network import words
from host.base import cli
from host.base.heartbeat import heartbeat
from host.base.scratch import Scratch, place
from host.board.serialport import SerialTransport
from host.board.sim import ARCHITECTURES, SimBoard
from tools.faults.changed import changed, segments
from tools.faults.episode import Episode, play
from tools.faults.golden import Golden, Violation, small
from tools.faults.injector import Injector
from tools.faults.world import Killed, World
from tools.networks import NETWORKS

IN_PROCESS, THROUGH_PTY = 1_000_000, 10_000  # faults, unless told otherwise
PER_RUN = {False: 1500, True: 300}  # at the most: a run must come to its end, too
PATIENCE = 180.0  # seconds for a chunk of images, and for the rest of a run without faults, through a pty

# A board whose flash is slow enough to be cut off in the midst of a checkpoint, and tears a write in two.
SLOW_FLASH = """
import os, time
from firmware import storage
import firmware.main

def wait():
    time.sleep(0.002)

class File:
    def __init__(self, file):
        self.file = file
    def write(self, data):
        data = bytes(data)
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            self.file.write(part)
            self.file.flush()
            wait()
    def __enter__(self):
        return self
    def __exit__(self, *exc):
        self.file.close()
        wait()

class Files:
    stat, remove = os.stat, os.remove
    def rename(old, new):
        wait()
        os.rename(old, new)
        wait()

def slow_open(name, mode):
    file = open(name, mode)
    if mode == "rb":
        return file
    wait()
    return File(file)

storage.os, storage.open = Files, slow_open
firmware.main.main()
"""
SAVING = 0.03  # seconds that its checkpoint takes, about
CHECKPOINT_FRAME = struct.calcsize(wire.ASK_FORMAT) + host.board.frames.OVERHEAD - 1  # bytes, but for the first zero


class Pty:
    """A Stage for Episodes: a SimBoard behind a pseudo-terminal, in real time. One board serves many runs."""

    def __init__(self, seed: int, arch: str | None, flash: Path):
        self.random = Random(seed)
        self.golden: Golden
        self.limit = inf
        self.paths: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.injector = Injector(Random(seed + 1))
        self.rate = 0.0  # chance of a fault at the line's ends, for each call of the host's port
        self.quiet = False
        self.happening: SimpleQueue[str] = SimpleQueue()  # from the host's thread to the one that spoils
        self.checkpoint = threading.Event()  # one is about to be written, and shall fail
        self.ending = threading.Event()
        self.trouble: list[str] = []
        self.board = SimBoard(arch, flash, damage=self._damage)
        (flash / "main.py").write_text(SLOW_FLASH)
        self.board.reset()
        self.thread = threading.Thread(target=self._spoil, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """End the board."""
        self.ending.set()
        self.thread.join()
        self.board.close()

    # The Stage

    def monotonic(self) -> float:
        """The real clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Not as long as a person takes to start a command again."""
        time.sleep(min(seconds, 0.02))

    def connect(self) -> "Fragile":
        """Open the port."""
        return Fragile(SerialTransport(self.board.port), self)

    def begin(self, until: float) -> None:
        """The host starts on something that it must have done at that time, or within minutes."""
        self.limit = min(until, time.monotonic() + PATIENCE)

    def calm(self) -> None:
        """No more faults."""
        self.quiet = True
        self.injector.calm()

    def deadline(self) -> float:
        """When a run must have ended in which nothing happens any more."""
        return time.monotonic() + PATIENCE

    def faults(self) -> Counter[str]:
        """All that was injected so far."""
        return self.counts + self.injector.counts

    def since(self, before: int) -> int:
        """How many more than `before`, as another thread may ask."""
        return sum(sum(list(counts.values())) for counts in (self.counts, self.injector.counts)) - before

    def finished(self) -> None:
        """The run has ended: nothing was found in its checkpoints?"""
        if self.trouble:
            raise Violation(self.trouble[0])

    # What goes wrong

    def stormy(self, rate: float) -> None:
        """Begin anew to make faults."""
        self.injector.rate, self.rate, self.quiet = rate, 0.006, False

    def _damage(self, data: bytes, to_board: bool) -> bytes:
        """Called by the board's thread for all that goes over the line."""
        if self.quiet:
            return data
        out = b""
        pieces = data.split(b"\0")
        for frame in [piece + b"\0" for piece in pieces[:-1]] + [piece for piece in pieces[-1:] if piece]:
            if frame == b"\0":  # before a frame
                out += frame
                continue
            saves = to_board and len(frame) == CHECKPOINT_FRAME and frame[1] == wire.CHECKPOINT
            if saves and self.injector.random.random() < 0.5:
                self.checkpoint.set()
            out += self.injector.damage(frame, to_board)
        if self.injector.random.random() < self.rate:
            self.counts["stall"] += 1
            time.sleep(self.injector.random.choice((0.01, 0.1, 0.4)))
        return out

    def call(self) -> None:
        """The host calls its port: it may be killed then, and other things happen."""
        if time.monotonic() > self.limit:
            raise Violation("the host does not get on")
        if not self.quiet and self.random.random() < self.rate:
            kind = self.random.choice(("kill", "reset", "unplug"))
            if kind == "kill":
                self.counts[kind] += 1
                raise Killed
            self.happening.put(kind)

    def host_file(self) -> None:
        """The host does something to a file of its run directory."""
        if not self.quiet and self.random.random() < 0.03:
            self.counts["host cut"] += 1
            raise Killed

    def _spoil(self) -> None:
        """The thread that resets and unplugs the board."""
        random = Random(self.injector.random.random())
        while not self.ending.is_set():
            if self.checkpoint.wait(0.005):
                self.checkpoint.clear()
                if not self.quiet:
                    self._cut(random.uniform(0, SAVING))
            with contextlib.suppress(Empty):
                kind = self.happening.get_nowait()
                self.counts[kind] += 1
                if kind == "reset":
                    self.board.reset()
                else:
                    self.board.unplug()
                    time.sleep(random.choice((0.0, 0.1, 0.3)))
                    self.board.plug()

    def _cut(self, after: float) -> None:
        """Cut the power while a checkpoint is written, and look at what there is of it."""
        before = storage.load(None, f"{self.board.flash}/")
        time.sleep(after)
        self.board.power_off()
        halfway = (self.board.flash / storage.ASIDE).exists()
        self.counts["power cut" if halfway else "reset"] += 1
        saved = self._saved()
        if before and not saved:
            self.trouble.append("a power cut has left no checkpoint, though there was one")
        self.board.power_on()

    def _saved(self) -> tuple[int, int, int] | None:
        """The checkpoint in the board's flash, compared with the golden model."""
        root = f"{self.board.flash}/"
        saved: tuple[int, int, int] | None = storage.load(None, root)
        if saved and saved[0] == host.board.learner.session_id(self.golden.config):
            lattice = self.golden.config.network()
            values = words(saved[2])
            if storage.load(values, root) == saved:
                lattice.load(values, saved[1])
                if lattice.digest() != self.golden.digests[saved[1]]:
                    self.trouble.append(f"the checkpoint of step {saved[1]} is not that of the golden model")
        return saved

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within, the host is less patient, and its files can fail."""
        files = types.SimpleNamespace(fsync=lambda number: self.host_file(), replace=self._replace)
        with (
            segments(),
            changed(host.board.learner, PAUSE=0.05),
            changed(host.board.link, GREET=0.1, OPENING=2.0),
            changed(host.base.files, os=files),
        ):
            yield

    def _replace(self, old: Path, new: Path) -> None:
        self.host_file()
        os.replace(old, new)
        self.host_file()


class Fragile:
    """A SerialTransport whose host may die in the midst of it."""

    def __init__(self, transport: SerialTransport, stage: Pty):
        self.transport, self.stage, self.room = transport, stage, transport.room

    def read(self, timeout: float) -> bytes:
        """As Transport.read."""
        self.stage.call()
        return self.transport.read(timeout)

    def write(self, data: bytes) -> None:
        """As Transport.write."""
        self.stage.call()
        self.transport.write(data)

    def close(self) -> None:
        """As Transport.close."""
        self.transport.close()


class Total:
    """What has been done so far."""

    def __init__(self, wanted: int):
        self.wanted, self.begun = wanted, time.monotonic()
        self.under_way: Callable[[], int] = lambda: 0  # faults of the run that has not ended yet
        self.counts: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()
        self.networks: Counter[str] = Counter()  # runs
        self.runs = self.steps = 0

    def add(self, story: Episode, counts: Counter[str], paths: Counter[str]) -> None:
        """A run has ended well."""
        self.counts += counts
        self.paths += paths
        self.paths += story.statistics
        self.networks["{graph} {rule}".format(**vars(story.golden.config))] += 1
        self.runs += 1
        self.steps += story.golden.total

    def so_far(self) -> str:
        """For somebody who waits."""
        faults = self.faults + self.under_way()
        return (
            f"{faults:>9,} of {self.wanted:,} faults, {faults / (time.monotonic() - self.begun):,.0f} a second,"
            f" {self.runs:,} runs of {self.steps:,} steps, none lost, none doubled"
        )

    @property
    def faults(self) -> int:
        """Faults injected so far."""
        return sum(list(self.counts.values()))  # a copy: the heartbeat asks from another thread

    def as_dict(self) -> dict[str, object]:
        """For --json."""
        return {
            "faults": self.faults,
            "runs": self.runs,
            "steps": self.steps,
            "seconds": round(time.monotonic() - self.begun, 1),
            "networks": dict(sorted(self.networks.items())),
            "kinds": dict(self.counts.most_common()),
            "recoveries": dict(self.paths.most_common()),
        }


def in_process(seed: int, total: Total, status: cli.Interrupt) -> int | None:
    """Runs of consecutive seeds in virtual time; return the seed of one that fails."""
    gc.freeze()  # else each gc.collect() of a board walks through all that was imported
    while total.faults < total.wanted and not status.requested:
        try:
            story = play(seed, PER_RUN[False])
        except Exception:
            traceback.print_exc()
            return seed
        world = story.world
        assert isinstance(world, World)
        total.add(story, world.faults(), world.paths + world.board.counters)
        seed += 1
    return None


def through_pty(seed: int, total: Total, status: cli.Interrupt, arch: str | None) -> int | None:
    """The same on a real board's program, in real time."""
    with Scratch("soak") as work:
        flash = work / "flash"
        flash.mkdir()
        stage = Pty(seed, arch, flash)
        print(f"simulated board: {stage.board.arch}", file=sys.stderr)
        with contextlib.closing(stage), stage.entered():
            while total.faults < total.wanted and not status.requested:
                random = Random(seed)
                before, paths = stage.faults(), Counter(stage.paths)
                total.under_way = functools.partial(stage.since, before.total())
                bits, kind = random.choice((8, 4, 1)), NETWORKS[seed % len(NETWORKS)]
                stage.golden = small(seed, 40, 6, (6, 4, 8), 2, bits, kind)
                stage.stormy(random.choice((0.05, 0.1, 0.2, 0.3)))
                largest = wire.HEADER + random.choice((6, 12, 24, 200))
                answer = 0.06 if stage.board.arch == "x64" else 0.3
                story = Episode(stage, work / str(seed), chunk=random.choice((3, 7)), interval=0.3,
                                largest=largest, answer=answer, replace=True)  # fmt: skip
                (work / str(seed)).mkdir()
                try:
                    story.to_end(before.total() + min(PER_RUN[True], total.wanted - total.faults))
                except Exception:
                    traceback.print_exc()
                    return seed
                total.under_way = lambda: 0
                total.add(story, stage.faults() - before, stage.paths - paths)
                seed += 1
    return None


def main() -> int:
    parser = cli.Parser("python -m tools.soak", __doc__)
    in_process_only = cli.Case("a soak in process", lambda args: not args.pty, "add --pty")
    parser.option("--faults", lowest=1, help=f"faults to inject (default: {IN_PROCESS:,}; with --pty {THROUGH_PTY:,})")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the next ones have the following"
                        " (default: 1)")  # fmt: skip
    parser.add_argument("--pty", action="store_true", help="through a real pseudo-terminal to a real MicroPython")
    parser.option("--arch", choices=ARCHITECTURES, useless=(in_process_only,), help="the board's machine, with --pty"
                  " (default: x64; i386 and armhf are 32-bit machines; cpython is the stand-in)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the counts as one JSON object on stdout")
    args = parser.parse_args()
    wanted = args.faults if args.faults is not None else THROUGH_PTY if args.pty else IN_PROCESS
    place()  # a run without one would count as a failure of the code under test
    total = Total(wanted)
    with cli.Interrupt() as status, heartbeat(total.so_far):
        failed = through_pty(args.seed, total, status, args.arch) if args.pty else in_process(args.seed, total, status)
    answer = total.as_dict()
    if args.json:
        print(json.dumps(answer | {"seed": args.seed, "failed": failed}))
    else:
        for key, value in answer.items():
            if isinstance(value, dict):
                print(f"{key}: " + ", ".join(f"{name} {n:,}" for name, n in value.items()))
            else:
                print(f"{key}: {value:,}")
    if failed is not None:
        again = f"python -m tools.soak --seed {failed} --faults {PER_RUN[True] if args.pty else 1}"
        if args.pty:
            again += " --pty" + (f" --arch {args.arch}" if args.arch else "")
        print(f"FAILED with seed {failed}; to run it again: {again}", file=sys.stderr)
        return 1
    if status.requested:
        raise KeyboardInterrupt
    return 0


if __name__ == "__main__":
    cli.run(main)
