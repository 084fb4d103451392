"""The float64 diagonal RNN against the derivative of its loss, against a unit-by-unit version, and at learning."""

import math

import numpy as np
import pytest

from host.reference.diagonal import Diagonal
from host.reference.training import complex_step, evaluate, train

MODEL = Diagonal(units=4, n_inputs=3, classes=5)


def case(seed, steps, model=MODEL):
    rng = np.random.default_rng(seed)
    params = rng.normal(0, 0.5, model.shape)
    params[:, model.n_inputs] = rng.uniform(-1, 3, model.units)
    return params, rng.normal(size=(steps, model.n_inputs)), int(rng.integers(model.classes))


def by_unit(params, x, label):
    """Gradient and logits with the traces of design.md, which are summed while the rows come in."""
    units, (n, classes) = len(params), (MODEL.n_inputs, MODEL.classes)
    logits = np.zeros(classes)
    sums, outputs = np.zeros((units, n + 2)), np.zeros(units)
    for k, (*W, log_tau, b) in enumerate(params[:, : n + 2]):
        a = math.exp(-1 / math.exp(log_tau))
        s, e, eta = 0.0, np.zeros(n), 0.0
        for now in x:
            u = float(np.dot(W, now))
            eta += -(1 - a) * eta + a * math.exp(-log_tau) * (s - u)
            e += (1 - a) * (now - e)
            s += (1 - a) * (u - s)
            y = math.tanh(s + b)
            sums[k] += (1 - y * y) * np.array([*e, eta, 1])
            outputs[k] += y
            logits += y * params[k, n + 2 :]
    delta = np.exp(logits) / np.exp(logits).sum() - np.eye(classes)[label]
    return np.hstack([(params[:, n + 2 :] @ delta)[:, None] * sums, np.outer(outputs, delta)]), logits


@pytest.mark.parametrize("steps", [1, 2, 15])
def test_gradient_is_the_derivative_of_the_loss(steps):
    params, x, _ = case(1, steps)
    label = int(MODEL.forward(params, x).argmin())  # else the gradient may be next to nothing
    grad, exact = MODEL.gradient(params, x, label)[0], complex_step(MODEL, params, x, label)
    np.testing.assert_allclose(grad, exact, rtol=0, atol=1e-13 * np.abs(exact).max())
    assert np.abs(exact).max() > 1e-2


def test_traces_summed_on_the_way_give_the_same_gradient():
    params, x, label = case(2, 12)
    grad, logits = MODEL.gradient(params, x, label)
    expected, slow = by_unit(params, x, label)
    np.testing.assert_allclose(grad, expected, rtol=1e-10)
    np.testing.assert_allclose(logits, slow, rtol=1e-12)
    np.testing.assert_array_equal(MODEL.forward(params, x), logits)


def test_batch_axes_are_images_or_seeds():
    params, x, _ = case(3, 6)
    seeds, images, labels = np.stack([params, -params]), np.stack([x, 2 * x, -x]), np.array([0, 4, 2])
    grad, logits = MODEL.gradient(seeds[:, None], images, labels)
    assert grad.shape == (2, 3, *MODEL.shape) and logits.shape == (2, 3, 5)
    for s, n in np.ndindex(2, 3):
        np.testing.assert_allclose(grad[s, n], MODEL.gradient(seeds[s], images[n], labels[n])[0], rtol=1e-12)


def test_budget_is_that_of_the_lattice():
    assert math.prod(Diagonal(28, 28, 10).shape) == 1120


def test_each_group_has_its_own_rate_and_bounds():
    params, _, _ = case(4, 1)
    images, labels = np.full((1, 6, 3), 200, np.uint8), np.array([1])
    grad, _ = MODEL.gradient(params, MODEL.inputs(images[0]), 1)
    free, _ = train(MODEL, params, images, labels, (1.0, 2.0, 3.0, 4.0))
    columns = {"W": slice(0, 3), "l": 3, "b": 4, "V": slice(5, 10)}
    for rate, column in enumerate(columns.values(), start=1):
        np.testing.assert_allclose(free[:, column], (params - rate * grad)[:, column], rtol=1e-12)
    bounds = np.array([[-9, 9], [0.5, 0.6], [-9, 9], [-9, 9]])
    held, _ = train(MODEL, params, images, labels, (1.0, 2.0, 3.0, 4.0), bounds=bounds)
    np.testing.assert_array_equal(held[:, 3], free[:, 3].clip(0.5, 0.6))
    np.testing.assert_array_equal(np.delete(held, 3, 1), np.delete(free, 3, 1).clip(-9, 9))


def test_learns_what_only_memory_can_tell_apart():
    """Two classes with the same pixels in opposite order."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 400)
    images = rng.integers(0, 30, (400, 8, 2), dtype=np.uint8)
    images[labels == 0, :4] += 200
    images[labels == 1, 4:] += 200
    model = Diagonal(units=6, n_inputs=2, classes=2)
    params = rng.normal(0, 1, model.shape)
    before = evaluate(model, params, images[300:], labels[300:])
    trained, _ = train(model, params, images[:300], labels[:300], (0.05, 0.02, 0.02, 0.02))
    assert evaluate(model, trained, images[300:], labels[300:]) > max(0.95, before)


def test_shapes_that_do_not_fit_are_refused():
    params, x, _ = case(6, 3)
    with pytest.raises(ValueError, match=r"params must be \(..., 4, 10\)"):
        MODEL.forward(params[:, 1:], x)
    with pytest.raises(ValueError, match=r"x must be \(..., T, 3\)"):
        MODEL.forward(params, x[:, 1:])
    with pytest.raises(ValueError, match=r"labels must be integers in \[0, 5\)"):
        MODEL.gradient(params, x, 5)
