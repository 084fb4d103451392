"""The golden model: what an undisturbed run does, step by step, to compare with."""

from typing import Any

import numpy as np

import host.runs.config
from host.data.dataset import Dataset
from host.runs.config import Config
from tools.faults.changed import segments


class Violation(AssertionError):
    """What must never happen has happened."""


class Golden:
    """What an undisturbed run does: digest after n steps, prediction in step n, and each epoch's line."""

    def __init__(self, config: Config, data: Dataset):
        """data: as prepare() returns it. Learning rates change every SEGMENT images, as in the world."""
        with segments():
            self._run(config, data)

    def _run(self, config: Config, data: Dataset) -> None:
        self.config, self.data, self.total = config, data, config.total
        lattice = config.network()
        self.digests = [lattice.digest()]
        self.predictions: list[int] = []
        self.epochs: list[dict[str, Any]] = []
        images, labels = [image.tobytes() for image in data.train_images], data.train_labels.tolist()
        tests = [image.tobytes() for image in data.test_images]
        for epoch in range(config.epochs):
            right = 0
            for k in config.order(epoch).tolist():
                lattice.set_rates(config.rates(lattice.step))
                self.predictions.append(lattice.train(images[k], labels[k]))
                self.digests.append(lattice.digest())
                right += self.predictions[-1] == labels[k]
            hits = sum(map(int.__eq__, map(lattice.predict, tests), data.test_labels.tolist()))
            self.epochs.append(
                {
                    "epoch": epoch + 1,
                    "step": lattice.step,
                    "train_accuracy": round(right / config.images, 6),
                    "test_accuracy": round(hits / len(tests), 6),
                    "digest": f"{lattice.digest():08x}",
                }
            )

    def check(self, step: int, digest: int) -> None:
        """Compare a board's digest after `step` steps. Raises Violation."""
        if step > self.total or self.digests[step] != digest:
            wanted = f"{self.digests[step]:08x}" if step <= self.total else "no step at all"
            raise Violation(f"the board's digest after step {step} is {digest:08x}, the golden model's is {wanted}")


class GoldenTwin:
    """The golden model's record in the place of BoardLearner's twin, so that each answer of a board is compared."""

    def __init__(self, golden: Golden):
        self.golden, self.step = golden, 0
        self.lattice = self

    def set_rates(self, config: Config, step: int) -> None:
        """They are in the record."""

    def train(self, pixels: np.ndarray, label: int) -> int:
        """The prediction of the next step."""
        self.step += 1
        return self.golden.predictions[self.step - 1]

    def load(self, params: np.ndarray, step: int) -> None:
        """Go to a step."""
        self.step = step

    def digest(self) -> str:
        """The digest after the last step."""
        return f"{self.golden.digests[self.step]:08x}"

    def params(self) -> np.ndarray:
        """Not in the record."""
        return np.zeros(0, np.int32)


LATTICE = ("lattice", "snap1")
UNITS = (1, 2, 5)  # that a small diagonal network has


def small(
    seed: int,
    images: int,
    tests: int,
    size: tuple[int, int, int],
    epochs: int = 1,
    bits: int = 8,
    kind: tuple[str, str] = LATTICE,
) -> Golden:
    """The golden run on noise of a network of this kind (graph, rule) and size (rows, cols, steps), by its recipe.

    Lattices come from the article's too, and small worlds and diagonal networks in several forms.
    """
    rows, cols, steps = size
    random = np.random.default_rng(seed)
    data = Dataset(
        "noise",
        random.integers(0, 256, (images, steps, rows), np.uint8),
        random.integers(0, cols, images, np.uint8),
        random.integers(0, 256, (tests, steps, rows), np.uint8),
        random.integers(0, cols, tests, np.uint8),
    )
    graph, rule = kind
    units = UNITS[seed // 2 % 3] if graph == "diagonal" else None
    wiring = seed if graph == "small-world" else None
    preset = "article" if kind == LATTICE and seed % 2 else None
    config = host.runs.config.configure(data, preset, seed, epochs, rows, cols, bits, graph=graph, rule=rule,
                                        units=units, wiring_seed=wiring)  # fmt: skip
    return Golden(config, host.runs.config.prepare(data, config))
