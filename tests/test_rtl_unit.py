"""The diagonal unit in Verilog (tools/rtl/unit.v) against the engine, under Icarus Verilog."""

import shutil
from pathlib import Path

import pytest

from host.data import dataset
from host.runs.config import configure
from host.runs.disturbance import ROUNDINGS
from tools.rtl import bench
from tools.rtl.wild import wild, written
from tools.vectors.trial import Trial

pytestmark = pytest.mark.skipif(not shutil.which("iverilog"), reason="no iverilog: apt-get install iverilog")

SHORT = {"y": 8, "self": 13, "message": 12, "weight": 7, "master": 10, "update": 14}  # fraction bits
DISTURBANCES = [""] + [
    "; ".join(f"{signal} bits={bits} rounding={how}" for signal, bits in SHORT.items())
    for how in ROUNDINGS
    if how != "stochastic"
]


def said(trial: Trial, out: Path) -> str:
    return bench.run("unit_tb", out, written(trial, out))


@pytest.mark.parametrize("images", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_the_unit_is_the_engine_on_digits(images: int, tmp_path: Path) -> None:
    data = dataset.load(None)
    config = configure(data, "diagonal", 1, 1, graph="diagonal")
    trial = Trial(config, data.train_images[:images], data.train_labels[:images])
    alike = f"PASS unit_tb: {images * 784} unit-steps, {images * 28} updates, 92 clocks per unit-step"
    assert said(trial, tmp_path / "vectors") == alike


@pytest.mark.parametrize("disturb", DISTURBANCES, ids=["all bits", "floor", "nearest", "zero"])
def test_the_unit_is_the_engine_wherever_its_parameters_are(tmp_path: Path, disturb: str) -> None:
    trial = wild(3, "diagonal", rows=5, cols=3, units=8, gain=2, disturb=disturb)
    alike = "PASS unit_tb: 704 unit-steps, 64 updates, 23 clocks per unit-step"
    assert said(trial, tmp_path / "vectors") == alike
