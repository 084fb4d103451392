"""Faults in the Verilog are found and named by the benches; what the command says of them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_run import refused

from tools.rtl import __main__ as command
from tools.rtl import bench, faults
from tools.rtl.faults import FAULTS, Fault
from tools.rtl.wild import written

ICARUS = pytest.mark.skipif(not shutil.which("iverilog"), reason="no iverilog: apt-get install iverilog")
HARMLESS = replace(FAULTS[0], about="a remark is gone", old="// forget the last sweep", new="")
Made = Callable[[str], tuple[Path, Any]]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """vectors(trial): its directory and manifest, made once."""
    made: dict[str, tuple[Path, Any]] = {}

    def make(trial: str) -> tuple[Path, Any]:
        if trial not in made:
            out = tmp_path_factory.mktemp("faults") / "vectors"
            made[trial] = out, written(faults.TRIALS[trial](), out)
        return made[trial]

    return make


FEW = FAULTS[::3]  # of every file some; all of them take half a minute
EACH = [pytest.param(fault, id=f"{fault.file}: {fault.about}", marks=[] if fault in FEW else pytest.mark.slow)
        for fault in FAULTS]  # fmt: skip


@ICARUS
@pytest.mark.parametrize("fault", EACH)
def test_a_fault_is_found_and_named(fault: Fault, vectors: Made) -> None:
    said = faults.tried(fault, *vectors(fault.trial))
    assert said.startswith(f"FAIL {fault.bench}: signal {fault.first}")


@ICARUS
@pytest.mark.parametrize("trial", faults.TRIALS)
def test_without_a_fault_the_benches_pass(trial: str, vectors: Made) -> None:
    out, manifest = vectors(trial)
    for name in {fault.bench for fault in FAULTS if fault.trial == trial}:
        assert bench.run(name, out, manifest).startswith(f"PASS {name}: ")


@pytest.mark.parametrize("file", sorted({fault.file for fault in FAULTS}))
def test_every_fault_fits_its_file_once(file: str) -> None:
    text = (bench.RTL / file).read_text()
    assert [fault.about for fault in FAULTS if fault.file == file and text.count(fault.old) != 1] == []


def test_a_fault_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    fault = Fault("nothing", "round.v", "no such text", "", "forward_cell_tb", "y")
    refused(
        lambda: faults.tried(fault, tmp_path, {}), "'no such text' is not there once in round.v", "say what is there"
    )


@ICARUS
def test_the_command_names_each_and_fails_if_one_is_not_found(
    answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "FAULTS", FAULTS[:1])
    code, out, _ = answer(command.main, "faults")
    assert code == 0
    assert out.splitlines()[0] == "forward_cell.v: el starts without half an LSB: named"
    assert out.splitlines()[-1] == "1 faults, 1 of them found and named"
    monkeypatch.setattr(faults, "FAULTS", (HARMLESS, replace(FAULTS[0], first="y image "), FAULTS[-1]))
    code, out, _ = answer(command.main, "faults", "--bench", "forward_cell_tb", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [(line["found"], line["named"]) for line in lines] == [(False, False), (True, False)]
    assert lines[0]["fault"] == "a remark is gone" and lines[0]["said"].startswith("PASS forward_cell_tb: ")


@ICARUS
def test_on_vectors_of_ones_own_any_signal_may_differ_first(
    answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, vectors: Made
) -> None:
    monkeypatch.setattr(faults, "FAULTS", (replace(FAULTS[0], first="y image 9 "), FAULTS[-1]))
    code, out, _ = answer(command.main, "faults", str(vectors("loud")[0]))
    assert (code, out.splitlines()[-1]) == (0, "1 faults, 1 of them found and named")


@ICARUS
def test_a_bench_that_vectors_are_not_for_is_refused(vectors: Made) -> None:
    refused(lambda: [*faults.results(vectors("units")[0], "network_tb")], "these vectors are for unit_tb", "--bench")
