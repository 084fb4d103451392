"""The engine as C99, for bare metal, Arduino, Zephyr: writes shoreline.c, shoreline.h and an example, main.c.

They hold one model: the kernels (the same text that everything else here runs), its tables, wiring and parameters, and
the learning rates of its next step. It goes on learning where the run stopped, to the same digests. C99, no allocation,
nothing of a library but <stdint.h>. Examples:

  python -m tools.export_c --out DIR                                     28x10 cells, seeded, ready to learn
  python -m tools.export_c --out DIR --graph diagonal                    28 units of a diagonal network
  python -m tools.export_c --out DIR --checkpoint runs/x/checkpoint.npz  what a run has learned
  python -m tools.export_c --out DIR --checkpoint ... --rate 0.004       and a rate to go on with

What is in DIR already is overwritten only if this command has made it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from fixedpoint.diagonal import Diagonal
from fixedpoint.network import Network
from host.base import cli
from host.base.files import write_atomically
from host.data import dataset
from host.engine.passes import passes_of
from host.runs.config import Config, configure
from host.runs.options import add_network_options
from host.runs.presets import q12
from tools.c import model
from tools.model import at_rate, trained

SAVED = (cli.Case("--checkpoint", lambda args: args.checkpoint is not None),)


def chosen(args: argparse.Namespace) -> tuple[Network, Config]:
    """The model that was asked for, with the rates of its next step."""
    if args.checkpoint:
        saved, config = trained(args.checkpoint)
        network: Network = config.network()
        network.load(saved.params.ravel().tolist(), saved.step)
    else:
        config = configure(
            dataset.load(args.data), args.preset, args.seed, 1, args.rows, args.cols, graph=args.graph, rule=args.rule,
            units=args.units, share=None if args.share is None else q12(args.share), wiring_seed=args.wiring_seed,
        )  # fmt: skip
        network = config.network()
    config = at_rate(config, args.rate)
    network.set_rates(config.rates(network.step))
    return network, config


def describe(network: Any, config: Config) -> str:
    """What the model is, for those who read the C."""
    if isinstance(network, Diagonal):
        what, groups = f"a diagonal network of {network.units} units", "lWbV"
    else:
        kind = f"{network.rows} x {network.cols}" if config.graph == "lattice" else f"{config.graph} of {network.cells}"
        what, groups = f"{kind} cells{', the exact gradient' if network.exact else ''}", "lwb"
    rates = zip(groups, config.rates(network.step), strict=False)
    now = ", ".join(f"{group} {multiplier}/2^{shift}" for group, (multiplier, shift) in rates)
    return (
        f"{what}, {network.steps} rows of {network.rows} pixels an image; preset"
        f" {config.preset}, seed {config.seed}, {config.pixel_bits}-bit pixels.\n"
        f"After {network.step} training steps, digest {network.digest():08x}; learning rates: {now}."
    )


def write(out: Path, texts: dict[str, str]) -> None:
    """Write files into a directory. Raises UserError, before anything is written, for a file that is not ours."""
    for name in texts:
        path = out / name
        if path.exists() and not (path.is_file() and path.read_bytes().startswith(model.MADE.encode())):
            raise cli.UserError(f"{path} is not of this command's making; move it away, or give another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomically(out / name, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]
    except OSError as error:
        raise cli.UserError(f"cannot write {out} ({error.strerror}); make room there, or give another --out") from error


def main() -> int:
    parser = cli.Parser("python -m tools.export_c", __doc__)
    parser.option("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    parser.option("--checkpoint", type=Path, metavar="FILE", help="a run's checkpoint.npz (default: a seeded start)")
    add_network_options(parser, SAVED)
    parser.option("--rows", type=int, useless=SAVED, help="lattice rows, pixels in an image row (default: all)")
    parser.option("--cols", type=int, useless=SAVED, help="lattice columns, one per class at least (default: 10)")
    parser.option("--seed", default=1, lowest=0, useless=SAVED, help="of the initial parameters (default: 1)")
    parser.option("--data", useless=SAVED, help="MNIST's files, whose size of images counts (default: bundled digits)")
    parser.option("--rate", metavar="NUMBER", help="learning rate of the weights, constant (default: the run's next)")
    parser.option("--json", action="store_true", help="print the result as one JSON object")
    args = parser.parse_args()
    network, config = chosen(args)
    passes = passes_of(network, alone=True)
    texts = model.files(network, passes, describe(network, config))
    write(args.out, texts)
    result: dict[str, Any] = {
        "out": str(args.out),
        "files": {name: len(text.encode()) for name, text in texts.items()},
        "graph": config.graph,
        "rule": config.rule,
        "rows": network.rows,
        "cols": network.cols,
        "steps": network.steps,
        "step": network.step,
        "digest": f"{network.digest():08x}",
        "rates": config.rates(network.step),
        "state_bytes": 4 * (sum(len(getattr(network, name)) for name in passes.state) + 3),
    }
    if args.json:
        print(json.dumps(result))
    else:
        print(f"{args.out}: {', '.join(texts)}\n{describe(network, config)}")
        print(f"a shoreline_state takes {result['state_bytes']:,} bytes of RAM")
        if not any(multiplier for multiplier, _ in config.rates(network.step)):
            print("its learning rates are 0, as at the end of many a run: choose one with --rate, or set others in C")
    return 0


if __name__ == "__main__":
    cli.run(main)
