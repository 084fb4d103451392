"""Host-only simulation: train the integer engine (or the float64 oracle) on MNIST rows, without a board.

Every epoch prints a line and adds one to epochs.jsonl in the run directory; Ctrl-C saves and leaves (exit code 130),
and the same command with --run-dir DIR --resume goes on bit-exactly. Examples:

  python -m host.simulate                                    train on the bundled digits
  python -m host.simulate --data DIR --run-dir runs/full     full MNIST from four IDX files
  python -m host.simulate --run-dir runs/full --data DIR --resume
  python -m host.simulate --evaluate runs/full/checkpoint.npz --data DIR
  python -m host.simulate --engine float                     the same run in the float64 oracle
"""

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from host import cli, dataset
from host.config import PRESETS, Config, configure, prepare
from host.engine import FixedLearner, FloatLearner, executor
from host.run import Checkpoint, Learner, Run, RunDirectory

CHUNK = {"numba": 100, "python": 5, "checked": 1, "float": 10}  # images between two looks at Ctrl-C: some 20 to 200 ms


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options that host.simulate and host.stream have in common."""
    parser.add_argument(
        "--preset",
        default="critical",
        choices=PRESETS,
        help="; ".join(f"{name}: {preset.about}" for name, preset in PRESETS.items()) + " (default: critical)",
    )
    parser.add_argument("--rows", type=int, help="lattice rows: the central pixels of each image row (default: all)")
    parser.add_argument("--cols", type=int, help="lattice columns, one per class at least (default: 10)")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the training images (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="train on the first so many images (default: all)")
    parser.add_argument("--test-limit", type=int, help="test on the first so many images (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the initial parameters and the order (default: 1)")
    parser.add_argument("--pixel-bits", type=int, default=8, choices=(8, 4, 1), help="bits per pixel (default: 8)")
    parser.add_argument(
        "--data",
        help="directory with the four MNIST files, plain or .gz (default: bundled digits;"
        " python -m host.dataset --fetch DIR gets them)",
    )
    parser.add_argument("--run-dir", type=Path, help="directory for this run (default: a new one under runs/)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --run-dir")
    parser.add_argument("--json", action="store_true", help="print the final result as one JSON object on stdout")


def plan_run(args: argparse.Namespace, arithmetic: str) -> tuple[Config, dataset.Dataset]:
    """Configuration, and data as the lattice sees it, from the common options; nothing is written yet."""
    if args.resume and args.run_dir is None:
        raise cli.UserError("--resume needs the run to go on with; add --run-dir DIR")
    data = dataset.load(args.data).limited(args.limit, args.test_limit)
    config = configure(data, args.preset, args.seed, args.epochs, args.rows, args.cols, args.pixel_bits, arithmetic)
    return config, prepare(data, config)


def run_directory(args: argparse.Namespace, config: Config) -> RunDirectory:
    """The directory of a run with these options: a new one, or the one to resume."""
    return RunDirectory(args.run_dir or RunDirectory.unused(args.preset, args.seed), config, args.resume)


def follow(run: Run, chunk: int, status: cli.Interrupt, extra=lambda: {}) -> None:
    """Train the run to its end with a progress bar on stderr and a line per epoch; save and stop on Ctrl-C."""
    told = len(run.epochs)
    bar = tqdm(
        total=run.config.total,
        initial=run.step,
        unit="img",
        file=sys.stderr,
        mininterval=0.5,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        for now in run.train(chunk):
            bar.update(run.step - bar.n)
            bar.set_postfix(
                epoch=f"{now.epoch}/{now.epochs}", running=f"{now.correct / now.image:.3f}", **extra(), refresh=False
            )
            told = _tell(run, told)
            if status.requested:
                run.save()
                bar.close()
                print(
                    f"saved {run.directory.path} at step {run.step}; go on with --run-dir {run.directory.path}"
                    " --resume and the same options",
                    file=sys.stderr,
                )
                raise KeyboardInterrupt
    _tell(run, told)


def _tell(run: Run, told: int) -> int:
    for epoch in run.epochs[told:]:
        tqdm.write(
            "epoch {epoch:>3}  train {train_accuracy:.4f}  test {test_accuracy:.4f}"
            "  {images_per_second:>8.1f} images/s  digest {digest}".format(**epoch),
            file=sys.stderr,
        )
    return len(run.epochs)


def result(run: Run) -> dict[str, object]:
    """The final result of a run, as --json prints it."""
    last = run.epochs[-1]
    return {
        "epochs": len(run.epochs),
        "steps": run.step,
        **{k: last[k] for k in ("train_accuracy", "test_accuracy", "images_per_second", "digest")},
        "run_dir": str(run.directory.path),
    }


def evaluate(args: argparse.Namespace) -> dict[str, object]:
    """Accuracy of a checkpoint on the test images."""
    if args.run_dir or args.resume:
        raise cli.UserError("--evaluate trains nothing and writes nothing; leave --run-dir and --resume out")
    saved, config, data = open_checkpoint(args)
    if args.engine == "float" and config.arithmetic != "float":
        raise cli.UserError(f"{args.evaluate} is of an integer lattice; leave --engine float out")
    return tested(make_learner(config, args.engine), saved, data)


def tested(learner: Learner, saved: Checkpoint, data: dataset.Dataset) -> dict[str, object]:
    """What a learner makes of the test images with a checkpoint's parameters, as --json prints it."""
    learner.load(saved.params, saved.step)
    accuracy = learner.evaluate(data.test_images, data.test_labels)
    return {
        "test_accuracy": round(accuracy, 6),
        "test_images": len(data.test_labels),
        "step": saved.step,
        "digest": learner.digest(),
    }


def open_checkpoint(args: argparse.Namespace) -> tuple[Checkpoint, Config, dataset.Dataset]:
    """The checkpoint of --evaluate, its run's configuration, and the data as that run saw it."""
    saved = Checkpoint.read(args.evaluate)
    config = Config.from_dict(saved.config)
    data = dataset.load(args.data).limited(None, args.test_limit)
    steps, width = data.test_images.shape[1:]
    if steps != config.steps or width < config.rows:
        raise cli.UserError(
            f"{args.evaluate} needs images of {config.steps} rows with {config.rows} pixels at least, and these have"
            f" {steps} with {width}; name the right ones with --data"
        )
    return saved, config, prepare(data, config)


def make_learner(config: Config, engine: str) -> Learner:
    """The Learner for --engine, at the run's seeded start."""
    if config.arithmetic == "float":
        return FloatLearner(config)
    return FixedLearner(config.lattice(**executor(engine)))


def train(args: argparse.Namespace) -> dict[str, object]:
    """A run, from its start or from where it stopped, to its end."""
    config, data = plan_run(args, "float" if args.engine == "float" else "fixed")
    directory = run_directory(args, config)
    run = Run(config, data, make_learner(config, args.engine), directory)
    if args.resume:
        run.resume()
    print(
        f"{config.rows}x{config.cols} cells, {config.steps} steps, {config.images} images x {config.epochs}"
        f" epochs, {args.engine}; {directory.path}",
        file=sys.stderr,
    )
    with cli.Interrupt() as status:
        follow(run, CHUNK[args.engine], status)
    if args.engine == "checked":
        from host.checked import report

        print(report(), file=sys.stderr)
    return result(run)


def main() -> int:
    parser = cli.Parser("python -m host.simulate", __doc__)
    add_run_options(parser)
    parser.add_argument(
        "--engine",
        default="numba",
        choices=tuple(CHUNK),
        help="numba (fast, the default), python (the golden model), checked (python, watching every intermediate),"
        " float (the float64 oracle)",
    )
    parser.add_argument("--evaluate", type=Path, metavar="CHECKPOINT", help="only test a checkpoint, do not train")
    args = parser.parse_args()
    answer = evaluate(args) if args.evaluate else train(args)
    if args.json:
        print(json.dumps(answer))
    elif args.evaluate:
        print("  ".join(f"{k} {v}" for k, v in answer.items()))
    return 0


if __name__ == "__main__":
    cli.run(main)
