"""One cell between hand-made neighbours, which drives a kernel with records of its own choice; values of each format.

The primitives are written out where they are used (a call would cost more than they do), so each test drives a kernel
with a hand-made record or two. Errors are in LSB of the result's format; how a tolerance is derived stands beside it.
"""

import math
from array import array
from fractions import Fraction

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from fixedpoint import kernels, tables
from fixedpoint.lattice import CELL, Lattice
from fixedpoint.network import Network
from host.engine.passes import passes_of

settings.register_profile("kernels", deadline=None, max_examples=100)
settings.load_profile("kernels")

ONE = 1 << 14  # Q14
LIMIT = 1 << 26  # of a message before it is multiplied by d, Q20
ys = st.integers(1 - ONE, ONE - 1)
operands = st.integers(-32767, 32767)
messages = st.integers(-(1 << 28), (1 << 28) - 1)


def nearest(x: Fraction) -> int:
    """The nearest integer; of two, the higher."""
    return math.floor(x + Fraction(1, 2))


def words(*values: int) -> array:
    return array("i", values)


class Bench:
    """One cell, record 0, between two inputs and two descendants: records 1, on its right, and 2, below."""

    def __init__(self, steps: int, **fields: int):
        self.steps = steps
        self.m = words(*[0] * (3 * CELL))
        self.h = words(*[0] * (5 * steps))
        self.set(0, left=3, top=4, right=1, below=2, **fields)

    def set(self, record: int, **fields: int) -> None:
        for name, value in fields.items():
            self.m[record * CELL + getattr(kernels, f"_{name.upper()}")] = value

    def get(self, name: str) -> int:
        return self.m[getattr(kernels, f"_{name.upper()}")]

    def fill(self, row: int, values: list[int]) -> None:
        self.h[row * self.steps : (row + 1) * self.steps] = words(*values)

    def own(self) -> list[int]:
        return self.h[: self.steps].tolist()

    def hear(self, record: int, values: list[int], **fields: int) -> None:
        """Let the cell hear these messages from a descendant."""
        peak = 0
        for value in values:
            peak |= abs(value)
        self.fill(record, values)
        self.set(record, peak=peak, **fields)

    def forward(self, t0: int = 0, t1: int | None = None) -> None:
        kernels.forward(0, 0, self.h, self.m, tables.TANH, 1, self.steps, t0, self.steps if t1 is None else t1)

    def backward(self) -> None:
        kernels.backward(0, 0, self.h, self.m, 1, self.steps, 16 - self.steps.bit_length())

    def gradient(self) -> list[int]:
        start = kernels._GRADIENT
        return self.m[start : start + 4].tolist()


def derived(*masters: int) -> Bench:
    bench = Bench(1)
    kernels.derive(words(*masters), bench.m, tables.C, tables.DA, 1)
    return bench


def noise_lattice(rows: int, cols: int, steps: int, gain: int, seed: int, **executor: object) -> Lattice:
    """A lattice with parameters of every size and sign and learning rates that move them."""
    lattice = Lattice(rows, cols, steps, 2570, gain, **executor)
    lattice.seed(seed, (3000, 4096, 1000, 3000, 4096, -12288, 12288, 0, 2048))
    lattice.set_rates(((20972, 16), (20972, 17), (20972, 18)))
    return lattice


def assert_same_state(a: Network, b: Network) -> None:
    for name in passes_of(a).state:
        np.testing.assert_array_equal(np.array(getattr(a, name)), np.array(getattr(b, name)), name)
