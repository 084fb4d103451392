"""The directory of a study: study.json, failures.jsonl, runs/, and the results made of them; whose turn it is there."""

import json
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from host.base.cli import UserError, shown
from host.base.files import lock, made, write_atomically
from host.runs.checkpoint import damaged
from host.runs.config import Config
from host.runs.directory import CONFIG, EPOCHS

STUDY, FAILURES, RUNS, TURN = "study.json", "failures.jsonl", "runs", "turn"
LONGEST = 1 << 26  # bytes of a study.json, or of failures.jsonl
PATIENCE = 60.0  # seconds for a process that has been told to leave a run


@dataclass(frozen=True)
class Turn:
    """A time in which a command has the directory to itself: what works for another one's turn saves and ends.

    A file holds the name of the turn. So a worker that nobody can reach any more, because its study was killed or its
    cluster has lost it, ends as soon as another command goes on.
    """

    path: Path
    name: str
    process: int  # the command's

    def over(self) -> bool:
        """Whether it is another one's turn, or nobody's."""
        try:
            return self.path.read_text() != self.name
        except OSError:
            return True


class StudyDirectory:
    """The directory of one study. A process that works in it holds a lock, which ends with the process."""

    def __init__(self, path: Path):
        """Of an existing directory. Raises UserError if another process works in it."""
        self.path, self.runs = path, path / RUNS
        self.turn_path = path / TURN
        try:
            self.held = open(self.turn_path, "a+b")  # noqa: SIM115 (held as long as this object lives)
        except OSError as error:
            raise UserError(f"cannot use {path} ({error.strerror}); give another --out") from error
        if not lock(self.held):
            raise UserError(f"{path} is in use by another process; wait for its end, or give another --out")

    @classmethod
    def create(cls, path: Path | None, name: str) -> "StudyDirectory":
        """A new one: at this path, or under runs/ with the study's name. Raises UserError if something is there."""
        numbers = count(2)
        place = path or Path("runs") / f"study-{name}"
        while True:
            try:
                if path is not None and path.is_dir() and not list(path.iterdir()):
                    return cls(path)
                with made(place, exist_ok=False):
                    return cls(place)
            except FileExistsError as error:
                if path is not None:
                    raise cls._taken(path) from error
                place = place.with_name(f"study-{name}-{next(numbers)}")
            except OSError as error:
                raise UserError(f"cannot make {place} ({error.strerror}); name a place with --out") from error

    @staticmethod
    def _taken(path: Path) -> UserError:
        if (path / STUDY).is_file():
            return UserError(f"{path} holds a study; add --resume to go on with it, or give another --out")
        return UserError(f"{path} exists already, and holds no study; give another --out")

    @classmethod
    def stored(cls, path: Path) -> dict[str, Any]:
        """What study.json of an existing one says. Raises UserError."""
        place = path / STUDY
        if not place.is_file():
            raise UserError(f"{path} holds no study to resume; leave --resume out to start one there")
        try:
            with open(place, "rb") as file:
                found = json.loads(file.read(LONGEST))
        except OSError as error:
            raise UserError(f"cannot read {place} ({error.strerror}); make that possible") from error
        except (ValueError, RecursionError) as error:
            raise damaged(place, "it is no JSON") from error
        fields = {"name": str, "spec": dict, "quick": bool, "data": str}
        source = found.get("source") if isinstance(found, dict) else 0
        if not (isinstance(source, str | None) and all(type(found.get(k)) is kind for k, kind in fields.items())):
            raise damaged(place, "it is no study's")
        assert isinstance(found, dict)
        return found

    def store(self, found: dict[str, Any]) -> None:
        """Write study.json. Raises UserError."""
        self.write(STUDY, json.dumps(found, indent=1))

    def write(self, name: str, text: str) -> None:
        """Write a file of it. Raises UserError if that fails."""
        try:
            write_atomically(self.path / name, lambda file: file.write(text.encode()))
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path} ({error.strerror}); make it possible, then go on with --resume"
            ) from error

    def take_turn(self) -> Turn:
        """From now on it is ours alone, under a new name."""
        turn = Turn(self.turn_path.absolute(), secrets.token_hex(8), os.getpid())
        self._put(turn.name)
        return turn

    def end_turn(self) -> None:
        """From now on it is nobody's."""
        self._put("")

    def _put(self, text: str) -> None:
        self.held.truncate(0)
        self.held.write(text.encode())
        self.held.flush()

    def close(self) -> None:
        """Let another process work in it."""
        self.held.close()

    def place(self, run: str) -> Path:
        """The directory of a run."""
        return self.runs / run

    def last_epoch(self, run: str, config: Config) -> dict[str, Any] | None:
        """The last line of a run that is complete, else None.

        A file that cannot be right is no complete run's: going on with that says what is wrong.
        """
        try:
            lines = (self.place(run) / EPOCHS).read_text().splitlines()
            last = json.loads(lines[-1])
        except (OSError, ValueError, IndexError):
            return None
        return last if isinstance(last, dict) and len(lines) == config.epochs == last.get("epoch") else None

    def settle(self, runs: Iterable[str]) -> None:
        """Wait until no process has these runs any more. Raises UserError if one does not leave its run."""
        until = time.monotonic() + PATIENCE
        for run in runs:
            while not self._free(run):
                if time.monotonic() > until:
                    raise UserError(f"{self.place(run)} is in use by another process; wait for its end, or end it")
                time.sleep(0.05)

    def _free(self, run: str) -> bool:
        try:
            with open(self.place(run) / CONFIG, "r+b") as file:
                return lock(file)
        except OSError:  # there is none yet; or its worker will say what is wrong with it
            return True

    def failed(self, run: str, error: str) -> None:
        """Add a failure. Raises UserError if that fails."""
        try:
            with open(self.path / FAILURES, "a") as file:
                file.write(json.dumps({"run": run, "error": error}) + "\n")
        except OSError as problem:
            raise UserError(f"cannot write to {self.path} ({problem.strerror}); make it possible") from problem

    def failures(self) -> dict[str, str]:
        """The last error of each run that ever failed; lines that cannot be right (of a full disk) are passed over."""
        found = {}
        try:
            with open(self.path / FAILURES, errors="replace") as file:
                lines = file.read(LONGEST).splitlines()
        except OSError:
            return {}
        for line in lines:
            try:
                entry = json.loads(line)
                found[str(entry["run"])] = shown(entry["error"], 500)
            except (ValueError, KeyError, TypeError):
                continue
        return found
