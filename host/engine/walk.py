"""A network under plain CPython that goes through its calls one by one, so that one can look in between."""

from array import array
from collections.abc import Iterable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

from host.engine.passes import Call, Passes, passes_of


@cache
def interpreted(passes: Passes) -> SimpleNamespace:
    """The kernels under plain CPython."""
    scope: dict[str, Any] = {}
    for text in passes.texts:
        exec(text, scope)
    return SimpleNamespace(**scope)


class Walk:
    """The calls of a network, disturbed or not, in arrays of its own."""

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

    def make(self, calls: Iterable[Call], pixels: bytes, label: int, done: int = 0, arrived: int | None = None) -> int:
        """These calls for an image; what the network said. done, arrived: rows that absorb() begins and ends with."""
        prediction = array("i", [0])
        of = {
            **self.arrays, **self.sizes, "pixels": pixels, "count": self.steps, "area": self.area, "at": self.base,
            "done": done, "arrived": self.steps if arrived is None else arrived, "label": label,
            "prediction": prediction,
        }  # fmt: skip
        for kernel, *given in calls:
            getattr(self.kernels, str(kernel))(*[of[x] if isinstance(x, str) else x for x in given])
        return prediction[0]

    def train(self, pixels: bytes, label: int) -> int:
        return self.make((*self.passes.take, *self.passes.classify, *self.passes.learn), pixels, label)

    def predict(self, pixels: bytes) -> int:
        return self.make((*self.passes.take, *self.passes.classify), pixels, 0)
