"""The generator of the parameters: the kernel in 16-bit halves against xorshift32 as it is published, in 32 bits."""

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixedpoint import kernels
from fixedpoint.network import Random
from host.engine.checked import checked_kernels
from host.engine.lanes import one_lattice
from host.runs.presets import PRESETS


class Published:
    """xorshift32 (Marsaglia 2003), shifts 13, 17, 5, in NumPy's 32 bits; the engine's seeding and 16 draws to warm."""

    def __init__(self, seed: int):
        self.x = np.array([(seed * 2654435761 + 1013904223) % 2**32 or 1], np.uint32)
        for _ in range(16):
            self.draw()

    def draw(self) -> int:
        """The high half of the next state."""
        x = self.x
        x ^= x << np.uint32(13)
        x ^= x >> np.uint32(17)
        x ^= x << np.uint32(5)
        return int(x[0]) >> 16


@pytest.mark.parametrize("run", [kernels, one_lattice(), checked_kernels()], ids=["python", "llvm", "checked"])
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_draws_are_those_of_the_published_generator(run: ModuleType, seed: int, terms: list[int]) -> None:
    found, wanted = Random(seed, run), Published(seed)
    for n in terms:
        assert found.draw(n) == sum(wanted.draw() for _ in range(n))


def test_a_seed_whose_state_would_be_zero_has_a_sequence_all_the_same() -> None:
    seed = -1013904223 * pow(2654435761, -1, 2**32) % 2**32
    assert (seed * 2654435761 + 1013904223) % 2**32 == 0
    assert len({Random(seed).draw()} | {Random(seed).draw(2)}) == 2 and Random(seed).draw(100)


def test_sum_of_the_most_draws_stays_within_31_bits() -> None:
    """16,383 draws: the sum is below 16,383 * 65,535 < 2**30."""
    assert 0 < Random(1, checked_kernels()).draw(16383) < 2**30


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_spread_as_the_preset_says(name: str) -> None:
    """Four standard errors of 4,000 draws; every master within +-8."""
    init = PRESETS[name].init
    random = Random(3)
    normal = np.array([random.normal(init[7], init[8]) for _ in range(4000)]) / 2**26
    assert abs(normal.mean() - init[7] / 4096) <= 4 * (init[8] / 4096) / 4000**0.5 + 2**-15
    assert normal.std() == pytest.approx(init[8] / 4096, rel=0.05, abs=1e-9)
    uniform = np.array([random.uniform(init[5], init[6]) for _ in range(4000)])
    assert (uniform >= init[5] << 14).all() and (uniform < max(init[6] << 14, (init[5] << 14) + 1)).all()
    spread = (init[6] - init[5]) << 14
    assert uniform.mean() == pytest.approx((init[5] + init[6]) << 13, abs=spread / 12**0.5 * 4 / 4000**0.5 + 1)
