"""Operations one by one: inputs with edge cases and drawn ones, and what comes of them by fxpmath.

An operation is a function of integers, as arrays of cases, that returns what is expected as Fxp (tools.vectors.fixed).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from fxpmath import Fxp

from tools.vectors.fixed import raw
from tools.vectors.signals import Signal, Table, table

LEVEL = "operations"
EDGES, DRAWN = 300, 200  # cases of each kind at the most, chosen from so many:
MANY = 20_000
Cases = dict[str, np.ndarray]  # int64, by input


@dataclass(frozen=True)
class Operand:
    """An input: a signal, and between which values. edges: where something happens; all of it, where `only` they are.

    only: such an operand is a number of bits or the like, and the operation takes one of it at a time.
    """

    signal: Signal
    edges: tuple[int, ...] = ()
    lowest: int | None = None
    highest: int | None = None
    only: bool = False

    @property
    def range(self) -> tuple[int, int]:
        lowest, highest = self.signal.range
        return lowest if self.lowest is None else self.lowest, highest if self.highest is None else self.highest

    @property
    def remarkable(self) -> list[int]:
        """Both ends, what surrounds 0, and the edges."""
        if self.only:
            return list(self.edges)
        low, high = self.range
        found = {low, low + 1, -1, 0, 1, high - 1, high, *self.edges}
        return sorted(value for value in found if low <= value <= high)

    def drawn(self, draw: np.random.RandomState, count: int) -> np.ndarray:
        """Of every magnitude alike, or of every value alike, by turns."""
        if self.only:
            return draw.choice(np.array(self.edges), count)
        low, high = self.range
        whole = draw.randint(low, high + 1, count, np.int64)
        bits = draw.randint(0, max(high, -low).bit_length(), count)
        return np.clip(np.where(np.arange(count) % 2, whole >> bits, whole), low, high)


@dataclass(frozen=True)
class Operation:
    """name: of its directory. where: which cases there are."""

    name: str
    inputs: Mapping[str, Operand]
    expected: Mapping[str, Signal]
    compute: Callable[..., Any]
    where: Callable[..., Any] | None = None

    def cases(self) -> Cases:
        """The same every time: combinations of remarkable values, and drawn ones."""
        draw = np.random.RandomState(crc32(self.name.encode()))  # its stream never changes
        edges = [np.array(operand.remarkable, np.int64) for operand in self.inputs.values()]
        if math.prod(map(len, edges)) <= MANY:
            rows = np.stack([part.ravel() for part in np.meshgrid(*edges, indexing="ij")], 1)
        else:
            rows = np.stack([values[draw.randint(len(values), size=MANY)] for values in edges], 1)
        drawn = np.stack([operand.drawn(draw, MANY) for operand in self.inputs.values()], 1)
        chosen = []
        for kind, most in ((rows, EDGES), (drawn, DRAWN)):
            kept = kind[self._fits(kind)]
            which = np.sort(draw.permutation(len(kept))[:most])
            chosen.append(kept[which])
        return dict(zip(self.inputs, np.concatenate(chosen).T, strict=True))

    def _fits(self, rows: np.ndarray) -> np.ndarray:
        if self.where is None:
            return np.ones(len(rows), bool)
        return np.asarray(self.where(**dict(zip(self.inputs, rows.T, strict=True))), bool)

    def results(self, cases: Cases) -> dict[str, np.ndarray]:
        """What is expected in these cases."""
        single = [name for name, operand in self.inputs.items() if operand.only]
        count = len(next(iter(cases.values())))
        found = {name: np.zeros(count, np.int64) for name in self.expected}
        for of, which in _alike([cases[name] for name in single], count):
            given = {name: values[which] for name, values in cases.items()} | dict(zip(single, of, strict=True))
            made = self.compute(**given)
            for name, x in zip(self.expected, made if isinstance(made, tuple) else (made,), strict=True):
                found[name][which] = raw(x) if isinstance(x, Fxp) else x
        return found

    def table(self) -> Table:
        """Its inputs and what is expected."""
        cases = self.cases()
        signals = {name: operand.signal for name, operand in self.inputs.items()} | dict(self.expected)
        return table(LEVEL, self.name, ("case",), signals, cases | self.results(cases), prefix=self.name)


def _alike(numbers: list[np.ndarray], count: int) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """The different combinations of these, and the cases with each."""
    if not numbers:
        yield (), np.ones(count, bool)
        return
    columns = np.stack(numbers)
    for column in np.unique(columns, axis=1).T:
        yield tuple(map(int, column)), (columns == column[:, None]).all(0)


def operation(
    expected: Signal | Mapping[str, Signal], where: Callable[..., Any] | None = None, **inputs: Operand
) -> Callable[[Callable[..., Any]], Operation]:
    """Makes an Operation of the function that has its name."""
    results = {"expected": expected} if isinstance(expected, Signal) else expected

    def made(compute: Callable[..., Any]) -> Operation:
        return Operation(compute.__name__, inputs, results, compute, where)

    return made


def ties(bits: int) -> tuple[int, ...]:
    """Halfway between two values when so many bits are cut off, and just beside."""
    half = 1 << (bits - 1)
    return tuple(sign * odd * half + beside for sign in (1, -1) for odd in (1, 3) for beside in (-1, 0, 1))


def number(about: str, edges: Iterable[int]) -> Operand:
    """A number of bits or the like: these, and no others."""
    values = tuple(edges)
    least, most = min(values), max(values)
    signed = int(least < 0)
    return Operand(Signal(about, max(most, -least).bit_length(), 0, sign=signed), values, only=True)
