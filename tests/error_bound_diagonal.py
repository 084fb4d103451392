"""How far a diagonal network's gradient may be from the float64 one: a running error bound, derived from the formats.

As error_bound.py has it for two-input cells; but no error travels from unit to unit, so absolute values go all the way.
Arrays are (steps, units), or (steps, units, inputs).
"""

import numpy as np
from error_bound import CURVATURE, DC, DDA, DW, LAM, SLACK, TANH, Y, before, leaky, reading_error, softmax_error

Array = np.ndarray
ETA = 2.0**-9  # LSB of eta as it is read


def gradient(params: Array, x: Array, label: int, gain: int, cool: int, units: int, outs: int) -> tuple[Array, Array]:
    """dL/d(W, l, b, V) of one image and the bound, both in the engine's order.

    params: what the masters stand for, in the engine's order; x: exact inputs, (steps, inputs), gain included.
    """
    steps, inputs = x.shape
    n, unit = units * inputs, 2.0**gain
    w, v = params[:n].reshape(units, inputs), params[n + 2 * units :].reshape(outs, units)
    log_tau, b = params[n : n + 2 * units].reshape(2, units)
    c, da = -np.expm1(-np.exp(-log_tau)), np.exp(-log_tau - np.exp(-log_tau))

    # Traces and s. Products are cut off at Q20 of the input's unit, s is rounded to Q14, b is an operand of Q14.
    heard = np.broadcast_to(x[:, None], (steps, units, inputs))
    e = leaky(c[:, None], c[:, None] * heard)
    de = reading_error(c[:, None], DC, heard, (heard > 0) * Y * unit, e, Y * unit)
    s = (e * w).sum(2)
    ds = ((np.abs(w) + DW) * de + DW * np.abs(e) + 2.0**-20 * unit * (e > 0)).sum(2) + Y / 2
    y = np.tanh(s + b)
    d = 1 - y * y
    drive = ds + Y / 2
    dy = d * drive + CURVATURE * drive**2 + TANH + 2.0**-21  # the last for s beyond 16.0, with b of 8.0: see below
    dd = np.minimum(2 * np.abs(y) * dy + dy**2 + Y / 2, 1)

    # eta <- (1 - c) eta - ratio (s - s_old), with ratio = (da/dl) / c in Q10. An error of s now passes whole, and is
    # taken back by and by: the response to it has 1 and then c (1 - c)**k.
    ds += np.maximum(np.abs(s) + ds - 16, 0)  # there the engine's saturates
    ratio = da / c
    d_ratio = (DDA + ratio * DC) / (c - DC) + 2.0**-11
    change = s - before(s)
    eta = leaky(c, -ratio * change)
    passed = ds + leaky(c, c * before(ds))
    d_eta = SLACK * (ratio + d_ratio) * passed + leaky(c - DC, d_ratio * np.abs(change) + DC * np.abs(before(eta)))
    d_eta += leaky(c - DC, np.broadcast_to((c + DC) * ETA / 2, change.shape)) + ETA / 2

    # Sums. Where a factor, d keeps 14 - narrow bits.
    narrow = max(steps.bit_length() - 2, 0)
    coarse = dd + Y / 2 * 2**narrow * (narrow > 0)
    sums = [(d[:, :, None] * e).sum(0), (d * eta).sum(0), d.sum(0), y.sum(0)]
    errors = [
        ((d + coarse)[:, :, None] * de + e * coarse[:, :, None]).sum(0),
        ((d + coarse) * d_eta + np.abs(eta) * coarse).sum(0),
        dd.sum(0),
        dy.sum(0),
    ]

    # Logits, products to nearest in Q14; messages, in Q22.
    z = v @ sums[3]
    dz = (np.abs(v) + DW) @ errors[3] + DW * np.abs(sums[3]).sum() + units * Y / 2
    delta, d_delta = softmax_error(z, dz[:, None] + dz, label, cool)
    message = delta @ v
    d_message = d_delta @ (np.abs(v) + DW) + DW * np.abs(delta).sum() + outs * LAM / 2

    def product(a: Array, da: Array, b: Array, db: Array) -> tuple[Array, Array]:
        return (a * b).ravel(), ((np.abs(a) + da) * db + np.abs(b) * da).ravel()

    parts = [
        product(message[:, None], d_message[:, None], sums[0], errors[0]),
        product(message, d_message, sums[1], errors[1]),
        product(message, d_message, sums[2], errors[2]),
        product(delta[:, None], d_delta[:, None], sums[3], errors[3]),
    ]
    found, bound = (np.concatenate(each) for each in zip(*parts, strict=True))
    return found, SLACK * bound
