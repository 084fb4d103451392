"""The grid of a study: its conditions, and the configuration of each of their runs."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from fixedpoint.build import GRAPHS, RULES, build
from fixedpoint.network import INIT_FIELDS
from host.base.cli import UserError, shown
from host.data.dataset import Dataset
from host.engine.disturbed import check
from host.engine.passes import Passes, passes_of
from host.runs.config import WIDEST, Config, configure
from host.runs.disturbance import parse
from host.runs.presets import q12
from host.studies.spec import Number, Point, Spec

UNDISTURBED = "undisturbed"  # the series of a baseline that no sweep has
L_LOW, L_HIGH = INIT_FIELDS.index("l_low"), INIT_FIELDS.index("l_high")


@dataclass(frozen=True)
class Condition:
    """What a study compares: a configuration but for the seed, and its place in a picture."""

    id: str
    figure: str
    series: str
    level: Number
    x: str
    graph: str
    rule: str
    preset: str
    disturb: str
    images: int
    epochs: int
    baseline: str  # the id of the undisturbed one
    config: Config  # of whichever seed

    def as_dict(self) -> dict[str, Any]:
        """As study.json has it."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "config"}


def digest_of(found: dict[str, Any]) -> str:
    """12 hex digits of the SHA-256 of its canonical JSON."""
    text = json.dumps(found, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def name_of(config: Config) -> str:
    """What the directory of a run is called: equal configurations are one run."""
    return digest_of(config.as_dict())


def id_of(config: Config) -> str:
    """As name_of(), whatever the seed."""
    return digest_of({key: value for key, value in config.as_dict().items() if key != "seed"})


def expanded(spec: Spec, data: Dataset) -> tuple[list[Condition], list[str]]:
    """The conditions of a study on this data, and notes for its user.

    A baseline that no sweep has stands before the first that needs it. Raises UserError for what a network does not
    allow, with the sweep's name.
    """
    limited = Limited(data)
    pairs: dict[tuple[str, str, Number], tuple[Condition, Condition]] = {}
    for point in spec.points():
        try:
            config = _config(point, limited, spec.seeds[0])
        except UserError as error:
            raise UserError(f"{point.where}: {error}") from error
        key = (point.texts["figure"], point.texts["series"], point.level)
        plain = _condition(point, replace(config, disturb=""), UNDISTURBED, 0, None)
        pair = plain, _condition(point, config, point.texts["series"], point.level, plain.id)
        if pairs.setdefault(key, pair)[1] != pair[1]:
            raise UserError(
                f"{point.where} has a second condition at {key[2]} of series {shown(key[1])}; name what differs in the"
                " text of series, or of figure"
            )
    there = {condition.id for _, condition in pairs.values()}
    conditions = []
    for plain, condition in pairs.values():
        if plain.id not in there:
            there.add(plain.id)
            conditions.append(plain)
        conditions.append(condition)
    notes = [
        f"{spec.name} asks for {wanted} {what} {data.items}, and {data.name} has {found}: all are taken"
        for what, wanted, found in limited.short
    ]
    return conditions, notes


class Limited:
    """Data by how many training and test images are taken. short: what was asked for, and is not there."""

    def __init__(self, data: Dataset):
        self.data = data
        self.known: dict[tuple[int, int], Dataset] = {}
        self.short: dict[tuple[str, int, int], None] = {}

    def __call__(self, images: int, test_images: int) -> Dataset:
        """The first so many, or all."""
        numbers = []
        for what, wanted, found in (
            ("training", images, len(self.data.train_images)),
            ("test", test_images, len(self.data.test_images)),
        ):
            numbers.append(min(wanted, found))
            if found < wanted:
                self.short[what, wanted, found] = None
        key = numbers[0], numbers[1]
        if key not in self.known:
            self.known[key] = self.data.limited(*key)
        return self.known[key]


def _condition(point: Point, config: Config, series: str, level: Number, baseline: str | None) -> Condition:
    own = id_of(config)
    return Condition(
        own,
        point.texts["figure"],
        series,
        level,
        point.texts["x"],
        config.graph,
        config.rule,
        config.preset,
        config.disturb,
        config.images,
        config.epochs,
        baseline or own,
        config,
    )


def _config(point: Point, limited: Limited, seed: int) -> Config:
    """The configuration of a point. Raises UserError for what a network does not allow."""
    texts, settings = point.texts, {key: _number(key, text) for key, text in point.settings.items()}
    tau, share = settings.pop("tau", None), settings.pop("share", None)
    for key, value in settings.items():
        if value != int(value):
            raise UserError(f"{key} {value:g}: choose a whole number")
    if share is not None and not 0 <= share <= 1:
        raise UserError(f"share {share:g}: choose a number from 0 to 1")
    whole: dict[str, Any] = {key: int(value) for key, value in settings.items()}
    config = configure(
        limited(point.budget["images"], point.budget["test_images"]),
        texts.get("preset"),
        seed,
        point.budget["epochs"],
        graph=_one_of("graph", texts.get("graph"), GRAPHS),
        rule=_one_of("rule", texts.get("rule"), RULES),
        share=None if share is None else q12(share),
        disturb=texts["disturb"],
        **whole,
    )
    check(parse(config.disturb), _passes(config.form))  # now, not when its team has begun
    return config if tau is None else at_tau(config, tau)


@cache
def _passes(form: tuple[int, ...]) -> Passes:
    return passes_of(build(*form))


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"{key} {shown(text)}: choose a number") from error


def _one_of(key: str, name: str | None, names: Sequence[str]) -> str | None:
    if name is not None and name not in names:
        raise UserError(f"{key} {shown(name)}: choose one of {', '.join(names)}")
    return name


def at_tau(config: Config, tau: float) -> Config:
    """With all time constants this long at the start, in steps, and l as far as it goes. Raises UserError."""
    lowest, highest = (math.exp(bound / 4096) for bound in WIDEST[0])
    if not lowest <= tau <= highest:
        raise UserError(f"tau {tau:g}: choose {lowest:.3g} to {highest:.3g} steps")
    init, start = list(config.init), q12(math.log(tau))
    init[L_LOW] = init[L_HIGH] = start
    return replace(config, init=tuple(init), bounds=(WIDEST[0], *config.bounds[1:]))
