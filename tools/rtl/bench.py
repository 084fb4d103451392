"""The test benches under Icarus Verilog: which of them vectors are for, with what parameters, and what they say."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.base.cli import UserError
from host.base.heartbeat import heartbeat, say
from host.base.scratch import Scratch
from host.chip.words import Words
from host.runs.disturbance import ROUNDINGS, parse
from tools.vectors.unit import WATCHED

RTL = Path(__file__).parent
FULL = 29  # fraction bits of an accumulator
SHORT = 25  # what is kept of one must be shorter than this, or all of it
PARAMETERS = {"y": "Y", "state": "TRACE", "self": "TRACE", "cross": "CROSS", "message": "MESSAGE", "weight": "WEIGHT",
              "master": "MASTER", "update": "UPDATE"}  # fmt: skip
SIZES = ("IMAGES", "CELLS", "STEPS")  # parameters of the cells' benches, not of cells
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """A test bench: the level of vectors that it reads, its sources, and its own parameters."""

    level: str
    sources: tuple[str, ...]
    words: tuple[str, ...]  # word lengths that it has
    parameters: Callable[[Manifest], dict[str, int]]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(f"{name}.v" for name in self.sources)


def _shape(manifest: Manifest, file: str) -> list[int]:
    return next(signal["shape"] for signal in manifest["signals"] if signal["file"] == file)


def _of_cells(manifest: Manifest) -> dict[str, int]:
    return dict(zip(SIZES, _shape(manifest, "cell/y.mem"), strict=True))


def _of_learning_cells(manifest: Manifest) -> dict[str, int]:
    found = _of_cells(manifest)
    return found | {"MANTISSA": 16 - found["STEPS"].bit_length()}


def _of_network(manifest: Manifest) -> dict[str, int]:
    config = manifest["configuration"]
    images = _shape(manifest, "network/label.mem")[0]
    return {"IMAGES": images, **{name.upper(): config[name] for name in ("scale", "gain", "cool")}}


def _of_units(manifest: Manifest) -> dict[str, int]:
    images, units, steps = _shape(manifest, "unit/y.mem")
    config = manifest["configuration"]
    return {"IMAGES": images, "UNITS": units, "STEPS": steps, "INPUTS": config["rows"], "GAIN": config["gain"],
            "WATCHED": min(WATCHED, images)}  # fmt: skip


OPERATIONS = (  # those that cells and softmax have
    "word", "factor", "weight", "bias", "coefficient", "derivative", "coupling", "leaky", "drive", "squash", "slope",
    "eta_drive", "eta", "cross_l", "cross_w", "message_sum", "message", "gradient", "rated", "step", "update",
    "exponential", "probability", "softmax",
)  # fmt: skip


def _of_operations(manifest: Manifest) -> dict[str, int]:
    cases = {signal["table"]: signal["count"] for signal in manifest["signals"]}
    return {f"CASES_{name.upper()}": cases[name] for name in OPERATIONS}


FORWARD = ("forward_cell", "kept", "rom", "round")
LEARNING = ("learning_cell", "block_factor", *FORWARD)
CELL_WORDS = ("Y", "TRACE", "CROSS", "MESSAGE", "WEIGHT", "MASTER", "UPDATE")
BENCHES = {
    "operations_tb": Bench("operations", ("softmax", *LEARNING), (), _of_operations),
    "forward_cell_tb": Bench("cell", FORWARD, ("Y", "TRACE"), _of_cells),
    "learning_cell_tb": Bench("cell", LEARNING, CELL_WORDS, _of_learning_cells),
    "network_tb": Bench("network", ("network", "softmax", *LEARNING), CELL_WORDS, _of_network),
    "unit_tb": Bench("unit", ("unit", "rom", "round"), ("Y", "SELF", "MESSAGE", "WEIGHT", "MASTER", "UPDATE"),
                     _of_units),
}  # fmt: skip

CELLS = ("forward_cell_tb", "learning_cell_tb")  # which cosim.py does as well, and which can do with ports only


def words(disturb: str, diagonal: bool = False) -> dict[str, int]:
    """Word lengths as parameters of the Verilog. Raises UserError for what it has not."""
    Words.of(disturb)
    found: dict[str, int] = {}
    for clause in parse(disturb):
        name = "SELF" if diagonal and clause.signal == "self" else PARAMETERS[clause.signal]
        bits, rounding = clause.bits, ROUNDINGS.index(clause.rounding)
        if bits is None or found.setdefault("ROUNDING", rounding) != rounding:
            raise UserError("the Verilog rounds all signals alike; give all clauses the same rounding")
        if found.setdefault(f"{name}_BITS", bits) != bits:
            raise UserError("a cell keeps one eL and one eT; give state and self the same bits")
    if not diagonal:
        if ("state" in disturb) != ("self" in disturb):
            raise UserError("a cell keeps one eL and one eT; give state and self the same bits")
        long = [bits for name in ("TRACE", "CROSS") if SHORT <= (bits := found.get(f"{name}_BITS", 0)) < FULL]
        if long:
            raise UserError(f"{long[0]} bits of a trace: the Verilog keeps fewer than {SHORT}, or all {FULL}")
    return found


def read(vectors: Path) -> Manifest:
    """The manifest of a directory of vectors, all of which are there as it says. Raises UserError.

    $readmemh goes on without words that a file has not: what is half a file would look like a fault of the circuit.
    """
    try:
        found: Manifest = json.loads((vectors / "manifest.json").read_bytes())
        sums = {name: str(digest) for name, digest in found["files"].items() if not name.endswith(".csv")}
        again = f"make them again: {found['command']}"
        config, signals = found["configuration"], found["signals"]
        config["graph"], config["disturb"], [signal["shape"] for signal in signals], signals[0]["file"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{vectors} holds no vectors, or those of another version; make some: python -m tools.vectors"
            f" --out {vectors} --graph lattice"
        ) from error
    for name, digest in sums.items():
        path = vectors / name
        if not path.is_file():
            raise UserError(f"{path} is missing; {again}")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise UserError(f"{path} is not what manifest.json says it is; {again}")
    return found


def source(file: str, rtl: Path) -> Path:
    """Where a file of the Verilog is: in this directory, or else ours."""
    return rtl / file if (rtl / file).is_file() else RTL / file


def changed(directory: Path, file: str, edits: Iterable[tuple[str, str]]) -> Path:
    """The directory, with the file in it, changed from ours: of each edit the new text for the old one.

    Raises UserError for an old text that is not there once.
    """
    text = (RTL / file).read_text()
    for old, new in edits:
        if text.count(old) != 1:
            raise UserError(
                f"{old[:60]!r} is not there once in {file}; whoever changed that must say what is there now"
            )
        text = text.replace(old, new)
    directory.mkdir(exist_ok=True)
    (directory / file).write_text(text)
    return directory


def benches(manifest: Manifest, only: str | None = None) -> list[str]:
    """Those that these vectors are for, or one of them. Raises UserError if there are none."""
    levels = {signal["file"].split("/")[0] for signal in manifest["signals"]}
    if levels & {"cell", "unit"}:
        there = levels - ({"network"} if "unit" in levels else set())  # the Verilog has a network of cells only
        found = [name for name, bench in BENCHES.items() if bench.level in there]
        if only is not None and only not in found:
            raise UserError(f"these vectors are for {', '.join(found)}; choose one of them as --bench")
        return [only] if only else found
    raise UserError("there is no Verilog of the exact rule; make vectors of --rule snap1, or --graph diagonal")


def parameters(name: str, manifest: Manifest) -> dict[str, int]:
    """What a bench is compiled with."""
    bench, config = BENCHES[name], manifest["configuration"]
    given = words(config["disturb"], config["graph"] == "diagonal")
    heard = {f"{word}_BITS" for word in bench.words} | ({"ROUNDING"} if bench.words else set())
    own = {key: value for key, value in given.items() if key in heard}
    return bench.parameters(manifest) | own


def tool(name: str, package: str) -> str:
    """Where a program of Debian's is. Raises UserError."""
    found = shutil.which(name)
    if not found:
        raise UserError(f"there is no {name} here; install it: apt-get install {package}")
    return found


def run(name: str, vectors: Path, manifest: Manifest, rtl: Path = RTL, waves: Path | None = None) -> str:
    """What the bench says of these vectors, in a line: PASS or FAIL, and more. rtl: Verilog instead of ours.

    waves: a file for the signals of the simulation (VCD).

    Raises UserError if it cannot be compiled, or says nothing.
    """
    sources = [source(file, rtl) for file in (f"{name}.v", *BENCHES[name].files)]
    if waves is None:
        return simulated(name, vectors, parameters(name, manifest), sources)
    flags = ("-s", "waves")  # a second top
    given = parameters(name, manifest)
    return simulated(name, vectors, given, [*sources, RTL / "waves.v"], *flags, plus=f"+waves={waves.absolute()}")


def simulated(
    name: str, vectors: Path, given: dict[str, int], sources: Sequence[Path], *flags: str, plus: str = "+"
) -> str:
    """As run(), with these parameters, sources, and more flags of iverilog. plus: an argument of the simulation."""
    iverilog, vvp = tool("iverilog", "iverilog"), tool("vvp", "iverilog")
    now = "compiling"
    with Scratch("rtl") as directory, heartbeat(lambda: f"{name}: {now}"):
        program = directory / "bench.vvp"
        argv = [iverilog, "-g2005", "-Wall", "-Wno-timescale", f"-I{vectors / 'network'}", "-s", name, *flags]
        argv += [f"-P{name}.{key}={value}" for key, value in given.items()]
        argv += ["-o", str(program), *map(str, sources)]
        place = os.environ | {"TMP": str(directory)}  # where a killed Icarus leaves its files
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=place)
        if done.returncode:
            raise UserError(f"Icarus does not compile {name}:\n{done.stderr.strip()}")
        if done.stderr:  # warnings: those of one version are not those of another
            say(done.stderr.strip())
        said = ""
        with subprocess.Popen([vvp, "-n", str(program), plus], cwd=vectors, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as simulation:  # fmt: skip
            try:
                for line in simulation.stdout or ():
                    if re.fullmatch(r"\d+ of \d+\n", line):
                        now = line.strip()
                    else:
                        said += line
            finally:
                simulation.kill()
    found = re.search(rf"^(PASS|FAIL) {name}: .*$", said, re.MULTILINE)
    if not found:
        raise UserError(f"{name} came to no end:\n{said.strip()[-1000:]}")
    return found[0]
