"""The directory of a run: config.json, checkpoint.npz, epochs.jsonl, results.csv, and link.json if it had a board."""

import contextlib
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from host.base.cli import UserError, shown
from host.base.files import aside_of, lock, made, write_atomically
from host.runs.checkpoint import CHECKPOINT, Checkpoint, damaged
from host.runs.config import OPTIONS, Config, Unfit

CONFIG, EPOCHS, RESULTS, LINK = "config.json", "epochs.jsonl", "results.csv", "link.json"  # beside CHECKPOINT
LONGEST = 1 << 20  # bytes of a config.json
CONFIG_FIELDS = {field.name for field in fields(Config)}
# Columns of a results.csv: of the epoch first, then of the run.
COLUMNS = ("epoch", "step", "train_accuracy", "test_accuracy", "images_per_second", "digest", "seed", "graph", "rule",
           "preset", "disturb", "arithmetic", "images", "epochs", "test_images", "rows", "cols", "units", "pixel_bits",
           "rate", "data")  # fmt: skip


def other_data(path: Path) -> UserError:
    """What to say of a run directory whose data are not those at hand."""
    return UserError(f"{path} was begun with other data; name them with --data, or give another --run-dir")


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

    @staticmethod
    def name(config: Config, seed: int | str, number: int) -> Path:
        """What the directory of a run is called that its user gave no name."""
        return Path("runs") / f"{config.preset}-{seed}-{number}"

    @classmethod
    def unnamed(cls, config: Config, source: str | None = None) -> "RunDirectory":
        """A new one under runs/, for a run whose directory was not named."""
        number = 0
        while True:
            number += 1
            path = cls.name(config, config.seed, number)
            try:
                with made(path, exist_ok=False):  # at once, or two processes might find the same name
                    return cls(path, config, False, source)
            except FileExistsError:
                continue
            except OSError as error:
                raise UserError(f"cannot make {path} ({error.strerror}); name a place with --run-dir") from error

    def close(self) -> None:
        """Let another process work in it."""
        self.lock.close()

    def checkpoint(self, config: Config) -> Checkpoint | None:
        """The one that is there, if one was written yet. Raises UserError if it is not of this configuration."""
        if not self.checkpoint_path.exists():
            return None
        saved = Checkpoint.read(self.checkpoint_path)
        if saved.config != config.as_dict():
            raise UserError(f"{self.checkpoint_path} is another run's; restore it, or start anew elsewhere")
        return saved

    def save(self, checkpoint: Checkpoint) -> None:
        """Checkpoint first, then the lines of epochs.jsonl and results.csv, which can be made again from it.

        Raises UserError if that fails.
        """
        lines = "".join(json.dumps(epoch) + "\n" for epoch in checkpoint.epochs)
        with self._written("make it possible, then go on from the last save with"):
            checkpoint.save(self.checkpoint_path)
            write_atomically(self.epochs_path, lambda f: f.write(lines.encode()))
            write_atomically(self.path / RESULTS, lambda f: f.write(table(checkpoint).encode()))

    def keep_link(self, counters: dict[str, Any]) -> None:
        """Write link.json: what the link has done in a run that is complete. Raises UserError if that fails."""
        content = json.dumps(counters, indent=1) + "\n"
        with self._written("make it possible; the run is saved, and this prints its result:"):
            write_atomically(self.path / LINK, lambda f: f.write(content.encode()))

    @contextlib.contextmanager
    def _written(self, way_out: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path} ({error.strerror}); {way_out} --run-dir {self.path} --resume"
            ) from error


def table(checkpoint: Checkpoint) -> str:
    """A run's epochs for a spreadsheet: a header and a line for each."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(checkpoint.config | epoch for epoch in checkpoint.epochs)
    return text.getvalue()
