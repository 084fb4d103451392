"""A training run: trains a Learner over epochs, and goes on bit-exactly from any moment. Several run side by side."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from host.data.dataset import Dataset
from host.runs.checkpoint import Checkpoint, digest
from host.runs.config import SEGMENT, Config
from host.runs.directory import RunDirectory


class Learner(Protocol):
    """What a run trains: the engine on the host, the float oracle, or a board at the end of a link."""

    guess: int | None  # of the last image that it was trained on, before that step

    def set_rates(self, config: Config, step: int) -> None:
        """Take the learning rates of this step."""

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        """Train on these images in order; return how many were predicted rightly before their own step."""

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Share of images classified rightly."""

    def params(self) -> np.ndarray:
        """Parameters (rows, cols, 4): int32 masters (Q26), or float64."""

    def load(self, params: np.ndarray, step: int) -> None:
        """Take parameters and the step counter that belongs to them."""

    def digest(self) -> str:
        """Eight hex digits: CRC-32 over parameters and step counter."""


class Team(Protocol):
    """The learners of several runs, trained together: at one step and one rate, each on images of its own."""

    def set_rates(self, config: Config, step: int) -> None:
        """Take the learning rates of this step."""

    def train(self, images: np.ndarray, labels: np.ndarray) -> Sequence[int]:
        """Train on images (n, learners, steps, rows) and labels (n, learners); return what Learner.train() does."""

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> Sequence[float]:
        """What Learner.evaluate() returns, of each on the same images."""


class Alone:
    """A Learner as a Team of one."""

    def __init__(self, learner: Learner):
        self.learner = learner
        self.set_rates = learner.set_rates

    def train(self, images: np.ndarray, labels: np.ndarray) -> Sequence[int]:
        return [self.learner.train(images[:, 0], labels[:, 0])]

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> Sequence[float]:
        return [self.learner.evaluate(images, labels)]


@dataclass
class Progress:
    """What a run reports while it works; of several, the mean."""

    epoch: int
    epochs: int
    image: int  # within the epoch
    images: int
    correct: float  # among them, before their own step
    test_images: int
    tested: int = 0
    hits: float = 0  # among those


def examine(team: Team, data: Dataset, part: int) -> Iterator[tuple[int, list[int]]]:
    """Test on data's test images, so many at a time; yield how many were seen, and how many each classified rightly."""
    images, labels = data.test_images, data.test_labels
    hits: list[int] = []
    for first in range(0, len(labels), part):
        some = labels[first : first + part]
        new = [round(share * len(some)) for share in team.evaluate(images[first : first + part], some)]
        hits = [sum(both) for both in zip(hits, new, strict=True)] if hits else new
        yield first + len(some), hits


class Run:
    """Trains a Learner over epochs, saving to a RunDirectory: each epoch, every `interval` seconds."""

    def __init__(self, config: Config, data: Dataset, learner: Learner, directory: RunDirectory, interval: float = 30):
        self.config, self.data, self.learner, self.directory = config, data, learner, directory
        self.interval = interval
        self.step = 0
        self.correct = 0
        self.seconds = 0.0
        self.epochs: list[dict[str, Any]] = []
        self.saved: int | None = None  # the step of the checkpoint that is there
        self.order, self.shuffled = np.empty(0, int), -1  # of the images, in this epoch

    @property
    def complete(self) -> bool:
        """Whether all epochs are trained and tested."""
        return len(self.epochs) == self.config.epochs

    @property
    def position(self) -> tuple[int, int]:
        """How far it is: training steps, and epochs that are tested, too."""
        return self.step, len(self.epochs)

    def resume(self) -> None:
        """Take up the checkpoint in the directory, if one was written before the run stopped."""
        saved = self.directory.checkpoint(self.config)
        if saved is None:
            return
        self.step, self.correct, self.seconds, self.epochs = saved.step, saved.correct, saved.seconds, saved.epochs
        self.learner.load(saved.params, saved.step)
        self.directory.save(saved)
        self.saved = saved.step

    def save(self) -> None:
        """Write parameters and position."""
        params = self.learner.params()
        self.directory.save(
            Checkpoint(
                self.config.as_dict(),
                params,
                self.step,
                digest(params, self.step),
                self.correct,
                self.seconds,
                self.epochs,
            )
        )
        self.saved = self.step

    def train(self, chunk: int) -> Iterator[Progress]:
        """Train to the end, yielding after at most `chunk` images; whoever stops iterating early calls save()."""
        yield from course([self], Alone(self.learner), chunk, self.config.total)

    def due(self, chunk: int) -> np.ndarray:
        """The numbers of the images that are next: at most `chunk`, of one epoch, at one learning rate."""
        epoch, position = divmod(self.step, self.config.images)
        if epoch != self.shuffled:
            self.order, self.shuffled = self.config.order(epoch), epoch
        return self.order[position : position + min(chunk, SEGMENT - self.step % SEGMENT)]

    def last(self) -> tuple[np.ndarray, int, int] | None:
        """The image that was trained on last, its label, and what the learner said of it; None if that is not known."""
        epoch, position = divmod(self.step - 1, self.config.images)
        guess = self.learner.guess
        if epoch != self.shuffled or guess is None:
            return None
        index = self.order[position]
        return self.data.train_images[index], int(self.data.train_labels[index]), guess

    def trained(self, images: int, correct: int, seconds: float) -> None:
        """Take note of so many steps, the right predictions among them, and the time that they took."""
        self.step += images
        self.correct += correct
        self.seconds += seconds

    def tested(self, hits: int) -> None:
        """Add the line of an epoch that was trained and tested, as EPOCH has it, and save."""
        self.epochs.append(
            {
                "epoch": len(self.epochs) + 1,
                "step": self.step,
                "train_accuracy": round(self.correct / self.config.images, 6),
                "test_accuracy": round(hits / self.config.test_images, 6),
                "images_per_second": round(self.config.images / max(self.seconds, 1e-9), 1),
                "digest": self.learner.digest(),
            }
        )
        self.correct, self.seconds = 0, 0.0
        self.save()


def course(runs: Sequence[Run], team: Team, chunk: int, until: int) -> Iterator[Progress]:
    """Train runs that are in one position to this step, with the tests of all epochs that end by then.

    The runs' configurations differ in their seeds only. Yields after at most `chunk` images of each; whoever stops
    iterating early saves them all.
    """
    run, saved = runs[0], time.monotonic()
    config, data = run.config, run.data
    while True:
        if run.step // config.images > len(run.epochs):
            yield from _finish_epoch(runs, team, chunk)
            saved = time.monotonic()
        if run.step == until:
            return
        which = np.stack([run.due(min(chunk, until - run.step)) for run in runs], axis=1)
        epoch, position = divmod(run.step, config.images)
        begun = time.monotonic()
        team.set_rates(config, run.step)
        correct = team.train(data.train_images[which], data.train_labels[which])
        now = time.monotonic()
        for each, right in zip(runs, correct, strict=True):
            each.trained(len(which), right, now - begun)
        if now - saved > run.interval:
            for each in runs:
                each.save()
            saved = now
        yield Progress(epoch + 1, config.epochs, position + len(which), config.images, _mean(runs), config.test_images)


def _finish_epoch(runs: Sequence[Run], team: Team, chunk: int) -> Iterator[Progress]:
    """Test, and add the epoch's lines; runs that are saved and left meanwhile will begin the test again."""
    config, epoch, n, hits = runs[0].config, len(runs[0].epochs) + 1, runs[0].config.images, [0]
    for tested, hits in examine(team, runs[0].data, 5 * chunk):
        right = sum(hits) / len(runs)
        yield Progress(epoch, config.epochs, n, n, _mean(runs), config.test_images, tested, right)
    for run, right in zip(runs, hits, strict=True):
        run.tested(right)


def _mean(runs: Sequence[Run]) -> float:
    return sum(run.correct for run in runs) / len(runs)


def side_by_side(runs: Sequence[Run], team: Callable[[Sequence[Run]], Team], chunk: int) -> Iterator[Progress]:
    """As course(), of runs in any positions, to the end of all: those behind catch up first. team: makes their Team."""
    while not all(run.complete for run in runs):
        last = min(run.position for run in runs)
        behind = [run for run in runs if run.position == last]
        ahead = [run.step for run in runs if run.position > last]
        yield from course(behind, team(behind), chunk, min(ahead, default=runs[0].config.total))
