"""The tests of tools/rtl/cosim.py under cocotb: cells that hold what the vectors hold, and faults that they name."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from host.base.cli import UserError
from tools.rtl import __main__ as rtl
from tools.rtl import bench, under_cocotb
from tools.rtl.faults import BITS
from tools.rtl.wild import wild, written

needed = pytest.mark.skipif(
    not (shutil.which("iverilog") and importlib.util.find_spec("cocotb_tools")),
    reason="needs Icarus (apt-get install iverilog) and cocotb 2 (pip install -e '.[rtl]')",
)
SHORT = "; ".join(f"{signal} bits={bits}" for signal, bits in BITS.items())
FAULTS = {  # in forward_cell.v or learning_cell.v, and the signal that shows it first
    "assign change = phase[0] ? top - et_read": ("assign change = phase[0] ? top + et_read", "et"),
    "y <= short_y;": ("y <= short_y + 16'sd1;", "y"),
    "wt <= short_w;": ("", "wt_operand"),  # never written: no number
    "q = f - cross_read": ("q = f + cross_read", "cross_right_l"),
    "exponent <= shared;": ("exponent <= lost_right;", "exponent"),
    "sum <= (sum + 36'sd1) >>> 1;": ("sum <= sum >>> 1;", "b_after"),
}

FEW = [*FAULTS][2:5:2]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cosim") / "vectors"
    written(wild(3, rows=2, cols=2, steps=5, images=2), out)
    return out


def broken(rtl: Path, right: str, wrong: str) -> Path:
    """The Verilog with this in one place instead of that."""
    (file,) = (f"{name}.v" for name in bench.LEARNING if right in (bench.RTL / f"{name}.v").read_text())
    return bench.changed(rtl, file, [(right, wrong)])


@needed
def test_cells_hold_what_the_vectors_hold_and_leave_them_alone(answer: Callable[..., Any], vectors: Path) -> None:
    before = sorted(vectors.rglob("*"))
    code, out, _ = answer(rtl.main, "check", vectors, "--cocotb")
    under = f"under cocotb {version('cocotb')}"
    assert out.splitlines() == [f"PASS forward_cell: 40 cell-steps, {under}",
                                f"PASS learning_cell: 40 cell-steps, 8 updates, {under}"]  # fmt: skip
    assert code == 0
    assert sorted(vectors.rglob("*")) == before


@needed
def test_with_short_words_they_hold_what_the_vectors_hold_with_these(tmp_path: Path) -> None:
    manifest = written(wild(3, rows=2, cols=2, steps=5, images=2, disturb=SHORT), tmp_path)
    said = under_cocotb.run("learning_cell_tb", tmp_path, manifest)
    assert said.startswith("PASS learning_cell: 40 cell-steps, 8 updates, "), said


@needed
@pytest.mark.parametrize(
    "right", [pytest.param(right, marks=[] if right in FEW else pytest.mark.slow) for right in FAULTS]
)
def test_a_fault_is_named_as_the_plain_bench_names_it(vectors: Path, tmp_path: Path, right: str) -> None:
    wrong, signal = FAULTS[right]
    cells, manifest = broken(tmp_path / "rtl", right, wrong), bench.read(vectors)
    said = under_cocotb.run("learning_cell_tb", vectors, manifest, cells)
    assert said.startswith(f"FAIL learning_cell: signal {signal} image "), said
    assert said.replace("cell:", "cell_tb:", 1) == bench.run("learning_cell_tb", vectors, manifest, cells)


@needed
def test_a_cell_that_never_ends_is_named(vectors: Path, tmp_path: Path) -> None:
    cells = broken(tmp_path / "rtl", "running <= !done;", "running <= 1'b1;")
    said = under_cocotb.run("learning_cell_tb", vectors, bench.read(vectors), cells)
    assert said == "FAIL learning_cell: signal busy image 0 cell 0 step -1: got 1, expected 0"


@needed
def test_verilog_that_does_not_compile_is_an_error_that_quotes_icarus(vectors: Path, tmp_path: Path) -> None:
    cells = broken(tmp_path / "rtl", "y <= short_y;", "y <= none_such;")
    with pytest.raises(UserError, match=r"(?s)cocotb does not run forward_cell .*none_such"):
        under_cocotb.run("forward_cell_tb", vectors, bench.read(vectors), cells)


def test_without_cocotb_or_icarus_it_says_how_to_get_them(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setitem(sys.modules, "cocotb_tools.runner", None)
    with pytest.raises(UserError, match=r"pip install -e '.\[rtl\]'"):
        under_cocotb.run("forward_cell_tb", vectors, bench.read(vectors))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="apt-get install iverilog"):
        under_cocotb.run("forward_cell_tb", vectors, bench.read(vectors))


def test_units_have_no_such_test_and_the_command_says_so(answer: Callable[..., Any], tmp_path: Path) -> None:
    written(wild(3, "diagonal", rows=2, cols=2, steps=3, images=1, units=2), tmp_path / "units")
    code, _, err = answer(rtl.main, "check", "units", "--cocotb")
    assert (code, "only cells have that" in err) == (2, True), err
