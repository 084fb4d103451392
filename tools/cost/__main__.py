"""What a training image costs: instructions of every pass, cycles and milliseconds on an RP2040, bytes.

  python -m tools.cost                          the lattice with SnAP-1, in full
  python -m tools.cost --graph G --rule R       another network
  python -m tools.cost --all                    all of them, one table

Two things are counted: the training step alone, pass by pass, and the whole image as the firmware sees it, from its
first byte on stdin to its RESULT on stdout, through firmware.main, device, wire and codec. The difference is the link.

Nothing here is a stopwatch. Instructions are counted, the same number every time, whatever else the machine does:
  ARM     the RP2040's own code (armv6m viper), run by Debian's armhf MicroPython under qemu-arm with a plugin that
          counts (tools/cost/count_plugin.c)
  C       the exported C (tools.export_c), compiled by arm-none-eabi-gcc -O2 for the same chip, counted in the same way:
          what a compiler that has time makes of the same text
  x86-64  native code in PyPI's MicroPython, under valgrind --tool=callgrind
The script under test writes a mark before and after each pass (the firmware: a frame), and the counters are read at
each: what a program does at its start differs from run to run, what it does between two marks does not.

Cycles are an estimate: each instruction as in the Cortex-M0+ manual (loads and stores 2, several registers 1 + their
number, taken branches 2, calls 3, all else 1) with memory that never waits. That holds for the passes, which run from
RAM. The interpreter, which calls them, is counted in Debian's build (Thumb-2); a board's is larger and runs from flash.
"""

import json

from fixedpoint.build import GRAPHS, RULES
from host.base import cli
from tools.cost.every import every, rows
from tools.cost.job import IMAGES, IMAGES_DIAGONAL
from tools.cost.measure import measure
from tools.cost.report import report

ALL = (cli.Case("--all", lambda args: args.all),)


def main() -> int:
    parser = cli.Parser("python -m tools.cost", __doc__)
    parser.epilog = (
        "Downloads what `python -m host.micropythons` does, if it is not there. Needs gcc, gcc-arm-none-eabi for\n"
        "the exported C, and valgrind for x86-64; a part that cannot be counted says why."
    )
    parser.option(
        "--graph", default="lattice", choices=GRAPHS, useless=ALL, help="as in host.simulate (default: lattice)"
    )
    parser.option("--rule", default="snap1", choices=RULES, useless=ALL, help="SnAP-1 (default), or the exact gradient")
    parser.option("--units", type=int, useless=ALL, help="of a diagonal network (default: 28)")
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help=f"training images to average (default: {IMAGES}; of a diagonal network, which passes over inputs that have"
        f" said nothing yet, {IMAGES_DIAGONAL})",
    )
    parser.add_argument("--all", action="store_true", help="every graph and rule: one table")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    args = parser.parse_args()
    if args.all:
        networks = every(args.images)
        print(json.dumps({"networks": networks}) if args.json else "\n".join(rows(networks)))
        return 0
    result = measure(args.images, {"graph": args.graph, "rule": args.rule, "units": args.units})
    print(json.dumps(result) if args.json else "\n".join(report(result)))
    return 0


if __name__ == "__main__":
    cli.run(main)
