"""host.runs.config: learning rates in integers, the order of the images, what a run is, and what it cannot be."""

import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixedpoint.lattice import CELL, LEFT, TOP
from fixedpoint.network import MAX_ROWS, RATE_SHIFTS
from host.base.cli import UserError
from host.data import dataset
from host.data.dataset import Dataset
from host.engine.learners import FloatLearner
from host.runs import config as module
from host.runs.config import MAX_STEPS, SEGMENT, Config, configure, multiplier_shift, prepare, quantise
from host.runs.presets import PRESETS

LOWEST, HIGHEST = RATE_SHIFTS
LARGEST = Fraction(32767, 2**LOWEST)


def noise(train: int = 30, test: int = 10, steps: int = 8, width: int = 6, classes: int = 10) -> Dataset:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (train + test, steps, width), dtype=np.uint8)
    labels = (np.arange(train + test) % classes).astype(np.uint8)
    return Dataset("noise", images[:train], labels[:train], images[train:], labels[train:])


def configured(preset: str = "critical", seed: int = 1, epochs: int = 2, **options) -> Config:
    return configure(options.pop("data", None) or noise(), preset, seed, epochs, **options)


rates = st.fractions(min_value=0, max_value=LARGEST, max_denominator=10**9)


# --- learning rates


@given(rates)
def test_rate_is_the_nearest_that_the_integers_can_say(rate):
    multiplier, shift = multiplier_shift(rate)
    assert 0 <= multiplier <= 32767 and LOWEST <= shift <= HIGHEST
    assert abs(Fraction(multiplier, 2**shift) - rate) <= Fraction(1, 2 ** (shift + 1))


@given(rates)
def test_rate_has_fifteen_significant_bits_unless_it_is_tiny(rate):
    multiplier, shift = multiplier_shift(rate)
    assert multiplier >= 16384 or shift == HIGHEST


@pytest.mark.parametrize(
    "rate, expected",
    [
        (Fraction(0), (0, HIGHEST)),
        (Fraction(1), (16384, 14)),
        (Fraction(1, 2**HIGHEST), (1, HIGHEST)),
        (Fraction(1, 2**60), (0, HIGHEST)),
        (Fraction(1, 100), (20972, 21)),
        (LARGEST, (32767, LOWEST)),
        (Fraction(65535, 2**HIGHEST), (16384, HIGHEST - 2)),  # nearest would carry into the sixteenth bit
    ],
)
def test_known_rates(rate, expected):
    assert multiplier_shift(rate) == expected


@pytest.mark.parametrize("rate", [Fraction(-1), Fraction(-1, 10**6), LARGEST + Fraction(1, 2**LOWEST), Fraction(10**9)])
def test_rate_out_of_range_is_refused(rate):
    with pytest.raises(UserError, match=f"not in 0 to 1.99994; choose a {'smaller' if rate > 0 else 'larger'} one"):
        multiplier_shift(rate)


def test_rate_out_of_range_says_whose_it_is():
    config = replace(configured("article"), rate="0.5", rate_l="4")
    with pytest.raises(UserError, match=r"rate 2 of l \(4 times the weights'\) is not in 0 to 1\.99994"):
        config.rates(0)


schedules = st.builds(
    lambda preset, epochs, images, share: (
        replace(configured(preset), epochs=epochs, images=images),
        min(int(epochs * images * share), epochs * images - 1),
    ),
    st.sampled_from(list(PRESETS)),
    st.integers(1, 30),
    st.integers(1, 60000),
    st.floats(0, 1),
)


@given(schedules)
def test_rates_are_constant_within_a_segment(case):
    config, step = case
    begin = step - step % SEGMENT
    assert config.rates(step) == config.rates(begin) == config.rates(begin + SEGMENT - 1)


@given(schedules)
def test_rates_fall_linearly_to_zero_in_the_ratios_of_the_preset(case):
    config, step = case
    begin = step // SEGMENT * SEGMENT
    share = 1 - Fraction(begin, config.total) if config.decay else 1
    ratios = Fraction(config.rate_l), 1, Fraction(config.rate_b), Fraction(config.rate_v)
    for (multiplier, shift), number, ratio in zip(config.rates(step), config.float_rates(step), ratios, strict=True):
        exact = Fraction(config.rate) * ratio * share
        assert abs(Fraction(multiplier, 2**shift) - exact) <= Fraction(1, 2 ** (shift + 1))
        assert number == multiplier / 2**shift


def test_last_segment_of_a_falling_schedule_has_the_smallest_rate_above_zero():
    config = replace(configured("critical"), epochs=10, images=5000)
    starts = range(0, config.total, SEGMENT)
    weights = [config.float_rates(step)[1] for step in starts]
    assert weights == sorted(weights, reverse=True) and len(set(weights)) == len(weights)
    assert weights[-1] == pytest.approx(weights[0] * SEGMENT / config.total, rel=1e-4) and weights[-1] > 0


def test_article_has_the_ratios_of_the_article():
    assert configured("article").float_rates(0) == pytest.approx((4e-2, 1e-2, 5e-4, 0), rel=1e-4)


# --- order


@given(st.integers(0, 2**31 - 1), st.integers(0, 1000), st.integers(1, 300))
@settings(max_examples=50)
def test_order_is_a_reproducible_permutation(seed, epoch, images):
    config = replace(configured(), seed=seed, images=images)
    order = config.order(epoch)
    assert sorted(order.tolist()) == list(range(images))
    np.testing.assert_array_equal(order, config.order(epoch))


def test_order_differs_between_epochs_and_between_seeds():
    orders = [replace(configured(), seed=seed, images=200).order(epoch) for seed in range(5) for epoch in range(5)]
    assert len({order.tobytes() for order in orders}) == 25
    for order in orders:
        assert (order == np.arange(200)).sum() < 20


def test_every_image_comes_first_equally_often():
    first = Counter(int(replace(configured(), seed=seed, images=5).order(0)[0]) for seed in range(1000))
    assert set(first) == set(range(5)) and min(first.values()) > 150  # 200 expected, standard deviation 13


def test_order_stays_what_it_was():
    """A run is resumed by later versions too: its order may never change."""
    order = replace(configured(), seed=1, images=5000).order(0)
    assert f"{crc32(order.astype('<i4').tobytes()):08x}" == "e574c625"


# --- the configuration


def test_configuration_survives_json():
    config = configured("article", rows=4, pixel_bits=4)
    assert Config.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    assert json.loads(json.dumps(config.as_dict())) == config.as_dict()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: {**found, "more": 1},
        lambda found: {k: v for k, v in found.items() if k != "seed"},
        lambda found: [found],
    ],
    ids=["more", "less", "no object"],
)
def test_what_is_no_configuration_is_refused(spoil):
    found = spoil(configured().as_dict())
    with pytest.raises(ValueError, match="no configuration"):
        Config.from_dict(found)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_start_within_their_bounds_and_differ_by_seed(preset):
    starts = []
    for seed in (1, 2):
        lattice = configured(preset, seed).network()
        w = np.array(lattice.w).reshape(-1, 4) / 2**26
        low, high = FloatLearner(configured(preset, seed)).bounds[[0, 1, 1, 2]].T
        assert (w >= low).all() and (w <= high).all() and w[:, 1].std() > 0.1
        starts.append(lattice.digest())
    assert starts[0] != starts[1]
    assert configured(preset, 1).network().digest() == starts[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_both_arithmetics_see_the_same_pixels(preset):
    config = configured(preset)
    network, learner = config.network(), FloatLearner(config)
    image = np.arange(48, dtype=np.uint8).reshape(8, 6) * 5
    image[-1, -1] = 255
    network.begin()
    network.row(image.tobytes(), 0, 8)
    h = np.array(network.h)
    rows = h.reshape(8, 6) if config.graph == "diagonal" else h.reshape(-1, 8)[network.inputs :].T
    # Of cells the gain's power of two belongs to the ports; a diagonal network's model has it in its inputs.
    power = 1 if config.graph == "diagonal" else 2**config.gain
    lsb = 2.0 ** (config.gain - 14)
    error = learner.model.inputs(image) * power - rows * lsb
    scale = learner.model.gain * power * (255 * 4112 / 2**20 - 1)  # 1/255 has no end in binary
    assert (error >= 0).all() and (error < lsb - scale).all()  # floor
    assert learner.model.gain * power == pytest.approx(
        10 if preset == "article" else config.scale * 2**config.gain / 4112, rel=1e-4
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_gains_of_the_floats_ports_are_the_networks(preset):
    config = configured(preset)
    if config.graph != "diagonal":
        network, graph = config.network(), FloatLearner(config).model.graph
        ports = np.array(network.m).reshape(-1, CELL)[: network.cells]
        heard = ports[:, [LEFT, TOP]] >= network.inputs
        assert heard.sum() == (10 if config.graph == "forest" else 1) * network.rows
        assert (graph.gain.T[heard] == config.gain).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"preset": "none"}, "choose one of article, critical"),
        ({"seed": -1}, "choose 0 to 2147483647"),
        ({"seed": 2**31}, "choose 0 to 2147483647"),
        ({"epochs": 0}, "choose 1 to"),
        ({"epochs": -3}, "choose 1 to"),
        ({"epochs": MAX_STEPS // 30 + 1}, f"choose 1 to {MAX_STEPS // 30}"),
        ({"rows": 0}, "choose 1 to 6"),
        ({"rows": 7}, "images are 6 pixels wide"),
        ({"cols": 9}, f"choose 10 to {MAX_ROWS}"),
        ({"cols": MAX_ROWS + 1}, f"choose 10 to {MAX_ROWS}"),
    ],
)
def test_impossible_configurations_are_refused(options, message):
    with pytest.raises(UserError, match=message) as caught:
        configured(**options)
    assert "\n" not in str(caught.value)


def test_sizes_follow_the_data_unless_given():
    assert (configured().rows, configured().cols, configured().steps) == (6, 10, 8)
    small = noise(classes=3)
    assert configured(data=small).cols == 10 and configured(data=small, cols=3).cols == 3
    assert configured(rows=3, cols=12).network().cells == 36
    assert configured(epochs=MAX_STEPS // 30).total <= MAX_STEPS


def test_configuration_names_its_data():
    assert configured().data == noise().digest
    assert configured().data != configured(data=noise(train=31)).data


# --- pixels


def test_quantised_pixels_keep_their_leading_bits_and_reach_both_ends():
    pixels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(quantise(pixels, 8), pixels)
    four, one = quantise(pixels, 4), quantise(pixels, 1)
    assert four.dtype == one.dtype == np.uint8
    np.testing.assert_array_equal(four, pixels // 16 * 17)
    np.testing.assert_array_equal(one, np.where(pixels < 128, 0, 255))
    for bits in (4, 1):
        np.testing.assert_array_equal(quantise(quantise(pixels, bits), bits), quantise(pixels, bits))


@pytest.mark.parametrize("rows, crop", [(6, slice(0, 6)), (4, slice(1, 5)), (3, slice(1, 4)), (1, slice(2, 3))])
def test_lattice_with_fewer_rows_sees_the_central_pixels(rows, crop):
    data = noise()
    seen = prepare(data, configured(rows=rows, pixel_bits=4))
    for before, after in [(data.train_images, seen.train_images), (data.test_images, seen.test_images)]:
        np.testing.assert_array_equal(after, quantise(before[:, :, crop], 4))
        assert after.flags.c_contiguous
    assert seen.train_labels is data.train_labels


def test_bundled_digits_make_the_lattice_of_the_article():
    config = configure(dataset.load(), "article", 1, 1)
    assert (config.rows, config.cols, config.steps, config.images) == (28, 10, 28, 5000)
    assert module.q12(0.5) == 2048
