"""A training run: trains a Learner over epochs, and goes on bit-exactly from any moment."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from host.base.cli import UserError
from host.data.dataset import Dataset
from host.runs.checkpoint import Checkpoint, digest
from host.runs.config import SEGMENT, Config
from host.runs.directory import RunDirectory


class Learner(Protocol):
    """What a run trains: the engine on the host, the float oracle, or a board at the end of a link."""

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


@dataclass
class Progress:
    """What a run reports while it works."""

    epoch: int
    epochs: int
    image: int  # within the epoch
    images: int
    correct: int  # among them, before their own step
    test_images: int
    tested: int = 0
    hits: int = 0  # among those


def examine(learner: Learner, data: Dataset, part: int) -> Iterator[tuple[int, int]]:
    """Test on data's test images, so many at a time; yield how many were seen, and how many classified rightly."""
    images, labels = data.test_images, data.test_labels
    hits = 0
    for first in range(0, len(labels), part):
        some = labels[first : first + part]
        hits += round(learner.evaluate(images[first : first + part], some) * len(some))
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

    @property
    def complete(self) -> bool:
        """Whether all epochs are trained and tested."""
        return len(self.epochs) == self.config.epochs

    def resume(self) -> None:
        """Take up the checkpoint in the directory, if one was written before the run stopped."""
        if not self.directory.checkpoint_path.exists():
            return
        saved = Checkpoint.read(self.directory.checkpoint_path)
        if saved.config != self.config.as_dict():
            raise UserError(f"{self.directory.checkpoint_path} is another run's; restore it, or start anew elsewhere")
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
        """Train to the end, yielding after at most `chunk` images; whoever stops iterating early calls save().

        An epoch's line is as EPOCH has it.
        """
        config, data = self.config, self.data
        saved = time.monotonic()
        order, shuffled = np.empty(0, int), -1
        while True:
            epoch, position = divmod(self.step, config.images)
            if epoch > len(self.epochs):
                yield from self._finish_epoch(chunk)
                saved = time.monotonic()
            if self.step == config.total:
                return
            if epoch != shuffled:
                order, shuffled = config.order(epoch), epoch
            end = min(position + chunk, config.images, position + SEGMENT - self.step % SEGMENT)
            which = order[position:end]
            begun = time.monotonic()
            self.learner.set_rates(config, self.step)
            self.correct += self.learner.train(data.train_images[which], data.train_labels[which])
            now = time.monotonic()
            self.step += len(which)
            self.seconds += now - begun
            if now - saved > self.interval:
                self.save()
                saved = now
            yield Progress(epoch + 1, config.epochs, end, config.images, self.correct, config.test_images)

    def _finish_epoch(self, chunk: int) -> Iterator[Progress]:
        """Test, and add the epoch's line; a run that is saved and left meanwhile will begin the test again."""
        config, epoch, n, hits = self.config, len(self.epochs) + 1, self.config.images, 0
        for tested, hits in examine(self.learner, self.data, 5 * chunk):
            yield Progress(epoch, config.epochs, n, n, self.correct, config.test_images, tested, hits)
        self.epochs.append(
            {
                "epoch": len(self.epochs) + 1,
                "step": self.step,
                "train_accuracy": round(self.correct / config.images, 6),
                "test_accuracy": round(hits / config.test_images, 6),
                "images_per_second": round(config.images / max(self.seconds, 1e-9), 1),
                "digest": self.learner.digest(),
            }
        )
        self.correct, self.seconds = 0, 0.0
        self.save()
