"""The float64 cells on any graph: both rules against definitions that know no sweep; the graphs themselves."""

import math

import numpy as np
import pytest
from float_graphs import forest, random_graph, skip_lines, small_world
from hypothesis import given, settings
from hypothesis import strategies as st

from fixedpoint.lattice import BELOW, CELL, LEFT, RIGHT, TOP, Lattice
from host.reference.cells import Cells
from host.reference.graph import Graph, lattice
from host.reference.training import complex_step

GRAPHS = {
    "lattice": lattice(5, 3),
    "forest": forest(7, 3, gain=1),
    "small world": small_world(5, 4, 6, seed=1),
    "skip lines": skip_lines(9, 3),
}
graphs = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)


def case(graph, seed, steps):
    """Parameters as wide as the article's, inputs and a label."""
    rng = np.random.default_rng(seed)
    params = rng.normal(0, math.sqrt(0.5), (graph.cells, 4)) * [1, 1, 1, 0.3]
    params[:, 0] = rng.uniform(-1, 3, graph.cells)
    return params, rng.normal(size=(steps, graph.inputs)), int(rng.integers(len(graph.out)))


def assert_close(actual, expected, tolerance=1e-12):
    assert np.shape(actual) == np.shape(expected)
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def step_sizes(params):
    return -np.expm1(-np.exp(-params[:, 0]))


def by_cell(graph, params, x):
    """Cell by cell: y (T, rows), s (T + 1, n) and what each cell's s moves towards, u (T, n)."""
    weights = params[:, 1:3].T * 2.0**graph.gain
    y, s, u = np.zeros((len(x), graph.rows)), np.zeros((len(x) + 1, graph.cells)), np.zeros((len(x), graph.cells))
    y[:, graph.null + 1 :] = x
    for t in range(len(x)):
        for p, c in enumerate(step_sizes(params)):
            u[t, p] = weights[0, p] * y[t, graph.left[p]] + weights[1, p] * y[t, graph.top[p]]
            s[t + 1, p] = s[t, p] + c * (u[t, p] - s[t, p])
            y[t, p] = math.tanh(s[t + 1, p] + params[p, 3])
    return y, s, u


def by_definition(graph, params, x, label, scale):
    """SnAP-1 with the traces that the article has: a cell's own f, and eps of its direct listeners, and no others'."""
    y, s, u = by_cell(graph, params, x)
    logits = scale * y[:, graph.out].sum(0)
    delta = scale * (np.exp(logits) / np.exp(logits).sum() - np.eye(len(logits))[label])
    c, amplified = step_sizes(params), 2.0**graph.gain
    error = np.zeros(graph.cells)
    error[graph.out] = delta
    grad = np.zeros(params.shape)
    for p in range(graph.cells):
        hearing = [(q, c[q] * params[q, 1] * amplified[0, q]) for q in np.flatnonzero(graph.left == p)]
        hearing += [(q, c[q] * params[q, 2] * amplified[1, q]) for q in np.flatnonzero(graph.top == p)]
        f, eps = np.array([0.0, 0.0, 0.0, 1.0]), np.zeros((len(hearing), 4))
        for t in range(len(x)):
            sources = y[t, [graph.left[p], graph.top[p]]] * amplified[:, p]
            pull = (1 - c[p]) * math.exp(-params[p, 0]) * (s[t, p] - u[t, p])
            f[:3] = (1 - c[p]) * f[:3] + [pull, *(c[p] * sources)]
            direct = (1 - y[t, p] ** 2) * f
            grad[p] += error[p] * direct
            for each, (q, k) in enumerate(hearing):
                eps[each] = (1 - c[q]) * eps[each] + k * direct
                grad[p] += message(graph, params, y[t], error, q) * eps[each]
    return grad, logits


def message(graph, params, y, error, p):
    """lam of a cell at one step: the error of all readouts that it reaches within the step, along every way."""
    m, c, amplified = error[p], step_sizes(params), 2.0**graph.gain
    for port, sources in enumerate((graph.left, graph.top)):
        for q in np.flatnonzero(sources == p):
            m += c[q] * params[q, 1 + port] * amplified[port, q] * message(graph, params, y, error, q)
    return m * (1 - y[p] ** 2)


@graphs
@pytest.mark.parametrize("steps", [1, 6])
def test_snap1_is_the_sum_over_traces_of_direct_listeners(graph, steps):
    params, x, label = case(graph, 1, steps)
    expected, logits = by_definition(graph, params, x, label, 0.5)
    grad, found = Cells(graph, logit_scale=0.5).gradient(params, x, label)
    assert_close(grad, expected)
    assert_close(found, logits)


@graphs
def test_exact_gradient_is_the_derivative_of_the_loss(graph):
    params, x, label = case(graph, 2, 9)
    model = Cells(graph, "exact", logit_scale=0.5)
    assert_close(model.gradient(params, x, label)[0], complex_step(model, params, x, label))


@graphs
def test_both_rules_are_one_at_a_single_step(graph):
    params, x, label = case(graph, 3, 1)
    exact, snap1 = (Cells(graph, rule).gradient(params, x, label)[0] for rule in ("exact", "snap1"))
    assert np.abs(exact).max() > 0
    assert_close(snap1, exact)


@graphs
def test_rules_differ_only_where_influence_goes_on_after_one_hop(graph):
    params, x, label = case(graph, 4, 9)
    exact, snap1 = (Cells(graph, rule).gradient(params, x, label)[0] for rule in ("exact", "snap1"))
    ends = np.array([(graph.listeners[:, p] < 0).all() for p in range(graph.cells)])
    within_one = np.array([all(q < 0 or ends[q] for q in graph.listeners[:, p]) for p in range(graph.cells)])
    assert within_one.any() and not within_one.all()
    assert_close(snap1[within_one], exact[within_one])
    assert np.abs(snap1 - exact)[~within_one].max() > 1e-4 * np.abs(exact).max()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cells=st.integers(1, 12), inputs=st.integers(1, 4), steps=st.integers(1, 6))
def test_any_graph_has_the_gradients_of_its_definitions(seed, cells, inputs, steps):
    rng = np.random.default_rng(seed)
    graph = random_graph(cells, int(rng.integers(1, cells + 1)), inputs, rng)
    params, x, label = case(graph, seed, steps)
    exact, snap1 = Cells(graph, "exact"), Cells(graph)
    true = complex_step(exact, params, x, label)
    least = 1e-12 * max(np.abs(true).max(), 1e-3)
    np.testing.assert_allclose(exact.gradient(params, x, label)[0], true, rtol=0, atol=least)
    expected, logits = by_definition(graph, params, x, label, 1.0)
    np.testing.assert_allclose(snap1.gradient(params, x, label)[0], expected, rtol=0, atol=least)
    np.testing.assert_allclose(snap1.forward(params, x), logits, rtol=0, atol=1e-12)
    np.testing.assert_allclose(snap1.outputs(params, x), by_cell(graph, params, x)[0][:, : graph.cells], atol=1e-13)


def test_gain_of_a_port_acts_like_a_larger_weight_and_its_gradient_is_that_weights_times_the_gain():
    plain = forest(5, 2)
    louder = forest(5, 2, gain=2)
    params, x, label = case(plain, 5, 7)
    factor = np.ones(params.shape)
    factor[:, 1:3] = 2.0**louder.gain.T
    assert (factor == 4).any() and (factor[:, 1:3] == 1).any()
    grad, logits = Cells(louder).gradient(params, x, label)
    expected, same = Cells(plain).gradient(params * factor, x, label)
    assert_close(logits, same)
    assert_close(grad, expected * factor)


@graphs
def test_batch_axes_are_images_or_seeds(graph):
    params, x, _ = case(graph, 6, 4)
    x, labels = np.stack([x, -x, 2 * x]), np.array([0, 1, 2])
    seeds = np.stack([params, 0.5 * params])
    grad, logits = Cells(graph).gradient(seeds[:, None], x, labels)
    assert grad.shape == (2, 3, *params.shape) and logits.shape == (2, 3, len(graph.out))
    for s, n in np.ndindex(2, 3):
        assert_close(grad[s, n], Cells(graph).gradient(seeds[s], x[n], labels[n])[0])


def test_wiring_of_the_engine_is_a_graph_as_it_stands():
    engine = Lattice(5, 3, steps=4)
    records = np.array(engine.m).reshape(-1, CELL)
    cells, readouts = records[: engine.cells], records[engine.cells : engine.cells + engine.cols]
    found, expected = Graph(cells[:, LEFT], cells[:, TOP], readouts[:, TOP], engine.rows), lattice(5, 3)
    for name in ("left", "top", "out"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.null, found.null + 1) == (expected.null, engine.inputs)
    below = np.where(cells[:, BELOW] < engine.cells, cells[:, BELOW], -1)
    right = np.where(cells[:, RIGHT] < engine.cells, cells[:, RIGHT], -1)
    np.testing.assert_array_equal(found.listeners, [right, below])


def test_forest_has_the_budget_of_the_lattice_and_one_listener_per_cell():
    graph = forest(28, 10)
    assert (graph.cells, len(graph.out), max(graph.depth)) == (280, 10, 5)
    heard_by_cells = (graph.listeners >= 0).sum(0)
    assert (heard_by_cells[graph.out] == 0).all() and (np.delete(heard_by_cells, graph.out) == 1).all()
    leaves = graph.left > graph.null
    assert leaves.sum() == 140 and (graph.top[leaves] == graph.left[leaves] + 1).all()
    assert (graph.top == graph.null).sum() == 10  # of 7 cells, the last has no partner


def test_small_world_keeps_the_degree_of_every_cell():
    plain, rewired = lattice(6, 5), small_world(6, 5, 8, seed=3)
    assert sorted(rewired.top) == sorted(plain.top) and (rewired.top != plain.top).any()
    np.testing.assert_array_equal(rewired.left, plain.left)


GOOD = {"left": [4, 0], "top": [3, 5], "out": [1], "inputs": 2}  # two cells, one readout, the null is row 3


@pytest.mark.parametrize(
    "wrong, why",
    [
        ({"left": [1, 0]}, "left of cell 0 is row 1"),
        ({"top": [3, 1]}, "top of cell 1 is row 1"),
        ({"left": [4, 2]}, "left of cell 1 is row 2"),
        ({"top": [3, 6]}, "top of cell 1 is row 6"),
        ({"left": [-1, 0]}, "left of cell 0 is row -1"),
        ({"out": [2]}, "readouts listen to cells 0..1"),
        ({"out": [1, 1], "left": [4, 4], "top": [4, 4]}, "one on a top port"),
        ({"out": [0], "top": [3, 0]}, "one on a top port"),
        ({"left": [5, 0, 0], "top": [4, 4, 4]}, "one listener on a left port"),
        ({"left": [4]}, "must be"),
    ],
)
def test_wiring_that_no_graph_has_is_refused(wrong, why):
    Graph(**GOOD)
    with pytest.raises(ValueError, match=why):
        Graph(**GOOD | wrong)


def test_shapes_rules_and_labels_that_do_not_fit_are_refused():
    graph = GRAPHS["forest"]
    params, x, _ = case(graph, 7, 3)
    with pytest.raises(ValueError, match="there is no rule snap2"):
        Cells(graph, "snap2")
    with pytest.raises(ValueError, match="params must be"):
        Cells(graph).forward(params[:-1], x)
    with pytest.raises(ValueError, match=r"x must be \(..., T, 7\)"):
        Cells(graph).forward(params, x[:, 1:])
    with pytest.raises(ValueError, match=r"labels must be integers in \[0, 3\)"):
        Cells(graph).gradient(params, x, 3)
