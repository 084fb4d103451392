"""What is done to one signal, statement by statement, against independent models: fxpmath, NumPy, probability.

The statements that stand in the kernels are run by plain CPython on one number after the other. Rounding to nearest is
`x + half >> cut`, so a tie goes up, whatever its sign: fxpmath's "around", which takes the even one, differs there,
and its "floor" of half an LSB more is the same everywhere.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from disturbed_bench import DIVISOR, noise_images, small
from fxpmath import Fxp
from hypothesis import given, settings
from hypothesis import strategies as st

from host.engine import distort
from host.engine.distort import ACCUMULATORS, HALF, INCOMING, MESSAGE, TRIANGLE, statements
from host.engine.sites import SITES, Site
from host.engine.walk import Walk
from host.runs.disturbance import Clause, parse

RELATIVE = ["message noise=0.1", "message noise=8", "incoming noise=0.02", "incoming noise=0.001"]
NARROWED = [site for site in SITES if "bits" in site.keys]
NOISY = [site for site in SITES if "noise" in site.keys and site.signal not in distort.AMPLITUDE]
SCALED = [site for site in SITES if "gain" in site.keys]
LEAKY = [site for site in SITES if "leak" in site.keys and site.signal in ACCUMULATORS]


def label(site: Site) -> str:
    return f"{site.signal}-{site.kernel}-{site.variable}"


@cache
def code(lines: tuple[str, ...]) -> Any:
    return compile("\n".join(lines), "statements", "exec")


def run(clause: Clause, site: Site, values: list[int], fine: int = 0, **scope: Any) -> list[int]:
    """What the statements make of each value, one after the other: the generator goes on."""
    found, lines = [], tuple(statements(clause, site, 0))
    scope |= {"fine": fine, "p": 0, "k": 0}
    for value in values:
        scope[site.variable] = value
        exec(code(lines), {}, scope)
        found.append(scope[site.variable])
    return found


def generator(seed: int = 1) -> dict[str, int]:
    return {"rng_x": seed * 7919 % 65536, "rng_y": seed * 104729 % 65536, "rng_c": 1 + seed % 8000, "rng_t": 0}


def bits_of(site: Site, fine: int) -> int:
    """Fraction bits."""
    return site.q if isinstance(site.q, int) else int(site.q.split(" + ")[0]) + fine


def zero_of(site: Site) -> int:
    """What stands for 0."""
    return HALF if site.signal in ACCUMULATORS else 0


def reach(site: Site) -> int:
    """The largest value that may be there."""
    return site.bound or (1 << 26)


@pytest.mark.parametrize("site", NARROWED, ids=label)
@settings(max_examples=25)
@given(data=st.data(), fine=st.integers(0, 4), bits=st.integers(0, 29),
       how=st.sampled_from(["floor", "nearest", "zero"]))  # fmt: skip
def test_bits_are_cut_off_as_fxpmath_does(site, data, fine, bits, how):
    q = bits_of(site, fine)
    known = q if isinstance(site.q, int) else q - fine
    values = data.draw(st.lists(st.integers(site.lowest or -reach(site), reach(site)), min_size=1, max_size=20))
    kept = min(bits, q) if bits <= known else q
    cut = q - kept
    values += [(n << cut) + (1 << cut >> 1) for n in (-1, 0, 1) if abs(n) << cut < reach(site)]  # ties
    found = run(Clause(site.signal, bits=bits, rounding=how), site, [x + zero_of(site) for x in values], fine)
    real = np.ldexp(np.array(values, float), -q)
    form = {"signed": True, "n_word": kept + 40 if kept < 20 else 60, "n_frac": kept}
    if how == "nearest":
        half = math.ldexp(0.5, -kept) if cut else 0.0
        wanted = Fxp(real + half, **form, rounding="floor")
        even = np.asarray(Fxp(real, **form, rounding="around")())
        tie = np.mod(np.ldexp(real, kept), 1) == 0.5
        assert (tie | (np.asarray(wanted()) == even)).all()
    else:
        wanted = Fxp(real, **form, rounding={"floor": "floor", "zero": "fix"}[how])
    exact = np.ldexp(np.asarray(wanted()), q).astype(int)
    if site.lowest is not None:
        exact = np.maximum(exact, site.lowest)
    assert [x - zero_of(site) for x in found] == exact.tolist()


@pytest.mark.parametrize("site", [x for x in NARROWED if isinstance(x.q, int)], ids=label)
@settings(max_examples=25)
@given(data=st.data(), bits=st.integers(0, 29) | st.none(), limit=st.integers(-12, 12),
       how=st.sampled_from(["floor", "nearest", "zero"]), overflow=st.sampled_from(["saturate", "wrap"]))  # fmt: skip
def test_a_word_ends_where_fxpmaths_does(site, data, bits, limit, how, overflow):
    q = bits_of(site, 0)
    kept = q if bits is None else min(bits, q)
    if kept + limit < 0:  # no bit is left, which the text does not allow (or which no bit of the signal has)
        return
    values = data.draw(st.lists(st.integers(site.lowest or -reach(site), reach(site)), min_size=1, max_size=20))
    top = 1 << (q + limit)
    values += [x for x in (-top - 1, -top, 1 - top, top - 1, top) if (site.lowest or -reach(site)) <= x <= reach(site)]
    clause = Clause(site.signal, bits=bits, limit=limit, rounding=how, overflow=overflow)
    found = run(clause, site, [x + zero_of(site) for x in values])
    real = np.ldexp(np.array(values, float), -q)
    if how == "nearest" and q > kept:
        real = real + math.ldexp(0.5, -kept)
    word = Fxp(real, signed=True, n_word=kept + limit + 1, n_frac=kept, overflow=overflow,
               rounding="fix" if how == "zero" else "floor")  # fmt: skip
    exact = np.ldexp(np.asarray(word()), q).astype(int)
    if site.lowest is not None:
        exact = np.maximum(exact, site.lowest)
    assert [x - zero_of(site) for x in found] == exact.tolist()


@pytest.mark.parametrize("q, bits", [(14, 10), (22, 3), (29, 12), (26, 8)])
def test_stochastic_rounding_takes_either_neighbour_with_the_probability_of_what_is_lost(q, bits):
    """Each share of ups within 4 standard errors of the fraction, and all together as chi-square has it.

    A draw has 16 bits: with more that are cut off a probability is a multiple of 2**-16, which 4,000 draws do not see.
    """
    site = Site("master", "update", "x = x", ("x = x", "@x"), q, 1 << 29)
    cut, draws, scope, chi = q - bits, 4000, generator(), 0.0
    shares = [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98]
    for k, share in enumerate(shares):
        lower = (k - 3) << cut
        x = lower + min(max(1, round(share * (1 << cut))), (1 << cut) - 1)
        exact = (x - lower) / (1 << cut)
        found = np.array(run(Clause("master", bits=bits, rounding="stochastic"), site, [x] * draws, **scope))
        scope = generator(k + 2)
        assert set(found.tolist()) == {lower, lower + (1 << cut)}
        error = (found.mean() - x) / (1 << cut)
        deviation = math.sqrt(exact * (1 - exact) / draws)
        assert abs(error) < 4 * deviation
        chi += (error / deviation) ** 2
    assert chi < len(shares) + 4 * math.sqrt(2 * len(shares))


def triangle_distance(noise: np.ndarray, deviation: float) -> float:
    """The largest distance of the empirical distribution from the triangle's (Kolmogorov), times sqrt(n)."""
    ends = deviation * math.sqrt(6)
    z = np.sort(noise) / ends
    wanted = np.where(z < 0, (1 + z).clip(0) ** 2 / 2, 1 - (1 - z).clip(0) ** 2 / 2)
    return float(np.abs(wanted - (np.arange(len(z)) + 0.5) / len(z)).max() * math.sqrt(len(z)))


@pytest.mark.parametrize("site", NOISY, ids=label)
def test_noise_is_a_triangle_of_the_deviation_asked_for_in_the_sites_unit(site):
    """Of 6,000 draws: mean and deviation within 4 standard errors, no serial correlation, bounded by 2.44 deviations.

    The LSB's 1/sqrt(12) and what the amplitude is rounded by, 2**-18 of it at most, come on top.
    """
    fine, count = 2, 6000
    asked = 0.05 if site.signal not in ("coefficient", "weight") else 0.02
    deviation = asked * site.unit * 2 ** bits_of(site, fine)
    base = reach(site) // 4 if site.lowest is not None else 0
    found = np.array(run(Clause(site.signal, noise=asked), site, [base] * count, fine, **generator())) - base
    assert abs(found.mean()) < 4 * deviation / math.sqrt(count) + 0.5
    assert found.std() == pytest.approx(deviation, rel=4 * math.sqrt(1.4 / 4 / count), abs=0.3)  # kurtosis 2.4
    assert np.abs(found).max() <= 255 / TRIANGLE * deviation * (1 + 2**-18) + 1
    z = (found - found.mean()) / found.std()
    for lag in range(1, 9):
        assert abs((z[lag:] * z[:-lag]).mean()) < 4 / math.sqrt(count)
    # 511 levels of the draw make steps of the distribution, at most 1/256 high; 1.95: 0.1 % of true ones are beyond
    assert triangle_distance(found, deviation) < 1.95 + math.sqrt(count) / 256


@pytest.mark.parametrize(
    "kind, text",
    [(k, x) for k in ("lattice", "exact", "diagonal") for x in RELATIVE if k != "diagonal" or "incoming" not in x],
)
def test_noise_of_messages_is_relative_to_the_rms_of_delta(kind, text):
    """Amplitude = noise RMS 2**4 / TRIANGLE, in LSB of the signal.

    delta, brought to 11 bits, loses less than 1 of at least 1024 / sqrt(outs) (its RMS), if anything; the mean square
    and the root, 3 bits finer, less than 1/8 of an LSB of that each; the factor has an error of half of 2**-24 or of
    2**-14 of itself, whichever is larger; and the amplitude is rounded.
    """
    clause = parse(text)[0]
    network = small(kind, 3, text)
    walk, outs = Walk(network), network.cols
    images, labels = noise_images(4, 1)
    for image, label_ in zip(images[:, 0], labels[:, 0].tolist(), strict=True):
        walk.train(image.tobytes(), label_)
        delta = np.array(walk.arrays["z"][outs : 2 * outs], float)
        rms = math.sqrt((delta**2).mean())
        lsb = DIVISOR[kind] * (4 if clause.signal == "incoming" else 1)  # of the signal, in LSB of delta
        wanted = clause.noise * rms * 16 / TRIANGLE / lsb
        root = max(2**-10 * math.sqrt(outs) * 1.25, 0.25 / rms) if rms else 0
        factor = 0.5 / min(max(clause.noise * 2 / TRIANGLE * 2**24, 1), 2**14)
        tolerance = wanted * (root + factor) + 0.5
        assert abs(walk.arrays["noise"][MESSAGE if clause.signal == "message" else INCOMING] - wanted) <= tolerance


@pytest.mark.parametrize("site", SCALED, ids=label)
@settings(max_examples=25)
@given(data=st.data(), gain=st.floats(0, 1.999), positive=st.floats(0, 1.999), negative=st.floats(0, 1.999))
def test_gains_scale_by_sign_to_the_nearest_lsb(site, data, gain, positive, negative):
    """A factor is a multiple of 2**-14, so 2**-15 |x| off, and the product half an LSB; then the site's bound."""
    values = data.draw(st.lists(st.integers(site.lowest or -reach(site), reach(site)), min_size=1, max_size=20))
    found = run(Clause(site.signal, gain=gain, positive=positive, negative=negative), site, values)
    for x, y in zip(values, found, strict=True):
        wanted = x * gain * (negative if x < 0 else positive)
        wanted = min(max(wanted, site.lowest if site.lowest is not None else -site.bound), site.bound)
        assert abs(y - wanted) <= 0.5 + abs(x) * 2**-15


@pytest.mark.parametrize("site", SCALED, ids=label)
def test_scatter_is_a_factor_drawn_anew_each_time(site):
    """Mean 1, the deviation asked for, within 4 standard errors of 4,000 draws and an LSB of either."""
    x, count, asked = reach(site) // 3, 4000, 0.2
    found = np.array(run(Clause(site.signal, scatter=asked), site, [x] * count, **generator(5))) / x
    lsb = 2**-14 + 1 / x
    assert abs(found.mean() - 1) < 4 * asked / math.sqrt(count) + lsb
    assert found.std() == pytest.approx(asked, rel=4 * math.sqrt(1.4 / 4 / count), abs=lsb)
    assert np.abs(found - 1).max() <= 255 / TRIANGLE * asked + lsb


@pytest.mark.parametrize("site", LEAKY, ids=label)
@settings(max_examples=25)
@given(data=st.data(), leak=st.floats(0.001, 1), fine=st.integers(0, 4))
def test_a_leak_loses_its_part_of_what_is_kept(site, data, leak, fine):
    """The part in multiples of 2**-14, what it is taken of in 2**14 LSB, nearest: half of each is the error.

    What stands for 0, half an LSB of the reading, leaks not.
    """
    lines = Clause(site.signal, leak=leak)
    values = data.draw(st.lists(st.integers(-(1 << 29), 1 << 29), min_size=1, max_size=20))
    found = run(lines, Site(site.signal, site.kernel, site.old, site.new, site.q, keys=("leak",)),
                [x + HALF for x in values], fine)  # fmt: skip
    for x, y in zip(values, found, strict=True):
        assert abs(y - HALF - x * (1 - leak)) <= abs(x) * 2**-15 + 2**13 * leak + 1


@pytest.mark.parametrize("site", SCALED, ids=label)
@settings(max_examples=25)
@given(data=st.data(), factor=st.integers(0, 32752), offset=st.integers(-(2**15), 2**15), fine=st.integers(0, 4))
def test_a_cells_factor_and_offset_are_those_of_its_entry(site, data, factor, offset, fine):
    values = data.draw(st.lists(st.integers(site.lowest or -reach(site), reach(site)), min_size=1, max_size=20))
    found = run(Clause(site.signal, mismatch=0.1), site, values, fine, flaw=[factor, offset])
    shift = 0 if isinstance(site.q, int) else fine
    for x, y in zip(values, found, strict=True):
        scaled = (x * factor + 8192) >> 14
        lowest = site.lowest if site.lowest is not None else -site.bound
        assert y == min(max(scaled + (offset << shift), lowest), site.bound)


# --- block floating point


def blocked(values: list[int], bits: int, how: Callable[[np.ndarray], np.ndarray], largest: int) -> list[int]:
    """All values with the exponent of the largest, in words of so many bits, in NumPy."""
    limit, exponent = 2 ** (bits - 1) - 1, 0
    while largest // 2**exponent > limit:
        exponent += 1
    mantissas = how(np.array(values, float) / 2**exponent).clip(-limit, limit)
    return (mantissas * 2**exponent).astype(int).tolist()


MODELS = {"floor": np.floor, "nearest": lambda x: np.floor(x + 0.5), "zero": np.trunc}
rows = st.lists(st.sampled_from([-(1 << 28) + 1, (1 << 28) - 1, 0, 1, -1]) | st.integers(-(1 << 28) + 1, (1 << 28) - 1),
                min_size=4, max_size=4)  # fmt: skip


@pytest.mark.parametrize("how", MODELS)
@settings(max_examples=25)
@given(values=rows, bits=st.integers(2, 31))
def test_a_row_of_messages_has_the_exponent_of_its_largest(values, bits, how):
    peak = 0
    for value in values:
        peak |= abs(value)
    scope = {"h": [7, *values, 7], "peak": peak, "p": 0, "steps": 4}
    lines = [line.replace("p * steps", "1 + p * steps") for line in distort.block_of_messages(bits, how)]
    exec("\n".join(lines), {}, scope)
    assert scope["h"] == [7, *blocked(values, bits, MODELS[how], max(map(abs, values))), 7]


@pytest.mark.parametrize("how", MODELS)
@settings(max_examples=25)
@given(values=rows, bits=st.integers(2, 31))
def test_the_gradients_of_a_cell_have_the_exponent_of_their_largest(values, bits, how):
    """A negative one, as two's complement has it, is as long as itself less 1: it counts for powers of 2."""
    scope = {"m": [7, *values, 7], "i": 0, "_GRADIENT": 1}
    exec("\n".join(distort.block_of_gradients(bits, how)), {}, scope)
    largest = max(x if x >= 0 else -x - 1 for x in values)
    assert scope["m"] == [7, *blocked(values, bits, MODELS[how], largest), 7]


@settings(max_examples=25)
@given(values=rows, bits=st.integers(0, 29), exponent=st.integers(0, 27), gain=st.integers(0, 4), both=st.booleans())
def test_gradients_of_so_many_bits_are_multiples_of_their_lsb_in_real_numbers(values, bits, exponent, gain, both):
    """dL/dtheta = g 2**(EXPONENT - 32), of l 2**(EXPONENT - 28); times 2**GAIN of l, wL, 2**(GAIN - LAG) of wT."""
    lag = 0 if both else gain
    m = [exponent, gain, lag, *values]
    scope = {"m": m, "i": 0, "_EXPONENT": 0, "_GAIN": 1, "_LAG": 2, "_GRADIENT": 3}
    exec("\n".join(distort.fixed_gradients(bits, "nearest")), {}, scope)
    for k, (x, y) in enumerate(zip(values, m[3:], strict=True)):
        unit = exponent - (28 if k == 0 else 32) + (gain, gain, gain - lag, 0)[k]
        real, kept = math.ldexp(x, unit), math.ldexp(y, unit)
        cut = -bits - unit
        if cut <= 0:
            assert y == x
        elif cut <= 30:
            assert kept == math.floor(math.ldexp(real, bits) + 0.5) * 2.0**-bits
        else:  # the word itself ends there
            assert abs(y) in (0, 1 << 30)
