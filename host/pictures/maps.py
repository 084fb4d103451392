"""Parameters where they stand in the network: at the start, and now."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize

from host.pictures.style import DIVERGING, Panel, Picture, colour
from host.runs.config import Config

Array = np.ndarray
SIGNED = LinearSegmentedColormap.from_list("signed", DIVERGING)
CELL_PARAMETERS = {  # whether 0 is what their colours part at
    "l = ln(τ/Δt)": False,
    "wL, from the left": True,
    "wT, from above": True,
    "b, the bias": True,
}
LEAST = 0.05  # the smallest range that a signed map shows


def maps(start: Array, now: Array, config: Config, step: int) -> Picture:
    """Of the parameters of a network, as numbers in the shape that a checkpoint has."""
    if config.graph == "diagonal":
        panels, what = _diagonal(start, now, config.rows, config.units), _DIAGONAL
    elif config.graph == "forest":  # a column for each tree, and lines between its levels
        lines, width = [0], config.rows
        while width > 1:
            width = (width + 1) // 2
            lines.append(lines[-1] + width)
        first, last = (x.reshape(config.cols, -1, 4).swapaxes(0, 1) for x in (start, now))
        panels, what = _cells(first, last, lines[1:-1]), _FOREST
    else:
        panels, what = _cells(start, now, []), _LATTICE
    changed = float(np.abs(now - start).max())
    return Picture(
        "maps",
        "What was learned, and where",
        f"Parameters at the start and after {step:,} training steps. {what}",
        f"Maps of the parameters at the start and after {step} training steps; the largest change is {changed:.2f}.",
        panels,
        columns=2 if config.graph == "diagonal" else len(panels),
    )


_LATTICE = "Every square is a cell in its place: inputs enter on the left, the readouts are below."
_FOREST = "A column is a tree, a square one of its cells: leaves above, the root below; lines part the levels."
_DIAGONAL = "W: inputs are rows, units columns. V: outputs are rows. l and b: open at the start, full now."


def _cells(start: Array, now: Array, lines: Sequence[int]) -> list[Panel]:
    return [
        Panel(_pair(start[..., k], now[..., k], signed, lines), name, width=2.5, height=3.7)
        for k, (name, signed) in enumerate(CELL_PARAMETERS.items())
    ]


def _pair(start: Array, now: Array, signed: bool, lines: Sequence[int]) -> Callable[[Axes], None]:
    """What draws two maps side by side, with one scale."""

    def draw(axes: Axes) -> None:
        rows, cols = start.shape
        both = np.stack([start, now])
        norm = _norm(both, zero := signed and bool((both < 0).mean() > 0.01))
        gap = max(1.0, cols / 8)
        for at, values in ((0.0, start), (cols + gap, now)):
            shown = axes.imshow(
                values,
                cmap=SIGNED if zero else "cividis",
                norm=norm,
                extent=(at, at + cols, rows, 0),
                interpolation="none",
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
    """All values but the rarest: some far away would leave the others one colour. signed: 0 in the middle."""
    low, high = map(float, np.quantile(values, (0.0025, 0.9975)))
    if signed:
        most = max(LEAST, high, -low)
        return Normalize(-most, most)
    return Normalize(low, max(high, low + LEAST))


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
        Panel(_pair(part(start, "W"), part(now, "W"), True, []), "W", height=3.0),
        Panel(_pair(part(start, "V"), part(now, "V"), True, []), "V", height=3.0),
        Panel(dots("l"), "l = ln(τ/Δt)", height=2.4),
        Panel(dots("b"), "b", height=2.4),
    ]


def as_floats(params: Array) -> Array:
    """Masters (Q26) as numbers; those of a run in float64 are numbers already."""
    return params / 2.0**26 if params.dtype.kind == "i" else params


def seeded(network: Any) -> Array:
    """The parameters of a network that has not learned yet, in the shape that a checkpoint has."""
    return np.array(network.w, np.int32).reshape(network.shape)
