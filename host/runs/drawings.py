"""What a terminal shows of runs beside their bar, in characters: how accuracy has grown, and the last image."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from host.base.cli import shown
from host.runs.config import Config
from host.runs.run import Progress, Run
from host.runs.seeds import Member

Line = list[tuple[str, str]]  # texts, each with a style as rich writes it

HEIGHT = 7  # lines of a plot, and of a picture
WIDEST = 100  # columns of a plot and a picture beside each other
PICTURE = 20  # columns of a picture, with what is said of it
BINS = 400  # parts of a run of which a curve knows the accuracy: more than a plot has columns
EIGHTHS, EIGHTHS_ACROSS = " ▁▂▃▄▅▆▇█", " ▏▎▍▌▋▊▉█"
HALVES = " ▀▄█"  # nothing, above, below, both
INK = 0.4  # from here on, between the darkest and the brightest, a point of a picture is drawn
TOPS = (0.25, 0.5, 0.75, 1.0)  # of a plot's scale


class Curve:
    """Accuracy over the steps of a run: in training as it goes on, and in the tests of its epochs."""

    def __init__(self, config: Config, epochs: Sequence[dict[str, Any]]):
        """epochs: those that there are; what is added to them later counts as well."""
        self.total, self.images, self.epochs = config.total, config.images, epochs
        self.seen, self.right = np.zeros(BINS), np.zeros(BINS)
        self.step, self.correct = 0, 0.0  # where it is, and how many were right there, in this epoch
        for epoch in epochs:
            self._add(epoch["step"], epoch["train_accuracy"] * self.images)

    def take(self, now: Progress) -> None:
        """Take note of a progress."""
        step, begin = (now.epoch - 1) * self.images + now.image, (now.epoch - 1) * self.images
        if step > self.step:
            self._add(step, now.correct - (self.correct if self.step > begin else 0))
            self.correct = now.correct

    def _add(self, step: int, right: float) -> None:
        """So many were right on the way to this step."""
        first, last = self.step * BINS // self.total, -(-step * BINS // self.total)
        self.seen[first:last] += (step - self.step) / (last - first)
        self.right[first:last] += right / (last - first)
        self.step = step

    def lines(self, width: int) -> list[Line]:
        """A plot of the whole run, HEIGHT lines and what they mean."""
        columns = width - 5  # beside the scale
        edges = np.arange(columns) * BINS // columns
        seen, right = np.add.reduceat(self.seen, edges), np.add.reduceat(self.right, edges)
        accuracy = np.where(seen > 0, right / np.maximum(seen, 1e-9), 0)
        tests = [(epoch["step"], epoch["test_accuracy"]) for epoch in self.epochs]
        highest = max([accuracy.max(), *(test for _, test in tests)])
        top = top_above(highest)
        levels = np.rint(accuracy / top * HEIGHT * 8).astype(int)
        found = []
        for row in reversed(range(HEIGHT)):
            area = [EIGHTHS[eighths] for eighths in np.clip(levels - 8 * row, 0, 8)]
            scale = f"{top:4.2f} " if row == HEIGHT - 1 else "0.00 " if row == 0 else " " * 5
            line, begin = [(scale, "dim")], 0
            for step, test in tests:
                if min(int(test / top * HEIGHT), HEIGHT - 1) == row:
                    column = (step * columns - 1) // self.total
                    line += [("".join(area[begin:column]), "cyan"), ("●", "bold yellow")] if column >= begin else []
                    begin = max(begin, column + 1)
            found.append([*line, ("".join(area[begin:]), "cyan")])
        last = [("  ● ", "bold yellow"), (f"test {tests[-1][1]:.4f}", "")] if tests else []
        return [*found, [("     █ ", "cyan"), ("training", ""), *last]]


def bar(text: str, share: float, columns: int, plain: bool) -> Line:
    """A text, and a bar beside it if there is room. plain: in ASCII."""
    room = columns - len(text) - 3
    if room < 4:
        return [(text, "")]
    eighths = int(share * room * 8)
    full = "#" * (eighths // 8) if plain else EIGHTHS_ACROSS[8] * (eighths // 8) + EIGHTHS_ACROSS[eighths % 8]
    return [(f"{text} |", ""), (full.strip().ljust(room), "cyan"), ("|", "")]


def top_above(highest: float) -> float:
    """The end of a scale for accuracies up to this one."""
    return next(top for top in TOPS if top >= min(highest, 1))


def spark(values: Sequence[float], top: float) -> str:
    """A line of bars, a character high."""
    return "".join(EIGHTHS[1 + min(int(value / top * 8), 7)] for value in values)


def picture(image: np.ndarray) -> list[str]:
    """An image (steps, rows) in HEIGHT lines at most; a few channels as a line each, over time."""
    steps, rows = image.shape
    if rows <= HEIGHT:
        size = -(-steps // PICTURE)
        means = np.add.reduceat(image, np.arange(0, steps, size), 0) / np.diff([*range(0, steps, size), steps])[:, None]
        return [spark(channel, 256) for channel in means.T.tolist()]
    size = max(-(-steps // (2 * HEIGHT)), -(-rows // PICTURE))
    padded = np.pad(image, [(0, -steps % (2 * size)), (0, -rows % size)]).astype(float)
    means = padded.reshape(padded.shape[0] // size, size, -1, size).mean((1, 3))
    ink = means > means.min() + INK * max(np.ptp(means), 1)
    return ["".join(HALVES[at] for at in line).rstrip() for line in ink[::2] + 2 * ink[1::2]]


def portrait(run: Run) -> list[Line]:
    """The image that a run has trained on last, and what the learner said of it."""
    last = run.last()
    if last is None:
        return []
    image, label, guess = last
    name, other = (shown(run.data.classes[k] if k < len(run.data.classes) else k, 9) for k in (label, guess))
    words = (f"{name}: right", "green") if guess == label else (f"{name}: taken for {other}", "red")
    lines: list[Line] = [[(line, "bold")] for line in picture(image)]
    return [*lines, *[[("", "")]] * (HEIGHT - len(lines)), [words]]


def beside(left: list[Line], right: list[Line], column: int) -> list[Line]:
    """The right lines next to the left ones, from this column on."""
    found = []
    for number, line in enumerate(left):
        room = column - sum(len(text) for text, _ in line)
        found.append([*line, (" " * room, ""), *right[number]] if number < len(right) else line)
    return found


def scene(curve: Curve, run: Run, width: int) -> list[Line]:
    """The curve of a run with the last image beside it: HEIGHT + 1 lines."""
    column = min(width, WIDEST) - PICTURE
    return beside(curve.lines(column - 2), portrait(run), column)


def roll(members: Sequence[Member], columns: int, lines: int) -> list[Line]:
    """Runs with different seeds, a line each as long as there are lines: the test accuracies of their epochs."""
    fit = members if len(members) <= lines else members[: lines - 1]
    top = top_above(max((epoch["test_accuracy"] for each in members for epoch in each.epochs), default=1))
    found: list[Line] = []
    for member in fit:
        tests = [epoch["test_accuracy"] for epoch in member.epochs]
        now = f"seed {member.config.seed:<4} epoch {len(tests)}/{member.config.epochs}"
        text = f"{now}  test {tests[-1]:.4f}  best {max(tests):.4f}  " if tests else now
        found.append([(text, ""), (spark(tests[-max(min(columns, WIDEST) - len(text), 1) :], top), "cyan")])
    return [*found, *([[(f"and {len(members) - len(fit)} more", "dim")]] if len(fit) < len(members) else [])]
