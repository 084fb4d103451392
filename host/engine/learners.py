"""Executors of the one engine text on the host, and Learners of a Run: the integer engine, and the float64 oracle.

Executors are plain CPython (the golden model), LLVM, and LLVM with every intermediate value checked.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fixedpoint.kernels import GRADIENT
from fixedpoint.lattice import CELL, GAIN, Lattice
from host.base.heartbeat import heartbeat
from host.engine.checked import checked_kernels
from host.engine.lanes import COMPILING, Lanes, one_lattice
from host.reference import oracle
from host.runs.checkpoint import digest
from host.runs.config import Config


def executor(name: str) -> dict[str, Any]:
    """Keyword arguments of a Lattice for the executor: llvm, python or checked (see host.engine.checked)."""
    if name == "llvm":
        with heartbeat(lambda: COMPILING):
            return {"kernels": one_lattice()}
    if name == "checked":
        with heartbeat(lambda: COMPILING):
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
        return np.array(self.lattice.w, np.int32).reshape(self.lattice.shape)

    def load(self, params: np.ndarray, step: int) -> None:
        self.lattice.load(params.ravel().tolist(), step)

    def digest(self) -> str:
        return f"{self.lattice.digest():08x}"


class LaneLearner:
    """The integer engine compiled by LLVM, many images a call, as the Learner of a Run.

    It is one lane of `lanes`: at first the only one. With neighbours (LaneTeam) it does not train by itself.
    """

    def __init__(self, lattice: Lattice):
        self.lanes, self.lane = Lanes([lattice]), 0

    def set_rates(self, config: Config, step: int) -> None:
        self.lanes.set_rates(config.rates(step))

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        found = self.lanes.learn(images[:, None], labels[:, None])
        return int((found[:, 0] == labels).sum())

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float((self.lanes.classify(images)[:, 0] == labels).mean())

    def params(self) -> np.ndarray:
        return self.lanes.arrays["w"][:, self.lane].reshape(self.lanes.shape.shape).copy()

    def load(self, params: np.ndarray, step: int) -> None:
        self.lanes.load(self.lane, params, step)

    def digest(self) -> str:
        return digest(self.params(), self.lanes.steps[self.lane])


class LaneTeam:
    """LaneLearners as a Team: it moves them into lanes side by side, which they leave for those of their next team."""

    def __init__(self, learners: Sequence[LaneLearner]):
        self.lanes = Lanes([learner.lanes.lattice(learner.lane) for learner in learners])
        for lane, learner in enumerate(learners):
            learner.lanes, learner.lane = self.lanes, lane

    def set_rates(self, config: Config, step: int) -> None:
        self.lanes.set_rates(config.rates(step))

    def train(self, images: np.ndarray, labels: np.ndarray) -> Sequence[int]:
        right: list[int] = (self.lanes.learn(images, labels) == labels).sum(0).tolist()
        return right

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> Sequence[float]:
        shares: list[float] = (self.lanes.classify(images) == labels[:, None]).mean(0).tolist()
        return shares


class FloatLearner:
    """The float64 oracle as the Learner of a Run, from the same start as the integer engine."""

    def __init__(self, config: Config):
        self.config = config
        self.w = dequantise(FixedLearner(config.network()).params())
        self.step = 0
        self.rates = config.float_rates(0)
        self.gain = config.scale * 2**config.gain / 4112
        self.bounds = np.array(config.bounds)[[0, 1, 1, 2]].T / 4096

    def set_rates(self, config: Config, step: int) -> None:
        self.rates = config.float_rates(step)

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        rate_l, rate_w, rate_b, _ = self.rates
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
    return np.ldexp(records[:, gradient : gradient + 4], scale).reshape(lattice.shape)
