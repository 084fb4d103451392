"""What a signal is: its format, how it was rounded, and its values, in tables of one index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from host.base.cli import UserError

TIES_UP = "nearest, ties up"  # (x + half) >> bits


@dataclass(frozen=True)
class Signal:
    """An integer v that stands for v / 2**fraction; it has sign + integer + fraction bits.

    plus: what is added to the fraction bits, and taken from the integer bits, cell by cell. rounding: of the last
    operation that made it. saturation: where that is cut off, "none" if nothing can be beyond.
    """

    about: str
    integer: int
    fraction: int
    sign: int = 1
    rounding: str = "exact"
    saturation: str = "none"
    plus: str = ""

    @property
    def width(self) -> int:
        return self.sign + self.integer + self.fraction

    @property
    def range(self) -> tuple[int, int]:
        """Lowest and highest value of the width."""
        size = self.width - self.sign
        return -(1 << size) if self.sign else 0, (1 << size) - 1


def count(about: str, bits: int) -> Signal:
    """A whole number without a sign."""
    return Signal(about, bits, 0, sign=0)


@dataclass(frozen=True)
class Table:
    """Signals with one index, whose last part runs fastest.

    level: the directory that it is written into. name: of its CSV. prefix: of the signals in the level's .npz.
    """

    level: str
    name: str
    index: tuple[str, ...]
    shape: tuple[int, ...]
    signals: Mapping[str, Signal]
    values: Mapping[str, np.ndarray]  # int64, each of this shape
    prefix: str = ""

    def check(self) -> None:
        """Raise UserError for a value that its width does not hold: a defect of the engine, or of these formats."""
        for name, signal in self.signals.items():
            lowest, highest = signal.range
            found = self.values[name]
            if found.min() < lowest or found.max() > highest:
                beyond = int(found.min()) if found.min() < lowest else int(found.max())
                raise UserError(
                    f"{self.name}: {name} is {beyond}, which {signal.width} bits do not hold; this is a defect,"
                    " please report it"
                )


def table(
    level: str, name: str, index: Sequence[str], signals: Mapping[str, Signal], values: Mapping[str, Any],
    prefix: str = "",
) -> Table:  # fmt: skip
    """The table of these signals, in their order. values: of each, with the index as its dimensions."""
    arrays = {key: np.asarray(values[key], np.int64) for key in signals}
    shape = next(iter(arrays.values())).shape
    wrong = [key for key, array in arrays.items() if array.shape != shape]
    if wrong or {*index} & {*signals} or len(index) != len(shape) or not prod(shape):
        raise ValueError(f"{name}: {index} of {shape}; not so {wrong}")
    return Table(level, name, tuple(index), shape, signals, arrays, prefix)
