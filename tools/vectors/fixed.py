"""Fixed-point arithmetic of arrays by fxpmath, which shares nothing with the engine: exact, but where it says so.

fxpmath computes in 64 bits and rounds by way of a float64: a word that would need more is refused, not rounded twice.
Its "around" takes the even of two equally near values; `>>` after half an LSB takes the upper, so that is what is done.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fxpmath import Fxp

WORD, EXACT = 62, 53  # bits of a word, and of a value in it, that are still exact


def of(values: Any, fraction: int = 0) -> Fxp:
    """Integers v as v / 2**fraction, in the shortest word that holds them."""
    raw = np.asarray(values, np.int64)
    longest = max(int(raw.max()), -int(raw.min()) - 1, 1)
    return Fxp(raw, signed=True, n_word=longest.bit_length() + 1, n_frac=fraction, raw=True)


def raw(x: Fxp) -> np.ndarray:
    """The integers of exact values."""
    values = np.asarray(x.val)
    if values.dtype != np.int64 or x.n_word > WORD or np.abs(values).max() >> EXACT:
        raise OverflowError(f"{x.dtype} is not exact")
    return values


def floor(x: Fxp, fraction: int, rounding: str = "floor") -> Fxp:
    """x with so many fraction bits, rounded down."""
    raw(x)
    return _fitted(x, x.n_word - x.n_frac + fraction, fraction, rounding)


def nearest(x: Fxp, fraction: int) -> Fxp:
    """x to the nearest value with so many fraction bits, the upper of two."""
    return floor(x + of(1, fraction + 1), fraction) if x.n_frac > fraction else x


def truncated(x: Fxp, fraction: int) -> Fxp:
    """x towards zero."""
    return floor(x, fraction, "fix")


def saturated(x: Fxp, bits: int) -> Fxp:
    """x in a word of so many bits, sign included; what is beyond is at its end."""
    raw(x)
    return _fitted(x, bits, x.n_frac, "floor")


def _fitted(x: Fxp, bits: int, fraction: int, rounding: str) -> Fxp:
    return Fxp(x, signed=True, n_word=max(bits, 2), n_frac=fraction, rounding=rounding, overflow="saturate")


def shifted_up(x: Fxp, bits: int) -> Fxp:
    """x times 2**bits."""
    return of(raw(x), x.n_frac - bits)


def looked_up(table: Sequence[int], fraction: int, x: Fxp) -> Fxp:
    """The table's entry x, interpolated, to nearest; fraction: of the entries, as they are of the result."""
    entries = np.array(table, np.int64)
    at = floor(x, 0)
    i = raw(at)
    low, high = (of(entries[np.minimum(i + k, len(table) - 1)], fraction) for k in (0, 1))
    return nearest(low + (high - low) * (x - at), fraction)


def clipped(x: Fxp, lowest: Fxp, highest: Fxp) -> Fxp:
    """x within these bounds; all three have the same fraction bits."""
    values = np.where(x < lowest, raw(lowest), np.where(x > highest, raw(highest), raw(x)))
    return of(values, x.n_frac)


def longer(x: Fxp, most: int) -> np.ndarray:
    """The least bits by which |x|, an integer, is to be shifted down so that it is `most` at the most."""
    bits = np.zeros(np.shape(raw(x)), np.int64)
    beyond = raw(abs(x)) > most
    while beyond.any():
        bits += beyond
        beyond = raw(floor(shifted_up(abs(x), -int(bits.max())), 0)) > most
    return bits


def each(count: np.ndarray, make: Callable[..., Fxp], *given: np.ndarray) -> np.ndarray:
    """The integers of make(count, *given), where the count, which fxpmath takes one of, differs from case to case."""
    found = np.zeros(len(count), np.int64)
    for one in np.unique(count):
        which = count == one
        found[which] = raw(make(int(one), *(values[which] for values in given)))
    return found
