"""What happens within a network while it sees an image: outputs, messages, traces, as numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fixedpoint import kernels
from fixedpoint.diagonal import Diagonal
from fixedpoint.diagonal_kernels import RECORD
from fixedpoint.lattice import BELOW, CELL, COARSE, LAG, LEFT, RIGHT, TOP, WL, WT, C
from host.engine.floating import gradients

Y_BITS, C_BITS, W_BITS, _, _, _, MSG_BITS, _ = kernels.FORMATS
UNIT, _ = RECORD
Array = np.ndarray


@dataclass(frozen=True)
class Seen:
    """One image in a network. Of a diagonal one the cells are its traces, unit by unit, and then its units."""

    y: Array  # (cells, steps): outputs; of a trace what it holds
    message: Array  # (cells, steps), or (cells, 1) if it is one for all steps; of a trace its gradient
    logits: Array  # (steps, classes): after each step
    error: Array  # (classes,): delta
    predicted: int


def message_bits(network: Any) -> int:
    """Fraction bits of a message."""
    return int(MSG_BITS - COARSE if getattr(network, "exact", False) else MSG_BITS)


def watch(network: Any, image: Array, label: int) -> Seen:
    """Let a network see an image, and the error come back; its parameters stay."""
    return (_watch_diagonal if isinstance(network, Diagonal) else _watch_cells)(network, image, label)


def _watch_cells(network: Any, image: Array, label: int) -> Seen:
    n, cols, steps = network.cells, network.cols, network.steps
    y = outputs(network, image)[:n]
    predicted = network.gradient(label)
    ends = np.array(network.m).reshape(-1, CELL)[n : n + cols, TOP]
    message = np.array(network.h[: n * steps]).reshape(n, steps) / 2.0 ** message_bits(network)
    return Seen(y, message, y[ends].cumsum(1).T, _error(network), predicted)


def _watch_diagonal(network: Diagonal, image: Array, label: int) -> Seen:
    units, rows = network.units, network.rows
    n = units * rows
    first = n + 2 * units  # of the sums of y
    traces, totals = [], [np.zeros(units)]
    network.begin()
    for row in image:
        network.row(row.tobytes())
        network.advance()
        traces.append(np.array(network.e) / 2.0 ** (Y_BITS + C_BITS))
        totals.append(np.array(network.s[first : first + units]) / 2.0**Y_BITS)
    y = np.diff(totals, axis=0)
    predicted = network.gradient(label)
    v = np.array(network.v[n + 2 * units :]).reshape(-1, units) / 2.0**W_BITS
    arrived = np.array(network.z[2 * network.cols :]) / 2.0**MSG_BITS
    return Seen(
        np.concatenate([np.array(traces).T, y.T]),
        np.concatenate([gradients(network)[:n], arrived])[:, None],
        np.cumsum(y, 0) @ v.T,
        _error(network),
        predicted,
    )


def _error(network: Any) -> Array:
    error: Array = np.array(network.z[network.cols : 2 * network.cols]) / 2.0**MSG_BITS
    return error


def outputs(network: Any, image: Array) -> Array:
    """y of all cells, and all else that is in rows of h, readouts and inputs as well, after an image went forward."""
    network.begin()
    network.row(image.tobytes(), 0, network.steps)
    network.advance()
    rows: Array = np.array(network.h).reshape(-1, network.steps) / 2.0**Y_BITS
    return rows


def traces(network: Any, image: Array) -> dict[str, Array]:
    """The traces of all cells at all steps while an image goes forward: what the kernel of SnAP-1 has in variables
    only, computed once more from its operands and outputs.

    Self traces are (cells, steps), cross traces (2, cells, steps): of what hears the cell on its left and on its top.
    They are in the units that the kernel keeps them in: where an input has gain, divided by that.
    """
    n, rows = network.cells, outputs(network, image)
    m = np.array(network.m).reshape(-1, CELL)
    own = m[:n]
    c, wl, wt = own[:, C] / 2.0**C_BITS, own[:, WL] / 2.0**W_BITS, own[:, WT] / 2.0 ** (W_BITS + own[:, LAG])
    a = 1 - c
    da = -a * np.log(np.maximum(a, 1e-9))
    heard = np.stack([m[own[:, port], C] for port in (RIGHT, BELOW)]) / 2.0**C_BITS  # c of the descendants
    state = {name: np.zeros(n) for name in ("eL", "eT", "eta")}
    cross = {name: np.zeros((2, n)) for name in ("eL", "eT", "eta", "b")}
    found: dict[str, list[Array]] = {}
    for t in range(network.steps):
        left, top = rows[own[:, LEFT], t], rows[own[:, TOP], t]
        drive = wl * (left - state["eL"]) + wt * (top - state["eT"])
        state["eta"] = state["eta"] - c * state["eta"] - da * drive
        state["eL"] = state["eL"] + c * (left - state["eL"])
        state["eT"] = state["eT"] + c * (top - state["eT"])
        d = 1 - rows[:n, t] ** 2
        for name, kept in cross.items():
            cross[name] = kept + heard * (d * state.get(name, 1.0) - kept)
        for name, value in [*state.items(), *((f"cross {name}", kept) for name, kept in cross.items())]:
            found.setdefault(name, []).append(value)
    return {name: np.stack(values, -1) for name, values in found.items()}
