"""What the exact rule, the diagonal network and shorter words compute beside that, by fxpmath."""

from typing import Any

import numpy as np
from fxpmath import Fxp

from tools.vectors.cell_operations import (
    CHANGE,
    COEFFICIENT,
    DERIVATIVE,
    FINE,
    LAG,
    READ,
    SLOPE,
    SUM,
    WEIGHT,
    Ints,
    changes,
    down,
    exact,
    fits,
    signal,
)
from tools.vectors.fixed import clipped, each, floor, longer, nearest, of, raw, saturated, shifted_up, truncated
from tools.vectors.operations import Operand, number, operation, ties
from tools.vectors.signals import count

LIMIT = (1 << 28) - 1
C_POSITIVE = Operand(COEFFICIENT.signal, (2, 3, 285, 12055), 1, 1 << 15)
EXACT_MESSAGE = Operand(exact("message of the exact rule", 11, 18), ties(15), -(1 << 28), LIMIT)


def below_c(da: Ints, c: Ints) -> Any:
    """As the tables have it."""
    return da <= c


# The exact rule


@operation(signal("delta of the exact rule", 11, 18),
           delta=Operand(exact("delta", 7, 22), ties(4), -(1 << 23), 1 << 23))  # fmt: skip
def exact_delta(delta: Ints) -> Fxp:
    return nearest(of(delta, 22), 18)


@operation(signal("nu of this step", 11, 18), nu=EXACT_MESSAGE, message=EXACT_MESSAGE, c=COEFFICIENT)
def exact_nu(nu: Ints, message: Ints, c: Ints) -> Fxp:
    later = of(nu, 18)
    return later + nearest(of(c, 15) * (of(message, 18) - later), 18)


@operation(signal("u - s_old, fine bits more", 7, 9), fits,
           wl=WEIGHT, wt=WEIGHT, left=CHANGE, top=CHANGE, lag=LAG, fine=FINE)  # fmt: skip
def exact_drive(wl: Ints, wt: Ints, left: Ints, top: Ints, lag: int, fine: int) -> Fxp:
    return nearest(changes(wl, wt, left, top, lag), 9 + fine)


@operation(down("(da/dl) / c", 1, 14), below_c, da=DERIVATIVE, c=C_POSITIVE)
def exact_ratio(da: Ints, c: Ints) -> Fxp:
    return of(raw(shifted_up(of(da), 14) // of(c)), 14)


@operation(down("gradient of l", 30, 0),
           total=SUM, ratio=Operand(exact("(da/dl) / c", 1, 14), (), 0, 1 << 14),
           shift=number("fine + 3 + more", (3, 4, 7, 12, 30)))  # fmt: skip
def exact_gradient_l(total: Ints, ratio: Ints, shift: int) -> Fxp:
    return floor(shifted_up(of(0) - floor(of(total) * of(ratio, 14), 0), -shift), 0)


@operation(down("gradient of wL or wT", 30, 0), total=SUM, shift=number("more + 4", (4, 5, 9, 23)))
def exact_gradient_w(total: Ints, shift: int) -> Fxp:
    return floor(shifted_up(of(total), -shift), 0)


@operation(down("gradient of b", 30, 0),
           lambda total, exponent: np.abs(total >> 14) >> 5 < 1 << exponent,
           total=Operand(exact("sum of lam over time", 38, 0), ties(12)),
           exponent=number("exponent, less 4", (0, 1, 9, 10, 11, 19)))  # fmt: skip
def exact_gradient_b(total: Ints, exponent: int) -> Fxp:
    return floor(shifted_up(of(total), 10 - exponent), 0)


# The diagonal network


@operation(signal("(da/dl) / c", 1, 10), below_c, da=DERIVATIVE, c=C_POSITIVE)
def unit_ratio(da: Ints, c: Ints) -> Fxp:
    return of(raw((shifted_up(of(da), 10) + floor(of(c, 1), 0)) // of(c)), 10)


@operation(down("summand of the drive", 4, 20), e=READ, w=WEIGHT)
def unit_product(e: Ints, w: Ints) -> Fxp:
    return floor(of(e, 14) * of(w, 12), 20)


@operation(signal("s", 4, 14, "at 16.0"),
           drive=Operand(exact("sum of products, in units of 2^gain", 9, 20), (*ties(6), *ties(2), 1 << 24, 1 << 22)),
           gain=number("gain", range(5)))  # fmt: skip
def unit_s(drive: Ints, gain: int) -> Fxp:
    return saturated(nearest(shifted_up(of(drive, 20), gain), 14), 19)


@operation(signal("d as a factor, in units of 2^narrow", 1, 14), d=SLOPE, narrow=number("narrow", range(9)))
def unit_factor(d: Ints, narrow: int) -> Fxp:
    return nearest(shifted_up(of(d), -narrow), 0)


def _eta_stays(accumulator: Ints, c: Ints, change: Ints, ratio: Ints) -> Any:
    return np.abs(accumulator - c * (accumulator >> 15) - change * ratio) < 1 << 30


@operation(exact("accumulator of eta after the step", 6, 24), _eta_stays,
           accumulator=Operand(exact("accumulator of eta", 6, 24), ties(15), -(1 << 29), 1 << 29), c=COEFFICIENT,
           change=Operand(exact("s - s_old", 5, 14), (), -(1 << 19) + 1, (1 << 19) - 1),
           ratio=Operand(exact("(da/dl) / c", 1, 10), (), 0, 1 << 10))  # fmt: skip
def unit_eta(accumulator: Ints, c: Ints, change: Ints, ratio: Ints) -> Fxp:
    kept = of(accumulator, 24)
    return kept - (of(c, 15) * floor(kept, 9) + of(change, 14) * of(ratio, 10))


@operation(signal("sum with one product more", 14, 14, "at 2^14 - 2^-14, after every product"),
           total=Operand(exact("sum so far", 14, 14), (), -LIMIT, LIMIT),
           a=Operand(exact("sum of y (or delta)", 11, 14), ties(12), -(1 << 24), 1 << 24), w=WEIGHT)  # fmt: skip
def scalar_product(total: Ints, a: Ints, w: Ints) -> Fxp:
    most = of(np.full(len(total), LIMIT), 14)
    return clipped(of(total, 14) + nearest(of(a, 14) * of(w, 12), 14), of(-raw(most), 14), most)


def _shortened(x: Ints, most: int) -> tuple[Ints, Ints]:
    """x to nearest, by as few bits less as bring it to the length of `most`; and how many these are."""
    lost = longer(of(x), most)
    return each(lost, lambda bits, values: nearest(shifted_up(of(values), -bits), 0), x), lost


@operation({"expected": signal("message times multiplier", 15, 0), "lost": count("bits lost on the way", 5)},
           message=Operand(exact("message or delta", 29, 0), (32767, 32768, -32767, -32768, 65535, *ties(4)), -LIMIT,
                           LIMIT),
           multiplier=Operand(count("multiplier", 15), (16383, 16384)))  # fmt: skip
def unit_message(message: Ints, multiplier: Ints) -> tuple[Fxp, Ints]:
    short, first = _shortened(message, 32767)
    found, second = _shortened(raw(of(short) * of(multiplier)), 16383)
    return of(found), first + second


@operation(down("sum times message times multiplier", 30, 0),
           total=SUM, message=Operand(exact("message times multiplier", 15, 0), (), -(1 << 14), 1 << 14))  # fmt: skip
def unit_rated(total: Ints, message: Ints) -> Fxp:
    return floor(of(total) * of(message, 15), 0)


# Shorter words

ROUNDINGS = (floor, nearest, truncated)  # by the numbers of the operand


@operation(exact("value, in a word of `cut` bits less", 31, 0),
           value=Operand(exact("an integer", 30, 0), (*ties(1), *ties(5), *ties(12))),
           cut=number("bits cut off", (0, 1, 5, 12, 20)),
           how=number("0 floor, 1 nearest, 2 zero", range(3)))  # fmt: skip
def word(value: Ints, cut: int, how: int) -> Fxp:
    return floor(shifted_up(ROUNDINGS[how](shifted_up(of(value), -cut), 0), cut), 0)


OPERATIONS = (
    exact_delta, exact_nu, exact_drive, exact_ratio, exact_gradient_l, exact_gradient_w, exact_gradient_b, unit_ratio,
    unit_product, unit_s, unit_factor, unit_eta, scalar_product, unit_message, unit_rated, word,
)  # fmt: skip
