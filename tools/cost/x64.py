"""x86-64 native code, run by MicroPython under valgrind: instructions of the passes."""

import os
import re
import shutil
from itertools import accumulate

from host.base.cli import UserError
from host.board import micropythons
from tools.c.build import execute
from tools.cost.job import ROOT, Counts, Job


def count_x64(job: Job) -> tuple[list[str], Counts]:
    """Marks and, at each, the instructions so far as (0, 0, instructions, 0): all code alike."""
    if not (valgrind := shutil.which("valgrind")):
        raise UserError("no valgrind; install Debian's package of that name")
    if micropythons.emit("x64") != "native":
        raise UserError("only an x86-64 machine runs x86-64 code")
    out = job.directory / "callgrind"
    micropythons.compile_tree("x64", [ROOT / "fixedpoint"], job.directory / "x64")
    options = ["--tool=callgrind", f"--callgrind-out-file={out}", "--dump-before=write", "--dump-before=__write",
               "--vgdb=no"]  # whose pipes in $TMPDIR outlive an interruption  # fmt: skip
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    argv = [valgrind, *options, *micropythons.command("x64"), *job.arguments("count.py", "x64")]
    marks = execute(argv, environment).decode().split()
    # one file before each mark, and one more at the end
    deltas = []
    for number in range(1, len(marks) + 1):
        file = out.with_name(f"{out.name}.{number}")
        found = re.search(r"^totals: (\d+)", file.read_text(), re.MULTILINE) if file.exists() else None
        if not found:
            raise UserError(f"valgrind made {number - 1} of {len(marks)} counts; another version of it may do better")
        deltas.append(int(found[1]))
    return marks, [(0, 0, total, 0) for total in accumulate(deltas)]
