"""What a run is: network, learning-rate schedule, image order. All of it integers once a run has begun."""

import re
from collections.abc import Callable, Container
from dataclasses import MISSING, asdict, dataclass, fields, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from fixedpoint import network, wiring
from fixedpoint.build import GRAPHS, RULES, build
from fixedpoint.diagonal import MAX_UNITS
from fixedpoint.network import INIT_FIELDS, MAX_COOL, MAX_GAIN, MAX_ROWS, MAX_SCALE, RATE_SHIFTS
from host.base.cli import UserError, within
from host.data.dataset import Dataset
from host.runs.disturbance import Unreadable, canonical
from host.runs.order import shuffled
from host.runs.presets import PRESETS, q12, recipe

SEGMENT = 500  # images between two changes of the learning rate
PIXEL_BITS = (8, 4, 1)
ARITHMETICS = ("fixed", "float")
MAX_STEPS = 2**30 - 1  # training steps in a run: what a board can count
MAX_SEED = 2**31 - 1

WIDEST = ((q12(-4), q12(6)), (q12(-8), q12(8)), (q12(-8), q12(8)))


def multiplier_shift(rate: Fraction, of: str = "") -> tuple[int, int]:
    """The learning rate as (multiplier, shift), rate = multiplier * 2**-shift, to 15 significant bits.

    of: what it is the rate of. Raises UserError for a rate that is negative or too large.
    """
    lowest, highest = RATE_SHIFTS
    shift = highest
    while shift > lowest and round(rate * 2**shift) > 32767:
        shift -= 1
    multiplier = round(rate * 2**shift)
    if not 0 <= multiplier <= 32767:
        way, whose = "smaller" if rate > 0 else "larger", of and f" of {of}"
        raise UserError(
            f"learning rate {float(rate):g}{whose} is not in 0 to {32767 / 2**lowest:.5f}; choose a {way} one"
        )
    return multiplier, shift


# The options that a run's configuration came from, by its fields; the other fields follow from these.
OPTIONS = {
    "preset": "--preset",
    "graph": "--graph",
    "rule": "--rule",
    "units": "--units",
    "share": "--share",
    "wiring_seed": "--wiring-seed",
    "rows": "--rows",
    "cols": "--cols",
    "epochs": "--epochs",
    "images": "--limit",
    "test_images": "--test-limit",
    "seed": "--seed",
    "pixel_bits": "--pixel-bits",
    "arithmetic": "--engine",
    "data": "--data",
    "disturb": "--disturb",
}


class Unfit(ValueError):
    """What a file says that cannot be, although it can be read; str() is for people, and without foreign text."""


@dataclass(frozen=True)
class Config:
    """Everything that decides the parameters a run ends with. Equal configs on equal data give equal digests."""

    preset: str
    rows: int
    cols: int
    steps: int
    seed: int
    epochs: int
    images: int
    test_images: int
    data: str  # the data's digest
    pixel_bits: int
    arithmetic: str  # one of ARITHMETICS
    init: tuple[int, ...]
    bounds: tuple[tuple[int, int], ...]
    rate: str
    rate_l: str
    rate_b: str
    decay: bool
    scale: int
    gain: int
    # What came later has the value that it had in older runs.
    graph: str = "lattice"
    rule: str = "snap1"
    units: int = 0
    share: int = 0
    wiring_seed: int = 0
    cool: int = 0
    rate_v: str = "0"
    disturb: str = ""  # what is done to the network's signals, as host.runs.disturbance writes it

    @property
    def total(self) -> int:
        """Training steps in the whole run."""
        return self.epochs * self.images

    def rates(self, step: int) -> tuple[tuple[int, int], ...]:
        """(multiplier, shift) of l, w, b and V for the training step with this number (constant within a SEGMENT)."""
        now = Fraction(self.rate)
        if self.decay:
            now *= Fraction(self.total - step // SEGMENT * SEGMENT, self.total)
        ratios = {"l": self.rate_l, "the weights": "1", "b": self.rate_b, "V": self.rate_v}
        return tuple(
            multiplier_shift(now * Fraction(ratio), group if ratio == "1" else f"{group} ({ratio} times the weights')")
            for group, ratio in ratios.items()
        )

    def float_rates(self, step: int) -> tuple[float, float, float, float]:
        """The same rates as numbers."""
        rate_l, rate_w, rate_b, rate_v = (multiplier / 2**shift for multiplier, shift in self.rates(step))
        return rate_l, rate_w, rate_b, rate_v

    def order(self, epoch: int) -> np.ndarray:
        """The order of the training images in an epoch (0, 1, ...): Fisher-Yates with the engine's own generator."""
        return shuffled(self.seed + (epoch + 1) * 7919, self.images)

    @property
    def form(self) -> tuple[int, ...]:
        """What build() takes, and OPEN carries."""
        return (GRAPHS.index(self.graph), RULES.index(self.rule), self.rows, self.cols, self.steps, self.scale,
                self.gain, self.cool, self.units, self.share, self.wiring_seed)  # fmt: skip

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the parameters."""
        return shape(self.form)

    def network(self, **executor: Any) -> Any:
        """A seeded network of this configuration. executor: `kernels` and `words` of build()."""
        made = build(*self.form, **executor)
        made.set_bounds(self.bounds)
        made.seed(self.seed, self.init)
        return made

    def as_dict(self) -> dict[str, Any]:
        """As JSON would return it: tuples are lists."""
        return {
            k: [list(x) if isinstance(x, tuple) else x for x in v] if isinstance(v, tuple) else v
            for k, v in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Config":
        """The inverse of as_dict(), for what a file holds.

        Raises Unfit for a value that no run has: Lattice, a board or the learning rates' integers would not take it.
        """
        later = {field.name: field.default for field in fields(cls) if field.default is not MISSING}
        if not isinstance(found, dict) or not later.keys() | found.keys() == {field.name for field in fields(cls)}:
            raise Unfit("it holds no configuration of a run")
        found = later | found
        for name, fits in FITS.items():
            if not fits(found[name]):
                raise Unfit(f"{name} cannot be right")
        config = cls(**{k: _as_tuples(v) for k, v in found.items()})
        if config.total > MAX_STEPS:
            raise Unfit("epochs cannot be right")
        try:
            config.rates(0)  # the highest
        except UserError as error:
            raise Unfit("rate cannot be right") from error
        if (config.graph == "diagonal") != (config.units > 0):
            raise Unfit("units cannot be right")
        if config.disturb and config.arithmetic != "fixed":
            raise Unfit("disturb cannot be right")
        return config

    def misfit(self, images: np.ndarray, labels: np.ndarray) -> str | None:
        """The name of the field that does not fit these images (n, steps, width) and labels (n,), or None."""
        _, steps, width = images.shape
        fits = {"steps": steps == self.steps, "rows": self.rows <= width, "cols": labels.max() < self.cols}
        return next((name for name, fine in fits.items() if not fine), None)


@cache
def shape(form: tuple[int, ...]) -> tuple[int, ...]:
    """Of the parameters of a network: (rows, cols, 4), (cells, 4) of other graphs, or (n,)."""
    found: tuple[int, ...] = build(*form).shape
    return found


@cache
def bytes_of(form: tuple[int, ...]) -> tuple[int, int]:
    """Memory that the arrays of a network take, and the largest of them, in bytes."""
    sizes: list[int] = []

    def counted(n: int) -> Any:
        sizes.append(4 * n)
        return network.words(n)

    options: dict[str, Any] = {"words": counted}
    build(*form, **options)
    return sum(sizes), max(sizes)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


# What a field of Config may be, as JSON has it.


def _whole(lowest: int, highest: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and lowest <= value <= highest


def _one_of(names: Container[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in names


def _text(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


def _wholes(value: Any, count: int) -> bool:
    """Whether this is a list of so many numbers that OPEN can carry, or the one after: its packer clips that."""
    return isinstance(value, list) and len(value) == count and all(map(_whole(-32768, 32768), value))


def _fit_init(value: Any) -> bool:
    """Whether Lattice.seed() can draw from this: every master, six standard deviations off, is an int32."""
    if not _wholes(value, len(INIT_FIELDS)) or max(value) == 32768:
        return False
    wl_mean, wl_std, wl_flipped, wt_mean, wt_std, l_low, l_high, b_mean, b_std = value
    normal = ((wl_mean, wl_std), (wt_mean, wt_std), (b_mean, b_std))
    drawn = all(std >= 0 and abs(mean) + 6 * std < 1 << 17 for mean, std in normal)
    return drawn and 0 <= wl_flipped <= 4096 and l_low <= l_high


def _fit_bounds(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == len(WIDEST)
        and all(
            _wholes(pair, 2) and lowest <= pair[0] <= pair[1] <= highest
            for pair, (lowest, highest) in zip(value, WIDEST, strict=True)
        )
    )


def _fit_disturb(value: Any) -> bool:
    """Whether this is a disturbance as canonical() has it: equal ones are equal texts."""
    try:
        return isinstance(value, str) and len(value) < 1000 and canonical(value) == value
    except Unreadable:
        return False


_DECIMAL = _text(r"\d{1,9}(\.\d{1,9})?")
FITS: dict[str, Callable[[Any], bool]] = {
    "preset": _one_of(PRESETS),
    "rows": _whole(1, MAX_ROWS),
    "cols": _whole(1, MAX_ROWS),
    "steps": _whole(1, network.MAX_STEPS),
    "seed": _whole(0, MAX_SEED),
    "epochs": _whole(1, MAX_STEPS),
    "images": _whole(1, MAX_STEPS),
    "test_images": _whole(1, MAX_STEPS),
    "data": _text("[0-9a-f]{16}"),
    "pixel_bits": lambda value: type(value) is int and value in PIXEL_BITS,
    "arithmetic": _one_of(ARITHMETICS),
    "init": _fit_init,
    "bounds": _fit_bounds,
    "rate": _DECIMAL,
    "rate_l": _DECIMAL,
    "rate_b": _DECIMAL,
    "decay": lambda value: type(value) is bool,
    "scale": _whole(1, MAX_SCALE),
    "gain": _whole(0, MAX_GAIN),
    "graph": _one_of(GRAPHS),
    "rule": _one_of(RULES),
    "units": _whole(0, MAX_UNITS),
    "share": _whole(0, wiring.ONE),
    "wiring_seed": _whole(0, MAX_SEED),
    "cool": _whole(0, MAX_COOL),
    "rate_v": _DECIMAL,
    "disturb": _fit_disturb,
}


def quantise(images: np.ndarray, bits: int) -> np.ndarray:
    """Pixels as the link carries them: the leading `bits` (8, 4, 1), stretched back to 0..255 by repetition."""
    if bits == 8:
        return images
    return (images >> (8 - bits)) * np.uint8(255 // ((1 << bits) - 1))


def prepare(data: Dataset, config: Config) -> Dataset:
    """The data as the lattice of this configuration sees it: cropped to `rows` central pixels, in `pixel_bits` bits."""
    left = (data.train_images.shape[2] - config.rows) // 2
    crop = slice(left, left + config.rows)
    train, test = (
        np.ascontiguousarray(quantise(x[:, :, crop], config.pixel_bits)) for x in (data.train_images, data.test_images)
    )
    return replace(data, train_images=train, test_images=test)


def configure(
    data: Dataset,
    preset: str | None,
    seed: int,
    epochs: int,
    rows: int | None = None,
    cols: int | None = None,
    pixel_bits: int = 8,
    arithmetic: str = "fixed",
    graph: str | None = None,
    rule: str | None = None,
    units: int | None = None,
    share: int | None = None,
    wiring_seed: int | None = None,
    disturb: str = "",
) -> Config:
    """The configuration of a run on this data. Raises UserError for what the data or the engine do not allow.

    preset: None for the best one of this graph (small-world if None) and rule (snap1). graph, rule: None for those
    of the preset. units, share (Q12), wiring_seed: only for the graph that they belong to.
    """
    images = len(data.train_images)
    within("--epochs", epochs, 1, MAX_STEPS // images, f"a run has {MAX_STEPS} steps at most")
    if preset is None:
        preset = recipe(graph, rule, epochs * images)
    if preset not in PRESETS:
        raise UserError(f"there is no preset {preset}; choose one of {', '.join(PRESETS)}")
    chosen = PRESETS[preset]
    graph, rule = graph or chosen.graph, rule or chosen.rule
    for option, value, owner in (("--units", units, "diagonal"), ("--share", share, "small-world"),
                                 ("--wiring-seed", wiring_seed, "small-world")):  # fmt: skip
        if value is not None and graph != owner:
            raise UserError(
                f"{option} counts for nothing with --graph {graph}; leave it out, or choose --graph {owner}"
            )
    _, steps, width = data.train_images.shape
    classes = int(max(data.train_labels.max(), data.test_labels.max())) + 1  # fewer than data.classes with --limit
    rows = width if rows is None else rows
    cols = max(classes, len(data.classes)) if cols is None else cols
    has = f"the sequences have {width} channels" if data.channels else f"the images are {width} pixels wide"
    within("--rows", rows, 1, width, has)
    within("--cols", cols, classes, MAX_ROWS, f"one for each of {classes} classes at least")
    within("--seed", seed, 0, MAX_SEED)
    if pixel_bits not in PIXEL_BITS:
        raise UserError(f"--pixel-bits {pixel_bits}: choose one of {', '.join(map(str, PIXEL_BITS))}")
    if arithmetic not in ARITHMETICS:
        raise UserError(f"there is no arithmetic {arithmetic}; it is one of {', '.join(ARITHMETICS)}")
    try:
        disturb = canonical(disturb)
    except Unreadable as error:
        raise UserError(f"--disturb: {error}") from error
    if disturb and arithmetic != "fixed":
        raise UserError("--disturb is done to integers; leave it out, or choose another --engine than float")
    diagonal, small_world = graph == "diagonal", graph == "small-world"
    if diagonal:
        units = within("--units", units or chosen.units or PRESETS["diagonal"].units, 1, MAX_UNITS)
    if small_world and share is None:
        share = chosen.share or wiring.ONE
    parts = {k: v for k, v in asdict(chosen).items() if k not in ("about", "rates", "longest")}
    parts |= {"graph": graph, "rule": rule, "units": units or 0, "share": share or 0}
    return Config(
        preset=preset,
        rate=chosen.rate(epochs * images),
        wiring_seed=(1 if wiring_seed is None else wiring_seed) if small_world else 0,
        rows=rows,
        cols=cols,
        steps=steps,
        seed=seed,
        epochs=epochs,
        images=images,
        test_images=len(data.test_images),
        data=data.digest,
        pixel_bits=pixel_bits,
        arithmetic=arithmetic,
        disturb=disturb,
        **parts,
    )
