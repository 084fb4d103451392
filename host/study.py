"""Studies: many runs that differ in a few things, to learn what survives. Which runs, a name or a TOML file says.

  python -m host.study bits --quick              a shipped study, cut short: at most three minutes
  python -m host.study bits --data DIR           in full, on MNIST (python -m host.dataset --fetch DIR)
  python -m host.study mine.toml                 one of your own; host/studies/spec.py tells what such a file has
  python -m host.study --resume --out runs/study-bits
  python -m host.study bits --data DIR --backend dask --scheduler tcp://HOST:8786

All runs of a condition are trained side by side, in lanes of a processor's vectors, and the conditions on all cores; or
on a Dask cluster, whose workers need this package, and the study's directory and the data at the same path. A baseline
without disturbance is added wherever one is missing. Each run is a run directory of its own, named by its
configuration's hash: nothing is run twice, and however a study was stopped, --resume goes on with it to the same table.
A run that fails is written down and the study goes on (exit code 1 in the end); --resume tries it again. results.csv
(a line per condition and seed) and results.json (per condition mean, standard deviation, 95 % confidence interval,
and the drop against the baseline, paired by seed) are written anew as runs end.
"""

import argparse
import shlex
from pathlib import Path

from host.base import cli
from host.base.heartbeat import say
from host.data import dataset
from host.runs import output
from host.runs.options import source as source_of
from host.studies.directory import StudyDirectory
from host.studies.grid import expanded
from host.studies.pool import DASK, LOKY, Pool
from host.studies.results import CSV, JSON
from host.studies.runner import Study, Work, line
from host.studies.spec import Spec, named

NAME = "host.study"
FAILED = 1  # exit code
RESUME = cli.Case("--resume", lambda args: args.resume)
FRESH = cli.Case("a new study", lambda args: not args.resume)
LOCAL = cli.Case("--backend " + LOKY, lambda args: args.backend in (None, LOKY), "add --backend dask")


def opened(args: argparse.Namespace) -> Study:
    """The study that was asked for, in a new directory, or in the one to go on with. Raises UserError."""
    found, source, path = None, source_of(args), args.out
    if args.resume:
        if path is None:
            raise cli.UserError("--resume needs the study to go on with; add --out DIR")
        found = StudyDirectory.stored(path)
        source = source or found.get("source")
        spec = Spec.of(found["spec"], str(path / "study.json"), found["quick"])
        if args.study and Spec.read(args.study).found != spec.found:
            raise cli.UserError(
                f"{path} holds another study than {cli.shown(args.study)} is now ({spec.name}"
                f"{', quick' if spec.quick else ''}); leave the name out to go on with it, or give another --out"
            )
    elif args.study is None:
        raise cli.UserError(f"which study? Choose one of {', '.join(named())}, or name a TOML file")
    else:
        spec = Spec.read(args.study, args.quick)
    data = dataset.load(source)
    if found and found["data"] != data.digest:
        raise cli.UserError(f"{path} was begun with other data; name them with --data, or give another --out")
    conditions, notes = expanded(spec, data)
    directory = StudyDirectory(path) if found else StudyDirectory.create(path, spec.name + "-quick" * spec.quick)
    for note in (*data.notes, *notes):
        say(note)
    study = Study(spec, conditions, directory, source, data.digest)
    study.store()
    return study


def way_on(args: argparse.Namespace, study: Study) -> str:
    """The command that goes on with it."""
    words = ["python", "-m", NAME, "--resume", "--out", str(study.directory.path)]
    for name in ("data", "workers", "backend", "scheduler", "json"):
        if name in args.given and (name != "data" or args.resume):  # else the study itself remembers where they are
            value = getattr(args, name)
            words += [f"--{name}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def run(args: argparse.Namespace) -> int:
    """Train what is not yet trained, and print the table. Returns the exit code."""
    study = opened(args)
    again, results, directory = way_on(args, study), study.results, study.directory
    output.say(f"{study.spec.name}: {study.spec.about}")
    teams = study.teams()
    output.say(
        f"{len(study.conditions)} conditions, {len(study.configs)} runs, {len(study.waiting)} of them to do in"
        f" {len(teams)} teams; {directory.path}"
    )
    results.write(directory)
    if teams:
        directory.settle(study.waiting)
        with cli.Interrupt() as status:
            try:
                with Pool(args.backend or LOKY, args.workers, args.scheduler) as pool:
                    Work(study, pool).follow(status)
            except BaseException:
                output.say(f"saved; go on with: {again}")
                raise
    failed = study.failed
    study.store()
    output.show(
        f"Study {study.spec.name}, by {NAME}",
        {
            "study": study.spec.name,
            "quick": study.spec.quick,
            **results.as_dict(),
            "complete": len(results.epochs),
            "failed": len(failed),
            "directory": str(directory.path),
        },
        args.json,
        again,
        lambda found: f"  {line(found)}",
    )
    if failed:
        names = ", ".join(failed[:5]) + ", ..." * (len(failed) > 5)
        output.say(f"{len(failed)} runs failed ({names}); {CSV} says why, and this tries them again: {again}")
    return FAILED if failed else cli.EXIT_OK


def main() -> int:
    parser = cli.Parser(f"python -m {NAME}", __doc__)
    parser.add_argument(
        "study", nargs="?", metavar="NAME|SPEC.toml", help=f"one of {', '.join(named())}, or a file like theirs"
    )
    parser.option("--out", type=Path, help=f"the study's directory (default: a new one, runs/study-NAME), with {JSON}")
    parser.option(
        "--data",
        help="directory with the four MNIST files, plain or .gz, or own sequences, FILE.npz or FILE.csv (default:"
        " bundled digits)",
    )
    parser.option("--workers", lowest=1, highest=4096, help="teams trained at a time (default: one per core)")
    parser.option("--resume", action="store_true", help="go on with the study in --out")
    parser.option("--quick", action="store_true", useless=(RESUME,), help="less of everything, at most three minutes")
    parser.option(
        "--backend", help=f"{LOKY} (processes on this computer, the default), {DASK}, or another that joblib knows"
    )
    parser.option(
        "--scheduler",
        metavar="ADDRESS",
        useless=(LOCAL,),
        help=f"with --backend {DASK}: its cluster (default: one of this computer's own)",
    )
    parser.option("--json", action="store_true", help="print the results as one JSON object on stdout")
    return run(parser.parse_args())


if __name__ == "__main__":
    cli.run(main)
