"""How a command ends: by every signal at every time, with stdout and stderr full or closed, and over hostile files."""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from host import simulate
from host.base import cli
from host.engine.learners import LaneLearner
from host.runs.checkpoint import Checkpoint
from host.runs.config import Config

ROOT = Path(__file__).resolve().parent.parent
SMALL = ("--limit", "200", "--test-limit", "50", "--epochs", "1")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def shell(text: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """A line of shell, in which $PY is this Python."""
    env = {**ENVIRONMENT, "PY": sys.executable, **environment}
    return subprocess.run(["sh", "-c", text], cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A directory in which the run "done" is complete."""
    path = tmp_path_factory.mktemp("finished")
    argv = [sys.executable, "-m", "host.simulate", *SMALL, "--run-dir", "done", "--no-report"]
    assert subprocess.run(argv, cwd=path, env=ENVIRONMENT, capture_output=True).returncode == 0
    return path


def assert_one_line(said: str, *parts: str) -> None:
    """An error of one line, without a traceback."""
    assert said.startswith("error: ") and said.count("\n") == 1, said
    for part in parts:
        assert part in said


# --- signals

STRIKES = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n"


@pytest.mark.parametrize("command", ["host.simulate", "host.stream", "host.dataset", "tools.parity", "tools.image"])
def test_ctrl_c_during_imports_is_no_traceback(tmp_path, command):
    """The signal comes while numpy is imported, which stands for all that takes its time."""
    (tmp_path / "numpy.py").write_text(STRIKES)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    argv = [sys.executable, "-m", command, "--help"]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=25)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_program_that_imports_our_modules_keeps_its_own_ctrl_c():
    code = "import signal, host, tools; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def dispositions() -> Iterator[None]:
    """Signals as they are in a terminal, and as they were afterwards."""
    old = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


@pytest.fixture
def strike(monkeypatch):
    """strike(number): this signal comes as soon as training has begun."""
    train = LaneLearner.train
    monkeypatch.setitem(simulate.CHUNK, "llvm", 8)

    def arm(number: int, times: int = 1) -> None:
        def struck(self, *args):
            for _ in range(times):
                signal.raise_signal(number)
            return train(self, *args)

        monkeypatch.setattr(LaneLearner, "train", struck)

    yield arm


@pytest.mark.parametrize(
    "name, code, words",
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "ended by SIGTERM"), ("SIGHUP", 129, "ended by SIGHUP")],
)
def test_each_signal_saves_and_has_its_exit_code(answer, strike, dispositions, tmp_path, name, code, words):
    strike(getattr(signal, name))
    found, out, err = answer(simulate.main, *SMALL, "--run-dir", "r")
    assert (found, out) == (code, "")
    assert err.endswith(
        f"saved r/checkpoint.npz at step 8; go on with: python -m host.simulate --run-dir r --resume\n{words}\n"
    )
    assert Checkpoint.read(tmp_path / "r/checkpoint.npz").step == 8


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_second_signal_leaves_at_once(answer, strike, dispositions, tmp_path, name):
    strike(getattr(signal, name), 2)
    code, _, err = answer(simulate.main, *SMALL, "--run-dir", "r")
    assert code == 128 + getattr(signal, name) and "Traceback" not in err
    assert "no checkpoint at step 0 yet; begin again with: python -m host.simulate --run-dir r --resume\n" in err
    assert not (tmp_path / "r/checkpoint.npz").exists()
    assert signal.getsignal(getattr(signal, name)) == signal.SIG_DFL


def test_a_signal_after_the_last_saving_is_no_traceback():
    """It comes while the result is delivered, when a command has done all that it does."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from host.base import cli, streams\n"
        "streams.deliver = lambda: signal.raise_signal(signal.SIGINT)\n"
        "cli.run(lambda: 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_second_signal_says_what_is_saved_and_what_is_not(answer, monkeypatch):
    train, calls = LaneLearner.train, iter(range(1000))

    def struck(self, *args):
        if next(calls) == 29:  # 200 images, an epoch's end, 32 images
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return train(self, *args)

    monkeypatch.setitem(simulate.CHUNK, "llvm", 8)
    monkeypatch.setattr(LaneLearner, "train", struck)
    code, _, err = answer(simulate.main, *SMALL, "--epochs", 2, "--run-dir", "r")
    assert code == 130
    way_on = "go on with: python -m host.simulate --run-dir r --resume"
    assert err.endswith(f"saved r/checkpoint.npz at step 200, and nothing since (step 232); {way_on}\ninterrupted\n")


def test_a_run_that_fails_says_how_to_begin_again(answer, monkeypatch):
    """As when the simulated board's process is killed again and again."""
    train, calls = LaneLearner.train, iter(range(1000))

    def failing(self, *args):
        if next(calls) == 3:
            raise cli.UserError("the board is no more; see to it")
        return train(self, *args)

    monkeypatch.setitem(simulate.CHUNK, "llvm", 8)
    monkeypatch.setattr(LaneLearner, "train", failing)
    err = answer(simulate.main, *SMALL, "--run-dir", "r")[2]
    way_on = "no checkpoint at step 24 yet; begin again with: python -m host.simulate --run-dir r --resume"
    assert err.endswith(f"{way_on}\nerror: the board is no more; see to it\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_an_ignored_signal_stays_ignored(answer, strike, dispositions, name):
    """As nohup and a shell's background have it."""
    strike(getattr(signal, name))
    signal.signal(getattr(signal, name), signal.SIG_IGN)
    code, out, err = answer(simulate.main, *SMALL, "--run-dir", "r", "--json")
    assert code == 0, err
    assert json.loads(out)["steps"] == 200
    assert signal.getsignal(getattr(signal, name)) == signal.SIG_IGN


@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_before_training_ends_in_one_line(answer, dispositions, monkeypatch, name, code):
    monkeypatch.setattr("host.data.dataset.load", lambda source: signal.raise_signal(getattr(signal, name)))
    assert answer(simulate.main, *SMALL) == (code, "", f"ended by {name}\n")


# --- stdout and stderr


@pytest.mark.parametrize("to", [">/dev/full", ">&-"], ids=["full", "closed"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_stdout_that_takes_no_result_is_a_one_line_error_after_the_run_is_saved(tmp_path, finished, to, unbuffered):
    line = f"$PY -m host.simulate {' '.join(SMALL)} --no-report --run-dir r {to}"
    done = shell(line, tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == cli.EXIT_USER_ERROR
    assert_one_line(done.stderr.splitlines(keepends=True)[-1], "stdout does not take the result", "--resume")
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert (
        Checkpoint.read(tmp_path / "r/checkpoint.npz").digest
        == Checkpoint.read(finished / "done/checkpoint.npz").digest
    )


@pytest.mark.parametrize("to", [">/dev/full", ">&-"], ids=["full", "closed"])
@pytest.mark.parametrize(
    "command, way_out",
    [
        ("host.simulate --help", "give it another place, and try again"),
        ("host.simulate --evaluate done/checkpoint.npz --test-limit 5", "give it another place, and try again"),
        (
            "host.simulate --run-dir done --resume",
            "the run is saved, and this prints it again: python -m host.simulate --run-dir done --resume",
        ),
    ],
)
def test_a_saved_run_is_named_only_where_there_is_one(finished, command, way_out, to):
    done = shell(f"$PY -m {command} {to}", finished)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"; {way_out}"), done.stderr


@pytest.mark.parametrize("to", ["2>/dev/full", "2>&-"], ids=["full", "closed"])
def test_a_stderr_that_takes_nothing_does_not_stop_a_run(tmp_path, finished, to):
    done = shell(f"$PY -m host.simulate {' '.join(SMALL)} --no-report --run-dir r --json {to}", tmp_path)
    wanted = Checkpoint.read(finished / "done/checkpoint.npz").digest
    assert done.returncode == 0 and json.loads(done.stdout)["digest"] == wanted
    assert Checkpoint.read(tmp_path / "r/checkpoint.npz").digest == wanted


def test_without_any_stream_a_run_is_saved_and_no_file_gets_what_was_said(tmp_path):
    done = shell(f"$PY -m host.simulate {' '.join(SMALL)} --no-report --run-dir r <&- >&- 2>&-", tmp_path)
    assert done.returncode == cli.EXIT_USER_ERROR
    assert Checkpoint.read(tmp_path / "r/checkpoint.npz").step == 200
    assert json.loads((tmp_path / "r/config.json").read_text())["images"] == 200


def test_help_that_nobody_takes_is_an_error_without_noise(tmp_path):
    done = shell("$PY -m host.stream --help >/dev/full", tmp_path)
    assert done.returncode == cli.EXIT_USER_ERROR
    assert_one_line(done.stderr, "stdout does not take")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_first_is_no_error_and_no_noise(finished, unbuffered):
    """The reader has gone before anything is written."""
    line = "{ sleep 0.3; $PY -m host.simulate --run-dir done --resume; echo code $? >&2; } | true"
    done = shell(line, finished, PYTHONUNBUFFERED=unbuffered)
    assert done.stderr.endswith("; complete\ncode 0\n") and done.stderr.count("\n") == 3, done.stderr


def test_a_reader_of_stderr_that_leaves_does_not_stop_a_run(tmp_path):
    run = f"$PY -m host.simulate {' '.join(SMALL)} --no-report --run-dir r --json"
    shell(f"{{ sleep 0.3; {run} >out; echo $? >code; }} 2>&1 | true", tmp_path)
    assert (tmp_path / "code").read_text() == "0\n"
    assert json.loads((tmp_path / "out").read_text())["steps"] == 200


def test_what_the_system_refuses_is_one_line(answer):
    def main() -> None:
        raise OSError(28, "No space left on device", "/somewhere")

    code, out, err = answer(main)
    assert (code, out) == (2, "")
    assert_one_line(err, "No space left on device (/somewhere)")


# --- hostile files

DEEP = "[" * 100_000
CONFIGS = {
    "deep": DEEP,
    "deep within": '{"preset": ' + DEEP,
    "a huge number": '{"seed": ' + "9" * 10_000 + "}",
    "no object": "[1]",
    "empty": "",
    "not UTF-8": b"\xff\xfe",
    "fields missing": '{"seed": 1}',
    "endless": "[" + "1," * 2_000_000,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_hostile_config_is_one_line_at_resume(answer, tmp_path, name):
    (tmp_path / "r").mkdir()
    content = CONFIGS[name]
    (tmp_path / "r/config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = answer(simulate.main, "--run-dir", "r", "--resume")
    assert (code, out) == (2, "")
    assert_one_line(err, "r/config.json is damaged", "restore it")


@pytest.mark.parametrize(
    "change",
    [
        {"rows": "28"},
        {"rows": 10**9},
        {"cols": -1},
        {"epochs": 1.5},
        {"epochs": True},
        {"images": None},
        {"images": 10**9},
        {"test_images": 0},
        {"seed": -1},
        {"preset": "none"},
        {"preset": ["critical"]},
        {"pixel_bits": 3},
        {"arithmetic": "complex"},
        {"source": "/nowhere"},
        {"data": DEEP[:900]},
        {"rate": "1e400"},
        {"bounds": []},
    ],
    ids=str,
)
def test_config_that_says_what_cannot_be_is_one_line(answer, finished, tmp_path, change):
    found = json.loads((finished / "done/config.json").read_text())
    (tmp_path / "r").mkdir()
    (tmp_path / "r/config.json").write_text(json.dumps(found | change))
    code, out, err = answer(simulate.main, "--run-dir", "r", "--resume")
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert re.search(r"\br\b", err) and len(err) < 500


def test_config_that_is_a_pipe_is_not_read(answer, tmp_path):
    (tmp_path / "r").mkdir()
    os.mkfifo(tmp_path / "r/config.json")
    assert_one_line(answer(simulate.main, "--run-dir", "r", "--resume")[2], "holds no run")


def npz(**arrays: np.ndarray) -> bytes:
    file = BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy() -> bytes:
    file = BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


FOREIGN = {
    "an empty file": b"",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(200),
    "an array": npy(),
    "a pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01x\x94.",
    "text": b"precious",
    "another zip": npz(weights=np.zeros(3)),
}


@pytest.mark.parametrize("name", [*FOREIGN, "a directory", "a pipe"])
def test_what_is_no_checkpoint_is_called_so(answer, tmp_path, name):
    path = tmp_path / "x"
    if name in FOREIGN:
        path.write_bytes(FOREIGN[name])
    else:
        (os.mkdir if name == "a directory" else os.mkfifo)(path)
    code, out, err = answer(simulate.main, "--evaluate", "x")
    assert (code, out) == (2, "")
    assert_one_line(err, "x is no checkpoint of host.simulate or host.stream")
    assert "pickle" not in err


def test_checkpoint_with_json_too_deep_is_damaged(answer, tmp_path):
    (tmp_path / "x").write_bytes(npz(params=np.zeros((4, 3, 4), np.int32), about=np.array(DEEP)))
    assert_one_line(answer(simulate.main, "--evaluate", "x")[2], "checkpoint x is damaged", "restore it")


def test_ctrl_c_in_a_compilers_callback_is_not_swallowed(answer, monkeypatch):
    """A compiler's callbacks drop an exception that is raised in them: the run would go on to its end."""

    def compiling(config: Config) -> LaneLearner:
        ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))()
        return LaneLearner(config.network())

    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    monkeypatch.setattr(simulate.LaneLearner, "of", compiling)
    code, out, err = answer(simulate.main, "--limit", 5, "--test-limit", 5, "--epochs", 1, "--rows", 4)
    assert (code, out) == (130, "") and err.splitlines()[-1] == "interrupted"
    assert lost == []
