"""A page about runs and studies, finished or running: one HTML file that needs nothing else, not even a network.

Of runs: learning curves, confusion matrix, misread digits, what was learned where, how large signals get beside what
their formats hold, the line to the board, and one digit's way as an animation. Of studies: accuracy over what was
varied and over cycles, what survives, and all conditions. A directory of runs (of --seeds) stands for all of them.
The result on stdout says where the page is. Examples:

  python -m host.report runs/small-world-1-1
  python -m host.report runs/full --out full.html --figures figures    each figure as SVG and as PNG, too
  python -m host.report runs/study-bits --json                         what survives, as JSON, and no page

Drawing needs matplotlib: pip install matplotlib, or the extra [report]. --json alone needs none.
"""

from pathlib import Path
from typing import Any

from host.base import cli
from host.pictures import survival
from host.pictures.page import write_report
from host.pictures.sources import Source, Study, find
from host.runs import output

OUT = Path("report.html")


def of_study(study: Study) -> dict[str, Any]:
    """A study as the result has it."""
    states = {status: study.runs(status) for status in ("complete", "failed", "waiting")}
    return {
        "study": study.name,
        "directory": str(study.path),
        "images": study.about["images"],
        "epochs": study.about["epochs"],
        "test_images": study.about["test_images"],
        "seeds": study.about["seeds"],
        "limit": survival.LIMIT,
        **states,
        "survives": survival.as_json(study.results),
    }


def of_run(run: Source) -> dict[str, Any]:
    """A run as the result has it: its configuration, and where it is."""
    latest = run.epochs[-1] if run.epochs else {}
    return {
        "directory": str(run.path),
        "config": run.config.as_dict(),
        "complete": run.complete,
        "step": run.saved.step if run.saved else 0,
        "epochs": run.epochs,
        "test_accuracy": latest.get("test_accuracy"),
        "link": run.link or None,
    }


def main() -> None:
    parser = cli.Parser("python -m host.report", __doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="RUN_OR_STUDY", help="directory of a run or a study")
    parser.option("--out", OUT, type=Path, help=f"the page (default: {OUT}; with --json none)")
    parser.option("--data", help="where the runs' data are, if not where they were")
    parser.option("--figures", type=Path, help="write each figure into this directory, as SVG and as PNG")
    parser.option("--json", action="store_true", help="print runs and studies as one JSON object, what survives in it")
    args = parser.parse_args()
    found = find(args.paths)
    result: dict[str, Any] = {}
    if not args.json or args.given & {"out", "figures"}:
        write_report(args.paths, args.out, args.data, args.figures)
        result = {"page": str(args.out), "bytes": args.out.stat().st_size}
        result |= {"figures": str(args.figures)} if args.figures else {}
    if args.json:
        result["trained"] = [of_run(run) for run in found.runs]
        result["studies"] = [of_study(study) for study in found.studies]
    output.show("Page made by host.report", result, args.json)


if __name__ == "__main__":
    cli.run(main)
