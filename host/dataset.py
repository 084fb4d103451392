"""What to learn from: the bundled digits, a directory of IDX files (MNIST's format), or a user's own sequences.

python -m host.dataset --show [PATH] [--index N]       what is in PATH, a directory, FILE.npz or FILE.csv
python -m host.dataset --fetch DIR [--mirror URL ...]  the full MNIST
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from host.base.cli import Case, Parser, run, within
from host.data.dataset import CHECKSUMS, MIRRORS, Dataset, fetch, load, picture
from host.data.sequences import trace


def _summary(dataset: Dataset, index: int | None) -> dict[str, Any]:
    summary: dict[str, Any] = {"name": dataset.name, "digest": dataset.digest, "provenance": dataset.provenance}
    if dataset.channels:
        summary |= _about_sequences(dataset)
    else:
        summary["rows"], summary["cols"] = dataset.train_images.shape[1:]
    for split, labels in (("train", dataset.train_labels), ("test", dataset.test_labels)):
        per_class = np.bincount(labels, minlength=len(dataset.classes)).tolist()
        summary[split] = {"count": len(labels), "per_class": per_class}
    if index is not None:
        count = len(dataset.train_images)
        within("--index", index, 0, count - 1, f"{dataset.name} has {count} training {dataset.items}")
        summary["image"] = _drawn(dataset, index)
    return summary


def _about_sequences(dataset: Dataset) -> dict[str, Any]:
    both = (dataset.train_images, dataset.test_images)
    first = [int(np.argmax(dataset.train_labels == label)) for label in np.unique(dataset.train_labels)]
    return {
        "steps": dataset.train_images.shape[1],
        "channels": dataset.channels,
        "classes": dataset.classes,
        "lowest": min(int(x.min()) for x in both),
        "highest": max(int(x.max()) for x in both),
        "scaling": dataset.scaling,
        "notes": dataset.notes,
        "examples": [_drawn(dataset, index) for index in first],
    }


def _drawn(dataset: Dataset, index: int) -> dict[str, Any]:
    """A training image or sequence in characters."""
    image = dataset.train_images[index]
    drawing = trace(image, dataset.channels) if dataset.channels else picture(image)
    return {"index": index, "label": int(dataset.train_labels[index]), "picture": drawing}


def _text(result: dict[str, Any]) -> list[str]:
    """The summary for people."""
    own = "channels" in result
    size = f"{result['steps']} steps x {len(result['channels'])} channels" if own else None
    text = [f"{result['name']}: {size or '{rows} x {cols} pixels'.format(**result)}, digest {result['digest']}"]
    text += [
        f"{key}: {result[key]['count']} {'sequences' if own else 'images'}, per class {result[key]['per_class']}"
        for key in ("train", "test")
    ]
    text += result["provenance"].splitlines()
    if own:
        text.append(f"values: {result['lowest']} to {result['highest']}; channels: {', '.join(result['channels'])}")
        text += result["notes"]
        scaling = zip(result["channels"], result["scaling"], strict=False)  # none, or one each
        text += [f"{name}: low {low!r}, high {high!r}" for name, (low, high) in scaling]
        for example in result["examples"]:
            name = result["classes"][example["label"]]
            text += [f"class {name}, training sequence {example['index']}, time to the right", *example["picture"]]
    if "image" in result:
        image = result["image"]
        text += [f"training {'sequence' if own else 'image'} {image['index']}, label {image['label']}"]
        text += image["picture"]
    return text


SHOWING = Case("--show", lambda args: args.show is not None)
FETCHING = Case("--fetch", lambda args: args.fetch is not None)
NAMED = Case("a PATH after --show", lambda args: bool(args.show))


def main(argv: list[str] | None = None) -> None:
    parser = Parser("python -m host.dataset", __doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument(
        "--show", metavar="PATH", nargs="?", const="", help="print what the data hold (default: the bundled digits)"
    )
    action.add_argument("--fetch", metavar="DIR", type=Path, help="download and verify the full MNIST into DIR")
    parser.option("--data", metavar="PATH", useless=(FETCHING, NAMED), help="the same as PATH after --show")
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
        result = _summary(load(args.show or args.data), args.index)
        text = _text(result)
    print(json.dumps(result) if args.json else "\n".join(text))


if __name__ == "__main__":
    run(main)
