"""The diagonal network's kernels against exact rationals, fxpmath and plain lists. Errors are in LSB."""

import math
from array import array
from fractions import Fraction
from itertools import pairwise

import numpy as np
from fxpmath import Fxp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernel_bench import ONE, derived, nearest, operands, words, ys

from fixedpoint import diagonal_kernels as kernels
from fixedpoint import tables
from fixedpoint.diagonal import UNIT, Diagonal
from fixedpoint.network import L_HIGHEST, L_LOWEST, MAX_GAIN, W_HIGHEST

MOST = (1 << 28) - 1  # of logits and of M
masters = st.integers(-W_HIGHEST, W_HIGHEST)
log_taus = st.integers(L_LOWEST, L_HIGHEST)


def field(u: array, name: str) -> int:
    """Of the first unit."""
    return u[getattr(kernels, f"_{name.upper()}")]


# --- parameters to operands


@given(st.lists(masters, min_size=1, max_size=9))
@example([W_HIGHEST, -W_HIGHEST, 8191, 8192, -8192])
def test_weights_become_operands_to_nearest(values):
    v = words(*[0] * len(values))
    kernels.derive_weights(words(*values), v, len(values))
    assert v.tolist() == [nearest(Fraction(w, 1 << 14)) for w in values]
    assert v.tolist() == [Fxp(w / 2**26 + 2.0**-13, True, 32, 12, rounding="floor").val for w in values]


@given(log_taus, masters)
def test_a_units_coefficients_are_those_of_a_cell_and_their_ratio_is_nearest_and_never_above_one(log_tau, b):
    cell, u = derived(log_tau, 0, 0, b), words(*[0] * UNIT)
    kernels.derive_units(words(0, 0, log_tau, b), u, tables.C, tables.DA, 1, 2)
    assert (field(u, "c"), field(u, "b")) == (cell.get("c"), cell.get("b"))
    assert field(u, "ratio") == nearest(Fraction(cell.get("da") << 10, cell.get("c"))) <= 1 << 10


# --- listen

rows = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.sampled_from([0, 0, 0, 7]), min_size=n, max_size=n), min_size=1, max_size=8)
)


@given(rows, st.data())
def test_silence_so_far_is_counted_from_both_ends_in_any_portions(image, data):
    inputs, steps = len(image[0]), len(image)
    h, quiet = words(*(x for row in image for x in row)), words(*[-1] * (2 * steps))
    cuts = sorted(data.draw(st.sets(st.integers(1, steps))) | {0, steps})
    for t0, t1 in pairwise(cuts):
        kernels.listen(h, quiet, inputs, t0, t1)
    for t in range(steps):
        heard = [i for i in range(inputs) if any(row[i] for row in image[: t + 1])]
        first, last = (heard[0], inputs - 1 - heard[-1]) if heard else (inputs, inputs)
        assert quiet[2 * t : 2 * t + 2].tolist() == [first, last]


# --- absorb


def noise(steps: int, gain: int = 0, inputs: int = 5, units: int = 3, outs: int = 2) -> Diagonal:
    network = Diagonal(inputs, outs, steps, gain=gain, units=units)
    network.seed(1, (0, 6000, 0, 0, 6000, -12288, 12288, 0, 2048))
    network.set_rates(((20972, 17),) * 4)
    return network


def state(network: Diagonal) -> list[list[int]]:
    return [list(getattr(network, name)) for name in ("e", "s", "u", "z", "w", "v")]


@settings(max_examples=50)
@given(st.data(), st.integers(1, 12), st.integers(0, MAX_GAIN))
def test_rows_in_any_portions_equal_all_at_once(data, steps, gain):
    cuts = sorted(data.draw(st.sets(st.integers(1, steps))) | {0, steps})
    parts, whole = noise(steps, gain), noise(steps, gain)
    pixels = data.draw(st.binary(min_size=5 * steps, max_size=5 * steps))
    whole.train(pixels, 1)
    parts.begin()
    for t0, t1 in pairwise(cuts):
        parts.row(pixels, t0 * 5, t1 - t0)
        parts.advance()
    parts.learn(1)
    assert state(parts) == state(whole)


class Everything:
    """The kernels, but nobody is passed over."""

    def __getattr__(self, name):
        if name == "listen":
            return lambda h, quiet, inputs, t0, t1: None
        return getattr(Diagonal.__init__.__defaults__[2], name)


@settings(max_examples=50)
@given(rows, st.integers(0, MAX_GAIN))
def test_passing_over_silent_inputs_changes_no_bit(image, gain):
    inputs, steps = len(image[0]), len(image)
    pixels = bytes(255 * (x > 0) for row in image for x in row)
    found = []
    for options in ({}, {"kernels": Everything()}):
        network = Diagonal(inputs, 2, steps, gain=gain, units=3, **options)
        network.seed(1, (0, 6000, 0, 0, 6000, -12288, 12288, 0, 2048))
        network.set_rates(((20972, 17),) * 4)
        for label in (0, 1):
            network.train(pixels, label)
        found.append(state(network))
        passed = any(network.quiet)
    assert found[0] == found[1] and not passed


@given(
    st.lists(st.lists(ys, min_size=3, max_size=3), min_size=1, max_size=9),
    st.tuples(operands, operands, operands),
    log_taus,
    st.integers(-(8 << 14), 8 << 14),
    st.integers(0, MAX_GAIN),
    st.integers(0, 8),
)
@example([[ONE - 1] * 3, [1 - ONE] * 3] * 4, (32767,) * 3, L_LOWEST, 0, 4, 8)
def test_every_step_of_a_unit_is_what_its_formulas_say(image, weights, log_tau, b, gain, narrow):
    steps, n = len(image), 3
    h, e, s, u = words(*(x for row in image for x in row)), words(0, 0, 0), words(*[9] * 6), words(*[9] * UNIT)
    kernels.derive_units(words(0, 0, 0, log_tau, b << 12), u, tables.C, tables.DA, 1, n)
    c, ratio = field(u, "c"), field(u, "ratio")
    v, quiet = words(*weights), words(*[0] * (2 * steps))
    traces, eta, old, d = [Fraction(0)] * n, Fraction(0), 0, 0
    before, sums = [0] * n, [0] * 6
    for t in range(steps):
        kernels.absorb(0, 0, e, s, h, v, u, tables.TANH, quiet, 1, n, t, t + 1, gain, narrow)
        # Traces: as in kernels.forward(), within half an LSB of the recursion. Sums take those of the step before.
        traces = [f + Fraction(c, 1 << 15) * (x - f) for f, x in zip(traces, image[t], strict=True)]
        read = [x >> 15 for x in e]
        assert all(abs(Fraction(x - (1 << 14), 1 << 15) - f) <= Fraction(1, 2) for x, f in zip(e, traces, strict=True))
        assert [s[i] - sums[i] for i in range(n)] == [f * d for f in before]
        # s, rounded to nearest from products that are cut off at Q20, saturated at 16.0.
        drive = sum((f * w) >> 6 for f, w in zip(read, weights, strict=True))
        assert field(u, "s") == max(-(1 << 18), min((1 << 18) - 1, nearest(Fraction(drive, 1 << (6 - gain)))))
        # eta <- eta - c eta - ratio (s - s_old): a leaky accumulator, too.
        eta += -Fraction(c, 1 << 15) * eta - Fraction((field(u, "s") - old) * ratio, 1 << 15)
        assert abs(Fraction(field(u, "eta") - (1 << 14), 1 << 15) - eta) <= Fraction(1, 2)
        old = field(u, "s")
        # What is summed up says y and d.
        y, slope = s[n + 2] - sums[n + 2], s[n + 1] - sums[n + 1]
        assert abs(y - math.tanh((old + b) / ONE) * ONE) <= 2
        assert slope == ONE - nearest(Fraction(y * y, ONE))
        d = nearest(Fraction(slope, 1 << narrow))
        assert field(u, "d") == d and s[n] - sums[n] == (field(u, "eta") >> 15) * d
        before, sums = read, s.tolist()
    z = words(0, 5)
    kernels.teach(0, 0, e, s, words(*weights, 0, 0, 0), u, words(0, 5, 0), quiet, 1, n, 1, steps)
    assert [s[i] - sums[i] for i in range(n)] == [f * d for f in before] and z[1] == 5


# --- logits and messages


def saturating(products: list[int]) -> int:
    total = 0
    for product in products:
        total = max(-MOST, min(MOST, total + product))
    return total


@given(st.lists(st.tuples(st.integers(-(1 << 24), 1 << 24), operands), min_size=1, max_size=20))
@example([((1 << 24) - 1, 32767)] * 20)
@example([((1 << 24) - 1, 32767)] * 9 + [(1 - (1 << 24), 32767)] * 11)
def test_logits_are_sums_of_products_to_nearest_saturated(pairs):
    units = len(pairs)
    s = words(*[0] * (3 * units), *(y for y, _ in pairs))
    v = words(*[0] * (3 * units), *(w for _, w in pairs))
    z = words(7, 7, 7)
    kernels.logits(s, v, z, units, 1, 1)
    assert z.tolist() == [saturating([nearest(Fraction(y * w, 1 << 12)) for y, w in pairs]), 7, 7]


deltas = st.integers(-4195000, 4195000)  # 1.0002, Q22


@given(st.lists(st.tuples(deltas, operands, operands), min_size=1, max_size=64))
@example([(4195000, 32767, -32767)] * 64)
def test_messages_to_the_units_are_sums_of_products_to_nearest_saturated(triples):
    outs = len(triples)
    v = words(*[0] * 6, *(w for _, *pair in triples for w in pair))  # of two units with an input each
    z = words(*[3] * outs, *(delta for delta, *_ in triples), 0, 0)
    kernels.teach(0, 0, words(0, 0), words(*[0] * 8), v, words(*[0] * (2 * UNIT)), z, words(1, 1), 2, 1, outs, 1)
    for k in (0, 1):
        exact = saturating([nearest(Fraction(delta * pair[k], 1 << 12)) for delta, *pair in triples])
        assert z[2 * outs + k] == exact
    assert z[: 2 * outs].tolist() == [3] * outs + [delta for delta, *_ in triples]


# --- the step


rates = st.tuples(st.integers(0, 32767), st.integers(14, 40))
GROUPS = (1, 0, 3, 2)  # in the rule, of W, l, b, V


def adapted(w: list[int], sums: list[int], z: tuple[int, int], rule: list[int], gain: int, narrow: int) -> list[int]:
    """One unit, one input, one output."""
    masters, v = words(*w), words(*[0] * 4)
    kernels.derive_weights(masters, v, 4)
    kernels.adapt(0, 0, masters, words(*sums), v, words(0, *z), words(*rule), 1, 1, 1, gain, narrow)
    assert [v[0], v[3]] == [nearest(Fraction(masters[i], 1 << 14)) for i in (0, 3)]
    return masters.tolist()


@given(
    st.lists(log_taus, min_size=4, max_size=4),
    st.lists(st.integers(1 - (1 << 30), (1 << 30) - 1), min_size=4, max_size=4),
    deltas,
    st.integers(-MOST, MOST),
    st.lists(rates, min_size=4, max_size=4),
    st.integers(0, MAX_GAIN),
    st.integers(0, 8),
)
@example([0] * 4, [(1 << 30) - 1] * 4, 4195000, MOST, [(32767, 14)] * 4, 4, 8)
@example([0] * 4, [1 - (1 << 30)] * 4, 1, 1, [(32767, 40)] * 4, 0, 0)
@example([0] * 4, [1] * 4, 32767, -32768, [(1, 30)] * 4, 0, 0)
def test_a_step_is_the_product_of_rate_message_and_sum(w, sums, delta, message, rule, gain, narrow):
    # The message keeps 15 bits, its product with the multiplier 14, each to nearest: 2**-15 and 2**-14 of the step. The
    # product with the sum is cut off, then rounded: 1/2 + 1/2 LSB, or the LSB that a shift to the left makes 2**left.
    sums = [*sums[:2], sums[2] >> 6, sums[3] >> 6]
    bounds = {0: (L_LOWEST, L_HIGHEST)}
    full = [x for k, rate in enumerate(rule) for x in (*rate, *bounds.get(k, (-W_HIGHEST, W_HIGHEST)))]
    found = adapted(w, sums, (delta, message), full, gain, narrow)
    for i, (k, bits) in enumerate(zip(GROUPS, (28 - narrow - gain, 23 - narrow, 14, 14), strict=True)):
        m = delta if k == 2 else message
        (multiplier, shift), low, high = rule[k], *full[4 * k + 2 : 4 * k + 4]
        step = Fraction(m * sums[i] * multiplier) * Fraction(2) ** (26 - 22 - bits - shift)
        kept = max(0, abs(m).bit_length() - 15)
        again = max(0, abs(nearest(Fraction(m, 1 << kept)) * multiplier).bit_length() - 14)
        left = max(0, kept + again + 19 - shift - bits)
        largest = ((1 << 29) - 1) >> left << left
        tolerance = abs(step) * Fraction(98306, 1 << 30) + (1 << left)
        low_step, high_step = step - tolerance, step + tolerance
        if left:
            low_step, high_step = (max(-largest, min(largest, x)) for x in (low_step, high_step))
            low_step, high_step = low_step - 1, high_step + 1
        assert max(low, min(high, w[i] - high_step)) <= found[i] <= max(low, min(high, w[i] - low_step))


@given(masters, st.integers(-(1 << 28), 1 << 28), st.integers(1, 1 << 28))
def test_parameters_stop_at_their_bounds(w, total, room):
    def stepped(low: int, high: int) -> list[int]:
        return adapted([w] * 4, [total] * 4, (1 << 20, 1 << 22), [32767, 26, low, high] * 4, 0, 0)

    assert stepped(w - room, w + room) == [
        max(w - room, min(w + room, v)) for v in stepped(-(1 << 30), (1 << 30) - 1)
    ]


def test_no_message_no_sum_or_no_rate_changes_nothing():
    rule, w = [32767, 14, L_LOWEST, L_HIGHEST] * 4, [1, 2, 3, 4]
    assert adapted(w, [99999] * 4, (0, 0), rule, 4, 0) == w
    assert adapted(w, [0] * 4, (1 << 22, 1 << 28), rule, 4, 0) == w
    assert adapted(w, [99999] * 4, (1 << 22, 1 << 28), [0, 14, L_LOWEST, L_HIGHEST] * 4, 4, 0) == w


def test_groups_name_every_parameter_once():
    network = noise(3)
    groups = [network.group(i) for i in range(len(network.w))]
    assert groups == [1] * 15 + [0] * 3 + [3] * 3 + [2] * 6
    before = np.array(network.w)
    for k, rate in enumerate(((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))):
        network.load(before.tolist(), 0)
        network.set_rates([(32767 * x, 17) for x in rate])
        network.train(bytes(range(100, 115)), 1)
        moved = {groups[i] for i in np.flatnonzero(np.array(network.w) != before)}
        assert moved == {(0, 1, 3, 2)[k]}
