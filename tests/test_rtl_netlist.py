"""Synthesis keeps the bits: yosys' netlists of the cells hold what the vectors hold, as far as their ports show it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from host.base.cli import UserError
from tools.rtl import __main__ as rtl
from tools.rtl import bench, netlist, yosys
from tools.rtl.faults import BITS
from tools.rtl.wild import wild, written
from tools.vectors.trial import Trial


def _yosys() -> bool:
    try:
        return bool(yosys.program())
    except UserError:
        return False


needed = pytest.mark.skipif(
    not (shutil.which("iverilog") and _yosys()),
    reason="needs Icarus (apt-get install iverilog) and yosys (pip install -e '.[rtl]')",
)
SHORT = "; ".join(f"{signal} bits={bits}" for signal, bits in BITS.items())
WORDS = pytest.mark.parametrize("disturb", ["", SHORT], ids=["the engine's words", "short words"])
SOME = pytest.mark.parametrize("disturb", ["", pytest.param(SHORT, marks=pytest.mark.slow)], ids=["whole", "short"])
Made = Callable[[Trial], tuple[Path, bench.Manifest]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    def make(trial: Trial) -> tuple[Path, bench.Manifest]:
        return tmp_path / "vectors", written(trial, tmp_path / "vectors")

    return make


@needed
@SOME
def test_forward_in_gates(made: Made, disturb: str) -> None:
    vectors = made(wild(3, rows=2, cols=3, steps=11, images=1, disturb=disturb))
    said = netlist.run("forward_cell_tb", *vectors)
    assert said == "PASS forward_cell_tb: 66 cell-steps, 8 clocks for each"


@needed
@SOME
def test_learning_in_words(made: Made, disturb: str) -> None:
    vectors = made(wild(3, rows=2, cols=2, steps=5, images=4, disturb=disturb))
    said = netlist.run("learning_cell_tb", *vectors, "words")
    assert said.startswith("PASS learning_cell_tb: 80 cell-steps, 16 updates, "), said


@needed
@pytest.mark.slow
@WORDS
def test_learning_in_gates(made: Made, disturb: str) -> None:
    vectors = made(wild(3, rows=1, cols=2, steps=4, images=2, disturb=disturb))
    said = netlist.run("learning_cell_tb", *vectors)
    assert said.startswith("PASS learning_cell_tb: 16 cell-steps, 4 updates, "), said


@needed
@pytest.mark.parametrize(
    ("name", "file", "right", "wrong", "first"),
    [
        ("forward_cell_tb", "forward_cell.v", "q = {10'd0, argument[7:0]}", "q = {11'd0, argument[7:1]}", "y image 0"),
        ("learning_cell_tb", "learning_cell.v", "master - short_step", "master + short_step", "y image 1"),
    ],
)
def test_a_fault_is_seen_at_the_ports(
    made: Made, tmp_path: Path, name: str, file: str, right: str, wrong: str, first: str
) -> None:
    cells = bench.changed(tmp_path / "rtl", file, [(right, wrong)])
    said = netlist.run(name, *made(wild(3, rows=2, cols=2, steps=3, images=2)), "words", cells)
    assert said.startswith(f"FAIL {name}: signal {first} "), said


@needed
def test_the_command_takes_the_cells_alone(answer: Callable[..., Any], made: Made) -> None:
    vectors, _ = made(wild(3, rows=1, cols=2, steps=3, images=1))
    code, out, _ = answer(rtl.main, "check", vectors, "--netlist", "words")
    assert (code, [line[:20] for line in out.splitlines()]) == (0, ["PASS forward_cell_tb", "PASS learning_cell_t"])


@needed
def test_what_yosys_does_not_understand_is_an_error_that_quotes_it(made: Made, tmp_path: Path) -> None:
    cells = tmp_path / "rtl"
    cells.mkdir()
    (cells / "round.v").write_text("module round(input x, output y); assign y = none_such(x); endmodule\n")
    with pytest.raises(UserError, match=r"(?s)no circuit of forward_cell to words:.*none_such"):
        netlist.run("forward_cell_tb", *made(wild(3, rows=2, cols=2, steps=3, images=1)), "words", cells)
