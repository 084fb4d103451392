"""An integer network's counterpart in float64, and its parameters and gradients as numbers."""

import numpy as np

from fixedpoint.diagonal import Diagonal
from fixedpoint.kernels import GRADIENT
from fixedpoint.lattice import CELL, GAIN, LAG, LEFT, TOP, Lattice
from fixedpoint.network import MAX_SCALE
from host.reference import diagonal
from host.reference.cells import Cells
from host.reference.graph import Graph
from host.reference.training import Model

Array = np.ndarray
Network = Lattice | Diagonal
RATES = {"cells": (0, 1, 2), "diagonal": (1, 0, 2, 3)}  # of the engine's (l, w, b, V), in the model's order
BOUNDS = {"cells": (0, 1, 2), "diagonal": (1, 0, 2, 1)}  # likewise of (l, w, b)


def dequantise(masters: Array) -> Array:
    """Masters (Q26) as the numbers that they stand for."""
    return masters / 2.0**26


def kind(network: Network) -> str:
    """Of RATES and BOUNDS."""
    return "diagonal" if isinstance(network, Diagonal) else "cells"


def model_of(network: Network) -> Model:
    """The same network in float64."""
    gain, cool = network.scale / MAX_SCALE, 2.0**-network.cool
    if isinstance(network, Diagonal):
        return diagonal.Diagonal(network.units, network.rows, network.cols, gain * 2**network.gain, cool)
    records = np.array(network.m).reshape(-1, CELL)
    cells, readouts = records[: network.cells], records[network.cells : -1]
    graph = Graph(cells[:, LEFT], cells[:, TOP], readouts[:, TOP], network.rows,
                  np.stack([cells[:, GAIN], cells[:, GAIN] - cells[:, LAG]]))  # fmt: skip
    return Cells(graph, "exact" if network.exact else "snap1", gain, cool)


def to_model(network: Network, params: Array) -> Array:
    """Parameters, or gradients, in the engine's order -> in its model's."""
    if not isinstance(network, Diagonal):
        return params.reshape(network.cells, 4)
    units, inputs, n = network.units, network.rows, network.units * network.rows
    w, rest, v = params[:n], params[n : n + 2 * units], params[n + 2 * units :]
    return np.hstack([w.reshape(units, inputs), rest.reshape(2, units).T, v.reshape(-1, units).T])


def from_model(network: Network, params: Array) -> Array:
    """The inverse of to_model()."""
    if not isinstance(network, Diagonal):
        return params.reshape(network.shape)
    inputs = network.rows
    return np.concatenate([params[:, :inputs].ravel(), params[:, inputs : inputs + 2].T.ravel(),
                           params[:, inputs + 2 :].T.ravel()])  # fmt: skip


def gradients(network: Network) -> Array:
    """What network.gradient() left behind, as numbers: dL/d(parameters), in the shape of the parameters."""
    if isinstance(network, Diagonal):
        units, outs, n = network.units, network.cols, network.units * network.rows
        message = np.array(network.z[outs:], float) * 2.0**-22  # delta of the outputs, then M of the units
        sums = np.array(network.s, float)
        w = message[outs:, None] * sums[:n].reshape(units, -1) * 2.0 ** (network.narrow + network.gain - 28)
        l_, b, y = sums[n:].reshape(3, units) * 2.0 ** np.array([[network.narrow - 23], [-14], [-14]])
        return np.concatenate([w.ravel(), message[outs:] * l_, message[outs:] * b, np.outer(message[:outs], y).ravel()])
    exponent, gradient = GRADIENT
    records = np.array(network.m, np.int64).reshape(-1, CELL)[: network.cells]
    gain = records[:, [GAIN]] * [1, 1, 1, 0] - records[:, [LAG]] * [0, 0, 1, 0]
    scale = records[:, [exponent]] - 32 + [4, 0, 0, 0] + gain
    return np.ldexp(records[:, gradient : gradient + 4], scale).reshape(network.shape)
