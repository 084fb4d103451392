"""Means with their confidence intervals: Student's t, for few seeds."""

import math
import statistics
from collections.abc import Sequence
from functools import cache

CONFIDENCE = 0.95


def within(t: float, freedom: int) -> float:
    """The probability that Student's t of so many degrees of freedom lies within +-t.

    A finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


@cache
def quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """The t with this probability within +-t."""
    low, high = 0.0, 1.0
    while within(high, freedom) < confidence:
        high *= 2
    for _ in range(80):  # halvings: more than a float has bits
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < confidence else (low, middle)
    return high


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The confidence interval of their mean; None of fewer than two, which have none."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half
