"""tools.model and tools.image --checkpoint: what a run has learned, as a board's own program finds it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_tool import ROOT
from interpreters import interpreter
from small_run import CONFIGS, DATA

from firmware.model import load
from host.board import install
from host.runs.checkpoint import Checkpoint, digest
from host.runs.config import Config, configure
from tools import image, model

CONFIG = configure(DATA, "diagonal", 1, 2, cols=3, units=5)
Answer = Callable[..., tuple[int, str, str]]


def checkpoint(path: Path, config: Config = CONFIG, step: int = 5) -> tuple[Path, Any]:
    """The checkpoint of a run that has trained `step` images; and its network."""
    network = config.network()
    network.set_rates(config.rates(0))
    for i in range(step):
        network.train(DATA.train_images[i].tobytes(), int(DATA.train_labels[i]))
    params = np.array(network.w, np.int32).reshape(config.shape)
    Checkpoint(config.as_dict(), params, step, digest(params, step)).save(path)
    return path, network


def feed(learner: Any, pixels: np.ndarray) -> bool:
    """All rows; whether the sequence is complete."""
    return [learner.row(row.tobytes()) for row in pixels][-1]


@pytest.mark.parametrize("rate", [None, "0.004"])
def test_model_of_a_checkpoint_goes_on_as_the_run_does(rate: str | None, answer: Answer, tmp_path: Path) -> None:
    path, network = checkpoint(tmp_path / "checkpoint.npz")
    options = [] if rate is None else ["--rate", rate]
    code, out, err = answer(model.main, path, "--out", "model.shl", "--json", *options)
    found = json.loads(out)
    assert (code, err, found["digest"], found["step"]) == (0, "", f"{network.digest():08x}", 5)
    assert (found["graph"], found["inputs"], found["classes"], found["units"]) == ("diagonal", 4, 3, 5)
    assert answer(model.main, "model.shl", "--json") == (0, out, ""), "the file says the same"
    network.set_rates((CONFIG if rate is None else replace(CONFIG, rate=rate, decay=False)).rates(5))
    goes_on = load("model.shl")
    assert goes_on and feed(goes_on, DATA.train_images[9])
    before = goes_on.digest()
    assert goes_on.learn(1) == network.train(DATA.train_images[9].tobytes(), 1)
    assert goes_on.digest() == network.digest() != before


@pytest.mark.parametrize("form", [{"preset": "article"}, {"graph": "small-world", "share": 2048}, {"rule": "exact"}])
def test_models_of_other_networks_have_their_runs_digest(form: dict[str, Any], answer: Answer, tmp_path: Path) -> None:
    """Bounds of the article's preset are the widest, which 16 bits do not hold."""
    config = configure(DATA, **{"preset": None, "seed": 1, "epochs": 2, "cols": 3, **form})
    path, network = checkpoint(tmp_path / "checkpoint.npz", config)
    assert answer(model.main, path, "--out", "model.shl")[0] == 0
    found = load("model.shl")
    assert found and found.digest() == network.digest() and list(found.network.rule) == list(network.rule)


def test_parameters_for_numpy(answer: Answer, tmp_path: Path) -> None:
    path, network = checkpoint(tmp_path / "checkpoint.npz")
    assert answer(model.main, path, "--out", "weights.npz")[0] == 0
    with np.load("weights.npz") as file:
        assert file["parameters"].tolist() == list(network.w)
        assert np.bincount(file["groups"]).tolist() == [5, 20, 15, 5]  # l, W, V, b


def test_run_at_its_end_says_that_it_learns_no_more(answer: Answer, tmp_path: Path) -> None:
    config = replace(CONFIG, rate="0", pixel_bits=4)
    path, _ = checkpoint(tmp_path / "checkpoint.npz", config)
    code, _, err = answer(model.main, path)
    assert code == 0 and "--rate" in err and "4 bits" in err
    assert "--rate" not in answer(model.main, path, "--rate", "0.01")[2]


def test_errors_are_one_line_with_the_way_out(answer: Answer, tmp_path: Path) -> None:
    path, _ = checkpoint(tmp_path / "checkpoint.npz")
    assert answer(model.main, path, "--out", "model.shl")[0] == 0
    real = CONFIGS["float"]
    Checkpoint(real.as_dict(), np.zeros(real.shape), 0, digest(np.zeros(real.shape), 0)).save(tmp_path / "float.npz")
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:-50])
    data = Path("model.shl").read_bytes()
    Path("cut.shl").write_bytes(data[:-1])
    for arguments, words in (
        (["none"], ["there is no none", "name"]),
        ([tmp_path], ["cannot read"]),
        (["float.npz"], ["float arithmetic", "integer"]),
        (["cut.npz"], ["damaged"]),
        (["cut.shl"], ["whole model file", "copy"]),
        (["model.shl", "--rate", "1"], ["--rate", "leave it out"]),
        ([path, "--rate", "fast"], ["--rate fast", "0.004"]),
        (["model.shl", "--out", "cut.shl"], ["exists", "--out"]),
        (["model.shl", "--out", "no/where"], ["cannot write", "--out"]),
    ):
        code, out, err = answer(model.main, *arguments)
        assert (code, out) == (2, "") and len(err.splitlines()) == 1 and all(word in err for word in words), err


# Images

PROGRAM = """
from firmware.model import load
found = load("/image/model.shl")
print(found.step, hex(found.digest()))
"""
MOUNT = (ROOT / "tests/test_image.py").read_text().split('MOUNT = """')[1].split('"""')[0]


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """An image for a Pico with a model and a program, and the model's network."""
    directory = tmp_path_factory.mktemp("baked")
    path, network = checkpoint(directory / "checkpoint.npz")
    (directory / "own.py").write_text(PROGRAM)
    own = image.own_files(path, None, directory / "own.py")
    image.build("armv6m", directory / "image", "pico", own)
    return directory / "image", network


@pytest.mark.parametrize("arch", ["x64", "armhf"])
def test_program_of_an_image_finds_its_model(arch: str, baked: tuple[Path, Any], tmp_path: Path) -> None:
    """In the UF2's file system; armhf runs it from there, with the image's own code, as a Pico would."""
    out, network = baked
    (tmp_path / "flash").write_bytes(image.unpack((out / "shoreline-pico.uf2").read_bytes())[1])
    start = 'sys.path.insert(0, "/image")\nexec(open("/image/main.py").read())\n'
    if arch == "x64":  # its machine is another: the firmware is taken from the repository
        start = f'sys.path.insert(0, "{ROOT}")\nexec(open("/image/main.py").read())\n'
    (tmp_path / "run.py").write_text(MOUNT + start)
    argv = [*interpreter(arch), "-X", "heapsize=8M", str(tmp_path / "run.py"), str(tmp_path / "flash")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == (f"5 {network.digest():#x}\n", 0), done.stderr


def test_verify_covers_model_and_program(baked: tuple[Path, Any], tmp_path: Path) -> None:
    out = Path(shutil.copytree(baked[0], tmp_path / "image"))
    assert image.verify(out) is None
    fresh = baked[0]
    for name in ("model.shl", "main.py"):
        data = (out / name).read_bytes()
        for at in (0, len(data) // 2, len(data) - 1):
            (out / name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert f"{name} is not what manifest.json says" in (image.difference(out, fresh) or "")
        if name == "model.shl":
            assert (image.verify(out) or "").startswith(f"{name} is not what manifest.json says")
        (out / name).unlink()
        assert image.difference(out, fresh) == f"{name} is missing"
        (out / name).write_bytes(data)
    (out / "model.shl").rename(tmp_path / "model.shl")
    assert image.verify(out) == "model.shl is missing"
    (tmp_path / "model.shl").rename(out / "model.shl")
    manifest = json.loads((out / install.MANIFEST).read_text())
    for own in ("model.shl", ["kernels.mpy"], 1, [["main.py"]]):
        (out / install.MANIFEST).write_text(json.dumps({**manifest, "own": own}))
        assert "manifest.json is damaged" in (image.verify(out) or "")


def test_files_of_an_image_go_to_the_board_program_last(baked: tuple[Path, Any]) -> None:
    manifest = json.loads((baked[0] / install.MANIFEST).read_text())
    assert manifest["own"] == ["main.py", "model.shl"]
    assert install.board_files(manifest)[-3:] == ["model.shl", "manifest.json", "main.py"]
    assert any("model.shl" in line for line in image.advice(baked[0], manifest))


def test_image_with_no_model_to_be_had(answer: Answer, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("while True\n")
    to = ["--arch", "armv6m", "--out", "image"]
    for arguments, words in (
        ([*to, "--checkpoint", "none"], ["there is no none"]),
        ([*to, "--program", "none.py"], ["cannot read none.py"]),
        ([*to, "--program", "own.py"], ["own.py", "line 1", "mend"]),
        ([*to, "--rate", "0.1"], ["--rate", "add --checkpoint"]),
        (["--verify", "image", "--checkpoint", "x"], ["--checkpoint counts for nothing with --install"]),
        (["--list", "--program", "own.py"], ["--program counts for nothing with --install"]),
    ):
        code, out, err = answer(image.main, *arguments)
        assert (code, out) == (2, "") and len(err.splitlines()) == 1 and all(word in err for word in words), err
        assert not Path("image").exists()
