"""Known answers to the same task, in float64: what results on the lattice are to be compared with.

Each is trained with Adam on batches of 32, once per seed (which draws the start and the order of the images), and
tested after every epoch. The result is on stdout, all else on stderr.

  linear   softmax regression on all pixels; the rate falls linearly to zero
  pooled   the same on 10 x 11 averages of pixels: as many parameters as the lattice has, nearly
  adam     the lattice as the article trains it: SnAP-1, its initialisation, input gain 10, constant rate

Examples:

  python -m host.baseline pooled
  python -m host.baseline linear --data DIR --epochs 10 --seeds 1-8
  python -m host.baseline adam --data DIR --hold-out 10000 --seeds 3
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from host.base import cli
from host.base.heartbeat import heartbeat, say
from host.data import dataset
from host.reference.cells import Cells
from host.reference.graph import lattice
from host.reference.linear import Linear
from host.reference.training import Adam, Model, evaluate
from host.runs.seeds import numbers

NAME = "host.baseline"
BATCH = 32
POOLED = (10, 11)

Start = Callable[[Model, np.random.Generator], np.ndarray]


def article_start(model: Model, rng: np.random.Generator) -> np.ndarray:
    """The article's: l ~ U(0, ln 20), w ~ N(0, 1/2), b ~ N(0, 0.05^2)."""
    params = rng.normal(0, 1, model.shape) * [0, math.sqrt(0.5), math.sqrt(0.5), 0.05]
    params[:, 0] = rng.uniform(0, math.log(20), len(params))
    return params


def zeros(model: Model, rng: np.random.Generator) -> np.ndarray:
    """Softmax regression has one minimum, and needs no luck."""
    return np.zeros(model.shape)


@dataclass(frozen=True)
class Recipe:
    """A baseline: the model for images of (rows, cols) pixels, where it starts, and Adam's rate."""

    model: Callable[[tuple[int, int]], Model]
    start: Start
    rate: float
    falling: bool  # linearly to zero; else constant


RECIPES = {
    "linear": Recipe(lambda size: Linear(size, dataset.CLASSES, size), zeros, 1e-3, True),
    "pooled": Recipe(lambda size: Linear(size, dataset.CLASSES, POOLED), zeros, 3e-3, True),
    "adam": Recipe(lambda size: Cells(lattice(size[1], dataset.CLASSES), gain=10.0), article_start, 3e-3, False),
}


def without_last(data: dataset.Dataset, count: int) -> dataset.Dataset:
    """The data with the last `count` training images in place of the test images."""
    cli.within("--hold-out", count, 1, len(data.train_images) - 1, f"of {len(data.train_images)} training images")
    images, labels = data.train_images, data.train_labels
    return replace(
        data,
        train_images=images[:-count],
        train_labels=labels[:-count],
        test_images=images[-count:],
        test_labels=labels[-count:],
    )


def train(recipe: Recipe, model: Model, data: dataset.Dataset, epochs: int, seed: int) -> list[float]:
    """Train from the seed's start; the accuracies after each epoch."""
    rng = np.random.default_rng(seed)
    adam = Adam(model, recipe.start(model, rng))
    images = len(data.train_images)
    accuracies: list[float] = []
    done = 0

    def progress() -> str:
        epoch = len(accuracies)
        return f"seed {seed}, epoch {epoch + 1} of {epochs}: {done - epoch * images} of {images} images"

    with heartbeat(progress):
        while len(accuracies) < epochs:
            order = rng.permutation(images)
            for first in range(0, images, BATCH):
                now = order[first : first + BATCH]
                left = 1 - done / (epochs * images) if recipe.falling else 1.0
                adam.learn(data.train_images[now], data.train_labels[now], recipe.rate * left)
                done += len(now)
            accuracies.append(float(evaluate(model, adam.params, data.test_images, data.test_labels)))
            say(f"seed {seed}, epoch {len(accuracies)} of {epochs}: {accuracies[-1]:.4f}")
    return accuracies


def summary(runs: dict[int, list[float]]) -> dict[str, Any]:
    """Accuracies after each epoch by seed, as --json prints them; mean, standard deviation and range of the last."""
    last = np.array([accuracies[-1] for accuracies in runs.values()])
    return {
        "runs": [{"seed": seed, "accuracies": [round(x, 5) for x in found]} for seed, found in runs.items()],
        "mean": round(float(last.mean()), 5),
        "sd": round(float(last.std(ddof=1)), 5) if len(last) > 1 else None,
        "lowest": round(float(last.min()), 5),
        "highest": round(float(last.max()), 5),
    }


def main() -> None:
    parser = cli.Parser(f"python -m {NAME}", __doc__)
    parser.add_argument("model", choices=RECIPES, help="what is trained")
    parser.option("--data", help="directory with the four MNIST files, plain or .gz (default: bundled digits)")
    parser.option("--epochs", default=10, lowest=1, highest=1000, help="passes over the training images (default: 10)")
    parser.option("--seeds", default=[1], type=numbers, help="such as 1-8 or 1,3,5-7 (default: 1)")
    parser.option("--limit", type=int, help="train on the first so many images (default: all)")
    parser.option("--test-limit", type=int, help="test on the first so many images (default: all)")
    parser.option(
        "--hold-out",
        type=int,
        metavar="N",
        help="leave the last N training images out and test on these instead: to choose rates by",
    )
    parser.option("--json", action="store_true", help="print the result as one JSON object on stdout")
    args = parser.parse_args()
    data = dataset.load(args.data)
    if args.hold_out is not None:
        data = without_last(data, args.hold_out)
    data = data.limited(args.limit, args.test_limit)
    recipe = RECIPES[args.model]
    rows, cols = data.train_images.shape[1:]
    if args.model == "pooled" and (rows < POOLED[0] or cols < POOLED[1]):
        raise cli.UserError(f"images of {rows} x {cols} pixels are too small to be pooled; choose linear")
    model = recipe.model((rows, cols))
    result = {
        "model": args.model,
        "parameters": math.prod(model.shape),
        "images": len(data.train_images),
        "test_images": len(data.test_images),
        "tested_on": "test images" if args.hold_out is None else "held-out training images",
        "epochs": args.epochs,
        **summary({seed: train(recipe, model, data, args.epochs, seed) for seed in args.seeds}),
    }
    print(json.dumps(result) if args.json else text(result))


def text(result: dict[str, Any]) -> str:
    """The result for people."""
    model, mean, sd = result["model"], result["mean"], result["sd"]
    spread = "" if sd is None else f" +- {sd:.4f} ({result['lowest']:.4f} to {result['highest']:.4f})"
    return "\n".join(
        [
            f"{model}: {result['parameters']} parameters, {result['images']} images, {result['epochs']} epochs",
            *(f"seed {run['seed']}: {run['accuracies'][-1]:.4f}" for run in result["runs"]),
            f"mean {mean:.4f}{spread} on {result['test_images']} {result['tested_on']}",
        ]
    )


if __name__ == "__main__":
    cli.run(main)
