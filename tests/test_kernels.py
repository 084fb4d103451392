"""The arithmetic of the kernels, from parameters and pixels to errors, against exact rationals and float64."""

import math
from array import array
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from fxpmath import Fxp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernel_bench import ONE, Bench, derived, nearest, noise_lattice, operands, words, ys

from fixedpoint import kernels, tables
from fixedpoint.lattice import CELL
from fixedpoint.network import L_HIGHEST, L_LOWEST, MAX_COOL, MAX_GAIN, W_HIGHEST

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


@given(operands, operands, ys, ys, st.integers(-(8 << 14), 8 << 14), st.integers(0, MAX_GAIN), st.booleans())
def test_the_drive_is_rounded_to_nearest_and_its_output_within_3_lsb(wl, wt, left, top, b, gain, both):
    # The product with wT is rounded down to the other's binary point before, at most 2**-8 LSB; with an input on each
    # port there is nothing to lose. tanh, of slope 1 at most, adds its own 1.5 LSB.
    bench = Bench(1, c=1 << 15, wl=wl, wt=wt, b=b, gain=gain, lag=0 if both else gain)
    bench.fill(3, [left])
    bench.fill(4, [top])
    bench.forward()
    drive = Fraction(wl * left << gain, 1 << 12) + Fraction(wt * top << (gain if both else 0), 1 << 12) + b
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


# --- readout, softmax, error


@given(st.lists(st.tuples(ys, ys), min_size=1, max_size=20))
def test_logits_are_exact_sums_over_time(outputs):
    steps = len(outputs)
    h = words(*(y for y, _ in outputs), *(y for _, y in outputs))
    m = words(*[0] * (3 * CELL))
    m[CELL + kernels._TOP], m[2 * CELL + kernels._TOP] = 1, 0  # readout 0 listens to row 1, readout 1 to row 0
    z = words(0, 0)
    kernels.readout(m, h, z, 1, 2, steps)
    assert z.tolist() == [sum(y for _, y in outputs), sum(y for y, _ in outputs)]


def softmax_error(logits: list[int], label: int, cool: int = 0) -> list[int]:
    """delta, Q22, of these logits."""
    z = words(*logits, *[0] * len(logits))
    kernels.softmax(z, tables.EXP, len(logits), label, cool)
    assert z[: len(logits)].tolist() == logits
    return z[len(logits) :].tolist()


many_logits = st.integers(-(1 << 24), 1 << 24).flatmap(
    lambda z: st.lists(st.integers(z, z + (1 << 19)) | st.integers(-(1 << 24), 1 << 24), min_size=1, max_size=64)
)


@given(many_logits, st.integers(0, 63), st.integers(0, MAX_COOL))
@example([0] * 64, 0, 0)
@example([0, 16 << 14], 0, 0)
@example([0, (16 << 14) - 1], 1, 0)
@example([0, 256 << 14], 0, MAX_COOL)
def test_softmax_is_exact_to_its_divisor_and_the_errors_sum_to_zero(logits, label, cool):
    # p is off by its divisor, whose 15 bits are too small by up to 2**-14, and by the table: linear interpolation of
    # exp is too large by up to h**2 / 8 = 2**-13 of the value, in p itself (up) or in the others (down). So by
    # 3 * 2**-14 * p, or 768 p LSB of Q22; rounding: half an LSB, and half that of the table's entries; the classes that
    # are cut off at exp(-16), half an LSB each, shift the others by p * 64 * exp(-16) = 30 p LSB and themselves by 1/2.
    # Cooled, differences lose less than an LSB of Q14: exp is too large by up to 2**-14 of itself, 256 p LSB more. All
    # of that is p; dL/dz is p / 2**cool, in the same LSB.
    label %= len(logits)
    z = np.array(logits) / (ONE << cool)
    p = np.exp(z - z.max())
    p /= p.sum()
    delta = np.array(softmax_error(logits, label, cool))
    error = np.abs(delta - (p - np.eye(len(logits))[label]) * 2.0 ** (22 - cool))
    bound = (1056 if cool else 800) * p / (1 << cool) + 2
    bound[label] = np.delete(bound, label).sum()  # the negative sum of the others, so that all sum to 0
    assert delta.sum() == 0
    assert (error <= bound).all()
    assert error.max() <= 1000 or len(logits) > 10  # 2.4e-4


@given(st.lists(st.integers(-(1 << 22) - 900, (1 << 22) + 900), min_size=1, max_size=64), st.integers(1, 5))
def test_error_fills_the_rows_of_the_readouts_and_notes_its_size(deltas, steps):
    outs = len(deltas)
    for coarse in (0, kernels._COARSE):
        m, h, z = words(*[0] * (outs * CELL)), words(*[-1] * (outs * steps)), words(*[0] * outs, *deltas)
        kernels.error(m, h, z, 0, outs, steps, coarse)
        rounded = [nearest(Fraction(delta, 1 << coarse)) for delta in deltas]
        assert h.tolist() == [delta for delta in rounded for _ in range(steps)]
        assert m[kernels._PEAK :: CELL].tolist() == list(map(abs, rounded))
