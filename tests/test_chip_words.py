"""The chip's order with word lengths against the disturbed engine: the same bits. And what an observer of it sees."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from disturbed_bench import KINDS, WIRINGS, noise_images, small
from hypothesis import given, settings
from hypothesis import strategies as st

from fixedpoint import kernels, wiring
from fixedpoint.diagonal import Diagonal
from fixedpoint.lattice import CELL
from fixedpoint.network import MAX_COOL, MAX_GAIN
from host.base.cli import UserError
from host.chip import cells, units
from host.chip.cells import CellsTogether
from host.chip.units import UnitsTogether
from host.chip.words import ROUNDINGS, Word, Words
from host.data import dataset
from host.engine import distort
from host.engine.learners import disturbed
from host.engine.sites import SITES
from host.engine.walk import Walk
from host.runs.config import configure, prepare

ROWS, COLS, STEPS = 4, 3, 6
BITES = {"y": 6, "message": 8, "state": 8, "self": 8, "cross": 6, "weight": 4, "master": 16, "update": 18}


def signals(kind: str) -> tuple[str, ...]:
    """What there is a word length of in such a network."""
    if kind == "diagonal":
        return units.SIGNALS
    return tuple(signal for signal in cells.SIGNALS if (kind, signal) != ("exact", "cross"))


def chip(kind: str, network: Any, text: str) -> Any:
    """The network in the chip's order."""
    if isinstance(network, Diagonal):
        return UnitsTogether(network, Words.of(text))
    return CellsTogether(network, WIRINGS.get(kind, wiring.lattice)(ROWS, COLS), Words.of(text))


def both(kind: str, seed: int, text: str, **more: int) -> tuple[Any, Walk]:
    """A network in the chip's order, and the disturbed engine."""
    network = small(kind, seed, text, ROWS, COLS, STEPS, **more)
    return chip(kind, network, text), Walk(network)


def parameters(together: Any) -> list[int]:
    return together.w if isinstance(together, UnitsTogether) else [v for cell in together.w for v in cell]


def assert_same(together: Any, walk: Walk) -> None:
    assert walk.arrays["w"].tolist() == parameters(together)
    said = together.logits + together.delta
    if isinstance(together, UnitsTogether):
        assert walk.arrays["z"].tolist() == said + together.messages
        return
    assert walk.arrays["z"].tolist() == said
    for p, (exponent, gradient) in enumerate(zip(together.exponents, together.gradient, strict=True)):
        start = p * CELL + kernels._GRADIENT
        assert walk.arrays["m"][start : start + 4].tolist() == gradient
        if any(gradient):  # of nothing any exponent is right, and without the shortcut the engine has another one
            assert walk.arrays["m"][p * CELL + kernels._EXPONENT] == exponent


def texts(kind: str) -> st.SearchStrategy[str]:
    """Word lengths of any of the signals, with any rounding."""
    word = st.tuples(st.integers(0, 29), st.sampled_from(ROUNDINGS))
    words = st.fixed_dictionaries({}, optional={signal: word for signal in signals(kind)})
    return words.map(lambda given: "; ".join(f"{s} bits={bits} rounding={how}" for s, (bits, how) in given.items()))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), gain=st.integers(0, MAX_GAIN), cool=st.integers(0, MAX_COOL), data=st.data())
def test_any_word_lengths_and_roundings_give_the_disturbed_engines_bits(kind, seed, gain, cool, data):
    together, walk = both(kind, seed, data.draw(texts(kind)), gain=gain, cool=cool)
    for _ in range(2):
        pixels = data.draw(st.binary(min_size=ROWS * STEPS, max_size=ROWS * STEPS))
        label = data.draw(st.integers(0, COLS - 1))
        walk.train(pixels, label)
        together.train(pixels, label)
        assert_same(together, walk)


@pytest.mark.parametrize("kind, signal", [(kind, signal) for kind in KINDS for signal in signals(kind)])
def test_every_word_length_tells_and_every_rounding_is_another(kind, signal):
    """Or agreement would show nothing."""
    images, labels = noise_images(2, 1, ROWS, COLS, STEPS)
    ends = []
    for text in ("", *(f"{signal} bits={BITES[signal]} rounding={how}" for how in ROUNDINGS)):
        together, walk = both(kind, 4, text)
        for image, label in zip(images[:, 0], labels[:, 0].tolist(), strict=True):
            walk.train(image.tobytes(), label)
            together.train(image.tobytes(), label)
        assert_same(together, walk)
        ends.append(tuple(parameters(together)))
    assert len(set(ends)) == 1 + len(ROUNDINGS)


@pytest.mark.parametrize("site", SITES, ids=lambda site: f"{site.kernel} {site.variable} {site.q}")
def test_as_many_bits_are_cut_off_as_the_engine_cuts(site):
    """Those that only `fine` has are few, and seldom tell in a parameter."""
    q = int(str(site.q).removesuffix(" + fine"))
    for bits, fine in product(range(30), range(5) if q != site.q else [0]):
        assert Word(bits).cut(q, fine) == eval(distort.cut(site, bits), {"fine": fine})


@pytest.mark.parametrize("kind", KINDS)
def test_masters_off_their_grid_return_to_it_in_cells_but_in_units_only_with_a_step(kind):
    """At a bound they are off it."""
    network = small(kind, 5, "master bits=10", ROWS, COLS, STEPS)
    off = [value + 77 for value in network.w]
    network.load(off, 0)
    network.set_rates(((0, 40),) * 4)
    together, walk = chip(kind, network, "master bits=10"), Walk(network)
    pixels = bytes(range(ROWS * STEPS))
    walk.train(pixels, 1)
    together.train(pixels, 1)
    assert_same(together, walk)
    assert (parameters(together) == off) == (kind == "diagonal")


@pytest.mark.parametrize("graph", ["lattice", "forest", "small-world", "skip", "diagonal"])
def test_of_a_configuration_it_begins_and_goes_on_as_the_engine_does(graph):
    data = dataset.load()
    more = {"share": 2000, "wiring_seed": 5} if graph == "small-world" else {}
    config = configure(data, None, 7, 1, 5, graph=graph, disturb="weight bits=5; master bits=13", **more)
    together = (UnitsTogether if graph == "diagonal" else CellsTogether).of(config)
    network = disturbed(config)
    network.set_rates(config.rates(0))
    walk = Walk(network)
    assert parameters(together) == list(network.w) != list(config.network().w)
    for image, label in zip(prepare(data, config).train_images[:2], data.train_labels.tolist(), strict=False):
        walk.train(image.tobytes(), label)
        together.train(image.tobytes(), label)
        assert_same(together, walk)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_without_the_kernels(kind):
    """Only their tables: a network is asked for its parameters, sizes, rates and bounds."""
    network = small(kind, 5, "", ROWS, COLS, STEPS)
    together = chip(kind, network, "")
    before, network.kernels = parameters(together).copy(), None
    together.train(bytes(range(ROWS * STEPS)), 1)
    assert parameters(together) != before


def watched(kind: str, look: Callable[[Any, str, int], Any]) -> tuple[Any, list[Any]]:
    """A network that has trained on an image, and what an observer saw of it."""
    together = chip(kind, small(kind, 9, "", ROWS, COLS, STEPS), "")
    seen: list[Any] = []
    (image,), _ = noise_images(1, 1, ROWS, COLS, STEPS)
    together.train(image.tobytes(), 1, lambda sweep, t: seen.append(look(together, sweep, t)))
    return together, seen


@pytest.mark.parametrize("kind", KINDS)
def test_an_observer_sees_every_step_of_every_sweep_once_in_order(kind):
    up = list(range(STEPS))
    sweeps = {"forward": up}
    if kind != "diagonal":
        sweeps |= {"message": up[::-1] if kind == "exact" else up, "learn": up}
    _, seen = watched(kind, lambda _, sweep, t: (sweep, t))
    assert seen == [(sweep, t) for sweep, steps in sweeps.items() for t in steps]


@pytest.mark.parametrize("kind", ["lattice", "exact"])
def test_what_is_not_known_yet_is_nought_and_not_the_last_images(kind):
    together, seen = chip(kind, small(kind, 9, "", ROWS, COLS, STEPS), ""), []
    for _ in range(2):
        seen.clear()
        together.train(
            bytes(range(ROWS * STEPS)),
            1,
            lambda sweep, t: seen.append((sweep, any(together.messages), any(together.factors))),
        )
    assert {known for known in seen if known[0] == "forward"} == {("forward", False, False)}
    assert ("message", True, False) in seen and ("learn", True, True) in seen


@pytest.mark.parametrize("kind", ["lattice", "small-world", "forest"])
def test_what_an_observer_sees_is_what_the_step_ends_with(kind):
    """Outputs add up to the logits, factors times cross traces to the sums, and no factor is longer than it may be."""

    def look(now: CellsTogether, sweep: str, t: int) -> Any:
        ends = [now.cells[end].y for end in now.ends]
        if sweep != "learn":
            return sweep, ends, [abs(lam) for lam in now.messages] if sweep == "message" else []
        products = []
        for cell, listeners in zip(now.cells, now.descendants, strict=True):
            factors = [now.factors[listener.place] for listener in listeners]
            products.append([[f * trace.value for trace in side] for f, side in zip(factors, cell.cross, strict=True)])
        return sweep, ends, products

    together, seen = watched(kind, look)
    for name in ("forward", "message", "learn"):
        steps = [ends for sweep, ends, _ in seen if sweep == name]
        assert [sum(row) for row in zip(*steps, strict=True)] == together.logits
    learnt = [products for sweep, _, products in seen if sweep == "learn"]
    for p, sums in enumerate(together.sums):
        for side in (cells.RIGHT, cells.BELOW):
            for k in range(4):
                assert sums[side][k] == sum(products[p][side][k] for products in learnt)
    peaks = [max(row) for row in zip(*(sizes for sweep, _, sizes in seen if sweep == "message"), strict=True)]
    assert (
        together.lost == [max(0, peak.bit_length() - (16 - STEPS.bit_length())) for peak in peaks] != [0] * len(peaks)
    )


@pytest.mark.parametrize("text, cause", [
    ("y noise=0.1", "y noise"),
    ("state limit=1", "state limit"),
    ("message bits=6 gain=0.9", "message gain"),
    ("message block=6", "message block"),
    ("cross bits=6 rounding=stochastic", "cross rounding=stochastic"),
    ("loudness bits=6", "'loudness' is no signal"),
])  # fmt: skip
def test_what_is_no_word_length_is_refused(text, cause):
    with pytest.raises(UserError, match=cause):
        Words.of(text)


@pytest.mark.parametrize("kind, signal", [
    ("lattice", "coefficient"), ("lattice", "incoming"), ("lattice", "gradient"), ("exact", "cross"),
    ("diagonal", "state"), ("diagonal", "cross"),
])  # fmt: skip
def test_word_lengths_of_signals_that_a_network_has_not_are_refused(kind, signal):
    with pytest.raises(UserError, match=f"no word length of {signal}"):
        chip(kind, small(kind, 1, "", ROWS, COLS, STEPS), f"{signal} bits=9")
