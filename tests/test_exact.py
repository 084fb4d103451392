"""The exact rule's kernel against exact rationals: the message, its filter in reverse, and the gradient of a cell."""

from fractions import Fraction

from hypothesis import assume, example, given
from hypothesis import strategies as st
from kernel_bench import LIMIT, ONE, Bench, derived, messages, nearest, operands, words, ys

from fixedpoint import kernels
from fixedpoint.network import L_LOWEST, MAX_GAIN

LSB = 18  # Q18: what messages are in
at = st.integers(0, 320 * 4096 - 1).map(lambda k: (k << 9) + L_LOWEST)  # all l that make another (c, da)


def exact(bench: Bench) -> Bench:
    kernels.exact(0, 0, bench.h, bench.m, 1, bench.steps, 16 - bench.steps.bit_length())
    return bench


def message(x: int, v: int, wr: int, wb: int, y: int) -> int:
    bench = Bench(1, c=1 << 15)
    bench.fill(0, [y])
    bench.hear(1, [x], wl=wr)
    bench.hear(2, [v], wt=wb)
    return exact(bench).own()[0]


@given(messages, messages, operands, operands, ys)
@example((1 << 28) - 1, (1 << 28) - 1, 32767, 32767, 0)
@example(-(1 << 28), -(1 << 28), 32767, 32767, 0)
@example(-(1 << 28), (1 << 28) - 1, 32767, -32767, 0)
def test_split_products_of_the_message_equal_whole_ones_rounded_to_nearest(x, v, wr, wb, y):
    # Without memory (c = 1) nu is lam, and what the filter adds is exact.
    m = max(-LIMIT, min(LIMIT - 1, nearest(Fraction(x * wr + v * wb, 1 << 14))))
    d = ONE - nearest(Fraction(y * y, ONE))
    lam = message(x, v, wr, wb, y)
    assert lam == nearest(Fraction(m * d, 1 << 12)) and -(1 << 28) <= lam < 1 << 28


def backwards(lams: list[int], c: int) -> list[int]:
    """The row of nu that these messages make, with d = 1 and w = 1."""
    bench = Bench(len(lams), c=c)
    bench.hear(1, lams, wl=1 << 12)
    return exact(bench).own()


@given(st.lists(messages, min_size=1, max_size=12), at)
def test_the_filter_in_reverse_rounds_each_step_to_nearest(lams, master):
    c = derived(master, 0, 0, 0).get("c")
    nu, row = 0, []
    for lam in reversed(lams):
        lam = max(-LIMIT, min(LIMIT - 1, nearest(Fraction(lam, 4)))) * 4  # m is Q16, and d = 1
        nu = nearest(nu + Fraction(c, 1 << 15) * (lam - nu))
        row.append(nu)
    assert backwards(lams, c) == row[::-1]


@given(st.lists(messages, min_size=1, max_size=40), at)
def test_the_filtered_message_is_within_its_rounding_and_the_bound_of_messages(lams, master):
    # Half an LSB a step, of which the next one keeps 1 - c: 1/2c, or half an LSB for each step if these are fewer. And
    # what c lets in of the rounding of m, 2 LSB, or 4 where it saturates.
    c = derived(master, 0, 0, 0).get("c")
    nu = Fraction(0)
    for found, lam in zip(reversed(backwards(lams, c)), reversed(lams), strict=True):
        nu += Fraction(c, 1 << 15) * (lam - nu)
        assert abs(found - nu) <= 4 + min(Fraction(1 << 14, c), Fraction(len(lams), 2))
        assert -(1 << 28) <= found < 1 << 28


cells = st.tuples(at, operands, operands, st.integers(0, MAX_GAIN), st.booleans())
rows = st.lists(st.tuples(ys, ys, ys, messages, messages), min_size=1, max_size=16)


@given(cells, rows, operands, operands)
@example((L_LOWEST, 32767, 32767, 0, False), [(ONE - 1, 1 - ONE, 0, 1 << 27, 0)] * 16, 32767, 0)
@example((L_LOWEST, 32767, 32767, 4, True), [(ONE - 1, ONE - 1, 0, -(1 << 28), 0)] * 16, 4096, 0)
@example((L_LOWEST, 1, 1, 0, False), [(0, 0, 0, 5, 3)] * 3, 4096, 4096)
def test_the_gradient_of_a_cell_is_what_its_messages_say(cell, rows, wr, wb):
    """From the row of nu as the kernel leaves it, in exact rationals."""
    master, wl, wt, gain, both = cell
    made, steps, lag = derived(master, 0, 0, 0), len(rows), 0 if both else gain
    c, da = made.get("c"), made.get("da")
    bench = Bench(steps, c=c, da=da, wl=wl, wt=wt, gain=gain, lag=lag)
    left, top, y, right, below = map(list, zip(*rows, strict=True))
    for row, values in ((0, y), (3, left), (4, top)):
        bench.fill(row, values)
    bench.hear(1, right, wl=wr)
    bench.hear(2, below, wt=wb)
    exact(bench)
    nu, peak = bench.own(), bench.get("peak")
    found = [Fraction(g) * Fraction(2) ** (bench.get("exponent") - 32) for g in bench.gradient()]
    if not any(right + below):
        assert found == [0] * 4 and nu == [0] * steps and peak == 0
        return
    lsb = Fraction(2) ** (bench.get("exponent") - 32)
    assert peak.bit_length() == max(map(abs, nu)).bit_length()
    e = max(0, peak.bit_length() - (16 - steps.bit_length()))  # bits that nu loses as a factor
    half = Fraction(1 << e, 2 << LSB) if e else Fraction(0)

    # dL/dw, with inputs as they are stored: half of what nu loses, times |x| < 1, a step; and the last floor.
    for k, x in ((1, left), (2, top)):
        exactly = sum(n * Fraction(v, ONE << LSB) for n, v in zip(nu, x, strict=True))
        assert abs(found[k] - exactly) <= steps * half + lsb

    # dL/db: the sum of lam is exact, and cut off once.
    lams = []
    for values in zip(y, right, below, strict=True):
        m = max(-LIMIT, min(LIMIT - 1, nearest(Fraction(values[1] * wr + values[2] * wb, 1 << 14))))
        lams.append(nearest(Fraction(m * (ONE - nearest(Fraction(values[0] ** 2, ONE))), 1 << 12)))
    assert 0 <= Fraction(sum(lams), 1 << LSB) - found[3] < lsb

    # dL/dl, in units of the left port. The drive: traces are read within an LSB, which (|wL| + |wT|) 2**fine <= 16 make
    # 1/2 of its LSB at Q(9 + fine), rounding another, and the cut of its parts before less than 2**-10.
    room = abs(wl) + (abs(wt) >> lag)
    fine = max(bits for bits in range(5) if room << bits <= 65536)
    off = Fraction(1 + 2**10, 2 ** (19 + fine))
    wl, wt = Fraction(wl, 1 << 12), Fraction(wt, 1 << 12) / (1 << lag)
    e_left = e_top = sum_ = tolerance = Fraction(0)
    for n, u, v in zip(nu, left, top, strict=True):
        u, v, n = Fraction(u, ONE), Fraction(v, ONE), Fraction(n, 1 << LSB)
        drive = wl * (u - e_left) + wt * (v - e_top)
        e_left += Fraction(c, 1 << 15) * (u - e_left)
        e_top += Fraction(c, 1 << 15) * (v - e_top)
        sum_ += n * drive
        tolerance += (abs(n) + half) * off + half * abs(drive)
    ratio = Fraction(da, c)
    # The quotient is cut off to 14 bits, the product by an LSB of the sum, and the gradient's word of l is 16 long.
    cut = Fraction(2) ** (e - LSB - 13 - fine)
    assert abs(found[0] * 16 + ratio * sum_) <= ratio * tolerance + abs(sum_) / ONE + tolerance / ONE + cut + 16 * lsb


@given(st.lists(messages, min_size=1, max_size=40))
def test_the_exponent_has_room_for_the_sum_of_the_messages_and_none_to_spare(lams):
    steps = len(lams)
    bench = Bench(steps, c=1 << 15)
    bench.hear(1, lams, wl=1 << 12)
    exact(bench)
    assume(bench.get("peak"))
    total = sum(max(-LIMIT, min(LIMIT - 1, nearest(Fraction(lam, 4)))) * 4 for lam in lams)
    needed = bench.get("peak").bit_length() - (16 - steps.bit_length()), (abs(total >> 14) >> 5).bit_length(), 0
    assert bench.get("exponent") == max(needed) + kernels._COARSE and abs(bench.gradient()[3]) < 1 << 30


def test_no_message_leaves_nothing_to_learn():
    bench = Bench(3, c=1 << 15, wl=5, exponent=9, peak=7)
    bench.fill(0, [5, 6, 7])
    bench.m[kernels._GRADIENT : kernels._GRADIENT + 4] = words(1, 2, 3, 4)
    exact(bench)
    assert (bench.own(), bench.gradient(), bench.get("peak"), bench.get("exponent")) == ([0] * 3, [0] * 4, 0, 0)
