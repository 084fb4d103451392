"""The operations of the golden vectors: what fxpmath expects is what integers, and the kernels, make of it."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_bench import CELL, Bench, words

from fixedpoint import kernels, tables
from fixedpoint.tables import DA, EXP, C
from host.chip import arithmetic as chip
from host.chip.arithmetic import clip, floor, longer_by, looked_up, nearest
from tools.vectors import cell_operations, fixed, more_operations, operations
from tools.vectors.all_operations import OPERATIONS
from tools.vectors.fixed import nearest as rounded
from tools.vectors.fixed import of, raw

LIMIT = (1 << 28) - 1
BY_NAME = {operation.name: operation for operation in OPERATIONS}


def _change(wl: int, wt: int, left: int, top: int, lag: int) -> int:
    return floor(wl * left, 1) + floor(wt * top, 1 + lag)


def _share(e: int, total: int, cool: int) -> int:
    narrow = longer_by(total, 15)
    return nearest((e << 15) // (total >> narrow), narrow + cool - 7)


def _message(message: int, multiplier: int) -> tuple[int, int]:
    first = longer_by(message, 15)
    product = nearest(message, first) * multiplier
    second = longer_by(product, 14)
    return nearest(product, second), first + second


def _gradient(
    sum_right: int, w_right: int, shift_right: int, sum_below: int, w_below: int, shift_below: int, fine: int
) -> int:
    return (floor(sum_right * w_right, 15 + shift_right) + floor(sum_below * w_below, 15 + shift_below)) >> fine


# The same on Python's integers, as host.chip has it.
INTEGERS: dict[str, Callable[..., Any]] = {
    "weight": lambda master: nearest(master, 14),
    "bias": lambda master: nearest(master, 12),
    "coefficient": lambda log_tau: looked_up(C, (log_tau + (4 << 26)) >> 9, 12),
    "derivative": lambda log_tau: looked_up(DA, (log_tau + (4 << 26)) >> 9, 12),
    "coupling": lambda c, w: nearest(c * w, 15),
    "feed": lambda pixel, scale: floor(pixel * scale, 6),
    "leaky": lambda accumulator, c, x: accumulator + c * (x - (accumulator >> 15)),
    "drive": lambda el, et, wl, wt, b, gain, lag: nearest(wl * el + floor(wt * et, lag), 12 - gain) + b,
    "squash": lambda drive: chip.squashed(drive),
    "slope": lambda y: chip.slope(y),
    "eta_drive": lambda wl, wt, left, top, lag, fine: nearest(_change(wl, wt, left, top, lag), 14 - fine),
    "eta": lambda accumulator, c, da, drive: accumulator - (c * (accumulator >> 15) + da * drive),
    "cross_l": lambda d, eta: nearest(d * eta, 15),
    "cross_w": lambda d, e: floor(d * e, 14),
    "message_sum": lambda k_right, right, k_below, below: clip(
        nearest(k_right * right + k_below * below, 14), -(1 << 26), (1 << 26) - 1
    ),
    "message": lambda m, d: nearest(m * d, 12),
    "factor": lambda message, lost: nearest(message, lost),
    "gradient": _gradient,
    "rated": lambda gradient, multiplier: floor(gradient * multiplier, 15),
    "step": lambda value, down: chip.shifted(value, down),
    "update": lambda master, step, lowest, highest: clip(master - step, lowest, highest),
    "exponential": lambda below, cool: looked_up(EXP, below >> cool, 9) if below >> cool < 16 << 14 else 0,
    "probability": _share,
    "softmax": lambda z_0, z_1, z_2, label, cool: chip.softmax_error([z_0, z_1, z_2], label, cool),
    "exact_delta": lambda delta: nearest(delta, 4),
    "exact_nu": lambda nu, message, c: nu + nearest(c * (message - nu), 15),
    "exact_drive": lambda wl, wt, left, top, lag, fine: nearest(_change(wl, wt, left, top, lag), 16 - fine),
    "exact_ratio": lambda da, c: (da << 14) // c,
    "exact_gradient_l": lambda total, ratio, shift: floor(-floor(total * ratio, 14), shift),
    "exact_gradient_w": lambda total, shift: floor(total, shift),
    "exact_gradient_b": lambda total, exponent: (
        (floor(total, 14) << (24 - exponent)) + floor((total & 16383) << 10, exponent)
    ),
    "unit_ratio": lambda da, c: (da * 1024 + c // 2) // c,
    "unit_product": lambda e, w: floor(e * w, 6),
    "unit_s": lambda drive, gain: clip(nearest(drive, 6 - gain), -(1 << 18), (1 << 18) - 1),
    "unit_factor": lambda d, narrow: nearest(d, narrow),
    "unit_eta": lambda accumulator, c, change, ratio: accumulator - (c * (accumulator >> 15) + change * ratio),
    "scalar_product": lambda total, a, w: clip(total + nearest(a * w, 12), -LIMIT, LIMIT),
    "unit_message": _message,
    "unit_rated": lambda total, message: floor(total * message, 15),
    "word": lambda value, cut, how: chip.rounded_off(value, cut, ("floor", "nearest", "zero")[how]),
}


def test_of_the_engine_they_take_its_tables_and_bounds_only() -> None:
    taken = set()
    for module in (cell_operations, more_operations, operations, fixed):
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
            names = [alias.name for alias in getattr(node, "names", [])]
            at = node.module if isinstance(node, ast.ImportFrom) else None
            taken |= {f"{at}.{name}" if at else name for name in names if isinstance(node, ast.Import | ast.ImportFrom)}
    bounds = {f"fixedpoint.network.{name}" for name in ("L_HIGHEST", "L_LOWEST", "MAX_SCALE", "W_HIGHEST")}
    entries = {f"fixedpoint.tables.{name}" for name in ("C", "DA", "EXP", "TANH")}
    assert {name for name in taken if name.startswith(("fixedpoint", "host"))} == bounds | entries


def test_every_operation_has_its_integers_here() -> None:
    assert INTEGERS.keys() == BY_NAME.keys()


@pytest.mark.parametrize("name", INTEGERS)
def test_fxpmath_expects_what_integers_make_of_it(name: str) -> None:
    operation = BY_NAME[name]
    values = operation.table().values
    inputs = [values[part].tolist() for part in operation.inputs]
    expected = list(zip(*(values[part].tolist() for part in operation.expected), strict=True))
    found = [INTEGERS[name](*case) for case in zip(*inputs, strict=True)]
    assert [tuple(x) if isinstance(x, list | tuple) else (x,) for x in found] == expected
    assert 200 <= len(expected) <= 500
    for part, operand in operation.inputs.items():  # both ends, or all there are, are among the cases
        ends = operand.edges if operand.only else (values[part].min(), values[part].max())
        assert set(ends) <= set(values[part].tolist())


# And the kernels, where one of them can be driven alone.


def test_parameters_become_the_operands_that_the_kernel_makes() -> None:
    for name, field, place in (("weight", "wl", 1), ("weight", "wt", 2), ("bias", "b", 3), ("coefficient", "c", 0),
                               ("derivative", "da", 0)):  # fmt: skip
        values = BY_NAME[name].table().values
        masters = next(iter(values.values())).tolist()
        w, m = words(*[0] * (4 * len(masters))), words(*[0] * (CELL * len(masters)))
        for at, master in enumerate(masters):
            w[4 * at + place] = master
        kernels.derive(w, m, tables.C, tables.DA, len(masters))
        assert m[getattr(kernels, f"_{field.upper()}") :: CELL].tolist() == values["expected"].tolist()


def test_pixels_become_the_inputs_that_the_kernel_makes() -> None:
    values = BY_NAME["feed"].table().values
    for pixel, scale, expected in zip(*(values[name].tolist() for name in values), strict=True):
        h = words(0)
        kernels.feed(h, bytes([pixel]), 0, 1, 1, 0, 1, scale)
        assert h[0] == expected


def test_filters_and_outputs_are_those_of_the_kernel() -> None:
    values = BY_NAME["leaky"].table().values
    for accumulator, c, x, expected in zip(*(values[name].tolist() for name in values), strict=True):
        bench = Bench(2, c=c, el=accumulator)
        bench.fill(3, [0, x])
        bench.forward(1)
        assert bench.get("el") == expected
    values = BY_NAME["squash"].table().values
    for drive, expected in zip(*(values[name].tolist() for name in values), strict=True):
        bench = Bench(1, b=drive)
        bench.forward()
        assert bench.own() == [expected]


def test_messages_are_those_of_the_kernel() -> None:
    values = BY_NAME["message_sum"].table().values
    for k_right, right, k_below, below, expected in zip(*(values[name].tolist() for name in values), strict=True):
        bench = Bench(1)
        bench.hear(1, [right], kl=k_right)
        bench.hear(2, [below], kt=k_below)
        bench.backward()  # y = 0 and d = 1.0: lam is m, with two bits more
        if right or below:
            assert bench.own() == [4 * expected]


def test_delta_is_that_of_the_kernel() -> None:
    values = BY_NAME["softmax"].table().values
    for *z, label, cool, first, second, third in zip(*(values[name].tolist() for name in values), strict=True):
        found = words(*z, 0, 0, 0)
        kernels.softmax(found, tables.EXP, 3, label, cool)
        assert found[3:].tolist() == [first, second, third]


def test_what_fxpmath_would_round_twice_is_refused() -> None:
    with pytest.raises(OverflowError, match="not exact"):
        rounded(of(np.array([(1 << 30) - 1])) * of(np.array([(1 << 30) + 1], np.int64), 30), 0)
    assert raw(rounded(of(np.array([3, -3, 1]), 1), 0)).tolist() == [2, -1, 1]
