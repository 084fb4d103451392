"""host.dataset and tools.make_digits: the bundled digits, IDX files good and bad, and fetching from mirrors."""

import errno
import gzip
import hashlib
import http.server
import json
import pickle
import socket
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from host import dataset as module
from host.cli import UserError
from host.dataset import ARRAYS, CHECKSUMS, Dataset, fetch, load, load_bundled, main, picture
from tools import make_digits

ROOT = Path(__file__).parents[1]
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = CHECKSUMS
# Every example rewrites the files it reads, so sharing tmp_path between examples is safe.
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def synthetic(train: int = 12, test: int = 5, rows: int = 4, cols: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    arrays = {}
    for name, count in ((TRAIN_IMAGES, train), (TEST_IMAGES, test)):
        arrays[name] = rng.integers(0, 256, (count, rows, cols), np.uint8)
        arrays[name.replace("images-idx3", "labels-idx1")] = (np.arange(count) % 10).astype(np.uint8)
    return arrays


SET = synthetic()
FILES = {name: idx(array) for name, array in SET.items()}
PACKED = {name: gzip.compress(content) for name, content in FILES.items()}
GARBLED = PACKED[TRAIN_IMAGES][:10] + b"\xff" * 20  # no deflate block starts so
TABLE = {name: hashlib.sha256(FILES[name]).hexdigest() for name in CHECKSUMS}


def write(folder: Path, files: dict[str, bytes], suffix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}{suffix}").write_bytes(content)
    return folder


def assert_is_set(dataset: Dataset, arrays: dict[str, np.ndarray] = SET) -> None:
    for key, name in zip(ARRAYS, (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS), strict=True):
        array = getattr(dataset, key)
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == np.uint8 and array.flags.c_contiguous and not array.flags.writeable


def refused(call: Callable[[], object], *parts: object) -> str:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
    return message


# --- the bundled digits


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


# --- Dataset


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


# --- IDX directories


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


# --- fetching


class Mirror(http.server.ThreadingHTTPServer):
    """Serves `pages` (path: body); (body, length) announces another length, a str instead of HTTP, None silence."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, bytes | tuple[bytes, int] | str | None] = {}
        self.requests: list[str] = []
        self.closing = threading.Event()

    def add(self, folder: str, pages: dict) -> str:
        self.pages.update({f"/{folder}/{name}.gz": page for name, page in pages.items()})
        return f"http://127.0.0.1:{self.server_port}/{folder}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self):
        self.server.requests.append(self.path)
        page = self.server.pages.get(self.path, b"")
        if page is None:
            self.server.closing.wait(10)
            return
        if isinstance(page, str):
            self.wfile.write(page.encode() + b"\r\n")
            return
        body, length = page if isinstance(page, tuple) else (page, len(page))
        self.send_response(200 if self.path in self.server.pages else 404)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "*")
    with Mirror() as mirror:
        thread = threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield mirror
        mirror.closing.set()
        mirror.shutdown()
        thread.join()


@pytest.fixture
def unreachable() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_fetch_gets_verified_files_that_load(server, tmp_path, capsys):
    mirror = server.add("good", PACKED)
    origins = fetch(tmp_path / "new" / "dir", [f"{mirror}/"], TABLE)
    assert origins == {name: f"{mirror}/{name}.gz" for name in CHECKSUMS}
    assert {path.name: path.read_bytes() for path in (tmp_path / "new" / "dir").iterdir()} == {
        f"{name}.gz": content for name, content in PACKED.items()
    }
    assert_is_set(load(tmp_path / "new" / "dir"))
    captured = capsys.readouterr()
    assert captured.out == "" and f"fetching {mirror}/{TRAIN_IMAGES}.gz" in captured.err


WRONG = gzip.compress(FILES[TRAIN_IMAGES][:-1] + b"!")
BAD_MIRRORS = {
    "wrong checksum": (WRONG, "SHA-256"),
    "not gzip": (b"<html>moved</html>", "Not a gzipped file"),
    "empty": (b"", "SHA-256"),
    "truncated transfer": ((PACKED[TRAIN_IMAGES][:50], len(PACKED[TRAIN_IMAGES])), "EOFError|IncompleteRead"),
    "garbled gzip": (GARBLED, "invalid block type"),
    "not HTTP": ("SSH-2.0-x", "BadStatusLine"),
    "truncated file": (PACKED[TRAIN_IMAGES][:50], "EOFError"),
}


@pytest.mark.parametrize(("page", "cause"), BAD_MIRRORS.values(), ids=BAD_MIRRORS)
def test_fetch_turns_to_the_next_mirror_after(server, tmp_path, capsys, page, cause):
    bad, good = server.add("bad", PACKED | {TRAIN_IMAGES: page}), server.add("good", PACKED)
    origins = fetch(tmp_path, [bad, good], TABLE)
    assert origins[TRAIN_IMAGES] == f"{good}/{TRAIN_IMAGES}.gz"
    assert_is_set(load(tmp_path))
    failures = [line for line in capsys.readouterr().err.splitlines() if "failed" in line]
    assert len(failures) == 1 and any(part in failures[0] for part in cause.split("|"))


def test_fetch_turns_to_the_next_mirror_after_an_unreachable_a_lacking_and_a_nonsense_one(
    server, tmp_path, unreachable
):
    good = server.add("good", PACKED)
    lacking = server.add("lacking", {})
    assert set(fetch(tmp_path, [unreachable, lacking, "nonsense", good], TABLE)) == set(CHECKSUMS)
    assert_is_set(load(tmp_path))
    # The one that worked was asked first from then on.
    assert [path for path in server.requests if path.startswith("/lacking")] == [f"/lacking/{TRAIN_IMAGES}.gz"]


def test_fetch_turns_to_the_next_mirror_after_one_that_never_answers(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    silent, good = server.add("silent", dict.fromkeys(CHECKSUMS)), server.add("good", PACKED)
    fetch(tmp_path, [silent, good], TABLE)
    assert_is_set(load(tmp_path))
    assert "timed out" in capsys.readouterr().err


def test_fetch_with_every_mirror_failing_leaves_nothing_behind(server, tmp_path, unreachable):
    bad = server.add("bad", PACKED | {TRAIN_IMAGES: WRONG})
    refused(
        lambda: fetch(tmp_path / "new", [bad, unreachable], TABLE),
        f"{TRAIN_IMAGES}.gz", f"{bad}: SHA-256", f"{unreachable}: URLError", "--mirror URL",
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_fetch_resumes_with_the_files_that_are_still_missing(server, tmp_path):
    half = server.add("half", {name: PACKED[name] for name in (TRAIN_IMAGES, TRAIN_LABELS)})
    good = server.add("good", PACKED)
    refused(lambda: fetch(tmp_path, [half], TABLE), f"{TEST_IMAGES}.gz", "404")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{TRAIN_IMAGES}.gz", f"{TRAIN_LABELS}.gz"]
    server.requests.clear()
    origins = fetch(tmp_path, [good], TABLE)
    assert origins[TRAIN_IMAGES] == origins[TRAIN_LABELS] == "present"
    assert server.requests == [f"/good/{TEST_IMAGES}.gz", f"/good/{TEST_LABELS}.gz"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fetch_skips_verified_files_without_asking_a_mirror(server, tmp_path, suffix):
    mirror = server.add("good", PACKED)
    write(tmp_path, PACKED if suffix else FILES, suffix)
    assert fetch(tmp_path, [mirror], TABLE) == dict.fromkeys(CHECKSUMS, "present")
    assert server.requests == []


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fetch_leaves_a_differing_file_alone_and_fetches_nothing(server, tmp_path, suffix):
    mirror = server.add("good", PACKED)
    mine = tmp_path / f"{TEST_LABELS}{suffix}"
    mine.write_bytes(idx(np.zeros(3, np.uint8)))
    refused(lambda: fetch(tmp_path, [mirror], TABLE), mine, "differs", "move it away, or fetch into another directory")
    assert mine.read_bytes() == idx(np.zeros(3, np.uint8))
    assert list(tmp_path.iterdir()) == [mine] and server.requests == []


def test_fetch_leaves_a_corrupt_gzip_alone(server, tmp_path):
    mirror = server.add("good", PACKED)
    mine = tmp_path / f"{TEST_LABELS}.gz"
    mine.write_bytes(PACKED[TEST_LABELS][:-3])
    refused(lambda: fetch(tmp_path, [mirror], TABLE), mine, "truncated or corrupt gzip", "delete it and run")
    assert list(tmp_path.iterdir()) == [mine] and mine.read_bytes() == PACKED[TEST_LABELS][:-3]


def test_fetch_into_a_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    refused(lambda: fetch(path, [], TABLE), path, "not a directory")
    assert path.read_bytes() == b"mine"


def test_fetch_on_a_full_disk_is_refused_and_leaves_no_partial_file(server, tmp_path, monkeypatch):
    whole = Path.write_bytes

    def fill(path: Path, content: bytes) -> int:
        whole(path, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", fill)
    refused(lambda: fetch(tmp_path, [server.add("good", PACKED)], TABLE), TRAIN_IMAGES, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_fetch_interrupted_while_writing_leaves_no_partial_file(server, tmp_path, monkeypatch):
    def interrupt(path: Path, target: Path) -> None:
        assert path.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, [server.add("good", PACKED)], TABLE)
    assert list(tmp_path.iterdir()) == []


# --- commands


def command(*args: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *map(str, args)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_fetch_command_reports_as_json_on_stdout_alone(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "CHECKSUMS", TABLE)
    bad, good = server.add("bad", {}), server.add("good", PACKED)
    main(["--fetch", str(tmp_path), "--json", "--mirror", bad, good])
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "directory": str(tmp_path), "files": {name: f"{good}/{name}.gz" for name in CHECKSUMS},
    }  # fmt: skip
    assert f"failed: {bad}" in captured.err


def test_fetch_command_without_json_says_how_to_use_the_files(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "CHECKSUMS", TABLE)
    main(["--fetch", str(tmp_path), "--mirror", server.add("good", PACKED)])
    assert f"--data {tmp_path}" in capsys.readouterr().out


def test_fetch_command_exits_2_with_one_error_line_when_all_mirrors_fail(tmp_path, unreachable):
    done = command("host.dataset", "--fetch", tmp_path / "new", "--mirror", unreachable, "--json")
    assert done.returncode == 2 and done.stdout == ""
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == done.stderr.splitlines()[-1:]
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


def test_fetch_command_tries_the_public_mirrors_by_default(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(module, "fetch", lambda *args: asked.update(args=args) or {})
    main(["--fetch", str(tmp_path)])
    _, mirrors, checksums = asked["args"]
    hosts = ["ossci-datasets.s3.amazonaws.com", "storage.googleapis.com", "yann.lecun.com"]
    assert [mirror.split("/")[2] for mirror in mirrors] == hosts
    assert checksums == CHECKSUMS


def test_show_command_summarises_the_bundled_digits(capsys):
    main(["--show"])
    out = capsys.readouterr().out
    assert "28 x 28" in out and load().digest in out and "CC BY-SA 3.0" in out
    assert f"train: 5000 images, per class {[500] * 10}" in out and f"test: 1000 images, per class {[100] * 10}" in out


def test_show_command_draws_an_image_of_a_directory(tmp_path, capsys):
    main(["--show", "--data", str(write(tmp_path, FILES)), "--index", "11"])
    out = capsys.readouterr().out
    assert "4 x 3" in out and "per class [2, 2, 1, 1, 1, 1, 1, 1, 1, 1]" in out
    assert out.rstrip("\n").endswith("\n".join(["training image 11, label 1", *picture(SET[TRAIN_IMAGES][11])]))


def test_show_command_as_json_has_all_the_text_has(tmp_path, capsys):
    main(["--show", "--data", str(write(tmp_path / "mine", FILES)), "--index", "0", "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "name": "mine",
        "digest": load(tmp_path / "mine").digest,
        "provenance": "",
        "rows": 4,
        "cols": 3,
        "train": {"count": 12, "per_class": [2, 2, 1, 1, 1, 1, 1, 1, 1, 1]},
        "test": {"count": 5, "per_class": [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]},
        "image": {"index": 0, "label": 0, "picture": picture(SET[TRAIN_IMAGES][0])},
    }


@pytest.mark.parametrize("index", [-1, 5000])
def test_show_command_refuses_an_index_that_is_not_there(index):
    refused(lambda: main(["--show", "--index", str(index)]), f"--index {index}: choose 0 to 4999")


def test_show_command_exits_2_with_one_error_line_for_bad_data(tmp_path):
    done = command("host.dataset", "--show", "--data", tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--show", "--fetch", "x"],
        ["--show", "--mirror", "x"],
        ["--fetch", "x", "--data", "y"],
        ["--fetch", "x", "--index", "0"],
    ],
)
def test_options_that_do_not_go_together_are_refused(args):
    refused(lambda: main(args), *[arg for arg in args if arg.startswith("--")])


def test_picture_shows_dark_to_bright_with_two_characters_per_pixel():
    image = np.array([[0, 128, 255], [255, 0, 0]], np.uint8)
    assert picture(image) == ["  ++@@", "@@"]


@pytest.mark.parametrize("name", ["host.dataset", "tools.make_digits"])
def test_commands_have_help(name):
    done = command(name, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: python -m {name} ") and "--data" in done.stdout


# --- making the bundled digits


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
