"""Options: what each may be, when it counts for nothing, and that a run that is resumed knows its own."""

import argparse
import contextlib
import json
import os
import struct
from pathlib import Path

import pytest

from host import dataset as command
from host import simulate, stream
from host.base import cli
from host.board.learner import BoardLearner
from host.data import dataset
from host.runs import output
from host.runs.options import way_on

SMALL = ("--rows", 6, "--limit", 60, "--test-limit", 20)
VALUES = {
    "--preset": ["article"],
    "--rows": [6],
    "--cols": [12],
    "--epochs": [2],
    "--limit": [50],
    "--test-limit": [19],
    "--seed": [2],
    "--pixel-bits": [4],
    "--engine": ["float"],
}


def assert_refused(answer: tuple[int, str, str], *parts: str) -> None:
    """Exit code 2, and one line on stderr, which has these parts."""
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1, err
    for part in parts:
        assert part in err, err


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


# --- what an option may be


@pytest.mark.parametrize(
    "options, said",
    [
        (("--cols", "65"), "--cols 65: choose 10 to 64"),
        (("--cols", "9"), "--cols 9: choose 10 to 64"),
        (("--rows", "0"), "--rows 0: choose 1 to 28"),
        (("--rows", "29"), "--rows 29: choose 1 to 28"),
        (("--epochs", "0"), "--epochs 0: choose 1 to 214748"),
        (("--limit", "-3"), "--limit -3: choose 1 to 5000"),
        (("--limit", "0"), "--limit 0: choose 1 to 5000"),
        (("--test-limit", "1001"), "--test-limit 1001: choose 1 to 1000"),
        (("--seed", "-1"), "--seed -1: choose 0 to 2147483647"),
        (("--baud", "-1"), "--baud -1: choose 1 to 2147483647"),
        (("--baud", "0"), "--baud 0: choose 1 to 2147483647"),
        (("--baud", "fast"), "--baud fast: choose a whole number from 1 to 2147483647"),
        *[
            ((flag, text), f"{flag} {text}: choose a whole number")
            for flag in ("--rows", "--cols", "--epochs", "--limit", "--test-limit")
            for text in ("1e3", "", "0x10", "1.0")
        ],
        (("--seed", "9" * 5000), f"--seed {'9' * 38}...{'9' * 38}: choose a whole number from 0 to 2147483647"),
        (("--pixel-bits", "1e3"), "--pixel-bits 1e3: choose one of 8, 4, 1"),
        (("--pixel-bits", "3"), "invalid choice: 3"),
    ],
    ids=lambda x: "" if isinstance(x, str) else " ".join(x)[:20],
)
def test_a_number_out_of_range_names_option_value_and_range(answer, tmp_path, options, said):
    assert_refused(answer(stream.main, *options), said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--run-dir", "--port", "--data", "--evaluate"])
def test_an_empty_text_is_no_value(answer, tmp_path, flag):
    assert_refused(answer(stream.main, *SMALL, flag, ""), f"{flag} is empty; give it a value, or leave it out")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_a_run_is_nothing_to_resume(answer, tmp_path):
    (tmp_path / "file").touch()
    err = answer(simulate.main, *SMALL, "--run-dir", "file")[2]
    assert err == "error: file exists already, and is no directory; give another --run-dir\n"


@pytest.mark.parametrize("names, listed", [((), "none"), (("/dev/a", "/dev/b"), "/dev/a, /dev/b")])
def test_a_port_that_is_not_there_says_which_are(answer, monkeypatch, names, listed):
    ports = [argparse.Namespace(device=name) for name in names]
    monkeypatch.setattr("host.board.serialport.list_ports.comports", lambda: ports)
    err = answer(stream.main, *SMALL, "--port", "/dev/shoreline-none")[2]
    assert err.endswith(f"is the board plugged in? The serial ports of this computer: {listed}\n")


@pytest.mark.parametrize("command", [simulate, stream])
def test_evaluate_refuses_every_option_that_only_training_uses(answer, tmp_path, command):
    for flag, values in VALUES.items():
        if flag in ("--engine", "--test-limit"):
            continue
        assert_refused(
            answer(command.main, "--evaluate", "none.npz", flag, *values), f"{flag} counts for nothing with --evaluate"
        )
    for flag in ("--resume", "--run-dir=r"):
        assert_refused(answer(command.main, "--evaluate", "none.npz", flag), flag.split("=")[0], "--evaluate")
    assert_refused(answer(stream.main, "--evaluate", "none.npz", "--twin"), "--twin", "--evaluate")
    assert not list(tmp_path.iterdir())
    # These count.
    assert_refused(answer(command.main, "--evaluate", "none.npz", "--test-limit", 5), "there is no checkpoint none.npz")
    assert_refused(answer(command.main, "--evaluate", "none.npz", "--data", "x"), "there is no checkpoint none.npz")


@pytest.mark.parametrize("flag", ["--install", "--replace", "--exit"])
@pytest.mark.parametrize("port", [(), ("--port", "sim")])
def test_what_only_a_real_board_needs_is_refused_for_the_simulated_one(answer, tmp_path, flag, port):
    assert_refused(answer(stream.main, flag, *port), flag, "the simulated board", "with --port")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("port", ["/dev/none", "auto", "socket://127.0.0.1:1"])
def test_the_machine_of_a_simulated_board_is_refused_for_a_real_one(answer, tmp_path, port):
    assert_refused(answer(stream.main, "--port", port, "--sim-arch", "x64"), "--sim-arch", "--port")
    assert not list(tmp_path.iterdir())


def test_defaults_are_no_options_that_were_given():
    case = cli.Case("--b", lambda args: args.b)
    parser = cli.Parser("x", None)
    parser.option("--a", lowest=0, default=7, useless=(case,), help="a number")
    parser.option("--b", action="store_true", help="a mode")
    parser.option("--c", help="a text")
    assert vars(parser.parse_args(["--b"])) == {"a": 7, "b": True, "c": None, "given": {"b"}}
    assert vars(parser.parse_args(["--a", "7"])) == {"a": 7, "b": False, "c": None, "given": {"a"}}
    with pytest.raises(cli.UserError, match="--a counts for nothing with --b"):
        parser.parse_args(["--b", "--a", "7"])  # although it is the default


@pytest.mark.parametrize("args", [["--show", "--mirror", "x"], ["--fetch", "x", "--data", "y"]])
def test_dataset_refuses_what_counts_for_nothing(answer, args):
    assert_refused(answer(command.main, *args), *[arg for arg in args if arg.startswith("--")])


# --- --resume


@pytest.fixture
def stopped(answer, tmp_path, monkeypatch):
    """stopped(options) is a run in r that Ctrl-C has stopped, and the answer of the same run that nobody stopped."""

    def make(*options: object) -> dict:
        whole = answer(simulate.main, *options, "--run-dir", "whole", "--json")
        assert whole[0] == 0, whole[2]
        with monkeypatch.context() as patch:
            patch.setattr("host.base.cli.Interrupt.requested", True)
            patch.setattr("host.base.cli.held", contextlib.nullcontext)  # not so early: there would be no run yet
            assert answer(simulate.main, *options, "--run-dir", "r")[0] == 130
        return json.loads(whole[1])

    return make


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--preset", "article", "--seed", 3, "--cols", 11),
        ("--pixel-bits", 4, "--epochs", 2),
        ("--engine", "float"),
        ("--engine", "python"),
    ],
    ids=str,
)
def test_resume_needs_the_run_directory_only(answer, stopped, options):
    whole = stopped(*SMALL, "--epochs", 3, *options)
    code, out, err = answer(simulate.main, "--run-dir", "r", "--resume", "--json")
    assert code == 0, err
    found = json.loads(out)
    for name in whole.keys() - {"run_dir", "images_per_second"}:
        assert found[name] == whole[name]


def test_options_that_say_the_same_again_are_welcome(answer, stopped):
    options = (*SMALL, "--epochs", 2, "--seed", 5, "--preset", "critical", "--pixel-bits", 8, "--engine", "llvm")
    whole = stopped(*options)
    code, out, _ = answer(simulate.main, *options, "--run-dir", "r", "--resume", "--json")
    assert code == 0 and json.loads(out)["digest"] == whole["digest"]


def test_options_that_contradict_the_run_are_named_as_options(answer, stopped, tmp_path):
    stopped(*SMALL, "--epochs", 3)
    before = snapshot(tmp_path)
    assert len(before) == 8
    for flag, values in VALUES.items():
        if flag == "--rows":
            values = [7]
        refused = answer(simulate.main, "--run-dir", "r", "--resume", flag, *values)
        assert_refused(refused, flag, "the run in r", f"leave {flag} out")
        for field in ("images", "pixel_bits", "arithmetic"):
            assert field not in refused[2]
    assert snapshot(tmp_path) == before


def test_data_are_found_again_where_they_were(answer, stopped, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    digits = dataset.load().limited(40, 20)
    for name, key in zip(dataset.CHECKSUMS, dataset.ARRAYS, strict=True):
        array = getattr(digits, key)
        header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / name).write_bytes(header + array.tobytes())
    whole = stopped("--data", "data", "--epochs", 2)
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    code, out, err = answer(simulate.main, "--run-dir", tmp_path / "r", "--resume", "--json")
    assert code == 0, err
    assert json.loads(out)["digest"] == whole["digest"]
    folder.rename(tmp_path / "moved")
    assert_refused(answer(simulate.main, "--run-dir", tmp_path / "r", "--resume"), "name its data with --data")
    moved = answer(simulate.main, "--run-dir", tmp_path / "r", "--resume", "--json", "--data", tmp_path / "moved")
    assert moved[0] == 0


def test_runs_of_earlier_versions_that_did_not_keep_where_their_data_were(answer, stopped, tmp_path):
    whole = stopped(*SMALL, "--epochs", 2)
    path = tmp_path / "r/config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "source"}))
    code, out, _ = answer(simulate.main, "--run-dir", "r", "--resume", "--json")
    assert code == 0 and json.loads(out)["digest"] == whole["digest"]


@pytest.mark.parametrize("options", [(), ("--run-dir", "r")])
def test_a_port_that_is_not_there_leaves_no_run_directory_behind(answer, tmp_path, options):
    assert_refused(answer(stream.main, "--port", "/dev/shoreline-none", *SMALL, *options), "/dev/shoreline-none")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command, options, again",
    [
        (stream, ("--twin", "--baud", 9600, "--sim-arch", "cpython"), "--baud 9600 --sim-arch cpython --twin"),
        (stream, ("--port", "/dev/a b", "--exit", "--replace"), "--port '/dev/a b' --exit"),
        (stream, ("--json", "--preset", "article"), "--json"),
        (simulate, ("--engine", "python", "--json", "--seed", 3), "--engine python --json"),
    ],
)
def test_the_way_on_repeats_what_the_run_does_not_remember(answer, monkeypatch, command, options, again):
    def follow(run, chunk, status, again, *more):
        raise cli.UserError(again)

    monkeypatch.setattr(output, "follow", follow)
    monkeypatch.setattr(BoardLearner, "ready", lambda learner, opened=True: None)
    monkeypatch.setattr(stream, "connected", lambda args, config, data, work: work(
        BoardLearner(config, data, lambda: None), cli.Interrupt()))  # fmt: skip
    err = answer(command.main, *SMALL, *options, "--run-dir", "a b")[2]
    assert err.endswith(f"error: python -m {command.NAME} --run-dir 'a b' --resume {again}\n")


def test_the_way_on_repeats_where_data_are_unless_the_run_began_with_them():
    for resume, words in ((True, " --data d"), (False, "")):
        args = argparse.Namespace(given={"data", "seed", "resume"}, data="d", resume=resume)
        assert way_on(args, "host.stream", Path("r")) == f"python -m host.stream --run-dir r --resume{words}"


def test_a_board_does_not_take_up_a_run_of_the_oracle(answer, stopped):
    stopped(*SMALL, "--engine", "float", "--epochs", 2)
    assert_refused(answer(stream.main, "--run-dir", "r", "--resume"), "float64 oracle", "use host.simulate")
