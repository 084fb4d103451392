"""The pieces of a cell in Verilog, one by one, against fxpmath's values: they agree, and what does not is named."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.rtl import bench
from tools.vectors.all_operations import OPERATIONS

pytestmark = pytest.mark.skipif(not shutil.which("iverilog"), reason="no iverilog: apt-get install iverilog")

# Beside those of the exact rule, of which there is no circuit, and of unit.v, whose bench holds it: an expression in
# network.v, whose bench holds it, and the readout of a diagonal network, of which there is no circuit
ELSEWHERE = {"feed", "scalar_product"}
FAULTS = {  # by what stands in one of the files: what is there instead, and the operation that shows it first
    "MODE == 2 && x[IN-1] && |x": ("MODE == 2 && |x", "word"),
    "unrounded[30:0] + HALF;": ("unrounded[30:0];", "word"),
    "shorter[17:1] + shorter[0]": ("shorter[17:1]", "factor"),
    "|size[24:17] ? 17'h1ffff : size[16:0]": ("size[16:0]", "squash"),
    "beyond ? {sum[35], {26{!sum[35]}}} : sum[26:0]": ("sum[26:0]", "message_sum"),
    "sum[35] && room_mask[0] ? ": ("sum[35] ? ", "step"),
    "sum <= (sum + 36'sd1) >>> 1;": ("sum <= sum >>> 1;", "step"),
    "(product + 36'sd128) >>> 8": ("(product + 36'sd127) >>> 8", "squash"),
    "between = (product + 36'sd2048)": ("between = (product + 36'sd2047)", "coefficient"),
    "shorter[30:1] + shorter[0]": ("shorter[30:1]", "probability"),
    "delta[label*30+:30] <= -others;": ("delta[label*30+:30] <= others;", "softmax"),
}

FEW = [*FAULTS][1:5:3]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("operations") / "vectors"
    options = ("--graph", "lattice", "--rows", "1", "--cols", "1", "--images", "1")
    subprocess.run([sys.executable, "-m", "tools.vectors", "--out", out, *options], capture_output=True, check=True)
    return out


def test_every_operation_of_cells_and_softmax_is_fxpmaths(vectors: Path) -> None:
    said = bench.run("operations_tb", vectors, bench.read(vectors))
    assert said.startswith("PASS operations_tb: ") and " cases of 24 operations, " in said, said


def test_no_operation_is_left_out_but_those_of_other_circuits() -> None:
    rest = {operation.name for operation in OPERATIONS} - set(bench.OPERATIONS)
    assert {name for name in rest if not name.startswith(("exact_", "unit_"))} == ELSEWHERE
    assert len(bench.OPERATIONS) == 24


@pytest.mark.parametrize(
    "right", [pytest.param(right, marks=[] if right in FEW else pytest.mark.slow) for right in FAULTS]
)
def test_the_operation_that_is_wrong_is_named(vectors: Path, tmp_path: Path, right: str) -> None:
    wrong, operation = FAULTS[right]
    (file,) = (name for name in bench.BENCHES["operations_tb"].files if right in (bench.RTL / name).read_text())
    bench.changed(tmp_path, file, [(right, wrong)])
    said = bench.run("operations_tb", vectors, bench.read(vectors), tmp_path)
    assert said.startswith(f"FAIL operations_tb: operation {operation} case "), said
