"""What pictures show of a network's inside is what is in it."""

import numpy as np
import pytest
from report_pages import DIGITS

from fixedpoint.diagonal import Diagonal
from fixedpoint.lattice import BELOW, CELL, RIGHT, WL, WT
from host.engine.floating import gradients
from host.engine.learners import executor
from host.pictures.layout import layout
from host.pictures.signals import message_bits, outputs, traces, watch
from host.pictures.way import LEVELS, choice, logarithmic
from host.runs.config import configure

GRAPHS = ("lattice", "forest", "small-world", "skip", "diagonal")
IMAGE, LABEL = DIGITS.test_images[3], int(DIGITS.test_labels[3])


def network(graph: str, rule: str | None = None):
    """A network that has learned from a few digits."""
    config = configure(DIGITS, None, 1, 1, graph=graph, rule=rule)
    made = config.network(**executor("llvm"))
    made.set_rates(config.rates(0))
    for image, label in zip(DIGITS.train_images, DIGITS.train_labels.tolist(), strict=True):
        made.train(image.tobytes(), label)
    return made


@pytest.mark.parametrize("graph", GRAPHS)
def test_logits_grow_to_those_of_the_network(graph):
    made = network(graph)
    seen = watch(made, IMAGE, LABEL)
    best = made.predict(IMAGE.tobytes())
    np.testing.assert_allclose(seen.logits[-1], np.array(made.z[: made.cols]) / 2.0**14, atol=0.01)
    assert seen.predicted == best == seen.logits[-1].argmax()


@pytest.mark.parametrize("graph", GRAPHS)
def test_looking_on_changes_no_parameter(graph):
    made = network(graph)
    before = made.digest()
    watch(made, IMAGE, LABEL)
    assert made.digest() == before


@pytest.mark.parametrize("rule", ["snap1", "exact"])
def test_messages_are_those_that_the_sweep_left(rule):
    made = network("lattice", rule)
    y = outputs(made, IMAGE)[: made.cells]
    seen = watch(made, IMAGE, LABEL)
    np.testing.assert_array_equal(seen.y, y)
    left = np.array(made.h[: made.cells * made.steps]).reshape(made.cells, -1)
    np.testing.assert_array_equal(seen.message * 2.0 ** (18 if rule == "exact" else 22), left)
    assert message_bits(made) == (18 if rule == "exact" else 22)
    np.testing.assert_allclose(seen.error.sum(), 0, atol=1e-9)
    assert seen.error[LABEL] < 0


@pytest.mark.parametrize("graph", [graph for graph in GRAPHS if graph != "diagonal"])
def test_traces_times_messages_are_the_gradient_of_the_kernel(graph):
    """All of them: a wrong self or cross trace, of either descendant, would show in a group of parameters."""
    made = network(graph)
    kept = traces(made, IMAGE)
    watch(made, IMAGE, LABEL)
    records = np.array(made.m).reshape(-1, CELL)[: made.cells]
    rows = np.array(made.h).reshape(-1, made.steps) / 2.0**22
    w = np.stack([np.array(made.m).reshape(-1, CELL)[records[:, a], b] for a, b in ((RIGHT, WL), (BELOW, WT))]) / 4096
    sent = np.stack([rows[records[:, port]] for port in (RIGHT, BELOW)]) * w[..., None]
    found = gradients(made).reshape(-1, 4)
    for k, name in enumerate(("eta", "eL", "eT", "b")):
        own = (kept[f"cross {name}"] * sent).sum((0, 2))
        scale = 1 if name == "b" else 2.0 ** records[:, 4]  # in units of the gain
        if name == "eT":
            scale = scale / 2.0 ** records[:, 5]
        assert np.corrcoef(own * scale, found[:, k])[0, 1] > 0.999, name
        np.testing.assert_allclose(np.linalg.norm(own * scale), np.linalg.norm(found[:, k]), rtol=0.02, err_msg=name)


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_cell_has_a_place_and_a_level_and_no_two_overlap(graph):
    made = network(graph)
    where, seen = layout(made, graph), watch(made, IMAGE, LABEL)
    assert len(where.cells) == len(where.levels) == len(seen.y) == len(seen.message)
    assert len(where.outputs) == made.cols and len(where.inputs) % made.rows == 0
    assert set(where.levels) == set(range(len(where.spans)))
    boxes = np.array([*where.cells, *where.outputs])
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    assert low.min() >= 0 and high[:, 0].max() <= where.width + 1e-9 and high[:, 1].max() <= where.height
    apart = ((low[:, None] >= high[None] - 1e-9) | (high[:, None] <= low[None] + 1e-9)).any(-1)
    assert (apart | np.eye(len(boxes), dtype=bool)).all()


def test_messages_reach_listeners_before_their_sources():
    for graph in ("lattice", "forest", "small-world", "skip"):
        made = network(graph)
        levels = layout(made, graph).levels
        m = np.array(made.m).reshape(-1, CELL)
        pairs = [(p, q) for p in range(made.cells) for q in m[p, [RIGHT, BELOW]] if q < made.cells]
        assert all(levels[q] <= levels[p] for p, q in pairs)


def test_only_lines_that_a_lattice_has_not_are_drawn():
    assert layout(network("lattice"), "lattice").wires == []
    assert layout(network("small-world"), "small-world").wires and layout(network("skip"), "skip").wires


def test_log_scale_keeps_signs_and_order_and_drops_what_is_below_it():
    values = np.array([-4.0, -1, -(2.0**-10), 0, 2.0**-11, 2.0**-10, 0.5, 4])
    found = logarithmic(values, -10, 2)
    assert found.tolist() == [-LEVELS, -106, -1, 0, 0, 1, 96, LEVELS]


def test_images_to_choose_from_are_of_different_classes_and_the_misread_one():
    chosen = choice(DIGITS, [39, 38])
    assert len({int(DIGITS.test_labels[k]) for k in chosen[:-1]}) == 5 and chosen[-1] == 39
    assert choice(DIGITS, [])[-1] != 39 and len(choice(DIGITS, [])) == 5


def test_diagonal_network_shows_its_traces_and_then_its_units():
    made = network("diagonal")
    seen = watch(made, IMAGE, LABEL)
    assert isinstance(made, Diagonal)
    assert seen.y.shape == (28 * 28 + 28, 28) and seen.message.shape == (28 * 28 + 28, 1)
    np.testing.assert_allclose(seen.message[:784, 0], gradients(made)[:784])
