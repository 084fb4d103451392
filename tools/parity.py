"""Does training in integers cost accuracy? Trains the same lattices in fixed point and in float64, and compares.

For each preset, every seed gives one start and one order of the images, and both arithmetics train on them with the
same rates for one pass. Fixed point runs under LLVM; the float oracle trains all seeds side by side. Examples:

  python -m tools.parity                                    the lattice's two presets, 5 seeds, 5,000 bundled digits
  python -m tools.parity --data DIR                         5,000 MNIST digits, all 10,000 test images
  python -m tools.parity --preset article --seeds 20        more seeds, when the difference might be noise
  python -m tools.parity --graph diagonal                   another network, with its best preset

A single lattice's accuracy after one pass is a draw: seeds differ by several points, and so do the two arithmetics on
one seed, because a rounding error grows over thousands of steps. Only means tell; the table gives the standard error
of the mean difference.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from fixedpoint.build import GRAPHS, RULES
from host.base import cli
from host.base.heartbeat import heartbeat
from host.data import dataset
from host.engine.floating import to_model
from host.engine.learners import FloatLearner, LaneLearner
from host.reference.training import evaluate, train
from host.runs.config import SEGMENT, configure, prepare
from host.runs.presets import PRESETS, recipe

TOLERANCE = 0.01  # what the means may differ by
LATTICE = ("article", "critical")  # what is compared if nothing is asked for
NAMED = (cli.Case("--preset", lambda args: bool(args.preset)),)


def compare(data: dataset.Dataset, preset: str, seeds: int) -> dict[str, Any]:
    """Train seeds 1..seeds of a preset on all of `data`, both ways, and test; return accuracies and statistics."""
    configs = [configure(data, preset, seed, epochs=1) for seed in range(1, seeds + 1)]
    data = prepare(data, configs[0])
    orders = np.stack([config.order(0) for config in configs])
    fixed = [LaneLearner(config.network()) for config in configs]
    starts = [FloatLearner(config) for config in configs]
    model = starts[0].model
    params = np.stack([to_model(start.network, start.params()) for start in starts])
    images, step, phase = configs[0].images, 0, "training"
    with heartbeat(lambda: f"parity: {preset}, {phase}, {step:,} of {images:,} images"):
        for step in range(0, images, SEGMENT):
            which = orders[:, step : step + SEGMENT]
            for learner, config, now in zip(fixed, configs, which, strict=True):
                learner.set_rates(config, step)
                learner.train(data.train_images[now], data.train_labels[now])
            starts[0].set_rates(configs[0], step)
            params, _ = train(
                model, params, data.train_images, data.train_labels, starts[0].rates,
                order=which, bounds=starts[0].bounds,
            )  # fmt: skip
        step, phase = images, "testing"
        test = data.test_images, data.test_labels
        exact = np.asarray(evaluate(model, params, *test))
        return summary(preset, [learner.evaluate(*test) for learner in fixed], exact.tolist())


def summary(preset: str, fixed: Sequence[float], exact: Sequence[float]) -> dict[str, Any]:
    """The accuracies with their means and spreads, rounded, as --json prints them."""
    pairs = np.array([fixed, exact])
    spread = pairs.std(axis=1, ddof=1) if len(fixed) > 1 else np.zeros(2)
    differences = pairs[0] - pairs[1]
    error = differences.std(ddof=1) / len(fixed) ** 0.5 if len(fixed) > 1 else 0.0
    number = [round(float(x), 5) for x in (*pairs.mean(axis=1), differences.mean(), error, *spread)]
    names = ("fixed_mean", "float_mean", "difference", "standard_error", "fixed_spread", "float_spread")
    return {
        "preset": preset,
        "fixed": [round(float(x), 5) for x in fixed],
        "float": [round(float(x), 5) for x in exact],
        **dict(zip(names, number, strict=True)),
        "within_one_point": abs(number[2]) <= TOLERANCE,
    }


def table(found: dict[str, Any]) -> str:
    """A summary as lines of text."""
    lines = [f"{found['preset']:<18}{'fixed':>9}{'float':>9}{'difference':>12}"]

    def add(name: str, fixed: float, exact: float, end: str = "") -> None:
        lines.append(f"{name:<18}{fixed:>9.4f}{exact:>9.4f}{fixed - exact:>+12.4f}{end}")

    for seed, (fixed, exact) in enumerate(zip(found["fixed"], found["float"], strict=True), start=1):
        add(f"seed {seed}", fixed, exact)
    add("mean", found["fixed_mean"], found["float_mean"], f"  (standard error {found['standard_error']:.4f})")
    add("spread", found["fixed_spread"], found["float_spread"])
    return "\n".join(lines)


def main() -> int:
    parser = cli.Parser("python -m tools.parity", __doc__)
    parser.add_argument(
        "--preset", action="append", choices=PRESETS, help=f"may be repeated (default: {', '.join(LATTICE)})"
    )
    parser.option("--graph", choices=GRAPHS, useless=NAMED, help="the best preset of this graph, and of --rule")
    parser.option("--rule", choices=RULES, useless=NAMED, help="SnAP-1 (default), or the exact gradient")
    parser.option("--seeds", default=5, lowest=1, help="train seeds 1 to this one (default: 5)")
    parser.add_argument("--images", type=int, default=5000, help="train on the first so many images (default: 5000)")
    parser.add_argument("--test-images", type=int, help="test on the first so many images (default: all)")
    parser.add_argument(
        "--data", help="directory with the four MNIST files, or own sequences, .npz or .csv (default: bundled digits)"
    )
    parser.add_argument("--json", action="store_true", help="print the tables as one JSON object on stdout")
    args = parser.parse_args()
    data = dataset.load(args.data).limited(args.images, args.test_images, ("--images", "--test-images"))
    found = []
    presets = args.preset or LATTICE
    if args.graph or args.rule:
        presets = [recipe(args.graph, args.rule, args.images)]
    for preset in presets:
        found.append(compare(data, preset, args.seeds))
        if not args.json:
            print(table(found[-1]), flush=True)
    if args.json:
        print(json.dumps({"images": args.images, "test_images": len(data.test_labels), "presets": found}))
    return 0


if __name__ == "__main__":
    cli.run(main)
