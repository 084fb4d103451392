"""Digits to learn from: the bundled ones, or a directory of IDX files (MNIST's format); also fetches the full MNIST.

python -m host.dataset --show [--data DIR] [--index N]
python -m host.dataset --fetch DIR [--mirror URL ...]
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from host.base.cli import Case, Parser, run, within
from host.data.dataset import CHECKSUMS, CLASSES, MIRRORS, Dataset, fetch, load, picture


def _summary(dataset: Dataset, index: int | None) -> dict[str, Any]:
    summary: dict[str, Any] = {"name": dataset.name, "digest": dataset.digest, "provenance": dataset.provenance}
    summary["rows"], summary["cols"] = dataset.train_images.shape[1:]
    for split, labels in (("train", dataset.train_labels), ("test", dataset.test_labels)):
        summary[split] = {"count": len(labels), "per_class": np.bincount(labels, minlength=CLASSES).tolist()}
    if index is not None:
        count = len(dataset.train_images)
        within("--index", index, 0, count - 1, f"{dataset.name} has {count} training images")
        label, image = int(dataset.train_labels[index]), picture(dataset.train_images[index])
        summary["image"] = {"index": index, "label": label, "picture": image}
    return summary


SHOWING = Case("--show", lambda args: args.show)
FETCHING = Case("--fetch", lambda args: args.fetch is not None)


def main(argv: list[str] | None = None) -> None:
    parser = Parser("python -m host.dataset", __doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--show", action="store_true", help="print what the data set holds")
    action.add_argument("--fetch", metavar="DIR", type=Path, help="download and verify the full MNIST into DIR")
    parser.option(
        "--data",
        metavar="DIR",
        useless=(FETCHING,),
        help="with --show: IDX files to show (default: the bundled digits)",
    )
    parser.option("--index", metavar="N", type=int, useless=(FETCHING,), help="with --show: also draw training image N")
    parser.option(
        "--mirror",
        metavar="URL",
        nargs="+",
        useless=(SHOWING,),
        help="with --fetch: try these instead of the known ones",
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    args = parser.parse_args(argv)

    if args.fetch:
        result: dict[str, Any] = {
            "directory": str(args.fetch),
            "files": fetch(args.fetch, args.mirror or MIRRORS, CHECKSUMS),
        }
        text = [f"{name}: {origin}" for name, origin in result["files"].items()]
        text.append(f"complete and verified; use it with --data {args.fetch}")
    else:
        result = _summary(load(args.data), args.index)
        text = [f"{result['name']}: {result['rows']} x {result['cols']} pixels, digest {result['digest']}"]
        text += [
            f"{key}: {result[key]['count']} images, per class {result[key]['per_class']}" for key in ("train", "test")
        ]
        text += result["provenance"].splitlines()
        if "image" in result:
            text += [f"training image {args.index}, label {result['image']['label']}", *result["image"]["picture"]]
    print(json.dumps(result) if args.json else "\n".join(text))


if __name__ == "__main__":
    run(main)
