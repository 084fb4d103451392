"""What a worker does for a study, in whatever process and on whatever computer: it trains a team.

A team is the runs of one condition, side by side in lanes, each from where its directory says to its end.
"""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from host.base import cli
from host.data import dataset
from host.engine.worker import opened, trained
from host.runs.config import Config
from host.runs.directory import CONFIG, RunDirectory
from host.studies.directory import Turn

EVERY = 0.2  # seconds between two looks at whose turn it is
PARENT = os.getppid()  # who started this process

load = lru_cache(maxsize=1)(dataset.load)  # once in each process


@dataclass(frozen=True)
class Job:
    """A run: its configuration and its directory."""

    name: str
    path: Path
    config: Config


@dataclass(frozen=True)
class Ended:
    """How a run has ended: with its last epoch's line, or an error; with neither if it was told to stop."""

    name: str
    epoch: dict[str, Any] | None = None
    error: str | None = None


def work(team: Sequence[Job], source: str | None, turn: Turn) -> list[Ended]:
    """Train a team; if that fails each run alone, for one that cannot be trained is no other's end.

    source: of the data, None for the bundled digits. As soon as the turn is over, all runs are saved.
    """
    apart = os.getpid() != turn.process
    with cli.Interrupt() as status:
        ended = _train(team, source, _watch(turn, status, apart))
    if apart and os.getppid() != PARENT:
        os._exit(1)  # nobody is there any more who could be told, or has more to do
    return ended


def _watch(turn: Turn, status: cli.Interrupt, apart: bool) -> Callable[[], bool]:
    """What says whether to stop: the turn is over, a signal has come, or who started this process has gone."""
    looked, over = 0.0, False

    def stopped() -> bool:
        nonlocal looked, over
        now = time.monotonic()
        if now - looked > EVERY:
            looked, over = now, turn.over() or (apart and os.getppid() != PARENT)
        return over or status.requested

    return stopped


def _train(team: Sequence[Job], source: str | None, stopped: Callable[[], bool]) -> list[Ended]:
    if stopped():
        return [Ended(job.name) for job in team]
    try:
        return _side_by_side(team, source, stopped)
    except Exception as error:
        if len(team) == 1:
            text = str(error) if isinstance(error, cli.UserError) else f"{type(error).__name__}: {error}"
            return [Ended(team[0].name, error=" ".join(text.split()))]
    return [ended for job in team for ended in _train([job], source, stopped)]


def _side_by_side(team: Sequence[Job], source: str | None, stopped: Callable[[], bool]) -> list[Ended]:
    for job in team:
        RunDirectory(job.path, job.config, (job.path / CONFIG).is_file(), source).close()
    runs = opened([job.path for job in team], source, load)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            for _ in trained(runs, stopped):
                pass
    finally:
        for run in runs:
            run.directory.close()
    return [Ended(job.name, run.epochs[-1] if run.complete else None) for job, run in zip(team, runs, strict=True)]
