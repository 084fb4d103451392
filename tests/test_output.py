"""What is printed where: the result alone on stdout, in one format; progress and all else on stderr."""

import io
import json
import re
import sys
from pathlib import Path

import pytest

from host import simulate, stream
from host.base import cli
from host.board.learner import BoardLearner
from host.board.sim import best_architecture
from host.data.dataset import load
from host.runs import output
from host.runs.config import configure
from host.runs.run import Progress
from tools.networks import NETWORKS

ROOT = Path(__file__).resolve().parent.parent
SMALL = ("--rows", 6, "--limit", 60, "--test-limit", 20)
COMMON = ["test_accuracy", "images", "test_images", "epochs", "steps", "seed", "digest"]
a_board = pytest.mark.skipif(best_architecture() != "x64", reason="no MicroPython on this machine")


def block(out: str) -> dict[str, str]:
    """A printed result: its labels with what stands beside them."""
    title, *lines = out.splitlines()
    assert title and title[0] != " "
    found = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in lines)
    assert len({line.rindex(value) for line, value in zip(lines, found.values(), strict=True)}) == 1, "aligned"
    return found


def assert_same(out: str, as_json: str) -> dict:
    """A block and a JSON object say the same, in the same order; the accuracy is first."""
    assert as_json.count("\n") == 1
    found, result = block(out), json.loads(as_json)
    timed = {"images_per_second", "run_dir", "board_waiting_share", "board_ms_per_step", "board_free_heap"}
    assert next(iter(result)) == "test_accuracy"
    assert list(found) == [output.FIELDS[name][0] for name in result]
    for name, value in result.items():
        if name not in timed:
            assert found[output.FIELDS[name][0]] == output.FIELDS[name][1].format(value)
    return result


@pytest.mark.parametrize("engine", ["llvm", "float"])
def test_the_result_of_a_run_is_all_there_is_on_stdout(answer, engine):
    options = (*SMALL, "--epochs", 1, "--engine", engine)
    code, out, err = answer(simulate.main, *options)
    assert code == 0
    result = assert_same(out, answer(simulate.main, *options, "--json")[1])
    assert set(COMMON) <= set(result) and out.startswith(f"Trained by host.simulate ({engine})\n")
    assert (result["images"], result["test_images"], result["epochs"], result["seed"]) == (60, 20, 1, 1)
    assert result["digest"] in out and result["digest"] in err
    assert block(out)["run directory"] == str(Path("runs") / "small-world-short-1-1")


def test_evaluate_has_the_same_format(answer):
    trained = json.loads(answer(simulate.main, *SMALL, "--epochs", 1, "--run-dir", "r", "--json")[1])
    options = ("--evaluate", "r/checkpoint.npz", "--test-limit", 20)
    code, out, err = answer(simulate.main, *options)
    result = assert_same(out, answer(simulate.main, *options, "--json")[1])
    assert code == 0 and list(result) == [*COMMON, "checkpoint"]
    assert {name: result[name] for name in COMMON} == {name: trained[name] for name in COMMON}
    assert err == "20 test images; 6x10 cells, 28 steps; r/checkpoint.npz\n"


@a_board
def test_a_board_says_the_same_as_host_simulate_and_adds_the_link(answer):
    options = (*SMALL, "--epochs", 1)
    wanted = json.loads(answer(simulate.main, *options, "--json")[1])
    code, out, err = answer(stream.main, *options, "--twin", "--run-dir", "r")
    assert code == 0, err
    found = block(out)
    for name in (*COMMON, "train_accuracy"):
        label, form = output.FIELDS[name]
        assert found[label] == form.format(wanted[name])
    assert list(found)[: len(wanted)] == [output.FIELDS[name][0] for name in wanted]
    assert found["twin"] == "all 60 results were equal: digest and prediction after every image"
    assert "bytes per image" in found and out.startswith("Trained on a simulated board\n")
    # --resume prints it again, with neither a board nor a traceback.
    again = answer(stream.main, "--run-dir", "r", "--resume")
    assert again[0] == 0 and block(again[1]).items() <= found.items()
    assert "; complete\n" in again[2] and "--twin" not in again[2]
    again = answer(stream.main, "--run-dir", "r", "--resume", "--twin")
    assert again[0] == 0 and "the run is complete: there is nothing left that --twin could compare\n" in again[2]
    tested = ("--evaluate", "r/checkpoint.npz", "--test-limit", 20, "--json")
    assert answer(stream.main, *tested)[1] == answer(simulate.main, *tested)[1]


# --- before a run


@pytest.mark.parametrize(
    "command, own, other", [(simulate, 10, "host.stream's is 1"), (stream, 1, "host.simulate's is 10")]
)
def test_the_default_of_epochs_is_said_with_the_other_commands(answer, monkeypatch, command, own, other):
    """In --help, and before the run, which is not begun here."""
    text = " ".join(answer(command.main, "--help")[1].split())
    assert f"(default: {own}; {other}, and with the same --epochs both end in the same digest)" in text

    def begin(run, *args):
        raise cli.UserError("enough")

    monkeypatch.setattr(output, "follow", begin)
    monkeypatch.setattr(BoardLearner, "ready", lambda learner, opened=True: None)
    monkeypatch.setattr(stream, "connected", lambda args, config, data, work: work(
        BoardLearner(config, data, lambda: None), cli.Interrupt()))  # fmt: skip
    said = answer(command.main, *SMALL)[2].splitlines()
    epochs = "1 epoch" if own == 1 else "10 epochs"
    name, default = other.split("'s is ")
    note = f"--epochs is {own} by default, {default} in {name}; equal ones give equal digests"
    assert said[0] == f"60 images x {epochs}, 20 test images; 6x10 cells, 28 steps" and said[2] == note
    assert max(map(len, said)) < 80
    assert "default" not in answer(command.main, *SMALL, "--epochs", 3)[2]


class Pretended:
    """A Run as announce() sees it."""

    def __init__(self, images: int, step: int = 0, epochs: int = 0, **options: object):
        self.config = configure(load().limited(images, 1000), "critical", 1, 2, **options)
        self.step, self.epochs, self.complete = step, [{}] * epochs, step == 2 * images
        self.directory = type("", (), {"path": "r"})


@pytest.mark.parametrize(
    "run, expected",
    [
        (Pretended(5000), 10_000 * 0.136 + 2000 * 0.04),
        (Pretended(5000, 7500, 1), 2500 * 0.136 + 1000 * 0.04),
        (Pretended(50), 100 * 0.136 + 2000 * 0.04),
    ],
)
def test_before_a_run_on_a_board_its_time_is_said(capsys, monkeypatch, run, expected):
    monkeypatch.setattr(output, "board_seconds", lambda config, learning: 0.136 if learning else 0.04)
    output.announce(run, "the board at x", "", board=True)
    told = capsys.readouterr().err
    assert told.endswith(f"; expect {output.duration(expected)} on an RP2040\n")
    output.announce(run, "the board at x", "", board=False)
    assert "expect" not in capsys.readouterr().err


def counted() -> dict[tuple[str, str], int]:
    """Cycles of a whole image as firmware/README.md has them from tools.cost --all, by graph and rule."""
    text = (Path(__file__).parent.parent / "firmware/README.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:]] for line in text.splitlines() if line.count("|") == 15]
    return {(row[0], row[1].replace("both are one", "snap1")): int(row[10].replace(",", "")) for row in rows[2:]}


@pytest.mark.parametrize("graph, rule", NETWORKS)
def test_the_time_that_a_board_takes_is_what_was_counted(monkeypatch, graph, rule):
    """An image of every network, from its first byte to its RESULT."""
    monkeypatch.setattr(output, "EMULATED", 1.0)
    config = configure(load(), None, 1, 1, pixel_bits=4, graph=graph, rule=rule)
    found = output.board_seconds(config, True)
    assert found == pytest.approx(counted()[graph, rule] / 125e6, rel=0.1)
    assert 0.3 * found < output.board_seconds(config, False) < found
    narrow = configure(load(), None, 1, 1, rows=14, pixel_bits=8, graph=graph, rule=rule)
    assert output.board_seconds(narrow, True) < found, "half the work, and as many bytes"


def test_nothing_is_expected_of_a_run_that_is_complete(capsys):
    output.announce(Pretended(50, 100, 2), "the board at x", "", board=True)
    assert capsys.readouterr().err.endswith("; r; complete\n")


@pytest.mark.parametrize(
    "seconds, said", [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (1442, "24 min"), (5990, "100 min"), (8160, "2.3 h")]
)
def test_durations_are_for_people(seconds, said):
    assert output.duration(seconds) == said


# --- progress


def test_off_a_terminal_progress_is_plain_lines(answer, monkeypatch):
    monkeypatch.setattr(output, "EVERY", 0.0)
    monkeypatch.setitem(simulate.CHUNK, "llvm", 4)
    code, _, err = answer(simulate.main, *SMALL, "--epochs", 2)
    lines = err.splitlines()
    assert code == 0 and "\r" not in err and "\x1b" not in err
    training = [line for line in lines if re.match(r"epoch [12]/2  right 0\.\d{3}  image \d+/60", line)]
    testing = [line for line in lines if re.match(r"epoch [12]/2  testing 20/20  right 0\.\d{3}", line)]
    assert (len(training), len(testing)) == (30, 2)
    for line in (training[-1], testing[0]):
        assert re.search(r"  [\d.]+/s  \d+ s left$", line)
    tested = answer(simulate.main, "--evaluate", "runs/small-world-short-1-1/checkpoint.npz", "--test-limit", 20)[2]
    assert re.search(r"^testing 20/20  right 0\.\d{3}  [\d.]+/s  0 s left$", tested, re.MULTILINE)


def test_off_a_terminal_something_is_said_every_ten_seconds_at_least():
    assert output.EVERY <= 10


def test_time_left_counts_training_and_testing_to_the_end_of_the_run(monkeypatch):
    clock = iter(range(0, 1000, 10))  # seconds
    monkeypatch.setattr(output.time, "monotonic", lambda: next(clock))
    said: list[str] = []
    monkeypatch.setattr(output, "say", said.append)
    monkeypatch.setattr(output, "EVERY", 10)
    monkeypatch.setattr(output, "TEST_SHARE", 0.3)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    meter = output.Meter()
    for image in (10, 20, 30):
        meter.tell(Progress(1, 2, image, 40, 5, 100))
    meter.tell(Progress(1, 2, 40, 40, 5, 100, 50, 25))
    assert said == [
        "epoch 1/2  right 0.500  image 10/40",
        f"epoch 1/2  right 0.250  image 20/40  1.0/s  {output.duration(20 + 40 + 0.3 * 200)} left",
        f"epoch 1/2  right 0.167  image 30/40  1.0/s  {output.duration(10 + 40 + 0.3 * 200)} left",
        f"epoch 1/2  testing 50/100  right 0.500  5.0/s  {output.duration(40 + 0.2 * 150)} left",
    ]


def test_the_longest_text_fits_80_columns():
    meter = output.Meter(lambda: "  resent 12")
    meter.spent, meter.done = {"training": 10_000.0, "testing": 10.0}, {"training": 70_000, "testing": 10}
    for tested in (0, 9_900):
        text = meter.text(Progress(10, 10, 59_900, 60_000, 51_000, 10_000, tested, 8_000))
        assert len(text) < 78


def test_text_on_top_of_the_bar_goes_to_stderr(capsys):
    output.say("something")
    assert capsys.readouterr() == ("", "something\n")
