"""What a circuit computes in one go: roundings, saturation, tables, the softmax. Integers of any size.

A value v of format Qn stands for v / 2**n. What a kernel does in halves, to stay within 31 bits, is one product here.
"""

from collections.abc import Sequence

from fixedpoint.tables import EXP, TANH

LONGEST_STEP = (1 << 29) - 1  # of an update, Q26: just below 8.0


def floor(value: int, bits: int) -> int:
    """value / 2**bits, rounded down."""
    return value >> bits


def nearest(value: int, bits: int) -> int:
    """value / 2**bits, rounded to nearest, ties up."""
    return (value + ((1 << bits) >> 1)) >> bits


def rounded_off(value: int, bits: int, how: str) -> int:
    """value with its last `bits` bits made 0: rounded down ("floor"), to "nearest" (ties up) or towards "zero"."""
    if how == "nearest":
        kept = nearest(value, bits)
    elif how == "zero" and value < 0:
        kept = -floor(-value, bits)
    else:
        kept = floor(value, bits)
    return kept << bits


def clip(value: int, lowest: int, highest: int) -> int:
    """value, saturated."""
    return max(lowest, min(highest, value))


def looked_up(table: Sequence[int], x: int, bits: int) -> int:
    """Entry x / 2**bits of the table, interpolated, to nearest. 0 <= x; the last entry stands for all beyond."""
    i, f = divmod(x, 1 << bits)
    return nearest(table[i] * ((1 << bits) - f) + table[min(i + 1, len(table) - 1)] * f, bits)


def squashed(drive: int) -> int:
    """y = tanh(s + b), Q14 of Q14; beyond 8.0 as at 8.0 - 1 LSB."""
    size = looked_up(TANH, min(abs(drive), (8 << 14) - 1), 8)
    return -size if drive < 0 else size


def slope(y: int) -> int:
    """d = 1 - y^2, Q14 of Q14."""
    return (1 << 14) - nearest(y * y, 14)


def message(d: int, *heard: tuple[int, int]) -> int:
    """lam = m d, in the format of what arrives. d: Q14. heard: (weight Q12, message) of every descendant.

    m has two bits less after the point than messages have, and is saturated at 27 bits.
    """
    m = clip(nearest(sum(k * sent for k, sent in heard), 14), -(1 << 26), (1 << 26) - 1)
    return nearest(m * d, 12)


def softmax_error(logits: Sequence[int], label: int, cool: int = 0) -> list[int]:
    """delta = (softmax(logits / 2**cool) - onehot(label)) / 2**cool, Q22, (classes,); logits: Q14, (classes,)."""
    below = [floor(max(logits) - z, cool) for z in logits]
    exps = [looked_up(EXP, x, 9) if x < 16 << 14 else 0 for x in below]
    narrow = sum(exps).bit_length() - 15
    p = [nearest((e << 15) // (sum(exps) >> narrow), narrow + cool - 7) for e in exps]
    p[label] = 0
    p[label] = -sum(p)
    return p


def shifted(step: int, down: int) -> int:
    """step / 2**down: down to nearest, or up as far as there is room (Q26, below 8.0)."""
    if down > 0:
        return nearest(step, down)
    limit = LONGEST_STEP >> -down
    return clip(step, -limit, limit) << -down


def scalar_product(pairs: Sequence[tuple[int, int]]) -> int:
    """Sum of a * b / 2**12, each to nearest, saturated at 29 bits after every one of them."""
    total = 0
    for a, b in pairs:
        total = clip(total + nearest(a * b, 12), 1 - (1 << 28), (1 << 28) - 1)
    return total


def longer_by(value: int, bits: int) -> int:
    """By how many bits |value| is longer than `bits`."""
    return max(0, abs(value).bit_length() - bits)
