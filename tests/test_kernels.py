"""The arithmetic of the kernels against exact rationals, fxpmath and float64; the executors against each other.

The primitives are written out where they are used (a call would cost more than they do), so each test drives a kernel
with a hand-made record or two. Errors are in LSB of the result's format; how a tolerance is derived stands beside it.
"""

import math
from array import array
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from fxpmath import Fxp
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from time_major import TimeMajor

from fixedpoint import kernels, tables
from fixedpoint.lattice import CELL, L_HIGHEST, L_LOWEST, MAX_GAIN, W_HIGHEST, Lattice
from host import dataset
from host.config import PRESETS, configure, prepare
from host.engine import executor

settings.register_profile("kernels", deadline=None, max_examples=100)
settings.load_profile("kernels")

ONE = 1 << 14  # Q14
LIMIT = 1 << 26  # of a message before it is multiplied by d, Q20
ys = st.integers(1 - ONE, ONE - 1)
operands = st.integers(-32767, 32767)
messages = st.integers(-(1 << 28), (1 << 28) - 1)


def nearest(x: Fraction) -> int:
    """The nearest integer; of two, the higher."""
    return math.floor(x + Fraction(1, 2))


def words(*values: int) -> array:
    return array("i", values)


class Bench:
    """One cell, record 0, between two inputs and two descendants: records 1, on its right, and 2, below."""

    def __init__(self, steps: int, **fields: int):
        self.steps = steps
        self.m = words(*[0] * (3 * CELL))
        self.h = words(*[0] * (5 * steps))
        self.set(0, left=3, top=4, right=1, below=2, **fields)

    def set(self, record: int, **fields: int) -> None:
        for name, value in fields.items():
            self.m[record * CELL + getattr(kernels, f"_{name.upper()}")] = value

    def get(self, name: str) -> int:
        return self.m[getattr(kernels, f"_{name.upper()}")]

    def fill(self, row: int, values: list[int]) -> None:
        self.h[row * self.steps : (row + 1) * self.steps] = words(*values)

    def own(self) -> list[int]:
        return self.h[: self.steps].tolist()

    def hear(self, record: int, values: list[int], **fields: int) -> None:
        """Let the cell hear these messages from a descendant."""
        peak = 0
        for value in values:
            peak |= abs(value)
        self.fill(record, values)
        self.set(record, peak=peak, **fields)

    def forward(self, t0: int = 0, t1: int | None = None) -> None:
        kernels.forward(0, 0, self.h, self.m, tables.TANH, 1, self.steps, t0, self.steps if t1 is None else t1)

    def backward(self) -> None:
        kernels.backward(0, 0, self.h, self.m, 1, self.steps, 16 - self.steps.bit_length())

    def gradient(self) -> list[int]:
        start = kernels._GRADIENT
        return self.m[start : start + 4].tolist()


def derived(*masters: int) -> Bench:
    bench = Bench(1)
    kernels.derive(words(*masters), bench.m, tables.C, tables.DA, 1)
    return bench


# --- derive: parameters to operands


@given(st.integers(-W_HIGHEST, W_HIGHEST), st.integers(-W_HIGHEST, W_HIGHEST), st.integers(-W_HIGHEST, W_HIGHEST))
@example(W_HIGHEST, -W_HIGHEST, 8191)
def test_weights_and_bias_become_operands_to_nearest(wl, wt, b):
    bench = derived(0, wl, wt, b)
    for name, master, bits in (("wl", wl, 12), ("wt", wt, 12), ("b", b, 14)):
        assert bench.get(name) == nearest(Fraction(master, 1 << (26 - bits)))
        half = 2.0 ** -(bits + 1)
        assert bench.get(name) == Fxp(master / 2**26 + half, True, 32, bits, rounding="floor").val
    assert abs(bench.get("wl")) < 32768 and abs(bench.get("wt")) < 32768


def test_time_constants_are_within_3_lsb_for_all_l():
    # Largest error of the table, 1.66 and 1.99 LSB; half an LSB of rounding; the 9 bits of l below the interpolation's
    # 12, at most 0.37 * 2**-17 * 2**15 = 0.1 LSB: 2.3 and 2.6 LSB.
    masters = [*range(L_LOWEST, L_HIGHEST, 49999), L_HIGHEST]
    w = words(*(v for master in masters for v in (master, 0, 0, 0)))
    m = words(*[0] * (len(masters) * CELL))
    kernels.derive(w, m, tables.C, tables.DA, len(masters))
    x = np.exp(-np.array(masters) / 2**26)
    for field, reference in ((kernels._C, -np.expm1(-x)), (kernels._DA, x * np.exp(-x))):
        assert np.abs(np.array(m[field::CELL]) - reference * 2**15).max() <= 3


@given(st.integers(L_LOWEST, L_HIGHEST), st.integers(-W_HIGHEST, W_HIGHEST), st.integers(-W_HIGHEST, W_HIGHEST))
def test_couplings_are_the_products_of_the_operands_to_nearest(master, wl, wt):
    bench = derived(master, wl, wt, 0)
    c = Fraction(bench.get("c"), 1 << 15)
    assert bench.get("kl") == nearest(c * bench.get("wl")) and bench.get("kt") == nearest(c * bench.get("wt"))


# --- feed: pixels to inputs


@pytest.mark.parametrize("scale", [1, 64, 2570, 4112])
def test_every_pixel_becomes_its_input_rounded_down(scale):
    h = words(*[0] * 256)
    kernels.feed(h, bytes(range(256)), 0, 1, 256, 0, 1, scale)
    assert h.tolist() == [math.floor(Fraction(pixel * scale, 64)) for pixel in range(256)]
    assert h.tolist() == [Fxp(p * scale / 2**20, True, 32, 14, rounding="floor").val for p in range(256)]


def test_full_scale_maps_white_to_one_lsb_below_one():
    h = words(0)
    kernels.feed(h, b"\xff", 0, 1, 1, 0, 1, 4112)
    assert h[0] == ONE - 1


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(0, 5), st.integers(0, 3))
def test_pixels_land_in_the_rows_of_their_inputs_and_nowhere_else(rows, count, offset, base, spare):
    steps = rows + spare
    pixels = bytes(range(1, 1 + offset + rows * count))
    h = words(*[-1] * (base + count * steps))
    kernels.feed(h, pixels, offset, rows, count, base, steps, 64)
    expected = {base + i * steps + t: pixels[offset + t * count + i] for t in range(rows) for i in range(count)}
    assert h.tolist() == [expected.get(k, -1) for k in range(len(h))]


# --- forward


@given(st.integers(0, 1 << 15), st.lists(st.tuples(ys, ys), min_size=1, max_size=24))
def test_leaky_accumulators_stay_within_half_an_lsb_of_the_exact_recursion(c, inputs):
    # With A the accumulator and E the exact integral, A' - E' = (1 - c)(A - E) - c r, where |r| <= 1/2 is what the
    # reading is off A: |A - E| <= 1/2 by induction. The reading is within 1 LSB.
    bench = Bench(len(inputs), c=c)
    bench.fill(3, [left for left, _ in inputs])
    bench.fill(4, [top for _, top in inputs])
    bench.forward()
    for name, x in (("el", [left for left, _ in inputs]), ("et", [top for _, top in inputs])):
        exact = Fraction(0)
        for value in x:
            exact += Fraction(c, 1 << 15) * (value - exact)
        assert abs(Fraction(bench.get(name) - (1 << 14), 1 << 15) - exact) <= Fraction(1, 2)
        assert abs((bench.get(name) >> 15) - exact) <= 1


@settings(max_examples=20)
@given(st.integers(min(tables.C), 1 << 15), ys)
@example(min(tables.C), ONE - 1)
@example(min(tables.C), -1)
def test_leaky_accumulators_reach_a_constant_input_exactly(c, x):
    # An integral that was stored as it is read would stop where c |x - e| < 1/2: 200 LSB short, for the smallest c.
    steps = math.ceil((1 << 15) / c * (2 + math.log(abs(x) + 1)))
    bench = Bench(steps, c=c)
    bench.fill(3, [x] * steps)
    bench.forward()
    assert bench.get("el") >> 15 == x


def tanh_of(drives: range) -> np.ndarray:
    """The kernel's y for all these values of s + b, Q14: cells without inputs, whose bias is the drive."""
    n = len(drives)
    m = np.zeros((n + 1, CELL), np.int32)
    m[:n, kernels._LEFT] = m[:n, kernels._TOP] = n
    m[:n, kernels._B] = drives
    h = words(*[0] * (n + 1))
    kernels.forward(0, 0, h, array("i", m.tobytes()), tables.TANH, n, 1, 0, 1)
    return np.array(h[:n])


def test_tanh_is_within_2_lsb_everywhere_odd_and_saturated_beyond_8():
    # 1.00 LSB of the table and half an LSB of rounding.
    positive = tanh_of(range((8 << 14) + 2))
    assert np.abs(positive - np.tanh(np.arange((8 << 14) + 2) / ONE) * ONE).max() <= 2
    assert (np.diff(positive) >= 0).all()
    negative = tanh_of(range(0, -(8 << 14) - 2, -7))
    assert (negative == -positive[::7]).all()
    assert (tanh_of(range((8 << 14) - 1, (32 << 14), 4999)) == positive[-1]).all()


@given(operands, operands, ys, ys, st.integers(-(8 << 14), 8 << 14), st.integers(0, MAX_GAIN))
def test_the_drive_is_rounded_to_nearest_and_its_output_within_3_lsb(wl, wt, left, top, b, gain):
    # The product with wT is rounded down to the other's binary point before, at most 2**-8 LSB. tanh, of slope 1 at
    # most, adds its own 1.5 LSB.
    bench = Bench(1, c=1 << 15, wl=wl, wt=wt, b=b, gain=gain)
    bench.fill(3, [left])
    bench.fill(4, [top])
    bench.forward()
    drive = Fraction(wl * left << gain, 1 << 12) + Fraction(wt * top, 1 << 12) + b
    assert abs(bench.own()[0] - math.tanh(drive / ONE) * ONE) <= 3
    lowest = nearest(drive - Fraction(1, 256))
    assert bench.own()[0] in tanh_of(range(lowest, nearest(drive) + 1))


@given(st.data())
def test_forward_in_any_portions_equals_forward_at_once(data):
    steps = data.draw(st.integers(1, 12))
    cuts = sorted(data.draw(st.sets(st.integers(1, steps))) | {0, steps})
    parts, whole = (noise_lattice(3, 4, steps, 2, seed=1) for _ in range(2))
    pixels = data.draw(st.binary(min_size=3 * steps, max_size=3 * steps))
    whole.predict(pixels)
    parts.begin()
    for t0, t1 in pairwise(cuts):
        parts.row(pixels, t0 * 3, t1 - t0)
        parts.advance()
    parts.classify()
    assert parts.h == whole.h and parts.z == whole.z


# --- readout and error


@given(st.lists(st.tuples(ys, ys), min_size=1, max_size=20))
def test_logits_are_exact_sums_over_time(outputs):
    steps = len(outputs)
    h = words(*(y for y, _ in outputs), *(y for _, y in outputs))
    m = words(*[0] * (3 * CELL))
    m[CELL + kernels._TOP], m[2 * CELL + kernels._TOP] = 1, 0  # readout 0 listens to row 1, readout 1 to row 0
    z = words(0, 0)
    kernels.readout(m, h, z, 1, 2, steps)
    assert z.tolist() == [sum(y for _, y in outputs), sum(y for y, _ in outputs)]


def softmax_error(logits: list[int], label: int, steps: int = 2) -> tuple[array, array, array]:
    """m, h and z after error() with these logits, for no cells and len(logits) readouts."""
    outs = len(logits)
    m, h, z = words(*[0] * (outs * CELL)), words(*[0] * (outs * steps)), words(*logits, *[0] * outs)
    kernels.error(m, h, z, tables.EXP, 0, outs, steps, label)
    return m, h, z


many_logits = st.integers(-(1 << 24), 1 << 24).flatmap(
    lambda z: st.lists(st.integers(z, z + (1 << 19)) | st.integers(-(1 << 24), 1 << 24), min_size=1, max_size=64)
)


@given(many_logits, st.integers(0, 63))
@example([0] * 64, 0)
@example([0, 16 << 14], 0)
@example([0, (16 << 14) - 1], 1)
def test_softmax_is_exact_to_its_divisor_and_the_errors_sum_to_zero(logits, label):
    # p is off by its divisor, whose 15 bits are too small by up to 2**-14, and by the table: linear interpolation of
    # exp is too large by up to h**2 / 8 = 2**-13 of the value, in p itself (up) or in the others (down). So by
    # 3 * 2**-14 * p, or 768 p LSB of Q22; rounding: half an LSB, and half that of the table's entries; the classes that
    # are cut off at exp(-16), half an LSB each, shift the others by p * 64 * exp(-16) = 30 p LSB and themselves by 1/2.
    label %= len(logits)
    z = np.array(logits) / ONE
    p = np.exp(z - z.max())
    p /= p.sum()
    _, _, found = softmax_error(logits, label)
    delta = np.array(found[len(logits) :])
    error = np.abs(delta - (p - np.eye(len(logits))[label]) * 2**22)
    bound = 800 * p + 2
    bound[label] = np.delete(bound, label).sum()  # the negative sum of the others, so that all sum to 0
    assert delta.sum() == 0
    assert (error <= bound).all()
    assert error.max() <= 1000 or len(logits) > 10  # 2.4e-4


@given(many_logits, st.integers(0, 63), st.integers(1, 5))
def test_error_fills_the_rows_of_the_readouts_and_notes_its_size(logits, label, steps):
    outs = len(logits)
    m, h, z = softmax_error(logits, label % outs, steps)
    assert h.tolist() == [delta for delta in z[outs:] for _ in range(steps)]
    assert m[kernels._PEAK :: CELL].tolist() == [abs(delta) for delta in z[outs:]]


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
)
@example((32767, 12055), 32768, 32767, -32767, 0, [(ONE - 1, 1 - ONE, 0), (1 - ONE, ONE - 1, 0)] * 6, True)
def test_cross_traces_are_within_4_lsb_of_the_exact_recursion(time_constants, c_desc, wl, wt, gain, rows, side):
    # In LSB of each trace. eL, eT are read within 1 LSB (above), d is within 1/2: d e, rounded down, within 2 1/2, and
    # the leaky integral of that, read, within 3 1/2. eta has an LSB of 2**-(11 + fine), (|wL| + |wT|) 2**fine <= 16:
    # the drive is off by (|wL| + |wT|) * 2**-14, which is 2 LSB, and by 1/2 of rounding; the recursion multiplies by at
    # most da / c <= 1 (test_ranges.py) and adds 1/2, reading adds 1/2: 3.5. d eta has one bit less: 1.8, d's half LSB
    # adds 0.4 (|eta| < 12.0), rounding 1/2; the leaky integral, read, is within 3.7. d itself: 1/2 + 1.
    # A message at the last step alone, a power of two, makes the gradient the trace at that step.
    c, da = time_constants
    steps = len(rows)
    bench = Bench(steps, c=c, da=da, wl=wl, wt=wt, gain=gain)
    bench.fill(0, [y for _, _, y in rows])
    bench.fill(3, [left for left, _, _ in rows])
    bench.fill(4, [top for _, top, _ in rows])
    bench.hear(1 if side else 2, [0] * (steps - 1) + [1 << 21], c=c_desc, wl=1 << 12, wt=1 << 12)
    bench.backward()
    room = abs(wl) + (abs(wt) >> gain)
    fine = max(bits for bits in range(5) if room << bits <= 65536)
    shift = 16 - steps.bit_length() - 1 + 12 - 16  # 2**(mantissa - 1) * trace * 1.0, halved, Q15
    found = [bench.gradient()[0] / 2 ** (shift - fine), *(g / 2**shift for g in bench.gradient()[1:])]

    c, da, c_desc = Fraction(c, 1 << 15), Fraction(da, 1 << 15), Fraction(c_desc, 1 << 15)
    wl, wt = Fraction(wl, 1 << 12), Fraction(wt, 1 << 12) / (1 << gain)
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


def updated(w: list[int], gradient: list[int], exponent: int, gain: int, rule: list[tuple[int, int, int, int]]) -> list:
    bench = Bench(1, exponent=exponent, gain=gain)
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
)
@example([0] * 4, [(1 << 30) - 1] * 4, 22, 4, [(32767, 14)] * 4)
@example([0] * 4, [1 - (1 << 30)] * 4, 0, 0, [(32767, 40)] * 4)
def test_a_step_is_the_exact_product_of_rate_and_gradient(w, gradient, exponent, gain, rule):
    # Shifted right: floor, then nearest, at most 1/2 + 1/2 LSB. Shifted left by n: the floor's LSB becomes 2**n.
    bounds = [(L_LOWEST, L_HIGHEST), *[(-W_HIGHEST, W_HIGHEST)] * 3]
    full = [(*rate, *bound) for rate, bound in zip(rule, bounds, strict=True)]
    found = updated(w, gradient, exponent, gain, full)
    for k, (multiplier, shift, low, high) in enumerate(full):
        units = exponent - 32 + (4 if k == 0 else 0) + (gain if k < 2 else 0)  # the gradient is g * 2**units
        step = Fraction(gradient[k] * multiplier) * Fraction(2) ** (units - shift + 26)  # Q26
        left = max(0, units + 41 - shift)
        largest = ((1 << 29) - 1) >> left << left
        step = max(-largest, min(largest, step)) if left else step
        assert abs(found[k] - max(low, min(high, w[k] - step))) <= 1 << left


@given(masters, st.integers(-(1 << 29), 1 << 29), st.integers(1, 1 << 28))
def test_parameters_stop_at_their_bounds(w, gradient, room):
    rule = [(32767, 20, w - room, w + room)] * 4
    wished = updated([w] * 4, [gradient] * 4, 8, 0, [(32767, 20, -(1 << 30), (1 << 30) - 1)] * 4)
    found = updated([w] * 4, [gradient] * 4, 8, 0, rule)
    assert found == [max(w - room, min(w + room, v)) for v in wished]


def test_no_gradient_or_no_rate_changes_nothing():
    rule = [(32767, 14, L_LOWEST, L_HIGHEST)] * 4
    assert updated([1, 2, 3, 4], [0] * 4, 22, 4, rule) == [1, 2, 3, 4]
    assert updated([1, 2, 3, 4], [99999] * 4, 22, 4, [(0, 14, L_LOWEST, L_HIGHEST)] * 4) == [1, 2, 3, 4]


# --- executors


def noise_lattice(rows: int, cols: int, steps: int, gain: int, seed: int, **executor: object) -> Lattice:
    """A lattice with parameters of every size and sign and learning rates that move them."""
    lattice = Lattice(rows, cols, steps, 2570, gain, **executor)
    lattice.seed(seed, (3000, 4096, 1000, 3000, 4096, -12288, 12288, 0, 2048))
    lattice.set_rates(((20972, 16), (20972, 17), (20972, 18)))
    return lattice


def assert_same_state(a: Lattice, b: Lattice) -> None:
    for name in ("w", "m", "h", "z"):
        np.testing.assert_array_equal(np.array(getattr(a, name)), np.array(getattr(b, name)), name)


@settings(max_examples=25)
@given(
    st.integers(1, 5), st.integers(1, 5), st.integers(1, 12), st.integers(0, MAX_GAIN), st.integers(0, 2**31), st.data()
)
def test_stepping_all_cells_together_gives_the_same_bits(rows, cols, steps, gain, seed, data):
    lattice = noise_lattice(rows, cols, steps, gain, seed)
    together = TimeMajor(lattice)
    for _ in range(2):
        pixels = data.draw(st.binary(min_size=rows * steps, max_size=rows * steps))
        label = data.draw(st.integers(0, cols - 1))
        lattice.train(pixels, label)
        together.train(pixels, label)
        assert lattice.z[:cols].tolist() == together.logits and lattice.z[cols:].tolist() == together.delta
        for p, place in enumerate(together.places):
            start = p * CELL + kernels._EXPONENT
            assert lattice.m[start : start + 5].tolist() == [together.exponents[place], *together.gradient[place]]
        assert lattice.w.tolist() == [v for cell in together.w for v in cell]


@pytest.mark.parametrize("preset", PRESETS)
def test_stepping_all_cells_together_gives_the_same_bits_on_digits(preset):
    data = dataset.load()
    config = configure(data, preset, 1, 1)
    lattice = config.lattice()
    lattice.set_rates(config.rates(0))
    together = TimeMajor(lattice)
    for image, label in zip(data.train_images[:2], data.train_labels.tolist(), strict=False):
        lattice.train(image.tobytes(), label)
        together.train(image.tobytes(), label)
        assert lattice.w.tolist() == [v for cell in together.w for v in cell]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("rows", "cols", "images"), [(28, 10, 50), (28, 13, 20), (9, 10, 50)])
def test_numba_and_python_agree_in_every_word_after_every_image(preset, rows, cols, images):
    data = dataset.load()
    config = configure(data, preset, 1, 1, rows, cols)
    data = prepare(data, config)
    lattices = [config.lattice(**executor(name)) for name in ("python", "numba")]
    for image, label in zip(data.train_images[:images], data.train_labels.tolist(), strict=False):
        for lattice in lattices:
            lattice.set_rates(config.rates(0))
            lattice.train(image.tobytes(), label)
        assert_same_state(*lattices)
    assert lattices[0].digest() == lattices[1].digest()


@pytest.mark.parametrize(
    ("rows", "cols", "steps"), [(1, 1, 1), (1, 1, 28), (1, 5, 28), (5, 1, 28), (64, 64, 28), (3, 2, 1023)]
)
def test_all_sizes_train_alike_under_python_and_numba(rows, cols, steps):
    lattices = [noise_lattice(rows, cols, steps, 0, 5, **executor(name)) for name in ("python", "numba")]
    before = lattices[0].w.tolist()
    pixels = np.random.default_rng(6).integers(0, 256, rows * steps, np.uint8).tobytes()
    wrong = (lattices[0].predict(pixels) + 1) % cols
    for lattice in lattices:
        lattice.train(pixels, wrong)
    assert_same_state(*lattices)
    assert cols == 1 or lattices[0].w.tolist() != before  # a single class leaves nothing to learn
