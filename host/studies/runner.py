"""A study at work: its teams go to a pool, what they end with into its directory, and lines about it to stderr."""

import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from host.base import cli
from host.engine.lanes import groups
from host.runs import output
from host.runs.config import Config
from host.studies.directory import StudyDirectory, Turn
from host.studies.grid import UNDISTURBED, Condition, name_of
from host.studies.pool import Pool
from host.studies.results import Results
from host.studies.spec import Spec, written
from host.studies.work import Ended, Job

LOOK = 0.1  # seconds between two looks at Ctrl-C
TOLD_TO_STOP = "its worker was told to stop, but not by this study"

Team = Sequence[Job]
News = list[Ended] | BaseException | None  # how a team has ended, what went wrong with all, or that all have ended


class Study:
    """A study's runs: which are complete, and what is to be done with the others."""

    def __init__(
        self, spec: Spec, conditions: Sequence[Condition], directory: StudyDirectory, source: str | None, data: str
    ):
        """source: where the data are, None for the bundled digits; data: their digest."""
        self.spec, self.conditions, self.directory = spec, conditions, directory
        self.source, self.data = source, data
        self.configs: dict[str, Config] = {}  # of all runs, by their names
        self.parts: dict[str, list[str]] = {}  # the runs of each condition, by its id
        names = {}
        for condition in conditions:
            self.parts[condition.id] = []
            for seed in spec.seeds:
                config = replace(condition.config, seed=seed)
                name = names[condition.id, seed] = name_of(config)
                self.configs[name] = config
                self.parts[condition.id].append(name)
        self.results = Results(spec, conditions, names)
        for name, config in self.configs.items():
            if epoch := directory.last_epoch(name, config):
                self.results.epochs[name] = epoch
        self.results.errors = {name: why for name, why in directory.failures().items() if name in self.configs}
        self.waiting = self.configs.keys() - self.results.epochs.keys()
        self.told = set(self._ended())  # the conditions that a line was said of, or that had ended before

    @property
    def failed(self) -> list[str]:
        """The runs that have not come to their end."""
        return [name for name in self.configs if self.results.status(name) == "failed"]

    def store(self) -> None:
        """Write study.json."""
        self.directory.store(
            {
                "name": self.spec.name,
                "about": self.spec.about,
                "spec": self.spec.found,
                "quick": self.spec.quick,
                "data": self.data,
                "source": self.source,
                **self.results.budget(),
                "conditions": [condition.as_dict() for condition in self.conditions],
                "complete": len(self.results.epochs) == len(self.configs),
            }
        )

    def teams(self) -> list[list[Job]]:
        """The runs that wait, those of one condition together: as many as are trained best side by side."""
        found = []
        for runs in self.parts.values():
            rest = deque(self._job(name) for name in runs if name in self.waiting)
            found += [[rest.popleft() for _ in range(size)] for size in (groups(len(rest), 1) if rest else ())]
        return found

    def _job(self, name: str) -> Job:
        return Job(name, self.directory.place(name).absolute(), self.configs[name])

    def take(self, ended: Ended) -> None:
        """Take note of how a run has ended, and say so if it was the last of its condition."""
        if ended.epoch is not None:
            self.results.epochs[ended.name] = ended.epoch
        elif ended.error is not None:
            self.results.errors[ended.name] = ended.error
            self.directory.failed(ended.name, ended.error)
            output.say(f"run {ended.name} (seed {self.configs[ended.name].seed}) failed: {cli.shown(ended.error, 300)}")
        else:
            return
        self.waiting.remove(ended.name)

    def _ended(self) -> list[int]:
        """The numbers of the conditions none of whose runs waits."""
        return [k for k, x in enumerate(self.conditions) if not self.waiting.intersection(self.parts[x.id])]

    def tell(self) -> None:
        """A line for each condition that has come to its end since."""
        for number in self._ended():
            if number not in self.told:
                self.told.add(number)
                output.say(line(self.results.summary(self.conditions[number])))

    def cost(self, names: Iterable[str]) -> float:
        """Of these runs, in some unit."""
        total = 0.0
        for config in map(self.configs.__getitem__, names):
            training, testing = (output.board_seconds(config, learning) for learning in (True, False))
            total += config.epochs * (config.images * training + config.test_images * testing)
        return total


class Work:
    """A study's teams in the hands of a pool."""

    def __init__(self, study: Study, pool: Pool):
        self.study, self.pool = study, pool
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.under_way: dict[tuple[str, ...], Team] = {}
        self.lock, self.stopping = threading.Lock(), False
        self.begun, self.whole = time.monotonic(), study.cost(study.waiting)

    def follow(self, status: cli.Interrupt) -> None:
        """Have all trained to their end, or until the first signal: then all is saved. Raises KeyboardInterrupt.

        What has ended is in the results at once.
        """
        with cli.shielded():
            threading.Thread(target=self._run, daemon=True).start()
        try:
            with output.Gauge() as gauge:
                self._listen(gauge, status)
        finally:
            self.stop()
        if status.requested:
            raise KeyboardInterrupt

    def _listen(self, gauge: output.Gauge, status: cli.Interrupt) -> None:
        """Until the thread ends. Raises what went wrong there, or here, when all that was under way is saved."""
        trouble: BaseException | None = None
        while True:
            try:
                news = self.news.get(timeout=LOOK)
            except queue.Empty:
                news = []
            if news is None:
                break
            try:
                self._take(news)
            except (cli.UserError, OSError) as error:
                trouble = trouble or error
            if (status.requested or trouble) and not self.stopping:
                self.stop()
            gauge.show(time.monotonic(), self.text, len(self.study.results.epochs), len(self.study.configs))
        if trouble:
            raise trouble

    def _take(self, news: list[Ended] | BaseException) -> None:
        if isinstance(news, BaseException):
            raise news
        for ended in news:
            self.study.take(ended)
        if news:
            self.study.results.write(self.study.directory)
            self.study.tell()

    def stop(self) -> None:
        """Have all that is under way saved, and nothing new begun."""
        with self.lock:
            self.stopping = True
            self.study.directory.end_turn()

    def _turn(self) -> Turn | None:
        with self.lock:
            return None if self.stopping else self.study.directory.take_turn()

    def _run(self) -> None:
        """In a thread of its own, for the pool's answers are waited for without a look at signals."""
        try:
            self._rounds()
        except BaseException as error:
            self.news.put(error)
        self.news.put(None)

    def _rounds(self) -> None:
        """All teams; whenever a worker dies, first those that were under way, run by run.

        Which of them was its end is not known before.
        """
        teams, suspects = deque[Team](self.study.teams()), deque[Team]()
        while (teams or suspects) and (turn := self._turn()):
            alone = bool(suspects)
            try:
                self._round(suspects if alone else teams, alone, turn, suspects)
            except Exception as error:
                lost = [job for team in self.under_way.values() for job in team]
                self.under_way.clear()
                if self.stopping:
                    return
                if not lost:
                    raise
                if alone:
                    self.news.put([Ended(job.name, error=f"a worker process died of it ({type(error).__name__}; too"
                                                         " little memory?)") for job in lost])  # fmt: skip
                else:
                    output.say(f"a worker process died ({type(error).__name__}); its runs go on one by one")
                    suspects.extend([job] for job in lost)
                self._turn()  # whatever is left of the others saves and ends
                self.study.directory.settle(job.name for job in lost)

    def _round(self, teams: deque[Team], alone: bool, turn: Turn, suspects: deque[Team]) -> None:
        def begun() -> Iterator[Team]:
            while teams and not self.stopping:
                team = teams.popleft()
                self.under_way[tuple(job.name for job in team)] = team
                yield team

        for ended in self.pool.work(begun(), 1 if alone else self.pool.workers, self.study.source, turn):
            team = self.under_way.pop(tuple(end.name for end in ended))
            back = [job for job, end in zip(team, ended, strict=True) if end == Ended(job.name)]
            if alone and not self.stopping:
                ended = [Ended(end.name, error=TOLD_TO_STOP) if end == Ended(end.name) else end for end in ended]
            elif not self.stopping:
                suspects.extend([job] for job in back)
            self.news.put(ended)

    def text(self) -> str:
        """Progress in one line of less than 80 characters."""
        study, results = self.study, self.study.results
        half = study.cost(name for names in tuple(self.under_way) for name in names) / 2
        left = study.cost(study.waiting) - half
        done = self.whole - left
        failed = sum(name not in study.waiting for name in results.errors if name not in results.epochs)
        parts = [f"{len(results.epochs)}/{len(study.configs)} runs complete"]
        parts += [f"{failed} failed"] if failed else []
        if done > half:
            parts.append(f"{output.duration((time.monotonic() - self.begun) * left / done)} left")
        return "  ".join(parts)


def line(found: dict[str, Any]) -> str:
    """A condition's summary, for people."""
    place = f"{found['figure']}, {found['series']}, {written(found['level'])}:"
    if found["series"] == UNDISTURBED:
        place = f"{found['figure']}, {UNDISTURBED} ({found['graph']}, {found['rule']}, {found['preset']}):"
    if found["mean"] is None:
        return f"{place} no run is complete"
    spread = "" if found["sd"] is None else f" ± {found['sd']:.4f}"
    seeds = f"{found['n']} seeds" if found["n"] > 1 else "1 seed"
    failed = f", {found['failed']} failed" if found["failed"] else ""
    accuracy = f"{place} {found['mean']:.4f}{spread} ({seeds}{failed})"
    if found["drop"] is None or found["id"] == found["baseline"]:
        return accuracy
    span = "" if found["drop_low"] is None else f" [{found['drop_low']:.4f} to {found['drop_high']:.4f}]"
    return f"{accuracy}  drop {found['drop']:.4f}{span}"
