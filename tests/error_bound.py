"""How far the engine's gradient may be from the float64 one: a running error bound, derived from the number formats.

Beside every quantity of one image, computed here in float64 from the parameters, runs a bound on what the integers may
be off. It takes the worst case of every rounding (half an LSB, or a whole one where `>>` rounds down), of the tables
and of the operands' quantisation, each times the actual coefficients that carry it on. Rounding zero is exact.

Errors of y travel through the lattice, and errors of the messages back. Near criticality the number of paths times the
sizes of their couplings explodes (1e40 over 37 cells); what keeps the lattice stable is that the paths' signs cancel.
So these two errors are followed from each place of origin (every cell at every time, every cell) to each destination
with their signs, by the linearised dynamics; only there are absolute values taken and added up. Squares are bounded and
enter as further places of origin. Products of two small errors that are not squares of y's (of c or w with y) are
covered by SLACK. All else is local, and absolute values go all the way.
"""

import numpy as np

Y, W, ETA = 2.0**-14, 2.0**-12, 2.0**-11  # LSBs; eta's is times 2**gain, and divided by 2**fine
MESSAGE, LAM = 2.0**-20, 2.0**-22
DW = W / 2
DC, DDA = 2.3 * 2.0**-15, 2.6 * 2.0**-15  # test_kernels.py: test_time_constants_are_within_3_lsb_for_all_l
TANH = 1.5 * Y  # table and rounding
CURVATURE = 0.385  # max |tanh''| / 2: tanh(v + e) = y + d e + at most CURVATURE * e**2
SLACK = 1.01

Array = np.ndarray


def leaky(c: Array, intake: Array) -> Array:
    """s <- (1 - c) s + intake, over the first axis; all s."""
    out, s = np.empty_like(intake), np.zeros_like(intake[0])
    for t, x in enumerate(intake):
        s = (1 - c) * s + x
        out[t] = s
    return out


def before(v: Array) -> Array:
    """One step earlier, on the first axis."""
    return np.concatenate([np.zeros_like(v[:1]), v[:-1]])


def reading_error(c: Array, dc: float | Array, x: Array, dx: Array, e: Array, lsb: float | Array) -> Array:
    """Error of a leaky accumulator as it is read, given that of its input: e is its exact value, lsb that of reading.

    The accumulator A' = A + c^ (x^ - A - r), |r| <= lsb/2, minus e' = e + c (x - e) is
    (1 - c^)(A - e) + c^ (x^ - x) - c^ r + (c^ - c)(x - e); reading adds r. Silence is exact.
    """
    heard = np.logical_or.accumulate(np.abs(x) + dx > 0)
    return leaky(c - dc, (c + dc) * (dx + heard * lsb / 2) + dc * np.abs(x - before(e))) + heard * lsb / 2


def outputs_error(c: Array, wl: Array, wt: Array, d: Array, local: Array, table: Array) -> tuple[Array, Array]:
    """Error of y, (rows, cols, steps), and of the difference of any two logits, (cols, cols).

    local: what goes wrong with a cell's drive at a time in the cell itself; table: the same of its y, by the table.
    size[q, s] is the error of y that originates in column q at s = row * steps + time; carried[j, t, q, s] is what it
    does, times that, to y(t) of the cell in column j of this row (of the row above, where this one has not got to).
    """
    rows, cols, steps = d.shape
    error = np.zeros((rows, cols, steps))
    size = np.zeros((cols, rows * steps))
    carried = np.zeros((cols, steps, cols, rows * steps))
    for i in range(rows):
        begin, end = i * steps, (i + 1) * steps
        for j in range(cols):
            k_left = c[i, j] * wl[i, j] if j else 0.0
            k_top = c[i, j] * wt[i, j] if i else 0.0
            here = carried[j, :, : j + 1, :end]
            intake = k_left * carried[max(j - 1, 0), :, : j + 1, :end] + k_top * here
            drive = np.zeros_like(here[0])
            total = np.zeros(steps)
            for t in range(steps):
                drive *= 1 - c[i, j]
                drive += intake[t]
                total[t] = np.vdot(np.abs(drive), size[: j + 1, :end]) * SLACK
                np.multiply(drive, d[i, j, t], out=here[t])
            own = d[i, j] * local[i, j] + table[i, j] + CURVATURE * (total + local[i, j]) ** 2
            error[i, j] = d[i, j] * total + own
            size[j, begin:end] = own
            carried[j, :, j, begin:end] = np.eye(steps)
    logits = carried.sum(1)
    difference = SLACK * np.array([(np.abs(logit - logits) * size).sum((1, 2)) for logit in logits])
    return error, difference


def messages_error(
    k_right: Array, k_below: Array, dk_right: Array, dk_below: Array, d: Array, dd: Array, lam: Array, d_delta: Array
) -> Array:
    """Error of lam, as lam (rows + 1, cols + 1, steps) with the readouts as the last row.

    size[p, q] is the error that originates in cell (p, q), carried[j, p, q] what it does, times that, to lam of the
    cell in column j of this row (of the row below); both for every time step.
    """
    rows, cols, steps = d.shape
    error = np.zeros(lam.shape)
    size = np.zeros((rows + 1, cols, steps))
    carried = np.zeros((cols + 1, rows + 1, cols, steps))
    error[rows, :cols] = size[rows] = d_delta[:, None]
    for j in range(cols):
        carried[j, rows, j] = 1
    for i in range(rows - 1, -1, -1):
        for j in range(cols - 1, -1, -1):
            m = k_right[i, j] * carried[j + 1, i:, j:] + k_below[i, j] * carried[j, i:, j:]
            total = (np.abs(m) * size[i:, j:]).sum((0, 1))
            carried[j, i:, j:] = d[i, j] * m
            right, below = lam[i, j + 1], lam[i + 1, j]
            m = np.abs(k_right[i, j] * right + k_below[i, j] * below)
            local = dk_right[i, j] * (np.abs(right) + error[i, j + 1]) + MESSAGE / 2
            local += dk_below[i, j] * (np.abs(below) + error[i + 1, j])
            own = d[i, j] * local + dd[i, j] * (m + total + local) + LAM / 2
            error[i, j] = d[i, j] * total + own
            size[i, j] = own
            carried[j, i, j] = 1
    return error


def gradient(params: Array, x: Array, label: int, gain: int) -> tuple[Array, Array]:
    """dL/d(l, wL, wT, b) of one image and the bound, both (rows, cols, 4).

    params: what the masters stand for, (rows, cols, 4); x: exact inputs, (steps, rows); gain: the lattice's.
    """
    rows, cols, _ = params.shape
    steps = len(x)
    log_tau, wl, wt, b = np.ascontiguousarray(np.moveaxis(params, 2, 0))
    c, da = -np.expm1(-np.exp(-log_tau)), np.exp(-log_tau - np.exp(-log_tau))
    unit = np.ones((rows, cols))
    unit[:, 0] = 2.0**gain

    # Forward, time first: from here on arrays are (steps, rows, cols).
    y, left, top = np.zeros((3, steps, rows, cols))
    for i in range(rows):
        for j in range(cols):
            left[:, i, j] = y[:, i, j - 1] if j else x[:, i]
            top[:, i, j] = y[:, i - 1, j] if i else 0
            u = wl[i, j] * left[:, i, j] + wt[i, j] * top[:, i, j]
            y[:, i, j] = np.tanh(leaky(c[i, j], c[i, j] * u) + b[i, j])
    e_left, e_top = leaky(c, c * left), leaky(c, c * top)
    d = 1 - y * y
    d_input = np.zeros_like(y)
    d_input[:, :, 0] = (x > 0) * Y * unit[:, 0]  # pixels are rounded down
    # In the cell itself: reading e, the operands, the drive's rounding to nearest, the bias.
    local_left = reading_error(c, DC, left, d_input, e_left, Y * unit)
    local_top = reading_error(c, DC, top, 0, e_top, Y)
    local = (np.abs(wl) + DW) * local_left + DW * np.abs(e_left) + (np.abs(wt) + DW) * local_top + DW * np.abs(e_top)
    local += Y * (0.5 + 2.0**-8) * ((e_left != 0) | (e_top != 0)) + Y / 2 * (b != 0)
    table = TANH * (wl * e_left + wt * e_top + b != 0)
    dy, d_logits = outputs_error(c, wl, wt, *(np.ascontiguousarray(np.moveaxis(v, 0, 2)) for v in (d, local, table)))
    dy = np.minimum(np.moveaxis(dy, 2, 0), 2)
    dd = np.minimum(2 * np.abs(y) * dy + dy**2 + Y / 2 * (np.abs(y) + dy > 0), 1)

    # Softmax: p_j = 1 / sum over k of exp(z_k - z_j); the engine's own error is derived in test_kernels.py.
    z = y[:, -1].sum(0)
    differences = z[None, :] - z[:, None]
    p, low, high = (1 / np.exp(differences + sign * d_logits).sum(1) for sign in (0, 1, -1))
    d_delta = np.maximum(high - p, p - low) + (800 * high + 2) * LAM
    d_delta[label] = np.delete(d_delta, label).sum()
    delta = p - np.eye(cols)[label]

    # Messages. A readout is a descendant with c = w = k = 1, exactly.
    def right(v: Array) -> Array:
        return np.concatenate([v[:, 1:], np.zeros((rows, 1))], 1)

    def below(v: Array, readout: float) -> Array:
        return np.concatenate([v[1:], np.full((1, cols), readout)], 0)

    k_right, k_below = right(c * wl), below(c * wt, 1)
    dk_right = right(DC * (np.abs(wl) + DW) + c * DW + W / 2)
    dk_below = below(DC * (np.abs(wt) + DW) + c * DW + W / 2, 0)
    lam = np.zeros((rows + 1, cols + 1, steps))
    lam[rows, :cols] = delta[:, None]
    for i in reversed(range(rows)):
        for j in reversed(range(cols)):
            lam[i, j] = d[:, i, j] * (k_right[i, j] * lam[i, j + 1] + k_below[i, j] * lam[i + 1, j])
    by_cell = [np.ascontiguousarray(np.moveaxis(v, 0, 2)) for v in (d, dd)]
    d_lam = messages_error(k_right, k_below, dk_right, dk_below, *by_cell, lam, d_delta)

    # Self traces.
    dy_left = np.concatenate([d_input[:, :, :1], dy[:, :, :-1]], 2)
    dy_top = np.concatenate([np.zeros_like(dy[:, :1]), dy[:, :-1]], 1)
    de_left = reading_error(c, DC, left, dy_left, e_left, Y * unit)
    de_top = reading_error(c, DC, top, dy_top, e_top, Y)
    room = np.rint(np.abs(wl) / W) + np.floor(np.rint(np.abs(wt) / W) / unit)
    fine = np.clip(np.floor(np.log2(65536 / np.maximum(room, 1))), 0, 4)
    lsb = unit * ETA * 2.0**-fine
    x_left, x_top = left - before(e_left), top - before(e_top)
    drive = wl * x_left + wt * x_top
    eta = leaky(c, -da * drive)
    # An error of the inputs passes the filter from y to eta, by its impulse response; the cell's own are local.
    own_left, own_top = before(local_left), before(local_top)
    d_drive = (np.abs(wl) + DW) * own_left + DW * np.abs(x_left) + (np.abs(wt) + DW) * own_top + DW * np.abs(x_top)
    d_drive += lsb / 2 + unit * 2.0**-24  # the sum is rounded to nearest, the two products at Q25 before that
    d_eta = leaky(c - DC, (c + DC) * lsb / 2 + DC * np.abs(before(eta)) + (da + DDA) * d_drive + DDA * np.abs(drive))
    impulse = np.zeros_like(eta)
    impulse[0] = 1
    response = np.abs(leaky(c, -da * (impulse - before(leaky(c, c * impulse)))))
    dy_drive = SLACK * (np.abs(wl) * dy_left + np.abs(wt) * dy_top)
    for t in range(steps):
        d_eta[t] += (response[: t + 1] * dy_drive[t::-1]).sum(0)
    d_eta += lsb / 2
    d_eta *= np.logical_or.accumulate(np.abs(x_left) + np.abs(x_top) + dy_left + dy_top > 0)

    # What a parameter does to y: d f, with f = eta, eL, eT, 1.
    largest = np.minimum(d + dd, 1)
    what = (d * eta, d * e_left, d * e_top, d)
    errors = (
        largest * d_eta + np.abs(eta) * dd + lsb * (d_eta > 0),
        largest * de_left + np.abs(e_left) * dd + Y * unit * (de_left > 0),
        largest * de_top + np.abs(e_top) * dd + Y * (de_top > 0),
        dd,
    )
    lsbs = (2 * lsb, Y * unit, Y, Y)

    # Cross traces and gradient. Messages keep the leading bits of the row's largest.
    kept = 16 - steps.bit_length()
    found, bound, exponents = np.zeros((4, rows, cols)), np.zeros((4, rows, cols)), []
    has_right, has_below = right(np.ones_like(c)), below(np.ones_like(c), 0)
    for w, k, has, message, d_message in (
        (right(wl), right(c), has_right, lam[:rows, 1:], d_lam[:rows, 1:]),
        (below(wt, 1), below(c, 1), has_below, lam[1:, :cols], d_lam[1:, :cols]),
    ):
        message, d_message = np.moveaxis(message, 2, 0), np.moveaxis(d_message, 2, 0)
        highest = np.floor((np.abs(message) + d_message).max(0) / LAM)
        exponent = np.maximum(np.floor(np.log2(np.maximum(highest, 1))) + 1 - kept, 0)
        exponents.append(exponent)
        d_message = d_message + LAM / 2 * 2**exponent * (exponent > 0)
        for q in range(4):
            trace = leaky(k, k * what[q])
            d_trace = reading_error(k, DC * has, what[q], errors[q], trace, lsbs[q])
            total = (message * trace).sum(0)
            d_total = (np.abs(message) * d_trace + (np.abs(trace) + d_trace) * d_message).sum(0)
            found[q] += w * total
            bound[q] += (np.abs(w) + DW * has) * d_total + DW * has * np.abs(total)
    word = 2.0 ** (np.maximum(*exponents) - 32)  # both shares are rounded down to it; that of l once more, to 16 of it
    bound += word * np.array([3 * 16 * unit, 2 * unit, 2 * np.ones_like(unit), 2 * np.ones_like(unit)])
    return np.moveaxis(found, 0, 2), np.moveaxis(bound, 0, 2)
