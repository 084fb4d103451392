"""A small set of images as the four IDX files of MNIST, packed and not, and what reading it gives or refuses."""

import gzip
import hashlib
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from host.base.cli import UserError
from host.data.dataset import ARRAYS, CHECKSUMS, Dataset

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


def command(*args: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *map(str, args)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
