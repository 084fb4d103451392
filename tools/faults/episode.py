"""A run of a small network in a world of faults, from its start to its end."""

from collections import Counter
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from random import Random
from typing import Protocol

import host.board.learner
import host.runs.checkpoint
import host.runs.config
from firmware import wire
from host.base.cli import UserError
from host.base.scratch import Scratch
from host.board.link import ANSWER, Link
from host.board.transport import BoardReset, LinkLost, Transport
from host.runs.directory import RunDirectory
from host.runs.run import Progress, Run
from tools.faults.golden import Golden, GoldenTwin, Violation, small
from tools.faults.world import Killed, World
from tools.networks import NETWORKS


class WatchedLearner(host.board.learner.BoardLearner):
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
    """One run of a small network on a Stage, from its start to its end, whatever happens on the way.

    The host's process is started again as often as it dies. chunk, interval: as host.stream and Run have them; largest,
    answer: as Link; twin: compare each result, and not only what the board and the run come to. replace: let the board
    forget another run.
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
        self.chunks: Iterator[Progress] = iter(())
        self.statistics: Counter[str] = Counter()

    def start(self) -> None:
        """Start the host's process, as `python -m host.stream --run-dir ... [--resume]` would."""
        world, config, data = self.world, self.golden.config, self.golden.data
        resume = (self.path / "config.json").exists()
        directory = RunDirectory(self.path, config, resume)
        link = Link(
            clock=world.monotonic,
            answer=self.answer,
            largest=self.largest,
            draw=lambda: world.random.getrandbits(32),
        )
        self.learner = WatchedLearner(
            config, data, world.connect, replace=self.replace, stopped=lambda: self.stop, link=link
        )
        self.learner.paths = world.paths
        self.learner.twin = GoldenTwin(self.golden) if self.twin else None
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
            self._interrupted(isinstance(error, host.board.learner.Stopped))
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
        saved = host.runs.checkpoint.Checkpoint.read(self.path / "checkpoint.npz")
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
    """The Episode of a seed: network, line and faults are drawn from it. storm=False: the same without faults."""
    random = Random(seed)
    rows, cols, steps = random.choice(((2, 2, 4), (3, 2, 3), (2, 3, 5), (1, 2, 3)))
    bits = random.choice((8, 8, 4, 1))
    images, epochs = random.choice((12, 20)), random.choice((1, 2))
    golden = small(seed, images, 4, (rows, cols, steps), epochs, bits, random.choice(NETWORKS))
    world = World(
        seed,
        golden,
        window=random.choice((72, 80, 128, 512)),
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


def play(seed: int, faults: int, storm: bool = True) -> Episode:
    """Run the episode of a seed to its end, with so many faults at the most. Raises Violation."""
    with Scratch("faults") as directory:
        story = episode(seed, directory, storm)
        assert isinstance(story.world, World)
        with story.world.entered():
            story.to_end(faults if storm else 0)
        return story
