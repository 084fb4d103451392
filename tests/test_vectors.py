"""The golden vectors' files: the same bytes every time, what the engine computes, and nobody else's overwritten."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from small_run import noise, refused

import tools.vectors
from fixedpoint import kernels
from host.engine import walk
from host.engine.learners import LaneLearner
from host.engine.passes import passes_of
from host.runs.checkpoint import Checkpoint, digest
from host.runs.config import Config, configure, prepare
from tools.vectors import __main__ as command
from tools.vectors import all_operations, writing
from tools.vectors.chip import agree
from tools.vectors.signals import Table
from tools.vectors.writing import MANIFEST

DATA = noise(train=40)
KINDS = (
    ("lattice", "snap1", ()),
    ("forest", "snap1", ()),
    ("small-world", "snap1", ("--wiring-seed", "3")),
    ("skip", "exact", ()),
    ("diagonal", "snap1", ("--units", "3")),
    ("lattice", "snap1", ("--disturb", "cross bits=14; message bits=9 rounding=floor; weight bits=8; master bits=20")),
)
Made = Callable[..., Path]  # runs the command with these options; its directory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "noise.npz"
    path.parent.mkdir()
    np.savez(path, train_x=DATA.train_images, train_y=DATA.train_labels, test_x=DATA.test_images,
             test_y=DATA.test_labels)  # fmt: skip
    return path


@pytest.fixture
def made(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """With two operations only: they are the same for every network, and have a file of tests to themselves."""
    monkeypatch.setattr(all_operations, "OPERATIONS", all_operations.OPERATIONS[:2])

    def make(*options: str, out: str = "out") -> Path:
        argv = [writing.COMMAND, "--out", str(tmp_path / out), "--data", str(data), *options]
        monkeypatch.setattr(sys, "argv", argv)
        assert command.main() == 0
        return tmp_path / out

    return make


def manifest_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / MANIFEST).read_text())
    return found


def words_of(path: Path, width: int, sign: int) -> list[int]:
    """A .mem file as a circuit reads it."""
    first, *lines = path.read_text().splitlines()
    assert first.startswith("// ") and {len(line) for line in lines} == {-(-width // 4)}
    values = [int(line, 16) for line in lines]
    assert max(values) < 1 << width
    return [value - (1 << width) if sign and value >> (width - 1) else value for value in values]


def trained(config: Config, images: int) -> str:
    """The digest that the compiled engine, disturbed or not, ends with."""
    learner = LaneLearner.of(config)
    ready = prepare(DATA, config)
    which = config.order(0)[:images]
    learner.set_rates(config, 0)
    learner.train(ready.train_images[which], ready.train_labels[which])
    return learner.digest()


@pytest.mark.parametrize(("graph", "rule", "more"), KINDS)
def test_every_signal_is_the_same_in_all_files_and_the_network_ends_as_the_engines(
    graph: str, rule: str, more: tuple[str, ...], made: Made
) -> None:
    out = made("--graph", graph, "--rule", rule, "--images", "5", *more)
    manifest = manifest_of(out)
    sheets: dict[str, list[dict[str, str]]] = {}
    for signal in manifest["signals"]:
        path, size = out / signal["file"], signal["sign"] + signal["integer_bits"] + signal["fraction_bits"]
        assert signal["width"] == size and hashlib.sha256(path.read_bytes()).hexdigest() == signal["sha256"]
        values = words_of(path, size, signal["sign"])
        if signal["csv"] not in sheets:
            sheets[signal["csv"]] = list(csv.DictReader((out / signal["csv"]).open()))
        rows = sheets[signal["csv"]]
        assert [int(row[signal["name"]]) for row in rows] == values
        places = [tuple(int(row[part]) for part in signal["index"]) for row in rows]
        assert places == list(np.ndindex(*signal["shape"])) and len(places) == signal["count"]
        with np.load(out / signal["npz"]) as file:
            array = file[signal["key"]]
        assert array.shape == tuple(signal["shape"]) and array.ravel().tolist() == values
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {MANIFEST, *manifest["files"]}
    assert {"tables", "operations", "network"} <= {name.split("/")[0] for name in files}
    assert (out / "cell").exists() == (graph != "diagonal" and rule == "snap1")
    assert (out / "unit").exists() == (graph == "diagonal")
    config = Config.from_dict(manifest["configuration"])
    last = words_of(out / "network/digest.mem", 32, 0)[-1]
    assert trained(config, 5) == f"{last:08x}"


def test_a_cell_hears_what_its_sources_say_and_its_messages_come_from_its_descendants(made: Made) -> None:
    out = made("--graph", "skip", "--images", "2")
    with np.load(out / "cell/cell.npz") as cell, np.load(out / "network/network.npz") as network:
        n = len(network["left"])
        for port, heard in (("left", "message_right"), ("top", "message_below")):
            for p, source in enumerate(network[port].tolist()):
                spoken = cell["y"][:, source] if source < n else network["input"][:, :, source - n]
                np.testing.assert_array_equal(cell[port][:, p], 0 if source < 0 else spoken)
                if 0 <= source < n:
                    np.testing.assert_array_equal(cell[heard][:, source], cell["message"][:, p])
        for j, end in enumerate(network["ends"].tolist()):
            assert (cell["message_below"][:, end] == network["delta"][:, j, None]).all()


def test_two_processes_write_the_same_bytes(data: Path, tmp_path: Path) -> None:
    outs = [tmp_path / seed / "out" for seed in ("1", "2")]
    argv = [sys.executable, "-m", "tools.vectors", "--data", str(data), "--images", "2", "--out"]
    running = [
        subprocess.Popen([*argv, str(out)], env=os.environ | {"PYTHONHASHSEED": out.parent.name}, stdout=-3)
        for out in outs
    ]
    assert [process.wait() for process in running] == [0, 0]
    first, second = ({path.relative_to(out): path.read_bytes() for path in out.rglob("*.*")} for out in outs)
    assert first == second and len(first) > 300
    assert b"noise.npz" in first[Path(MANIFEST)] and str(tmp_path).encode() not in first[Path(MANIFEST)]


def changed(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Have the engine's kernels say something else."""

    def passes(network: Any) -> Any:
        base = passes_of(network)
        assert any(old in text for text in base.texts)
        return replace(base, texts=tuple(text.replace(old, new) for text in base.texts))

    monkeypatch.setattr(walk, "passes_of", passes)


def test_a_changed_kernel_is_found_and_would_change_the_digest(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    before = manifest_of(made("--graph", "lattice"))
    changed(monkeypatch, "x = ((y + 8192) >> 14) + v", "x = ((y + 8191) >> 14) + v")
    refused(lambda: made("--graph", "lattice", out="changed"), "the engine and host.chip part", "message[")
    monkeypatch.setattr(command, "agree", lambda engine, chip: None)  # as if host.chip had been changed alike
    after = manifest_of(made("--graph", "lattice", out="changed"))
    assert after["digest"] != before["digest"]
    parted = {name for name, digest in before["files"].items() if after["files"][name] != digest}
    assert "network/message.mem" in parted and "network/pixel.mem" not in parted


def test_a_changed_kernel_of_units_is_found(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(monkeypatch, "d = (half + x) >> narrow", "d = x >> narrow")
    refused(lambda: made("--graph", "diagonal"), "the engine and host.chip part")


def test_the_first_image_that_parts_is_named_even_by_a_signal_that_comes_later() -> None:
    engine = {"label": np.array([0, 0]), "y": np.array([[1], [2]]), "b_after": np.array([[1], [2]])}
    chip = {"y": np.array([[1], [3]]), "b_after": np.array([[5], [2]])}
    refused(lambda: agree(engine, chip), "b_after[0, 0] (image first) is 1 and 5")


def test_the_engines_text_is_part_of_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(kernels.__file__)
    for path in source.parent.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = command.engine()
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / source.name))
    assert command.engine() == before
    (tmp_path / source.name).write_text(source.read_text() + "\n")
    assert command.engine() != before


def test_a_checkpoint_goes_on_where_its_run_stopped(made: Made, tmp_path: Path) -> None:
    config = configure(DATA, "critical", 3, 2, cols=3)
    network = config.network()
    ready, order = prepare(DATA, config), config.order(0)
    digests = []
    for at in range(12):
        network.set_rates(config.rates(at))
        network.train(ready.train_images[order[at]].tobytes(), int(ready.train_labels[order[at]]))
        digests.append(network.digest())
        if at == 7:
            params = np.array(network.w, np.int32).reshape(network.shape)
            Checkpoint(config.as_dict(), params, 8, digest(params, 8)).save(tmp_path / "checkpoint.npz")
    out = made("--checkpoint", str(tmp_path / "checkpoint.npz"), "--images", "4")
    assert words_of(out / "network/digest.mem", 32, 0) == digests[8:]
    assert words_of(out / "network/step.mem", 32, 0) == [9, 10, 11, 12]
    assert "--checkpoint checkpoint.npz" in manifest_of(out)["command"]
    shorter = made("--checkpoint", str(tmp_path / "checkpoint.npz"), "--disturb", "y bits=8", out="shorter")
    assert all(y % 64 == 0 for y in words_of(shorter / "cell/y.mem", 16, 1))


def test_a_rate_is_the_rate(made: Made) -> None:
    out = made("--rate", "0.25")
    (multiplier,) = set(words_of(out / "network/multiplier_wl.mem", 15, 0))
    (shift,) = set(words_of(out / "network/shift_wl.mem", 6, 0))
    assert multiplier / 2**shift == 0.25


def test_fewer_columns_take_only_images_of_the_first_classes(made: Made) -> None:
    out = made("--graph", "lattice", "--cols", "2", "--images", "20")
    assert set(words_of(out / "network/label.mem", 6, 0)) == {0, 1}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--images", "0"], "--images 0"),
        (["--images", "41"], "--images 41: choose 1 to 40"),
        (["--cols", "0"], "--cols 0"),
        (["--rows", "5"], "--rows 5"),
        (["--rate", "fast"], "--rate fast"),
        (["--graph", "ring"], "--graph"),
        (["--disturb", "message noise=0.1"], "word lengths only"),
        (["--disturb", "cross bits=3", "--rule", "exact"], "this network has no cross"),
        (["--checkpoint", "no.npz"], "no.npz"),
        (["--checkpoint", "no.npz", "--seed", "2"], "--seed counts for nothing"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    options: list[str], part: str, made: Made, tmp_path: Path
) -> None:
    refused(lambda: made(*options), part)
    assert not (tmp_path / "out").exists()


def test_fxpmath_that_is_missing_is_named(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("all_operations", "cell_operations", "more_operations", "operations", "fixed"):  # as if new
        monkeypatch.delitem(sys.modules, f"tools.vectors.{name}")
        monkeypatch.delattr(tools.vectors, name)
    monkeypatch.setitem(sys.modules, "fxpmath", None)
    refused(lambda: made(), "fxpmath", "pip install")


def test_a_package_that_is_not_installed_has_no_version_to_name(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata.Distribution, "discover", lambda **_: iter(()))
    refused(lambda: made(), "not installed", "pip install -e .")


def test_files_of_a_former_run_are_replaced_and_those_of_others_stay(made: Made) -> None:
    out = made("--graph", "lattice")
    (out / "wave.vcd").write_text("mine")
    (out / "cell" / "notes.txt").write_text("mine, too")
    made("--graph", "diagonal", "--units", "2")
    assert (out / "wave.vcd").exists() and [path.name for path in (out / "cell").iterdir()] == ["notes.txt"]
    assert all((out / name).exists() for name in manifest_of(out)["files"])
    (out / "cell" / "y.mem").write_text("mine")
    refused(lambda: made("--graph", "lattice"), "cell/y.mem is not of this command's making")
    assert (out / "cell" / "y.mem").read_text() == "mine" and (out / "unit" / "s.mem").exists()


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"command": "make", "files": {}}', '{"command": "python -m tools.vectors", "files": {"../x": ""}}'],
)
def test_a_directory_that_holds_something_else_is_refused(text: str, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / (MANIFEST if text else "thesis.tex")).write_text(text or "mine")
    refused(lambda: made(), "out is there", "give another --out")
    assert len(list(out.iterdir())) == 1


def test_an_interrupted_command_leaves_nothing_half_written(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = writing.mem

    def interrupted(of: Table, name: str, file: BinaryIO) -> None:
        if name == "label":
            raise KeyboardInterrupt
        written(of, name, file)

    out = made()
    monkeypatch.setattr(writing, "mem", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made()
    assert not out.exists()
    monkeypatch.setattr(writing, "mem", written)
    assert (made() / MANIFEST).exists()
