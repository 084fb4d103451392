"""How far the gradient of two-input cells may be from the float64 one: a running error bound, derived from the formats.

Beside every quantity of one image, computed here in float64 from the parameters, runs a bound on what the integers may
be off. It takes the worst case of every rounding (half an LSB, or a whole one where `>>` rounds down), of the tables
and of the operands' quantisation, each times the actual coefficients that carry it on. Rounding zero is exact.

Errors of y travel through the lattice, and errors of the messages back. Near criticality the number of paths times the
sizes of their couplings explodes (1e40 over 37 cells); what keeps the lattice stable is that the paths' signs cancel.
So these two errors are followed from each place of origin (every cell at every time; of SnAP-1's messages, which do not
travel in time, every cell) to each destination with their signs, by the linearised dynamics; only there are absolute
values taken and added up. Squares are bounded and enter as further places of origin. Products of two small errors that
are not squares of y's (of c or w with y) are covered by SLACK. All else is local, and absolute values go all the way.

Arrays are (steps, cells); those of messages have the readouts behind the cells, and a last column of zeros for nobody.
"""

from dataclasses import dataclass

import numpy as np

from host.reference.graph import Graph

Y, W, ETA = 2.0**-14, 2.0**-12, 2.0**-11  # LSBs; eta's is times 2**gain, and divided by 2**fine
MESSAGE, LAM = 2.0**-20, 2.0**-22  # of SnAP-1; those of the exact rule are 16 times as large
COARSE = 16
DW = W / 2
DC, DDA = 2.3 * 2.0**-15, 2.6 * 2.0**-15  # test_kernels.py: test_time_constants_are_within_3_lsb_for_all_l
TANH = 1.5 * Y  # table and rounding
CURVATURE = 0.385  # max |tanh''| / 2: tanh(v + e) = y + d e + at most CURVATURE * e**2, or |e|
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


@dataclass
class Forward:
    """What cells do with an image, and what may be wrong with it."""

    c: Array  # (n,), as da, wl, wt
    da: Array
    wl: Array
    wt: Array
    x: tuple[Array, Array]  # what enters on the left and on the top, gain included
    e: tuple[Array, Array]  # its leaky integrals
    y: Array
    d: Array
    dx: tuple[Array, Array]  # errors
    dd: Array
    local: tuple[Array, Array]  # of the readings of e, if x were exact
    delta: Array  # (outs,)
    d_delta: Array


def outputs_error(graph: Graph, f: Forward, local: Array, table: Array) -> tuple[Array, Array]:
    """Error of y, and of the difference of any two logits, (outs, outs).

    local: what goes wrong with a cell's drive at a time in the cell itself; table: the same of its y, by the table.
    size[q, s] is the error of y that originates in cell q at time s; carried[p][t, a, s] is what it does, times that,
    to y(t) of cell p, for the cells q = origins[p][a] that reach it.
    """
    steps, n = f.d.shape
    error, size = np.zeros((steps, n)), np.zeros((n, steps))
    carried: dict[int, Array] = {}
    origins: dict[int, Array] = {}
    last: dict[int, int] = {}
    for p in range(n):
        last |= {int(graph.left[p]): p, int(graph.top[p]): p}
    logits = np.zeros((len(graph.out), n, steps))
    for p in range(n):
        sources = [(int(s[p]), f.c[p] * w[p]) for s, w in ((graph.left, f.wl), (graph.top, f.wt)) if s[p] < n]
        reach = np.unique(np.concatenate([origins[s] for s, _ in sources])) if sources else np.zeros(0, int)
        here = np.zeros((steps, len(reach) + 1, steps))
        for s, k in sources:
            here[:, np.searchsorted(reach, origins[s])] += k * carried[s]
        drive, total = np.zeros((len(reach), steps)), np.zeros(steps)
        for t in range(steps):
            drive = (1 - f.c[p]) * drive + here[t, :-1]
            total[t] = np.vdot(np.abs(drive), size[reach]) * SLACK
            here[t, :-1] = drive * f.d[t, p]
        off = total + local[:, p]
        own = f.d[:, p] * local[:, p] + table[:, p] + np.minimum(CURVATURE * off**2, off)
        error[:, p] = f.d[:, p] * total + own
        size[p] = own
        here[:, -1] = np.eye(steps)
        carried[p], origins[p] = here, np.append(reach, p)
        for j in np.flatnonzero(graph.out == p):
            logits[j, origins[p]] = here.sum(0)
        for s, _ in sources:
            if last[s] == p:
                carried.pop(s, None)  # it may be both
    return error, SLACK * np.array([(np.abs(logit - logits) * size).sum((1, 2)) for logit in logits])


def forward(graph: Graph, params: Array, x: Array, label: int, cool: int) -> Forward:
    """params: what the masters stand for, (cells, 4); x: exact inputs, (steps, inputs), without the ports' gains."""
    n, steps = graph.cells, len(x)
    log_tau, wl, wt, b = np.ascontiguousarray(params.T)
    c, da = -np.expm1(-np.exp(-log_tau)), np.exp(-log_tau - np.exp(-log_tau))
    unit = 2.0**graph.gain
    rows = np.zeros((steps, graph.rows))
    rows[:, graph.null + 1 :] = x
    left, top = np.zeros((2, steps, n))
    for p in range(n):
        left[:, p] = rows[:, graph.left[p]] * (unit[0, p] if graph.left[p] > graph.null else 1)
        top[:, p] = rows[:, graph.top[p]] * (unit[1, p] if graph.top[p] > graph.null else 1)
        u = wl[p] * left[:, p] + wt[p] * top[:, p]
        rows[:, p] = np.tanh(leaky(c[p], c[p] * u) + b[p])
    y = rows[:, :n]
    e_left, e_top = leaky(c, c * left), leaky(c, c * top)
    # In the cell itself: reading e, the operands, the drive's rounding to nearest, the bias. Pixels are rounded down.
    inputs = [(v > 0) * Y * unit[k] * (s > graph.null) for k, v, s in ((0, left, graph.left), (1, top, graph.top))]
    readings = [reading_error(c, DC, v, inputs[k], e, Y * unit[k]) for k, v, e in ((0, left, e_left), (1, top, e_top))]
    local = (np.abs(wl) + DW) * readings[0] + DW * np.abs(e_left) + (np.abs(wt) + DW) * readings[1] + DW * np.abs(e_top)
    local += Y * (0.5 + 2.0**-8) * ((e_left != 0) | (e_top != 0)) + Y / 2 * (b != 0)
    table = TANH * (wl * e_left + wt * e_top + b != 0)
    unknown = np.zeros(0)  # as yet
    found = Forward(c, da, wl, wt, (left, top), (e_left, e_top), y, 1 - y * y, (unknown, unknown), unknown,
                    (readings[0], readings[1]), unknown, unknown)  # fmt: skip
    dy, d_logits = outputs_error(graph, found, local, table)
    dy = np.minimum(dy, 2)
    found.dd = np.minimum(2 * np.abs(y) * dy + dy**2 + Y / 2 * (np.abs(y) + dy > 0), 1)
    every = np.concatenate([dy, np.zeros((steps, graph.rows - n))], 1)
    found.dx = inputs[0] + every[:, graph.left], inputs[1] + every[:, graph.top]
    found.delta, found.d_delta = softmax_error(y[:, graph.out].sum(0), d_logits, label, cool)
    return found


def softmax_error(z: Array, d_differences: Array, label: int, cool: int) -> tuple[Array, Array]:
    """delta and the error of delta, given that of the logits' differences.

    p_j = 1 / sum over k of exp(z_k - z_j); the engine's own error is derived in test_kernels.py.
    """
    differences = (z[None, :] - z[:, None]) / 2.0**cool
    p, low, high = (1 / np.exp(differences + sign * d_differences / 2.0**cool).sum(1) for sign in (0, 1, -1))
    d_delta = (np.maximum(high - p, p - low) + (1056 if cool else 800) * high * LAM) / 2.0**cool + 2 * LAM
    d_delta[label] = np.delete(d_delta, label).sum()
    return (p - np.eye(len(z))[label]) / 2.0**cool, d_delta


@dataclass
class Hearers:
    """Who hears a cell on the left (cells), and on the top (cells or readouts); the last column stands for nobody."""

    right: Array
    below: Array
    w: tuple[Array, Array]  # weights at which they do, of readouts 1
    c: tuple[Array, Array]
    dw: tuple[Array, Array]  # errors of operands; readouts have none
    dc: tuple[Array, Array]


def hearers(graph: Graph, f: Forward) -> Hearers:
    n, outs = graph.cells, len(graph.out)
    nobody = n + outs
    right, below = (np.where(x < 0, nobody, x) for x in graph.listeners)
    below[graph.out] = n + np.arange(outs)

    def of(cells: Array, readouts: float) -> Array:
        return np.concatenate([cells, np.full(outs, readouts), [0.0]])

    w, c, dw, dc = (of(f.wl, 1), of(f.wt, 1)), of(f.c, 1), of(np.full(n, DW), 0), of(np.full(n, DC), 0)
    return Hearers(right, below, (w[0][right], w[1][below]), (c[right], c[below]), (dw[right], dw[below]),
                   (dc[right], dc[below]))  # fmt: skip


def messages(graph: Graph, f: Forward, to: Hearers) -> tuple[Array, Array]:
    """lam of SnAP-1 and its error, (steps, cells + readouts + 1).

    size[:, q] is the error that originates in cell or readout q, carried[p][:, q] what it does, times that, to lam of
    cell p; both for every time step.
    """
    steps, n = f.d.shape
    k = [w * c for w, c in zip(to.w, to.c, strict=True)]
    dk = [dc * (np.abs(w) + dw) + c * dw + W / 2 * (dc > 0)
          for w, c, dw, dc in zip(to.w, to.c, to.dw, to.dc, strict=True)]  # fmt: skip
    lam, error, size = np.zeros((3, steps, n + len(graph.out) + 1))
    carried = np.zeros((n + len(graph.out) + 1, steps, n + len(graph.out) + 1))
    lam[:, n:-1], error[:, n:-1] = f.delta, f.d_delta
    size[:, n:-1] = f.d_delta
    for j in range(n, n + len(graph.out)):
        carried[j, :, j] = 1
    for p in range(n - 1, -1, -1):
        r, s = to.right[p], to.below[p]
        carried[p] = k[0][p] * carried[r] + k[1][p] * carried[s]
        m = k[0][p] * lam[:, r] + k[1][p] * lam[:, s]
        total = (np.abs(carried[p]) * size).sum(1)
        carried[p] *= f.d[:, [p]]
        local = dk[0][p] * (np.abs(lam[:, r]) + error[:, r]) + dk[1][p] * (np.abs(lam[:, s]) + error[:, s])
        local += MESSAGE / 2
        own = f.d[:, p] * local + f.dd[:, p] * (np.abs(m) + total + local) + LAM / 2
        lam[:, p], error[:, p], size[:, p] = f.d[:, p] * m, f.d[:, p] * total + own, own
        carried[p, :, p] = 1
    return lam, error


def futures(graph: Graph, f: Forward, to: Hearers) -> tuple[Array, Array, Array, Array]:
    """nu of the exact rule and its error, (steps, cells + readouts + 1); lam of the cells and its error.

    size[q, s] is the error of nu that originates in q at time s, and carried[p][t, a, s] what it does, times that, to
    nu(t) of cell p, for q = origins[p][a].
    """
    steps, n = f.d.shape
    nu, error = np.zeros((2, steps, n + len(graph.out) + 1))
    lam, d_lam = np.zeros((2, steps, n))
    size = np.zeros((n + len(graph.out), steps))
    nu[:, n:-1], error[:, n:-1] = f.delta, f.d_delta + COARSE * LAM / 2
    origins: dict[int, Array] = {n + len(graph.out): np.zeros(0, int)}
    carried: dict[int, Array] = {n + len(graph.out): np.zeros((steps, 0, steps))}
    for j in range(n, n + len(graph.out)):
        size[j, 0] = error[0, j]  # one error for all times
        origins[j], carried[j] = np.array([j]), np.zeros((steps, 1, steps))
        carried[j][:, 0, 0] = 1
    first: dict[int, int] = {}
    for p in range(n - 1, -1, -1):
        first |= {int(to.right[p]): p, int(to.below[p]): p}
    for p in range(n - 1, -1, -1):
        r, s = int(to.right[p]), int(to.below[p])
        reach = np.unique(np.concatenate([origins[r], origins[s]]))
        arrived = np.zeros((steps, len(reach), steps))
        for q, w in ((r, to.w[0][p]), (s, to.w[1][p])):
            arrived[:, np.searchsorted(reach, origins[q])] += w * carried[q]
        m = to.w[0][p] * nu[:, r] + to.w[1][p] * nu[:, s]
        total = np.einsum("tas,as->t", np.abs(arrived), size[reach]) * SLACK
        local = to.dw[0][p] * (np.abs(nu[:, r]) + error[:, r]) + to.dw[1][p] * (np.abs(nu[:, s]) + error[:, s])
        local += COARSE * MESSAGE / 2
        own = f.d[:, p] * local + f.dd[:, p] * (np.abs(m) + total + local) + COARSE * LAM / 2
        lam[:, p], d_lam[:, p] = f.d[:, p] * m, f.d[:, p] * total + own
        nu[:, p] = leaky(f.c[p], f.c[p] * lam[::-1, p])[::-1]
        ahead = np.append(nu[1:, p], 0)
        size[p] = f.c[p] * own + COARSE * LAM / 2 + DC * (np.abs(lam[:, p] - ahead) + d_lam[:, p])
        arrived *= f.c[p] * f.d[:, p, None, None]
        for t in range(steps - 2, -1, -1):
            arrived[t] += (1 - f.c[p]) * arrived[t + 1]
        at = np.arange(steps)
        mine = np.tril((1 - f.c[p]) ** np.maximum(at[:, None] - at, 0)).T  # [t, s]: of s >= t
        for q in (r, s):
            if first.get(q) == p:
                carried.pop(q, None)  # neither of its sources is left
        origins[p] = np.concatenate([[p], reach])
        carried[p] = np.concatenate([mine[:, None], arrived], 1)
        error[:, p] = np.einsum("tas,as->t", np.abs(carried[p]), size[origins[p]]) * SLACK
    return nu, error, lam, d_lam


def room(graph: Graph, f: Forward) -> Array:
    """2**fine, (cells,)."""
    lag = 2.0 ** (graph.gain[0] - graph.gain[1])
    taken = np.rint(np.abs(f.wl) / W) + np.floor(np.rint(np.abs(f.wt) / W) / lag)
    return 2.0 ** np.clip(np.floor(np.log2(65536 / np.maximum(taken, 1))), 0, 4)


def drive_error(graph: Graph, f: Forward, lsb: Array, response: Array) -> tuple[Array, Array, Array]:
    """The drive u - s_old; its own error, rounded to nearest; and that of its inputs, by this response to them."""
    x = [v - before(e) for v, e in zip(f.x, f.e, strict=True)]
    drive = f.wl * x[0] + f.wt * x[1]
    own = sum((np.abs(w) + DW) * before(reading) + DW * np.abs(v)
              for w, reading, v in zip((f.wl, f.wt), f.local, x, strict=True))  # fmt: skip
    own = own + lsb / 2 + 2.0 ** graph.gain[0] * 2.0**-24  # the products at Q25 before that
    heard = SLACK * (np.abs(f.wl) * f.dx[0] + np.abs(f.wt) * f.dx[1])
    passed = np.array([(response[: t + 1] * heard[t::-1]).sum(0) for t in range(len(heard))])
    return drive, own, passed


def length(highest: Array, lsb: float) -> Array:
    """Bits of the largest of some integers, one at least."""
    return np.floor(np.log2(np.maximum(np.floor(highest / lsb), 1))) + 1


def lost_bits(highest: Array, lsb: float, steps: int) -> Array:
    """How many the messages of a row lose as factors, the largest of them being this."""
    return np.maximum(length(highest, lsb) - (16 - steps.bit_length()), 0)


def snap1(graph: Graph, f: Forward) -> tuple[Array, Array]:
    """dL/d(l, wL, wT, b) by SnAP-1 and the bound, both (cells, 4)."""
    steps, n = f.d.shape
    to = hearers(graph, f)
    lam, d_lam = messages(graph, f, to)
    unit = 2.0**graph.gain
    # Self traces. An error of the inputs passes the filter from y to eta, by its impulse response; others are local.
    lsb = unit[0] * ETA / room(graph, f)
    impulse = np.zeros((steps, n))
    impulse[0] = 1
    response = np.abs(leaky(f.c, -f.da * (impulse - before(leaky(f.c, f.c * impulse)))))
    drive, own, passed = drive_error(graph, f, lsb, response)
    eta = leaky(f.c, -f.da * drive)
    d_eta = leaky(f.c - DC, (f.c + DC) * lsb / 2 + DC * np.abs(before(eta)) + (f.da + DDA) * own + DDA * np.abs(drive))
    d_eta = (d_eta + passed + lsb / 2) * np.logical_or.accumulate(np.abs(drive) + sum(f.dx) > 0)
    de = [reading_error(f.c, DC, f.x[k], f.dx[k], f.e[k], Y * unit[k]) for k in (0, 1)]

    # What a parameter does to y: d f, with f = eta, eL, eT, 1.
    largest = np.minimum(f.d + f.dd, 1)
    what = (f.d * eta, f.d * f.e[0], f.d * f.e[1], f.d)
    errors = (
        largest * d_eta + np.abs(eta) * f.dd + lsb * (d_eta > 0),
        *(largest * de[k] + np.abs(f.e[k]) * f.dd + Y * unit[k] * (de[k] > 0) for k in (0, 1)),
        f.dd,
    )
    lsbs = (2 * lsb, Y * unit[0], Y * unit[1], Y)

    # Cross traces and gradient. Messages keep the leading bits of the row's largest.
    found, bound, exponents = np.zeros((4, n)), np.zeros((4, n)), []
    for place, w, c, dw, dc in zip((to.right, to.below), to.w, to.c, to.dw, to.dc, strict=True):
        message, d_message = lam[:, place], d_lam[:, place]
        exponent = lost_bits((np.abs(message) + d_message).max(0), LAM, steps)
        exponents.append(exponent)
        d_message = d_message + LAM / 2 * 2**exponent * (exponent > 0)
        for q in range(4):
            trace = leaky(c, c * what[q])
            d_trace = reading_error(c, dc, what[q], errors[q], trace, lsbs[q])
            total = (message * trace).sum(0)
            d_total = (np.abs(message) * d_trace + (np.abs(trace) + d_trace) * d_message).sum(0)
            found[q] += w * total
            bound[q] += (np.abs(w) + dw) * d_total + dw * np.abs(total)
    word = 2.0 ** (np.maximum(*exponents) - 32)  # both shares are rounded down to it; that of l once more, to 16 of it
    bound += word * np.array([3 * 16 * unit[0], 2 * unit[0], 2 * unit[1], 2 * np.ones(n)])
    return found.T, bound.T


def exact(graph: Graph, f: Forward) -> tuple[Array, Array]:
    """The exact gradient and the bound, both (cells, 4)."""
    steps, n = f.d.shape
    nu, d_nu, lam, d_lam = futures(graph, f, hearers(graph, f))
    nu, d_nu = nu[:, :n], d_nu[:, :n]
    unit = 2.0**graph.gain
    lsb = COARSE * LAM
    lost = lost_bits((np.abs(nu) + d_nu).max(0), lsb, steps)
    d_factor = d_nu + lsb / 2 * 2**lost * (lost > 0)
    found, bound = np.zeros((4, n)), np.zeros((4, n))
    for k in (0, 1):
        found[1 + k] = (nu * f.x[k]).sum(0)
        bound[1 + k] = (np.abs(nu) * f.dx[k] + (np.abs(f.x[k]) + f.dx[k]) * d_factor).sum(0)
    found[3], bound[3] = lam.sum(0), d_lam.sum(0)
    # dL/dl: nu times the drive, a sum that (da/dl) / c is multiplied with, 14 bits of it.
    impulse = np.zeros((steps, n))
    impulse[0] = 1
    response = np.abs(impulse - before(leaky(f.c, f.c * impulse)))
    drive, own, passed = drive_error(graph, f, unit[0] * ETA * 4 / room(graph, f), response)
    off = own + passed
    total, d_total = (nu * drive).sum(0), (np.abs(nu) * off + (np.abs(drive) + off) * d_factor).sum(0)
    ratio = f.da / f.c
    d_ratio = (DDA + ratio * DC) / (f.c - DC) + 2.0**-14
    found[0], bound[0] = -ratio * total, ratio * d_total + d_ratio * (np.abs(total) + d_total)
    # The exponent has room for the sum of lam, of which it drops 19 bits, and for the factors.
    word = 2.0 ** (np.maximum(lost, length((np.abs(found[3]) + bound[3]) / 2.0**19, lsb)) + 4 - 32)
    bound += word * np.array([2 * 16 * unit[0], unit[0], unit[1], np.ones(n)])
    return found.T, bound.T


def gradient(graph: Graph, rule: str, params: Array, x: Array, label: int, cool: int = 0) -> tuple[Array, Array]:
    """dL/d(l, wL, wT, b) of one image and the bound, both (cells, 4); arguments as of forward()."""
    return {"snap1": snap1, "exact": exact}[rule](graph, forward(graph, params, x, label, cool))
