"""Several runs at once: processes that each train a group of them side by side, and what they say together."""

import contextlib
import json
import queue
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from host.base import cli
from host.runs import output
from host.runs.drawings import roll
from host.runs.run import Run
from host.runs.seeds import Member

LOOK = 0.1  # seconds between two looks at Ctrl-C


@dataclass
class Report:
    """How far the runs of a group are, as their process says."""

    steps: int  # of all
    images: int  # of all, in the epochs that are under way
    correct: int  # among them, before their own step
    epochs: list[tuple[int, dict[str, Any]]]  # what is new: the number of the run in its group, and an epoch's line

    @classmethod
    def of(cls, runs: Sequence[Run], told: Sequence[int]) -> "Report":
        """told: how many epochs of each run are known already."""
        return cls(
            sum(run.step for run in runs),
            sum(run.step - len(run.epochs) * run.config.images for run in runs),
            sum(run.correct for run in runs),
            [(number, epoch) for number, run in enumerate(runs) for epoch in run.epochs[told[number] :]],
        )

    def line(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


class Group:
    """Runs that a process of their own trains side by side. What it says goes to `reports`, in the end None."""

    def __init__(self, members: Sequence[Member], command: Sequence[str], reports: "queue.Queue[Said]"):
        """command: what starts the process, but for the directories of the runs."""
        self.members, self.reports = members, reports
        self.now = Report(sum(member.step for member in members), 0, 0, [])
        # In a session of its own, so that Ctrl-C reaches us alone, and this process has its runs saved in our own time.
        self.process = subprocess.Popen(
            [*command, "--", *(str(member.path) for member in members)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):  # half a line: the process was killed
                self.reports.put((self, Report(**json.loads(line))))
        self.reports.put((self, None))

    def take(self, now: Report) -> None:
        """Take note of a report."""
        self.now = now
        for number, epoch in now.epochs:
            self.members[number].epochs.append(epoch)

    def stop(self) -> None:
        """Have the process save its runs and end."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def trouble(self, stopped: bool = False) -> str:
        """Wait for the end of the process; return what is wrong with how it ended, or nothing. stopped: by us."""
        code = self.process.wait()
        assert self.process.stderr is not None
        said = self.process.stderr.read().strip().split("\n")[-1]
        if code < 0:
            return f"a worker process was killed (signal {-code}; too little memory?), which lost what was not saved"
        if code == cli.EXIT_USER_ERROR:
            return said.removeprefix("error: ")
        if code > cli.EXIT_SIGNAL:
            return "" if stopped else f"a worker process was ended by signal {code - cli.EXIT_SIGNAL}"
        return f"a worker process ended with exit code {code}: {cli.shown(said, 200)}" if code else ""


Said = tuple[Group, Report | None]


class Ensemble:
    """Runs whose configurations differ in their seeds only."""

    def __init__(self, members: Sequence[Member], workers: int, divide: Callable[[int, int], Sequence[int]]):
        """workers: processes at a time. divide: the sizes of the groups for so many runs and workers."""
        self.members, self.workers = members, workers
        self.config = members[0].config
        rest = sorted((member for member in members if not member.complete), key=lambda member: member.step)
        sizes, whole = divide(len(rest), workers), len(divide(len(members), workers))
        ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
        self.waiting = [rest[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        self.at_once = min(workers, whole) / whole  # which share of all runs is trained at a time
        self.groups: list[Group] = []  # that are under way, or were
        self.active = 0
        self.told = min(len(member.epochs) for member in members)
        self.begun: tuple[float, int] | None = None  # when, and after how many steps, the first worker reported

    def announce(self, run_dir: Path, note: str) -> None:
        """The lines before the runs: what, where, and a note why there are so many epochs."""
        output.say(output.content(self.config))
        sizes = ", ".join(str(len(group)) for group in self.waiting[: self.workers])
        parts = [f"llvm, {len(self.members)} seeds", f"lanes: {sizes}" if sizes else "complete", str(run_dir)]
        if 0 < self.steps < self.total:
            parts.append(f"going on at step {self.steps} of {self.total}")
        output.say("; ".join(parts))
        if note:
            output.say(note)

    def follow(self, command: Sequence[str], again: str, status: cli.Interrupt) -> None:
        """Train all to their end, with their progress and a line per epoch; on the first signal have all saved.

        command: what starts a worker. again: the command that goes on. Raises UserError if a worker does not
        start or end well, after all others have saved; KeyboardInterrupt.
        """
        try:
            with output.Gauge(lambda columns, lines: roll(self.members, columns, lines)) as gauge:
                self._work(command, gauge, status)
        except (KeyboardInterrupt, cli.UserError, OSError) as error:
            for group in self.groups:
                group.stop()
            troubles = [str(error), *(group.trouble(stopped=True) for group in self.groups)]
            if trouble := next(filter(None, troubles), ""):
                raise cli.UserError(f"{trouble}; all goes on from the last save with: {again}") from error
            output.say(f"saved {len(self.members)} runs; go on with: {again}")
            raise
        finally:
            for group in self.groups:
                group.process.kill()  # if it is still there: a second signal has come

    def _work(self, command: Sequence[str], gauge: output.Gauge, status: cli.Interrupt) -> None:
        reports: queue.Queue[Said] = queue.Queue()
        while self.waiting or self.active:
            while self.waiting and self.active < self.workers:
                self.groups.append(Group(self.waiting.pop(0), command, reports))
                self.active += 1
            with contextlib.suppress(queue.Empty):
                group, now = reports.get(timeout=LOOK)
                if now is None:
                    self.active -= 1
                    if trouble := group.trouble():
                        raise cli.UserError(trouble)
                else:
                    group.take(now)
                    self._tell_epochs()
                    clock = time.monotonic()
                    self.begun = self.begun or (clock, self.steps)
                    gauge.show(clock, self.text, self.steps, self.total)
            if status.requested:
                raise KeyboardInterrupt

    @property
    def total(self) -> int:
        """Training steps in all runs together."""
        return self.config.total * len(self.members)

    @property
    def steps(self) -> int:
        """How many of them are made."""
        under_way = {member.path for group in self.groups for member in group.members}
        others = sum(member.step for member in self.members if member.path not in under_way)
        return others + sum(group.now.steps for group in self.groups)

    def text(self) -> str:
        """Progress in one line of less than 80 characters."""
        images = sum(group.now.images for group in self.groups)
        correct = sum(group.now.correct for group in self.groups)
        epoch = min(len(member.epochs) for member in self.members) + 1
        clock, steps = self.begun or (0, 0)
        speed = (self.steps - steps) / max(time.monotonic() - clock, 1e-9)
        right = f"right {correct / images:.3f}  " if images else ""
        left = f"  {output.duration((self.total - self.steps) / speed)} left" if speed else ""
        return f"epoch {epoch}/{self.config.epochs}  {right}image {self.steps}/{self.total}  {speed:.0f}/s{left}"

    def _tell_epochs(self) -> None:
        """A line for each epoch that all runs have come to the end of."""
        while all(len(member.epochs) > self.told for member in self.members):
            epochs = [member.epochs[self.told] for member in self.members]
            train, test = ([epoch[f"{which}_accuracy"] for epoch in epochs] for which in ("train", "test"))
            self.told += 1
            output.say(
                f"epoch {self.told:>3}  train {statistics.mean(train):.4f}  test {statistics.mean(test):.4f}"
                f" ({min(test):.4f} to {max(test):.4f})  {self.speed(epochs):>8.1f} images/s"
            )

    def speed(self, epochs: Sequence[dict[str, Any]]) -> float:
        """Training images per second in an epoch, of all runs that are trained at a time."""
        together: float = sum(epoch["images_per_second"] for epoch in epochs)
        return round(together * self.at_once, 1)

    def result(self) -> dict[str, Any]:
        """The result of runs that have all come to their end."""
        runs = [output.result(member.config, member.epochs, member.path) for member in self.members]
        accuracies = [run["test_accuracy"] for run in runs]
        return {
            "runs": runs,
            "mean": round(statistics.mean(accuracies), 6),
            "sd": round(statistics.stdev(accuracies), 6) if len(runs) > 1 else None,
            "lowest": min(accuracies),
            "highest": max(accuracies),
            "images": self.config.images,
            "test_images": self.config.test_images,
            "epochs": self.config.epochs,
            "steps": self.config.total,
            "images_per_second": self.speed([member.epochs[-1] for member in self.members]),
        }
