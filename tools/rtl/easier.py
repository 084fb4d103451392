"""What learning loses by arithmetic that is easier to build: formats that no longer depend on data. Trains, compares.

  python -m tools.rtl.easier --data DIR                       small world, seeds 1 to 8, an epoch: two minutes
  python -m tools.rtl.easier --data DIR --graph lattice --epochs 10 --variant "exponent=12 fine=2"    only one of them

Each variant is the kernels' own text with a few lines changed, trained as host.simulate would:

  fine=2        eta and the cross traces of l have 2 bits more than the widest weights leave room for, in every cell
                (left out where weights may grow beyond 2.0, as a forest's)
  fine=0        none
  exponent=12   messages as factors have lost 12 bits in every cell and image (14: as many), and are saturated where
                they have more than 11 (images of 28 steps): no sweep to find the largest
  exponent=12 fine=2   both: no format depends on data any more

The result is the mean test accuracy with its 95 % interval over seeds, and by how much it is below the engine's own,
paired by seed.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from host.base import cli
from host.base.heartbeat import heartbeat
from host.data import dataset
from host.data.dataset import Dataset
from host.engine import llvm
from host.engine.lanes import Lanes
from host.engine.passes import passes_of
from host.runs.config import SEGMENT, Config, configure
from host.runs.seeds import numbers
from host.studies.intervals import interval

FINE = "fine = x"
ETA_ROOM = 65536  # (|wL| + |wT|) 2**fine, Q12: as backward() has it
FACTORS = {"x = (hr + x) >> nr": "nr = x - mantissa", "x = (hb + x) >> nb": "nb = x - mantissa"}
MOST = "(1 << mantissa) - 1"  # of a factor: as many bits as the block exponent leaves the largest message
LIMITED = f"""
            if x > {MOST}:
                x = {MOST}
            if x < 0 - ({MOST}):
                x = 0 - ({MOST})"""
Changes = dict[str, str]  # old text of backward() -> new


def fixed_fine(bits: int) -> Changes:
    return {FINE: f"fine = {bits}"}


def fixed_exponent(bits: int) -> Changes:
    return {
        old: new
        for factor, exponent in FACTORS.items()
        for old, new in (
            (exponent, f"{exponent[:2]} = {bits}"),
            (f"{factor}  # nearest", f"{factor}  # nearest{LIMITED}"),
        )
    }


VARIANTS: dict[str, Changes] = {
    "engine": {},
    "fine=2": fixed_fine(2),
    "fine=0": fixed_fine(0),
    "exponent=12": fixed_exponent(12),
    "exponent=14": fixed_exponent(14),
    "exponent=12 fine=2": fixed_exponent(12) | fixed_fine(2),
}


def changed(text: str, changes: Changes) -> str:
    """The text of the kernels with backward() changed. Raises ValueError if a line is not there exactly once."""
    begin = text.index("def backward(")
    end = text.index("\ndef ", begin)
    body = text[begin:end]
    for old, new in changes.items():
        if body.count(f" {old}\n") != 1:
            raise ValueError(f"{old!r} is there {body.count(old)} times")
        body = body.replace(f" {old}\n", f" {new}\n")
    return text[:begin] + body + text[end:]


def accuracies(configs: list[Config], data: Dataset, changes: Changes) -> list[float]:
    """Test accuracy of each of these runs (one configuration, several seeds) with the kernels changed."""
    most = llvm.LANES[-1]
    if len(configs) > most:
        return accuracies(configs[:most], data, changes) + accuracies(configs[most:], data, changes)
    networks: list[Any] = [config.network() for config in configs]
    base = passes_of(networks[0])
    passes = replace(base, texts=tuple(changed(text, changes) if "def backward(" in text else text
                                       for text in base.texts))  # fmt: skip
    for network in networks:
        network.passes = passes
    lanes, first, now = Lanes(networks), configs[0], 0
    with heartbeat(lambda: f"{now:,} of {first.total:,} images"):
        for epoch in range(first.epochs):
            order = np.array([config.order(epoch) for config in configs]).T
            for begin in range(0, first.images, SEGMENT):
                now = epoch * first.images + begin
                lanes.set_rates(first.rates(now))
                which = order[begin : begin + SEGMENT]
                lanes.learn(data.train_images[which], data.train_labels[which])
        found = lanes.classify(data.test_images)
    return [float(share) for share in (found == data.test_labels[:, None]).mean(0)]


def main() -> int:
    parser = cli.Parser("python -m tools.rtl.easier", __doc__)
    parser.option("--data", help="as in host.simulate (default: bundled digits, which say little)")
    parser.option("--graph", default="small-world", choices=["lattice", "forest", "small-world", "skip"], help="which")
    parser.option("--epochs", default=1, lowest=1, help="passes over the training images (default: 1)")
    parser.option("--seeds", default="1-8", help="such as 1-8 or 1,3 (default: 1-8)")
    parser.option("--variant", choices=list(VARIANTS), metavar="NAME", help="only this one, and the engine itself")
    parser.option("--json", action="store_true", help="print each result as a JSON object on a line")
    args = parser.parse_args()
    data = dataset.load(args.data)
    configs = [configure(data, None, seed, args.epochs, graph=args.graph) for seed in numbers(args.seeds)]
    engine: list[float] = []
    widest = max(abs(bound) for bound in configs[0].bounds[1])  # Q12
    left_out = [name for name in VARIANTS if "fine=2" in name and 2 * widest << 2 > ETA_ROOM]
    if args.variant in left_out:
        raise cli.UserError(f"--variant {args.variant}: weights of a {args.graph} may grow beyond 2.0; choose fine=0")
    for name, changes in VARIANTS.items():
        if name in left_out or name not in (args.variant or name, "engine"):
            continue
        found = accuracies(configs, data, changes)
        engine = engine or found
        lost = [before - after for before, after in zip(engine, found, strict=True)]
        result = {
            "variant": name, "graph": args.graph, "images": len(data.train_images), "epochs": args.epochs,
            "test_images": len(data.test_images), "accuracies": found, "mean": float(np.mean(found)),
            "interval": interval(found), "drop": float(np.mean(lost)), "drop_interval": interval(lost),
        }  # fmt: skip
        print(json.dumps(result) if args.json else line(result), flush=True)
    return 0


def line(result: dict[str, Any]) -> str:
    """For people."""

    def value(mean: str, interval: str) -> str:
        around = result[interval]  # None: of one seed
        return f"{result[mean]:.3f}" + (f" +- {(around[1] - around[0]) / 2:.3f}" if around else "")

    lost = "" if result["variant"] == "engine" else f"; below the engine's by {value('drop', 'drop_interval')}"
    return f"{result['graph']}, {result['variant']}: {value('mean', 'interval')}{lost}"


if __name__ == "__main__":
    cli.run(main)
