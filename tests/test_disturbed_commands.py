"""Disturbed runs by command: begun, stopped, resumed and tested; and every refusal."""

import json
from pathlib import Path

import numpy as np
import pytest

from host import simulate, stream

TEXT = "message bits=6 rounding=stochastic; weight mismatch=0.1"


@pytest.fixture
def data(tmp_path) -> Path:
    """A small data set of the user's own: 40 and 20 sequences of 6 steps, 5 channels, 3 classes."""
    draw = np.random.default_rng(3)
    x = draw.integers(0, 256, (60, 6, 5), np.uint8)
    y = np.arange(60) % 3
    path = tmp_path / "own.npz"
    np.savez(path, train_x=x[:40], train_y=y[:40], test_x=x[40:], test_y=y[40:])
    return path


def refused(answer, *given: object, parts: tuple[str, ...], command=simulate.main) -> None:
    code, out, err = answer(command, *given)
    assert (code, out) == (2, ""), err
    assert err.splitlines()[-1].startswith("error: ") and all(part in err for part in parts), err


def test_a_disturbed_run_is_kept_resumed_and_tested_as_it_is(answer, data, tmp_path):
    given = ("--data", data, "--graph", "lattice", "--json")
    code, out, err = answer(simulate.main, *given, "--epochs", 2, "--disturb", TEXT, "--run-dir", "whole")
    assert code == 0, err
    whole = json.loads(out)
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert TEXT in json.dumps(config)
    answer(simulate.main, *given, "--epochs", 2, "--run-dir", "plain")
    assert json.loads((tmp_path / "plain" / "config.json").read_text()) != config
    code, out, err = answer(simulate.main, "--evaluate", "whole/checkpoint.npz", "--data", data, "--json")
    assert code == 0, err
    assert json.loads(out)["test_accuracy"] == whole["test_accuracy"]
    code, out, err = answer(simulate.main, "--run-dir", "whole", "--resume", "--json")
    assert code == 0 and json.loads(out)["digest"] == whole["digest"]


@pytest.mark.parametrize("given", [(), ("--seeds", "1-2")])
def test_what_a_network_has_not_is_refused_before_anything_is_written(answer, data, tmp_path, given):
    refused(answer, "--data", data, "--graph", "diagonal", "--disturb", "cross noise=0.1", "--run-dir", "run", *given,
            parts=("this network has no cross",))  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given, parts",
    [
        (("--disturb", "foo bits=1"), ("--disturb: 'foo' is no signal; choose one of y",)),
        (("--disturb", "y bits=40"), ("--disturb: y: bits=40; choose 0 to 29",)),
        (("--disturb", TEXT, "--engine", "python"), ("under --engine llvm only",)),
        (("--disturb", TEXT, "--engine", "checked"), ("under --engine llvm only",)),
        (("--disturb", TEXT, "--engine", "float"), ("done to integers",)),
        (("--disturb", "incoming block=3"), ("block is not done to incoming here; choose of bits",)),
    ],
)
def test_what_cannot_be_done_is_refused(answer, data, given, parts):
    refused(answer, "--data", data, "--epochs", 1, *given, parts=parts)


def test_another_disturbance_than_the_runs_is_refused_on_resuming(answer, data):
    code, _, err = answer(simulate.main, "--data", data, "--epochs", 1, "--disturb", TEXT, "--run-dir", "run")
    assert code == 0, err
    refused(answer, "--run-dir", "run", "--resume", "--disturb", "y bits=3", parts=("--disturb",))
    code, _, err = answer(simulate.main, "--run-dir", "run", "--resume", "--disturb", TEXT)
    assert code == 0, err


def test_a_board_does_not_take_a_disturbed_run(answer, data):
    code, _, err = answer(simulate.main, "--data", data, "--epochs", 1, "--disturb", TEXT, "--run-dir", "run")
    assert code == 0, err
    parts = ("is of a disturbed network, which no board has; use host.simulate",)
    refused(answer, "--run-dir", "run", "--resume", parts=parts, command=stream.main)
    refused(answer, "--evaluate", "run/checkpoint.npz", "--data", data, parts=parts, command=stream.main)
