"""Parameters where they stand in the network: at the start, and now."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize

from host.pictures.style import DIVERGING, Panel, Picture, colour

Array = np.ndarray
SIGNED = LinearSegmentedColormap.from_list("signed", DIVERGING)
CELL_PARAMETERS = {"l = ln(τ/Δt)": "cividis", "wL, from the left": "", "wT, from above": "", "b, the bias": ""}
LEAST = 0.05  # the smallest range that a signed map shows


def maps(start: Array, now: Array, graph: str, rows: int, units: int, step: int) -> Picture:
    """Of parameters as floats, (..., 4) or, of a diagonal network, in one row."""
    if graph == "diagonal":
        panels, what = _diagonal(start, now, rows, units), _DIAGONAL
    else:
        panels, what = _cells(start, now, graph), _FOREST if graph == "forest" else _LATTICE
    changed = float(np.abs(now - start).max())
    return Picture(
        "maps",
        "What was learned, and where",
        f"Parameters at the start and after {step:,} training steps. {what}",
        f"Maps of the parameters at the start and after {step} training steps; the largest change is {changed:.2f}.",
        panels,
        columns=2 if graph == "diagonal" else len(panels),
    )


_LATTICE = "Every square is a cell in its place: inputs enter on the left, the readouts are below."
_FOREST = "A column is a tree, a square one of its cells: leaves above, the root below; lines part the levels."
_DIAGONAL = "W: inputs are rows, units columns. V: outputs are rows. l and b: open at the start, full now."


def _cells(start: Array, now: Array, graph: str) -> list[Panel]:
    lines: list[float] = []
    if graph == "forest":
        cells, trees = start.reshape(-1, 4), start.shape[-2] if start.ndim == 3 else 0
        trees = trees or len(cells)
        start, now = (x.reshape(trees, -1, 4).swapaxes(0, 1) for x in (start, now))
    return [
        Panel(_pair(start[..., k], now[..., k], scale, lines), name, width=2.5, height=3.7)
        for k, (name, scale) in enumerate(CELL_PARAMETERS.items())
    ]


def _pair(start: Array, now: Array, scale: str, lines: list[float]) -> Callable[[Axes], None]:
    """What draws two maps side by side, with one scale."""

    def draw(axes: Axes) -> None:
        rows, cols = start.shape
        norm = _norm(np.stack([start, now]), signed=not scale)
        gap = max(1.0, cols / 8)
        for at, values in ((0.0, start), (cols + gap, now)):
            shown = axes.imshow(
                values, cmap=scale or SIGNED, norm=norm, extent=(at, at + cols, rows, 0), interpolation="none"
            )
        for height in lines:
            axes.axhline(height, color=colour("paper"), linewidth=1)
        axes.set_xlim(0, 2 * cols + gap)
        axes.set_aspect("auto")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xticks([cols / 2, 1.5 * cols + gap], ["start", "now"])
        axes.set_yticks([])
        assert axes.figure is not None
        bar = axes.figure.colorbar(shown, ax=axes, orientation="horizontal", fraction=0.05, pad=0.02, aspect=22)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=2, labelsize=8)
        bar.ax.locator_params(nbins=5)

    return draw


def _norm(values: Array, signed: bool) -> Normalize:
    """All values but the rarest: some far away would leave the others one colour."""
    if signed:
        most = max(LEAST, float(np.quantile(np.abs(values), 0.995)))
        return Normalize(-most, most)
    low, high = np.quantile(values, (0.0025, 0.9975))
    return Normalize(float(low), float(max(high, low + LEAST)))


def _diagonal(start: Array, now: Array, rows: int, units: int) -> list[Panel]:
    n = units * rows

    def part(values: Array, name: str) -> Array:
        if name == "W":
            return values[:n].reshape(units, rows).T
        if name == "V":
            return values[n + 2 * units :].reshape(-1, units)
        first = n + (units if name == "b" else 0)
        return values[first : first + units]

    def dots(name: str) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            before, after = part(start, name), part(now, name)
            axes.vlines(range(units), before, after, color=colour("soft"), linewidth=0.8)
            axes.plot(range(units), before, "o", color=colour("soft"), markerfacecolor="none", ms=4)
            axes.plot(range(units), after, "o", color=colour("blue"), ms=4)
            axes.set_xlabel("unit")

        return draw

    return [
        Panel(_pair(part(start, "W"), part(now, "W"), "", []), "W", height=3.0),
        Panel(_pair(part(start, "V"), part(now, "V"), "", []), "V", height=3.0),
        Panel(dots("l"), "l = ln(τ/Δt)", height=2.4),
        Panel(dots("b"), "b", height=2.4),
    ]


def as_floats(params: Array) -> Array:
    """Masters (Q26) as numbers; those of a run in float64 are numbers already."""
    return params / 2.0**26 if params.dtype.kind == "i" else params


def seeded(network: Any) -> Array:
    """The parameters of a network that has not learned yet, in the shape that a checkpoint has."""
    return np.array(network.w, np.int32).reshape(network.shape)
