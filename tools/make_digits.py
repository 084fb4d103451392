"""Make host/data/digits.npz, the bundled digits: a class-balanced choice from the full MNIST.

python -m tools.make_digits --data DIR [--out FILE]
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from host.base.cli import Parser, UserError, run
from host.data.dataset import ARRAYS, BUNDLED, CHECKSUMS, CLASSES, Bytes, Dataset, find_file, load, read_unpacked

SEED = 20250101
TRAIN_PER_CLASS, TEST_PER_CLASS = 500, 100
BLOCK_PER_CLASS = 10

PROVENANCE = """\
MNIST handwritten digits by Yann LeCun, Corinna Cortes and Christopher J. C. Burges (http://yann.lecun.com/exdb/mnist/).
Licence: CC BY-SA 3.0 (https://creativecommons.org/licenses/by-sa/3.0/); this selection is under the same licence.
Changes: a selection, the pixels are as in the original. {train} training images per class from the MNIST training set
and {test} test images per class from the MNIST test set, drawn at random (seed {seed}) and put in random order within
blocks of {block}, in which every class occurs {per_class} times. Made by tools/make_digits.py.
SHA-256 of the uncompressed IDX files it was made from:
{checksums}"""


def choose(labels: Bytes, per_class: int, rng: np.random.RandomState) -> np.ndarray:
    """Indexes (per_class * 10,) into `labels` (n,) of distinct images, `per_class` of each class, classes mixed.

    Every block of 100 holds 10 of each class, so that the first 100 * k images are balanced too. Smaller blocks would
    let a learner that carries state from image to image guess a class by what the block still lacks.
    Raises UserError if a class has too few.
    """
    columns = []
    for digit in range(CLASSES):
        found = np.flatnonzero(labels == digit)
        if len(found) < per_class:
            raise UserError(f"only {len(found)} images of class {digit}, {per_class} needed; use the full MNIST")
        columns.append(rng.permutation(found)[:per_class])
    balanced = np.stack(columns, axis=1).ravel()
    block = BLOCK_PER_CLASS * CLASSES
    return np.concatenate([rng.permutation(balanced[at : at + block]) for at in range(0, len(balanced), block)])


def make(
    directory: Path,
    checksums: Mapping[str, str] = CHECKSUMS,
    train_per_class: int = TRAIN_PER_CLASS,
    test_per_class: int = TEST_PER_CLASS,
) -> Dataset:
    """The selection from the IDX files in `directory`; raises UserError unless they are those in `checksums`."""
    full = load(directory)
    for name, sha256 in checksums.items():
        path = find_file(directory, name) or find_file(directory / "MNIST" / "raw", name)
        if path is None or hashlib.sha256(read_unpacked(path)).hexdigest() != sha256:
            raise UserError(f"{path or name} is not MNIST's; get the originals: python -m host.dataset --fetch DIR")
    rng = np.random.RandomState(SEED)  # the legacy generator: its stream is frozen across numpy versions
    train = choose(full.train_labels, train_per_class, rng)
    test = choose(full.test_labels, test_per_class, rng)
    provenance = PROVENANCE.format(
        train=train_per_class,
        test=test_per_class,
        seed=SEED,
        block=BLOCK_PER_CLASS * CLASSES,
        per_class=BLOCK_PER_CLASS,
        checksums="\n".join(f"{sha256}  {name}" for name, sha256 in checksums.items()),
    )
    return Dataset(
        "digits",
        full.train_images[train],
        full.train_labels[train],
        full.test_images[test],
        full.test_labels[test],
        provenance,
    )


def save(dataset: Dataset, path: Path) -> None:
    """Write what host.dataset.load_bundled reads: the same bytes every time (with the same zlib)."""
    arrays = {key: getattr(dataset, key) for key in ARRAYS}
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:  # a file, because savez would append .npz to a name
            np.savez_compressed(file, **arrays, provenance=dataset.provenance, digest=dataset.digest)
        part.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another --out FILE") from error
    finally:
        part.unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> None:
    parser = Parser("python -m tools.make_digits", __doc__)
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="the full MNIST, as four IDX files")
    parser.add_argument("--out", metavar="FILE", type=Path, default=BUNDLED, help="default: host/data/digits.npz")
    args = parser.parse_args(argv)
    dataset = make(args.data)
    save(dataset, args.out)
    print(
        f"{args.out}: {len(dataset.train_labels)} training and {len(dataset.test_labels)} test images,"
        f" {args.out.stat().st_size} bytes, digest {dataset.digest}"
    )


if __name__ == "__main__":
    run(main)
