"""The tests of cosim.py under Icarus Verilog: compiles the circuit alone, runs the test of it, reads what it says."""

import contextlib
import re
from pathlib import Path
from typing import Any

from host.base.cli import UserError
from host.base.heartbeat import heartbeat
from host.base.scratch import Scratch
from tools.rtl import bench


def run(name: str, vectors: Path, manifest: bench.Manifest, rtl: Path = bench.RTL) -> str:
    """As bench.run, of the test with the name of the bench less its _tb. Raises UserError, too, without cocotb."""
    bench.tool("iverilog", "iverilog")  # or the runner ends this program
    circuit, vectors = name.removesuffix("_tb"), vectors.absolute()
    given = {key: value for key, value in bench.parameters(name, manifest).items() if key not in bench.SIZES}
    with Scratch("cocotb") as directory, heartbeat(lambda: f"simulating {circuit} under cocotb"):
        log = directory / "log"
        runner = _runner()
        try:
            runner.build(sources=[bench.source(file, rtl) for file in bench.BENCHES[name].files], hdl_toplevel=circuit,
                         parameters=given, build_args=["-g2005"], timescale=("1ns", "1ns"), build_dir=directory,
                         log_file=log)  # fmt: skip
            with contextlib.suppress(SystemExit):  # how the runner says, under pytest, that a test has failed
                runner.test("tools.rtl.cosim", circuit, testcase=circuit, test_dir=vectors, log_file=log,
                            results_xml=str(directory / "results.xml"))  # fmt: skip
        except (RuntimeError, ValueError) as error:
            raise UserError(f"cocotb does not run {circuit} ({error}):\n{_end(log)}") from error
        found = re.search(rf"(PASS|FAIL) {circuit}: .*$", log.read_text(), re.MULTILINE)
        if not found:
            raise UserError(f"{circuit} came to no end under cocotb:\n{_end(log)}")
    return found[0]


def _runner() -> Any:
    try:
        from cocotb_tools.runner import get_runner
    except ImportError as error:
        raise UserError("there is no cocotb 2 here; install it: pip install -e '.[rtl]'") from error
    return get_runner("icarus")


def _end(log: Path) -> str:
    return log.read_text().strip()[-1000:] if log.exists() else ""
