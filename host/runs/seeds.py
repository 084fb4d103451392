"""Several runs that differ in their seeds only: which, and where each of them is."""

import argparse
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from host.base.cli import UserError, shown
from host.runs import options
from host.runs.config import MAX_SEED, Config
from host.runs.directory import CONFIG, RunDirectory

MOST = 1000  # runs
SEED = "{seed}"  # in --run-dir


@dataclass
class Member:
    """One of several runs, as its directory has it."""

    config: Config
    path: Path
    step: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all epochs are trained and tested."""
        return len(self.epochs) == self.config.epochs


def numbers(text: str, option: str = "--seeds") -> list[int]:
    """The seeds that --seeds names: 1-8, or 1,3,5-7. Raises UserError, which names the option that they came from."""

    def wrong(why: str) -> UserError:
        return UserError(f"{option} {shown(text)}: {why}; choose {MOST} at most of 0 to {MAX_SEED}, as 1-8 or 1,3,5-7")

    found: list[int] = []
    for part in text.split(","):
        if not re.fullmatch(r"\d{1,10}(-\d{1,10})?", part, re.ASCII):
            raise wrong(f"{shown(part)} is no seed, and no range of seeds" if part else "a seed is missing")
        first, last = int(part.split("-")[0]), int(part.split("-")[-1])
        if last < first:
            raise wrong(f"{part} goes backwards")
        if last > MAX_SEED:
            raise wrong(f"{last} is too large")
        if len(found) + last - first >= MOST:
            raise wrong("that is too many")
        found += range(first, last + 1)
    seed, times = Counter(found).most_common(1)[0]
    if times > 1:
        raise wrong(f"{seed} is there {times} times")
    return found


def place(run_dir: Path, seed: int) -> Path:
    """The directory of this seed's run."""
    text = str(run_dir)
    return Path(text.replace(SEED, str(seed))) if SEED in text else run_dir / f"seed-{seed}"


def open_members(
    args: argparse.Namespace, command: str, seeds: list[int], start: Callable[[Config], object]
) -> tuple[list[Member], Path]:
    """The runs of --seeds, each with its directory, and the --run-dir that names them all. Raises UserError.

    start: makes a run's network; what it refuses is refused before there is any directory. With --resume, those that
    are not there yet begin, with the others' configuration.
    """
    run_dir: Path | None = args.run_dir
    if run_dir and (run_dir / CONFIG).exists():
        raise UserError(f"{run_dir} is the directory of one run; leave --seeds out, or give another --run-dir")
    wanted, source = options.wanted(args, None), options.source(args)
    there: set[int] = set()
    if args.resume:
        run_dir = options.to_resume(args)
        there = {seed for seed in seeds if (place(run_dir, seed) / CONFIG).is_file()}
        if not there:
            raise UserError(f"{run_dir} holds none of these runs; leave --resume out to start them there")
        first = place(run_dir, min(there))
        config, stored_source = RunDirectory.stored(first)
        options.recall(first, config, wanted)
        if config.arithmetic != "fixed":
            raise UserError(f"{first} computes in float64, and --seeds trains integers only; leave --seeds out")
        source = source or stored_source
        options.data_of(first, config, source)
    else:
        config, _ = options.begun(command, wanted, source)
        run_dir = run_dir or unnamed(config, seeds)
    for seed in set(seeds) - there:
        RunDirectory.check_new(place(run_dir, seed))
    start(config)
    members = {}
    for seed in sorted(seeds, key=lambda seed: seed not in there):  # nothing begins before all that is there was opened
        own = replace(config, seed=seed)
        directory = RunDirectory(place(run_dir, seed), own, seed in there, source)
        saved = directory.checkpoint(own)
        members[seed] = Member(own, directory.path, *((saved.step, saved.epochs) if saved else ()))
        directory.close()
    return [members[seed] for seed in seeds], run_dir


def unnamed(config: Config, seeds: list[int]) -> Path:
    """A --run-dir for runs that were given none: their directories are called as if each ran alone, with one number."""
    return next(
        pattern
        for number in count(1)
        if not any(place(pattern := RunDirectory.name(config, SEED, number), seed).exists() for seed in seeds)
    )
