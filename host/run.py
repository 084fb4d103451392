"""A training run and its directory: config.json, epochs.jsonl, checkpoint.npz; resumes bit-exactly from any moment."""

import contextlib
import errno
import json
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import numpy as np

from host.cli import UserError, shown
from host.config import OPTIONS, SEGMENT, Config, Unfit
from host.dataset import Dataset

CONFIG, CHECKPOINT, EPOCHS = "config.json", "checkpoint.npz", "epochs.jsonl"  # in a run directory
MEMBERS = ["params", "about"]  # of a checkpoint
EPOCH = {  # of an epoch's line
    "epoch": int,
    "step": int,
    "train_accuracy": float,
    "test_accuracy": float,
    "images_per_second": float,
    "digest": str,
}
CONFIG_FIELDS = {field.name for field in fields(Config)}
LONGEST = 1 << 20  # bytes of a config.json


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


def aside_of(path: Path) -> Path:
    """Where write_atomically() writes first."""
    return path.with_name(path.name + ".new")


def write_atomically(path: Path, write: Callable[[Any], Any]) -> None:
    """Let write(file) fill a new file, then put it in the place of `path`: never half a file, whatever happens."""
    aside = aside_of(path)
    try:
        with open(aside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def made(path: Path, exist_ok: bool) -> Iterator[None]:
    """Make a directory with its parents; if what follows fails, none of them that is new stays behind."""
    new = [place for place in (path, *path.parents) if not place.exists()]
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
        yield
    except FileExistsError:  # another process was faster: what is there now is not ours
        raise
    except BaseException:
        for place in new:
            with contextlib.suppress(OSError):  # not one that somebody has put something into
                place.rmdir()
        raise


def damaged(what: object, cause: str) -> UserError:
    """What to say of a file of ours that says what cannot be."""
    return UserError(f"{what} is damaged{cause and f' ({cause})'}; restore it, or start anew elsewhere")


def other_data(path: Path) -> UserError:
    """What to say of a run directory whose data are not those at hand."""
    return UserError(f"{path} was begun with other data; name them with --data, or give another --run-dir")


def lock(file: Any) -> bool:
    """Lock a file for this process; return False if another process has it. It is let go when the file is closed."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)  # else this file system has no locks
    return True


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
        if not path.exists():
            raise UserError(f"there is no checkpoint {path}; name one that host.simulate or host.stream wrote")
        foreign = f"{path} is no checkpoint of host.simulate or host.stream; name the {CHECKPOINT} of a run directory"
        if not path.is_file():  # a directory; and reading a pipe might never end
            raise UserError(foreign)
        try:
            stream = open(path, "rb")  # noqa: SIM115 (it is closed below)
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror}); make that possible, or name another") from error
        ours = False
        try:
            with stream:
                # A checkpoint that was cut off shows in its first bytes what it was, an intact one in its directory.
                ours = f"{MEMBERS[0]}.npy".encode() in stream.read(60)
                with zipfile.ZipFile(stream) as file:
                    ours = ours or [Path(name).stem for name in file.namelist()] == MEMBERS
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as file:
                    checkpoint = cls(params=file["params"], **json.loads(str(file["about"])))
            checkpoint.check()
        except Exception as error:  # damage in a zip surfaces as almost any type, depending on where it is
            cause = str(error) if isinstance(error, Unfit) else ""  # of other modules' errors none has advice for us
            raise (damaged(f"checkpoint {path}", cause) if ours else UserError(foreign)) from error
        return checkpoint

    def check(self) -> None:
        """Raise Unfit for a part that cannot be right by itself, or does not fit the others."""
        config = Config.from_dict(self.config)
        right = {
            "step": type(self.step) is int and 0 <= self.step <= config.total,
            "correct": type(self.correct) is int and 0 <= self.correct <= config.images,
            "seconds": type(self.seconds) in (int, float) and 0 <= self.seconds < float("inf"),
            "epochs": isinstance(self.epochs, list),
        }
        wrong = next((name for name, fine in right.items() if not fine), None)
        if wrong:
            raise Unfit(f"{wrong} cannot be right")
        shape, kind = (config.rows, config.cols, 4), np.float64 if config.arithmetic == "float" else np.int32
        if self.params.shape != shape or self.params.dtype != kind:
            raise Unfit(f"parameters are {self.params.dtype} {self.params.shape}, not {np.dtype(kind)} {shape}")
        if self.digest != digest(self.params, self.step):
            raise Unfit("its digest does not fit its parameters")
        done, under_way = divmod(self.step, config.images)
        if len(self.epochs) not in ({done} if under_way else {done, max(done - 1, 0)}):  # trained, but not yet tested
            raise Unfit("epochs cannot be right")
        for number, epoch in enumerate(self.epochs, 1):
            if not _epoch_fits(epoch, number, config):
                raise Unfit("an epoch cannot be right")


def _epoch_fits(epoch: Any, number: int, config: Config) -> bool:
    """Whether this can be the line of this epoch (1, 2, ...)."""
    if not isinstance(epoch, dict) or {name: type(value) for name, value in epoch.items()} != EPOCH:
        return False
    shares = (epoch["train_accuracy"], epoch["test_accuracy"])
    return (
        (epoch["epoch"], epoch["step"]) == (number, number * config.images)
        and all(0 <= share <= 1 for share in shares)
        and 0 <= epoch["images_per_second"] < float("inf")
        and re.fullmatch("[0-9a-f]{8}", epoch["digest"]) is not None
    )


def digest(params: np.ndarray, step: int) -> str:
    """As Lattice.digest(): CRC-32 over the parameters' little-endian bytes and the step counter, in hex."""
    crc = crc32(np.ascontiguousarray(params).astype(params.dtype.newbyteorder("<")).tobytes())
    return f"{crc32((step & 0xFFFFFFFF).to_bytes(4, 'little'), crc):08x}"


class RunDirectory:
    """The directory of one run. Nothing in it is ever overwritten by another run or another configuration.

    A process that works in it holds a lock on config.json, which ends with the process, however that ends.
    """

    def __init__(self, path: Path, config: Config, resume: bool, source: str | None = None):
        """Make a new directory, or open one to resume. Raises UserError if it is not the one that it should be.

        source: where the data came from, None for the bundled ones; a new config.json remembers it.
        """
        self.path = path
        self.config_path, self.checkpoint_path, self.epochs_path = (path / x for x in (CONFIG, CHECKPOINT, EPOCHS))
        try:
            if resume:
                self._recognise(config.as_dict())
            else:
                self._create({**config.as_dict(), "source": source})
            self.lock = open(self.config_path, "r+b")  # noqa: SIM115 (held as long as this object lives)
        except OSError as error:
            raise UserError(f"cannot use {path} ({error.strerror}); give another --run-dir") from error
        if not lock(self.lock):
            raise UserError(f"{path} is in use by another process; wait for its end, or give another --run-dir")

    @staticmethod
    def check_new(path: Path) -> None:
        """Raise UserError if there is something at this path that a new run would not leave alone."""
        aside = aside_of(path / CONFIG).name  # all that is there if a process was killed when it had just begun
        if not path.exists():
            return
        if not path.is_dir():
            raise UserError(f"{path} exists already, and is no directory; give another --run-dir")
        there = {p.name for p in path.iterdir()}
        if CONFIG in there:
            raise UserError(f"{path} exists already; add --resume to go on with it, or give another --run-dir")
        if there - {aside}:
            raise UserError(f"{path} exists already, and holds no run; give another --run-dir")

    def _create(self, content: dict[str, Any]) -> None:
        self.check_new(self.path)
        with made(self.path, exist_ok=True):
            write_atomically(self.config_path, lambda f: f.write(json.dumps(content, indent=1).encode()))

    @staticmethod
    def stored(path: Path) -> tuple[Config, str | None]:
        """The configuration of the run in a directory, and where its data came from (None: the bundled ones).

        Raises UserError if there is no run, or its config.json cannot be right.
        """
        place = path / CONFIG
        if not place.is_file():
            raise UserError(f"{path} holds no run to resume; leave --resume out to start one there")
        try:
            with open(place, "rb") as file:
                found = json.loads(file.read(LONGEST))
            if not isinstance(found, dict):
                raise Unfit("it is no JSON object")
            source = found.pop("source", None)
            if not (source is None or (isinstance(source, str) and 0 < len(source) < 4096 and "\0" not in source)):
                raise Unfit("source cannot be right")
            return Config.from_dict({k: v for k, v in found.items() if k in CONFIG_FIELDS}), source
        except OSError as error:
            raise UserError(f"cannot read {place} ({error.strerror}); make that possible") from error
        except RecursionError as error:
            raise damaged(place, "nested too deep") from error
        except ValueError as error:
            raise damaged(place, str(error)) from error

    def _recognise(self, wanted: dict[str, Any]) -> None:
        found = self.stored(self.path)[0].as_dict()
        k = next((k for k in wanted if found[k] != wanted[k]), None)
        if k == "data":
            raise other_data(self.path)
        if k is not None:
            raise UserError(
                f"{self.path} belongs to another configuration: {OPTIONS.get(k, k)} is {shown(found[k])} there"
                f" and {wanted[k]} here; give the same options, or another --run-dir"
            )
        if self.epochs_path.exists() and not self.checkpoint_path.exists():
            raise UserError(f"{self.path} has lost its {CHECKPOINT}; restore it, or start anew elsewhere")

    @classmethod
    def unnamed(cls, config: Config, source: str | None = None) -> "RunDirectory":
        """A new one under runs/, for a run whose directory was not named."""
        number = 0
        while True:
            number += 1
            path = Path("runs") / f"{config.preset}-{config.seed}-{number}"
            try:
                with made(path, exist_ok=False):  # at once, or two processes might find the same name
                    return cls(path, config, False, source)
            except FileExistsError:
                continue
            except OSError as error:
                raise UserError(f"cannot make {path} ({error.strerror}); name a place with --run-dir") from error

    def save(self, checkpoint: Checkpoint) -> None:
        """Checkpoint first, then the lines of epochs.jsonl, which can be made again from it. UserError if it fails."""
        lines = "".join(json.dumps(epoch) + "\n" for epoch in checkpoint.epochs)
        try:
            checkpoint.save(self.checkpoint_path)
            write_atomically(self.epochs_path, lambda f: f.write(lines.encode()))
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path} ({error.strerror}); make it possible, then go on from the last save with"
                f" --run-dir {self.path} --resume"
            ) from error


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
