"""Executors of the one engine text on the host: plain CPython (the golden model), Numba, and a checking CPython."""

import contextlib
import os
import types
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from fixedpoint import kernels
from fixedpoint.kernels import GRADIENT
from fixedpoint.lattice import CELL, GAIN, Lattice
from host import lanes, oracle
from host.cli import UserError
from host.config import Config
from host.heartbeat import heartbeat
from host.run import digest

KERNELS = ("draw", "derive", "feed", "forward", "readout", "error", "backward", "update")


def int32_words(n: int) -> np.ndarray:
    """n 32-bit zeros for a Lattice whose kernels take NumPy arrays."""
    return np.zeros(n, np.int32)


@cache
def numba_kernels() -> types.SimpleNamespace:
    """The kernels under Numba, compiled, and cached on disk (Numba compiles anew when fixedpoint/kernels.py changes).

    The cache is beside the kernels, else where lanes.cache_dir() says; where neither can be had, there is none.
    """
    import numba

    # The sixteen running sums of a cell fit four to a register; without this, LLVM leaves them scalar.
    numba.config.SLP_VECTORIZE = 1
    beside = Path(kernels.__file__).with_name("__pycache__")
    if not numba.config.CACHE_DIR and not os.access(beside if beside.exists() else beside.parent, os.W_OK | os.X_OK):
        with contextlib.suppress(UserError):
            numba.config.CACHE_DIR = str(lanes.cache_dir() / "numba")
    with heartbeat(lambda: "compiling the kernels for this computer"):
        try:
            return _compile(cached=True)
        except Exception:  # a full disk, a place that cannot be written, a damaged file: almost any type
            return _compile(cached=False)


def _compile(cached: bool) -> types.SimpleNamespace:
    """numba_kernels(). Every local variable is declared int32, so that it wraps as the chip's register does."""
    import numba

    from fixedpoint import tables

    arguments = {"tanh": tables.TANH, "exp": tables.EXP, "c_table": tables.C, "da_table": tables.DA}
    frozen = {id(table): np.array(table) for table in arguments.values()}

    def compiled(function: Callable) -> Callable:
        annotated = function.__annotations__  # int, or a pointer type; plain locals have none
        scalars = [name for name in function.__code__.co_varnames if annotated.get(name, int) is int]
        fast = numba.njit(function, locals=dict.fromkeys(scalars, numba.int32), cache=cached)
        if not arguments.keys() & annotated.keys():
            return fast

        def call(*args: object) -> None:
            fast(*[frozen.get(id(arg), arg) for arg in args])

        return call

    run = types.SimpleNamespace(**{name: compiled(getattr(kernels, name)) for name in KERNELS})
    Lattice(1, 1, 1, kernels=run, words=int32_words).train(bytes(1), 0)  # compile now, not while a run is timed
    return run


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
        self.bounds = np.array(config.bounds)[[0, 1, 1, 2]].T / 4096

    def set_rates(self, config: Config, step: int) -> None:
        self.rates = config.float_rates(step)

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        rate_l, rate_w, rate_b = self.rates
        self.w, logits = oracle.train(
            self.w, images, labels, (rate_w, rate_b, rate_l), gain=self.gain, bounds=self.bounds
        )
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


def gradients(lattice: Lattice) -> np.ndarray:
    """What lattice.gradient() left in the records: dL/d(l, wL, wT, b) as numbers, (rows, cols, 4)."""
    exponent, gradient = GRADIENT
    records = np.array(lattice.m, np.int64).reshape(-1, CELL)[: lattice.cells]
    scale = records[:, [exponent]] - 32 + [4, 0, 0, 0] + records[:, [GAIN]] * [1, 1, 0, 0]
    return np.ldexp(records[:, gradient : gradient + 4], scale).reshape(lattice.rows, lattice.cols, 4)
