"""What a network makes of the test images: the confusion matrix, and those that it misreads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from host.data.dataset import Dataset
from host.engine.learners import LaneLearner
from host.pictures.style import Panel, Picture, colour

NUMBERED = 14  # classes up to which the cells of the matrix have numbers
COLUMNS, ROWS = 8, 3  # of the gallery


@dataclass(frozen=True)
class Readings:
    """What a network says of every test image; those that it misreads, first of which it is surest."""

    said: np.ndarray
    misread: list[int]


def read(learner: LaneLearner, network: Any, data: Dataset) -> Readings:
    """Show all test images to a run's learner, and what it misreads to a plain network with the same parameters.

    By how much that one's logit of what was said is above that of the label says how sure it was.
    """
    said = learner.lanes.classify(data.test_images)[:, 0]
    margin = {}
    for k in np.flatnonzero(said != data.test_labels).tolist():
        network.predict(data.test_images[k].tobytes())
        margin[k] = network.z[said[k]] - network.z[data.test_labels[k]]
    return Readings(said, sorted(margin, key=lambda k: -margin[k]))


def confusion(readings: Readings, labels: np.ndarray, classes: Sequence[str]) -> Picture:
    """How many images of each class were read as which."""
    count = max(len(classes), int(readings.said.max()) + 1)
    names = [*classes, *(f"column {j}" for j in range(len(classes), count))]
    table = np.zeros((count, count), int)
    np.add.at(table, (labels, readings.said), 1)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    wrong = table - np.diag(np.diag(table))
    a, b = np.unravel_index(wrong.argmax(), wrong.shape)
    right = np.trace(table) / max(table.sum(), 1)

    def draw(axes: Axes) -> None:
        for i, j in np.argwhere(table):
            of = "blue" if i == j else "red"
            strength = (0.08 + 0.42 * share[i, j]) if i == j else min(0.06 + 1.6 * share[i, j], 0.6)
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=colour(of), alpha=strength, linewidth=0))
            if count <= NUMBERED:
                axes.text(j, i, f"{table[i, j]}", ha="center", va="center", fontsize=7.5)
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        ticks = range(0, count, 1 + count // 20)
        axes.set_xticks(ticks, [names[k] for k in ticks], rotation=0 if max(map(len, names)) < 4 else 60)
        axes.set_yticks(ticks, [names[k] for k in ticks])
        axes.grid(False)
        axes.tick_params(length=0)
        axes.set_xlabel("read as")
        axes.set_ylabel("label")

    worst = f"The commonest mistake: {names[a]} read as {names[b]}, {wrong[a, b]} times." if wrong.any() else ""
    return Picture(
        "confusion",
        "Confusion matrix",
        f"Test images by label (rows) and by what they are read as (columns): {table.sum():,} images, {right:.4f}"
        f" of them right (blue). {worst}",
        f"Confusion matrix of {table.sum()} test images, {right:.4f} of them right. {worst}",
        [Panel(draw, height=4.0)],
    )


def gallery(readings: Readings, data: Dataset) -> Picture | None:
    """The misread images of which the network is surest; None if there are none, or if they are no images."""
    chosen = readings.misread[: COLUMNS * ROWS]
    if not chosen or data.channels:
        return None
    labels, images = data.test_labels, data.test_images
    tall, wide = images.shape[1:]

    def draw(axes: Axes) -> None:
        for place, k in enumerate(chosen):
            row, column = divmod(place, COLUMNS)
            ink = np.zeros((tall, wide, 4), np.uint8)
            ink[..., 3] = images[k]
            box = (column * 1.12, column * 1.12 + 1, row * 1.5 + 1, row * 1.5)
            axes.imshow(ink, extent=box, interpolation="none")
            says = f"{data.classes[labels[k]]} → {readings.said[k]}"
            axes.text(box[0] + 0.5, box[2] + 0.09, says, ha="center", va="top", fontsize=8.5)
        rows = -(-len(chosen) // COLUMNS)
        axes.set_xlim(-0.05, COLUMNS * 1.12 - 0.07)
        axes.set_ylim(rows * 1.5 - 0.1, -0.05)
        axes.set_aspect("equal")
        axes.set_axis_off()

    listed = ", ".join(f"{data.classes[labels[k]]} as {readings.said[k]}" for k in chosen[:6])
    return Picture(
        "misread",
        "Misread digits",
        f"The {len(chosen)} of {len(readings.misread):,} misread test images of which the network is surest (logit of"
        " what it says minus that of the label): label → what it is read as.",
        f"{len(chosen)} misread images, label and what each is read as: {listed}{' ...' if len(chosen) > 6 else ''}",
        [Panel(draw, height=0.35 + 0.68 * -(-len(chosen) // COLUMNS))],
        inked=True,
    )
