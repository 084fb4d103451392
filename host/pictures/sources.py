"""What pictures are made of: the directories of runs and studies, as they are found, finished or running."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from host.base.cli import UserError
from host.data.dataset import Dataset
from host.runs.checkpoint import CHECKPOINT, Checkpoint, damaged
from host.runs.config import Config, prepare
from host.runs.directory import CONFIG, RunDirectory
from host.runs.options import data_of

STUDY, RESULTS, TABLE, LINK = "study.json", "results.json", "results.csv", "link.json"
BUDGET = ("images", "epochs", "test_images", "seeds")  # of a study
SAME = ("figure", "series", "graph", "rule", "preset", "disturb")  # of a condition, in both tables of a study


@dataclass
class Source:
    """A run as its directory has it."""

    path: Path
    config: Config
    source: str | None  # where its data came from, None for the bundled ones
    epochs: list[dict[str, Any]]
    saved: Checkpoint | None
    link: dict[str, Any]  # counters of the line to a board, if it was trained on one

    @property
    def recipe(self) -> Config:
        """What runs with several seeds have in common."""
        return replace(self.config, seed=0)

    @property
    def complete(self) -> bool:
        """Whether all epochs are trained and tested."""
        return len(self.epochs) == self.config.epochs

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy after each epoch so far."""
        return [epoch["test_accuracy"] for epoch in self.epochs]

    def data(self, elsewhere: str | None) -> Dataset:
        """What it learns from, as its network sees it. Raises UserError if that is not there."""
        return prepare(data_of(self.path, self.config, elsewhere or self.source), self.config)


@dataclass
class Study:
    """A study as its directory has it; see host.study."""

    path: Path
    about: dict[str, Any]  # study.json
    results: list[dict[str, Any]]
    table: list[dict[str, str]]  # results.csv

    @property
    def name(self) -> str:
        """As host.study calls it."""
        return str(self.about.get("name", self.path.name))

    def runs(self, status: str) -> int:
        """How many of its runs are complete, failed or waiting; one that serves several conditions counts once."""
        return len({line["run"] for line in self.table if line["status"] == status})

    def config(self, result: dict[str, Any]) -> Config | None:
        """The configuration of a condition's runs, but for the seed; None if none has begun yet."""
        for line in self.table:
            if float(line["level"]) == result["level"] and all(line[key] == result[key] for key in SAME):
                path = self.path / "runs" / line["run"]
                if (path / CONFIG).is_file():
                    return RunDirectory.stored(path)[0]
        return None


@dataclass
class Found:
    """What lies at the paths that were named."""

    runs: list[Source] = field(default_factory=list)
    studies: list[Study] = field(default_factory=list)

    def groups(self) -> list[list[Source]]:
        """The runs, those that differ in their seeds only together, in order of their seeds."""
        together: dict[Config, list[Source]] = {}
        for run in self.runs:
            together.setdefault(run.recipe, []).append(run)
        return [sorted(group, key=lambda run: run.config.seed) for group in together.values()]


def find(paths: Sequence[Path]) -> Found:
    """The runs and studies at these paths; a directory of run directories stands for these. Raises UserError."""
    found = Found()
    for path in paths:
        if (path / STUDY).is_file():
            found.studies.append(_study(path))
        elif (path / CONFIG).is_file():
            found.runs.append(_run(path))
        else:
            inside = sorted(place.parent for place in path.glob(f"*/{CONFIG}"))
            if not inside:
                raise UserError(f"{path} holds neither a run nor a study; name the directory of one")
            found.runs += map(_run, inside)
    return found


def _run(path: Path) -> Source:
    config, source = RunDirectory.stored(path)
    place = path / CHECKPOINT
    saved = Checkpoint.read(place) if place.exists() else None
    if saved and saved.config != config.as_dict():
        raise UserError(f"{place} is another run's; restore it, or name another directory")
    link = _json(path / LINK) if (path / LINK).exists() else {}
    # A checkpoint is written first, and its lines of epochs.jsonl after it.
    return Source(path, config, source, saved.epochs if saved else [], saved, link)


def _study(path: Path) -> Study:
    about = _json(path / STUDY, BUDGET)
    if not (path / RESULTS).is_file():
        raise UserError(f"{path} has no {RESULTS} yet; look again when its first run has ended")
    try:
        with open(path / TABLE, newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"cannot read {path / TABLE} ({error.strerror}); make that possible") from error
    return Study(path, about, _json(path / RESULTS, ("results",))["results"], table)


def _json(path: Path, needs: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON object in a file, which has these parts at the least. Raises UserError."""
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); make that possible") from error
    except ValueError as error:
        raise damaged(path, str(error)) from error
    if not isinstance(found, dict) or not set(needs) <= found.keys():
        raise damaged(path, f"it is no JSON object with {', '.join(needs) or 'names'}")
    return found
