"""Cells in Verilog against the engine: run the test benches, break the Verilog to see them notice, count what it costs.

  python -m tools.vectors --out DIR --graph lattice --rows 3 --cols 3 --images 50    vectors first
  python -m tools.rtl check DIR          every bench that these vectors are for, under Icarus Verilog
  python -m tools.rtl check DIR --cocotb           the cells, driven from Python by cosim.py: to copy for one's own
  python -m tools.rtl check DIR --netlist gates    the cells as yosys synthesizes them
  python -m tools.rtl check DIR --bench learning_cell_tb --waves FILE.vcd    and record all signals, for GTKWave
  python -m tools.rtl check DIR --rtl MINE         with a forward_cell.v, say, of one's own in MINE; the rest is ours
  python -m tools.rtl faults [DIR]       faults put into the Verilog, one at a time: all must be found and named
  python -m tools.rtl resources          LUTs, registers, multipliers, clocks: with the engine's words, with the study's
  python -m tools.rtl resources --without          a learning cell's LUTs without one thing or another: what is dear
  python -m tools.rtl resources --design learning_cell --disturb "cross bits=7"      one module, with other short words

check ends with PASS, or with the first signal, image, cell and step that differ. Vectors made with --disturb, a study's
word lengths, set the Verilog's parameters to the same. Exit code 1: something differs, or a fault was not found.
faults makes vectors that show each of them; those in DIR may not: no digit drives messages into saturation.
resources prints a table in Markdown: cells of Lattice's ECP5 as yosys maps the Verilog (not placed nor routed), clocks
as the benches count them. It makes its own vectors, and takes some four minutes, most of them for the network.
Icarus is Debian's iverilog; yosys comes with pip install -e '.[rtl]'. tools/rtl/README.md explains the circuit.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from host.base import cli
from tools.rtl import bench, faults, netlist, plainer, resources, under_cocotb

Run = Callable[[str, Path, bench.Manifest], str]


def check(vectors: Path, only: str | None, as_json: bool, run: Run, all_have_it: bool) -> int:
    """Run benches, or what has their place; 1 if one fails."""
    manifest = bench.read(vectors)
    there = bench.benches(manifest, only)
    if not all_have_it:
        there = [name for name in there if name in bench.CELLS]
        if not there:
            raise cli.UserError("only cells have that: forward_cell_tb, learning_cell_tb; leave the option out")
    failed = False
    for name in there:
        said = run(name, vectors, manifest)
        failed |= not said.startswith("PASS")
        print(json.dumps({"bench": name, "pass": said.startswith("PASS"), "said": said}) if as_json else said)
    return int(failed)


def recorded(waves: Path | None, only: str | None) -> Path | None:
    """Where the signals of a simulation go. Raises UserError if that cannot be, or is something else already."""
    if waves is None:
        return None
    if only is None:
        raise cli.UserError("--waves is of one bench; choose it with --bench")
    try:
        if waves.exists() and not waves.read_bytes()[:5] == b"$date":
            raise cli.UserError(f"{waves} is there and no record of signals; give another --waves")
        waves.touch()
    except OSError as error:
        raise cli.UserError(f"cannot write {waves} ({error.strerror}); give another --waves") from error
    return waves


def chosen(cocotb: bool, stage: str | None, rtl: Path | None, waves: Path | None) -> Run:
    """What runs a bench, or has its place. stage: of synthesis; rtl: Verilog instead of ours. Raises UserError.

    waves: where the signals of a bench go.
    """
    where = (rtl or bench.RTL).absolute()
    ours = sorted(path.name for path in bench.RTL.glob("*.v"))
    if not any((where / file).is_file() for file in ours):
        raise cli.UserError(f"--rtl {rtl} has none of {', '.join(ours)}; copy there, from {bench.RTL}, what you change")
    if cocotb:
        return partial(under_cocotb.run, rtl=where)
    return partial(bench.run, rtl=where, waves=waves) if stage is None else partial(netlist.run, stage=stage, rtl=where)


def broken(vectors: Path | None, only: str | None, as_json: bool) -> int:
    """Try all faults out; 1 if one is not found, or the bench names another signal."""
    missed = []
    for found in faults.results(vectors, only):
        missed.append(not found["named"])
        how = "named" if found["named"] else "found, but not named" if found["found"] else "NOT FOUND"
        text = f"{found['file']}: {found['fault']}: {how}\n    {found['said']}"
        print(json.dumps(found) if as_json else text, flush=True)
    if not as_json:
        print(f"{len(missed)} faults, {len(missed) - sum(missed)} of them found and named")
    return int(any(missed))


def count(disturb: str | None, only: str | None, as_json: bool, without: bool) -> int:
    """The table of resources."""
    if without:
        for line in map(json.dumps, plainer.measured(disturb)) if as_json else plainer.rows(plainer.measured(disturb)):
            print(line, flush=True)
        return 0
    found = list(resources.measured(disturb, only))
    print("\n".join(map(json.dumps, found) if as_json else resources.rows(found)))
    return 0


RUNNING = (cli.Case("check and faults", lambda args: args.what != "resources"),)
COUNTING = (cli.Case("resources", lambda args: args.what == "resources"),)
CHANGED = (cli.Case("faults", lambda args: args.what == "faults"), *COUNTING)
COCOTB = cli.Case("--cocotb", lambda args: bool(args.cocotb))
NETLIST = cli.Case("--netlist", lambda args: args.netlist is not None)


def main() -> int:
    parser = cli.Parser("python -m tools.rtl", __doc__)
    parser.add_argument("what", choices=["check", "faults", "resources"], metavar="check|faults|resources")
    parser.add_argument("vectors", type=Path, nargs="?", metavar="DIR", help="vectors, made by python -m tools.vectors")
    parser.option(
        "--bench", choices=list(bench.BENCHES), useless=COUNTING, metavar="NAME",
        help=f"only this one: {', '.join(bench.BENCHES)}",
    )  # fmt: skip
    parser.option(
        "--design", choices=list(resources.DESIGNS), useless=RUNNING, metavar="NAME",
        help=f"only this one: {', '.join(resources.DESIGNS)}",
    )  # fmt: skip
    parser.option(
        "--disturb", metavar="TEXT", useless=RUNNING,
        help=f"short words (default: the study's: {resources.CELLS}; of a unit {resources.UNITS})",
    )  # fmt: skip
    one_design = cli.Case("--design", lambda args: args.design is not None)
    parser.option(
        "--without", action="store_true", useless=(*RUNNING, one_design),
        help="the learning cell, with one thing after the other taken out",
    )  # fmt: skip
    parser.option("--cocotb", action="store_true", useless=CHANGED, help="cells under cocotb 2")
    parser.option(
        "--netlist", choices=list(netlist.STAGES), metavar="STAGE", useless=(*CHANGED, COCOTB),
        help=f"cells after synthesis to {' or '.join(netlist.STAGES)}, by their ports",
    )  # fmt: skip
    parser.option(
        "--rtl", type=Path, metavar="MINE", useless=CHANGED,
        help="a directory of Verilog: a file there takes the place of ours of that name",
    )  # fmt: skip
    parser.option(
        "--waves",
        type=Path,
        metavar="FILE",
        useless=(*CHANGED, COCOTB, NETLIST),
        help="with --bench: its signals, as VCD",
    )
    parser.option("--json", action="store_true", help="print each result as a JSON object on a line")
    args: argparse.Namespace = parser.parse_args()
    if args.what == "faults":
        return broken(args.vectors, args.bench, args.json)
    if args.what == "resources":
        if args.vectors is not None:
            raise cli.UserError("resources makes its own vectors; leave DIR out")
        return count(args.disturb, args.design, args.json, args.without)
    if args.vectors is None:
        raise cli.UserError("check needs a directory of vectors; make one: python -m tools.vectors --out DIR")
    run = chosen(args.cocotb, args.netlist, args.rtl, recorded(args.waves, args.bench))
    return check(args.vectors, args.bench, args.json, run, not args.cocotb and args.netlist is None)


if __name__ == "__main__":
    cli.run(main)
