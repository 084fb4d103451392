"""Executors of the one engine text on the host, and Learners of a Run: the integer engine, and the float64 oracle.

Executors are plain CPython (the golden model), LLVM, and LLVM with every intermediate value checked.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fixedpoint.lattice import Lattice
from host.base.heartbeat import heartbeat
from host.engine import floating
from host.engine.checked import checked_kernels
from host.engine.disturbed import disturb
from host.engine.floating import BOUNDS, RATES, dequantise, from_model, model_of, to_model
from host.engine.lanes import COMPILING, Lanes, one_lattice
from host.reference.training import evaluate, train
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


def disturbed(config: Config) -> Lattice:
    """A run's network at its seeded start, disturbed as its configuration says. Raises UserError if that cannot be."""
    network: Lattice = disturb(config.network(), config.disturb, config.seed)
    return network


class FixedLearner:
    """The integer engine on the host as the Learner of a Run.

    The kernels get pixels as bytes, as on the device: NumPy's uint8 would overflow in plain CPython.
    """

    guess: int | None = None

    def __init__(self, lattice: Lattice):
        self.lattice = lattice

    def set_rates(self, config: Config, step: int) -> None:
        self.lattice.set_rates(config.rates(step))

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        hits = 0
        for image, label in zip(images, labels.tolist(), strict=True):
            self.guess = self.lattice.train(image.tobytes(), label)
            hits += self.guess == label
        return hits

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

    guess: int | None = None

    def __init__(self, lattice: Lattice, alone: bool = True):
        """alone: it will train by itself, so its loops are compiled now."""
        self.lanes, self.lane = Lanes([lattice], ready=alone), 0

    @classmethod
    def of(cls, config: Config, alone: bool = True) -> "LaneLearner":
        """Of a run: at its seeded start, disturbed as its configuration says."""
        return cls(disturbed(config), alone)

    def set_rates(self, config: Config, step: int) -> None:
        self.lanes.set_rates(config.rates(step))

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        found = self.lanes.learn(images[:, None], labels[:, None])[:, 0]
        self.guess = int(found[-1])
        return int((found == labels).sum())

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
    """The float64 reference as the Learner of a Run, from the same start as the integer engine."""

    guess: int | None = None

    def __init__(self, config: Config):
        self.network = config.network()
        self.model, kind = model_of(self.network), floating.kind(self.network)
        self.bounds = np.array(config.bounds)[list(BOUNDS[kind])] / 4096
        self.which = RATES[kind]
        self.w = dequantise(FixedLearner(self.network).params())
        self.step = 0
        self.set_rates(config, 0)

    def set_rates(self, config: Config, step: int) -> None:
        rates = config.float_rates(step)
        self.rates = [rates[k] for k in self.which]

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        params, logits = train(self.model, self._own(), images, labels, self.rates, bounds=self.bounds)
        self.w = from_model(self.network, params)
        self.step += len(images)
        found = logits.argmax(-1)
        self.guess = int(found[-1])
        return int((found == labels).sum())

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float(evaluate(self.model, self._own(), images, labels))

    def _own(self) -> np.ndarray:
        return to_model(self.network, self.w)

    def params(self) -> np.ndarray:
        return self.w

    def load(self, params: np.ndarray, step: int) -> None:
        self.w, self.step = params, step

    def digest(self) -> str:
        return digest(self.w, self.step)
