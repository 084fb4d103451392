"""The bundled digits: what they are, how they were made, and that no damaged file passes for them."""

import errno
import hashlib
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from idx_files import SET, TEST_LABELS, assert_is_set, command, idx, many, refused, write

from host.base.cli import UserError
from host.data import dataset as module
from host.data.dataset import ARRAYS, CHECKSUMS, Dataset, load, load_bundled
from tools import make_digits


def test_bundled_digits_have_the_promised_shape_and_balance():
    digits = load()
    assert digits.name == "digits"
    assert digits.train_images.shape == (5000, 28, 28) and digits.test_images.shape == (1000, 28, 28)
    assert np.bincount(digits.train_labels).tolist() == [500] * 10
    assert np.bincount(digits.test_labels).tolist() == [100] * 10
    for key in ARRAYS:
        array = getattr(digits, key)
        assert array.dtype == np.uint8 and array.flags.c_contiguous and not array.flags.writeable


def test_bundled_digits_are_the_ones_results_were_measured_on():
    assert load().digest == "ea0e098c5445eff8"


def test_bundled_digits_are_balanced_in_every_block_of_100():
    digits = load()
    for labels in (digits.train_labels, digits.test_labels):
        for block in labels.reshape(-1, 100):
            assert np.bincount(block, minlength=10).tolist() == [10] * 10
            assert len(np.flatnonzero(np.diff(block.astype(int)))) > 50  # mixed, not sorted


def test_bundled_digits_hold_no_image_twice():
    digits = load()
    images = np.concatenate([digits.train_images, digits.test_images])
    assert len({image.tobytes() for image in images}) == 6000


def test_bundled_labels_fit_their_images():
    digits = load().limited(1000, 300)
    train = digits.train_images.reshape(1000, -1).astype(np.float32)
    test = digits.test_images.reshape(300, -1).astype(np.float32)
    nearest = ((train**2).sum(axis=1) - 2 * test @ train.T).argmin(axis=1)
    assert (digits.train_labels[nearest] == digits.test_labels).mean() > 0.8


def test_bundled_digits_state_their_provenance_and_nothing_of_the_machine_they_were_made_on():
    provenance = load().provenance
    for part in ("LeCun", "CC BY-SA 3.0", "training set", "seed", *CHECKSUMS, *CHECKSUMS.values()):
        assert part in provenance
    with np.load(module.BUNDLED, allow_pickle=False) as file:
        texts = [str(file[key]) for key in file.files if file[key].dtype.kind == "U"]
    assert not [text for text in texts if any(part in text for part in ("/work", "/home", "/tmp", "/root"))]


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Dataset]:
    """A file like digits.npz, small enough to damage it many times."""
    dataset = Dataset("digits", *(SET[name] for name in CHECKSUMS), provenance="made up")
    path = tmp_path / "small.npz"
    make_digits.save(dataset, path)
    return path, dataset


def test_a_bundle_survives_the_round_trip(small):
    path, dataset = small
    loaded = load_bundled(path)
    assert_is_set(loaded)
    assert loaded.provenance == "made up" and loaded.digest == dataset.digest


@given(data=st.data())
@many
def test_a_damaged_byte_in_a_bundle_is_refused_or_harmless(small, data):
    path, dataset = small
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    damaged = path.with_name("damaged.npz")
    damaged.write_bytes(bad)
    try:
        loaded = load_bundled(damaged)  # harmless where zip keeps what nobody reads, as a file's time
    except UserError:
        return
    assert_is_set(loaded)
    assert loaded.digest == dataset.digest


@given(data=st.data())
@many
def test_a_truncated_bundle_is_refused(small, data):
    path, _ = small
    good = path.read_bytes()
    cut = path.with_name("cut.npz")
    cut.write_bytes(good[: data.draw(st.integers(0, len(good) - 1))])
    refused(lambda: load_bundled(cut), cut, "python -m tools.make_digits")


def test_a_bundle_with_other_contents_than_its_digest_says_is_refused(tmp_path):
    dataset = Dataset("digits", *(SET[name] for name in CHECKSUMS))
    dataset.__dict__["digest"] = "0123456789abcdef"  # where cached_property keeps it
    make_digits.save(dataset, tmp_path / "x.npz")
    refused(lambda: load_bundled(tmp_path / "x.npz"), "not 0123456789abcdef")


def test_a_missing_bundle_is_refused(tmp_path):
    refused(lambda: load_bundled(tmp_path / "none.npz"), "none.npz", "missing", "python -m tools.make_digits")


class Pickled:
    unpickled = False

    def __reduce__(self):
        return setattr, (Pickled, "unpickled", True)


def test_a_bundle_with_a_pickle_in_it_is_refused_and_not_unpickled(tmp_path):
    assert pickle.loads(pickle.dumps(Pickled())) is None and Pickled.unpickled  # it would show
    Pickled.unpickled = False
    content = {key: np.array([Pickled()]) for key in ARRAYS}
    np.savez(tmp_path / "evil.npz", **content, provenance="", digest="")
    refused(lambda: load_bundled(tmp_path / "evil.npz"), "evil.npz")
    assert not Pickled.unpickled


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A stand-in for the full MNIST, unbalanced; the pixels of an image tell its split, index and label."""
    files = {}
    for split, count in (("train", 500), ("t10k", 250)):
        labels = (np.arange(count) ** 2 % 11 % 10).astype(np.uint8)
        labels = np.where(np.arange(count) % 2, labels, np.arange(count) // 2 % 10).astype(np.uint8)
        images = np.zeros((count, 2, 2), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = divmod(np.arange(count), 256)
        images[:, 1, 0], images[:, 1, 1] = labels, ord(split[1])
        files |= {f"{split}-images-idx3-ubyte": idx(images), f"{split}-labels-idx1-ubyte": idx(labels)}
    folder = write(tmp_path_factory.mktemp("source"), files)
    return folder, {name: hashlib.sha256(files[name]).hexdigest() for name in CHECKSUMS}


def test_selection_is_balanced_distinct_mixed_and_from_the_right_split(source):
    digits = make_digits.make(*source, 20, 10)
    for images, labels, per_class, mark in (
        (digits.train_images, digits.train_labels, 20, "r"),
        (digits.test_images, digits.test_labels, 10, "1"),
    ):
        assert np.bincount(labels).tolist() == [per_class] * 10
        assert (images[:, 1, 1] == ord(mark)).all()
        np.testing.assert_array_equal(images[:, 1, 0], labels)
        assert len({image.tobytes() for image in images}) == len(images)
        for block in labels.reshape(-1, 100):
            assert np.bincount(block).tolist() == [10] * 10
            assert block.tolist() != sorted(block) and block.tolist() != list(range(10)) * 10


def test_selection_is_drawn_from_all_of_a_class_not_its_first_images(source):
    images = make_digits.make(*source, 20, 10).train_images.astype(int)
    indexes = images[:, 0, 0] * 256 + images[:, 0, 1]
    labels = load(source[0]).train_labels
    first = np.concatenate([np.flatnonzero(labels == digit)[:20] for digit in range(10)])
    assert set(indexes) != set(first) and indexes.max() > first.max()


def test_selection_states_what_it_was_made_from(source):
    provenance = make_digits.make(*source, 20, 10).provenance
    assert "20 training images per class" in provenance and "10 test images per class" in provenance
    assert all(f"{sha256}  {name}" in provenance for name, sha256 in source[1].items())


def test_making_it_again_gives_the_same_bytes(source, tmp_path):
    for name in ("a", "b"):
        make_digits.save(make_digits.make(*source, 20, 10), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as file:  # on another day, too
        assert {member.date_time for member in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_selection_from_other_data_than_mnist_is_refused(source):
    folder, table = source
    refused(lambda: make_digits.make(folder, table | {TEST_LABELS: "0" * 64}), TEST_LABELS, "is not MNIST's")


def test_selection_of_more_than_there_is_is_refused(source):
    refused(lambda: make_digits.make(*source, 20, 300), "of class 0, 300 needed")


def test_make_digits_command_refuses_other_data_and_writes_nothing(source, tmp_path):
    done = command("tools.make_digits", "--data", source[0], "--out", tmp_path / "out.npz")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_selection_that_does_not_fit_the_disk_leaves_the_old_one_and_no_partial_file(small, monkeypatch):
    def fill(file, **_):
        file.write(b"PK")
        raise OSError(errno.ENOSPC, "No space left on device")

    path, dataset = small
    before = path.read_bytes()
    monkeypatch.setattr(np, "savez_compressed", fill)
    refused(lambda: make_digits.save(dataset, path), path, "No space left on device")
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_selection_that_cannot_be_written_is_refused(small, tmp_path):
    refused(lambda: make_digits.save(small[1], tmp_path / "no" / "x.npz"), tmp_path / "no", "--out")
