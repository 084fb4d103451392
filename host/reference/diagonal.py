"""The diagonal LTC RNN in float64: units that hear all inputs and themselves, and a readout that hears all units.

Per unit k and step (design.md, section 2), with c = 1 - exp(-exp(-l)):

    u_k = sum_i W_ki x_i(t)      s_k <- s_k + c_k (u_k - s_k)      y_k = tanh(s_k + b_k)
    z_j = sum over t and k of V_jk y_k(t)

A unit's state has no other way to the loss than its own future, so SnAP-1 is the exact gradient. With d = 1 - y^2, the
one scalar per unit M_k = sum_j V_jk delta_j, and nu(t) = d(t) + a nu(t+1), which sums the traces from the last step:

    dL/dW_ki = M_k c_k sum of nu_k x_i    dL/dl_k = M_k (da/dl) sum of nu_k (s_old - u)    dL/db_k = M_k sum of d_k
    dL/dV_jk = delta_j sum of y_k
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from host.reference.softmax import scaled, softmax_error

Array = np.ndarray


class _Run(NamedTuple):
    logits: Array  # (..., o)
    y: Array  # (T, ..., units)
    change: Array  # (T, ..., units): u - s_old


@dataclass(frozen=True)
class Diagonal:
    """A Model (host.reference.training). Parameters are (..., units, inputs + 2 + classes), a row per unit:

    W_k of all inputs, l_k, b_k, V_jk of all classes. Inputs x are (..., T, inputs). Leading axes are batch axes and
    broadcast against each other. Shapes that don't fit raise ValueError. gain: x = pixel / 255 * gain. logit_scale:
    multiplies the logits before the softmax, and so delta.
    """

    units: int
    n_inputs: int
    classes: int
    gain: float = 1.0
    logit_scale: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the parameters, without batch axes."""
        return self.units, self.n_inputs + 2 + self.classes

    @property
    def groups(self) -> tuple[int, ...]:
        """Rates and bounds are given for W, l, b, V."""
        return (0,) * self.n_inputs + (1, 2) + (3,) * self.classes

    def inputs(self, images: Array) -> Array:
        """Scale uint8 pixels (..., T, inputs) to x; ValueError for any other dtype."""
        return scaled(images, self.gain)

    def forward(self, params: Array, x: Array) -> Array:
        """Logits (..., classes). Works in complex arithmetic if params are complex."""
        return self._sweep(params, x).logits

    def gradient(self, params: Array, x: Array, labels: Array | int) -> tuple[Array, Array]:
        """d cross_entropy / d params, (..., units, inputs + 2 + classes), and the logits (..., classes).

        ValueError for a label outside [0, classes).
        """
        logits, y, change = self._sweep(params, x)
        _, log_tau, _, V = self._split(params)
        delta = softmax_error(logits, labels) * self.logit_scale
        error = (delta[..., None, :] * V).sum(-1)
        a = np.exp(-np.exp(-log_tau))
        d = 1 - y * y
        nu = d.copy()
        for t in reversed(range(len(nu) - 1)):
            nu[t] += a * nu[t + 1]
        heard = np.moveaxis(nu, 0, -1) @ x
        grad = np.empty((*logits.shape[:-1], *self.shape))
        grad[..., : self.n_inputs] = (error * (1 - a))[..., None] * heard
        grad[..., self.n_inputs] = -error * a * np.exp(-log_tau) * (nu * change).sum(0)
        grad[..., self.n_inputs + 1] = error * d.sum(0)
        grad[..., self.n_inputs + 2 :] = delta[..., None, :] * y.sum(0)[..., None]
        return grad, logits

    def _split(self, params: Array) -> tuple[Array, Array, Array, Array]:
        """W (..., units, inputs), l and b (..., units), V (..., units, classes)."""
        n = self.n_inputs
        return params[..., :n], params[..., n], params[..., n + 1], params[..., n + 2 :]

    def _sweep(self, params: Array, x: Array) -> _Run:
        """Run T steps from rest."""
        if params.shape[-2:] != self.shape:
            raise ValueError(f"params must be (..., {self.shape[0]}, {self.shape[1]}), not {params.shape}")
        if x.ndim < 2 or x.shape[-1] != self.n_inputs:
            raise ValueError(f"x must be (..., T, {self.n_inputs}), not {x.shape}")
        W, log_tau, b, V = self._split(params)
        change = np.ascontiguousarray(np.moveaxis(x @ np.swapaxes(W, -1, -2), -2, 0))  # u, for now
        y = np.empty_like(change)
        c = -np.expm1(-np.exp(-log_tau))
        s = np.zeros(change.shape[1:], change.dtype)
        for t in range(len(change)):
            change[t] -= s
            s += c * change[t]
            y[t] = np.tanh(s + b)
        return _Run((y.sum(0)[..., None] * V).sum(-2) * self.logit_scale, y, change)
