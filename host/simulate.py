"""Host-only simulation: train the integer engine (or the float64 oracle) on MNIST rows, without a board.

Every epoch prints a line and adds one to epochs.jsonl in the run directory. Ctrl-C, SIGTERM and SIGHUP save and leave
(exit code 130, 143, 129); --run-dir DIR --resume goes on bit-exactly, and prints the result of a complete run again.
The result is on stdout, all else on stderr. Examples:

  python -m host.simulate                                    train on the bundled digits
  python -m host.simulate --data DIR --run-dir runs/full     full MNIST from four IDX files
  python -m host.simulate --run-dir runs/full --resume
  python -m host.simulate --evaluate runs/full/checkpoint.npz --data DIR
  python -m host.simulate --engine float                     the same run in the float64 oracle
  python -m host.simulate --seeds 1-8                        eight runs, each as if alone, and their mean
  python -m host.simulate --disturb 'message bits=8 rounding=floor; y noise=0.01'

--seeds trains its runs side by side, in lanes of a processor's vectors. Each has a directory of its own, and goes on
alone as well; they are runs/critical-1-1, runs/critical-2-1 ..., with --run-dir DIR DIR/seed-1, DIR/seed-2 ...; with
a DIR that has {seed} in it, the seed takes its place. With --resume those that are not there yet begin. One report.html
is about all of them: in DIR, else in the first one's directory.
"""

import argparse
import os
import sys

from host.base import cli
from host.engine.lanes import cores, groups
from host.engine.learners import FixedLearner, FloatLearner, LaneLearner, disturbed, executor
from host.pictures.ending import conclude
from host.runs import output
from host.runs.config import Config
from host.runs.disturbance import OVERFLOWS, RANGES, ROUNDINGS, SIGNALS
from host.runs.ensemble import Ensemble
from host.runs.options import EVALUATE, add_run_options, epochs_note, open_checkpoint, open_run, way_on
from host.runs.run import Learner, Run
from host.runs.seeds import numbers, open_members

NAME = "host.simulate"
DISTURB = (
    "narrow or disturb signals, as 'signal key=value ...; signal ...': "
    + "; ".join(f"{name} ({what})" for name, what in SIGNALS.items())
    + f"; keys are {', '.join(RANGES)}, rounding ({', '.join(ROUNDINGS)}), overflow ({', '.join(OVERFLOWS)})"
)
# Images between two looks at Ctrl-C: some 20 to 200 ms.
CHUNK = {"llvm": 200, "python": 5, "checked": 50, "float": 10}
ONE = cli.Case("a single run", lambda args: args.seeds is None, "add --seeds, or leave it out")


def make_learner(config: Config, engine: str) -> Learner:
    """The Learner for --engine, at the run's seeded start."""
    if config.arithmetic == "float":
        return FloatLearner(config)
    with cli.held():
        if engine == "llvm":
            return LaneLearner.of(config)
        if config.disturb:
            raise cli.UserError(f"a disturbed network trains under --engine llvm only; leave --engine {engine} out")
        return FixedLearner(config.network(**executor(engine)))


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
        result = output.tested(args.evaluate, make_learner(config, engine), saved, data, 5 * CHUNK[engine], status)
    output.show(f"Checkpoint tested by {NAME} ({engine})", result, args.json)


def train(args: argparse.Namespace) -> None:
    """A run, from its start or from where it stopped, to its end."""
    config, data, begin = open_run(args, NAME, args.engine)
    engine = engine_of(args, config)
    run = Run(config, data, make_learner(config, engine), begin())
    if args.resume:
        run.resume()
    ends_now = not run.complete
    output.announce(run, engine, epochs_note(args, NAME), board=False)
    again = way_on(args, NAME, run.directory.path)
    with cli.Interrupt() as status:
        output.follow(run, CHUNK[engine], status, again)
    if engine == "checked":
        from host.engine.checked import report as watched

        output.say(watched())
    output.show(f"Trained by {NAME} ({engine})", output.trained(run), args.json, again)
    if not args.no_report:
        conclude([run.directory.path], run.directory.path, args.data, ends_now)


def train_several(args: argparse.Namespace) -> None:
    """Runs with different seeds, each from where it is to its end."""
    if args.engine not in (None, "llvm"):
        raise cli.UserError(f"--seeds trains in lanes, which --engine {args.engine} has not; leave one of the two out")
    members, run_dir = open_members(args, NAME, numbers(args.seeds), disturbed)
    ends_now = not all(member.complete for member in members)
    ensemble = Ensemble(members, args.workers or cores(), groups)
    ensemble.announce(run_dir, epochs_note(args, NAME))
    again = way_on(args, NAME, run_dir)
    worker = [sys.executable, "-m", "host.engine.worker"]
    if args.data:
        worker += ["--data", os.path.abspath(args.data)]
    with cli.Interrupt() as status:
        ensemble.follow(worker, again, status)
    output.show(f"{len(members)} runs trained by {NAME} (llvm)", ensemble.result(), args.json, again)
    if not args.no_report:
        conclude([m.path for m in members], run_dir if run_dir.is_dir() else members[0].path, args.data, ends_now)


def main() -> None:
    parser = cli.Parser(f"python -m {NAME}", __doc__)
    add_run_options(parser, NAME)
    parser.option(
        "--engine",
        choices=tuple(CHUNK),
        help="llvm (compiled, the default), python (plain CPython: the golden model), checked (every intermediate value"
        " is watched), float (the float64 oracle)",
    )
    parser.option(
        "--seeds",
        useless=(EVALUATE,),
        help="train a run with each of these seeds (1-8, or 1,3,5-7), several side by side; mean, standard deviation"
        " (sample) and range of their test accuracies are the result",
    )
    parser.option(
        "--workers",
        lowest=1,
        highest=256,
        useless=(EVALUATE, ONE),
        help="with --seeds: how many processes, each training some of the runs (default: one per core)",
    )
    parser.option("--disturb", metavar="TEXT", useless=(EVALUATE,), help=DISTURB)
    args = parser.parse_args()
    (evaluate if args.evaluate else train_several if args.seeds else train)(args)


if __name__ == "__main__":
    cli.run(main)
