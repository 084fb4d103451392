"""Whether synthesis keeps the bits: what yosys makes of a cell takes the place of its Verilog in the test benches."""

from pathlib import Path

from host.base.scratch import Scratch
from tools.rtl import bench, yosys

# How far synthesis goes: to adders, multipliers and registers of words, with control and widths worked over; or all
# the way, to gates and flip-flops, which take some fifty times as long to simulate.
STAGES = {"words": "-noalumacc -run begin:fine", "gates": ""}
PORTS_ONLY = "-DPORTS_ONLY"


def run(name: str, vectors: Path, manifest: bench.Manifest, stage: str = "gates", rtl: Path = bench.RTL) -> str:
    """As bench.run, of the netlist with these vectors' word lengths. Raises UserError, too, without yosys."""
    given, circuit = bench.parameters(name, manifest), name.removesuffix("_tb")
    words = {key: value for key, value in given.items() if key not in bench.SIZES}
    steps = [f"synth -flatten {STAGES[stage]} -top {circuit}", "write_verilog -noattr netlist.v"]
    with Scratch("netlist") as here:
        yosys.run(circuit, bench.BENCHES[name].files, words, steps, vectors, here, rtl, f"{circuit} to {stage}")
        sources = [bench.source(f"{name}.v", rtl), here / "netlist.v", bench.source("rom.v", rtl)]
        return bench.simulated(name, vectors, given, sources, PORTS_ONLY)
