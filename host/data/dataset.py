"""What to learn from: the bundled digits, IDX files (MNIST's format) or own sequences; also fetches the full MNIST."""

import gzip
import hashlib
import http.client
import math
import os
import struct
import sys
import urllib.request
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from host.base.cli import UserError, shown, within
from host.data.csvfile import read_csv
from host.data.npz import read_npz
from host.data.sequences import Sequences

Bytes = npt.NDArray[np.uint8]

BUNDLED = Path(__file__).with_name("digits.npz")
CLASSES = 10
MAX_SIDE = 64
FETCH = "python -m host.dataset --fetch"  # the way out, in error messages
TIMEOUT = 30.0  # seconds without a byte from a mirror
READERS = {".npz": read_npz, ".csv": read_csv}  # of own sequences
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")  # as in Dataset, and in digits.npz

# SHA-256 of the uncompressed files: mirrors differ in how they were gzipped, never in what is inside.
CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    "http://yann.lecun.com/exdb/mnist",
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images with their labels; every array is uint8 and C-contiguous, and read-only from load().

    Images are (n, rows, cols) with values 0 (background) to 255, labels (n,) with values 0 to 9. A user's own sequences
    are images too, (n, steps, channels): `channels` names their columns, `classes` their labels, and the rest is as in
    host.data.sequences.
    """

    name: str
    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes
    provenance: str = ""
    classes: tuple[str, ...] = tuple(map(str, range(CLASSES)))
    channels: tuple[str, ...] = ()
    scaling: tuple[tuple[float, float], ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """16 hex digits that identify the contents: shapes, pixels and labels, but not where they came from."""
        sha = hashlib.sha256()
        for key in ARRAYS:
            array = getattr(self, key)
            sha.update(f"{key}{array.shape}".encode())
            sha.update(array)
        return sha.hexdigest()[:16]

    @property
    def items(self) -> str:
        """What these are, for people."""
        return "sequences" if self.channels else "images"

    def limited(
        self,
        limit: int | None = None,
        test_limit: int | None = None,
        options: tuple[str, str] = ("--limit", "--test-limit"),
    ) -> "Dataset":
        """The first `limit` training and `test_limit` test images (None: all of them), as views.

        Raises UserError for a limit below 1 or above what there is; it names the option that the limit came from.
        """
        for option, what, wanted, images in (
            (options[0], "training", limit, self.train_images),
            (options[1], "test", test_limit, self.test_images),
        ):
            if wanted is not None:
                within(option, wanted, 1, len(images), f"{self.name} has {len(images)} {what} {self.items}")
        return replace(
            self,
            train_images=self.train_images[:limit],
            train_labels=self.train_labels[:limit],
            test_images=self.test_images[:test_limit],
            test_labels=self.test_labels[:test_limit],
        )


def load(data: str | Path | None = None) -> Dataset:
    """The bundled digits (None), or what is at this path: own sequences in a .npz or .csv file, or a directory.

    That has, itself or in its MNIST/raw, the four IDX files, plain or gzipped, of any number of images of any one size
    up to 64 x 64. Raises UserError for every defect.
    """
    if data is None:
        return load_bundled()
    path = Path(data)
    with _file_access():
        reader = READERS.get(path.suffix.lower())
        if path.is_file() and reader:  # never a pipe, which might keep us waiting
            return _own(path.resolve().name, reader(path))
        return _load_directory(path)


def _own(name: str, found: Sequences) -> Dataset:
    arrays = (found.train_x, found.train_y, found.test_x, found.test_y)
    for array in arrays:
        array.flags.writeable = False  # as of all that is loaded
    return Dataset(
        name, *arrays, classes=found.classes, channels=found.channels, scaling=found.scaling, notes=found.notes
    )


def load_bundled(path: Path = BUNDLED) -> Dataset:
    """The Dataset in a file made by tools.make_digits. Raises UserError if it is missing or damaged."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            dataset = Dataset("digits", **{key: file[key] for key in ARRAYS}, provenance=str(file["provenance"]))
            if dataset.digest != str(file["digest"]):
                raise ValueError(f"the contents have digest {dataset.digest}, not {file['digest']}")
    except Exception as error:  # damage in a zip surfaces as almost any type, depending on where it is
        raise UserError(
            f"{path} is missing or damaged ({_reason(error)}); restore it from the distribution,"
            " or remake it: python -m tools.make_digits --data DIR"
        ) from error
    for key in ARRAYS:
        getattr(dataset, key).flags.writeable = False  # the digest is cached, and limited() shares the memory
    return dataset


def find_file(directory: Path, name: str) -> Path | None:
    """The file with the IDX file `name` in `directory`: so called, or train-images.idx3-ubyte, plain before .gz."""
    names = (name, name.replace("-idx", ".idx"))
    candidates = [directory / f"{stem}{suffix}" for suffix in ("", ".gz") for stem in names]
    return next((path for path in candidates if path.is_file()), None)


def read_unpacked(path: Path) -> bytes:
    """The content of a file, gunzipped if it is gzip. Raises UserError for a truncated or corrupt one."""
    content = path.read_bytes()
    # By content, not by name: browsers unpack what they download without renaming it.
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise _bad(path, f"truncated or corrupt gzip ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _bad(path: Path, cause: str) -> UserError:
    return UserError(f"{path}: {cause}; replace it (for MNIST, delete it and run: {FETCH} {path.parent})")


@contextmanager
def _file_access() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = f"{shown(error.filename, 300)}: {error.strerror}" if error.filename else _reason(error)
        raise UserError(f"{why}; check the path, its permissions and the space left") from error


def _load_directory(directory: Path) -> Dataset:
    if not directory.is_dir():
        state = "is not a directory, nor a .npz or .csv file" if directory.exists() else "does not exist"
        raise UserError(f"data {directory} {state}; name what is there, or to get MNIST: {FETCH} DIR")
    # One folder for all four, so that files of different sets are never mixed.
    folders = (directory, directory / "MNIST" / "raw")
    folder = next((folder for folder in folders if any(find_file(folder, name) for name in CHECKSUMS)), directory)
    missing = [name for name in CHECKSUMS if not find_file(folder, name)]
    if missing:
        raise UserError(f"{folder} lacks {', '.join(missing)} (plain or .gz); to get MNIST: {FETCH} {folder}")
    train_images, train_labels = _read_pair(folder, "train")
    test_images, test_labels = _read_pair(folder, "t10k")
    sizes = [" x ".join(map(str, images.shape[1:])) for images in (train_images, test_images)]
    if sizes[0] != sizes[1]:
        raise UserError(f"{folder}: training images are {sizes[0]}, test images {sizes[1]}; make them of one size")
    return Dataset(directory.resolve().name or "data", train_images, train_labels, test_images, test_labels)


def _read_pair(folder: Path, split: str) -> tuple[Bytes, Bytes]:
    image_path, images = _read_idx(folder, f"{split}-images-idx3-ubyte", 3)
    label_path, labels = _read_idx(folder, f"{split}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise _bad(image_path, f"{len(images)} images, but {label_path.name} has {len(labels)} labels")
    if len(images) == 0:
        raise _bad(image_path, "holds no images")
    if labels.max() >= CLASSES:
        at = int(np.argmax(labels >= CLASSES))
        raise _bad(label_path, f"label {labels[at]} at index {at} is not in 0..{CLASSES - 1}")
    return images, labels


def _read_idx(folder: Path, name: str, ndim: int) -> tuple[Path, Bytes]:
    path = find_file(folder, name) or folder / name
    content = read_unpacked(path)
    header = 4 + 4 * ndim
    if len(content) < header:
        raise _bad(path, f"{len(content)} bytes are too few for an IDX header ({header} bytes)")
    magic = bytes((0, 0, 0x08, ndim))  # 0x08: unsigned bytes
    if content[:4] != magic:
        kind = "images" if ndim == 3 else "labels"
        raise _bad(path, f"starts with {content[:4].hex(' ')}, but IDX {kind} in bytes start with {magic.hex(' ')}")
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    if not all(1 <= side <= MAX_SIDE for side in shape[1:]):
        raise _bad(path, f"images are {shape[1]} x {shape[2]}, the limits are 1 x 1 and {MAX_SIDE} x {MAX_SIDE}")
    expected, found = math.prod(shape), len(content) - header
    if found != expected:
        state = "truncated" if found < expected else "trailing bytes"
        raise _bad(path, f"{state}: the header announces {expected} bytes of data, {found} follow")
    return path, np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def fetch(
    directory: Path, mirrors: Sequence[str] = MIRRORS, checksums: Mapping[str, str] = CHECKSUMS
) -> dict[str, str]:
    """Put the gzipped files named in `checksums` (name: SHA-256 of the uncompressed content) into `directory`.

    Mirrors are base URLs, tried in turn. Returns for each name the URL it came from, or "present" if it was there
    already; prints progress to stderr. Raises UserError if a file that is there differs (it is left alone) or if no
    mirror delivers one (no partial file is left; the ones fetched before it stay, and count as present next time).
    """
    with _file_access():
        if directory.exists() and not directory.is_dir():
            raise UserError(f"{directory} is not a directory; choose another one to fetch into")
        origins: dict[str, str] = {}
        for name, sha256 in checksums.items():
            path = find_file(directory, name)
            if path and hashlib.sha256(read_unpacked(path)).hexdigest() != sha256:
                raise UserError(f"{path} differs from MNIST's; move it away, or fetch into another directory")
            origins[name] = "present" if path else ""
        for name in (name for name, origin in origins.items() if not origin):
            origins[name], packed = _download(name, checksums[name], mirrors)
            # The mirror that works goes first, so as not to wait again for the ones that do not.
            mirrors = sorted(mirrors, key=lambda mirror: not origins[name].startswith(mirror))
            _save(directory / f"{name}.gz", packed)
    return origins


def _download(name: str, sha256: str, mirrors: Sequence[str]) -> tuple[str, bytes]:
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{name}.gz"
        print(f"fetching {url}", file=sys.stderr)
        try:
            packed = _get(url)
            found = hashlib.sha256(gzip.decompress(packed)).hexdigest()
            if found == sha256:
                return url, packed
            failures.append(f"{mirror}: SHA-256 of the content is {found[:8]}..., not {sha256[:8]}...")
        except (OSError, EOFError, ValueError, zlib.error, http.client.HTTPException) as error:
            failures.append(f"{mirror}: {_reason(error)}")
        print(f"  failed: {failures[-1]}", file=sys.stderr)
    raise UserError(
        f"no mirror delivered {name}.gz ({'; '.join(failures)});"
        " check the connection, name another one with --mirror URL, or put the file there yourself"
    )


def _get(url: str) -> bytes:
    content = bytearray()
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        total = response.headers.get("Content-Length", "?")
        while chunk := response.read(1 << 18):
            content += chunk
            if sys.stderr.isatty():
                print(f"  {len(content)} of {total} bytes", end="\r", file=sys.stderr)
    return bytes(content)


def _save(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def picture(image: Bytes) -> list[str]:
    """Lines of text that show a (rows, cols) image; two characters per pixel, as terminal cells are tall."""
    return ["".join(" .:-=+*#%@"[int(value) * 10 // 256] * 2 for value in row).rstrip() for row in image]
