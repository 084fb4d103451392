"""Trials beyond what training reaches: parameters all over their ranges and at their ends, noise, rates of every order.

Same arguments, same trial: the vectors made of one are the same every time.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fixedpoint.network import L_HIGHEST, L_LOWEST, MAX_SCALE, RATE_SHIFTS, W_HIGHEST
from host.runs.checkpoint import Checkpoint
from host.runs.config import WIDEST, Config
from tools.rtl.bench import Manifest
from tools.vectors import writing
from tools.vectors.cell import cell_level
from tools.vectors.lookup import tables_level
from tools.vectors.network import network_level
from tools.vectors.trial import Trial
from tools.vectors.unit import unit_level
from tools.vectors.wired import add_wiring

SHIFTS = (14, 14, 18, 22, 30, 40)  # of rates: the lowest makes steps that run into the bounds
SIZES = (1 << 29, 1 << 26, 1 << 20)  # of weights and biases: 8.0, 1.0, 1/64
READOUT = 4  # a diagonal network's V are smaller by so many bits, or their sums would always be saturated
Start = Callable[[random.Random, int, bool], int]
Bounds = tuple[tuple[int, int], ...]  # of l, w, b; Q12


@dataclass(frozen=True)
class Rates(Config):
    """A configuration with other rates at every step, each group's of another order."""

    def rates(self, step: int) -> tuple[tuple[int, int], ...]:
        rng = random.Random(f"{self.seed} {step}")
        lowest, highest = RATE_SHIFTS
        return tuple(
            (rng.choice((rng.randrange(32768), 32767, 0)), rng.choice((*SHIFTS, rng.randint(lowest, highest))))
            for _ in range(4)
        )


def parameter(rng: random.Random, group: int, diagonal: bool) -> int:
    """A master of this group (0 l, 1 wL or W, 2 wT or V, 3 b): at an end of its range, between operands, anywhere."""
    if group == 0:
        return rng.randrange(-128, 385) << 20  # at an entry of the tables, or half way between two
    size = rng.choice(SIZES) >> (READOUT if diagonal and group == 2 else 0)
    value, half = rng.randrange(-size, size), 1 << 11 if group == 3 else 1 << 13
    return rng.choice((value, size - 1, 1 - size, value // (2 * half) * 2 * half + half))


def loud(rng: random.Random, group: int, diagonal: bool) -> int:
    """A master of a network that sends messages on eight times as large: in dark images they are saturated."""
    if group == 0:
        return rng.choice((int(L_HIGHEST), int(L_LOWEST), int(L_LOWEST)))
    return 0 if group == 3 else rng.choice((1, 1, -1)) * int(W_HIGHEST)


def wild(
    seed: int, graph: str = "lattice", rows: int = 2, cols: int = 3, steps: int = 11, images: int = 8, *,
    disturb: str = "", bounds: Bounds = WIDEST, dark: float = 0.3, start: Start = parameter, **more: int,
) -> Trial:  # fmt: skip
    """A trial of noise images.

    dark: share of their pixels that are 0. start: makes the parameters. more: gain, cool, scale, units, share,
    wiring_seed.
    """
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    options: dict[str, Any] = {"scale": MAX_SCALE, "gain": 0} | more
    config = Rates(
        preset="wild", rows=rows, cols=cols, steps=steps, seed=seed, epochs=1, images=images, test_images=0, data="",
        pixel_bits=8, arithmetic="fixed", init=(0,) * 9, bounds=bounds, rate="0", rate_l="0", rate_b="0", decay=False,
        graph=graph, disturb=disturb, **options,
    )  # fmt: skip
    pixels = noise.integers(0, 256, (images, steps, rows), np.uint8)
    pixels[noise.random(pixels.shape) < dark] = 0
    blank = config.network()
    params = np.array([start(rng, blank.group(i), graph == "diagonal") for i in range(len(blank.w))])
    saved = Checkpoint({"disturb": ""}, params, rng.randrange(1 << 20), "")
    return Trial(config, pixels, noise.permutation(np.arange(images) % cols), saved)


def written(trial: Trial, out: Path) -> Manifest:
    """Write the vectors that benches read; return their manifest."""
    own = [unit_level] if trial.diagonal else [cell_level, network_level]
    made = writing.made([table for level in (tables_level, *own) for table in level(trial)])
    add_wiring(made, trial)
    return writing.write(out, made, {"command": writing.COMMAND, "configuration": trial.config.as_dict()})
