"""A user's own labelled sequences: what they may be, whatever file they came from, and a picture of one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from host.base.cli import UserError

MAX_CHANNELS, MAX_STEPS, MAX_CLASSES = 64, 256, 64
MAX_BYTES = 1 << 30  # of the values of one file, in memory
PICTURE_COLUMNS, PICTURE_CHANNELS = 64, 8
SHADES = " .:-=+*#%@"  # dark to bright


@dataclass(frozen=True, eq=False)
class Sequences:
    """Training and test sequences x (n, steps, channels) uint8 with their labels y (n,) uint8, as a file has them.

    scaling: of each channel the values in the file that became 0 and 255; empty if they were 0..255 already.
    notes: lines for people, about what was decided in reading.
    """

    train_x: npt.NDArray[np.uint8]
    train_y: npt.NDArray[np.uint8]
    test_x: npt.NDArray[np.uint8]
    test_y: npt.NDArray[np.uint8]
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    scaling: tuple[tuple[float, float], ...] = ()
    notes: tuple[str, ...] = ()


def bad(path: Path, cause: str, way_out: str) -> UserError:
    """What to say of a file that cannot be used."""
    return UserError(f"{path}: {cause}; {way_out}")


def faint(x: npt.NDArray[np.uint8]) -> tuple[str, ...]:
    """A note if these values hardly use their range: the lattice would see next to nothing."""
    highest = int(x.max())
    return () if highest >= 32 else (f"the largest training value is {highest} of 255: spread the values over 0..255",)


def trace(sequence: npt.NDArray[np.uint8], names: tuple[str, ...]) -> list[str]:
    """Lines of text that show a (steps, channels) sequence: time runs to the right, a line for each channel.

    Of a long one each character is the mean of several steps; of many channels the first PICTURE_CHANNELS are shown.
    """
    columns = np.array_split(sequence.astype(float), min(len(sequence), PICTURE_COLUMNS))
    means = np.array([part.mean(axis=0) for part in columns]).T[:PICTURE_CHANNELS]
    width = max(map(len, names[:PICTURE_CHANNELS]))
    lines = [
        f"{name:>{width}} |{''.join(SHADES[int(value * 10 / 256)] for value in values)}|"
        for name, values in zip(names, means, strict=False)
    ]
    hidden = len(names) - len(means)
    return [*lines, f"and {hidden} more channels"] if hidden else lines
