"""Executors of the one engine text on the host: plain CPython (the golden model), Numba, and a checking CPython."""

import types
from collections.abc import Callable
from functools import cache

import numpy as np

from fixedpoint import kernels
from fixedpoint.lattice import Lattice
from host import oracle
from host.config import Config
from host.run import digest

KERNELS = ("derive", "feed", "forward", "readout", "error", "backward", "update")


def int32_words(n: int) -> np.ndarray:
    """n 32-bit zeros for a Lattice whose kernels take NumPy arrays."""
    return np.zeros(n, np.int32)


@cache
def numba_kernels() -> types.SimpleNamespace:
    """The kernels under Numba, compiled at their first call and cached on disk.

    Every local variable is declared int32, so that it wraps as the chip's register does.
    """
    import numba

    from fixedpoint import tables

    # The sixteen running sums of a cell fit four to a register; without this, LLVM leaves them scalar.
    numba.config.SLP_VECTORIZE = 1

    frozen = {id(table): np.array(table) for table in (tables.TANH, tables.C, tables.DA, tables.EXP)}

    def compiled(function: Callable) -> Callable:
        names = function.__code__.co_varnames
        scalars = {name: numba.int32 for name in names if function.__annotations__.get(name, int) is int}
        arrays = {"w", "m", "h", "z", "rule", "row", "tanh", "exp", "c_table", "da_table"}
        locals_ = {name: kind for name, kind in scalars.items() if name not in arrays}
        fast = numba.njit(function, locals=locals_, cache=True)

        def call(*args: object) -> None:
            fast(*[frozen.get(id(arg), arg) for arg in args])

        return call

    return types.SimpleNamespace(**{name: compiled(getattr(kernels, name)) for name in KERNELS})


def executor(name: str) -> dict:
    """Keyword arguments of a Lattice for the executor: numba, python or checked (see host.checked)."""
    if name == "numba":
        return {"kernels": numba_kernels(), "words": int32_words}
    if name == "checked":
        from host.checked import checked_kernels

        return {"kernels": checked_kernels()}
    return {}


class FixedLearner:
    """The integer engine on the host as the Learner of a Run.

    The kernels get pixels as bytes, as on the device: NumPy's uint8 would overflow in plain CPython.
    """

    def __init__(self, lattice: Lattice):
        self.lattice = lattice

    def set_rates(self, config: Config, step: int) -> None:
        self.lattice.set_rates(config.rates(step))

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        train = self.lattice.train
        return sum(train(image.tobytes(), label) == label for image, label in zip(images, labels.tolist(), strict=True))

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        predict = self.lattice.predict
        hits = sum(predict(image.tobytes()) == label for image, label in zip(images, labels.tolist(), strict=True))
        return hits / len(labels)

    def params(self) -> np.ndarray:
        return np.array(self.lattice.w, np.int32).reshape(self.lattice.rows, self.lattice.cols, 4)

    def load(self, params: np.ndarray, step: int) -> None:
        self.lattice.load(params.ravel().tolist(), step)

    def digest(self) -> str:
        return f"{self.lattice.digest():08x}"


class FloatLearner:
    """The float64 oracle as the Learner of a Run, from the same start as the integer engine."""

    def __init__(self, config: Config):
        self.config = config
        self.w = dequantise(FixedLearner(config.lattice()).params())
        self.step = 0
        self.rates = config.float_rates(0)
        self.gain = config.scale * 2**config.gain / 4112
        l, w, b = np.array(config.bounds) / 4096
        self.bounds = np.array([l, w, w, b]).T

    def set_rates(self, config: Config, step: int) -> None:
        self.rates = config.float_rates(step)

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        l, w, b = self.rates
        self.w, logits = oracle.train(self.w, images, labels, (w, b, l), gain=self.gain, bounds=self.bounds)
        self.step += len(images)
        return int((logits.argmax(-1) == labels).sum())

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float(oracle.evaluate(self.w, images, labels, gain=self.gain))

    def params(self) -> np.ndarray:
        return self.w

    def load(self, params: np.ndarray, step: int) -> None:
        self.w, self.step = params, step

    def digest(self) -> str:
        return digest(self.w, self.step)


def dequantise(masters: np.ndarray) -> np.ndarray:
    """Masters (Q26) as the numbers that they stand for."""
    return masters / 2.0**26
