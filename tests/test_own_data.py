"""A user's own sequences, .npz and .csv: what is read, how it is scaled and split, and what is refused, in one line."""

import io
import os
import re
import tracemalloc
import zipfile
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
import waves
from hypothesis import given
from hypothesis import strategies as st
from idx_files import ROOT, many, refused

from host.base.cli import UserError
from host.data.csvfile import scaled
from host.data.dataset import Dataset, load
from host.data.npz import NAMES
from host.runs.config import configure

SMALL = waves.arrays(2, 1)
GRID = """\
sequence,label,split,x,y
a,0,train,1,2
a,0,train,3,4
b,1,train,5,6
b,1,train,7,8
c,0,test,9,255
c,0,test,0,1
"""


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def npz(path: Path, **changes: object) -> Path:
    """SMALL as an .npz file, with some arrays changed, or left out (None)."""
    np.savez(path, **{name: array for name, array in (SMALL | changes).items() if array is not None})
    return path


def held(data: Dataset) -> tuple[np.ndarray, ...]:
    return data.train_images, data.train_labels, data.test_images, data.test_labels


# What is read


def test_arrays_of_an_npz_file_are_the_data(tmp_path):
    data = load(npz(tmp_path / "mine.npz"))
    for found, name in zip(held(data), NAMES, strict=True):
        np.testing.assert_array_equal(found, SMALL[name])
        assert found.dtype == np.uint8 and found.flags.c_contiguous and not found.flags.writeable
    assert (data.name, data.channels, data.classes, data.scaling) == ("mine.npz", ("0", "1", "2"), ("0", "1", "2"), ())


def test_npz_files_load_however_numpy_laid_them_out(tmp_path):
    plain = load(npz(tmp_path / "plain.npz"))
    by_column = {name: np.asfortranarray(SMALL[name]) for name in ("train_x", "test_x")}
    other = tmp_path / "o.npz"
    np.savez_compressed(
        other,
        **by_column,
        train_y=SMALL["train_y"].astype(">i2"),
        test_y=SMALL["test_y"].astype("u8"),
        more=np.array("x"),
    )
    assert load(other).digest == plain.digest


def test_largest_npz_sequences_load(tmp_path):
    x = np.arange(2 * 256 * 64, dtype=np.uint32).reshape(2, 256, 64).astype(np.uint8)
    data = load(npz(tmp_path / "l.npz", train_x=x, train_y=[0, 63], test_x=x[:1], test_y=[1]))
    config = configure(data, "critical", 1, 1)
    assert (config.rows, config.cols, config.steps) == (64, 64, 256)


def test_csv_rows_are_the_steps_of_sequences_and_whole_bytes_stay_as_they_are(tmp_path):
    data = load(written(tmp_path / "grid.csv", GRID))
    assert data.train_images.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert data.test_images.tolist() == [[[9, 255], [0, 1]]]
    assert data.train_labels.tolist() == [0, 1] and data.test_labels.tolist() == [0]
    assert (data.channels, data.classes, data.scaling) == (("x", "y"), ("0", "1"), ())
    assert not any(array.flags.writeable for array in held(data))


@pytest.mark.parametrize(
    "other",
    [
        b"\xef\xbb\xbf" + GRID.encode(),
        GRID.replace("\n", "\r\n").encode(),
        GRID.replace("\n", "\n\n").encode().rstrip(),
        GRID.replace(",", ", ").encode(),
        GRID.replace("a,", '"a",').encode(),
        GRID.replace("9,255", "9.0,2.55e2").encode(),
        "\n".join(",".join(line.split(",")[i] for i in (3, 2, 1, 0, 4)) for line in GRID.split()).encode(),
    ],
    ids=["byte-order mark", "CRLF", "blank lines", "spaces", "quotes", "floats", "other order"],
)
def test_csv_files_of_other_programs_are_the_same_data(tmp_path, other):
    assert load(written(tmp_path / "o.csv", other)).digest == load(written(tmp_path / "g.csv", GRID)).digest


def test_table_in_the_readme_is_one(tmp_path):
    (table,) = re.findall("```\n(sequence,.*?)```", (ROOT / "README.md").read_text(), re.S)
    data = load(written(tmp_path / "r.csv", table))
    assert data.train_images.shape == (2, 2, 3) and data.test_images.shape == (1, 2, 3)
    assert (data.classes, data.channels) == (("run", "walk"), ("ax", "ay", "az")) and len(data.scaling) == 3


def test_labels_that_are_names_become_classes_in_the_order_of_the_alphabet(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(6, 2, 1)
    path = waves.write_csv(tmp_path / "n.csv", values, ["walk", "run", "Éclair", "run", "walk", "Éclair"])
    data = load(path)
    assert data.classes == ("run", "walk", "Éclair")
    assert data.train_labels.tolist() == [1, 0, 2] and data.test_labels.tolist() == [0, 1, 2]
    assert "classes: 0 run, 1 walk, 2 Éclair" in data.notes


def test_without_a_split_the_last_fifth_of_every_class_and_one_at_least_is_for_testing(tmp_path):
    labels = [0] * 10 + [1] * 4 + [2] + [0]
    values = np.arange(16, dtype=np.uint8).reshape(16, 1, 1)
    data = load(waves.write_csv(tmp_path / "n.csv", values, labels))
    assert data.test_images.ravel().tolist() == [9, 13, 15]
    assert data.train_images.ravel().tolist() == [*range(9), 10, 11, 12, 14]
    assert any("last fifth" in note for note in data.notes)


def test_other_numbers_are_scaled_from_the_training_sequences_and_clipped(tmp_path):
    values = np.array([[[-2.0, 5]], [[0.5, 5]], [[2.0, 5]], [[-9.0, 7]], [[9.0, 5]]])
    data = load(waves.write_csv(tmp_path / "s.csv", values, [0, 1, 0, 1, 0], ["train"] * 3 + ["test"] * 2))
    assert data.scaling == ((-2.0, 2.0), (5.0, 5.0))
    assert data.train_images.tolist() == [[[0, 0]], [[159, 0]], [[255, 0]]]
    assert data.test_images.tolist() == [[[0, 0]], [[255, 0]]]
    assert any("(value - low) * 255 // (high - low)" in note for note in data.notes)
    assert any(note.endswith("become 0: y") for note in data.notes)


@given(st.integers(-(2**23), 2**23), st.integers(1, 2**24), st.lists(st.integers(-(2**24), 2**25), min_size=1))
def test_scaling_of_a_sensors_whole_numbers_is_exact(low, span, values):
    """So that a board can do the same with its own integers."""
    found = scaled(np.array(values, float)[:, None], np.array([[low, low + span]], float)).ravel().tolist()
    assert found == [min(max(floor(Fraction(255 * (value - low), span)), 0), 255) for value in values]


@given(st.lists(st.floats(-1e29, 1e29), min_size=2, max_size=9))
def test_scaling_of_any_numbers_keeps_their_order_and_takes_the_range_but_for_a_rounding(values):
    numbers = np.sort(np.array(values))[:, None]
    found = scaled(numbers, np.array([[numbers[0, 0], numbers[-1, 0]]])).ravel()
    assert (np.diff(found.astype(int)) >= 0).all()
    assert found[0] == 0 and (found[-1] >= 254 if numbers[-1] > numbers[0] else found[-1] == 0)


def test_values_that_hardly_use_their_range_are_remarked_on(tmp_path):
    dark = np.minimum(SMALL["train_x"], 31)
    (note,) = load(npz(tmp_path / "f.npz", train_x=dark)).notes
    assert note.startswith("the largest training value is 31 of 255: spread")
    assert load(npz(tmp_path / "m.npz")).notes == ()


def test_lattice_has_a_row_for_each_channel_and_a_column_for_each_class(tmp_path):
    data = load(npz(tmp_path / "m.npz"))
    config = configure(data, "critical", 1, 1)
    assert (config.rows, config.cols, config.steps) == (3, 3, 40)
    part = data.limited(1, 1)
    assert configure(part, "critical", 1, 1).cols == 3, "however few are taken"
    assert configure(data, "critical", 1, 1, rows=2, cols=5).network().cells == 10
    refused(
        lambda: configure(data, "critical", 1, 1, rows=4), "--rows 4: choose 1 to 3 (the sequences have 3 channels)"
    )
    refused(lambda: data.limited(7), "m.npz has 6 training sequences")


# What is refused

X, Y = SMALL["train_x"], SMALL["train_y"]
BAD_ARRAYS = [
    ({"train_x": None, "test_y": None}, "lacks train_x, test_y"),
    ({"train_x": X.astype(np.float32)}, "train_x is float32, not uint8"),
    ({"test_x": SMALL["test_x"].astype(np.int64)}, "test_x is int64, not uint8"),
    ({"train_x": X[:, :, 0]}, "train_x is 6 x 40; make it n x steps x channels"),
    ({"train_x": np.zeros((6, 257, 3), np.uint8)}, "train_x is 6 x 257 x 3; have 1 to 256 steps"),
    ({"train_x": np.zeros((6, 40, 65), np.uint8)}, "train_x is 6 x 40 x 65; have 1 to 256 steps of 1 to 64 channels"),
    ({"train_x": np.zeros((6, 0, 3), np.uint8)}, "train_x is 6 x 0 x 3"),
    ({"train_x": X[:0], "train_y": Y[:0]}, "train_x is empty"),
    ({"test_x": SMALL["test_x"][:0], "test_y": Y[:0]}, "test_x is empty"),
    ({"train_y": Y[:-1]}, "train_x has 6 sequences, train_y 5 labels"),
    ({"test_x": SMALL["test_x"][:, :-1]}, "train_x has 40 steps x 3 channels, test_x 39 steps x 3 channels"),
    ({"train_y": Y * 0.5}, "train_y is float64, and labels are integers"),
    ({"train_y": Y > 0}, "train_y is bool, and labels are integers"),
    ({"train_y": Y.astype(str)}, "train_y is <U21, and labels are integers"),
    ({"train_y": Y[:, None]}, "train_y is 6 x 1; make it one label for each sequence"),
    ({"train_y": np.array(3)}, "train_y is a single value"),
    ({"train_y": np.where(np.arange(6) == 4, -1, Y)}, "train_y[4] is -1"),
    ({"test_y": np.array([0, 64, 1])}, "test_y[1] is 64; number the classes from 0 to 63"),
    ({"test_y": np.array([0, 1, 2**64 - 1], np.uint64)}, "test_y[2] is 18446744073709551615"),
    ({"train_y": Y * 0 + 2}, "every training label is 2; have two classes at least"),
    ({"train_y": np.array([{}] * 6)}, "train_y holds Python objects, which are never unpickled"),
    ({"train_x": np.array([{}, None])}, "train_x holds Python objects"),
    ({"train_y": np.zeros(6, [("a\x1b", "u1")])}, "labels are integers"),
]


@pytest.mark.parametrize(("changes", "cause"), BAD_ARRAYS, ids=[cause for _, cause in BAD_ARRAYS])
def test_arrays_that_cannot_be_used_are_refused(tmp_path, changes, cause):
    refused(lambda: load(npz(tmp_path / "m.npz", **changes)), tmp_path / "m.npz", cause, "; ")


def header(shape: str, descr: str = "|u1") -> bytes:
    """The beginning of an .npy file that announces an array of this shape."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text + b"\n"


@pytest.mark.parametrize(
    ("member", "cause"),
    [
        (header("(4611686018427387904, 256, 64)"), "more than 1073741824 bytes"),
        (header("(65536, 256, 64)"), "announces 1073741824 bytes and is cut short"),
        (header("(-6, 40, 3)"), "train_x is empty"),
        (header("(6, -40, 3)"), "train_x is 6 x -40 x 3"),
        (header("(6, 40, 3)") + bytes(721), "announces 720 bytes and is longer than that"),
        (header("(6, 40, 3)") + bytes(1 << 24), "announces 720 bytes and is longer than that"),
        (header("(" * 3000 + ")" * 3000), "damaged"),
        (header("(6, 40, 3)", "|O"), "never unpickled"),
        (b"\x93NUMPY\x03\x00" + bytes(99), "version 3.0"),
        (b"\x80\x04.", "damaged"),
        (b"", "damaged"),
    ],
)
def test_arrays_that_are_not_what_they_announce_are_refused_without_taking_memory(tmp_path, member, cause):
    path = npz(tmp_path / "m.npz", train_x=None)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train_x.npy", member)
    del member
    tracemalloc.start()
    try:
        refused(lambda: load(path), path, cause)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


def test_an_encrypted_or_oddly_packed_npz_file_is_refused(tmp_path):
    content = bytearray(npz(tmp_path / "m.npz").read_bytes())
    for at, value in ((6, 1), (8, 99)):  # flags and method, there and in the directory, two bytes further on
        changed = content.copy()
        changed[at] = value
        changed[content.index(b"PK\x01\x02") + at + 2] = value
        refused(lambda changed=changed: load(written(tmp_path / "e.npz", bytes(changed))), "e.npz: damaged")


def line(number: int, new: str) -> str:
    """GRID with one of its lines (1 is the header) in another way."""
    lines = GRID.splitlines()
    return "\n".join([*lines[: number - 1], new, *lines[number:]])


BAD_TABLES = [
    ("", "is empty"),
    ("\n", "is empty"),
    (GRID.splitlines()[0], "holds no sequence"),
    (GRID.replace(",", ";"), "not separated by commas; save it with commas"),
    (GRID.replace(",", "\t"), "not separated by commas"),
    (GRID.split("\n", 1)[1], "names no column sequence and no label"),
    (line(1, "id,label,split,x,y"), "names no column sequence"),
    (line(1, "sequence,label,split,x,x"), "the header names a column 'x'"),
    (line(1, "sequence,label,split,x,"), "the header names a column ''"),
    (line(1, "sequence,label,split,x,\x1b[2J"), r"the header names a column '\x1b[2J'"),
    ("sequence,label\na,0\nb,1\n", "has 0 channels"),
    ("sequence,label," + ",".join(f"c{i}" for i in range(65)), "has 65 channels; have 1 to 64"),
    (line(4, "b,1,train,5"), "line 4: 4 fields, and the header has 5"),
    (line(4, "b,1,train,5,6,7"), "line 4: 6 fields"),
    (line(4, "b,1,train,5,six"), "line 4: y is 'six'; write a number"),
    (line(4, "b,1,train,,6"), "line 4: x is ''"),
    (line(4, "b,1,train,nan,6"), "line 4: x is 'nan'"),
    (line(4, "b,1,train,inf,6"), "line 4: x is 'inf'"),
    (line(4, "b,1,train,1e999,6"), "line 4: x is '1e999'"),
    (line(4, "b,1,train,1_0,6"), "line 4: x is '1_0'"),
    (line(4, "b,1,train,٣,6"), "line 4: x is '٣'"),
    (line(4, 'b,1,train,"1,5",6'), "line 4: x is '1,5'"),
    (line(4, 'b,1,train,"5,6'), "mend its quotes"),
    (line(4, "b,1,train,5,6\0"), "line 4: NUL bytes"),
    (line(4, "b,1,train,5," + "6" * 20000), "line 4: longer than 16384 characters"),
    (line(4, ",1,train,5,6"), "line 4: the sequence has no name"),
    (line(6, "a,0,train,5,6"), "line 6: sequence a goes on after another one"),
    (line(5, "b,0,train,5,6"), "line 5: sequence b has two labels or splits"),
    (line(5, "b,1,test,5,6"), "line 5: sequence b has two labels or splits"),
    (line(4, "b,1,Train,5,6"), "line 4: split is 'Train'; choose train or test"),
    (GRID + "c,0,test,1,1\n", "line 6: sequence c has 3 steps, a has 2; cut or pad"),
    (GRID.replace("b,1,train,7,8\n", ""), "line 4: sequence b has 1 steps, a has 2"),
    (GRID.replace("b,1", "b,64"), "line 4: label is 64; number the classes from 0 to 63"),
    (GRID.replace("b,1", "b,-1"), "line 4: label is '-1'; give all as whole numbers from 0"),
    (GRID.replace("b,1", "b,1.0"), "line 4: label is '1.0'"),
    (GRID.replace("b,1", "b,run"), "line 4: label is 'run'; give all as whole numbers from 0, or all as names"),
    (GRID.replace("a,0", "a,run"), "line 4: label is '1'; give all as whole numbers from 0, or all as names"),
    (GRID.replace("b,1", "b,"), "line 4: label is ''"),
    (GRID.replace("b,1", "b,0"), "all training sequences have one label"),
    (GRID.replace("test", "train"), "no sequences for training or none for testing"),
    (GRID.replace("train", "test"), "no sequences for training or none for testing"),
    ("sequence,label,x\na,0,1\nb,1,1\n", "no sequences for training or none for testing"),
    ("sequence,label,x\n" + "a,0,1\n" * 257, "line 258: sequence a has more than 256 steps"),
    ("sequence,label,x\n" + "".join(f"{i},n{i},1\n" for i in range(65)), "has 65 different labels"),
    (GRID.encode("utf-16"), "is not UTF-8"),
    (GRID.encode("utf-16-le"), "line 1: NUL bytes, so this is no text in UTF-8"),
    (GRID.replace("a,", "ä,").encode("latin-1"), "is not UTF-8 (after line"),
]


@pytest.mark.parametrize(("content", "cause"), BAD_TABLES, ids=[cause for _, cause in BAD_TABLES])
def test_tables_that_cannot_be_used_are_refused(tmp_path, content, cause):
    refused(lambda: load(written(tmp_path / "t.csv", content)), tmp_path / "t.csv", cause, "; ")


def test_what_is_no_file_of_own_sequences_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")  # nobody writes to it: opening it would wait for ever
    written(tmp_path / "t.txt", GRID)
    for name in ("pipe.csv", "t.txt"):
        refused(lambda name=name: load(tmp_path / name), name, "is not a directory, nor a .npz or .csv file")
    refused(lambda: load("/dev/null"), "/dev/null is not a directory, nor a .npz or .csv file")
    refused(lambda: load(tmp_path / "no.npz"), "no.npz does not exist")
    (tmp_path / "d.csv").mkdir()
    refused(lambda: load(tmp_path / "d.csv"), "d.csv lacks train-images-idx3-ubyte")
    for name in ("empty.npz", "table.npz"):
        written(tmp_path / name, "" if name == "empty.npz" else GRID)
        refused(lambda name=name: load(tmp_path / name), f"{name}: damaged (BadZipFile", "numpy.savez")


def loads_or_is_refused(path: Path) -> None:
    try:
        data = load(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert configure(data, "critical", 1, 1).cols == len(data.classes)


def packed() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **SMALL)
    return buffer.getvalue()


PACKED = packed()
JUNK = [b",", b'"', b"\n", b"\r", b"\0", b"-", b"e9", b"nan", b"a"]


@given(data=st.data())
@many
def test_a_damaged_npz_file_loads_or_is_refused(tmp_path, data):
    at = data.draw(st.integers(0, len(PACKED) - 1))
    junk = data.draw(st.binary(max_size=9))
    skipped = data.draw(st.sampled_from([len(junk), len(junk), 0, 1, len(PACKED)]))
    loads_or_is_refused(written(tmp_path / "m.npz", PACKED[:at] + junk + PACKED[at + skipped :]))


@given(data=st.data())
@many
def test_a_damaged_table_loads_or_is_refused(tmp_path, data):
    content = GRID.encode()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        junk = data.draw(st.binary(max_size=4) | st.sampled_from(JUNK))
        content = content[:at] + junk + content[at + data.draw(st.integers(0, 4)) :]
    loads_or_is_refused(written(tmp_path / "t.csv", content))


@given(content=st.text() | st.lists(st.lists(st.text(max_size=3), max_size=4).map(",".join)).map("\n".join))
@many
def test_any_text_loads_or_is_refused(tmp_path, content):
    loads_or_is_refused(written(tmp_path / "t.csv", ("sequence,label,x\n" + content).encode("utf-8", "replace")))
