"""What can be trained in float64, and how: plain SGD one image at a time, or Adam with batches; testing; a check."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from host.reference.softmax import checked, cross_entropy

Array = np.ndarray


class Model(Protocol):
    """A function from parameters and inputs to logits, and its gradient by some rule; it holds no parameters itself.

    Parameters are float64 arrays (..., *shape); leading axes are batch axes, which broadcast against those of x.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the parameters, without batch axes."""

    @property
    def groups(self) -> tuple[int, ...]:
        """For each of the shape[1] columns of the parameters, which of the rates and bounds is its."""

    @property
    def classes(self) -> int:
        """How many logits there are."""

    def inputs(self, images: Array) -> Array:
        """x of uint8 images (..., T, pixels)."""

    def forward(self, params: Array, x: Array) -> Array:
        """Logits (..., classes)."""

    def gradient(self, params: Array, x: Array, labels: Array | int) -> tuple[Array, Array]:
        """d cross_entropy / d params by the model's rule, (..., *shape), and the logits (..., classes)."""


def train(
    model: Model,
    params: Array,
    images: Array,
    labels: Array,
    rates: Sequence[float],
    *,
    order: Array | Sequence[int] | None = None,
    bounds: Array | None = None,
) -> tuple[Array, Array]:
    """Plain SGD, batch size 1, one pass: theta -= rate * gradient after every image, no other state.

    params   (*shape), or (S, *shape) to train S independent seeds side by side; not modified
    images   uint8 (B, T, pixels); labels (B,) in [0, classes)
    rates    one for each of the model's groups
    order    which images, in which order: (n,), or (S, n) for an order per seed; default 0 .. B-1
    bounds   (groups, 2), lowest and highest: saturate the parameters after each step, as the integer engine does;
             default none

    Returns the new params and every image's logits before its own step, (n, classes) or (S, n, classes). ValueError
    for a label outside [0, classes) and for shapes and types that don't fit.
    """
    labels = checked(labels, model.classes)
    columns = list(model.groups)
    rate = np.asarray(rates, float)[columns]
    low, high = (-np.inf, np.inf) if bounds is None else bounds[columns].T
    order = np.arange(len(images)) if order is None else np.asarray(order)
    logits = np.empty((order.shape[-1], *params.shape[:-2], model.classes))
    for n in range(order.shape[-1]):
        now = order[..., n]
        grad, logits[n] = model.gradient(params, model.inputs(images[now]), labels[now])
        params = np.clip(params - rate * grad, low, high)
    return params, np.moveaxis(logits, 0, -2)


class Adam:
    """Adam (Kingma and Ba, 2015) with its usual constants, on batches; the state of one run of it.

    params: (*shape), as trained so far; the array that was given is not modified.
    """

    def __init__(self, model: Model, params: Array, decay: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8):
        self.model, self.params = model, params
        self.decay, self.epsilon = decay, epsilon
        self.mean = np.zeros(params.shape)
        self.square = np.zeros(params.shape)
        self.steps = 0

    def learn(self, images: Array, labels: Array, rate: float) -> Array:
        """One step along the mean gradient of a batch, images uint8 (B, T, pixels); the logits (B, classes) before."""
        grads, logits = self.model.gradient(self.params, self.model.inputs(images), labels)
        grad = grads.mean(0)
        self.steps += 1
        fast, slow = self.decay
        self.mean += (1 - fast) * (grad - self.mean)
        self.square += (1 - slow) * (grad * grad - self.square)
        scale = np.sqrt(self.square / (1 - slow**self.steps)) + self.epsilon
        self.params = self.params - rate * self.mean / (1 - fast**self.steps) / scale
        return logits


def evaluate(model: Model, params: Array, images: Array, labels: Array, *, batch: int = 50) -> float | Array:
    """Share of images whose largest logit is the label's; a float, or (S,) for params (S, *shape).

    images uint8 (B, T, pixels), labels (B,); `batch` images at a time (a small batch stays in the cache). ValueError
    for a label outside [0, classes), for no images, or shapes that don't fit.
    """
    if len(images) != len(labels) or len(images) == 0:
        raise ValueError(f"need as many labels as images and at least one: {len(images)} images, {len(labels)} labels")
    labels = checked(labels, model.classes)
    hits = np.zeros(params.shape[:-2])
    for n in range(0, len(images), batch):
        logits = model.forward(params[..., None, :, :], model.inputs(images[n : n + batch]))
        hits += (logits.argmax(-1) == labels[n : n + batch]).sum(-1)
    return hits / len(images)


def complex_step(model: Model, params: Array, x: Array, label: int, step: float = 1e-30) -> Array:
    """True gradient of the loss of one image, params (*shape), to about 1e-15 relative; from model.forward() alone.

    The imaginary part of loss(theta + i step) / step has neither truncation error (step^2 vanishes) nor cancellation.
    ValueError as in evaluate.
    """
    grad = np.empty(params.shape)
    cols = params.shape[1]
    for row in range(params.shape[0]):  # the perturbed copies of one row at a time bound the memory
        copies = np.tile(params.astype(complex), (cols, 1, 1))
        copies[:, row] += 1j * step * np.eye(cols)
        grad[row] = cross_entropy(model.forward(copies, x), label).imag / step
    return grad
