"""The arithmetic of the kernels, from errors back to gradients and the step, against exact rationals and fxpmath."""

import math
from fractions import Fraction

from fxpmath import Fxp
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from kernel_bench import LIMIT, ONE, Bench, derived, messages, nearest, operands, words, ys

from fixedpoint import kernels
from fixedpoint.network import L_HIGHEST, L_LOWEST, MAX_GAIN, W_HIGHEST

# --- backward: the message


def message(x: int, v: int, kr: int, kb: int, y: int) -> int:
    bench = Bench(1)
    bench.fill(0, [y])
    bench.hear(1, [x], kl=kr)
    bench.hear(2, [v], kt=kb)
    bench.backward()
    return bench.own()[0]


@given(messages, messages, operands, operands, ys)
@example((1 << 28) - 1, (1 << 28) - 1, 32767, 32767, 0)
@example(-(1 << 28), -(1 << 28), 32767, 32767, 0)
@example(-(1 << 28), (1 << 28) - 1, 32767, -32767, 0)
def test_split_products_of_the_message_equal_whole_ones_rounded_to_nearest(x, v, kr, kb, y):
    m = nearest(Fraction(x * kr + v * kb, 1 << 14))
    d = ONE - nearest(Fraction(y * y, ONE))
    m = max(-LIMIT, min(LIMIT - 1, m))
    lam = message(x, v, kr, kb, y)
    assert lam == nearest(Fraction(m * d, 1 << 12))
    assert -(1 << 28) <= lam < 1 << 28


@settings(max_examples=50)
@given(st.integers(-(1 << 22), 1 << 22), st.integers(-4096, 4096), ys)
def test_message_equals_fxpmath_with_half_an_lsb_added_before_the_floor(x, k, y):
    product = Fxp(x / 2**22, True, 40, 22, rounding="floor") * Fxp(k / 2**12, True, 16, 12)
    m = Fxp(product.get_val() + 2.0**-21, True, 40, 20, rounding="floor")
    d = Fxp(1 - (Fxp(y / 2**14, True, 16, 14).get_val() ** 2 + 2.0**-15) // 2.0**-14 * 2.0**-14, True, 17, 14)
    lam = Fxp((m * d).get_val() + 2.0**-23, True, 40, 22, rounding="floor")
    assert message(x, 0, k, 0, y) == lam.val


@given(st.integers(-(1 << 25), 1 << 25), st.integers(-4096, 4096), ys)
def test_rounding_of_messages_has_no_direction(x, k, y):
    """The negative of a message is its mirror image, ties aside: floor's half LSB towards minus would add up."""
    m, d = Fraction(x * k, 1 << 14), ONE - nearest(Fraction(y * y, ONE))
    lam = Fraction(nearest(m) * d, 1 << 12)
    assume(m % 1 != Fraction(1, 2) and lam % 1 != Fraction(1, 2))
    assert message(-x, 0, k, 0, y) == -message(x, 0, k, 0, y)


@given(st.lists(st.integers(-40, 40) | messages, min_size=1, max_size=8), ys)
@example([-4], 14189)  # lam = -1 LSB
def test_the_peak_has_as_many_bits_as_the_largest_message_and_is_zero_for_silence_only(lams, y):
    bench = Bench(len(lams))
    bench.fill(0, [y] * len(lams))
    bench.hear(1, lams, kl=1 << 12)
    bench.backward()
    assert bench.get("peak").bit_length() == max(map(abs, bench.own())).bit_length()


# --- backward: traces and gradient

pairs = st.integers(0, 320 * 4096 - 1).map(lambda at: time_constants((at << 9) + L_LOWEST))  # all (c, da) there are


def time_constants(master: int) -> tuple[int, int]:
    bench = derived(master, 0, 0, 0)
    return bench.get("c"), bench.get("da")


@given(messages, st.integers(-32767, 32767), ys)
def test_the_gradient_is_the_product_with_the_weight_rounded_down(lam, w, y):
    # One step, c = 1: the cross trace of b is d, the sum is the message in 15 bits times d.
    bench = Bench(1)
    bench.fill(0, [y])
    bench.hear(1, [lam], c=1 << 15, wl=w)
    bench.backward()
    exponent = max(0, abs(lam).bit_length() - 15)
    d = ONE - nearest(Fraction(y * y, ONE))
    assert bench.get("exponent") == exponent
    assert bench.gradient()[3] == math.floor(Fraction(nearest(Fraction(lam, 1 << exponent)) * d * w, 1 << 16))


@given(messages, messages, operands, operands)
def test_both_descendants_are_brought_to_the_larger_exponent(right, below, wl, wt):
    # The two products are rounded down, each by less than an LSB; the messages, 15 bits of the larger, by half an LSB
    # times |w| < 8.0, halved, each.
    bench = Bench(1)
    bench.hear(1, [right], c=1 << 15, wl=wl)
    bench.hear(2, [below], c=1 << 15, wt=wt)
    bench.backward()
    exact = Fraction(right * wl + below * wt, 1 << (2 + bench.get("exponent")))  # Q22 * Q12 * 1.0 -> Q32
    assert abs(bench.gradient()[3] - exact) <= 2 + 2 * Fraction(32768, 8)
    assert bench.get("exponent") == max(0, max(abs(right), abs(below)).bit_length() - 15)


@given(
    pairs,
    st.integers(0, 1 << 15),
    operands,
    operands,
    st.integers(0, MAX_GAIN),
    st.lists(st.tuples(ys, ys, ys), min_size=1, max_size=12),
    st.booleans(),
    st.booleans(),
)
@example((32767, 12055), 32768, 32767, -32767, 0, [(ONE - 1, 1 - ONE, 0), (1 - ONE, ONE - 1, 0)] * 6, True, False)
def test_cross_traces_are_within_4_lsb_of_the_exact_recursion(time_constants, c_desc, wl, wt, gain, rows, side, both):
    # In LSB of each trace. eL, eT are read within 1 LSB (above), d is within 1/2: d e, rounded down, within 2 1/2, and
    # the leaky integral of that, read, within 3 1/2. eta has an LSB of 2**-(11 + fine), (|wL| + |wT|) 2**fine <= 16:
    # the drive is off by (|wL| + |wT|) * 2**-14, which is 2 LSB, and by 1/2 of rounding; the recursion multiplies by at
    # most da / c <= 1 (test_ranges.py) and adds 1/2, reading adds 1/2: 3.5. d eta has one bit less: 1.8, d's half LSB
    # adds 0.4 (|eta| < 12.0), rounding 1/2; the leaky integral, read, is within 3.7. d itself: 1/2 + 1.
    # A message at the last step alone, a power of two, makes the gradient the trace at that step.
    c, da = time_constants
    steps = len(rows)
    lag = 0 if both else gain  # an input on top, too
    bench = Bench(steps, c=c, da=da, wl=wl, wt=wt, gain=gain, lag=lag)
    bench.fill(0, [y for _, _, y in rows])
    bench.fill(3, [left for left, _, _ in rows])
    bench.fill(4, [top for _, top, _ in rows])
    bench.hear(1 if side else 2, [0] * (steps - 1) + [1 << 21], c=c_desc, wl=1 << 12, wt=1 << 12)
    bench.backward()
    room = abs(wl) + (abs(wt) >> lag)
    fine = max(bits for bits in range(5) if room << bits <= 65536)
    shift = 16 - steps.bit_length() - 1 + 12 - 16  # 2**(mantissa - 1) * trace * 1.0, halved, Q15
    found = [bench.gradient()[0] / 2 ** (shift - fine), *(g / 2**shift for g in bench.gradient()[1:])]

    c, da, c_desc = Fraction(c, 1 << 15), Fraction(da, 1 << 15), Fraction(c_desc, 1 << 15)
    wl, wt = Fraction(wl, 1 << 12), Fraction(wt, 1 << 12) / (1 << lag)
    e_left = e_top = eta = Fraction(0)
    traces = [Fraction(0)] * 4
    for left, top, y in rows:
        eta -= c * eta + da * (wl * (left - e_left) + wt * (top - e_top))
        e_left += c * (left - e_left)
        e_top += c * (top - e_top)
        d = 1 - Fraction(y, ONE) ** 2
        traces = [e + c_desc * (d * f - e) for e, f in zip(traces, (eta, e_left, e_top, ONE), strict=True)]
    traces[0] *= Fraction(1 << (10 + fine), ONE)
    errors = [abs(f - e) for f, e in zip(found, traces, strict=True)]
    assert errors[0] <= 4 and errors[1] <= 4 and errors[2] <= 4 and errors[3] <= 2


@given(st.lists(messages, min_size=1, max_size=40))
def test_gradient_sums_use_the_leading_bits_of_the_largest_message(lams):
    # d = 1 and c = 1: the gradient of b is the sum of the messages, each rounded by half a unit of the exponent.
    steps = len(lams)
    bench = Bench(steps)
    bench.hear(1, lams, c=1 << 15, wl=1 << 12)
    bench.backward()
    exponent = bench.get("exponent")
    assert max(map(abs, lams)) >> exponent < 1 << (16 - steps.bit_length())
    assert exponent == 0 or max(map(abs, lams)) >> (exponent - 1) >= 1 << (16 - steps.bit_length())
    exact = Fraction(sum(lams) << 10, 1 << exponent)  # Q22 -> Q32
    assert abs(bench.gradient()[3] - exact) <= Fraction(steps << 10, 2) + 1


# --- update

rates = st.tuples(st.integers(0, 32767), st.integers(14, 40))
masters = st.integers(-W_HIGHEST, W_HIGHEST)


def updated(
    w: list[int], gradient: list[int], exponent: int, gain: int, rule: list[tuple[int, int, int, int]], lag: int
) -> list:
    bench = Bench(1, exponent=exponent, gain=gain, lag=lag)
    bench.m[kernels._GRADIENT : kernels._GRADIENT + 4] = words(*gradient)
    masters = words(*w)
    kernels.update(masters, bench.m, words(*(v for group in rule for v in group)), 1)
    return masters.tolist()


@given(
    st.lists(st.integers(L_LOWEST, L_HIGHEST), min_size=4, max_size=4),
    st.lists(st.integers(1 - (1 << 30), (1 << 30) - 1), min_size=4, max_size=4),
    st.integers(0, 22),
    st.integers(0, MAX_GAIN),
    st.lists(rates, min_size=4, max_size=4),
    st.booleans(),
)
@example([0] * 4, [(1 << 30) - 1] * 4, 22, 4, [(32767, 14)] * 4, False)
@example([0] * 4, [1 - (1 << 30)] * 4, 0, 0, [(32767, 40)] * 4, True)
def test_a_step_is_the_exact_product_of_rate_and_gradient(w, gradient, exponent, gain, rule, both):
    # Shifted right: floor, then nearest, at most 1/2 + 1/2 LSB. Shifted left by n: the floor's LSB becomes 2**n.
    bounds = [(L_LOWEST, L_HIGHEST), *[(-W_HIGHEST, W_HIGHEST)] * 3]
    full = [(*rate, *bound) for rate, bound in zip(rule, bounds, strict=True)]
    found = updated(w, gradient, exponent, gain, full, 0 if both else gain)
    for k, (multiplier, shift, low, high) in enumerate(full):
        units = exponent - 32 + (4 if k == 0 else 0) + (gain if k < 2 + both else 0)  # the gradient is g * 2**units
        step = Fraction(gradient[k] * multiplier) * Fraction(2) ** (units - shift + 26)  # Q26
        left = max(0, units + 41 - shift)
        largest = ((1 << 29) - 1) >> left << left
        step = max(-largest, min(largest, step)) if left else step
        assert abs(found[k] - max(low, min(high, w[k] - step))) <= 1 << left


@given(masters, st.integers(-(1 << 29), 1 << 29), st.integers(1, 1 << 28))
def test_parameters_stop_at_their_bounds(w, gradient, room):
    rule = [(32767, 20, w - room, w + room)] * 4
    wished = updated([w] * 4, [gradient] * 4, 8, 0, [(32767, 20, -(1 << 30), (1 << 30) - 1)] * 4, 0)
    found = updated([w] * 4, [gradient] * 4, 8, 0, rule, 0)
    assert found == [max(w - room, min(w + room, v)) for v in wished]


def test_no_gradient_or_no_rate_changes_nothing():
    rule = [(32767, 14, L_LOWEST, L_HIGHEST)] * 4
    assert updated([1, 2, 3, 4], [0] * 4, 22, 4, rule, 4) == [1, 2, 3, 4]
    assert updated([1, 2, 3, 4], [99999] * 4, 22, 4, [(0, 14, L_LOWEST, L_HIGHEST)] * 4, 4) == [1, 2, 3, 4]
