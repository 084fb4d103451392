"""A user's own sequences in a .csv file: a row for each time step, `sequence,label,[split,]<a channel>,...`.

sequence: any name; its rows stand together, in order of time. label: a whole number from 0, or a name that begins with
a letter. split: train or test; without that column the last fifth of every class is for testing. Every other column is
a channel. Numbers that are whole and in 0..255, all of them, are taken as they are; else each channel is scaled:

    x = (value - low) * 255 // (high - low), clipped to 0..255; low and high: of the channel in the training sequences
"""

import csv
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from host.base.cli import UserError, shown
from host.base.heartbeat import heartbeat
from host.data.sequences import MAX_BYTES, MAX_CHANNELS, MAX_CLASSES, MAX_STEPS, Sequences, bad, faint

HEADER = "sequence,label,split,<channel>,... (split may be left out)"
UTF8 = "save it as CSV in UTF-8"
LONGEST_LINE = 1 << 14  # characters
LARGEST = 1e30
NUMBER = re.compile(r" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)? *", re.ASCII)  # float() takes nan, 1_000 and more
WHOLE = re.compile(r"\d{1,9}", re.ASCII)
NAME = re.compile(r"[^\W\d_].{0,39}")


@dataclass
class _Sequence:
    """What the rows of one sequence have in common, and how many there were."""

    name: str
    label: str
    split: str
    line: int
    steps: int = 0


def read_csv(path: Path) -> Sequences:
    """The sequences in a .csv file. Raises UserError for every defect, and OSError."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        table = _Table(path, stream)
        try:
            with heartbeat(lambda: f"reading {path}, line {table.rows.line_num}"):
                table.read()
        except UnicodeDecodeError as error:
            raise bad(path, f"is not UTF-8 (after line {table.rows.line_num})", UTF8) from error
        except csv.Error as error:
            raise table.wrong(str(error), "mend its quotes") from error
    classes, labels = table.classes()
    testing = table.testing(labels)
    notes = []
    if not table.sequences[0].split:
        notes.append("there is no column split: the last fifth of every class (one at least) is for testing")
    if not WHOLE.fullmatch(table.sequences[0].label):
        notes.append("classes: " + ", ".join(f"{i} {name}" for i, name in enumerate(classes)))
    numbers = np.frombuffer(table.values).reshape(len(labels), -1, len(table.channels))
    if numbers.min() >= 0 and numbers.max() <= 255 and (numbers == np.floor(numbers)).all():
        scaling, x = np.zeros((0, 2)), numbers.astype(np.uint8)
        notes += faint(x[~testing])
    else:
        scaling = np.stack([numbers[~testing].min(axis=(0, 1)), numbers[~testing].max(axis=(0, 1))], axis=1)
        x = scaled(numbers, scaling)
        notes.append(
            "channels are scaled: x = (value - low) * 255 // (high - low), clipped to 0..255; low and high are those of"
            " the training sequences, and python -m host.dataset --show FILE shows them"
        )
        still = [shown(name) for name, (low, high) in zip(table.channels, scaling, strict=True) if low == high]
        if still:
            notes.append(f"channels that never change in the training sequences become 0: {', '.join(still)}")
    return Sequences(
        x[~testing],
        labels[~testing],
        x[testing],
        labels[testing],
        tuple(table.channels),
        classes,
        tuple((low, high) for low, high in scaling.tolist()),
        tuple(notes),
    )


def scaled(numbers: np.ndarray, scaling: np.ndarray) -> np.ndarray:
    """Numbers (..., channels) as uint8: each channel's low of scaling (channels, 2) becomes 0, its high 255.

    A channel whose low is its high becomes 0.
    """
    low, high = scaling.T
    moving = high > low
    x = (numbers - low) * 255 // np.where(moving, high - low, 1)
    return np.where(moving, np.clip(x, 0, 255), 0).astype(np.uint8)


class _Table:
    """The rows of a file: read() collects sequences and their values, step by step; the rest says what they mean."""

    def __init__(self, path: Path, stream: TextIO):
        self.path = path
        self.rows = csv.reader(self._lines(stream), strict=True, skipinitialspace=True)
        self.channels: list[str] = []
        self.sequences: list[_Sequence] = []
        self.values = array("d")

    def wrong(self, cause: str, way_out: str, line: int | None = None) -> UserError:
        """What to say of this line; None: the one that was read last."""
        return UserError(f"{self.path}, line {line or self.rows.line_num}: {cause}; {way_out}")

    def _lines(self, stream: TextIO) -> Iterator[str]:
        count = 0
        while line := stream.readline(LONGEST_LINE + 1):
            count += 1
            if "\0" in line:
                raise self.wrong("NUL bytes, so this is no text in UTF-8", UTF8, count)
            if len(line) > LONGEST_LINE:
                raise self.wrong(f"longer than {LONGEST_LINE} characters", "have a row for each time step", count)
            yield line

    def read(self) -> None:
        header = [name.strip() for name in next(self.rows, [])]
        fixed, at = self._columns(header)
        self.channels = [header[i] for i in at]
        seen: set[str] = set()
        for row in self.rows:
            if not row:
                continue
            if len(row) != len(header):
                raise self.wrong(f"{len(row)} fields, and the header has {len(header)}", "mend that row")
            name, label, split = ("" if i is None else row[i].strip() for i in fixed)
            if not self.sequences or name != self.sequences[-1].name:
                self._same_length()
                if not name:
                    raise self.wrong("the sequence has no name", "give each one a name or number")
                if name in seen:
                    raise self.wrong(f"sequence {shown(name)} goes on after another one", "keep its rows together")
                if fixed[2] is not None and split not in ("train", "test"):
                    raise self.wrong(f"split is '{shown(split)}'", "choose train or test")
                self.sequences.append(_Sequence(name, label, split, self.rows.line_num))
                seen.add(name)
            last = self.sequences[-1]
            if (label, split) != (last.label, last.split):
                raise self.wrong(f"sequence {shown(name)} has two labels or splits", "give all its rows the same")
            last.steps += 1
            if last.steps > MAX_STEPS:
                raise self.wrong(f"sequence {shown(name)} has more than {MAX_STEPS} steps", "cut it into shorter ones")
            self.values.extend([self._number(i, row[i], header) for i in at])
            if len(self.values) > MAX_BYTES // 8:
                raise self.wrong(f"more than {MAX_BYTES // 8} values", "give them as .npz")
        if not self.sequences:
            raise bad(self.path, "holds no sequence", f"have a header, {HEADER}, and a row for each time step")
        self._same_length()

    def _columns(self, header: list[str]) -> tuple[list[int | None], list[int]]:
        """Where sequence, label and split are (None: nowhere), and where the channels are."""
        if not header:
            raise bad(self.path, "is empty", f"begin with {HEADER}")
        if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
            cause = "its columns are not separated by commas"
            raise bad(self.path, cause, "save it with commas, and points in its numbers")
        missing = [name for name in ("sequence", "label") if name not in header]
        if missing:
            raise bad(self.path, f"its first line names no column {' and no '.join(missing)}", f"begin with {HEADER}")
        for name in header:
            if not (name.isprintable() and 1 <= len(name) <= 40 and header.count(name) == 1):
                cause = f"the header names a column '{shown(name)}'"
                raise bad(self.path, cause, "name each one once, in 1 to 40 printable characters")
        fixed = [header.index(name) if name in header else None for name in ("sequence", "label", "split")]
        channels = [i for i in range(len(header)) if i not in fixed]
        if not 1 <= len(channels) <= MAX_CHANNELS:
            raise bad(self.path, f"has {len(channels)} channels", f"have 1 to {MAX_CHANNELS}: {HEADER}")
        return fixed, channels

    def _same_length(self) -> None:
        """Compare the last sequence, which is complete, with the first."""
        first, last = (self.sequences[0], self.sequences[-1]) if self.sequences else (None, None)
        if first and last and first.steps != last.steps:
            cause = f"sequence {shown(last.name)} has {last.steps} steps, {shown(first.name)} has {first.steps}"
            raise self.wrong(cause, "cut or pad them to one length", last.line)

    def _number(self, column: int, text: str, header: list[str]) -> float:
        number = float(text) if NUMBER.fullmatch(text) else LARGEST
        if abs(number) >= LARGEST:
            cause = f"{header[column]} is '{shown(text)}'"
            raise self.wrong(cause, f"write a number such as 12 or -0.5, below {LARGEST:g}")
        return number

    def classes(self) -> tuple[tuple[str, ...], np.ndarray]:
        """The classes' names, and each sequence's class: the number it has, or its name's place in the alphabet."""
        pattern = WHOLE if WHOLE.fullmatch(self.sequences[0].label) else NAME
        for sequence in self.sequences:
            label = sequence.label
            if not (pattern.fullmatch(label) and label.isprintable()):
                way_out = "give all as whole numbers from 0, or all as names of 1 to 40 characters, first a letter"
                raise self.wrong(f"label is '{shown(label)}'", way_out, sequence.line)
            if pattern is WHOLE and int(label) >= MAX_CLASSES:
                raise self.wrong(f"label is {label}", f"number the classes from 0 to {MAX_CLASSES - 1}", sequence.line)
        found = sorted({sequence.label for sequence in self.sequences})
        if pattern is WHOLE:
            labels = [int(sequence.label) for sequence in self.sequences]
            return tuple(map(str, range(1 + max(labels)))), np.array(labels, np.uint8)
        if len(found) > MAX_CLASSES:
            raise bad(self.path, f"has {len(found)} different labels", f"have {MAX_CLASSES} classes at most")
        place = {label: i for i, label in enumerate(found)}
        return tuple(found), np.array([place[sequence.label] for sequence in self.sequences], np.uint8)

    def testing(self, labels: np.ndarray) -> np.ndarray:
        """Which sequences are for testing (bool)."""
        if self.sequences[0].split:
            testing = np.array([sequence.split == "test" for sequence in self.sequences])
        else:
            testing = np.zeros(len(labels), bool)
            for label in np.unique(labels):
                which = np.flatnonzero(labels == label)
                if len(which) > 1:
                    testing[which[-max(1, len(which) // 5) :]] = True
        if testing.all() or not testing.any():
            raise bad(self.path, "has no sequences for training or none for testing", "have some of both")
        if len(np.unique(labels[~testing])) < 2:
            raise bad(self.path, "all training sequences have one label", "have two classes at least")
        return testing
