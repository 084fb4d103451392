"""Runs on a user's own sequences, end to end: simulated, on a board, resumed, tested, checked and shown."""

import json
from pathlib import Path

import numpy as np
import pytest
import waves

from host import checked, dataset, simulate, stream
from host.data.dataset import load

FEW = ("--limit", 30, "--test-limit", 9, "--epochs", 1, "--json")


@pytest.fixture
def own(tmp_path) -> Path:
    path = tmp_path / "waves.npz"
    np.savez(path, **waves.arrays(300, 50))
    return path


@pytest.fixture
def table(tmp_path) -> Path:
    values, labels = waves.waves(15, 3)
    return waves.write_csv(tmp_path / "waves.csv", values, [waves.KINDS[label] for label in labels])


def told(answered: tuple[int, str, str]) -> dict:
    code, out, err = answered
    assert code == 0, err
    return json.loads(out)


def test_lattice_learns_own_sequences_from_an_npz_file(answer, own):
    options = ("--preset", "article", "--seed", 2, "--epochs", 30, "--engine", "llvm", "--json")
    result = told(answer(simulate.main, "--data", own, *options))
    assert result["test_accuracy"] > 0.8, "a third is chance"


@pytest.mark.parametrize("kind", ["own", "table"])
def test_board_computes_what_the_host_does_on_own_sequences(answer, kind, request):
    path = request.getfixturevalue(kind)
    simulated = told(answer(simulate.main, "--data", path, *FEW))
    streamed = told(answer(stream.main, "--data", path, "--twin", *FEW))
    assert streamed["twin_checks"] == 30
    assert [streamed[name] for name in ("digest", "test_accuracy")] == [
        simulated[name] for name in ("digest", "test_accuracy")
    ]


def test_run_remembers_its_file_and_knows_when_it_has_changed(answer, table):
    told(answer(simulate.main, "--data", table.name, "--run-dir", "r", *FEW))
    again = answer(simulate.main, "--run-dir", "r", "--resume", "--json")
    assert told(again)["steps"] == 30 and "channels are scaled" in again[2]
    tested = told(answer(simulate.main, "--evaluate", "r/checkpoint.npz", "--data", table, "--json"))
    assert tested["test_images"] == 9
    table.write_text(table.read_text().replace("sine", "zine"))  # now the last of the classes
    code, _, err = answer(simulate.main, "--run-dir", "r", "--resume")
    assert code == 2 and "was begun with other data" in err.splitlines()[-1]
    table.unlink()
    code, _, err = answer(simulate.main, "--run-dir", "r", "--resume")
    assert code == 2 and err.count("\n") == 1 and "waves.csv does not exist" in err


@pytest.mark.slow
def test_checking_mode_takes_own_sequences(answer, own):
    code, out, err = answer(checked.main, "--data", own, "--limit", 20)
    assert code == 0 and "20 training steps" in out, err


def test_checkpoint_of_digits_is_not_tested_on_own_sequences(answer, own):
    told(answer(simulate.main, "--limit", 1, "--test-limit", 1, "--epochs", 1, "--run-dir", "d", "--json"))
    code, _, err = answer(simulate.main, "--evaluate", "d/checkpoint.npz", "--data", own)
    assert code == 2 and "needs images of 28 rows with 28 pixels at least" in err


def test_hostile_file_ends_every_command_in_one_line(answer, tmp_path):
    path = tmp_path / "bad\x1b[2J.npz"
    path.write_bytes(b"PK\x05\x06")
    for main, options in ((simulate.main, ()), (stream.main, ()), (checked.main, ()), (dataset.main, ("--show",))):
        code, out, err = answer(main, *options, "--data", path)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith("error: ") and "damaged" in err and "\x1b" not in err


def test_show_says_what_was_read_and_draws_a_sequence_of_each_class(answer, table):
    code, out, err = answer(dataset.main, "--show", table)
    data, lines = load(table), out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"waves.csv: 40 steps x 3 channels, digest {data.digest}"
    assert lines[1] == "train: 36 sequences, per class [12, 12, 12]" and lines[2].startswith("test: 9 sequences")
    assert lines[3] == "values: 0 to 255; channels: x, y, z" and set(data.notes) <= set(lines)
    low, high = data.scaling[0]
    assert f"x: low {low!r}, high {high!r}" in lines
    at = next(i for i, line in enumerate(lines) if line.startswith("class square"))
    drawn = lines[at + 1].removeprefix("x |").removesuffix("|")
    first = data.train_images[np.flatnonzero(data.train_labels == 1)[0]][:, 0]
    assert len(drawn) == 40
    assert [c in "+*#%@" for c in drawn] == [int(value) >= 128 for value in first]


def test_show_as_json_has_all_the_text_has(answer, table):
    found, data = told(answer(dataset.main, "--show", table, "--index", 5, "--json")), load(table)
    assert found["train"] == {"count": 36, "per_class": [12, 12, 12]} and found["test"]["per_class"] == [3, 3, 3]
    assert (found["steps"], found["channels"], found["classes"]) == (40, ["x", "y", "z"], sorted(waves.KINDS))
    assert (found["lowest"], found["highest"], found["digest"]) == (0, 255, data.digest)
    assert found["scaling"] == [list(pair) for pair in data.scaling] and found["notes"] == list(data.notes)
    assert [example["label"] for example in found["examples"]] == [0, 1, 2]
    assert (found["image"]["index"], found["image"]["label"]) == (5, data.train_labels[5])


def test_show_draws_long_and_wide_sequences_small(answer, tmp_path):
    x = np.zeros((2, 256, 64), np.uint8)
    x[:, 128:] = 255
    np.savez(tmp_path / "l.npz", train_x=x, train_y=[0, 1], test_x=x, test_y=[0, 1])
    out = answer(dataset.main, "--show", tmp_path / "l.npz")[1].splitlines()
    assert out.count(f"7 |{' ' * 32}{'@' * 32}|") == 2 and out.count("and 56 more channels") == 2
    assert not [line for line in out if line.startswith("8 |")]


def test_show_takes_its_path_once(answer, own):
    code, _, err = answer(dataset.main, "--show", own, "--data", own)
    assert code == 2 and "--data counts for nothing with a PATH after --show" in err


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "fits"), [(10, True), (64, False)])
def test_largest_sequences_fit_a_simulated_board_or_are_refused(answer, tmp_path, classes, fits):
    x = np.random.default_rng(1).integers(0, 256, (4, 256, 64), np.uint8)
    np.savez(tmp_path / "l.npz", train_x=x, train_y=[0, 1, 2, classes - 1], test_x=x[:1], test_y=[0])
    code, out, err = answer(stream.main, "--data", tmp_path / "l.npz", "--limit", 2, "--twin", "--json")
    if fits:
        assert code == 0 and json.loads(out)["twin_checks"] == 2
    else:
        assert code == 2 and "does not fit the board's memory" in err.splitlines()[-1]
