"""One digit's way, step by step: the data of an animation that host/pictures/way.js draws."""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from host.data.dataset import Dataset
from host.pictures.layout import Layout, layout
from host.pictures.naming import raised
from host.pictures.signals import Seen, message_bits, watch
from host.runs.config import Config

WORDS = (
    "First the image comes in, a row at each step, and every cell shows its output. Then the error, softmax minus"
    " truth, enters at the readouts, and its messages are shown cell by cell in the order in which they are computed;"
    " the stripes within a cell are its messages at all steps."
)
CHOICE = 6  # images that can be chosen
MOST = 400_000  # values, a byte each: a page may have several
LEVELS = 127


@dataclass(frozen=True)
class Way:
    """What some images do in a network. span: log2 of the smallest and of the largest message."""

    images: list[int]  # numbers of test images
    seen: list[Seen]
    where: Layout
    span: tuple[int, int]


def follow(network: Any, config: Config, data: Dataset, misread: Sequence[int]) -> Way | None:
    """Some images' way, None if it would be too large for a page. misread: numbers of test images."""
    chosen = choice(data, misread)
    seen = [watch(network, data.test_images[k], int(data.test_labels[k])) for k in chosen]
    room = MOST // (seen[0].y.size + seen[0].message.size)
    if not room:
        return None
    lowest = -message_bits(network)
    most = max(2.0**lowest, *(float(np.abs(x.message).max()) for x in seen[:room]))
    return Way(chosen[:room], seen[:room], layout(network, config.graph), (lowest, math.ceil(math.log2(most * 1.001))))


def animation(way: Way, config: Config, data: Dataset) -> str:
    """The way as a piece of the page."""
    where = way.where
    about = {
        "width": where.width,
        "height": where.height,
        "steps": config.steps,
        "rows": config.rows,
        "cells": flat(where.cells),
        "levels": where.levels,
        "spans": where.spans,
        "inputs": flat(where.inputs),
        "outputs": flat(where.outputs),
        "wires": where.wires,
        "classes": [named(j, data.classes) for j in range(config.cols)],
        "digits": [
            shown(found, data.test_images[k], int(data.test_labels[k]), data.classes, way.span)
            for k, found in zip(way.images, way.seen, strict=True)
        ],
    }
    return block(about, where, way.span, not data.channels)


def named(label: int, classes: Sequence[str]) -> str:
    """What a column stands for; there may be more of them than classes."""
    return classes[label] if label < len(classes) else f"({label})"


def choice(data: Dataset, misread: Sequence[int]) -> list[int]:
    """Numbers of test images: the first of classes that lie apart, and the first that is misread."""
    labels = data.test_labels
    classes = np.unique(labels)
    some = classes[np.linspace(0, len(classes) - 1, min(CHOICE - 1, len(classes))).round().astype(int)]
    found = [int(np.argmax(labels == label)) for label in some]
    return found + [k for k in misread if k not in found][:1]


def shown(seen: Seen, image: np.ndarray, label: int, classes: Sequence[str], span: tuple[int, int]) -> dict[str, Any]:
    """One image's way as JSON: what has many values in base64, a byte each."""
    largest = np.abs(seen.logits).max() or 1.0
    return {
        "index": label,
        "label": classes[label],
        "predicted": named(seen.predicted, classes),
        "pixels": text(image),
        "y": text(np.rint(seen.y * LEVELS).astype(np.int8)),
        "message": text(logarithmic(seen.message, *span)),
        "logits": (seen.logits / largest).round(3).tolist(),
        "best": seen.logits.argmax(1).tolist(),
        "error": seen.error.round(3).tolist(),
    }


def logarithmic(values: np.ndarray, lowest: int, highest: int) -> np.ndarray:
    """Values as int8: 0 below 2**lowest, else the sign, and how far log2 is on its way from lowest to highest."""
    size = np.abs(values)
    far = (np.log2(np.maximum(size, 2.0**lowest)) - lowest) / (highest - lowest)
    found: np.ndarray = (np.sign(values) * (size >= 2.0**lowest) * np.rint(1 + far * (LEVELS - 1))).astype(np.int8)
    return found


def text(values: np.ndarray) -> str:
    """In base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def flat(boxes: Sequence[Sequence[float]]) -> list[float]:
    """All their numbers."""
    return [round(x, 3) for box in boxes for x in box]


def block(about: dict[str, Any], where: Layout, span: tuple[int, int], digits: bool) -> str:
    """The controls, the canvas, the legend and the data."""
    what = "digit" if digits else "sequence"
    choices = "".join(
        f"<button type='button' aria-pressed='{'true' if k == 0 else 'false'}'"
        f" aria-label='{what} {escape(digit['label'])}, read as {escape(digit['predicted'])}'>"
        f"<canvas></canvas>{escape(digit['label'])}"
        f"{'' if digit['label'] == digit['predicted'] else ' → ' + escape(digit['predicted'])}</button>"
        for k, digit in enumerate(about["digits"])
    )
    lines = (
        f"<label><input type='checkbox'> show the {len(where.wires)} lines that lead elsewhere</label>"
        if where.wires
        else ""
    )
    alt = (
        f"Animation: the image enters row by row on the left, the outputs of all {len(where.cells)} cells change from"
        " step to step, then the error comes back from the readouts as messages"
    )
    data = json.dumps(about, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f"<div class='way' data-frame='0'><div class='digits' role='group' aria-label='{what}s'>{choices}</div>"
        f"<div class='stage'><canvas role='img' aria-label='{escape(alt)}'></canvas></div>"
        "<div class='controls'><button type='button' class='play'>Play</button>"
        "<input type='range' min='0' value='0' aria-label='step'></div>"
        f"<div class='beside'><p class='told'><output></output></p>{lines}"
        "<ul class='legend'>"
        "<li><i class='scale' style='--from:var(--blue);--to:var(--red)'></i>output y, −1 to 1</li>"
        "<li><i class='scale' style='--from:var(--violet);--to:var(--green)'></i>"
        f"message, − and +, on a log scale from 2{raised(span[0])} to 2{raised(span[1])}</li></ul>"
        f"<p class='soft'>{WORDS}</p></div><script type='application/json'>{data}</script></div>"
    )
