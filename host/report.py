"""A page about runs and studies, finished or running: one HTML file that needs nothing else, not even a network.

Of runs: learning curves, confusion matrix, misread digits, what was learned where, how large signals get beside what
their formats hold, the line to the board, and one digit's way as an animation. Of studies: accuracy over what was
varied, a table of all conditions, and what survives. A directory of runs (of --seeds) stands for all of them. Examples:

  python -m host.report runs/small-world-1-1
  python -m host.report runs/full --out full.html --figures figures    each figure as SVG and PNG, too
  python -m host.report studies/bits --json                            only what survives, as JSON

Drawing needs matplotlib: pip install -e '.[report]'. Without it --json works all the same.
"""

from pathlib import Path

from host.base import cli
from host.pictures.page import write_report

OUT = Path("report.html")


def main() -> None:
    parser = cli.Parser("python -m host.report", __doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="RUN_OR_STUDY", help="directory of a run or a study")
    parser.option("--out", OUT, type=Path, help=f"the page (default: {OUT})")
    parser.option("--data", help="where the runs' data are, if not where they were")
    parser.option("--figures", type=Path, help="write each figure into this directory, as SVG and as PNG")
    parser.option("--json", action="store_true", help="print what is on the page as one JSON object")
    args = parser.parse_args()
    write_report(args.paths, args.out, args.data, args.figures)
    print(args.out)


if __name__ == "__main__":
    cli.run(main)
