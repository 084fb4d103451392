"""One digit's way in still pictures: for files, which have no animation."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from host.pictures.layout import Box, Layout
from host.pictures.naming import raised
from host.pictures.signals import Seen
from host.pictures.style import Key, Panel, Picture, colour
from host.pictures.way import LEVELS, logarithmic

FINE = 12  # pixels of a unit of the layout
MOMENTS = (0.25, 0.45, 0.6, 0.8, 1.0)  # of the steps
GREY = "#7b8792"  # of pixels, in either light


class Sheet:
    """A raster on which boxes are painted; what nobody paints is clear."""

    def __init__(self, where: Layout):
        self.pixels = np.zeros((round(where.height * FINE), round(where.width * FINE), 4), np.uint8)

    def paint(self, box: Box, of: str, strength: float) -> None:
        """A box in this colour, the stronger the less of what is below shines through."""
        x, y, w, h = (round(value * FINE) for value in box)
        rgb = [round(255 * part) for part in to_rgb(of)]
        self.pixels[y : y + max(h - 1, 1), max(x, 0) : x + max(w - 1, 1)] = (*rgb, round(255 * min(strength, 1)))


def stills(seen: Seen, image: np.ndarray, label: str, where: Layout, span: tuple[int, int]) -> Picture:
    """The network at some steps, and the messages that come back; span: log2 of the messages' range."""
    steps = len(image)
    moments = sorted({max(1, round(part * steps)) for part in MOMENTS})
    panels = [Panel(_outputs(seen, image, where, t - 1), f"step {t}", width=1.9, height=2.15) for t in moments]
    panels.append(Panel(_messages(seen, where, span), "messages", width=1.9, height=2.15))
    return Picture(
        "way",
        f"One digit’s way: a {label}",
        "The image enters row by row on the left; every cell shows its output. In the end the error comes back as"
        " messages: each cell shows its strongest.",
        f"A network that sees a {label}: its outputs after {', '.join(map(str, moments))} steps, and the messages.",
        panels,
        [
            Key("output y below 0", "blue", width=7),
            Key("above 0", "red", width=7),
            Key(f"message below 0 (log scale from 2{raised(span[0])} to 2{raised(span[1])})", "violet", width=7),
            Key("above 0", "green", width=7),
        ],
        columns=len(panels),
    )


def _outputs(seen: Seen, image: np.ndarray, where: Layout, t: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        sheet = Sheet(where)
        rows = image.shape[1]
        for k, (x, y, w, h) in enumerate(where.inputs):
            for ahead in range(min(len(image) - t, int(x / w) + 1)):
                value = image[t + ahead, k % rows] / 255
                sheet.paint((x - ahead * w, y, w, h), GREY, value * (1 if ahead == 0 else 0.55))
        _signed(sheet, where.cells, seen.y[:, t], ("blue", "red"))
        logits = seen.logits[t] / max(np.abs(seen.logits).max(), 1e-9)
        _signed(sheet, where.outputs, np.sign(logits) * np.sqrt(np.abs(logits)), ("blue", "red"))
        _show(axes, sheet)

    return draw


def _messages(seen: Seen, where: Layout, span: tuple[int, int]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        sheet = Sheet(where)
        strongest = np.abs(seen.message).argmax(1)
        values = logarithmic(np.take_along_axis(seen.message, strongest[:, None], 1)[:, 0], *span) / LEVELS
        _signed(sheet, where.cells, values, ("violet", "green"))
        _signed(sheet, where.outputs, np.sign(seen.error) * np.sqrt(np.abs(seen.error)), ("violet", "green"))
        _show(axes, sheet)

    return draw


def _signed(sheet: Sheet, boxes: Sequence[Box], values: np.ndarray, pair: tuple[str, str]) -> None:
    for box, value in zip(boxes, values.tolist(), strict=True):
        sheet.paint(box, colour(pair[value > 0]), 0.06 + 0.94 * abs(value))


def _show(axes: Axes, sheet: Sheet) -> None:
    axes.imshow(sheet.pixels, interpolation="none", aspect="auto")
    axes.set_axis_off()
