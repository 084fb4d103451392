"""What a study is: a TOML file with a budget and sweeps, each a family of conditions along one axis.

    name = "bits"
    about = "how many fraction bits the messages need"
    images = 60000          # the first so many training images
    epochs = 1
    test_images = 10000
    seeds = "1-8"

    [quick]                 # what --quick takes instead; each key may be left out
    images = 600
    test_images = 300
    seeds = "1-2"
    thin = 3                # every third level only, and the last

    [[sweep]]
    figure = "message"      # the picture that its conditions belong to,
    series = "{rounding}"   # the line in it, and what its axis says
    x = "fraction bits of the messages"
    disturb = "message bits={level} rounding={rounding}"
    levels = [4, 6, 8, 12]
    over = { rounding = ["floor", "nearest"], graph = ["lattice", "forest"] }

A sweep may also have graph, rule and preset (those of host.simulate, and its defaults), images, epochs and test_images
of its own, the network's rows, cols, units, share, wiring_seed and pixel_bits, and tau: the steps that all time
constants are at the start. `over` is lists of values; each of their combinations is run at every level. {level}, and
the names in `over`, stand for their values in every text of the sweep, {1-level} and {1+level} for what they say.
"""

import itertools
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.base.cli import UserError, shown
from host.runs.config import MAX_STEPS
from host.runs.seeds import numbers

SHIPPED = Path(__file__).parent
SUFFIX = ".toml"
LONGEST = 1 << 20  # bytes of a spec

Number = int | float
Value = str | Number
Check = Callable[[Any], str]  # what is wrong with a value, or nothing


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and 0 < len(value) < 1000 and value.isprintable() else "a text, of one line"


def _whole(value: Any) -> str:
    return "" if type(value) is int and 1 <= value <= MAX_STEPS else "a whole number from 1"


def _number(value: Any) -> str:
    return "" if type(value) in (int, float) and abs(value) < 1e9 else "a number"


def _value(value: Any) -> str:
    return "" if not _number(value) or not _text(value) else "a number, or a text"


def _list_of(check: Check) -> Check:
    def wrong(value: Any) -> str:
        fine = isinstance(value, list) and 0 < len(value) <= 1000 and not any(map(check, value))
        return "" if fine and len(set(value)) == len(value) else f"a list of different values, each {check(None)}"

    return wrong


def _over(value: Any) -> str:
    lists = _list_of(_value)
    fine = isinstance(value, dict) and all(re.fullmatch(NAME, name) and not lists(x) for name, x in value.items())
    return "" if fine and "level" not in value else "a table of names, but not level, each with a list of values"


def _table(value: Any) -> str:
    return "" if isinstance(value, dict) else "a table"


def _tables(value: Any) -> str:
    return "" if isinstance(value, list) and value and not any(map(_table, value)) else "one [[sweep]] at least"


NAME = r"[a-z][a-z0-9_]{0,30}"
BUDGET: dict[str, Check] = {"images": _whole, "epochs": _whole, "test_images": _whole}
STUDY: dict[str, Check] = {"name": _text, "about": _text, **BUDGET, "seeds": _text, "quick": _table, "sweep": _tables}
QUICK: dict[str, Check] = {**BUDGET, "seeds": _text, "thin": _whole}
TEXTS = ("figure", "series", "x")
NETWORK = ("graph", "rule", "preset")
SETTINGS = ("rows", "cols", "units", "share", "wiring_seed", "pixel_bits", "tau")
SWEEP: dict[str, Check] = {
    **dict.fromkeys((*TEXTS, *NETWORK), _text),
    "disturb": lambda value: "" if value == "" else _text(value),
    "levels": _list_of(_number),
    "over": _over,
    **BUDGET,
    **dict.fromkeys(SETTINGS, _value),
}


@dataclass(frozen=True)
class Point:
    """One place in a sweep: what its condition is made of, with all placeholders filled in. where: for errors."""

    where: str
    level: Number
    texts: dict[str, str]  # by TEXTS, NETWORK and disturb
    settings: dict[str, str]  # by SETTINGS
    budget: dict[str, int]


@dataclass(frozen=True)
class Spec:
    """A study. found: as the file has it, and study.json keeps it."""

    where: str
    found: dict[str, Any]
    quick: bool = False

    @classmethod
    def of(cls, found: dict[str, Any], where: str, quick: bool = False) -> "Spec":
        """Raises UserError for a table or key that cannot be; where: the file, for its text."""
        _check(found, STUDY, where, "the study", optional=("quick",))
        name = found["name"]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}", name):
            raise UserError(f"{where}: name {shown(name)!r} has no place in a path; use letters, digits, - and _")
        if "quick" in found:
            _check(found["quick"], QUICK, where, "[quick]", optional=tuple(QUICK))
        elif quick:
            raise UserError(f"{where} has no [quick] table; add one, or leave --quick out")
        for number, sweep in enumerate(found["sweep"], 1):
            _check(sweep, SWEEP, where, f"[[sweep]] {number}", optional=tuple(SWEEP.keys() - TEXTS))
        spec = cls(where, found, quick)
        _ = spec.seeds
        return spec

    @classmethod
    def read(cls, name: str, quick: bool = False) -> "Spec":
        """The study of this name, or in this file. Raises UserError."""
        path = SHIPPED / f"{name}{SUFFIX}" if name in named() else Path(name)
        try:
            with open(path, "rb") as file:
                found = tomllib.loads(file.read(LONGEST).decode())
        except OSError as error:
            raise UserError(
                f"{shown(name)} is no study, and cannot be read as the file of one ({error.strerror}); choose one of"
                f" {', '.join(named())}, or name a {SUFFIX} file"
            ) from error
        except ValueError as error:  # of the encoding, too
            raise UserError(f"{path} is no TOML ({error}); see python -m host.study --help") from error
        return cls.of(found, str(path), quick)

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.found["name"])

    @property
    def about(self) -> str:
        """What it asks."""
        return str(self.found["about"])

    def _chosen(self, key: str) -> Any:
        """A top-level key's value, or what [quick] has in its place."""
        quick = self.found.get("quick", {}) if self.quick else {}
        return quick.get(key, self.found[key])

    @property
    def seeds(self) -> list[int]:
        """Of each condition. Raises UserError."""
        return numbers(self._chosen("seeds"), f"{self.where}: seeds")

    @property
    def budget(self) -> dict[str, int]:
        """Training and test images, and epochs, of sweeps that have none of their own."""
        return {key: self._chosen(key) for key in BUDGET}

    def points(self) -> Iterator[Point]:
        """All places in all sweeps, in order. Raises UserError for a placeholder that stands for nothing."""
        for number, sweep in enumerate(self.found["sweep"], 1):
            where = f"{self.where}: [[sweep]] {number} ({shown(sweep['figure'], 30)})"
            over, levels, budget = sweep.get("over", {}), sweep.get("levels", [0]), self.budget
            if self.quick:  # a sweep's own budget is for the whole study; it makes a quick one no longer
                budget = {key: min(value, sweep.get(key, value)) for key, value in budget.items()}
                levels = thinned(levels, self.found["quick"].get("thin", 1))
            else:
                budget |= {key: sweep[key] for key in BUDGET if key in sweep}
            for chosen in itertools.product(*over.values()):
                merged = sweep | dict(zip(over, chosen, strict=True))
                keys = (*TEXTS, "disturb", *(key for key in NETWORK if key in merged))
                for level in levels:
                    known = {key: merged[key] for key in (*NETWORK, *over) if key in merged} | {"level": level}
                    texts = {key: filled(str(merged.get(key, "")), known, f"{where}: {key}") for key in keys}
                    settings = {
                        key: filled(str(merged[key]), known, f"{where}: {key}") for key in SETTINGS if key in merged
                    }
                    yield Point(where, level, texts, settings, budget)


def named() -> list[str]:
    """The studies that are shipped."""
    return sorted(path.stem for path in SHIPPED.glob(f"*{SUFFIX}"))


def thinned(levels: list[Number], step: int) -> list[Number]:
    """Of so many levels one, from the first on, and the last."""
    kept = levels[::step]
    return kept if kept[-1] == levels[-1] else [*kept, levels[-1]]


def written(value: Value) -> str:
    """A value as the text of a disturbance has it: without an exponent."""
    return f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def filled(text: str, values: Mapping[str, Value], where: str) -> str:
    """The text with its placeholders filled in. Raises UserError for one that stands for nothing."""

    def value(match: re.Match[str]) -> str:
        inner = match[1].strip()
        parts = re.fullmatch(rf"(?:1\s*([+-])\s*)?({NAME})", inner)
        found = values.get(parts[2]) if parts else None
        if parts is None or found is None or (parts[1] and isinstance(found, str)):
            known = ", ".join(f"{{{name}}}" for name in values)
            raise UserError(f"{where} has {{{shown(inner)}}}, which stands for nothing; there are {known}, {{1-level}}")
        if not parts[1]:
            return written(found)
        assert not isinstance(found, str)
        return written(round(1 + found if parts[1] == "+" else 1 - found, 9))

    return re.sub(r"\{([^{}]*)\}", value, text)


def _check(found: dict[str, Any], keys: Mapping[str, Check], where: str, table: str, optional: tuple[str, ...]) -> None:
    """Raise UserError, with the table's and the key's name, for a key that is missing, strange or wrong."""
    for key in found.keys() - keys.keys() - set(optional):
        raise UserError(f"{where}: {table} has {shown(key)!r}, which means nothing; it may have {', '.join(keys)}")
    for key in keys:
        if key in found:
            if wrong := keys[key](found[key]):
                raise UserError(f"{where}: {key} of {table} is {shown(repr(found[key]))}; it must be {wrong}")
        elif key not in optional:
            raise UserError(f"{where}: {table} has no {key}; add it")
