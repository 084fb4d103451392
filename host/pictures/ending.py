"""The page about runs as they end: made if there is what draws it, and never at their cost."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from host.base.cli import shown
from host.pictures.page import available, write_report
from host.runs import output

REPORT = "report.html"


def conclude(paths: Sequence[Path], place: Path, data: str | None, again: bool = True) -> None:
    """Write the page about complete runs into a directory; what goes wrong is a line, for the runs are saved.

    data: where their data are, if not where they were. again: although there is one.
    """
    out = place / REPORT
    if not available() or (out.exists() and not again):
        return
    try:
        write_report(paths, out, data)
    except Exception as error:  # whatever it is, of another's library even: the run has come to its end
        reason = " ".join(str(error).split()) or type(error).__name__
        command = shlex.join(["python", "-m", "host.report", *map(str, paths), "--out", str(out)])
        output.say(f"no {out}: {shown(reason, 300)}; the run is saved, and this tries again: {command}")
    else:
        output.say(f"report: {out}")
