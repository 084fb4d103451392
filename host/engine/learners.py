"""Executors of the one engine text on the host, and Learners of a Run: the integer engine, and the float64 oracle.

Executors are plain CPython (the golden model), Numba, and a checking CPython.
"""

from typing import Any

import numpy as np

from fixedpoint.kernels import GRADIENT
from fixedpoint.lattice import CELL, GAIN, Lattice
from host.base.heartbeat import heartbeat
from host.engine.fast import int32_words, numba_kernels
from host.engine.lanes import Lanes, compiled
from host.reference.cells import Cells
from host.reference.graph import lattice
from host.reference.training import evaluate, train
from host.runs.checkpoint import digest
from host.runs.config import Config


def executor(name: str) -> dict[str, Any]:
    """Keyword arguments of a Lattice for the executor: numba, python or checked (see host.engine.checked)."""
    if name == "numba":
        return {"kernels": numba_kernels(), "words": int32_words}
    if name == "checked":
        from host.engine.checked import checked_kernels  # parses the kernels, which takes its time

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
        hits: int = sum(predict(image.tobytes()) == label for image, label in zip(images, labels.tolist(), strict=True))
        return hits / len(labels)

    def params(self) -> np.ndarray:
        return np.array(self.lattice.w, np.int32).reshape(self.lattice.rows, self.lattice.cols, 4)

    def load(self, params: np.ndarray, step: int) -> None:
        self.lattice.load(params.ravel().tolist(), step)

    def digest(self) -> str:
        return f"{self.lattice.digest():08x}"


class LaneLearner:
    """The integer engine compiled by LLVM, many images a call, as the Learner of a Run."""

    def __init__(self, lattice: Lattice):
        with heartbeat(lambda: "compiling the kernels for this computer"):
            compiled(1)  # now, not while a run is timed
        self.lanes = Lanes([lattice])

    def set_rates(self, config: Config, step: int) -> None:
        self.lanes.set_rates(config.rates(step))

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        found = self.lanes.learn(images[:, None], labels[:, None])
        return int((found[:, 0] == labels).sum())

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float((self.lanes.classify(images)[:, 0] == labels).mean())

    def params(self) -> np.ndarray:
        lattice = self.lanes.shape
        return self.lanes.arrays["w"][:, 0].reshape(lattice.rows, lattice.cols, 4).copy()

    def load(self, params: np.ndarray, step: int) -> None:
        self.lanes.load(0, params, step)

    def digest(self) -> str:
        return digest(self.params(), self.lanes.steps[0])


class FloatLearner:
    """The float64 reference as the Learner of a Run, from the same start as the integer engine."""

    def __init__(self, config: Config):
        self.model = Cells(lattice(config.rows, config.cols), gain=config.scale * 2**config.gain / 4112)
        self.bounds = np.array(config.bounds) / 4096
        self.w = dequantise(FixedLearner(config.lattice()).params())
        self.step = 0
        self.rates = config.float_rates(0)

    def set_rates(self, config: Config, step: int) -> None:
        self.rates = config.float_rates(step)

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        params, logits = train(self.model, self._flat(), images, labels, self.rates, bounds=self.bounds)
        self.w = params.reshape(self.w.shape)
        self.step += len(images)
        return int((logits.argmax(-1) == labels).sum())

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float(evaluate(self.model, self._flat(), images, labels))

    def _flat(self) -> np.ndarray:
        return self.w.reshape(self.model.shape)

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
