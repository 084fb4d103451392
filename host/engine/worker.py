"""A process that trains several runs in lanes side by side, for host.simulate --seeds: it is given their directories.

Each goes on from where its directory says; a study's workers train as this one does. stdout: a Report a line. The end
of stdin, which the process that started this one holds, or a signal, has all runs saved and ends it (exit code 130,
143, 129); so does an error (exit code 2).
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from host.base import cli, streams
from host.data import dataset
from host.engine.learners import LaneLearner, LaneTeam
from host.runs.config import prepare
from host.runs.directory import RunDirectory
from host.runs.ensemble import Report
from host.runs.options import Load, data_of
from host.runs.run import Progress, Run, side_by_side

CHUNK = 100  # images of each lane between two looks at what stops it: some 20 ms
EVERY = 0.2  # seconds between two reports


def opened(paths: Sequence[Path], source: str | None, load: Load = dataset.load) -> list[Run]:
    """The runs in these directories, where they stopped. source: where their data are, if not where they were."""
    found = [RunDirectory.stored(path) for path in paths]
    config, stored_source = found[0]
    data = prepare(data_of(paths[0], config, source or stored_source, load), config)
    runs = []
    for path, (own, _) in zip(paths, found, strict=True):
        run = Run(own, data, LaneLearner.of(own, alone=False), RunDirectory(path, own, resume=True))
        run.resume()
        runs.append(run)
    return runs


def team(runs: Sequence[Run]) -> LaneTeam:
    """The runs' learners, side by side."""
    return LaneTeam([run.learner for run in runs if isinstance(run.learner, LaneLearner)])


def trained(runs: Sequence[Run], stopped: Callable[[], bool]) -> Iterator[Progress]:
    """Train runs side by side to the end of all. Once stopped(), they are saved, and KeyboardInterrupt is raised."""
    for now in side_by_side(runs, team, CHUNK):
        if stopped():
            for run in runs:
                run.save()
            raise KeyboardInterrupt
        yield now


def ended() -> threading.Event:
    """What is set when stdin ends."""
    event = threading.Event()

    def watch() -> None:
        os.read(0, 1)  # not of sys.stdin, which could not be closed meanwhile
        event.set()

    threading.Thread(target=watch, daemon=True).start()
    return event


def main() -> None:
    parser = cli.Parser("python -m host.engine.worker", __doc__)
    parser.option("--data", help="directory with the runs' data (default: where they were)")
    parser.add_argument("directories", nargs="+", type=Path)
    args = parser.parse_args()
    stop, told = ended(), 0.0
    with cli.Interrupt() as status:
        runs = opened(args.directories, args.data)
        known = [len(run.epochs) for run in runs]

        def tell() -> None:
            with contextlib.suppress(BrokenPipeError, streams.Undelivered):  # nobody is there: stdin says so, too
                print(Report.of(runs, known).line(), flush=True)
            known[:] = [len(run.epochs) for run in runs]

        for _ in trained(runs, lambda: status.requested or stop.is_set()):
            if time.monotonic() - told > EVERY:
                tell()
                told = time.monotonic()
        tell()


if __name__ == "__main__":
    cli.run(main)
