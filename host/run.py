"""A training run and its directory: config.json, epochs.jsonl, checkpoint.npz; resumes bit-exactly from any moment."""

import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from host.cli import UserError
from host.config import SEGMENT, Config
from host.dataset import Dataset


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


def write_atomically(path: Path, write: Callable[[Any], None]) -> None:
    """Let write(file) fill a new file, then put it in the place of `path`: never half a file, whatever happens."""
    aside = path.with_name(path.name + ".new")
    with open(aside, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


@dataclass
class Checkpoint:
    """Parameters with the step counter, and how far the run has come."""

    config: dict[str, Any]
    params: np.ndarray
    step: int
    digest: str
    correct: int = 0  # right predictions so far in the epoch that is under way
    seconds: float = 0.0  # training time so far in that epoch
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write an .npz without pickled objects, atomically."""
        about = json.dumps({k: v for k, v in vars(self).items() if k != "params"})
        write_atomically(path, lambda f: np.savez(f, params=self.params, about=np.array(about)))

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Raises UserError if the file is missing, damaged or not a checkpoint."""
        try:
            with np.load(path, allow_pickle=False) as file:
                params, about = file["params"], json.loads(str(file["about"]))
            checkpoint = cls(params=params, **about)
            shape = (checkpoint.config["rows"], checkpoint.config["cols"], 4)
            kind = np.float64 if checkpoint.config["arithmetic"] == "float" else np.int32
            if params.shape != shape or params.dtype != kind:
                raise ValueError(f"parameters are {params.dtype} {params.shape}, not {np.dtype(kind)} {shape}")
            if checkpoint.digest != digest(params, checkpoint.step):
                raise ValueError("its digest does not fit its parameters")
        except FileNotFoundError as error:
            raise UserError(f"there is no checkpoint {path}; name one that host.simulate or host.stream wrote") from error
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"checkpoint {path} is damaged ({cause}); restore it, or start anew elsewhere") from error
        return checkpoint


def digest(params: np.ndarray, step: int) -> str:
    """As Lattice.digest(): CRC-32 over the parameters' little-endian bytes and the step counter, in hex."""
    crc = zipfile.crc32(np.ascontiguousarray(params).astype(params.dtype.newbyteorder("<")).tobytes())
    return f"{zipfile.crc32((step & 0xFFFFFFFF).to_bytes(4, 'little'), crc):08x}"


class RunDirectory:
    """The directory of one run. Nothing in it is ever overwritten by another run or another configuration."""

    def __init__(self, path: Path, config: Config, resume: bool):
        """Make a new directory, or open one to resume. Raises UserError if it is not the one that it should be."""
        self.path = path
        self.checkpoint_path = path / "checkpoint.npz"
        wanted = config.as_dict()
        if resume:
            try:
                found = json.loads((path / "config.json").read_text())
            except FileNotFoundError as error:
                raise UserError(f"{path} holds no run to resume; leave --resume out to start one there") from error
            except (OSError, ValueError) as error:
                raise UserError(f"{path / 'config.json'} is damaged ({error}); restore it, or start anew") from error
            different = [k for k in wanted if found.get(k) != wanted[k]] if isinstance(found, dict) else ["config.json"]
            if different:
                k = different[0]
                raise UserError(
                    f"{path} belongs to another configuration: {k} is {found.get(k)} there and {wanted[k]} here;"
                    " give the same options, or another --run-dir"
                )
            return
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} exists already; add --resume to go on with it, or give another --run-dir")
        try:
            path.mkdir(parents=True, exist_ok=True)
            write_atomically(path / "config.json", lambda f: f.write(json.dumps(wanted, indent=1).encode()))
        except OSError as error:
            raise UserError(f"cannot write to {path} ({error.strerror}); give another --run-dir") from error

    @staticmethod
    def unused(preset: str, seed: int) -> Path:
        """A new name under runs/ for a run whose directory was not named."""
        number = 1
        while (path := Path("runs") / f"{preset}-{seed}-{number}").exists():
            number += 1
        return path

    def save(self, checkpoint: Checkpoint) -> None:
        """Checkpoint first, then the lines of epochs.jsonl, which can be made again from it."""
        checkpoint.save(self.checkpoint_path)
        lines = "".join(json.dumps(epoch) + "\n" for epoch in checkpoint.epochs)
        write_atomically(self.path / "epochs.jsonl", lambda f: f.write(lines.encode()))


@dataclass
class Progress:
    """What a run reports while it works."""

    epoch: int
    epochs: int
    image: int  # within the epoch
    images: int
    correct: int
    rate: float  # images per second lately


class Run:
    """Trains a Learner over epochs, saving to a RunDirectory: each epoch, every `interval` seconds."""

    def __init__(self, config: Config, data: Dataset, learner: Learner, directory: RunDirectory, interval: float = 30):
        self.config, self.data, self.learner, self.directory = config, data, learner, directory
        self.interval = interval
        self.step = 0
        self.correct = 0
        self.seconds = 0.0
        self.epochs: list[dict[str, Any]] = []

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

    def save(self) -> None:
        """Write parameters and position."""
        params = self.learner.params()
        self.directory.save(
            Checkpoint(
                self.config.as_dict(), params, self.step, digest(params, self.step), self.correct, self.seconds,
                self.epochs,
            )
        )

    def train(self, chunk: int) -> Iterator[Progress]:
        """Train to the end, yielding after at most `chunk` images; whoever stops iterating early calls save().

        An epoch's line is {epoch, step, train_accuracy, test_accuracy, images_per_second, digest}.
        """
        config, data = self.config, self.data
        saved = time.monotonic()
        order, shuffled = config.order(0), 0
        while True:
            epoch, position = divmod(self.step, config.images)
            if epoch > len(self.epochs):
                self._finish_epoch()
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
            yield Progress(epoch + 1, config.epochs, end, config.images, self.correct, len(which) / (now - begun))

    def _finish_epoch(self) -> None:
        config = self.config
        self.epochs.append(
            {
                "epoch": len(self.epochs) + 1,
                "step": self.step,
                "train_accuracy": round(self.correct / config.images, 6),
                "test_accuracy": round(self.learner.evaluate(self.data.test_images, self.data.test_labels), 6),
                "images_per_second": round(config.images / max(self.seconds, 1e-9), 1),
                "digest": self.learner.digest(),
            }
        )
        self.correct, self.seconds = 0, 0.0
        self.save()
