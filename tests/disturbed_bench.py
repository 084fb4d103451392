"""Disturbed networks under plain CPython and under the checking mode: whoever makes the calls of a Passes, by name."""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fixedpoint import wiring
from fixedpoint.diagonal import Diagonal
from fixedpoint.lattice import Lattice
from fixedpoint.network import Network, Random
from host.engine import checked
from host.engine.disturbed import disturb, names
from host.engine.lanes import Lanes
from host.engine.passes import Passes, passes_of

# Every kind of network that there is: cells of both rules and of several wirings, and units.
KINDS = ("lattice", "small-world", "forest", "exact", "diagonal")
DIVISOR = {kind: 16 if kind == "exact" else 1 for kind in KINDS}  # messages of the exact rule have 4 bits less
RATES = ((20972, 16), (20972, 17), (20972, 18), (20972, 18))
INIT = (3000, 2048, 1000, 3000, 2048, -8192, 8192, 0, 2048)
WIRINGS: dict[str, Callable[..., Any]] = {
    "forest": wiring.forest,
    "small-world": lambda rows, cols: wiring.small_world(rows, cols, wiring.ONE, Random(1)),
}


def small(kind: str, seed: int, text: str = "", rows: int = 6, cols: int = 4, steps: int = 8, **more: Any) -> Any:
    """A network of this kind with parameters of every size and sign and rates that move them, disturbed."""
    network: Network
    if kind == "diagonal":
        network = Diagonal(rows, cols, steps, 2570, units=5, **more)
    else:
        if kind in WIRINGS:
            wired = WIRINGS[kind](rows, cols)
            more |= {"cells": len(wired[0]), "wired": lambda: wired}
        network = Lattice(rows, cols, steps, 2570, exact=kind == "exact", **more)
    network.seed(seed, INIT)
    network.set_rates(RATES)
    return disturb(network, text, seed)


@cache
def interpreted(passes: Passes) -> SimpleNamespace:
    """The kernels under plain CPython."""
    scope: dict[str, Any] = {}
    for text in passes.texts:
        exec(text, scope)
    return SimpleNamespace(**scope)


class Walk:
    """A network that goes through its calls one by one, in arrays of its own."""

    def __init__(self, network: Any, kernels: Any = None):
        self.passes = passes_of(network)
        self.kernels = kernels or interpreted(self.passes)
        self.arrays: dict[str, Any] = {name: array("i", getattr(network, name)) for name in self.passes.state}
        if self.passes.counter:
            name, at = self.passes.counter
            self.arrays[name][at] = network.step
        self.arrays |= self.passes.tables
        self.sizes: Mapping[str, int] = {name: size(network) for name, size in self.passes.sizes.items()}
        self.area, self.steps = network.rows * network.steps, network.steps
        self.base = self.sizes["base"]

    def make(self, calls: Any, pixels: bytes, label: int) -> int:
        """These calls for an image; what the network said."""
        prediction = array("i", [0])
        of = {
            **self.arrays, **self.sizes, "pixels": pixels, "count": self.steps, "area": self.area, "at": self.base,
            "done": 0, "arrived": self.steps, "label": label, "prediction": prediction,
        }  # fmt: skip
        for kernel, *given in calls:
            getattr(self.kernels, kernel)(*[of[x] if isinstance(x, str) else x for x in given])
        return prediction[0]

    def train(self, pixels: bytes, label: int) -> int:
        return self.make((*self.passes.take, *self.passes.classify, *self.passes.learn), pixels, label)

    def predict(self, pixels: bytes) -> int:
        return self.make((*self.passes.take, *self.passes.classify), pixels, 0)


def noise_images(count: int, lanes: int, rows: int = 6, cols: int = 4, steps: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, lanes, steps, rows) and labels (count, lanes): of each lane its own."""
    draw = np.random.default_rng(lanes)
    images = draw.integers(0, 256, (count, lanes, steps, rows), np.uint8)
    return images, draw.integers(0, cols, (count, lanes))


def params_of(side: Lanes) -> list[list[int]]:
    """The parameters of every lane."""
    found: list[list[int]] = side.arrays["w"].T[: side.count].tolist()
    return found


def in_lanes(networks: Sequence[Any], images: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """The parameters that networks end with when they are trained side by side."""
    side = Lanes(networks)
    side.learn(images, labels)
    return params_of(side)


@cache
def watched(passes: Passes, bits: int) -> SimpleNamespace:
    """The kernels under the checking mode: OverflowError for a value of more bits than these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checked, "BITS", bits)
        patch.setattr(checked, "BOUND", 1 << (bits - 1))
        called = {name: passes.program.kernels[name] for name in names(passes)}
        return checked.watched(replace(passes.program, kernels=called)).kernels
