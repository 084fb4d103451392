"""The options that host.simulate and host.stream have in common; the configuration, data and directory they lead to."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fixedpoint.build import GRAPHS, RULES
from host.base import cli
from host.base.heartbeat import say
from host.data import dataset
from host.runs.checkpoint import CHECKPOINT, Checkpoint, damaged
from host.runs.config import OPTIONS, PIXEL_BITS, Config, configure, prepare
from host.runs.directory import CONFIG, RunDirectory, other_data
from host.runs.disturbance import Unreadable, canonical
from host.runs.presets import PRESETS, q12

EPOCHS = {"host.simulate": 10, "host.stream": 1}  # defaults
EVALUATE = cli.Case("--evaluate", lambda args: args.evaluate is not None)
SEEDS = cli.Case("--seeds", lambda args: getattr(args, "seeds", None) is not None)
Load = Callable[[str | None], dataset.Dataset]  # what reads the data at a source


def add_network_options(parser: cli.Parser, training: tuple[cli.Case, ...] = ()) -> None:
    """Which network, and from which start. What was not given is None. training: cases in which they are useless."""
    parser.option(
        "--preset",
        choices=PRESETS,
        useless=training,
        help="; ".join(f"{name}: {preset.about}" for name, preset in PRESETS.items())
        + " (default: the best of --graph and --rule)",
    )
    parser.option(
        "--graph",
        choices=GRAPHS,
        useless=training,
        help="the wiring of the two-input cells (default: small-world), or the diagonal network of units that hear all"
        " inputs and their own past",
    )
    parser.option(
        "--rule", choices=RULES, useless=training, help="SnAP-1 (default), or the exact gradient: what learns, and how"
    )
    parser.option("--units", type=int, useless=training, help="of a diagonal network (default: 28)")
    parser.option(
        "--share",
        type=fraction,
        metavar="0..1",
        useless=training,
        help="of the edges between rows that a small world rewires (default: 1, as many as can be)",
    )
    parser.option("--wiring-seed", lowest=0, useless=training, help="of a small world's edges (default: 1)")


def add_run_options(parser: cli.Parser, command: str) -> None:
    """The options of a run, and --evaluate. What was not given is None: open_run() fills it in."""
    training, alone = (EVALUATE,), (EVALUATE, SEEDS)
    own, other = (f"{EPOCHS[command]}", next(f"{name}'s is {n}" for name, n in EPOCHS.items() if name != command))
    add_network_options(parser, training)
    parser.option(
        "--rows", type=int, useless=training, help="lattice rows: the central pixels of each image row (default: all)"
    )
    parser.option(
        "--cols",
        type=int,
        useless=training,
        help="lattice columns, one per class at least (default: 10; for own sequences one per class)",
    )
    parser.option(
        "--epochs",
        type=int,
        useless=training,
        help=f"passes over the training images (default: {own}; {other}, and with the same --epochs both end in the"
        " same digest)",
    )
    parser.option("--limit", type=int, useless=training, help="train on the first so many images (default: all)")
    parser.option("--test-limit", type=int, help="test on the first so many images (default: all)")
    parser.option(
        "--seed",
        lowest=0,
        useless=alone,
        help="of the initial parameters and the order of the images (default: 1)",
    )
    parser.option("--pixel-bits", type=int, choices=PIXEL_BITS, useless=training, help="bits per pixel (default: 8)")
    parser.option(
        "--data",
        help="directory with the four MNIST files, plain or .gz (python -m host.dataset --fetch DIR gets them), or own"
        " sequences, FILE.npz or FILE.csv (default: bundled digits)",
    )
    parser.option(
        "--run-dir", type=Path, useless=training, help="directory for this run (default: a new one under runs/)"
    )
    parser.option(
        "--resume",
        action="store_true",
        useless=training,
        help="go on with the run in --run-dir; its config.json has all other options",
    )
    parser.option(
        "--no-report",
        action="store_true",
        useless=training,
        help="write no report.html at the end: it takes some seconds (and is only written if matplotlib is there)",
    )
    parser.option("--evaluate", type=Path, metavar=CHECKPOINT, help="only test a checkpoint, do not train")
    parser.option("--json", action="store_true", help="print the result as one JSON object on stdout")


def fraction(text: str) -> float:
    """A share. Raises UserError."""
    try:
        value = float(text)
    except ValueError as error:
        raise cli.UserError(f"--share {cli.shown(text)}: choose a number from 0 to 1") from error
    if not 0 <= value <= 1:
        raise cli.UserError(f"--share {text}: choose a number from 0 to 1")
    return value


def epochs_note(args: argparse.Namespace, command: str) -> str:
    """Why a run has so many epochs, if its user did not say: the two commands differ there, and in nothing else."""
    if args.resume or args.epochs is not None:
        return ""
    other, epochs = next((name, n) for name, n in EPOCHS.items() if name != command)
    return f"--epochs is {EPOCHS[command]} by default, {epochs} in {other}; equal ones give equal digests"


def wanted(args: argparse.Namespace, engine: str | None) -> dict[str, Any]:
    """What was asked for, by the configuration's fields; None for what was not.

    engine: float for the float64 oracle, None if the user does not mind.
    """
    return {
        **wanted_network(args),
        "rows": args.rows,
        "cols": args.cols,
        "epochs": args.epochs,
        "images": args.limit,
        "test_images": args.test_limit,
        "seed": args.seed,
        "pixel_bits": args.pixel_bits,
        "arithmetic": engine and ("float" if engine == "float" else "fixed"),
        "disturb": disturbance(args),
    }


def disturbance(args: argparse.Namespace) -> str | None:
    """What --disturb asks for, written as a configuration has it. Raises UserError."""
    text = getattr(args, "disturb", None)
    try:
        return None if text is None else canonical(text)
    except Unreadable as error:
        raise cli.UserError(f"--disturb: {error}") from error


def wanted_network(args: argparse.Namespace) -> dict[str, Any]:
    """That part of it that add_network_options() asks for."""
    share = None if args.share is None else q12(args.share)
    names = ("preset", "graph", "rule", "units", "wiring_seed")
    return {name: getattr(args, name) for name in names} | {"share": share}


def source(args: argparse.Namespace) -> str | None:
    """Where the data are that were asked for, None if the user does not mind."""
    return args.data and str(Path(args.data).absolute())


def to_resume(args: argparse.Namespace) -> Path:
    """The --run-dir of --resume. Raises UserError if there is none."""
    if args.run_dir is None:
        raise cli.UserError("--resume needs the run to go on with; add --run-dir DIR")
    directory: Path = args.run_dir
    return directory


def begun(command: str, wanted: dict[str, Any], source: str | None) -> tuple[Config, dataset.Dataset]:
    """Configuration and data of a new run. Raises UserError."""
    defaults = {"epochs": EPOCHS[command], "seed": 1, "pixel_bits": 8, "arithmetic": "fixed", "disturb": ""}
    wanted = wanted | {field: value for field, value in defaults.items() if wanted[field] is None}
    data = dataset.load(source).limited(wanted.pop("images"), wanted.pop("test_images"))
    return configure(data, **wanted), data


def open_run(
    args: argparse.Namespace, command: str, engine: str | None
) -> tuple[Config, dataset.Dataset, Callable[[], RunDirectory]]:
    """Configuration, data as the lattice sees it, and what makes or opens the run directory. Raises UserError.

    engine: as for wanted(). With --resume the run itself knows better, and an option that was given must not contradict
    it.
    """
    asked, place = wanted(args, engine), source(args)
    if args.resume:
        path = to_resume(args)
        config, stored = RunDirectory.stored(path)
        recall(path, config, asked)
        data = data_of(path, config, place or stored)
    else:
        config, data = begun(command, asked, place)
        if args.run_dir:
            RunDirectory.check_new(args.run_dir)

    for note in data.notes:
        say(note)

    def begin() -> RunDirectory:
        if args.run_dir is None:
            return RunDirectory.unnamed(config, place)
        return RunDirectory(args.run_dir, config, args.resume, place)

    return config, prepare(data, config), begin


def way_on(args: argparse.Namespace, command: str, path: Path) -> str:
    """The command that goes on with a run: what was given and is not in its config.json is given again."""
    words = ["python", "-m", command, "--run-dir", str(path), "--resume"]
    for name in ("seeds", "workers", "data", "engine", "port", "baud", "sim_arch", "twin", "exit", "no_report", "json"):
        if name in args.given and (name != "data" or args.resume):  # else the run itself remembers where they were
            value = getattr(args, name)
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def data_of(path: Path, config: Config, source: str | None, load: Load = dataset.load) -> dataset.Dataset:
    """The data of the run in a directory. Raises UserError if they are not at `source`, or its config.json is wrong."""
    needs = f"the run in {path} needs"
    try:
        data = load(source)
    except cli.UserError as error:
        raise cli.UserError(f"{needs} what is not there: {error}; name its data with --data") from error
    training, test = len(data.train_images), len(data.test_images)
    if training < config.images or test < config.test_images:
        raise cli.UserError(
            f"{needs} {config.images} training and {config.test_images} test images, and there are {training} and"
            f" {test}; name its data with --data"
        )
    data = data.limited(config.images, config.test_images)
    if data.digest != config.data:
        raise other_data(path)
    misfit = config.misfit(data.train_images, np.concatenate([data.train_labels, data.test_labels]))
    if misfit:
        raise damaged(path / CONFIG, f"{misfit} cannot be right")
    return data


def recall(path: Path, config: Config, given: dict[str, Any]) -> None:
    """Raise UserError, with the option's name, if one that was given contradicts the run in a directory.

    given: values by the configuration's fields, None for what was not given.
    """
    for field, wanted in given.items():
        value = getattr(config, field)
        if wanted not in (None, value):
            option = OPTIONS[field]
            if field == "arithmetic":
                raise cli.UserError(
                    f"the run in {path} computes in {'float64' if value == 'float' else 'integers'}; leave {option}"
                    " out, or start another run with another --run-dir"
                )
            fixed = " (the length of a run is fixed as it begins)" if field == "epochs" else ""
            raise cli.UserError(
                f"{option} {wanted}: the run in {path} was begun with {option} {value}{fixed}; leave"
                f" {option} out, or start another run with another --run-dir"
            )


def open_checkpoint(args: argparse.Namespace) -> tuple[Checkpoint, Config, dataset.Dataset]:
    """The checkpoint of --evaluate, its run's configuration, and the data as that run saw it."""
    saved = Checkpoint.read(args.evaluate)
    config = Config.from_dict(saved.config)
    data = dataset.load(args.data).limited(None, args.test_limit)
    if config.misfit(data.test_images, data.test_labels):
        steps, width = data.test_images.shape[1:]
        raise cli.UserError(
            f"{args.evaluate} needs images of {config.steps} rows with {config.rows} pixels at least in {config.cols}"
            f" classes at most, and these have {steps} with {width} in {data.test_labels.max() + 1}; name the right"
            " ones with --data"
        )
    for note in data.notes:
        say(note)
    return saved, config, prepare(data, config)
