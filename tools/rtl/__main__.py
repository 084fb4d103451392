"""Cells in Verilog against the engine: run the test benches, break the Verilog to see them notice, count what it costs.

  python -m tools.vectors --out DIR --graph lattice --rows 3 --cols 3 --images 50    vectors first
  python -m tools.rtl check DIR          every bench that these vectors are for, under Icarus Verilog
  python -m tools.rtl check DIR --cocotb the same of a cell, with ports driven and registers read by cosim.py: copy it
  python -m tools.rtl faults DIR         faults put into the Verilog, one at a time: all must be found and named
  python -m tools.rtl resources          LUTs, registers, multipliers and clocks by yosys, for several word lengths

check ends with PASS, or with the first signal, image, cell and step that differ. Vectors made with --disturb, a study's
word lengths, set the Verilog's parameters to the same. Exit code 1: something differs, or a fault was not found.
Icarus is Debian's iverilog; yosys comes with pip install 'shoreline[rtl]'. tools/rtl/README.md explains the circuit.
"""

import argparse
import json
from pathlib import Path

from host.base import cli
from tools.rtl import bench, under_cocotb


def check(vectors: Path, only: str | None, as_json: bool, cocotb: bool = False) -> int:
    """Run benches, or the tests under cocotb that stand for them; 1 if one fails."""
    manifest = bench.read(vectors)
    there, run = bench.benches(manifest), bench.run
    if cocotb:
        there, run = [name for name in there if name in under_cocotb.TESTED], under_cocotb.run
        if not there:
            raise cli.UserError("cosim.py tests cells; make vectors of --rule snap1, or leave --cocotb out")
    if only is not None and only not in there:
        raise cli.UserError(f"these vectors are for {', '.join(there)}; choose one of them as --bench")
    failed = False
    for name in [only] if only else there:
        said = run(name, vectors, manifest)
        failed |= not said.startswith("PASS")
        print(json.dumps({"bench": name, "pass": said.startswith("PASS"), "said": said}) if as_json else said)
    return int(failed)


def main() -> int:
    parser = cli.Parser("python -m tools.rtl", __doc__)
    parser.add_argument("what", choices=["check"], metavar="check")
    parser.add_argument("vectors", type=Path, metavar="DIR", help="vectors, made by python -m tools.vectors")
    parser.option("--bench", metavar="NAME", help=f"only this one: {', '.join(bench.BENCHES)}")
    parser.option("--cocotb", action="store_true", help="drive the cells from Python: pip install 'shoreline[rtl]'")
    parser.option("--json", action="store_true", help="print each result as a JSON object on a line")
    args: argparse.Namespace = parser.parse_args()
    return check(args.vectors, args.bench, args.json, args.cocotb)


if __name__ == "__main__":
    cli.run(main)
