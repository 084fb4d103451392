"""Models of a board's own programs (firmware/model.py): what is in one, and a run's checkpoint made into one.

  python -m tools.model model.shl                                  what it is: network, step, digest, rates, bounds
  python -m tools.model runs/x/checkpoint.npz --out model.shl      what a run has learned, for a board to go on with
  python -m tools.model model.shl --out weights.npz                its parameters (int32, Q26) and the group of each

Digests are those of the run, and of the board. In the .npz file, groups says of each of the parameters what it is:
0 l, 1 wL (a diagonal network's W), 2 wT (V), 3 b. Nothing is overwritten.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from firmware.model import Model, load
from fixedpoint.build import GRAPHS, RULES
from host.base import cli
from host.base.cli import UserError
from host.base.files import write_atomically
from host.base.heartbeat import say
from host.base.scratch import Scratch
from host.runs.checkpoint import Checkpoint
from host.runs.config import FITS, Config

FORM = ("graph", "rule", "inputs", "classes", "steps", "scale", "gain", "cool", "units", "share", "wiring_seed")
ZIP = b"PK"  # what a checkpoint begins with
RATE = "learning rate of the weights to go on with, constant (default: that of the run's next step)"


def trained(path: Path) -> tuple[Checkpoint, Config]:
    """A checkpoint of an integer engine. Raises UserError for any other."""
    saved = Checkpoint.read(path)
    config = Config.from_dict(saved.config)
    if config.arithmetic == "float":
        raise UserError(f"{path} is of float arithmetic; name one of an integer engine")
    return saved, config


def at_rate(config: Config, rate: str | None) -> Config:
    """The configuration with this constant rate, if one was given. Raises UserError if it is no decimal number."""
    if rate is None:
        return config
    if not FITS["rate"](rate):
        raise UserError(f"--rate {cli.shown(rate)}: choose a decimal number, such as 0.004")
    return replace(config, rate=rate, decay=False)


def read(path: Path, rate: str | None = None) -> Model:
    """The model in a model file, or made from a run's checkpoint with the rates of its next step. Raises UserError."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == ZIP
    except FileNotFoundError as error:
        raise UserError(f"there is no {path}; name a model file, or the checkpoint.npz of a run") from error
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); make that possible, or name another") from error
    if packed:
        return of_checkpoint(path, rate)
    if rate is not None:
        raise UserError(f"--rate counts for nothing with {path}, which has its own; leave it out, or name a checkpoint")
    try:
        found: Model | None = load(str(path))
    except ValueError as error:
        raise UserError(f"{path} says what cannot be ({error}); copy it from the board once more") from error
    if found is None:
        raise UserError(f"{path} is neither a whole model file nor a run's checkpoint; copy it from the board again")
    return found


def of_checkpoint(path: Path, rate: str | None = None) -> Model:
    """What a run has learned, as a model. Raises UserError."""
    saved, config = trained(path)
    model = Model(*config.form)
    model.set_bounds([(low, min(high, 32767)) for low, high in config.bounds])  # the engine stops there in any case
    model.set_rates(at_rate(config, rate).rates(saved.step))
    model.network.load(saved.params.ravel().tolist(), saved.step)
    if config.pixel_bits != 8:
        say(f"{path} was trained on values of {config.pixel_bits} bits: have the program round its own in the same way")
    if not any(multiplier for multiplier, _ in model.rates):
        say("its learning rates are 0, as at the end of many a run: choose one with --rate, or by set_rates()")
    return model


def packed(model: Model) -> bytes:
    """The bytes of its file."""
    with Scratch("model") as directory:
        model.save(str(directory / "model"))
        return (directory / "model").read_bytes()


def describe(model: Model) -> dict[str, Any]:
    """What it is, in numbers and names."""
    form = dict(zip(FORM, model.form, strict=True))
    return {
        **form,
        "graph": GRAPHS[form["graph"]],
        "rule": RULES[form["rule"]],
        "parameters": len(model.network.w),
        "step": model.step,
        "digest": f"{model.digest():08x}",
        "rates": [list(pair) for pair in model.rates],
        "bounds": [list(pair) for pair in model.bounds],
    }


def write(model: Model, out: Path) -> None:
    """Write a model file, or, as .npz, its parameters. Raises UserError."""
    if out.exists():
        raise UserError(f"{out} exists already; give another --out")
    try:
        if out.suffix == ".npz":
            network = model.network
            parameters = np.array(network.w, np.int32).reshape(network.shape)
            groups = np.array([network.group(i) for i in range(len(network.w))], np.uint8).reshape(network.shape)
            write_atomically(out, lambda file: np.savez(file, parameters=parameters, groups=groups))
        else:
            data = packed(model)
            write_atomically(out, lambda file: file.write(data))
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); make room there, or give another --out") from error


def main() -> int:
    parser = cli.Parser("python -m tools.model", __doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="a model file, or the checkpoint.npz of a run")
    parser.option("--out", type=Path, metavar="FILE", help="write a model file; parameters alone, if it ends in .npz")
    parser.option("--rate", metavar="NUMBER", help=f"with a checkpoint: {RATE}")
    parser.option("--json", action="store_true", help="print the result as one JSON object")
    args = parser.parse_args()
    model = read(args.file, args.rate)
    if args.out:
        write(model, args.out)
    found = describe(model)
    print(json.dumps(found) if args.json else "\n".join(f"{name}: {value}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    cli.run(main)
