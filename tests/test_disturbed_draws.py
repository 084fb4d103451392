"""The generator of all that is random in disturbed kernels, and what is drawn once: flaws of cells."""

import math
from array import array
from itertools import pairwise

import numpy as np
import pytest
from disturbed_bench import small

from host.engine.distort import DRAW, MULTIPLIER, NOISE, SEED, STEP
from host.engine.disturbed import flawed, flaws, names
from host.engine.passes import passes_of
from host.engine.sites import SITES
from host.engine.walk import interpreted
from host.runs.disturbance import parse

WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)  # enough below 3.3e24 (Sorenson and Webster 2015)


def prime(n: int) -> bool:
    """Miller-Rabin with witnesses that leave no doubt."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for witness in WITNESSES:
        x = pow(witness, odd, n)
        if x not in (1, n - 1) and all((x := x * x % n) != n - 1 for _ in range(twos - 1)):
            return False
    return True


def test_the_period_is_as_long_as_a_safe_prime_makes_it():
    """Lag 2, base b = 2**16: the period is the order of b modulo a b**2 - 1, here half of that less 1."""
    modulus = MULTIPLIER * 2**32 - 1
    assert prime(modulus) and prime((modulus - 1) // 2)
    assert pow(2**16, (modulus - 1) // 2, modulus) == 1 and pow(2**16, 2, modulus) != 1


def test_draws_are_those_of_the_recursion_and_stay_within_31_bits():
    """x(n) = a x(n - 2) + carry modulo 2**16; the largest state, and the largest again after it."""
    assert 65535 * MULTIPLIER + MULTIPLIER - 1 < 2**30
    code = compile("\n".join(DRAW), "draw", "exec")
    for older, newer, carry in ((65535, 65535, MULTIPLIER - 1), (1, 2, 3), (0, 0, 1)):
        state, past = {"rng_x": newer, "rng_y": older, "rng_c": carry}, [older, newer]
        for _ in range(50):
            exec(code, {}, state)
            total = MULTIPLIER * past[-2] + carry
            past.append(total % 2**16)
            carry = total // 2**16
            assert (state["rng_x"], state["rng_y"], state["rng_c"]) == (past[-1], past[-2], carry)
            assert carry < MULTIPLIER


def states(seed: int, steps: range, pixels: bytes = bytes(range(48))) -> np.ndarray:
    """x, y and carry as stir() leaves them at each step."""
    kernels, found = interpreted(passes_of(small("lattice", 1, "y noise=0.1"))), []
    for step in steps:
        noise = array("i", [0] * NOISE)
        noise[STEP], noise[SEED] = step, seed
        kernels.stir(noise, pixels, len(pixels))
        found.append(noise[:3].tolist())
    return np.array(found)


def drawn(begin: np.ndarray) -> np.ndarray:
    """The first draw from each state."""
    return (MULTIPLIER * begin[:, 1] + begin[:, 2]) % 65536


def chi_square(cells: np.ndarray, number: int) -> float:
    """How many standard deviations chi-square of equally likely cells is above its mean."""
    counts = np.bincount(cells, minlength=number)
    wanted = len(cells) / number
    return float((((counts - wanted) ** 2 / wanted).sum() - (number - 1)) / math.sqrt(2 * (number - 1)))


@pytest.mark.parametrize("seed", [0, 1, 40503])
def test_first_draws_of_neighbouring_steps_have_nothing_in_common(seed):
    """High and low bits of the states and of the first draw, alone and in pairs of steps 1, 2 and 7 apart."""
    begin = states(seed, range(5000, 15000))
    assert (begin[:, 2] > 0).all() and (begin[:, 2] < MULTIPLIER).all() and begin.min() >= 0
    for values in (begin[:, 0], begin[:, 1], drawn(begin)):
        for part in (values >> 12, values & 15):
            assert chi_square(part, 16) < 4.5
            for apart in (1, 2, 7):
                assert chi_square(part[apart:] * 16 + part[:-apart], 256) < 4.5
    assert chi_square((drawn(begin) >> 12) * 16 + (begin[:, 0] >> 12), 256) < 4.5


def test_neighbouring_seeds_and_images_have_nothing_in_common():
    one = drawn(states(7, range(4000)))
    for other in (drawn(states(8, range(4000))), drawn(states(7, range(4000), bytes([0, 0, *range(2, 48)])))):
        assert chi_square((one >> 12) * 16 + (other >> 12), 256) < 4.5
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / math.sqrt(4000)


def test_draws_are_even_and_independent():
    """Chi-square of both bytes, of pairs 1 to 8 apart, and of noise, the sum of the two."""
    code, state = compile("\n".join(DRAW), "draw", "exec"), {"rng_x": 12345, "rng_y": 54321, "rng_c": 77}
    found = []
    for _ in range(60000):
        exec(code, {}, state)
        found.append(state["rng_x"])
    x = np.array(found)
    assert chi_square(x >> 8, 256) < 4.5 and chi_square(x & 255, 256) < 4.5
    assert chi_square((x >> 12) * 16 + ((x >> 4) & 15), 256) < 4.5  # the two bytes' leading halves
    for lag in range(1, 9):
        for part in (x >> 12, (x >> 4) & 15):
            assert chi_square(part[lag:] * 16 + part[:-lag], 256) < 4.5


# --- flaws


def drawn_flaws(text: str, kind: str, seed: int, rows: int = 40, cols: int = 25) -> np.ndarray:
    """Factors and offsets, one row for each site, of many cells."""
    network = small(kind, 1, rows=rows, cols=cols)
    found = flaws(parse(text), names(passes_of(network)), network, seed)
    return found.reshape(-1, network.cells, 2)


def test_factors_and_offsets_are_normal_and_different_for_every_site_and_seed():
    """1,000 cells: mean, deviation, skewness and kurtosis within 4 standard errors of a normal's."""
    text = "weight mismatch=0.1 offset=0.05"
    one, two = drawn_flaws(text, "lattice", 1), drawn_flaws(text, "lattice", 2)
    assert len(one) == 3  # wL, wT, b
    for at, sites in ((0, (16384, 1638.4)), (1, (0, None))):
        for k, q in enumerate((12, 12, 14)):
            mean, deviation = sites[0], sites[1] or 0.05 * 2**q
            z = (one[k, :, at] - mean) / deviation
            assert abs(z.mean()) < 4 / math.sqrt(1000) and abs(z.std() - 1) < 4 / math.sqrt(2000)
            assert abs((z**3).mean()) < 4 * math.sqrt(15 / 1000) and abs((z**4).mean() - 3) < 4 * math.sqrt(96 / 1000)
        for a, b in [*pairwise(one[:, :, at]), *zip(one[:, :, at], two[:, :, at], strict=True)]:
            assert abs(np.corrcoef(a, b)[0, 1]) < 4 / math.sqrt(1000)
    assert abs(np.corrcoef(one[0, :, 0], one[0, :, 1])[0, 1]) < 4 / math.sqrt(1000)
    assert (drawn_flaws(text, "lattice", 1) == one).all()


def test_a_share_of_the_cells_is_stuck_at_the_value():
    found = drawn_flaws("y stuck=0.1 value=0.5 mismatch=0.1", "lattice", 1)[0]
    stuck = (found == (0, 1 << 13)).all(1)
    assert stuck.sum() == 100 and (found[~stuck, 1] == 0).all() and (found[~stuck, 0] > 0).all()
    other = (drawn_flaws("y stuck=0.1 value=0.5", "lattice", 2)[0] == (0, 1 << 13)).all(1)
    assert (stuck & other).sum() < 40 and other.sum() == 100  # 10 expected


def test_what_is_written_by_one_statement_has_flaws_of_its_own_and_room_for_them():
    """No site reads another's: `flaw` is as long as all of them."""
    for kind in ("lattice", "exact", "diagonal"):
        network = small(kind, 1)
        called = names(passes_of(network))
        for signal in sorted({site.signal for site in SITES if "mismatch" in site.keys and site.kernel in called}):
            if not (clauses := parse(f"{signal} mismatch=0.1")) or signal in ("state", "self", "master", "update"):
                continue
            own = [site for _, site in flawed(clauses, called)]
            assert len({site.element for site in own}) == len(own)
            assert len(flaws(clauses, called, network, 1)) == sum(2 * site.count(network) for site in own) > 0
