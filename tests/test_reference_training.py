"""Training and testing in float64, for models of every kind: plain SGD, Adam, and the linear models."""

import math

import numpy as np
import pytest

from host.reference.cells import Cells
from host.reference.diagonal import Diagonal
from host.reference.graph import lattice
from host.reference.linear import Linear
from host.reference.softmax import cross_entropy
from host.reference.training import Adam, complex_step, evaluate, train

ROWS, COLS, STEPS = 5, 3, 6
MODELS = {
    "snap1": Cells(lattice(ROWS, COLS), gain=4.0),
    "exact": Cells(lattice(ROWS, COLS), "exact", gain=4.0),
    "diagonal": Diagonal(4, ROWS, COLS, gain=4.0),
    "linear": Linear((STEPS, ROWS), COLS, (STEPS, ROWS)),
    "pooled": Linear((STEPS, ROWS), COLS, (2, 3)),
}
models = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def start(model, rng, *seeds):
    return rng.normal(0, 0.5, (*seeds, *model.shape))


def pictures(rng, n, steps=STEPS, rows=ROWS):
    return rng.integers(0, 256, (n, steps, rows), dtype=np.uint8)


def rates(model, *found):
    """As many rates as there are groups."""
    return found[: max(model.groups) + 1]


def assert_close(actual, expected, tolerance):
    assert np.shape(actual) == np.shape(expected)
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


@models
def test_one_step_of_training_uses_each_groups_own_rate(model):
    rng = np.random.default_rng(10)
    params, images, labels = start(model, rng), pictures(rng, 1), np.array([2])
    before, rate = params.copy(), rates(model, 0.3, 0.1, 0.02, 0.05)
    grad, logits = model.gradient(params, model.inputs(images[0]), 2)
    trained, seen = train(model, params, images, labels, rate)
    np.testing.assert_array_equal(trained, params - np.array([rate[group] for group in model.groups]) * grad)
    np.testing.assert_array_equal(seen, logits[None])
    np.testing.assert_array_equal(params, before)


@models
def test_training_in_two_halves_equals_training_in_one_go(model):
    rng = np.random.default_rng(11)
    params, images, labels = start(model, rng), pictures(rng, 8), rng.integers(0, 3, 8)
    rate, order = rates(model, *[0.1] * 4), [7, 1, 1, 4, 0, 3]
    whole, logits = train(model, params, images, labels, rate, order=order)
    half, first = train(model, params, images, labels, rate, order=order[:2])
    rest, second = train(model, half, images, labels, rate, order=order[2:])
    np.testing.assert_array_equal(whole, rest)
    np.testing.assert_array_equal(logits, np.concatenate([first, second]))


@models
def test_training_seeds_together_equals_training_them_alone(model):
    rng = np.random.default_rng(12)
    params, images, labels = start(model, rng, 3), pictures(rng, 20), rng.integers(0, 3, 20)
    order = np.stack([rng.permutation(20) for _ in range(3)])
    rate = rates(model, 0.05, 0.05, 0.01, 0.02)
    together, logits = train(model, params, images, labels, rate, order=order)
    for seed in range(3):
        alone, logits_alone = train(model, params[seed], images, labels, rate, order=order[seed])
        assert_close(together[seed], alone, 1e-12)
        assert_close(logits[seed], logits_alone, 1e-12)


@models
def test_training_saturates_parameters_at_their_bounds(model):
    rng = np.random.default_rng(13)
    params, images, labels = start(model, rng), pictures(rng, 1), np.array([0])
    bounds = np.array(rates(model, [0.2, 0.5], [-0.4, 0.5], [-0.2, 0.3], [-0.3, 0.1]))
    rate = rates(model, *[50.0] * 4)
    trained, _ = train(model, params, images, labels, rate, bounds=bounds)
    free, _ = train(model, params, images, labels, rate)
    for group, (low, high) in enumerate(bounds):
        columns = np.array(model.groups) == group
        assert (free[:, columns] < low).any() and (free[:, columns] > high).any(), "the case must reach both bounds"
        np.testing.assert_array_equal(trained[:, columns], free[:, columns].clip(low, high))


@models
def test_learning_reduces_the_loss_and_raises_accuracy(model):
    rng = np.random.default_rng(14)
    labels = rng.integers(0, 2, 400)
    images = rng.integers(0, 60, (400, STEPS, ROWS), dtype=np.uint8)
    images[labels == 0, :, :2] += 150  # class 0 lights the first inputs, class 1 the last
    images[labels == 1, :, 3:] += 150
    params = start(model, rng)
    trained, logits = train(model, params, images[:300], labels[:300], rates(model, 0.05, 0.05, 0.0025, 0.02))
    loss = cross_entropy(logits, labels[:300])
    assert loss[-50:].mean() < 0.5 * loss[:50].mean()
    assert evaluate(model, trained, images[300:], labels[300:]) > 0.95


@models
def test_evaluate_counts_hits_per_seed_whatever_the_batch_size(model):
    rng = np.random.default_rng(15)
    params, images, labels = start(model, rng, 2), pictures(rng, 37), rng.integers(0, 3, 37)
    expected = [
        np.mean([model.forward(p, model.inputs(images[n])).argmax() == labels[n] for n in range(37)]) for p in params
    ]
    for batch in (1, 5, 50):
        np.testing.assert_allclose(evaluate(model, params, images, labels, batch=batch), expected)
    assert isinstance(evaluate(model, params[0], images, labels), float)


@pytest.mark.parametrize("label", [-1, 3, 0.5])
@models
def test_label_that_is_no_class_is_refused(model, label):
    params, images = np.zeros(model.shape), np.zeros((1, STEPS, ROWS), np.uint8)
    x = model.inputs(images[0])
    for attempt in [
        lambda: model.gradient(params, x, label),
        lambda: complex_step(model, params, x, label),
        lambda: cross_entropy(np.zeros(3), label),
        lambda: train(model, params, images, np.array([0, label]), [0.1] * 4, order=[0]),  # before any work
        lambda: evaluate(model, params, images, np.array([label])),
    ]:
        with pytest.raises(ValueError, match=r"labels must be integers in \[0, 3\)"):
            attempt()


@models
def test_pixels_that_are_scaled_already_and_counts_that_differ_are_refused(model):
    with pytest.raises(ValueError, match="uint8"):
        model.inputs(np.zeros((STEPS, ROWS)))
    with pytest.raises(ValueError, match="1 images, 2 labels"):
        evaluate(model, np.zeros(model.shape), np.zeros((1, STEPS, ROWS), np.uint8), np.zeros(2, int))


@pytest.mark.parametrize("name", ["linear", "pooled"])
def test_gradient_of_the_linear_models_is_the_derivative_of_the_loss(name):
    model, rng = MODELS[name], np.random.default_rng(16)
    params, x = start(model, rng), model.inputs(pictures(rng, 1)[0])
    np.testing.assert_allclose(model.gradient(params, x, 1)[0], complex_step(model, params, x, 1), rtol=1e-10)


def test_pooled_features_are_means_of_blocks_that_cover_the_image():
    image = np.random.default_rng(18).integers(0, 256, (28, 28), dtype=np.uint8)
    model = Linear((28, 28), 10, (10, 11))
    assert math.prod(model.shape) == 1110 and math.prod(Linear((28, 28), 10, (28, 28)).shape) == 7850
    found = model.inputs(image).reshape(10, 11)
    edges = [[i * 28 // n for i in range(n + 1)] for n in (10, 11)]
    assert {*np.diff(edges[0]), *np.diff(edges[1])} == {2, 3}
    for i, j in np.ndindex(10, 11):
        block = image[edges[0][i] : edges[0][i + 1], edges[1][j] : edges[1][j + 1]]
        assert found[i, j] == pytest.approx(block.mean() / 255)
    np.testing.assert_allclose(Linear((28, 28), 10, (28, 28)).inputs(image), image.ravel() / 255, rtol=1e-15)
    with pytest.raises(ValueError, match="a pixel at least"):
        Linear((28, 28), 10, (29, 1))


class Scripted:
    """A model whose gradients are given."""

    shape, groups, classes = (1, 1), (0,), 1

    def __init__(self, gradients):
        self.gradients = iter(gradients)

    def inputs(self, images):
        return images

    def gradient(self, params, x, labels):
        return np.full((len(x), 1, 1), next(self.gradients)), np.zeros((len(x), 1))


def test_adam_steps_by_its_rate_whatever_the_size_of_a_steady_gradient():
    for size in (1e-3, 1.0, 1e3):
        adam = Adam(Scripted([size] * 5), np.zeros((1, 1)))
        for step in range(1, 6):
            adam.learn(np.zeros((2, 1)), np.zeros(2, int), 0.01)
            assert adam.params[0, 0] == pytest.approx(-0.01 * step, rel=1e-4)


def test_adam_is_the_published_recursion():
    gradients, theta, m, v = [3.0, -1.0, 0.5, 2.0], 0.7, 0.0, 0.0
    adam = Adam(Scripted(gradients), np.full((1, 1), theta))
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta -= 0.003 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        adam.learn(np.zeros((1, 1)), np.zeros(1, int), 0.003)
        assert adam.params[0, 0] == pytest.approx(theta, rel=1e-12)


def test_adam_follows_the_mean_gradient_of_its_batch():
    model, rng = MODELS["snap1"], np.random.default_rng(17)
    params, images, labels = start(model, rng), pictures(rng, 4), rng.integers(0, 3, 4)
    grads = [model.gradient(params, model.inputs(image), label)[0] for image, label in zip(images, labels, strict=True)]
    adam = Adam(model, params.copy())
    adam.learn(images, labels, 0.01)
    assert_close(10 * adam.mean, np.mean(grads, axis=0), 1e-12)
