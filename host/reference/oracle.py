"""The float64 reference: the lattice, its SnAP-1 gradient and the exact one, in NumPy; shares nothing with the engine.

Parameters are `params`, float64 (..., rows, cols, 4) in the order (l, wL, wT, b) with l = log(tau/dt); inputs are `x`,
(..., T, rows): x_i(t) enters lattice row i at step t. Leading axes are batch axes and broadcast against each other:
many images under one set of parameters, one image under many sets, or one image per set all use the same call.

Sources: the article (seed text) and design.md, section 1, which settles that neighbours are read at the same step.
Cell (i, j) then needs its left, its upper and its own past value, so all cells with equal i + j + t = level may be
computed together: seen by level, the same-step lattice is a lattice with one step of delay, and one vector operation
advances every cell at once. Arrays "by level" hold at [n, ..., i, j] what cell (i, j) does at t = n - i - j.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

Array = np.ndarray


def inputs(images: Array, gain: float = 1.0) -> Array:
    """Scale uint8 pixels (..., T, rows) to x_i(t) = pixel / 255 * gain; ValueError for any other dtype."""
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, not {images.dtype}: pass the unscaled pixels")
    return images * (gain / 255.0)


def forward(params: Array, x: Array) -> tuple[Array, Array, Array]:
    """Run T steps from rest; article's equations for s and y, read at the same step (design.md, section 1).

    Returns logits z_j = sum_t y[rows-1][j](t), shape (..., cols), then all y in [-1, 1] and all s, each
    (..., T, rows, cols). Works in complex arithmetic if params are complex. ValueError if the shapes don't fit.
    """
    y, s = _sweep(*_align(params, x))
    return y[..., -1, :].sum(0), np.moveaxis(y, 0, -3), np.moveaxis(s, 0, -3)


def cross_entropy(logits: Array, labels: Array | int) -> Array:
    """Loss -log softmax(logits)[label] for logits (..., cols), labels (...) in [0, cols); else ValueError."""
    z = logits - logits.real.max(-1, keepdims=True)
    loss: Array = np.log(np.exp(z).sum(-1)) - (z * _one_hot(labels, z.shape[-1])).sum(-1)
    return loss


def snap1_gradient(params: Array, x: Array, labels: Array | int, *, total: bool = False) -> tuple[Array, Array]:
    """SnAP-1 estimate of d cross_entropy / d params, in the paper's own form with its past-only subtraction.

    Per step: m d f + sum over descendants of lam_desc (eps_desc - k_desc d f), design.md, section 1. The readout error
    delta is the same at every step and known only after the last one, so the forward sweep comes first.

    Returns the gradient of each image, (..., rows, cols, 4), or with `total` the sum over all batch axes,
    (rows, cols, 4); then the logits (..., cols). ValueError for a label outside [0, cols) or shapes that don't fit.
    """
    planes, x = _align(params, x)
    log_tau, wL, wT, _ = planes
    c = _step_size(log_tau)
    a, da_dl = 1 - c, (1 - c) * np.exp(-log_tau)
    y, s = _sweep(planes, x)
    logits = y[..., -1, :].sum(0)
    z = np.exp(logits - logits.max(-1, keepdims=True))
    delta = z / z.sum(-1, keepdims=True) - _one_hot(labels, z.shape[-1])

    # What the traces take in, known for all t at once; a missing descendant has k = 0 and lam = 0.
    d = 1 - y * y
    left, top = np.empty_like(y), np.zeros_like(y)
    left[..., 0], left[..., 1:] = x, y[..., :-1]
    top[..., 1:, :] = y[..., :-1, :]
    s_old = np.concatenate([np.zeros_like(s[:1]), s[:-1]])
    intake = np.stack([da_dl * (s_old - wL * left - wT * top), c * left, c * top], axis=1)
    k = np.stack([_right(c * wL), _below(c * wT)])[:, None]
    a_desc = np.stack([_right(a), _below(a)])[:, None]
    lam = _messages(d, delta, c * wL, c * wT)
    lam_desc = np.stack([_right(lam), _below(lam)], axis=1)[:, :, None]

    f = np.zeros((4, *c.shape))  # ds/dtheta = eta, eL, eT, and 1 for the bias, which needs no trace of its own
    f[3] = 1
    eps = np.zeros((2, 4, *c.shape))  # (right, below) x theta: d s_descendant / d theta, accumulated over time
    grad = np.zeros_like(f)
    for t in range(len(y)):
        f[:3] = a * f[:3] + intake[t]
        share = k * (d[t] * f)  # the part of eps that enters now; the message m carries it already
        eps = a_desc * eps + share
        grad += lam[t] * f + (lam_desc[t] * (eps - share)).sum(0)
    grad = np.moveaxis(grad, 0, -1)
    return (grad.reshape(-1, *grad.shape[-3:]).sum(0) if total else grad), logits


def exact_gradient(params: Array, x: Array, label: int, step: float = 1e-30) -> Array:
    """True gradient of the loss of one image: params (rows, cols, 4), x (T, rows), to about 1e-15 relative.

    Complex-step derivative: the imaginary part of loss(theta + i step) / step has neither truncation error (step^2
    vanishes) nor cancellation. ValueError as in snap1_gradient.
    """
    grad = np.empty(params.shape)
    rows, cols, _ = params.shape
    for i in range(rows):  # the perturbed copies of one lattice row at a time bound the memory
        copies = np.tile(params.astype(complex), (4 * cols, 1, 1, 1))
        copies[:, i] += 1j * step * np.eye(4 * cols).reshape(4 * cols, cols, 4)
        grad[i] = cross_entropy(forward(copies, x)[0], label).imag.reshape(cols, 4) / step
    return grad


def train(
    params: Array,
    images: Array,
    labels: Array,
    rates: tuple[float, float, float],
    *,
    gain: float = 1.0,
    order: Array | Sequence[int] | None = None,
    bounds: Array | tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Plain SGD, batch size 1, one pass: theta -= rate * gradient after every image, no other state.

    params   (rows, cols, 4), or (S, rows, cols, 4) to train S independent seeds side by side; not modified
    images   uint8 (B, T, rows); labels (B,) in [0, cols)
    rates    (h_w, h_b, h_l); the article's are (h, h/20, 4h) with h = 1e-2
    order    which images, in which order: (n,), or (S, n) for an order per seed; default 0 .. B-1
    bounds   (low, high), each (4,) in the order (l, wL, wT, b): saturate the parameters after each step, as the
             integer engine does; default none

    Returns the new params and every image's logits before its own step, (n, cols) or (S, n, cols). ValueError as in
    snap1_gradient and inputs.
    """
    labels = _checked(labels, params.shape[-2])
    h_w, h_b, h_l = rates
    rate = np.array([h_l, h_w, h_w, h_b])
    low, high = (-np.inf, np.inf) if bounds is None else bounds
    order = np.arange(len(images)) if order is None else np.asarray(order)
    logits = np.empty((order.shape[-1], *params.shape[:-3], params.shape[-2]))
    for n in range(order.shape[-1]):
        now = order[..., n]
        grad, logits[n] = snap1_gradient(params, inputs(images[now], gain), labels[now])
        params = np.clip(params - rate * grad, low, high)
    return params, np.moveaxis(logits, 0, -2)


def evaluate(params: Array, images: Array, labels: Array, *, gain: float = 1.0, batch: int = 50) -> float | Array:
    """Share of images whose largest logit is the label's; a float, or (S,) for params (S, rows, cols, 4).

    images uint8 (B, T, rows), labels (B,); `batch` images at a time (a small batch stays in the cache).
    ValueError for a label outside [0, cols), for no images, or shapes that don't fit.
    """
    if len(images) != len(labels) or len(images) == 0:
        raise ValueError(f"need as many labels as images and at least one: {len(images)} images, {len(labels)} labels")
    labels = _checked(labels, params.shape[-2])
    hits = np.zeros(params.shape[:-3])
    for n in range(0, len(images), batch):
        logits = forward(params[..., None, :, :, :], inputs(images[n : n + batch], gain))[0]
        hits += (logits.argmax(-1) == labels[n : n + batch]).sum(-1)
    return hits / len(images)


def _align(params: Array, x: Array) -> tuple[Array, Array]:
    """Parameters as four planes (4, ..., rows, cols) and x as (T, ..., rows), both over all batch axes."""
    if params.ndim < 3 or params.shape[-1] != 4:
        raise ValueError(f"params must be (..., rows, cols, 4), not {params.shape}")
    if x.ndim < 2 or x.shape[-1] != params.shape[-3]:
        raise ValueError(f"x must be (..., T, {params.shape[-3]}) for params {params.shape}, not {x.shape}")
    batch = np.broadcast_shapes(params.shape[:-3], x.shape[:-2])
    planes = np.moveaxis(np.broadcast_to(params, (*batch, *params.shape[-3:])), -1, 0)
    x = np.moveaxis(np.broadcast_to(x, (*batch, *x.shape[-2:])), -2, 0)
    return np.ascontiguousarray(planes, np.result_type(params, x, float)), x


def _checked(labels: Array | int, cols: int) -> Array:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or ((labels < 0) | (labels >= cols)).any():
        raise ValueError(f"labels must be integers in [0, {cols}): the lattice has {cols} columns")
    return labels


def _one_hot(labels: Array | int, cols: int) -> Array:
    rows: Array = np.eye(cols)[_checked(labels, cols)]
    return rows


def _step_size(log_tau: Array) -> Array:
    """c = 1 - exp(-dt/tau), without the cancellation that plain 1 - a suffers for long tau."""
    c: Array = -np.expm1(-np.exp(-log_tau))
    return c


def _by_step(v: Array, steps: int) -> Array:
    """View an array by level in order of time, writable: [t, ..., i, j] of the view is v[t + i + j, ..., i, j]."""
    level, *batch, row, col = v.strides
    return as_strided(v, (steps, *v.shape[1:]), (level, *batch, level + row, level + col))


def _right(v: Array) -> Array:
    """Each cell's view of its right descendant: v[..., i, j+1], and 0 at the discarded right shoreline."""
    return np.concatenate([v[..., 1:], np.zeros_like(v[..., :1])], axis=-1)


def _below(v: Array) -> Array:
    """Each cell's view of its lower descendant: v[..., i+1, j], and 0 below the readout row."""
    return np.concatenate([v[..., 1:, :], np.zeros_like(v[..., :1, :])], axis=-2)


def _sweep(planes: Array, x: Array) -> tuple[Array, Array]:
    """All y and s, (T, ..., rows, cols), one vector operation per level."""
    log_tau, wL, wT, b = planes
    c = _step_size(log_tau)
    *batch, rows, cols = c.shape
    steps = len(x)
    levels = steps + rows + cols - 2
    started = np.arange(levels)[:, None, None] >= np.add.outer(np.arange(rows), np.arange(cols))

    # Slot n + 1 holds level n. Row 0 of y is the top shoreline (always 0), column 0 the left one, which holds x_i(t)
    # in the level before cell (i, 0) uses it. What cells compute after their last step is never looked at.
    y = np.zeros((levels + 1, *batch, rows + 1, cols + 1), c.dtype)
    s = np.zeros((levels + 1, *c.shape), c.dtype)
    for i in range(rows):
        y[i : i + steps, ..., i + 1, 0] = x[..., i]
    for n in range(levels):
        u = wL * y[n, ..., 1:, :-1] + wT * y[n, ..., :-1, 1:]
        s[n + 1] = s[n] + c * (u - s[n])
        y[n + 1, ..., 1:, 1:] = started[n] * np.tanh(s[n + 1] + b)
    return _by_step(y[1:, ..., 1:, 1:], steps), _by_step(s[1:], steps)


def _messages(d: Array, delta: Array, kL: Array, kT: Array) -> Array:
    """lam = m d for all t, (T, ..., rows, cols): the readout error sent through space only, against the levels.

    m = [bottom row] delta + k_right lam_right + k_below lam_below. Neighbours in adjacent levels are at the same t, so
    no message crosses time.
    """
    steps, (rows, cols) = len(d), d.shape[-2:]
    levels = steps + rows + cols - 2
    slope, error = np.zeros((2, levels, *d.shape[1:]))  # slope 0 outside [0, T) keeps those cells silent
    _by_step(slope, steps)[...] = d
    _by_step(error, steps)[..., -1, :] = delta
    kR, kB = _right(kL), _below(kT)
    lam = np.zeros((levels + 1, *d.shape[1:-2], rows + 1, cols + 1))  # last row and column: null shorelines
    for n in reversed(range(levels)):
        m = error[n] + kR * lam[n + 1, ..., :-1, 1:] + kB * lam[n + 1, ..., 1:, :-1]
        lam[n, ..., :-1, :-1] = slope[n] * m
    return _by_step(lam[..., :-1, :-1], steps)
