"""Cells and networks in Verilog (tools/rtl) against the engine, under Icarus Verilog, on digits and far beyond."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import refused

from fixedpoint.network import L_HIGHEST, L_LOWEST, W_HIGHEST
from host.data import dataset
from host.runs.config import configure, prepare
from tools.rtl import __main__ as command
from tools.rtl import bench
from tools.rtl.faults import BITS
from tools.rtl.wild import loud, wild, written
from tools.vectors.trial import Trial, first_classes
from tools.vectors.wired import wiring_vh

ICARUS = pytest.mark.skipif(not shutil.which("iverilog"), reason="no iverilog: apt-get install iverilog")
BENCHES = ["forward_cell_tb", "learning_cell_tb", "network_tb"]
FEWEST = dict.fromkeys(BITS, 0) | {"master": 5, "weight": 2}
NARROW = ((-9001, 12345), (-20080, 30060), (-3, 77))  # bounds that are no multiples of the fewest bits


def short(bits: dict[str, int], rounding: str) -> str:
    return "; ".join(f"{signal} bits={n} rounding={rounding}" for signal, n in bits.items())


LONG = "longest image"
TRIALS: dict[str, Callable[[], Trial]] = {
    "lattice": lambda: wild(1, rows=3, cols=3, steps=5, images=3, gain=2, cool=1),
    "forest": lambda: wild(2, "forest", rows=5, cols=2, steps=2, images=3, gain=3),
    "skip": lambda: wild(3, "skip", rows=6, cols=2, steps=3, images=2, gain=1, cool=2, scale=257),
    "small world": lambda: wild(4, "small-world", rows=4, cols=3, steps=2, images=2, share=4096, wiring_seed=7, gain=4),
    "one cell, one step": lambda: wild(5, rows=1, cols=1, steps=1, images=12, gain=4, cool=4),
    LONG: lambda: wild(6, rows=1, cols=1, steps=1023, images=1, gain=2),
    "many classes": lambda: wild(7, rows=1, cols=20, steps=1, images=1, cool=3),
    "loud": lambda: wild(4, rows=1, cols=12, steps=2, images=2, dark=1.0, start=loud),
    "floor": lambda: wild(8, rows=3, cols=2, steps=5, images=2, gain=2, disturb=short(BITS, "floor")),
    "nearest": lambda: wild(9, "forest", rows=4, steps=5, images=2, gain=1, disturb=short(BITS, "nearest")),
    "zero": lambda: wild(10, rows=3, cols=2, steps=5, images=2, gain=3, cool=1, disturb=short(BITS, "zero")),
    "fewest bits": lambda: wild(15, images=3, steps=3, disturb=short(FEWEST, "nearest"), bounds=NARROW),
    "bias of 8.0": lambda: wild(15, rows=1, cols=12, steps=1, images=1, disturb="weight bits=0"),
}


def said(trial: Trial, out: Path, which: list[str] = BENCHES) -> list[str]:
    manifest = written(trial, out)
    assert bench.benches(manifest) == BENCHES
    return [bench.run(name, out, manifest) for name in which]


def digits(rows: int, cols: int, images: int) -> Trial:
    """The critical preset's lattice at its start, and the first so many digits."""
    data = first_classes(dataset.load(None), cols)
    config = configure(data, "critical", 1, 1, rows, cols, graph="lattice")
    ready = prepare(data, config)
    return Trial(config, ready.train_images[:images], ready.train_labels[:images])


@ICARUS
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == LONG)) for name in TRIALS])
def test_the_verilog_is_the_engine_wherever_its_parameters_are(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = TRIALS[name]()
    images, cells, steps = trial.seen["y"].shape
    forward, learning, network = said(trial, tmp_path / "vectors")
    count = f"{images * cells * steps} cell-steps"
    assert forward == f"PASS forward_cell_tb: {count}, 8 clocks for each"
    assert learning.startswith(f"PASS learning_cell_tb: {count}, {images * cells} updates, ")
    digest = f"{int(trial.seen['digest'][-1]):08x}"
    assert network.startswith(f"PASS network_tb: {images} images, {cells} cells, digest {digest}, ")
    assert "warning" not in capsys.readouterr().err


def test_the_trials_reach_what_they_are_for() -> None:
    """Both ends of parameters, saturated messages, all units of traces, rates to the left, equal classes, 8.0."""
    made = {name: make() for name, make in TRIALS.items()}
    seen: dict[str, Any] = {name: trial.seen for name, trial in made.items()}
    after = np.concatenate(
        [seen[name]["l_after"].ravel() for name in ("lattice", "skip", "loud", "one cell, one step")]
    )
    assert after.min() == L_LOWEST and after.max() == L_HIGHEST
    for group in ("wl", "wt"):
        masters = np.concatenate([trial.chip[group].ravel() for trial in made.values()])
        assert masters.min() == -W_HIGHEST and masters.max() == W_HIGHEST
    assert {fine for trial in made.values() for fine in trial.chip["fine"].ravel().tolist()} == {*range(5)}
    assert np.abs(seen["loud"]["message"]).max() > (1 << 28) - (1 << 14)
    assert seen["loud"]["exponent"].max() > 14 - 9  # so that the shift of 14 of a rate is one to the left
    logits = seen["loud"]["logit"][0]
    assert (logits == logits[0]).all() and (seen["loud"]["prediction"][0], len(logits)) == (0, 12)
    assert {*made["bias of 8.0"].chip["b_operand"].ravel().tolist()} & {8 << 14}
    low, high = (side << 14 for side in NARROW[1])
    assert {low, high} <= {*made["fewest bits"].chip["wl_after"].ravel().tolist()}


@ICARUS
def test_a_cell_forward_is_the_engine_for_thirty_thousand_steps(tmp_path: Path) -> None:
    found = said(digits(28, 10, 4), tmp_path / "vectors", ["forward_cell_tb"])
    assert found == ["PASS forward_cell_tb: 31360 cell-steps, 8 clocks for each"]


@ICARUS
def test_all_signals_of_a_bench_can_be_recorded(tmp_path: Path, answer: Callable[..., Any]) -> None:
    written(TRIALS["one cell, one step"](), tmp_path / "vectors")
    given = ("check", tmp_path / "vectors", "--waves", tmp_path / "cell.vcd")
    assert answer(command.main, *given, "--bench", "forward_cell_tb")[0] == 0
    text = (tmp_path / "cell.vcd").read_text()
    assert text.startswith("$date") and re.search(r"\$var reg +31 \S+ el_stored", text) and "#1\n" in text
    code, _, said = answer(command.main, *given)
    assert code == 2 and "--waves is of one bench; choose it with --bench" in said
    (tmp_path / "cell.vcd").write_text("a letter")
    code, _, said = answer(command.main, *given, "--bench", "forward_cell_tb")
    assert code == 2 and "cell.vcd is there and no record of signals; give another --waves" in said
    assert (tmp_path / "cell.vcd").read_text() == "a letter"


@ICARUS
@pytest.mark.parametrize("images", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_a_network_learns_digits_as_the_engine_does(images: int, tmp_path: Path) -> None:
    """50 images: 12,600 steps of a cell, 450 updates."""
    trial = digits(3, 3, images)
    learning, network = said(trial, tmp_path / "vectors", BENCHES[1:])
    assert learning.startswith(f"PASS learning_cell_tb: {images * 9 * 28} cell-steps, {images * 9} updates, ")
    learned = trial.network()
    for number, (image, label) in enumerate(zip(trial.images, trial.labels.tolist(), strict=True)):
        learned.set_rates(trial.config.rates(number))
        learned.train(image.tobytes(), label)
    assert f" digest {learned.digest():08x}, " in network and network.startswith(f"PASS network_tb: {images} images, ")


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    written(wild(3, rows=1, cols=2, steps=3, images=1), tmp_path / "vectors")
    return tmp_path / "vectors"


def test_vectors_that_are_not_whole_are_refused_as_such(vectors: Path) -> None:
    (vectors / "cell/cell_step.csv").unlink()  # no bench reads it
    bench.read(vectors)
    path = vectors / "cell/y.mem"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    refused(lambda: bench.read(vectors), "y.mem is not what manifest.json says", "python -m tools.vectors")
    path.unlink()
    refused(lambda: bench.read(vectors), "y.mem is missing")
    manifest = vectors / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"shape"', '"form"'))
    refused(lambda: bench.read(vectors), "those of another version")


@ICARUS
def test_verilog_of_ones_own_takes_the_place_of_ours(answer: Callable[..., Any], vectors: Path, tmp_path: Path) -> None:
    text = (bench.RTL / "forward_cell.v").read_text()
    (tmp_path / "forward_cell.v").write_text(text.replace("y <= short_y;", "y <= short_y ^ extra;"))
    code, out, err = answer(command.main, "check", vectors, "--bench", "forward_cell_tb", "--rtl", tmp_path)
    assert (code, out[:56]) == (2, "") and "forward_cell.v" in err and "extra" in err
    own = text.replace("    reg [15:0] low;", "    reg [15:0] low;\n    assign extra = clk;")  # Icarus warns
    (tmp_path / "forward_cell.v").write_text(own.replace("y <= short_y;", "y <= -short_y;"))
    code, out, err = answer(command.main, "check", vectors, "--bench", "forward_cell_tb", "--rtl", tmp_path)
    assert (code, out[:43], "extra" in err) == (1, "FAIL forward_cell_tb: signal y image 0 cell", True), err
    code, _, err = answer(command.main, "check", vectors, "--rtl", vectors)
    assert (code, "has none of block_factor.v, forward_cell.v, " in err) == (2, True), err


def test_every_number_of_a_long_networks_wiring_has_room() -> None:
    trial = wild(8, "small-world", rows=64, cols=10, steps=1, images=1, share=4096, wiring_seed=1)
    text = wiring_vh(trial.network())
    assert "DEEPEST = 407, HIGHEST = 407, WAVE = 9;" in text
    assert all(int(value) < 1 << int(width) for width, value in re.findall(r"(\d+)'d(\d+)", text))
