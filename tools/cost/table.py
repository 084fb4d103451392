"""Marks and counts -> what the passes take."""

from typing import Any

from host.base.cli import UserError
from tools.cost.job import Counts, Job


def split(marks: list[str], counts: Counts) -> dict[str, Counts]:
    """Pairs of marks -> the counts between them, by the marks' name, in order."""
    if len(marks) != len(counts) or marks[::2] != marks[1::2]:
        raise UserError(f"{len(marks)} marks, {len(counts)} counts: they do not match")
    found: dict[str, Counts] = {}
    for i in range(0, len(marks), 2):
        found.setdefault(marks[i], []).append(tuple(b - a for a, b in zip(counts[i], counts[i + 1], strict=True)))
    return found


def table(found: dict[str, Counts], job: Job, made: bool) -> dict[str, Any]:
    """Counts per image, the mean of all: of each pass, of the interpreter around them, and of the whole.

    Of the whole's cycles the lowest and the highest, too. made: the counters know the passes' code from the
    interpreter's (else a call of an empty pass is deducted).
    """

    def mean(name: str, field: int) -> int:
        return round(sum(count[field] for count in found[name]) / job.images)

    passes: dict[str, dict[str, Any]] = {}
    for name in job.kernels:
        calls = len(found[name]) // job.images
        instructions = mean(name, 0) if made else mean(name, 2) - calls * mean("call", 2)
        passes[name] = {"calls": calls, "instructions": instructions}
        passes[name]["per_cell_step"] = round(instructions / (job.cells * job.steps), 2)
        if made:
            passes[name]["cycles"] = mean(name, 1)
    total = {"instructions": mean("image", 0) + mean("image", 2) - mean("mark", 2)}
    rest = {"instructions": total["instructions"] - sum(p["instructions"] for p in passes.values())}
    if made:
        total["cycles"] = mean("image", 1) + mean("image", 3) - mean("mark", 3)
        every = [image[1] + image[3] - mark[3] for image, mark in zip(found["image"], found["mark"], strict=True)]
        total["lowest"], total["highest"] = min(every), max(every)
        rest["cycles"] = total["cycles"] - sum(p["cycles"] for p in passes.values())
    return {"passes": passes, "interpreter": rest, "image": total}
