"""Softmax regression on pixels, as they are or averaged in blocks: what a task gives away without any memory."""

from dataclasses import dataclass

import numpy as np

from host.reference.softmax import scaled, softmax_error

Array = np.ndarray


@dataclass(frozen=True)
class Linear:
    """A Model (host.reference.training). Parameters are (..., classes, features + 1), the last column the bias.

    x are features (..., features), each the mean of a block of pixels / 255: `blocks` of them from top to bottom and
    from left to right, as equal as they can be. Shapes that don't fit, and more blocks than pixels, raise ValueError.
    """

    size: tuple[int, int]
    classes: int
    blocks: tuple[int, int]

    def __post_init__(self) -> None:
        if not all(1 <= blocks <= pixels for blocks, pixels in zip(self.blocks, self.size, strict=True)):
            raise ValueError(f"{self.blocks} blocks of images of {self.size} pixels: each has a pixel at least")

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the parameters, without batch axes."""
        return self.classes, self.blocks[0] * self.blocks[1] + 1

    @property
    def groups(self) -> tuple[int, ...]:
        """There is one rate, and one pair of bounds."""
        return (0,) * self.shape[1]

    def inputs(self, images: Array) -> Array:
        """Features (..., features) of uint8 pixels (..., *size); ValueError for any other dtype."""
        x = scaled(images, 1.0)
        for axis, pixels, blocks in ((-2, self.size[0], self.blocks[0]), (-1, self.size[1], self.blocks[1])):
            edges = np.arange(blocks + 1) * pixels // blocks
            widths = np.diff(edges).reshape(-1, *[1] * (-1 - axis))
            x = np.add.reduceat(x, edges[:-1], axis) / widths
        return x.reshape(*x.shape[:-2], -1)

    def forward(self, params: Array, x: Array) -> Array:
        """Logits (..., classes)."""
        if params.shape[-2:] != self.shape or x.shape[-1] != self.shape[1] - 1:
            raise ValueError(f"params must be (..., {self.shape[0]}, {self.shape[1]}) and x one narrower: {x.shape}")
        logits: Array = (params[..., :-1] @ x[..., None])[..., 0] + params[..., -1]
        return logits

    def gradient(self, params: Array, x: Array, labels: Array | int) -> tuple[Array, Array]:
        """d cross_entropy / d params, (..., classes, features + 1), and the logits. ValueError for a wrong label."""
        logits = self.forward(params, x)
        delta = softmax_error(logits, labels)
        with_bias = np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1)
        return delta[..., None] * with_bias[..., None, :], logits
