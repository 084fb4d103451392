"""host.runs.order: all draws at once give the order that drawing one after the other gives."""

import numpy as np
import pytest

from fixedpoint.network import Random
from host.runs.order import shuffled


@pytest.mark.parametrize(
    "seed, count",
    [(1, 1), (1, 2), (2, 3), (0, 33), (7920, 1000), (2**31 + 79190, 4097), (2**34 - 1, 64), (3, 20000)],
)
def test_order_is_that_of_drawing_one_after_the_other(seed, count):
    random, order = Random(seed), list(range(count))
    for i in range(count - 1, 0, -1):
        k = ((random.draw() << 16 | random.draw()) * (i + 1)) >> 32
        order[i], order[k] = order[k], order[i]
    np.testing.assert_array_equal(shuffled(seed, count), order)
