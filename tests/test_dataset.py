"""host.data.dataset: a Dataset, and IDX files good and bad."""

import errno
import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from idx_files import (
    FILES,
    GARBLED,
    PACKED,
    SET,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    assert_is_set,
    idx,
    many,
    refused,
    synthetic,
    write,
)

from host.base.cli import UserError
from host.data.dataset import ARRAYS, CHECKSUMS, Dataset, load


def test_digest_depends_on_every_array_and_on_the_shape_but_not_on_the_name():
    arrays = [SET[name] for name in CHECKSUMS]
    digests = {Dataset("a", *arrays).digest}
    assert digests == {Dataset("b", *arrays, provenance="x").digest}
    for changed in range(4):
        others = [array.copy() for array in arrays]
        others[changed].flat[-1] ^= 1
        digests.add(Dataset("a", *others).digest)
    digests.add(Dataset("a", arrays[0].reshape(-1, 3, 4), *arrays[1:]).digest)
    assert len(digests) == 6
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)


def test_digest_is_computed_once():
    dataset = Dataset("a", *(SET[name] for name in CHECKSUMS))
    assert dataset.digest is dataset.digest


@given(limit=st.none() | st.integers(-3, 15), test_limit=st.none() | st.integers(-3, 8))
@example(limit=12, test_limit=5)
@example(limit=13, test_limit=5)
@example(limit=12, test_limit=6)
@example(limit=0, test_limit=1)
@example(limit=1, test_limit=0)
def test_limited_takes_the_first_images_or_says_how_many_there_are(limit, test_limit):
    dataset = Dataset("mine", *(SET[name] for name in CHECKSUMS))
    if limit is not None and not 1 <= limit <= 12:
        refused(lambda: dataset.limited(limit, test_limit), "mine has 12 training images", "1 to 12")
    elif test_limit is not None and not 1 <= test_limit <= 5:
        refused(lambda: dataset.limited(limit, test_limit), "mine has 5 test images", "1 to 5")
    else:
        part = dataset.limited(limit, test_limit)
        np.testing.assert_array_equal(part.train_images, SET[TRAIN_IMAGES][:limit])
        np.testing.assert_array_equal(part.train_labels, SET[TRAIN_LABELS][:limit])
        np.testing.assert_array_equal(part.test_images, SET[TEST_IMAGES][:test_limit])
        np.testing.assert_array_equal(part.test_labels, SET[TEST_LABELS][:test_limit])
        assert all(getattr(part, key).flags.c_contiguous for key in ARRAYS)
        whole = len(part.train_labels) == 12 and len(part.test_labels) == 5
        assert (part.digest == dataset.digest) == whole


@pytest.mark.parametrize("folder", [".", "MNIST/raw"])
@pytest.mark.parametrize("dots", [False, True], ids=["idx", "dot-idx"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_idx_files_load_under_all_their_names(tmp_path, folder, dots, packed):
    files = {name.replace("-idx", ".idx") if dots else name: content for name, content in FILES.items()}
    if packed:
        files = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    write(tmp_path / "mine" / folder, files)
    dataset = load(str(tmp_path / "mine"))
    assert_is_set(dataset)
    assert dataset.name == "mine"


def test_idx_files_whose_name_hides_or_fakes_gzip_load(tmp_path):
    write(tmp_path, PACKED | {TRAIN_LABELS: FILES[TRAIN_LABELS]})
    (tmp_path / TEST_LABELS).unlink()
    (tmp_path / f"{TEST_LABELS}.gz").write_bytes(FILES[TEST_LABELS])
    assert_is_set(load(tmp_path))


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (8, 20), (64, 64)])
def test_images_of_any_size_up_to_64_x_64_load(tmp_path, rows, cols):
    arrays = synthetic(rows=rows, cols=cols)
    assert_is_set(load(write(tmp_path, {name: idx(array) for name, array in arrays.items()})), arrays)


def test_a_missing_directory_is_refused(tmp_path):
    refused(lambda: load(tmp_path / "no"), tmp_path / "no", "does not exist", "python -m host.dataset --fetch")


def test_a_file_instead_of_a_directory_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    refused(lambda: load(path), path, "is not a directory", "python -m host.dataset --fetch")


@pytest.mark.parametrize("name", CHECKSUMS)
@pytest.mark.parametrize("folder", [".", "MNIST/raw"])
def test_a_missing_file_is_named_with_the_command_that_gets_it(tmp_path, folder, name):
    place = write(tmp_path / folder, {other: content for other, content in FILES.items() if other != name})
    message = refused(lambda: load(tmp_path), f"{place} lacks {name} ", f"python -m host.dataset --fetch {place}")
    assert not [other for other in CHECKSUMS if other != name and other in message]


def test_an_empty_directory_lacks_all_four_files(tmp_path):
    refused(lambda: load(tmp_path), f"{tmp_path} lacks", *CHECKSUMS)


def test_files_of_two_sets_are_not_mixed(tmp_path):
    write(tmp_path, {TRAIN_IMAGES: FILES[TRAIN_IMAGES]})
    write(tmp_path / "MNIST" / "raw", FILES)
    refused(lambda: load(tmp_path), f"{tmp_path} lacks {TRAIN_LABELS}, ")


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    def deny(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    write(tmp_path, FILES)
    monkeypatch.setattr(Path, "read_bytes", deny)
    refused(lambda: load(tmp_path), tmp_path / TRAIN_IMAGES, "Permission denied")


def patched(at: int, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content[:at] + new + content[at + len(new) :]


DEFECTS = [
    ("not IDX", TRAIN_IMAGES, lambda content: b"<htm" + content[4:], "starts with 3c 68 74 6d"),
    ("first bytes not zero", TEST_IMAGES, patched(1, b"\x01"), "starts with 00 01 08 03"),
    ("type not unsigned byte", TRAIN_IMAGES, patched(2, b"\x0d"), "starts with 00 00 0d 03"),
    ("labels of another type", TEST_LABELS, patched(2, b"\x09"), "starts with 00 00 09 01"),
    ("labels instead of images", TRAIN_IMAGES, lambda _: FILES[TRAIN_LABELS], "IDX images in bytes start with 00 00"),
    ("images instead of labels", TRAIN_LABELS, lambda _: FILES[TRAIN_IMAGES], "IDX labels in bytes start with 00 00"),
    ("empty", TRAIN_IMAGES, lambda _: b"", "0 bytes are too few"),
    ("header cut", TEST_LABELS, lambda content: content[:7], "7 bytes are too few for an IDX header (8 bytes)"),
    ("data cut", TRAIN_IMAGES, lambda content: content[:-1], "truncated: the header announces 144 bytes of data, 143"),
    ("data too long", TRAIN_IMAGES, lambda content: content + b"x", "trailing bytes: the header announces 144"),
    ("labels too long", TEST_LABELS, lambda content: content + b"x", "trailing bytes: the header announces 5"),
    ("count too large", TRAIN_IMAGES, patched(4, b"\xff\xff\xff\xff"), "truncated: the header announces 51539607540"),
    ("fewer labels", TRAIN_LABELS, lambda _: idx(np.zeros(11, np.uint8)), "11 labels"),
    ("more labels", TEST_LABELS, lambda _: idx(np.zeros(6, np.uint8)), "6 labels"),
    ("label 10", TRAIN_LABELS, patched(8 + 3, b"\x0a"), "label 10 at index 3 is not in 0..9"),
    ("label 255", TEST_LABELS, patched(8, b"\xff"), "label 255 at index 0 is not in 0..9"),
    ("too tall", TRAIN_IMAGES, lambda _: idx(np.zeros((12, 65, 3), np.uint8)), "images are 65 x 3, the limits are"),
    (
        "too wide",
        TEST_IMAGES,
        lambda _: idx(np.zeros((5, 4, 65), np.uint8)),
        "4 x 65, the limits are 1 x 1 and 64 x 64",
    ),
    ("no rows", TRAIN_IMAGES, lambda _: idx(np.zeros((12, 0, 3), np.uint8)), "images are 0 x 3"),
    ("no columns", TRAIN_IMAGES, lambda _: idx(np.zeros((12, 4, 0), np.uint8)), "images are 4 x 0"),
]


@pytest.mark.parametrize(("name", "damage", "cause"), [defect[1:] for defect in DEFECTS], ids=[d[0] for d in DEFECTS])
def test_a_defective_idx_file_is_refused(tmp_path, name, damage, cause):
    write(tmp_path, FILES | {name: damage(FILES[name])})
    # A count mismatch is laid to the images: either file may be the wrong one, the message names both.
    refused(lambda: load(tmp_path), f"{tmp_path}/", name, cause, f"python -m host.dataset --fetch {tmp_path}")


@pytest.mark.parametrize("split", ["train", "t10k"])
def test_a_set_without_images_is_refused(tmp_path, split):
    images, labels = idx(np.zeros((0, 4, 3), np.uint8)), idx(np.zeros(0, np.uint8))
    empty = {f"{split}-images-idx3-ubyte": images, f"{split}-labels-idx1-ubyte": labels}
    refused(lambda: load(write(tmp_path, FILES | empty)), f"{split}-images", "holds no images")


def test_test_images_of_another_size_are_refused(tmp_path):
    write(tmp_path, FILES | {TEST_IMAGES: idx(np.zeros((5, 3, 4), np.uint8))})
    refused(lambda: load(tmp_path), tmp_path, "training images are 4 x 3, test images 3 x 4", "make them of one size")


@pytest.mark.parametrize("name", CHECKSUMS)
@given(data=st.data())
@many
def test_an_idx_file_cut_anywhere_is_refused(tmp_path, name, data):
    cut = FILES[name][: data.draw(st.integers(0, len(FILES[name]) - 1))]
    refused(lambda: load(write(tmp_path, FILES | {name: cut})), tmp_path / name, "bytes")


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TEST_LABELS])
@given(data=st.data())
@many
def test_a_gzip_file_cut_anywhere_is_refused(tmp_path, name, data):
    cut = PACKED[name][: data.draw(st.integers(0, len(PACKED[name]) - 1))]
    refused(lambda: load(write(tmp_path, PACKED | {name: cut}, ".gz")), tmp_path / f"{name}.gz")


def test_a_garbled_gzip_file_is_refused(tmp_path):
    write(tmp_path, PACKED | {TRAIN_IMAGES: GARBLED}, ".gz")
    refused(lambda: load(tmp_path), tmp_path / f"{TRAIN_IMAGES}.gz", "truncated or corrupt gzip", "invalid block type")


@given(data=st.data())
@many
def test_a_damaged_byte_in_a_gzip_file_is_refused_or_harmless(tmp_path, data):
    good = PACKED[TRAIN_IMAGES]
    at = data.draw(st.integers(2, len(good) - 1))  # after the bytes that tell gzip from plain
    bad = patched(at, bytes((good[at] ^ data.draw(st.integers(1, 255)),)))(good)
    write(tmp_path, PACKED | {TRAIN_IMAGES: bad}, ".gz")
    try:
        dataset = load(tmp_path)  # harmless where gzip keeps what nobody reads, as a file's time
    except UserError as error:
        assert "truncated or corrupt gzip" in str(error) and "\n" not in str(error)
    else:
        assert_is_set(dataset)


@given(header=st.binary(min_size=12, max_size=12), data=st.binary(max_size=40))
@example(header=struct.pack(">III", 2**32 - 1, 0, 2**32 - 1), data=b"")
@example(header=struct.pack(">III", 12, 1, 1), data=b"twelve bytes")
@many
def test_any_dimensions_in_the_header_load_or_are_refused(tmp_path, header, data):
    write(
        tmp_path,
        FILES | {TRAIN_IMAGES: bytes((0, 0, 8, 3)) + header + data, TEST_IMAGES: idx(np.zeros((5, 1, 1), "u1"))},
    )
    try:
        dataset = load(tmp_path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert dataset.train_images.shape == struct.unpack(">III", header) == (12, 1, 1)
