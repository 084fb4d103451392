"""The wiring of two-input cells for tools/rtl/network.v: who is connected with whom, as constants of Verilog."""

from collections.abc import Sequence
from functools import partial

from fixedpoint.lattice import CELL, GAIN, LAG, Lattice
from tools.vectors import writing
from tools.vectors.engine import wiring
from tools.vectors.trial import Trial

FILE = "network/wiring.vh"
NOBODY = 0xFFFF


def _packed(name: str, values: Sequence[int], width: int) -> str:
    """A constant of so many bits for each value, the first on the right."""
    words = ", ".join(f"{width}'d{value}" for value in reversed(values))
    return f"localparam [{len(values) * width - 1}:0] {name} = {{{words}}};"


def _waves(near: Sequence[Sequence[int]], order: Sequence[int]) -> list[int]:
    """Of each cell, how many cells the longest path to it has; near: its neighbours that come before it in order."""
    waves = [0] * len(order)
    for p in order:
        waves[p] = 1 + max((waves[q] for q in near[p]), default=-1)
    return waves


def wiring_vh(network: Lattice) -> str:
    """The text of wiring.vh; what its names mean is said in network.v."""
    n = network.cells
    left, top, ends = wiring(network)
    right, below = [NOBODY] * n, [NOBODY] * n
    for p in range(n):
        for source, listeners in ((left[p], right), (top[p], below)):
            if 0 <= source < n:
                listeners[source] = p
    for j, end in enumerate(ends):
        below[end] = n + j

    def cells(*places: int) -> list[int]:
        return [place for place in places if 0 <= place < n]

    depth = _waves([cells(left[p], top[p]) for p in range(n)], range(n))
    height = _waves([cells(right[p], below[p]) for p in range(n)], range(n - 1, -1, -1))
    wave = max(8, max(*depth, *height).bit_length())
    sizes = {"CELLS": n, "INPUTS": network.rows, "OUTPUTS": network.cols, "STEPS": network.steps,
             "DEEPEST": max(depth), "HIGHEST": max(height), "WAVE": wave}  # fmt: skip
    heard = [[source % (NOBODY + 1) for source in sources] for sources in (left, top)]
    scaled = [[int(network.m[p * CELL + field] > 0) for p in range(n)] for field in (GAIN, LAG)]
    lines = [
        f"// {network.rows} inputs, {n} cells, {network.cols} outputs: see tools/rtl/network.v",
        f"localparam {', '.join(f'{name} = {size}' for name, size in sizes.items())};",
        *(_packed(name, values, 16) for name, values in zip(("LEFT", "TOP"), heard, strict=True)),
        _packed("RIGHT", right, 16), _packed("BELOW", below, 16), _packed("END", ends, 16),
        _packed("DEPTH", depth, wave), _packed("HEIGHT", height, wave),
        *(_packed(name, values, 1) for name, values in zip(("GAINED", "LAGGED"), scaled, strict=True)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def add_wiring(made: writing.Made, trial: Trial) -> None:
    """The file, to what is to be written, if it is a network of two-input cells."""
    if not trial.diagonal:
        made.files[FILE] = partial(writing.text, wiring_vh(trial.network()))
