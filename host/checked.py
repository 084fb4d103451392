"""The checking mode over whole epochs: trains, and prints the range of every signal of the kernels.

See host.engine.checked for what is checked. `python -m host.simulate --engine checked` does the same with a run that
can be resumed.
"""

import time
from functools import partial

from host.base import cli
from host.data import dataset
from host.engine.checked import BITS, report
from host.engine.learners import FixedLearner, executor
from host.runs import output
from host.runs.config import SEGMENT, configure, prepare
from host.runs.options import add_network_options, wanted_network


def main() -> int:
    parser = cli.Parser("python -m host.checked", __doc__)
    add_network_options(parser)
    parser.add_argument(
        "--data", help="directory with the four MNIST files, or own sequences, .npz or .csv (default: bundled digits)"
    )
    parser.option("--limit", type=int, help="train on the first so many images (default: all)")
    parser.option("--epochs", type=int, default=1, help="default: 1")
    parser.option("--seed", lowest=0, default=1, help="default: 1")
    args = parser.parse_args()
    data = dataset.load(args.data).limited(args.limit, 1)
    config = configure(data, seed=args.seed, epochs=args.epochs, **wanted_network(args))
    data = prepare(data, config)
    with cli.held():
        learner = FixedLearner(config.network(**executor("checked")))
    with output.Gauge() as gauge:
        for epoch in range(config.epochs):
            order = config.order(epoch)
            for start in range(0, config.images, SEGMENT):
                which = order[start : start + SEGMENT]
                step = epoch * config.images + start
                learner.set_rates(config, step)
                learner.train(data.train_images[which], data.train_labels[which])
                done = step + len(which)
                gauge.show(time.monotonic(), partial("image {}/{}".format, done, config.total), done, config.total)
    print(report())
    what = f"{config.preset}, {config.graph}, {config.rule}"
    print(f"{config.total} training steps, {what}, digest {learner.digest()}: nothing left {BITS} bits")
    return 0


if __name__ == "__main__":
    cli.run(main)
