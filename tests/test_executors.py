"""The executors of the kernels against each other, and against the chip's order: the same bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_bench import assert_same_state, noise_lattice

from fixedpoint import kernels, wiring
from fixedpoint.diagonal import Diagonal
from fixedpoint.lattice import CELL
from fixedpoint.network import MAX_COOL, MAX_GAIN, Random
from host.chip.cells import CellsTogether
from host.chip.units import UnitsTogether
from host.data import dataset
from host.engine.learners import executor
from host.runs.config import configure, prepare
from host.runs.presets import PRESETS

WIRINGS = {
    "lattice": wiring.lattice,
    "forest": wiring.forest,
    "small world": lambda rows, cols: wiring.small_world(rows, cols, wiring.ONE, Random(1)),
    "skip": wiring.skip,
}


@pytest.mark.parametrize("exact", [False, True], ids=["snap1", "exact"])
@pytest.mark.parametrize("graph", WIRINGS)
@settings(max_examples=12)
@given(
    rows=st.integers(1, 6),
    cols=st.integers(1, 4),
    steps=st.integers(1, 12),
    gain=st.integers(0, MAX_GAIN),
    cool=st.integers(0, MAX_COOL),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_stepping_all_cells_together_gives_the_same_bits(graph, exact, rows, cols, steps, gain, cool, seed, data):
    wired = WIRINGS[graph](rows, cols)
    options = {"cells": len(wired[0]), "wired": lambda: wired, "exact": exact, "cool": cool}
    lattice = noise_lattice(rows, cols, steps, gain, seed, **options)
    together = CellsTogether(lattice, wired)
    for _ in range(2):
        pixels = data.draw(st.binary(min_size=rows * steps, max_size=rows * steps))
        label = data.draw(st.integers(0, cols - 1))
        lattice.train(pixels, label)
        together.train(pixels, label)
        assert lattice.z[:cols].tolist() == together.logits and lattice.z[cols:].tolist() == together.delta
        for p in range(lattice.cells):
            start = p * CELL + kernels._EXPONENT
            assert lattice.m[start : start + 5].tolist() == [together.exponents[p], *together.gradient[p]]
        assert lattice.w.tolist() == [v for cell in together.w for v in cell]


@settings(max_examples=20)
@given(
    st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(1, 20), st.integers(0, MAX_GAIN),
    st.integers(0, MAX_COOL), st.integers(0, 2**31), st.data(),
)  # fmt: skip
def test_stepping_all_units_together_gives_the_same_bits(rows, units, cols, steps, gain, cool, seed, data):
    network = Diagonal(rows, cols, steps, 2570, gain, units=units, cool=cool)
    network.seed(seed, (3000, 4096, 1000, 3000, 4096, -12288, 12288, 0, 2048))
    network.set_rates(((20972, 16), (20972, 17), (20972, 18), (20972, 19)))
    together = UnitsTogether(network)
    for _ in range(3):
        pixels = data.draw(st.binary(min_size=rows * steps, max_size=rows * steps))
        label = data.draw(st.integers(0, cols - 1))
        network.train(pixels, label)
        together.train(pixels, label)
        assert network.z.tolist() == together.logits + together.delta + together.messages
        assert network.w.tolist() == together.w


@pytest.mark.parametrize("preset", PRESETS)
def test_stepping_all_together_gives_the_same_bits_on_digits(preset):
    data = dataset.load()
    config = configure(data, preset, 1, 1)
    network = config.network()
    network.set_rates(config.rates(0))
    together = UnitsTogether.of(config) if config.graph == "diagonal" else CellsTogether.of(config)
    for image, label in zip(data.train_images[:2], data.train_labels.tolist(), strict=False):
        network.train(image.tobytes(), label)
        together.train(image.tobytes(), label)
        found = together.w if config.graph == "diagonal" else [v for cell in together.w for v in cell]
        assert network.w.tolist() == found


SIZES = [("article", 28, 13, 20), ("critical", 28, 13, 20), ("article", 9, 10, 50), ("critical", 9, 10, 50)]


@pytest.mark.parametrize(("preset", "rows", "cols", "images"), [*SIZES, *((preset, 28, 10, 20) for preset in PRESETS)])
def test_llvm_and_python_agree_in_every_word_after_every_image(preset, rows, cols, images):
    data = dataset.load()
    config = configure(data, preset, 1, 1, rows, cols)
    data = prepare(data, config)
    lattices = [config.network(**executor(name)) for name in ("python", "llvm")]
    for image, label in zip(data.train_images[:images], data.train_labels.tolist(), strict=False):
        for lattice in lattices:
            lattice.set_rates(config.rates(0))
            lattice.train(image.tobytes(), label)
        assert_same_state(*lattices)
    assert lattices[0].digest() == lattices[1].digest()


@pytest.mark.parametrize(
    ("rows", "cols", "steps"), [(1, 1, 1), (1, 1, 28), (1, 5, 28), (5, 1, 28), (64, 64, 28), (3, 2, 1023)]
)
def test_all_sizes_train_alike_under_python_and_llvm(rows, cols, steps):
    lattices = [noise_lattice(rows, cols, steps, 0, 5, **executor(name)) for name in ("python", "llvm")]
    before = lattices[0].w.tolist()
    pixels = np.random.default_rng(6).integers(0, 256, rows * steps, np.uint8).tobytes()
    wrong = (lattices[0].predict(pixels) + 1) % cols
    for lattice in lattices:
        lattice.train(pixels, wrong)
    assert_same_state(*lattices)
    assert cols == 1 or lattices[0].w.tolist() != before  # a single class leaves nothing to learn
