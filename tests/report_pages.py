"""Runs of a moment, and the pages that python -m host.report makes of them."""

from pathlib import Path
from typing import Any

from small_study import results, write_study

from host.data.dataset import Dataset, load
from host.engine.learners import LaneLearner
from host.pictures.page import write_report
from host.runs.config import configure, prepare
from host.runs.directory import RunDirectory
from host.runs.run import Run

DIGITS = load().limited(60, 40)


def trained(path: Path, until: int | None = None, data: Dataset = DIGITS, source: str | None = None, **options: Any):
    """The directory of a run of two epochs on a few digits, gone to its end, or saved at a step and left."""
    config = configure(data, **{"preset": None, "seed": 1, "epochs": 2, "graph": "lattice", **options})
    run = Run(config, prepare(data, config), LaneLearner.of(config), RunDirectory(path, config, False, source))
    if until is None or until > 0:
        for _ in run.train(10):
            if until is not None and run.step >= until:
                run.save()
                break
    run.directory.close()
    return path


def page_of(path: Path, **options: Any) -> Path:
    """A page about one run, made anew."""
    write_report([trained(path / "run", **options)], path / "page.html")
    return path / "page.html"


def study_page(place: Path) -> Path:
    """A page about a study that still runs."""
    write_report([write_study(place / "study", results(), waiting=3)], place / "page.html")
    return place / "page.html"
