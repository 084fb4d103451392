"""What the Verilog takes: cells of an FPGA (Lattice's ECP5) by yosys, clocks by the test benches."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.base.cli import UserError, shown
from host.base.scratch import Scratch
from host.chip.words import Words
from tools.rtl import bench, yosys

# Short words of all signals at once, chosen by validation; an epoch of MNIST loses .016 ± .037 with them (small world),
# and .003 ± .005 (diagonal): README.md
CELLS = (
    "y bits=8; state bits=9; self bits=9; cross bits=7; message bits=11; weight bits=8; master bits=17; update bits=17"
)
UNITS = "y bits=5; self bits=8; message bits=4; weight bits=6; master bits=12; update bits=12"
STUDY = {"cell": CELLS, "unit": UNITS}
NETWORKS = {  # the options of tools.vectors for what is measured
    "cell": ("--graph", "lattice", "--rows", "3", "--cols", "3", "--images", "4"),
    "unit": ("--graph", "diagonal", "--images", "1"),
}
HEARD = {"cell": tuple(bench.PARAMETERS), "unit": ("y", "self", "message", "weight", "master", "update")}
COUNTED = {  # yosys' names
    "LUT4": "LUT4", "CCU2C": "carry", "TRELLIS_FF": "registers", "MULT18X18D": "multipliers",
    "TRELLIS_DPR16X4": "LUT-RAM", "DP16KD": "block RAM",
}  # fmt: skip
TAKES = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}  # of the FPGA's LUT4
TARGET = "synth_ecp5"  # yosys' command


@dataclass(frozen=True)
class Design:
    """A module with all that is below it; of: the network whose vectors its bench reads; bench: None if it has none."""

    of: str
    sources: tuple[str, ...]
    words: tuple[str, ...] = ()
    bench: str | None = None
    clocks: str = ""  # what the bench's clocks are for


def _benched(name: str, of: str, clocks: str) -> Design:
    found = bench.BENCHES[f"{name}_tb"]
    return Design(of, found.sources, found.words, f"{name}_tb", clocks)


DESIGNS = {
    "forward_cell": _benched("forward_cell", "cell", "a step, forward alone"),
    "learning_cell": _benched("learning_cell", "cell", "a step: forward, message, learn"),
    "softmax": Design("cell", ("softmax", "rom")),
    "network": _benched("network", "cell", "an image of 28 steps, three sweeps and the update"),
    "unit": _benched("unit", "unit", "a step of 28 inputs"),
}


def cells(design: str, directory: Path, parameters: dict[str, int], rtl: Path = bench.RTL) -> dict[str, int]:
    """How many cells of each type the ECP5 needs. directory: of vectors. Raises UserError.

    Of a Verilog with latches or loops without registers yosys makes nothing.
    """
    files = [f"{name}.v" for name in DESIGNS[design].sources]
    steps = [
        f"hierarchy -top {design}", "proc", "select -assert-none t:$dlatch", f"{TARGET} -top {design}",
        "check -assert", "tee -q -o cells.json stat -json",
    ]  # fmt: skip
    with Scratch("yosys") as here:
        if design == "network":
            shutil.copy(directory / "network" / "wiring.vh", here)
        yosys.run(design, files, parameters, steps, directory, here, rtl, design)
        found: dict[str, int] = json.loads((here / "cells.json").read_bytes())["design"]["num_cells_by_type"]
    return {name: found.get(name, 0) for name in COUNTED}


def luts(found: dict[str, int]) -> int:
    """LUT4s of the FPGA that these cells take in all."""
    return sum(found[cell] * times for cell, times in TAKES.items())


def clauses(text: str, of: str) -> str:
    """Those of a text of --disturb that such a network has."""
    return "; ".join(clause.strip() for clause in text.split(";") if set(clause.split()[:1]) & set(HEARD[of]))


def vectors(of: str, disturb: str, out: Path) -> None:
    """A few images' vectors. Raises UserError."""
    argv = [sys.executable, "-m", "tools.vectors", "--out", str(out), *NETWORKS[of]]
    if disturb:
        argv += ["--disturb", disturb]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"tools.vectors: {shown(done.stderr.strip().removeprefix('error: '), yosys.LONGEST)}")


def clocks(design: str, directory: Path) -> int | None:
    """What its bench counts. Raises UserError, also if circuit and vectors differ."""
    name = DESIGNS[design].bench
    if name is None:
        return None
    said = bench.run(name, directory, bench.read(directory))
    found = re.search(r"(\d+) clocks", said)
    if not said.startswith("PASS") or not found:
        raise UserError(f"{said}; run python -m tools.rtl check on such vectors")
    return int(found[1])


def measured(disturb: str | None, only: str | None = None) -> Iterator[dict[str, Any]]:
    """Each design, with the engine's words and with shorter ones: those of `disturb`, or (None) the study's.

    Raises UserError.
    """
    Words.of(disturb or "").check(bench.PARAMETERS)
    short = {of: text if disturb is None else clauses(disturb, of) for of, text in STUDY.items()}
    for of, text in short.items():
        bench.words(text, of == "unit")
    with Scratch("vectors") as here:
        for name in [only] if only else DESIGNS:
            design = DESIGNS[name]
            for text in dict.fromkeys(["", short[design.of] if design.words else ""]):
                directory = here / f"{design.of}-{bool(text)}"
                if not directory.exists():
                    vectors(design.of, text, directory)
                yield one(name, text, directory)


def one(name: str, disturb: str, directory: Path) -> dict[str, Any]:
    """A row of the table. directory: of vectors with these words."""
    design = DESIGNS[name]
    given = bench.words(disturb, design.of == "unit")
    words = {"ROUNDING", *(f"{word}_BITS" for word in design.words)}
    parameters = {key: value for key, value in given.items() if key in words}
    found = cells(name, directory, parameters)
    return {
        "design": name, "disturb": disturb, "parameters": parameters, "cells": found,
        "luts": luts(found),
        "clocks": clocks(name, directory), "clocks_for": design.clocks,
    }  # fmt: skip


def rows(results: Iterable[dict[str, Any]]) -> list[str]:
    """As a table in Markdown."""
    heads = ("", "words", *COUNTED.values(), "LUTs in all", "clocks")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for result in results:
        counts = [f"{count:,}" for count in (*result["cells"].values(), result["luts"])]
        words = "short" if result["disturb"] else "the engine's"
        took = f"{result['clocks']:,} ({result['clocks_for']})" if result["clocks"] else ""
        lines.append(f"| {result['design']} | {words} | {' | '.join(counts)} | {took} |")
    return lines
