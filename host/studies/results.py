"""The results of a study: a line per condition and seed as CSV, a mean with its interval per condition as JSON."""

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from host.studies.directory import StudyDirectory
from host.studies.grid import Condition
from host.studies.intervals import interval
from host.studies.spec import Spec, written

CSV, JSON = "results.csv", "results.json"
COLUMNS = (
    *("study", "figure", "series", "x", "level", "graph", "rule", "preset", "disturb", "images", "epochs"),
    *("test_images", "seed", "status", "test_accuracy", "train_accuracy", "digest", "run", "error"),
)
DIGITS = 6


class Results:
    """What is known of a study's runs. epochs: the last line of complete ones; errors: of those that failed."""

    def __init__(self, spec: Spec, conditions: Sequence[Condition], names: Mapping[tuple[str, int], str]):
        """names: of the runs, by condition and seed."""
        self.spec, self.conditions, self.names = spec, conditions, names
        self.epochs: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, str] = {}

    def status(self, run: str) -> str:
        """complete, failed or waiting."""
        return "complete" if run in self.epochs else "failed" if run in self.errors else "waiting"

    def accuracies(self, condition: str) -> dict[int, float]:
        """Test accuracies of the complete runs of a condition, by seed."""
        runs = {seed: self.names[condition, seed] for seed in self.spec.seeds}
        return {seed: self.epochs[run]["test_accuracy"] for seed, run in runs.items() if run in self.epochs}

    def summary(self, condition: Condition) -> dict[str, Any]:
        """A condition with its statistics; None for what too few seeds do not tell."""
        own, plain = self.accuracies(condition.id), self.accuracies(condition.baseline)
        values, drops = list(own.values()), [plain[seed] - own[seed] for seed in own if seed in plain]
        mean = statistics.fmean(values) if values else None
        drop = statistics.fmean(drops) if drops else None
        low, high = interval(values) or (None, None)
        drop_low, drop_high = interval(drops) or (None, None)
        found = {
            "mean": mean,
            "sd": statistics.stdev(values) if len(values) > 1 else None,
            "low": low,
            "high": high,
            "accuracies": own,
            "drop": drop,
            "drop_low": drop_low,
            "drop_high": drop_high,
        }
        failed = sum(self.status(self.names[condition.id, seed]) == "failed" for seed in self.spec.seeds)
        rounded = {key: round(value, DIGITS) if isinstance(value, float) else value for key, value in found.items()}
        return {**condition.as_dict(), "n": len(values), **rounded, "failed": failed}

    def as_dict(self) -> dict[str, Any]:
        """As results.json has it."""
        return {
            "study": self.spec.name,
            "about": self.spec.about,
            **self.budget(),
            "results": [self.summary(condition) for condition in self.conditions],
        }

    def budget(self) -> dict[str, Any]:
        """What most conditions have: the first one's."""
        config = self.conditions[0].config
        return {
            "images": config.images,
            "epochs": config.epochs,
            "test_images": config.test_images,
            "seeds": self.spec.seeds,
        }

    def csv(self) -> str:
        """As results.csv has it."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for condition in self.conditions:
            for seed in self.spec.seeds:
                run = self.names[condition.id, seed]
                writer.writerow(
                    {
                        **condition.as_dict(),
                        "study": self.spec.name,
                        "level": written(condition.level),
                        "test_images": condition.config.test_images,
                        "seed": seed,
                        "status": self.status(run),
                        **self.epochs.get(run, {}),
                        "epochs": condition.epochs,
                        "run": run,
                        "error": "" if run in self.epochs else self.errors.get(run, ""),
                    }
                )
        return text.getvalue()

    def write(self, directory: StudyDirectory) -> None:
        """Both files. Raises UserError if that fails."""
        directory.write(CSV, self.csv())
        directory.write(JSON, json.dumps(self.as_dict(), indent=1) + "\n")
