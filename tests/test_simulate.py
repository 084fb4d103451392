"""python -m host.simulate: what it prints and writes, resuming after signals, and every kind of bad input."""

import gzip
import json
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from host import simulate
from host.base import cli
from host.data import dataset
from host.engine.learners import LaneLearner
from host.runs.checkpoint import Checkpoint

ROOT = Path(__file__).resolve().parent.parent
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = dataset.CHECKSUMS

Simulate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path) -> Simulate:
    """Calls the command in this process, in a directory of its own; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["simulate", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            cli.run(simulate.main)
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return call


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def files(train: int = 40, test: int = 20, steps: int = 6, width: int = 5) -> dict[str, bytes]:
    rng = np.random.default_rng(3)
    found = {}
    for images, labels, count in ((IMAGES, LABELS, train), (TEST_IMAGES, TEST_LABELS, test)):
        found[images] = idx(rng.integers(0, 256, (count, steps, width), dtype=np.uint8))
        found[labels] = idx((np.arange(count) % 10).astype(np.uint8))
    return found


@pytest.fixture
def data(tmp_path) -> Path:
    """A directory with a small data set: 40 and 20 images, 6 rows of 5 pixels."""
    return write(tmp_path / "data", files())


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def snapshot(directory: Path) -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(directory.rglob("*"))}


def assert_refused(answer: tuple[int, str, str], *parts: object) -> None:
    """Exit code 2, and one line on stderr, which has these parts."""
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n"), err
    for part in parts:
        assert str(part) in err


def last_json(out: str) -> dict:
    """The one object on stdout."""
    assert out.count("\n") == 1
    return json.loads(out)


def untimed(path: Path) -> list[dict]:
    lines = (path / "epochs.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in lines]


# --- what it prints and writes


def test_result_is_one_json_object(run, data, tmp_path):
    code, out, err = run("--data", data, "--epochs", 2, "--run-dir", "r", "--json")
    assert code == 0
    found = last_json(out)
    assert {"epochs", "train_accuracy", "test_accuracy", "images_per_second", "digest"} <= found.keys()
    assert found["epochs"] == 2 and found["steps"] == 80 and found["run_dir"] == "r"
    last = json.loads((tmp_path / "r/epochs.jsonl").read_text().splitlines()[-1])
    for key in ("train_accuracy", "test_accuracy", "images_per_second", "digest"):
        assert found[key] == last[key]
    assert 0 <= found["test_accuracy"] <= 1 and found["images_per_second"] > 0 and len(found["digest"]) == 8
    assert err.count("epoch ") == 2 and found["digest"] in err


def test_before_a_run_one_line_says_what_it_will_be(run, data):
    code, _, err = run("--data", data, "--epochs", 1, "--run-dir", "r")
    assert code == 0
    assert err.splitlines()[:2] == ["40 images x 1 epoch, 20 test images; 5x10 cells, 6 steps", "llvm; r"]


def test_runs_without_a_name_go_to_runs(run, data, tmp_path):
    for number in (1, 2):
        _, out, _ = run("--data", data, "--epochs", 1, "--seed", 7, "--json")
        assert last_json(out)["run_dir"] == str(Path("runs") / f"small-world-short-7-{number}")
    assert untimed(tmp_path / "runs/small-world-short-7-1") == untimed(tmp_path / "runs/small-world-short-7-2")


def test_the_golden_model_says_the_same(run, tmp_path):
    """On the bundled digits and the full lattice."""
    common = "--limit", 12, "--test-limit", 8, "--epochs", 1
    for engine in ("llvm", "python"):
        assert run("--engine", engine, "--run-dir", engine, *common)[0] == 0
    assert untimed(tmp_path / "llvm") == untimed(tmp_path / "python")


@pytest.mark.parametrize("engine", ["checked", "float"])
def test_other_engines(run, data, engine):
    code, out, err = run("--data", data, "--engine", engine, "--epochs", 1, "--json")
    assert code == 0 and last_json(out)["epochs"] == 1
    if engine == "checked":
        fixed = last_json(run("--data", data, "--epochs", 1, "--json")[1])
        assert last_json(out)["digest"] == fixed["digest"]
        assert "backward." in err and "lowest" in err


def test_presets_seeds_and_sizes_are_different_runs(run, data, tmp_path):
    variants = [
        (),
        ("--preset", "article"),
        ("--seed", 2),
        ("--rows", 3),
        ("--cols", 12),
        ("--pixel-bits", 4),
        ("--pixel-bits", 1),
        ("--limit", 30),
    ]
    digests = []
    for number, options in enumerate(variants):
        code, out, _ = run("--data", data, "--epochs", 1, "--run-dir", number, "--json", *options)
        assert code == 0
        digests.append(last_json(out)["digest"])
    assert len(set(digests)) == len(variants)
    shapes = [Checkpoint.read(tmp_path / str(number) / "checkpoint.npz").params.shape for number in (3, 4)]
    assert shapes == [(3, 10, 4), (5, 12, 4)]


def test_help_teaches(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for part in (
        "--resume",
        "--evaluate runs/full/checkpoint.npz",
        "article: ",
        "critical: ",
        "Ctrl-C",
        "golden model",
    ):
        assert part in out


# --- evaluate


@pytest.mark.parametrize("engine", ["llvm", "float"])
def test_evaluate_gives_the_accuracy_of_the_run(run, data, engine):
    _, out, _ = run("--data", data, "--engine", engine, "--epochs", 1, "--run-dir", "r", "--json")
    trained = last_json(out)
    code, out, _ = run("--evaluate", "r/checkpoint.npz", "--data", data, "--json")
    assert code == 0
    assert last_json(out) == {
        "test_accuracy": trained["test_accuracy"],
        "images": 40,
        "test_images": 20,
        "epochs": 1,
        "steps": 40,
        "seed": 1,
        "digest": trained["digest"],
        "checkpoint": "r/checkpoint.npz",
    }


def test_evaluate_on_fewer_images_and_in_the_golden_model(run, data):
    run("--data", data, "--epochs", 1, "--run-dir", "r", "--pixel-bits", 4, "--rows", 3)
    answers = [
        run("--evaluate", "r/checkpoint.npz", "--data", data, "--test-limit", 7, "--json", "--engine", engine)[1]
        for engine in ("llvm", "python")
    ]
    assert answers[0] == answers[1] and last_json(answers[0])["test_images"] == 7


def test_evaluate_writes_nothing_and_refuses_what_does_not_fit(run, data, tmp_path):
    run("--data", data, "--epochs", 1, "--run-dir", "r")
    wide = write(tmp_path / "wide", files(steps=7))
    narrow = write(tmp_path / "narrow", files(width=4))
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 and so on")
    before = snapshot(tmp_path)
    checkpoint = "r/checkpoint.npz"
    assert run("--evaluate", checkpoint, "--data", data)[0] == 0
    assert_refused(run("--evaluate", checkpoint, "--data", wide), "6 rows", "7 with 5", "--data")
    assert_refused(run("--evaluate", checkpoint, "--data", narrow), "5 pixels", "6 with 4")
    assert_refused(run("--evaluate", checkpoint, "--data", data, "--engine", "float"), "leave --engine float out")
    assert_refused(run("--evaluate", checkpoint, "--data", data, "--test-limit", 21), "--test-limit 21: choose 1 to 20")
    assert_refused(run("--evaluate", checkpoint, "--data", data, "--run-dir", "r"), "--run-dir counts for nothing")
    assert_refused(run("--evaluate", checkpoint, "--data", data, "--resume"), "--resume counts for nothing")
    assert_refused(run("--evaluate", "none.npz", "--data", data), "there is no checkpoint none.npz")
    assert_refused(run("--evaluate", "bad.npz", "--data", data), "bad.npz is no checkpoint of host.simulate")
    assert_refused(run("--evaluate", data / IMAGES, "--data", data), "is no checkpoint")
    assert snapshot(tmp_path) == before


# --- signals

BIG = ("--limit", "2000", "--test-limit", "200", "--epochs", "3")  # a second or more
# The same command, but saving after every chunk, so that a kill has every chance to hit a write.
BUSY = """
import functools, sys
from host import simulate
from host.base import cli
from host.runs import run
simulate.Run = functools.partial(run.Run, interval=0)
simulate.CHUNK["llvm"] = 20
cli.run(simulate.main)
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> list[dict]:
    """The epochs of BIG."""
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    done = command(path)
    assert done.wait() == 0
    return untimed(path)


def command(path: Path, program: tuple[str, ...] = ("-m", "host.simulate"), options: tuple = ()) -> subprocess.Popen:
    resume = ["--resume"] if (path / "config.json").exists() else []
    argv = [sys.executable, *program, *BIG, "--run-dir", str(path), "--json", "--no-report", *resume, *options]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def strike(process: subprocess.Popen, number: int, delay: float) -> tuple[int, str]:
    """Send a signal so many seconds after training has begun, unless it ends before; return exit code and stderr."""
    told = ""
    while "cells," not in told and (line := process.stderr.readline()):
        told += line
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    return process.wait(60), told + process.stderr.read()


def step_of(path: Path) -> int:
    checkpoint = path / "checkpoint.npz"
    return Checkpoint.read(checkpoint).step if checkpoint.exists() else 0


def test_interrupted_at_random_moments(tmp_path, undisturbed):
    """Ctrl-C saves: the run is further than it was, and ends as if nobody had touched it."""
    path = tmp_path / "run"
    chance = random.Random(1)
    for _ in range(3):
        before = step_of(path)
        code, told = strike(command(path), signal.SIGINT, chance.uniform(0, 0.15))
        assert code in (0, cli.EXIT_INTERRUPTED), told
        assert step_of(path) >= before and "Traceback" not in told
    done = command(path)
    out, _ = done.communicate(timeout=60)
    assert done.returncode == 0 and last_json(out)["digest"] == undisturbed[-1]["digest"]
    assert untimed(path) == undisturbed


def test_killed_at_random_moments(tmp_path, undisturbed):
    path = tmp_path / "run"
    chance = random.Random(2)
    for _ in range(4):
        before = step_of(path)
        strike(command(path, ("-c", BUSY)), signal.SIGKILL, chance.uniform(0, 0.3))
        assert step_of(path) >= before
    done = command(path)
    out, _ = done.communicate(timeout=60)
    assert done.returncode == 0 and last_json(out)["digest"] == undisturbed[-1]["digest"]
    assert untimed(path) == undisturbed


def test_interrupt_saves_says_how_to_go_on_and_leaves(run, data, tmp_path, monkeypatch):
    """Ctrl-C as the first chunk has been trained: in this process, so that the moment is known."""
    whole = run("--data", data, "--epochs", 2, "--run-dir", "whole", "--json")
    monkeypatch.setitem(simulate.CHUNK, "llvm", 8)
    train = LaneLearner.train

    def interrupted(self, *args):
        signal.raise_signal(signal.SIGINT)
        return train(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(LaneLearner, "train", interrupted)
        code, out, err = run("--data", data, "--epochs", 2, "--run-dir", "r", "--json")
        assert (code, out) == (cli.EXIT_INTERRUPTED, "")
        go_on = "python -m host.simulate --run-dir r --resume --json\n"
        assert f"saved r/checkpoint.npz at step 8; go on with: {go_on}" in err and "Traceback" not in err
        assert step_of(tmp_path / "r") == 8
        assert run("--data", data, "--epochs", 2, "--run-dir", "r", "--resume")[0] == cli.EXIT_INTERRUPTED
        assert step_of(tmp_path / "r") == 16
    code, out, _ = run("--data", data, "--epochs", 2, "--run-dir", "r", "--resume", "--json", "--engine", "python")
    assert code == 0 and last_json(out)["digest"] == last_json(whole[1])["digest"]
    assert untimed(tmp_path / "r") == untimed(tmp_path / "whole")


def test_second_interrupt_leaves_at_once_and_the_last_save_stays(run, data, tmp_path, monkeypatch):
    train = LaneLearner.train

    def interrupted_twice(self, *args):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return train(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(LaneLearner, "train", interrupted_twice)
        assert run("--data", data, "--epochs", 1, "--run-dir", "r")[0] == cli.EXIT_INTERRUPTED
    assert not (tmp_path / "r/checkpoint.npz").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert run("--data", data, "--epochs", 1, "--run-dir", "r", "--resume")[0] == 0


@pytest.mark.parametrize("engine", ["llvm", "float"])
def test_finished_run_resumes_to_the_same_result(run, data, tmp_path, engine):
    options = "--data", data, "--epochs", 1, "--run-dir", "r", "--json", "--engine", engine
    first = run(*options)
    before = untimed(tmp_path / "r")
    second = run(*options, "--resume")
    assert first[:2] == second[:2] and untimed(tmp_path / "r") == before


# --- bad input


def test_run_directory_that_exists_or_is_another_run(run, data, tmp_path):
    options = "--data", data, "--epochs", 1, "--run-dir", "r"
    assert run(*options)[0] == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.tex").write_text("years")
    before = snapshot(tmp_path)
    assert_refused(run(*options), "r exists already", "--resume", "--run-dir")
    assert_refused(run("--data", data, "--run-dir", "other"), "other exists already")
    assert_refused(run("--data", data, "--run-dir", data / IMAGES), "exists already")
    assert_refused(run("--data", data, "--run-dir", "other", "--resume"), "other holds no run", "leave --resume out")
    assert_refused(run("--data", data, "--run-dir", "none", "--resume"), "none holds no run")
    for change in (
        ("--seed", 2),
        ("--epochs", 2),
        ("--preset", "article"),
        ("--limit", 39),
        ("--test-limit", 19),
        ("--rows", 4),
        ("--cols", 11),
        ("--pixel-bits", 4),
        ("--engine", "float"),
    ):
        assert_refused(run(*options, "--resume", *change), change[0], "the run in r", f"leave {change[0]} out")
    assert snapshot(tmp_path) == before


def test_run_on_other_data_is_another_run(run, data, tmp_path):
    assert run("--data", data, "--epochs", 1, "--run-dir", "r")[0] == 0
    content = bytearray((data / IMAGES).read_bytes())
    content[-1] ^= 1
    (data / IMAGES).write_bytes(content)
    before = snapshot(tmp_path)
    for options in ((), ("--data", data), ("--epochs", 1)):
        assert_refused(run("--run-dir", "r", "--resume", *options), "r was begun with other data", "--data")
    assert snapshot(tmp_path) == before


def test_damaged_checkpoint_is_not_resumed_and_not_overwritten(run, data, tmp_path):
    options = "--data", data, "--epochs", 1, "--run-dir", "r"
    assert run(*options)[0] == 0
    checkpoint = tmp_path / "r/checkpoint.npz"
    good = checkpoint.read_bytes()
    foreign, damaged = "checkpoint.npz is no checkpoint", "checkpoint.npz is damaged; restore it"
    for content, said in (
        (b"", foreign),
        (good[: len(good) // 2], damaged),
        (good[:300] + bytes([good[300] ^ 16]) + good[301:], damaged),
        (b"x" * 1000, foreign),
    ):
        checkpoint.write_bytes(content)
        before = snapshot(tmp_path)
        assert_refused(run(*options, "--resume"), said)
        assert snapshot(tmp_path) == before
    checkpoint.unlink()
    before = snapshot(tmp_path)
    assert_refused(run(*options, "--resume"), "lost its checkpoint")
    assert snapshot(tmp_path) == before


DATA_DEFECTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing file": (lambda d: (d / LABELS).unlink(), f"lacks {LABELS}"),
    "no files": (lambda d: [p.unlink() for p in d.iterdir()], "lacks"),
    "a truncated file": (lambda d: (d / IMAGES).write_bytes(files()[IMAGES][:-5]), "truncated"),
    "an empty file": (lambda d: (d / IMAGES).write_bytes(b""), "too few for an IDX header"),
    "trailing bytes": (lambda d: (d / LABELS).write_bytes(files()[LABELS] + b"x"), "trailing"),
    "labels for images": (lambda d: (d / IMAGES).write_bytes(files()[LABELS]), "starts with"),
    "a truncated gzip": (lambda d: (d / IMAGES).write_bytes(gzip.compress(files()[IMAGES])[:-9]), "gzip"),
    "a corrupt gzip": (lambda d: (d / IMAGES).write_bytes(gzip.compress(files()[IMAGES])[:30] + b"?" * 400), "gzip"),
    "a label above 9": (lambda d: (d / LABELS).write_bytes(files()[LABELS][:-1] + b"\x0a"), "label 10 at index 39"),
    "images too large": (lambda d: (d / IMAGES).write_bytes(idx(np.zeros((40, 65, 5), np.uint8))), "65 x 5"),
    "images of no size": (lambda d: (d / IMAGES).write_bytes(idx(np.zeros((40, 6, 0), np.uint8))), "6 x 0"),
    "images of two sizes": (lambda d: (d / IMAGES).write_bytes(files(steps=7)[IMAGES]), "make them of one size"),
    "fewer labels than images": (lambda d: (d / LABELS).write_bytes(files(train=39)[LABELS]), "39 labels"),
    "no images": (lambda d: [(d / n).write_bytes(files(train=0)[n]) for n in (IMAGES, LABELS)], "holds no images"),
}


@pytest.mark.parametrize("name", DATA_DEFECTS)
def test_bad_data(run, data, tmp_path, name):
    defect, message = DATA_DEFECTS[name]
    defect(data)
    before = snapshot(tmp_path)
    assert_refused(run("--data", data, "--run-dir", "r"), message)
    assert_refused(run("--data", data), message)
    assert snapshot(tmp_path) == before, "not even a run directory"


def test_data_directory_that_is_none(run, tmp_path):
    (tmp_path / "file").write_text("")
    before = snapshot(tmp_path)
    assert_refused(run("--data", "none"), "none does not exist", "host.dataset --fetch")
    assert_refused(run("--data", "file"), "file is not a directory", "host.dataset --fetch")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "options, parts",
    [
        (("--epochs", 0), ("--epochs 0: choose 1 to",)),
        (("--epochs", -1), ("--epochs -1",)),
        (("--epochs", 10**12), ("choose 1 to",)),
        (("--epochs", "two"), ("--epochs two: choose a whole number",)),
        (("--epochs",), ("expected one argument", "--help")),
        (("--limit", 0), ("--limit 0: choose 1 to 40", "40 training images")),
        (("--limit", 41), ("--limit 41: choose 1 to 40",)),
        (("--test-limit", -2), ("--test-limit -2: choose 1 to 20",)),
        (("--seed", -1), ("--seed -1: choose 0 to 2147483647",)),
        (("--seed", 2**31), ("choose 0 to 2147483647",)),
        (("--seed", "x"), ("--seed x: choose a whole number from 0 to 2147483647",)),
        (("--rows", 6), ("--rows 6: choose 1 to 5", "5 pixels wide")),
        (("--rows", 0), ("--rows 0: choose 1 to 5",)),
        (("--cols", 9), ("--cols 9: choose 10 to 64", "10 classes")),
        (("--cols", 65), ("--cols 65: choose 10 to 64",)),
        (("--pixel-bits", 3), ("invalid choice: 3", "--help")),
        (("--preset", "none"), ("invalid choice: 'none'", "article", "critical")),
        (("--engine", "jax"), ("invalid choice: 'jax'", "llvm")),
        (("--resume",), ("--resume needs", "--run-dir DIR")),
        (("--engnie", "llvm"), ("unrecognized arguments", "--help")),
        (("--run-dir", "data/" + IMAGES + "/r"), ("cannot use", "give another --run-dir")),
    ],
)
def test_impossible_options(run, data, tmp_path, options, parts):
    before = snapshot(tmp_path)
    assert_refused(run("--data", data, *options), *parts)
    assert snapshot(tmp_path) == before


def test_run_directory_that_cannot_be_made(run, data, tmp_path):
    (tmp_path / "runs").write_text("")
    assert_refused(run("--data", data), "cannot make runs", "--run-dir")


def test_error_leaves_the_process_with_code_2_and_one_line():
    """Once through a real process, as the other tests call main() in this one."""
    argv = [sys.executable, "-m", "host.simulate", "--limit", "6000"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert_refused((done.returncode, done.stdout, done.stderr), "--limit 6000: choose 1 to 5000", "digits has 5000")
