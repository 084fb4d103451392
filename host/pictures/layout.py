"""Where the cells of a network are drawn, and in which order messages reach them."""

from dataclasses import dataclass, field
from typing import Any

from fixedpoint import wiring
from fixedpoint.diagonal import Diagonal
from fixedpoint.lattice import CELL, LEFT, TOP

Box = tuple[float, float, float, float]  # x, y, width, height

QUEUE = 6.0  # width of the rows that stand in line on the left
GAP = 0.5
READOUT = 1.6  # height of a readout
FOOT = 1.8  # and of what is written under it
BAND = 5  # trees side by side


@dataclass
class Layout:
    """Boxes in units of their own. level: of a cell, from 0, in the order in which messages come; spans names them."""

    width: float
    height: float
    cells: list[Box]
    levels: list[int]
    spans: list[str]
    inputs: list[Box]  # the first, the second ...; where they are drawn more than once, again from the first
    outputs: list[Box]
    wires: list[tuple[int, int]] = field(default_factory=list)  # lines that a plain lattice has not: source, listener


def layout(network: Any, graph: str) -> Layout:
    """Of a network of this graph."""
    if isinstance(network, Diagonal):
        return _diagonal(network)
    return _forest(network) if graph == "forest" else _lattice(network)


def sources(network: Any) -> list[tuple[int, int]]:
    """The rows of h that each cell hears on its left and on its top."""
    return [(network.m[p * CELL + LEFT], network.m[p * CELL + TOP]) for p in range(network.cells)]


def _lattice(network: Any) -> Layout:
    """Rows and columns as they are; messages take the rows from the last to the first."""
    rows, cols, wide = network.rows, network.cols, 2.2
    left = QUEUE + GAP
    cells = [(left + wide * j, float(i), wide, 1.0) for i in range(rows) for j in range(cols)]
    plain = wiring.lattice(rows, cols)
    wires = [
        (source, p)
        for p, heard in enumerate(sources(network))
        for source, usual in zip(heard, (plain[0][p], plain[1][p]), strict=True)
        if source < network.cells and source != usual
    ]
    return Layout(
        left + wide * cols,
        rows + GAP + READOUT + FOOT,
        cells,
        [rows - 1 - p // cols for p in range(network.cells)],
        [f"row {rows - k} of the lattice" for k in range(rows)],
        [(QUEUE - 1.0, float(i), 1.0, 1.0) for i in range(rows)],
        [(left + wide * j, rows + GAP, wide, READOUT) for j in range(cols)],
        wires,
    )


def _forest(network: Any) -> Layout:
    """Every tree from its leaves on the left to its root; what a cell hears stands beside it. Messages go by levels."""
    rows, trees, each = network.rows, network.cols, network.cells // network.cols
    spans: dict[int, tuple[int, int, int]] = {network.inputs + i: (i, i + 1, 0) for i in range(rows)}
    for p, heard in enumerate(sources(network)):  # sources come first
        known = [spans[source] for source in heard if source in spans]
        spans[p] = min(x[0] for x in known), max(x[1] for x in known), max(x[2] for x in known) + 1
    depth = max(x[2] for x in spans.values())
    tall, wide = 0.55, 1.0
    band, pitch = rows * tall + GAP + READOUT + FOOT, depth * wide + 2 * GAP
    left = QUEUE + GAP
    corners = [(left + pitch * (q % BAND), band * (q // BAND)) for q in range(trees)]
    cells = []
    for p in range(network.cells):
        (x, y), (first, end, level) = corners[p // each], spans[p]
        cells.append((x + wide * (level - 1), y + tall * first, wide, tall * (end - first)))
    bands = -(-trees // BAND)
    return Layout(
        left + pitch * min(trees, BAND),
        band * bands,
        cells,
        [depth - spans[p][2] for p in range(network.cells)],
        ["the roots", *(f"level {k} below the roots" for k in range(1, depth - 1)), "the leaves"][:depth],
        [(QUEUE - 0.8, band * k + tall * i, 0.8, tall) for k in range(bands) for i in range(rows)],
        [(x, y + rows * tall + GAP, depth * wide, READOUT) for x, y in corners],
    )


def _diagonal(network: Any) -> Layout:
    """The traces as a table, an input a row and a unit a column, and the units below: 784 + 28 cells. Units come last
    but hear messages first."""
    rows, units, cols = network.rows, network.units, network.cols
    left = QUEUE + GAP
    traces = [(left + k, float(i), 1.0, 1.0) for k in range(units) for i in range(rows)]
    line = rows + GAP
    wide = units / cols
    return Layout(
        left + units,
        line + 1.6 + GAP + READOUT + FOOT,
        traces + [(left + k, line, 1.0, 1.6) for k in range(units)],
        [1] * len(traces) + [0] * units,
        ["the units", "every trace beside its weight: the gradient"],
        [(QUEUE - 1.0, float(i), 1.0, 1.0) for i in range(rows)],
        [(left + wide * j, line + 1.6 + GAP, wide, READOUT) for j in range(cols)],
    )
