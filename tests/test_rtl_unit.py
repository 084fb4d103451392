"""The diagonal unit in Verilog (tools/rtl/unit.v) against the engine, under Icarus Verilog."""

import random
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tools
from fixedpoint.diagonal import Diagonal
from host.data import dataset
from host.engine.disturbed import disturb
from host.runs.config import configure
from host.runs.disturbance import ROUNDINGS, parse
from tools.vectors import writing
from tools.vectors.engine import observed
from tools.vectors.lookup import tables_level
from tools.vectors.trial import Trial
from tools.vectors.unit import WATCHED, unit_level

pytestmark = pytest.mark.skipif(not shutil.which("iverilog"), reason="no iverilog: apt-get install iverilog")

RTL = Path(tools.__file__).parent / "rtl"
SHORT = {"y": 8, "self": 13, "message": 12, "weight": 7, "master": 10, "update": 14}  # fraction bits
IMAGES, UNITS, STEPS, INPUTS, CLASSES = 8, 8, 11, 5, 3  # of the wild network
ALIKE = f"PASS unit_tb: {IMAGES * UNITS * STEPS} unit-steps, {IMAGES * UNITS} updates, 23 clocks per unit-step\n"
FAULTS = {  # in the Verilog, and how the bench's answer begins
    "p = x - e_value": ("p = x + e_value", "e image 0 unit 0 step 1 input "),
    "SUM, LAST: begin": ("SUM: begin", "w_sum image 0 unit 0 input "),
    "fresh <= 0;": ("", "e image 0 unit 0 step 1 input "),
    "262143 : s_wide": ("262142 : s_wide", "s image "),
    "change <= s_next - s;": ("change <= s_next;", "eta image 0 unit 0 step 1:"),
    "(product + 128) >>> 8": ("product >>> 8", "y image "),
    "15'd16384 - d_loss": ("15'd16383 - d_loss", "d image 0 unit 0 step 0:"),
    "sum_v <= sum_v + y;": ("sum_v <= sum_v + y_size;", "sum_v image 0 unit 0 step "),
    "dividend >= c": ("dividend > c", "ratio image "),
    "carry <= factor[0];": ("carry <= 0;", "w_after image "),
    "master_round < lowest ? lowest : ": ("", "l_after image "),
    "state <= group == B ? TABLE : GROUP;": ("state <= group == B ? IDLE : GROUP;", "c image "),
    "LAST: if (last) state <= IDLE;": ("LAST: ;", "done image 0 unit 0:"),
}


def simulated(bench: str, vectors: Path, parameters: dict[str, int], sources: Iterable[Path]) -> str:
    """What the bench prints in the directory of these vectors."""
    program = vectors.parent / f"{bench}.vvp"
    given = [f"-P{bench}.{name}={value}" for name, value in parameters.items()]
    done = subprocess.run(["iverilog", "-g2005", "-Wall", *given, "-o", program, RTL / f"{bench}.v", *sources],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return subprocess.run(["vvp", "-n", program], cwd=vectors, capture_output=True, text=True, check=True).stdout


def written(trial: Any, out: Path) -> Path:
    """The vectors of this trial: tables and unit."""
    writing.write(out, writing.made([*tables_level(trial), *unit_level(trial)]), {"command": writing.COMMAND})
    return out


def replayed(trial: Any, vectors: Path, unit: Path = RTL / "unit.v") -> str:
    """What the unit's bench says of them."""
    network = trial.network()
    parameters = {
        "IMAGES": len(trial.images), "UNITS": network.units, "STEPS": network.steps, "INPUTS": network.rows,
        "WATCHED": min(WATCHED, len(trial.images)), "GAIN": network.gain,
    }  # fmt: skip
    for clause in parse(trial.config.disturb):
        parameters |= {f"{clause.signal.upper()}_BITS": clause.bits, "ROUNDING": ROUNDINGS.index(clause.rounding)}
    return simulated("unit_tb", vectors, parameters, (unit, RTL / "round.v", RTL / "rom.v"))


def wild(rounding: str = "") -> Any:
    """A trial with parameters all over their ranges, noise as images, rates of every order; with short words."""
    disturbance = "; ".join(f"{signal} bits={bits} rounding={rounding}" for signal, bits in SHORT.items() if rounding)
    rng, noise = random.Random(3), np.random.default_rng(3)
    images = noise.integers(0, 256, (IMAGES, STEPS, INPUTS), np.uint8)
    images[noise.random(images.shape) < 0.3] = 0
    rates = [tuple((rng.randrange(16384, 32768), rng.choice((14, 14, 18, 22, 30, 40))) for _ in range(4))
             for _ in images]  # fmt: skip
    blank = Diagonal(INPUTS, CLASSES, STEPS, gain=2, units=UNITS)
    start = [parameter(rng, blank.group(i)) for i in range(len(blank.w))]

    def network() -> Any:
        made = Diagonal(INPUTS, CLASSES, STEPS, gain=2, units=UNITS)
        made.load(start, 0)
        return disturb(made, disturbance, 1)

    labels = np.arange(IMAGES) % CLASSES
    config = SimpleNamespace(disturb=disturbance, rates=rates.__getitem__)
    seen = observed(network(), images, labels, config.rates)
    return SimpleNamespace(config=config, network=network, images=images, labels=labels, step=0, seen=seen)


def parameter(rng: random.Random, group: int) -> int:
    """A master of this group (l, W, V, b): at the ends of its range, half way between two operands, or anywhere."""
    if group == 0:
        return rng.randrange(-128, 384) << 20  # at an entry of the tables, or half way between two
    size = rng.choice((1 << 29, 1 << 26, 1 << 20)) >> (4 if group == 2 else 0)
    value, half = rng.randrange(-size, size), 1 << 13 if group == 1 else 1 << 11
    return rng.choice((value, size - 1, 1 - size, value // (2 * half) * 2 * half + half))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The wild trial with all bits, and its vectors."""
    trial = wild()
    return trial, written(trial, tmp_path_factory.mktemp("wild") / "vectors")


def test_the_unit_is_the_engine_on_digits(tmp_path: Path) -> None:
    data = dataset.load(None)
    config = configure(data, "diagonal", 1, 1, graph="diagonal")
    trial = Trial(config, data.train_images[:4], data.train_labels[:4])
    said = replayed(trial, written(trial, tmp_path / "vectors"))
    assert said == "PASS unit_tb: 3136 unit-steps, 112 updates, 92 clocks per unit-step\n"


def test_the_unit_is_the_engine_wherever_its_parameters_are(noise: tuple[Any, Path]) -> None:
    assert replayed(*noise) == ALIKE


@pytest.mark.parametrize("rounding", [how for how in ROUNDINGS if how != "stochastic"])
def test_with_short_words_the_unit_is_the_engine_with_these(tmp_path: Path, rounding: str) -> None:
    trial = wild(rounding)
    assert replayed(trial, written(trial, tmp_path / "vectors")) == ALIKE


@pytest.mark.parametrize("right", FAULTS)
def test_a_fault_is_found_and_named(noise: tuple[Any, Path], tmp_path: Path, right: str) -> None:
    wrong, begin = FAULTS[right]
    text = (RTL / "unit.v").read_text()
    assert text.count(right) == 1
    unit = tmp_path / "unit.v"
    unit.write_text(text.replace(right, wrong))
    said = replayed(*noise, unit)
    assert said.startswith(f"FAIL unit_tb: signal {begin}"), said
    assert said.count("\n") == 1, said
