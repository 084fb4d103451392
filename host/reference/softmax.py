"""What every model of the reference shares: inputs from pixels, softmax and its loss."""

import numpy as np

Array = np.ndarray


def scaled(images: Array, gain: float) -> Array:
    """uint8 pixels as pixel / 255 * gain; ValueError for any other dtype."""
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, not {images.dtype}: pass the unscaled pixels")
    return images * (gain / 255.0)


def checked(labels: Array | int, classes: int) -> Array:
    """The labels, if all are integers in [0, classes); else ValueError."""
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or ((labels < 0) | (labels >= classes)).any():
        raise ValueError(f"labels must be integers in [0, {classes}): there are {classes} classes")
    return labels


def cross_entropy(logits: Array, labels: Array | int) -> Array:
    """Loss -log softmax(logits)[label] for logits (..., o), labels (...) in [0, o); else ValueError."""
    z = logits - logits.real.max(-1, keepdims=True)
    loss: Array = np.log(np.exp(z).sum(-1)) - (z * _one_hot(labels, z.shape[-1])).sum(-1)
    return loss


def softmax_error(logits: Array, labels: Array | int) -> Array:
    """d cross_entropy / d logits: softmax(logits) - one_hot(label), (..., o). ValueError as in cross_entropy."""
    z = np.exp(logits - logits.max(-1, keepdims=True))
    error: Array = z / z.sum(-1, keepdims=True) - _one_hot(labels, z.shape[-1])
    return error


def _one_hot(labels: Array | int, classes: int) -> Array:
    rows: Array = np.eye(classes)[checked(labels, classes)]
    return rows
