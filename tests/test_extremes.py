"""No kernel of the exact rule and of the diagonal network leaves 31 bits, whatever its parameters, pixels and sizes."""

from array import array
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fixedpoint import diagonal_kernels, kernels, tables, wiring
from fixedpoint.diagonal import MAX_UNITS, UNIT, Diagonal
from fixedpoint.lattice import Lattice
from fixedpoint.network import L_HIGHEST, L_LOWEST, MAX_COOL, MAX_GAIN, MAX_ROWS, MAX_STEPS, W_HIGHEST, Random
from host.engine.checked import BOUND, checked_kernels, ranges, reset

FASTEST = ((32767, 14),) * 4  # rates of 2.0
MESSAGE = 1 << 28
PATTERNS = {
    "black": lambda t, i: 0,
    "white": lambda t, i: 255,
    "rows": lambda t, i: 255 * (t & 1),
    "columns": lambda t, i: 255 * (i & 1),
    "checkers": lambda t, i: 255 * ((t + i) & 1),
    "flash": lambda t, i: 255 * (t == 0),
    "late": lambda t, i: 255 * (t > 3),
}
SIGNS = {
    "plus": lambda i, k: 1,
    "minus": lambda i, k: -1,
    "alternating": lambda i, k: -1 if i & 1 else 1,
    "opposed": lambda i, k: -1 if k == 2 else 1,
    "unbiased": lambda i, k: 0 if k == 3 else 1,
}
WIRINGS = {
    "lattice": wiring.lattice,
    "forest": wiring.forest,
    "small world": lambda rows, cols: wiring.small_world(rows, cols, wiring.ONE, Random(1)),
    "skip": wiring.skip,
}
taus = pytest.mark.parametrize("log_tau", [L_LOWEST, 0, L_HIGHEST])
signs = pytest.mark.parametrize("sign", SIGNS)


@pytest.fixture(autouse=True)
def _fresh_ranges() -> Iterator[None]:
    reset()
    yield
    reset()


def widest(kernel: str, target: str) -> int:
    """The largest size of the signals of a kernel whose name begins so."""
    found = [max(-low, high) for name, (low, high) in ranges().items() if name.startswith(f"{kernel}.{target}")]
    return max(found)


def start(network, sign: str, log_tau: int) -> list[int]:
    """All parameters at their bounds."""
    groups = [network.group(i) for i in range(len(network.w))]
    return [log_tau if k == 0 else SIGNS[sign](i, k) * W_HIGHEST for i, k in enumerate(groups)]


def drive(network, sign: str, log_tau: int, patterns=PATTERNS) -> None:
    """The largest steps there are, from there, with every pattern."""
    network.set_rates(FASTEST)
    at = start(network, sign, log_tau)
    for k, pattern in enumerate(patterns):
        network.load(at, 0)
        pixels = bytes(PATTERNS[pattern](t, i) for t in range(network.steps) for i in range(network.rows))
        for label in (0, network.cols - 1, k % network.cols):
            network.train(pixels, label)


@signs
@taus
@pytest.mark.parametrize("graph", WIRINGS)
def test_cells_of_any_wiring_at_their_bounds_stay_within_31_bits(graph, log_tau, sign):
    wired = WIRINGS[graph](12, 5)
    watched = {"cells": len(wired[0]), "wired": lambda: wired, "kernels": checked_kernels()}
    for gain, cool, exact in ((0, 0, True), (MAX_GAIN, MAX_COOL, True), (MAX_GAIN, 0, False)):
        network = Lattice(12, 5, 28, gain=gain, cool=cool, exact=exact, **watched)
        drive(network, sign, log_tau)


@pytest.mark.parametrize("steps", [1, 2, 31, 32, 255, 256, MAX_STEPS])
def test_the_largest_messages_and_sums_of_the_exact_rule_fill_their_bits_and_no_more(steps):
    """Black images leave y = 0 and d = 1: messages grow eightfold from cell to cell, until they saturate at 1024.0."""
    network = Lattice(7, 2, steps, exact=True, kernels=checked_kernels())
    for log_tau in (L_LOWEST, 0):
        drive(network, "unbiased", log_tau, ("black", "white", "checkers"))
    assert widest("exact", "h[") >= 0.99 * MESSAGE
    assert widest("exact", "high") >= 0.99 * steps * (MESSAGE >> 14)
    assert widest("exact", "m[") > 0.2 * BOUND


messages = st.sampled_from([-MESSAGE, MESSAGE - 1, 0, 1, -1]) | st.integers(-MESSAGE, MESSAGE - 1)
operands = st.sampled_from([-32767, 32767, 0, 1]) | st.integers(-32767, 32767)
outputs = st.sampled_from([-16383, 16383, 0]) | st.integers(-16383, 16383)
pairs = st.sampled_from([(32768, 0), (81, 81), (20713, 12055)]) | st.integers(0, 320).map(
    lambda i: (tables.C[i], min(tables.DA[i], tables.C[i]))
)


Row = tuple[int, int, int, int, int]  # y, left, top; messages from the right and from below


def one_cell(pair: tuple[int, int], wl: int, wt: int, wr: int, wb: int, gain: int, both: bool, rows: list[Row]) -> None:
    """exact() of a cell with c, da = pair between inputs and descendants with these weights."""
    steps, size = len(rows), kernels.RECORD[0]
    m, h = array("i", bytes(4 * 3 * size)), array("i", bytes(4 * 5 * steps))
    fields = {"LEFT": 3, "TOP": 4, "RIGHT": 1, "BELOW": 2, "GAIN": gain, "LAG": 0 if both else gain,
              "C": pair[0], "DA": pair[1], "WL": wl, "WT": wt}  # fmt: skip
    for name, value in fields.items():
        m[getattr(kernels, f"_{name}")] = value
    m[size + kernels._WL], m[2 * size + kernels._WT] = wr, wb
    for row, values in zip((0, 3, 4, 1, 2), zip(*rows, strict=True), strict=True):
        h[row * steps : (row + 1) * steps] = array("i", values)
    m[size + kernels._PEAK] = m[2 * size + kernels._PEAK] = MESSAGE
    checked_kernels().exact(0, 0, h, m, 1, steps, 16 - steps.bit_length())


@pytest.mark.parametrize("steps", [1, 2, 31, 32, 255, 256, MAX_STEPS])
@pytest.mark.parametrize("gain, both", [(0, False), (4, False), (4, True)])
def test_the_largest_sums_of_a_cell_fill_30_bits_and_no_more(steps, gain, both):
    """Without memory a trace is the input before, so that inputs of either sign in turn make twice as large a drive."""
    for turn in (1, -1):
        for wt in (32767, 16383):
            rows = [(0, s * 16383, s * 16383, s * turn * (MESSAGE - 4), 0) for s in (1, -1) * (steps // 2 + 1)][:steps]
            one_cell((32768, 0), 32767, wt, 1 << 12, 0, gain, both, rows)
    full = (steps - 0.5) / (1 << steps.bit_length())  # of 2**30; the first drive is half as large
    assert widest("exact", "gl") > (0.5 if gain and not both else 0.99) * full * BOUND
    assert widest("exact", "gw") > 0.99 * full * BOUND


@settings(deadline=None, max_examples=300)
@given(
    pairs, operands, operands, operands, operands, st.integers(0, MAX_GAIN), st.booleans(),
    st.lists(st.tuples(outputs, outputs, outputs, messages, messages), min_size=1, max_size=30),
    st.sampled_from([1, 1, 2, 34]),
)  # fmt: skip
@example((32768, 0), 32767, 32767, 32767, 32767, 0, False, [(0, 16383, 16383, MESSAGE - 1, MESSAGE - 1)], 1023)
@example((32768, 0), 32767, 32767, 32767, 32767, 0, False, [(0, -16383, -16383, -MESSAGE, -MESSAGE)], 1023)
@example((81, 81), 32767, -32767, 32767, 0, 4, True, [(0, 16383, -16383, MESSAGE - 1, 0)] * 15
         + [(0, -16383, 16383, -MESSAGE, 0)] * 15, 34)  # fmt: skip
def test_any_cell_and_any_messages_stay_within_31_bits(pair, wl, wt, wr, wb, gain, both, rows, times):
    one_cell(pair, wl, wt, wr, wb, gain, both, [row for row in rows for _ in range(times)][:MAX_STEPS])


# --- the diagonal network


@signs
@taus
def test_units_at_their_bounds_stay_within_31_bits(sign, log_tau):
    for gain in range(MAX_GAIN + 1):
        drive(Diagonal(28, 10, 28, gain=gain, cool=gain, kernels=checked_kernels()), sign, log_tau)
    drive(Diagonal(MAX_ROWS, MAX_ROWS, 9, gain=4, units=MAX_UNITS, kernels=checked_kernels()), sign, log_tau, ("late",))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 31, 32, 255, 256, MAX_STEPS])
def test_the_largest_sums_of_a_unit_fill_30_bits_and_no_more(steps):
    """Weights of nought leave y = 0 and d = 1, whatever the traces are."""
    network = Diagonal(MAX_ROWS, 2, steps, units=2, kernels=checked_kernels())
    network.set_rates(FASTEST)
    for log_tau, others in ((L_LOWEST, 0), (L_HIGHEST, W_HIGHEST), (0, -W_HIGHEST)):
        groups = [network.group(i) for i in range(len(network.w))]
        network.load([{0: log_tau, 1: others, 2: W_HIGHEST, 3: 0}[k] for k in groups], 0)
        for pattern in ("white", "rows", "late"):
            network.train(bytes(PATTERNS[pattern](t, i) for t in range(steps) for i in range(MAX_ROWS)), 1)
    full = steps / (1 << max(2, steps.bit_length()))  # of 2**30
    assert widest("teach", "s[") > 0.98 * full * BOUND


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 40), st.integers(0, MAX_GAIN), st.integers(0, MAX_COOL),
       st.randoms(), st.data())  # fmt: skip
def test_any_parameters_and_pixels_stay_within_31_bits(rows, units, steps, gain, cool, random, data):
    network = Diagonal(rows, 3, steps, gain=gain, cool=cool, units=units, kernels=checked_kernels())
    network.set_rates(FASTEST)
    at = st.sampled_from([-W_HIGHEST, W_HIGHEST, 1 - W_HIGHEST, -1, 0, 1 << 26])
    network.load(data.draw(st.lists(at, min_size=len(network.w), max_size=len(network.w))), 0)
    for _ in range(2):
        network.train(bytes(random.choice((0, 255, random.randrange(256))) for _ in range(rows * steps)), 1)


@pytest.mark.parametrize("many", [1, 5, MAX_ROWS])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_drives_and_etas_stay_within_31_bits(sign, many):
    """s leaps from one of its bounds to the other, for units with the longest memory and the largest (da/dl) / c."""
    steps = MAX_STEPS
    for period in (1, 2, 100, 400):
        h = array("i", [(16383 if t // period & 1 else -16383) * sign for t in range(steps) for _ in range(many)])
        for gain in (0, MAX_GAIN):
            for b in (-(8 << 14), 8 << 14):
                u, e, s = (array("i", bytes(4 * n)) for n in (UNIT, many, many + 3))
                v, quiet = array("i", [32767] * many), array("i", bytes(8 * steps))
                checked_kernels().derive_units(
                    array("i", [*[0] * many, L_HIGHEST, b << 12]), u, tables.C, tables.DA, 1, many
                )
                checked_kernels().absorb(
                    0, 0, e, s, h, v, u, tables.TANH, quiet, 1, many, 0, steps, gain, steps.bit_length() - 2
                )
    assert many == 1 or widest("absorb", "u[a + _ETA]") > 0.2 * BOUND


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(1 - BOUND, BOUND - 1), min_size=4, max_size=4), st.integers(-4195000, 4195000),
    st.integers(1 - MESSAGE, MESSAGE - 1), st.sampled_from([0, 1, 32767]), st.integers(14, 40),
    st.integers(0, MAX_GAIN), st.integers(0, 8), st.sampled_from([-W_HIGHEST, 0, W_HIGHEST]),
)  # fmt: skip
@example([BOUND - 1] * 4, 4195000, MESSAGE - 1, 32767, 14, MAX_GAIN, 8, -W_HIGHEST)
@example([1 - BOUND] * 4, 4195000, MESSAGE - 1, 32767, 14, MAX_GAIN, 8, -W_HIGHEST)
@example([BOUND - 1] * 4, 32767, 65535, 32767, 14, 0, 0, W_HIGHEST)  # rounded up to 16 bits, and to 15
def test_any_sum_message_and_rate_stay_within_31_bits(sums, delta, message, multiplier, shift, gain, narrow, at):
    w, v = array("i", [at, max(at, L_LOWEST), at, at]), array("i", bytes(16))
    rule = array("i", [multiplier, shift, L_LOWEST, L_HIGHEST, *[multiplier, shift, -W_HIGHEST, W_HIGHEST] * 3])
    z = array("i", [0, delta, message])
    checked_kernels().adapt(0, 0, w, array("i", sums), v, z, rule, 1, 1, 1, gain, narrow)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_logits_and_messages_stay_within_31_bits(sign):
    units, outs = MAX_UNITS, MAX_ROWS
    y = [sign * 16383 * MAX_STEPS] * units
    v = array("i", [*[0] * (3 * units), *[32767] * (units * outs)])
    s, z = array("i", [*[0] * (3 * units), *y]), array("i", [0] * (2 * outs + units))
    checked_kernels().logits(s, v, z, units, 1, outs)
    assert abs(z[0]) == MESSAGE - 1
    z[outs : 2 * outs] = array("i", [sign * 4195000] * outs)
    u, e, quiet = array("i", bytes(4 * units * UNIT)), array("i", bytes(4 * units)), array("i", bytes(8))
    checked_kernels().teach(0, 0, e, s, v, u, z, quiet, units, 1, outs, 1)
    assert set(z[2 * outs :]) == {sign * (MESSAGE - 1)}
    assert diagonal_kernels._LIMIT == MESSAGE - 1
