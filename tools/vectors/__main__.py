"""Golden vectors: what a circuit that learns as this engine does must have on its wires, to the last bit.

  python -m tools.vectors --out DIR                              four images on 28x10 cells of a small world
  python -m tools.vectors --out DIR --graph lattice --rows 3 --cols 3 --images 50    a network small enough for a bench
  python -m tools.vectors --out DIR --graph diagonal             28 units of a diagonal network
  python -m tools.vectors --out DIR --checkpoint runs/x/checkpoint.npz --rate 0.004  from what a run has learned on
  python -m tools.vectors --out DIR --disturb "cross bits=12"    with words as short as a study found enough

In DIR are one directory for each level, and manifest.json, which says of every signal how many bits it has, what they
mean, how it was rounded, and the SHA-256 of its file:

  tables/      tanh, exp(-x), c(l), da/dl
  operations/  every rounding, saturation and look-up by itself, with edge cases; expected values by fxpmath
  cell/        each two-input cell at every step: what it hears, its traces and sums (SnAP-1)
  unit/        each unit of a diagonal network at every step: its registers, traces and sums, its update
  network/     every input, output, message, gradient and parameter, the engine's digest after every update, the wiring

Every signal is there as .mem (hex, for $readmemh), in a CSV of decimals, and in an .npz: tools/vectors/README.md. With
fewer --cols than classes only images of the first so many classes are taken. The same command writes the same bytes.
What is in DIR already is overwritten only if this command has made it.
"""

import argparse
import hashlib
import json
import shlex
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fixedpoint import kernels
from host.base import cli
from host.base.heartbeat import heartbeat
from host.runs.options import add_network_options
from tools.vectors import writing
from tools.vectors.cell import cell_level
from tools.vectors.chip import agree
from tools.vectors.lookup import tables_level
from tools.vectors.network import network_level
from tools.vectors.signals import Table
from tools.vectors.trial import Trial, chosen
from tools.vectors.unit import unit_level
from tools.vectors.wired import add_wiring

SAVED = (cli.Case("--checkpoint", lambda args: args.checkpoint is not None),)
PATHS = ("out", "data", "checkpoint")  # of which the command in the manifest has the last part
IMAGES = 4
Level = Callable[[Trial], list[Table]]


def levels(trial: Trial) -> list[Level]:
    """What makes the tables of each level that there is of such a network. Raises UserError without fxpmath."""
    try:
        from tools.vectors.all_operations import operations_level
    except ModuleNotFoundError as error:
        if error.name != "fxpmath":
            raise
        raise cli.UserError(
            "the expected values of operations are fxpmath's, which is missing; install it: pip install fxpmath"
        ) from error
    own: list[Level] = [unit_level] if trial.diagonal else [cell_level] if trial.config.rule == "snap1" else []
    return [tables_level, operations_level, *own, network_level]


def engine() -> str:
    """SHA-256 over the engine's source text."""
    found = hashlib.sha256()
    for path in sorted(Path(str(kernels.__file__)).parent.glob("*.py")):
        found.update(f"{path.name}\n".encode() + path.read_bytes())
    return found.hexdigest()


def package() -> str:
    """The version of this package. Raises UserError where it is only a checkout that happens to be on the path."""
    try:
        return version("shoreline")
    except PackageNotFoundError as error:
        raise cli.UserError(
            "the manifest has this package's version, but it is not installed; in its checkout: pip install -e ."
        ) from error


def command(args: argparse.Namespace, parser: cli.Parser) -> str:
    """The one way to write this command, without the places of this computer."""
    words = writing.COMMAND.split()
    for name, (flag, _) in parser.useless.items():
        if name in args.given and name != "json":
            value = getattr(args, name)
            words += [flag, Path(value).resolve().name if name in PATHS else str(value)]
    return shlex.join(words)


def main() -> int:
    parser = cli.Parser(writing.COMMAND, __doc__)
    parser.option("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    parser.option("--images", default=IMAGES, lowest=1, metavar="N", help=f"training steps (default: {IMAGES})")
    parser.option("--checkpoint", type=Path, metavar="FILE", help="a run's checkpoint.npz (default: a seeded start)")
    add_network_options(parser, SAVED)
    parser.option("--rows", type=int, useless=SAVED, help="lattice rows, pixels in an image row (default: all)")
    parser.option("--cols", type=int, useless=SAVED, help="lattice columns, outputs (default: 10)")
    parser.option("--seed", default=1, lowest=0, useless=SAVED, help="of parameters and order (default: 1)")
    parser.option("--data", help="as in host.simulate (default: bundled digits)")
    parser.option("--rate", metavar="NUMBER", help="learning rate of the weights, constant (default: the run's)")
    parser.option("--disturb", metavar="TEXT", help="as in host.simulate; `bits` and `rounding` of deterministic words")
    parser.option("--json", action="store_true", help="print the result as one JSON object")
    args = parser.parse_args()
    writing.former(args.out)  # before the work, not after it
    made_by = {"command": command(args, parser), "version": package(), "engine": engine()}
    trial = chosen(args)
    wanted = levels(trial)
    doing = "computing the signals"
    with heartbeat(lambda: doing):
        if not trial.diagonal:  # whose units compare for themselves
            agree(trial.seen, trial.chip)
        made = writing.made([table for level in wanted for table in level(trial)])
        add_wiring(made, trial)
        doing = f"writing {len(made.files)} files"
        manifest = writing.write(args.out, made, made_by | {"configuration": trial.config.as_dict()})
    digest = f"{int(trial.seen['digest'][-1]):08x}"
    result = {"out": str(args.out), "files": len(made.files), "signals": len(made.signals),
              "values": sum(signal["count"] for signal in made.signals), "images": args.images,
              "vectors": manifest["digest"], "digest": digest}  # fmt: skip
    if args.json:
        print(json.dumps(result))
    else:
        print(
            f"{args.out}: {result['signals']} signals, {result['values']:,} values in {result['files']} files\n"
            f"after {args.images} images the network has digest {digest}; the vectors have {manifest['digest'][:16]}"
        )
    return 0


if __name__ == "__main__":
    cli.run(main)
