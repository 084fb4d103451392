"""Disturbed networks under plain CPython and under the checking mode: whoever makes the calls of a Passes, by name."""

from collections.abc import Callable, Sequence
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
from host.engine.passes import Passes

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
