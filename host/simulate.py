"""Host-only simulation: train the integer engine (or the float64 oracle) on MNIST rows, without a board.

Every epoch prints a line and adds one to epochs.jsonl in the run directory. Ctrl-C, SIGTERM and SIGHUP save and leave
(exit code 130, 143, 129); --run-dir DIR --resume goes on bit-exactly, and prints the result of a complete run again.
The result is on stdout, all else on stderr. Examples:

  python -m host.simulate                                    train on the bundled digits
  python -m host.simulate --data DIR --run-dir runs/full     full MNIST from four IDX files
  python -m host.simulate --run-dir runs/full --resume
  python -m host.simulate --evaluate runs/full/checkpoint.npz --data DIR
  python -m host.simulate --engine float                     the same run in the float64 oracle
"""

import argparse

from host.base import cli
from host.engine.learners import FixedLearner, FloatLearner, LaneLearner, executor
from host.runs import report
from host.runs.config import Config
from host.runs.options import add_run_options, epochs_note, open_checkpoint, open_run, way_on
from host.runs.run import Learner, Run

NAME = "host.simulate"
# Images between two looks at Ctrl-C: some 20 to 200 ms.
CHUNK = {"llvm": 200, "python": 5, "checked": 50, "float": 10}


def make_learner(config: Config, engine: str) -> Learner:
    """The Learner for --engine, at the run's seeded start."""
    if config.arithmetic == "float":
        return FloatLearner(config)
    with cli.held():
        if engine == "llvm":
            return LaneLearner(config.lattice())
        return FixedLearner(config.lattice(**executor(engine)))


def engine_of(args: argparse.Namespace, config: Config) -> str:
    """The engine that was asked for, or the usual one for this arithmetic."""
    return args.engine or ("float" if config.arithmetic == "float" else "llvm")


def evaluate(args: argparse.Namespace) -> None:
    """Accuracy of a checkpoint on the test images."""
    saved, config, data = open_checkpoint(args)
    engine = engine_of(args, config)
    if (engine == "float") != (config.arithmetic == "float"):
        raise cli.UserError(f"{args.evaluate} is of {config.arithmetic} arithmetic; leave --engine {engine} out")
    with cli.Interrupt() as status:
        result = report.tested(args.evaluate, make_learner(config, engine), saved, data, 5 * CHUNK[engine], status)
    report.show(f"Checkpoint tested by {NAME} ({engine})", result, args.json)


def train(args: argparse.Namespace) -> None:
    """A run, from its start or from where it stopped, to its end."""
    config, data, begin = open_run(args, NAME, args.engine)
    engine = engine_of(args, config)
    run = Run(config, data, make_learner(config, engine), begin())
    if args.resume:
        run.resume()
    report.announce(run, engine, epochs_note(args, NAME), board=False)
    again = way_on(args, NAME, run.directory.path)
    with cli.Interrupt() as status:
        report.follow(run, CHUNK[engine], status, again)
    if engine == "checked":
        from host.engine.checked import report as watched

        report.say(watched())
    report.show(f"Trained by {NAME} ({engine})", report.trained(run), args.json, again)


def main() -> None:
    parser = cli.Parser(f"python -m {NAME}", __doc__)
    add_run_options(parser, NAME)
    parser.option(
        "--engine",
        choices=tuple(CHUNK),
        help="llvm (compiled, the default), python (plain CPython: the golden model), checked (every intermediate value"
        " is watched), float (the float64 oracle)",
    )
    args = parser.parse_args()
    (train if args.evaluate is None else evaluate)(args)


if __name__ == "__main__":
    cli.run(main)
