"""Two-input cells on any graph in float64: forward, SnAP-1 and the exact gradient; the lattice is one of the graphs.

Per cell and step, neighbours read at the same step (the article, and design.md, sections 1 and 2):

    u = wL y_left + wT y_top      s <- s + c (u - s)      y = tanh(s + b)      z_j = sum over t of y_out(j)(t)

Both rules are one sweep back. With d = 1 - y^2, k = c w, and delta, the readouts' error, the same at every step,

    lam = d (delta + sum over listeners of k sent)          what reaches the cell in this step
    mu(t) = lam(t) + a mu(t+1)                              with what it does to the cell's own future
    dL/dw = sum over t of c mu y_source      dL/db = sum of lam      dL/dl = sum of mu (da/dl) (s_old - u)

The exact rule sends mu. SnAP-1 knows what a parameter does to the state of its cell and of the cell's listeners, then
and later, and no further: lam is sent, each cell answers for all of its own future with mu, and the gradient is made
of one hop more, lam' = d (delta + sum of k mu) and mu' = lam' + a mu'(t+1). That is the article's sum of messages times
traces, m d f + sum of lam (eps - k d f), with the traces' recursions summed the other way round: from the last step.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from host.reference.graph import Graph
from host.reference.levels import Levels
from host.reference.softmax import scaled, softmax_error

Array = np.ndarray

RULES = ("snap1", "exact")


class _Planes(NamedTuple):
    """Parameters of the cells in order of depth."""

    log_tau: Array  # (n, *batch)
    w: Array  # (2, n, *batch): by what enters on the left and on the top is multiplied, input gain included
    b: Array  # (n, *batch)
    c: Array  # (n, *batch)


class _Run(NamedTuple):
    """What a forward sweep leaves, by level."""

    logits: Array  # (o, *batch)
    y: Array  # (levels, rows, *batch)
    change: Array  # (levels, n, *batch): u - s_old of the cells at work, else undefined


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a graph and the rule that trains them: a Model (host.reference.training).

    Parameters are (..., n, 4) in the order (l, wL, wT, b) with l = log(tau/dt), inputs x (..., T, inputs). Leading axes
    are batch axes and broadcast against each other: many images under one set of parameters, one image under many
    sets, or one image per set are the same call. Shapes that don't fit raise ValueError.

    gain: x = pixel / 255 * gain. logit_scale: multiplies the logits before the softmax, and so delta.
    """

    graph: Graph
    rule: str = "snap1"
    gain: float = 1.0
    logit_scale: float = 1.0

    groups = (0, 1, 1, 2)  # rates and bounds are given for l, w, b

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"there is no rule {self.rule}; it is one of {', '.join(RULES)}")

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the parameters, without batch axes."""
        return self.graph.cells, 4

    @property
    def classes(self) -> int:
        """How many readouts there are."""
        return len(self.graph.out)

    def inputs(self, images: Array) -> Array:
        """Scale uint8 pixels (..., T, inputs) to x; ValueError for any other dtype."""
        return scaled(images, self.gain)

    def forward(self, params: Array, x: Array) -> Array:
        """Logits (..., o), logit_scale included. Works in complex arithmetic if params are complex."""
        return np.moveaxis(self._sweep(*self._align(params, x)).logits, 0, -1)

    def outputs(self, params: Array, x: Array) -> Array:
        """All y in [-1, 1], (..., T, n)."""
        y = self._sweep(*self._align(params, x)).y
        steps = x.shape[-2]
        by_cell = np.stack([y[depth : depth + steps, place] for place, depth in enumerate(self._levels.depth)])
        return np.moveaxis(by_cell[self._levels.rank], (0, 1), (-1, -2))

    def gradient(self, params: Array, x: Array, labels: Array | int) -> tuple[Array, Array]:
        """d cross_entropy / d params by the rule, (..., n, 4), and the logits (..., o).

        ValueError for a label outside [0, o).
        """
        planes, x = self._align(params, x)
        run = self._sweep(planes, x)
        logits = np.moveaxis(run.logits, 0, -1)
        delta = np.moveaxis(softmax_error(logits, labels), -1, 0) * self.logit_scale
        grad = self._back(planes, run, delta, x.shape[0])
        grad[0] *= -(1 - planes.c) * np.exp(-planes.log_tau)  # da/dl, of u - s_old
        grad[1:3] *= planes.c * self._amplified(grad.ndim - 2)
        return np.moveaxis(grad[:, self._levels.rank], (0, 1), (-1, -2)), logits

    @cached_property
    def _levels(self) -> Levels:
        return Levels(self.graph)

    def _amplified(self, batch_axes: int) -> Array:
        """What enters the ports is multiplied by this, (2, n, ...)."""
        gain: Array = 2.0 ** self.graph.gain[:, self._levels.order]
        return gain.reshape(*gain.shape, *[1] * batch_axes)

    def _align(self, params: Array, x: Array) -> tuple[_Planes, Array]:
        """Parameters in order of depth, x as (T, inputs, *batch), all with as many batch axes."""
        n, inputs = self.graph.cells, self.graph.inputs
        if params.ndim < 2 or params.shape[-2:] != (n, 4):
            raise ValueError(f"params must be (..., {n}, 4), not {params.shape}")
        if x.ndim < 2 or x.shape[-1] != inputs:
            raise ValueError(f"x must be (..., T, {inputs}), not {x.shape}")
        batch = np.broadcast_shapes(params.shape[:-2], x.shape[:-2])
        params = params.reshape(*[1] * (len(batch) + 2 - params.ndim), *params.shape)
        planes = np.moveaxis(params[..., self._levels.order, :], (-1, -2), (0, 1))
        log_tau, wL, wT, b = np.ascontiguousarray(planes)
        w = np.stack([wL, wT]) * self._amplified(len(batch))
        x = np.broadcast_to(x, (*batch, *x.shape[-2:]))
        # c = 1 - exp(-dt/tau), without the cancellation that plain 1 - a suffers for long tau.
        return _Planes(log_tau, w, b, -np.expm1(-np.exp(-log_tau))), np.moveaxis(x, (-2, -1), (0, 1))

    def _sweep(self, planes: _Planes, x: Array) -> _Run:
        """Run T steps from rest."""
        graph, levels = self.graph, self._levels
        steps, _, *batch = x.shape
        dtype = np.result_type(planes.w, x, float)
        schedule = levels.schedule(steps)
        count = len(schedule) + 1
        y = np.zeros((count, graph.rows, *batch), dtype)
        change = np.empty((count, graph.cells, *batch), dtype)
        y[:steps, graph.null + 1 :] = x
        flat = y.reshape(-1, *batch)
        s = np.zeros((graph.cells, *batch), dtype)
        for level, now, sources, _ in schedule:
            entering = planes.w[:, now] * flat.take(sources, axis=0)
            u = entering[0] + entering[1]
            difference = change[level, now] = u - s[now]
            s[now] += planes.c[now] * difference
            y[level, now] = np.tanh(s[now] + planes.b[now])
        return _Run(y[:, levels.rank[graph.out]].sum(0) * self.logit_scale, y, change)

    def _back(self, planes: _Planes, run: _Run, delta: Array, steps: int) -> Array:
        """Sums over time of mu (u - s_old), mu y_left, mu y_top and lam, (4, n, *batch); of SnAP-1: mu' and lam'."""
        graph, levels, n = self.graph, self._levels, self.graph.cells
        count, _, *batch = run.y.shape
        # An axis after the cells: what is sent, and for SnAP-1 the one hop more.
        kinds = 1 if self.rule == "exact" else 2
        error = np.zeros((n, 1, *batch))
        error[levels.rank[graph.out], 0] = delta
        k = np.zeros((2, n + 1, 1, *planes.c.shape[1:]))
        k[:, :n, 0] = planes.c * planes.w
        k = np.stack([k[port, listener] for port, listener in enumerate(levels.listeners)])
        a = (1 - planes.c)[:, None]
        d = (1 - run.y[:, :n] ** 2)[:, :, None]
        sent = np.zeros((count, n + 1, kinds, *batch))  # the last place is nobody: it sends 0
        y, flat = run.y.reshape(-1, *batch), sent.reshape(-1, kinds, *batch)
        future = np.zeros((n, kinds, *batch))
        sums = np.zeros((4, n, *batch))
        for level, now, sources, listeners in reversed(levels.schedule(steps)):
            messages = k[:, now] * flat.take(listeners, axis=0)
            arrived = d[level, now] * (error[now] + messages[0] + messages[1])
            future[now] = a[now] * future[now] + arrived
            if kinds == 2:
                sent[level, now, 0] = arrived[:, 0]
            sent[level, now, -1] = future[now, 0]
            mu = future[now, -1]
            sums[0, now] += mu * run.change[level, now]
            sums[1:3, now] += mu * y.take(sources, axis=0)
            sums[3, now] += arrived[:, -1]
        return sums
