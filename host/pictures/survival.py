"""What survives: how far each signal of a study may be narrowed or disturbed before accuracy falls.

Along each line of a study's pictures, the levels are gone through from the mildest on, as long as the drop against the
undisturbed network stays below LIMIT: the last one before it does not is what survives. That is so of the mean drop
(the point estimate), and once more of the upper end of its 95 % confidence interval, which is surer. On the other side
stands the mildest level at which the interval's lower end is above 0, so that accuracy falls there for certain.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

LIMIT = 0.02  # of the test accuracy
NARROWED = ("bits", "block", "limit")  # what is milder the more there is of it

KEYS = ("figure", "series", "graph", "rule", "preset", "x")  # what the conditions of a line share
Result = dict[str, Any]  # of a condition, as results.json has it


@dataclass(frozen=True)
class Line:
    """Conditions of a study that differ in their level only."""

    figure: str
    series: str
    graph: str
    rule: str
    preset: str
    x: str
    results: tuple[Result, ...]  # by level

    @property
    def narrowed(self) -> bool:
        """Whether a level is bits that are left, so that low ones are harsh."""
        words = "|".join(NARROWED)
        return any(re.search(rf"\b({words})={x['level']:g}(?![\d.])", x["disturb"]) for x in self.results)

    @property
    def disturbed(self) -> bool:
        """Whether anything is done to the network along it."""
        return any(result["disturb"] for result in self.results)


@dataclass(frozen=True)
class Survivor:
    """What survives of a line, or of one side of it if it has levels below 0."""

    figure: str
    series: str
    graph: str
    rule: str
    preset: str
    x: str
    kind: str  # "fewest" bits, or the "largest" disturbance; "below 0", "above 0" where there are both
    level: float | None  # by the point estimate; None: not even the mildest that was tried
    last: bool  # whether that is the harshest that was tried
    drop: float | None  # there
    drop_low: float | None
    drop_high: float | None
    sure: bool  # whether the interval's upper end is below LIMIT there, too
    sure_level: float | None  # the level that survives by the interval's upper end
    fails_at: float | None  # the next harsher level that was tried
    falls_at: float | None  # the mildest level at which the whole interval of the drop is above 0
    n: int  # seeds
    complete: bool  # whether all levels have their results


def lines(results: Sequence[Result]) -> list[Line]:
    """The lines of a study's pictures, in the order of its conditions. An undisturbed network is one of none."""
    found: dict[tuple[str, ...], list[Result]] = {}
    figures = list(dict.fromkeys(result["figure"] for result in results))
    for result in results:
        if result["series"] != "undisturbed":
            found.setdefault(tuple(result[key] for key in KEYS), []).append(result)
    found = dict(sorted(found.items(), key=lambda item: figures.index(item[0][0])))
    ordered = {key: tuple(sorted(some, key=lambda x: x["level"])) for key, some in found.items()}
    return [Line(**dict(zip(KEYS, key, strict=True)), results=some) for key, some in ordered.items()]


def survivors(results: Sequence[Result]) -> list[Survivor]:
    """What survives in a study, line by line."""
    return [survivor for line in lines(results) if line.disturbed for survivor in _of(line)]


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The same for a file."""
    return [asdict(survivor) for survivor in survivors(results)]


def _of(line: Line) -> Iterator[Survivor]:
    if line.narrowed:
        yield _survivor(line, "fewest", line.results[::-1])
        return
    sides = [[x for x in line.results if x["level"] * sign > 0 and x["disturb"]] for sign in (-1, 1)]
    for side, where in zip(sides, ("below", "above"), strict=True):
        if side:
            kind = f"largest {where} 0" if all(sides) else "largest"
            yield _survivor(line, kind, sorted(side, key=lambda x: abs(x["level"])))


def _survivor(line: Line, kind: str, results: Sequence[Result]) -> Survivor:
    """results: from the mildest to the harshest."""
    holds = _far(results, "drop")
    sure = _far(results, "drop_high")
    at: Result = results[holds - 1] if holds else dict.fromkeys(("level", "drop", "drop_low", "drop_high"))
    return Survivor(
        **{key: getattr(line, key) for key in KEYS},
        kind=kind,
        level=at["level"],
        last=holds == len(results),
        drop=at["drop"],
        drop_low=at["drop_low"],
        drop_high=at["drop_high"],
        sure=at["drop_high"] is not None and at["drop_high"] < LIMIT,
        sure_level=results[sure - 1]["level"] if sure else None,
        fails_at=results[holds]["level"] if holds < len(results) else None,
        falls_at=next((x["level"] for x in results if x["drop_low"] is not None and x["drop_low"] > 0), None),
        n=results[max(holds - 1, 0)]["n"],
        complete=all(result["drop"] is not None for result in results),
    )


def _far(results: Sequence[Result], key: str) -> int:
    """How many of them, from the first on, have this below LIMIT."""
    for number, result in enumerate(results):
        if result[key] is None or result[key] >= LIMIT:
            return number
    return len(results)
