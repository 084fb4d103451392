"""A study's directory as host.study writes it, without its runs: accuracies are made up."""

import csv
import json
import statistics
from pathlib import Path
from typing import Any

SEEDS = (1, 2, 3, 4)
BUDGET = {"images": 600, "epochs": 1, "test_images": 300, "seeds": list(SEEDS)}
T = 3.182  # Student's, three degrees of freedom, 95 %
BASE = {"lattice": 0.50, "small-world": 0.70}
RECIPES = {"lattice": "critical", "small-world": "small-world"}
COLUMNS = (
    *("study", "figure", "series", "x", "level", "graph", "rule", "preset", "disturb", "images", "epochs"),
    *("test_images", "seed", "status", "test_accuracy", "train_accuracy", "digest", "run", "error"),
)


def interval(values: list[float]) -> tuple[float, float]:
    mean, half = statistics.fmean(values), T * statistics.stdev(values) / len(values) ** 0.5
    return mean - half, mean + half


def result(
    figure: str, series: str, level: float, x: str, graph: str, disturb: str, loss: float, seeds: int = len(SEEDS)
) -> dict[str, Any]:
    """A condition and its statistics. loss: of accuracy, on average; seeds: so many have ended."""
    baseline = f"plain-{graph}"
    plain = [BASE[graph] + 0.01 * seed for seed in SEEDS[:seeds]]
    drops = [loss + (0.002 * (seed % 2) if disturb else 0) for seed in SEEDS[:seeds]]
    own = [a - b for a, b in zip(plain, drops, strict=True)]
    known = len(own) > 1
    low, high = interval(own) if known else (None, None)
    drop_low, drop_high = interval(drops) if known else (None, None)
    return {
        "id": f"{figure}-{series}-{level:g}-{graph}" if disturb else baseline,
        "figure": figure,
        "series": series,
        "level": level,
        "x": x,
        "graph": graph,
        "rule": "snap1",
        "preset": RECIPES[graph],
        "disturb": disturb,
        "images": 600,
        "epochs": 1,
        "baseline": baseline,
        "n": len(own),
        "mean": statistics.fmean(own) if own else None,
        "sd": statistics.stdev(own) if known else None,
        "low": low,
        "high": high,
        "accuracies": {str(seed): value for seed, value in zip(SEEDS, own, strict=False)},
        "drop": statistics.fmean(drops) if own else None,
        "drop_low": drop_low,
        "drop_high": drop_high,
        "failed": 0,
    }


def results() -> list[dict[str, Any]]:
    """Bits by rounding on two graphs, noise by graph, and a gain with both signs."""
    found = [result("message", "undisturbed", 0, "fraction bits", graph, "", 0) for graph in BASE]
    for graph in BASE:
        for rounding, worst in (("floor", 12), ("nearest", 6)):
            for bits in (2, 4, 6, 8, 12):
                text = f"message bits={bits} rounding={rounding}"
                loss = 0.001 if bits >= worst else 0.08 * (worst - bits)
                found.append(result("message", rounding, bits, "fraction bits", graph, text, min(loss, 0.4)))
        for noise in (0, 0.01, 0.1, 1):
            text = f"message noise={noise:g}" if noise else ""
            found.append(result("noise", graph, noise, "standard deviation", graph, text, 0.1 * noise))
    for gain in (-0.1, -0.03, 0, 0.03, 0.1):
        text = f"message positive={1 - gain:g} negative={1 + gain:g}" if gain else ""
        found.append(result("asymmetric gain", "lattice", gain, "missing gain", "lattice", text, 2 * abs(gain)))
    return found


def write_study(path: Path, found: list[dict[str, Any]], name: str = "small", waiting: int = 0) -> Path:
    """The directory of a study with these results; so many of its last runs are still to come."""
    path.mkdir(parents=True)
    fields = (*COLUMNS[1:11], "id", "baseline")
    conditions = [{key: x[key] for key in fields} for x in found]
    about = {"name": name, "about": "what a small study shows", "spec": {}, "quick": True, "data": "0" * 16}
    (path / "study.json").write_text(json.dumps({**about, **BUDGET, "conditions": conditions, "complete": not waiting}))
    (path / "results.json").write_text(
        json.dumps({"study": name, "about": about["about"], **BUDGET, "results": found}, indent=1)
    )
    runs = list(dict.fromkeys((x["id"], seed) for x in found for seed in SEEDS))
    late = set(runs[len(runs) - waiting :])
    with open(path / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for x in found:
            for seed in SEEDS:
                status = "waiting" if (x["id"], seed) in late else "complete"
                run = f"{x['id']}-{seed}"
                writer.writerow({**x, "study": name, "test_images": 300, "seed": seed, "status": status, "run": run})
    return path
