"""A user's own sequences in an .npz file: train_x, train_y, test_x, test_y as numpy.savez writes them.

Nothing is believed before it is checked: headers are read first, memory follows what they may say and what is there,
and nothing is ever unpickled.
"""

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from host.base.cli import UserError, shown
from host.data.sequences import MAX_BYTES, MAX_CHANNELS, MAX_CLASSES, MAX_STEPS, Sequences, bad, faint

NAMES = ("train_x", "train_y", "test_x", "test_y")
SAVE = "write it with numpy.savez(FILE, train_x=..., train_y=..., test_x=..., test_y=...)"
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: Path) -> Sequences:
    """The sequences in an .npz file: x uint8 (n, steps, channels), y (n,) of any integer type, labels from 0.

    Raises UserError for every defect, and OSError.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as file:
            found = [member.filename for member in file.infolist()]
            missing = [name for name in NAMES if f"{name}.npy" not in found]
            if missing:
                raise bad(path, f"lacks {', '.join(missing)}", SAVE)
            arrays: dict[str, np.ndarray] = {}
            for name in NAMES:
                with file.open(f"{name}.npy") as member:
                    arrays[name] = _array(path, name, member)
    except (UserError, OSError):
        raise
    except Exception as error:  # damage in a zip surfaces as almost any type, depending on where it is
        reason = shown(" ".join(f"{type(error).__name__}: {error}".split()), 200)
        raise bad(path, f"damaged ({reason})", SAVE) from error
    return _checked(path, arrays)


def _array(path: Path, name: str, member: IO[bytes]) -> np.ndarray:
    """The array in a member, if its header says what an array of this name may be."""
    version = npy.read_magic(member)
    if version not in HEADERS:
        raise bad(path, f"{name} is in version {version[0]}.{version[1]} of NumPy's format", SAVE)
    shape, by_column, dtype = HEADERS[version](member)
    text = " x ".join(map(str, shape)) or "a single value"
    if dtype.hasobject:
        raise bad(path, f"{name} holds Python objects, which are never unpickled", "make it an array of integers")
    if name.endswith("x"):
        if dtype != np.uint8:
            way_out = "scale it to 0..255 and use .astype(numpy.uint8), or give a .csv, which is scaled as it is read"
            raise bad(path, f"{name} is {shown(dtype)}, not uint8", way_out)
        if len(shape) != 3:
            raise bad(path, f"{name} is {text}", "make it n x steps x channels")
        if not (1 <= shape[1] <= MAX_STEPS and 1 <= shape[2] <= MAX_CHANNELS):
            limits = f"have 1 to {MAX_STEPS} steps of 1 to {MAX_CHANNELS} channels in each (n x steps x channels)"
            raise bad(path, f"{name} is {text}", limits)
    else:
        if dtype.kind not in "iu":
            raise bad(path, f"{name} is {shown(dtype)}, and labels are integers", "use .astype(numpy.uint8)")
        if len(shape) != 1:
            raise bad(path, f"{name} is {text}", "make it one label for each sequence, of shape (n,)")
    if shape[0] < 1:
        raise bad(path, f"{name} is empty", "have one sequence at least in each of train and test")
    expected = math.prod(shape) * dtype.itemsize
    if expected > MAX_BYTES:
        raise bad(path, f"{name} is {text}, more than {MAX_BYTES} bytes", "use fewer sequences")
    content = member.read(expected + 1)
    if len(content) != expected:
        state = "cut short" if len(content) < expected else "longer than that"
        raise bad(path, f"{name} announces {expected} bytes and is {state}", SAVE)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if by_column else "C")


def _checked(path: Path, arrays: dict[str, np.ndarray]) -> Sequences:
    train_x, train_y, test_x, test_y = (arrays[name] for name in NAMES)
    for split, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
        if len(x) != len(y):
            raise bad(path, f"{split}_x has {len(x)} sequences, {split}_y {len(y)} labels", "give each sequence one")
        wrong = np.flatnonzero((y < 0) | (y >= MAX_CLASSES))
        if len(wrong):
            at = int(wrong[0])
            raise bad(path, f"{split}_y[{at}] is {y[at]}", f"number the classes from 0 to {MAX_CLASSES - 1} at most")
    if train_x.shape[1:] != test_x.shape[1:]:
        sizes = [f"{x.shape[1]} steps x {x.shape[2]} channels" for x in (train_x, test_x)]
        raise bad(path, f"train_x has {sizes[0]}, test_x {sizes[1]}", "make them of one size")
    if len(np.unique(train_y)) < 2:
        raise bad(path, f"every training label is {train_y[0]}", "have two classes at least")
    count = 1 + int(max(train_y.max(), test_y.max()))
    train_x, train_y, test_x, test_y = (np.ascontiguousarray(arrays[name], np.uint8) for name in NAMES)
    channels, classes = (tuple(map(str, range(n))) for n in (train_x.shape[2], count))
    return Sequences(train_x, train_y, test_x, test_y, channels, classes, notes=faint(train_x))
