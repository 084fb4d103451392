"""Whether synthesis keeps the bits: what yosys makes of a cell takes the place of its Verilog in the test benches."""

import shutil
import subprocess
from pathlib import Path

from host.base.cli import UserError
from host.base.heartbeat import heartbeat
from host.base.scratch import Scratch
from tools.rtl import bench, resources

# How far synthesis goes: to adders, multipliers and registers of words, with control and widths worked over; or all
# the way, to gates and flip-flops, which take some fifty times as long to simulate.
STAGES = {"words": "-noalumacc -run begin:fine", "gates": ""}
PORTS_ONLY = "-DPORTS_ONLY"


def run(name: str, vectors: Path, manifest: bench.Manifest, stage: str = "gates", rtl: Path = bench.RTL) -> str:
    """As bench.run, of the netlist with these vectors' word lengths. Raises UserError, too, without yosys."""
    given = bench.parameters(name, manifest)
    with Scratch("netlist") as here:
        shutil.copytree(vectors / "tables", here / "tables")
        words = {key: value for key, value in given.items() if key not in bench.SIZES}
        sources = [bench.source(f"{name}.v", rtl), made(name, words, stage, here, rtl), bench.source("rom.v", rtl)]
        return bench.simulated(name, vectors, given, sources, PORTS_ONLY)


def made(name: str, words: dict[str, int], stage: str, here: Path, rtl: Path) -> Path:
    """The netlist of a bench's circuit, in this directory, where tables/ is. Raises UserError."""
    circuit, files = name.removesuffix("_tb"), bench.BENCHES[name].files
    for file in files:  # yosys, in WebAssembly, sees its working directory and what is below, as relative paths
        shutil.copy(bench.source(file, rtl), here)
    script = [
        f"read_verilog {' '.join(files)}",
        *(f"chparam -set {key} {value} {circuit}" for key, value in words.items()),
        f"synth -flatten {STAGES[stage]} -top {circuit}",
        "write_verilog -noattr netlist.v",
    ]
    argv = [resources.program(), "-q", "-p", "; ".join(script)]
    with heartbeat(lambda: f"synthesizing {circuit} to {stage}"):
        done = subprocess.run(argv, cwd=here, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"yosys makes no netlist of {circuit}:\n{(done.stdout + done.stderr).strip()[-1000:]}")
    return here / "netlist.v"
