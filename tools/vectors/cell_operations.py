"""What two-input cells compute, and the softmax: every rounding, saturation and look-up, by fxpmath."""

from typing import Any

import numpy as np
from fxpmath import Fxp

from fixedpoint.network import L_HIGHEST, L_LOWEST, MAX_SCALE, W_HIGHEST
from fixedpoint.tables import DA, EXP, TANH, C
from tools.vectors.fixed import clipped, each, floor, longer, looked_up, nearest, of, raw, saturated, shifted_up
from tools.vectors.operations import Operand, number, operation, ties
from tools.vectors.signals import TIES_UP, Signal, count

Ints = np.ndarray  # a case each
ONE, W, C_ONE = 1 << 14, 32767, 1 << 15
LONGEST_STEP = (1 << 29) - 1


def signal(about: str, integer: int, fraction: int, saturation: str = "none") -> Signal:
    return Signal(about, integer, fraction, rounding=TIES_UP, saturation=saturation)


def down(about: str, integer: int, fraction: int) -> Signal:
    return Signal(about, integer, fraction, rounding="floor")


def exact(about: str, integer: int, fraction: int) -> Signal:
    return Signal(about, integer, fraction)


MASTER = Operand(exact("parameter", 3, 26), (*ties(14), *ties(12)), -W_HIGHEST, W_HIGHEST)
BETWEEN = (-160432128, -146276352, -175112192, -163053568)  # c, c, da/dl, da/dl half way between two results
LOG_TAU = Operand(exact("l", 3, 26), (*(k << 21 for k in range(-64, 64, 9)), *ties(10), *BETWEEN), L_LOWEST, L_HIGHEST)
HALF_WAY = (640, 8128, 81792)  # arguments of a tanh half way between two results
COEFFICIENT = Operand(exact("c", 1, 15), (C_ONE >> 1, 285), 0, C_ONE)
DERIVATIVE = Operand(exact("da/dl", 1, 15), (), 0, 12055)
WEIGHT = Operand(exact("wL or wT", 4, 12), (1 << 12, -1 << 12), -W, W)
BIAS = Operand(exact("b", 3, 14), (), -131068, 131068)
VALUE = Operand(exact("input or output", 1, 14), (), -ONE, ONE)
READ = Operand(exact("filtered input, as it is read", 1, 14), (), -ONE, ONE)
CHANGE = Operand(exact("input less filtered input", 2, 14), (), -32766, 32766)
SLOPE = Operand(exact("d", 1, 14), (2, ONE >> 1), 0, ONE)
MESSAGE = Operand(exact("message", 7, 22), ties(14), -(1 << 28), (1 << 28) - 1)
SUM = Operand(exact("an integer", 30, 0), ties(15))
FINE, GAINS = number("fine", range(5)), number("gain", range(5))
LAG = number("lag", range(5))


def fits(wl: Ints, wt: Ints, lag: Ints, fine: Ints, **others: Ints) -> Any:
    """The weights leave room for so many bits more."""
    return (np.abs(wl) + (np.abs(wt) >> lag)) << fine <= 65536


# Parameters to operands, once an image


@operation(signal("operand of a weight", 4, 12), master=MASTER)
def weight(master: Ints) -> Fxp:
    return nearest(of(master, 26), 12)


@operation(signal("operand of b", 3, 14), master=MASTER)
def bias(master: Ints) -> Fxp:
    return nearest(of(master, 26), 14)


def _of_l(log_tau: Ints) -> Fxp:
    """The place of l in tables of steps of 1/32."""
    return floor(shifted_up(of(log_tau, 26) + of(4), 5), 12)


@operation(signal("c(l)", 1, 15), log_tau=LOG_TAU)
def coefficient(log_tau: Ints) -> Fxp:
    return looked_up(C, 15, _of_l(log_tau))


@operation(signal("da/dl", 1, 15), log_tau=LOG_TAU)
def derivative(log_tau: Ints) -> Fxp:
    return looked_up(DA, 15, _of_l(log_tau))


@operation(signal("k = c w", 4, 12), c=COEFFICIENT, w=WEIGHT)
def coupling(c: Ints, w: Ints) -> Fxp:
    return nearest(of(c, 15) * of(w, 12), 12)


# Forward


@operation(
    down("input", 1, 14),
    pixel=Operand(count("pixel", 8)),
    scale=Operand(count("scale", 13), (64, 2570, 2673, 3084), 1, MAX_SCALE),
)
def feed(pixel: Ints, scale: Ints) -> Fxp:
    return floor(of(pixel) * of(scale, 20), 14)


ACCUMULATOR = Operand(exact("accumulator", 1, 29), (1 << 14, *ties(15)), -(ONE << 15), (ONE << 15) + C_ONE - 1)


@operation(exact("accumulator after the step", 1, 29), accumulator=ACCUMULATOR, c=COEFFICIENT, x=VALUE)
def leaky(accumulator: Ints, c: Ints, x: Ints) -> Fxp:
    kept = of(accumulator, 29)
    return kept + of(c, 15) * (of(x, 14) - floor(kept, 14))


@operation(
    signal("s + b", 9, 14), lambda gain, lag, **others: (lag == 0) | (lag == gain),
    el=READ, et=READ, wl=WEIGHT, wt=WEIGHT, b=BIAS, gain=GAINS, lag=LAG,
)  # fmt: skip
def drive(el: Ints, et: Ints, wl: Ints, wt: Ints, b: Ints, gain: int, lag: int) -> Fxp:
    of_left = of(wl, 12) * of(el, 14)
    of_top = floor(shifted_up(of(wt, 12) * of(et, 14), -lag), 26)
    return nearest(shifted_up(of_left + of_top, gain), 14) + of(b, 14)


@operation(
    signal("y = tanh(s + b)", 1, 14, "the argument, at 8 - 2^-14"),
    drive=Operand(
        exact("s + b", 9, 14),
        (131071, 131072, -131071, -131072, 128, 127, -128, *range(-900, 900, 111), *HALF_WAY, *(-x for x in HALF_WAY)),
    ),
)
def squash(drive: Ints) -> Fxp:
    size = looked_up(TANH, 14, shifted_up(saturated(abs(of(drive, 14)), 18), 6))
    return size * of(np.where(drive < 0, -1, 1))


@operation(signal("d = 1 - y^2", 1, 14), y=Operand(exact("y", 1, 14), (128, 8192, 11585), -ONE, ONE))
def slope(y: Ints) -> Fxp:
    return of(1) - nearest(of(y, 14) * of(y, 14), 14)


# Traces


def changes(wl: Ints, wt: Ints, left: Ints, top: Ints, lag: int) -> Fxp:
    """u - s_old, Q25."""
    of_left = floor(of(wl, 12) * of(left, 14), 25)
    return of_left + floor(shifted_up(of(wt, 12) * of(top, 14), -lag), 25)


@operation(signal("u - s_old, fine bits more", 6, 11), fits,
           wl=WEIGHT, wt=WEIGHT, left=CHANGE, top=CHANGE, lag=LAG, fine=FINE)  # fmt: skip
def eta_drive(wl: Ints, wt: Ints, left: Ints, top: Ints, lag: int, fine: int) -> Fxp:
    return nearest(changes(wl, wt, left, top, lag), 11 + fine)


def _eta_stays(accumulator: Ints, c: Ints, da: Ints, drive: Ints) -> Any:
    return (da <= c) & (np.abs(accumulator - c * (accumulator >> 15) - da * drive) < 24250 << 15)


@operation(
    exact("accumulator of eta after the step", 4, 26), _eta_stays,
    accumulator=Operand(exact("accumulator of eta", 4, 26), ties(15), -(24250 << 15), 24250 << 15),
    c=COEFFICIENT, da=DERIVATIVE, drive=Operand(exact("u - s_old", 6, 11), (), -65552, 65552),
)  # fmt: skip
def eta(accumulator: Ints, c: Ints, da: Ints, drive: Ints) -> Fxp:
    kept = of(accumulator, 26)
    return kept - (of(c, 15) * floor(kept, 11) + of(da, 15) * of(drive, 11))


@operation(signal("d eta", 5, 10), d=SLOPE, eta=Operand(exact("eta, as it is read", 4, 11), (), -24250, 24250))
def cross_l(d: Ints, eta: Ints) -> Fxp:
    return nearest(of(d, 14) * of(eta, 11), 10)


@operation(down("d e", 1, 14), d=SLOPE, e=READ)
def cross_w(d: Ints, e: Ints) -> Fxp:
    return floor(of(d, 14) * of(e, 14), 14)


# Messages and sums

COUPLING = Operand(exact("k", 4, 12), (1 << 12, -1 << 12), -W, W)


@operation(signal("m", 6, 20, "at 64.0"), k_right=COUPLING, right=MESSAGE, k_below=COUPLING, below=MESSAGE)
def message_sum(k_right: Ints, right: Ints, k_below: Ints, below: Ints) -> Fxp:
    return saturated(nearest(of(k_right, 12) * of(right, 22) + of(k_below, 12) * of(below, 22), 20), 27)


@operation(signal("lam = m d", 7, 22), m=Operand(exact("m", 6, 20), ties(12)), d=SLOPE)
def message(m: Ints, d: Ints) -> Fxp:
    return nearest(of(m, 20) * of(d, 14), 22)


LOST = number("bits lost", (0, 1, 2, 7, 11, 15, 19, 23))


@operation(signal("the message as a factor", 16, 0), lambda message, lost: np.abs(message) >> lost < C_ONE,
           message=Operand(exact("message", 29, 0), (*ties(1), *ties(7), *ties(19)), -(1 << 28), (1 << 28) - 1),
           lost=LOST)  # fmt: skip
def factor(message: Ints, lost: int) -> Fxp:
    return nearest(shifted_up(of(message), -lost), 0)


SHIFT = number("1, and bits by which the exponent is below the shared one", (1, 2, 3, 9, 24))


@operation(down("gradient", 30, 0),
           lambda shift_right, shift_below, **others: np.minimum(shift_right, shift_below) == 1,
           sum_right=SUM, w_right=WEIGHT, shift_right=SHIFT, sum_below=SUM, w_below=WEIGHT, shift_below=SHIFT,
           fine=FINE)  # fmt: skip
def gradient(
    sum_right: Ints, w_right: Ints, shift_right: int, sum_below: Ints, w_below: Ints, shift_below: int, fine: int
) -> Fxp:
    """Of l; of the others fine is 0."""
    of_right = floor(shifted_up(of(sum_right) * of(w_right, 15), -shift_right), 0)
    of_below = floor(shifted_up(of(sum_below) * of(w_below, 15), -shift_below), 0)
    return floor(shifted_up(of_right + of_below, -fine), 0)


# Update


@operation(down("gradient times multiplier", 30, 0), gradient=SUM, multiplier=Operand(count("multiplier", 15)))
def rated(gradient: Ints, multiplier: Ints) -> Fxp:
    return floor(of(gradient) * of(multiplier, 15), 0)


@operation(signal("step", 3, 26, "below 8.0, if shifted up"),
           value=Operand(exact("an integer", 30, 0),
                         (*ties(1), *ties(2), *ties(9), *ties(29), LONGEST_STEP, LONGEST_STEP >> 5)),
           down=number("bits to shift down; up, if negative", (-29, -20, -5, -1, 0, 1, 2, 9, 29, 31)))  # fmt: skip
def step(value: Ints, down: int) -> Fxp:
    if down > 0:
        return nearest(shifted_up(of(value), -down), 0)
    limit = floor(shifted_up(of(np.full(len(value), LONGEST_STEP)), down), 0)
    return of(raw(clipped(of(value), of(-raw(limit)), limit)) << -down)


@operation(exact("parameter after the step", 3, 26), lambda lowest, highest, **others: lowest <= highest,
           master=MASTER, step=Operand(exact("step", 3, 26)), lowest=Operand(exact("lowest", 3, 26), (-1 << 26,)),
           highest=Operand(exact("highest", 3, 26), (1 << 26,)))  # fmt: skip
def update(master: Ints, step: Ints, lowest: Ints, highest: Ints) -> Fxp:
    return clipped(of(master, 26) - of(step, 26), of(lowest, 26), of(highest, 26))


# Softmax

COOL = number("cool", range(5))
LOGIT = Operand(exact("logit", 14, 14), (ONE, -ONE, 262143, 262144), -(1 << 24), 1 << 24)


def _exponential(below: Fxp, cool: int) -> Fxp:
    x = floor(shifted_up(below, -cool), 14)
    e = looked_up(EXP, 23, shifted_up(x, 5))
    return of(np.where(x < of(16), raw(e), 0), 23)


@operation(
    signal("exp(-below / 2^cool), 0 from 16.0 on", 1, 23),
    below=Operand(count("by how much the logit is below the largest, 14 fraction bits", 29),
                  (262143, 262144, (262144 << 4) - 1, 262144 << 4, *range(0, 262144, 20011))),
    cool=COOL,
)  # fmt: skip
def exponential(below: Ints, cool: int) -> Fxp:
    return _exponential(of(below, 14), cool)


def _probability(e: Ints, total: Ints, cool: int) -> Fxp:
    """Long division by the leading 15 bits of the total."""

    def of_length(narrow: int, e: Ints, total: Ints) -> Fxp:
        leading = floor(shifted_up(of(total), -narrow), 0)
        share = shifted_up(of(e), 15) // leading
        return nearest(shifted_up(floor(share, 0), 7 - narrow - cool), 0)

    return of(each(longer(of(total), 32767), of_length, e, total), 22)


@operation(
    signal("e / total / 2^cool", 1, 22), lambda e, total, cool: e <= total,
    e=Operand(count("an exponential, 23 fraction bits", 24), (), 0, 1 << 23),
    total=Operand(count("sum of all, 23 fraction bits", 30), ((1 << 24) - 1, 1 << 24, 3 << 22), 1 << 23, 1 << 29),
    cool=COOL,
)  # fmt: skip
def probability(e: Ints, total: Ints, cool: int) -> Fxp:
    return _probability(e, total, cool)


@operation({f"expected_{j}": signal(f"delta of class {j}", 7, 22) for j in range(3)},
           z_0=LOGIT, z_1=LOGIT, z_2=LOGIT, label=number("right class", range(3)), cool=COOL)  # fmt: skip
def softmax(z_0: Ints, z_1: Ints, z_2: Ints, label: int, cool: int) -> tuple[Fxp, ...]:
    z = [of(values, 14) for values in (z_0, z_1, z_2)]
    top = of(np.maximum(np.maximum(z_0, z_1), z_2), 14)
    e = [_exponential(top - logit, cool) for logit in z]
    total = raw(e[0] + e[1] + e[2])
    p = [_probability(raw(values), total, cool) for values in e]
    others = [p[j] for j in range(3) if j != label]
    p[label] = of(0, 22) - (others[0] + others[1])
    return tuple(p)


OPERATIONS = (
    weight, bias, coefficient, derivative, coupling, feed, leaky, drive, squash, slope, eta_drive, eta, cross_l,
    cross_w, message_sum, message, factor, gradient, rated, step, update, exponential, probability, softmax,
)  # fmt: skip
