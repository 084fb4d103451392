"""host.simulate --seeds: each of several runs is what it is alone, wherever they stop, and whatever stops them."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from small_run import CONFIG, DATA, FILES, refused

from host import simulate
from host.base import cli
from host.engine.lanes import Lanes, groups
from host.engine.learners import FixedLearner, LaneLearner
from host.engine.worker import team
from host.runs.checkpoint import Checkpoint
from host.runs.config import Config, configure
from host.runs.directory import RunDirectory
from host.runs.ensemble import Ensemble
from host.runs.run import Learner, Run, side_by_side
from host.runs.seeds import Member, numbers

ROOT = Path(__file__).resolve().parent.parent
SMALL = ("--limit", 40, "--test-limit", 20, "--epochs", 2)
LONG = ("--limit", "600", "--test-limit", "50", "--epochs", "8")  # a second


def opened(path: Path, config: Config, learner: type[Learner] = LaneLearner) -> Run:
    run = Run(config, DATA, learner(config.network()), RunDirectory(path, config, (path / "config.json").exists()), 1e9)
    run.resume()
    return run


def finish(run: Run) -> None:
    for _ in run.train(7):
        pass


def contents(path: Path) -> tuple[object, ...]:
    """All that a run has written, but for what the clock says."""

    def untimed(epochs: list[dict]) -> list[dict]:
        return [{**epoch, "images_per_second": 0} for epoch in epochs]

    saved = Checkpoint.read(path / "checkpoint.npz")
    lines = [json.loads(line) for line in (path / "epochs.jsonl").read_text().splitlines()]
    assert lines == saved.epochs
    about = {**vars(saved), "params": saved.params.tobytes(), "seconds": 0, "epochs": untimed(saved.epochs)}
    config = json.loads((path / "config.json").read_text())
    assert sorted(file.name for file in path.iterdir()) == FILES
    return about, config


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[tuple[str, int], tuple[object, ...]]:
    """What runs write that the golden model trains, one after the other, by preset and seed."""
    found = {}
    for preset, seed in product(("article", "critical"), range(1, 10)):
        path = tmp_path_factory.mktemp("alone") / "run"
        finish(opened(path, configure(DATA, preset, seed, 3, cols=3), FixedLearner))
        found[preset, seed] = contents(path)
    return found


@pytest.mark.parametrize("preset", ["article", "critical"])
@pytest.mark.parametrize("count", [3, 9])
def test_runs_side_by_side_write_what_each_writes_alone(tmp_path, alone, preset, count):
    seeds = range(1, count + 1)
    runs = [opened(tmp_path / f"{seed}", configure(DATA, preset, seed, 3, cols=3)) for seed in seeds]
    seen = [(now.epoch, now.image, now.tested) for now in side_by_side(runs, team, 10)]
    assert seen == [
        (epoch, *at) for epoch in (1, 2, 3) for at in ((10, 0), (20, 0), (23, 0), (23, DATA.test_labels.size))
    ]
    for seed in seeds:
        assert contents(tmp_path / f"{seed}") == alone[preset, seed]


@pytest.mark.parametrize("stops", [(0, 5, 23), (23, 24, 23), (46, 3, 69), (69, 69, 1), (69, 69, 69)])
def test_runs_that_stopped_at_different_steps_go_on_together_or_alone(tmp_path, alone, stops):
    """A stop at 23, 46 or 69 is at the end of an epoch: the first of two such is still to be tested, others are."""
    for seed, stop in enumerate(stops, 1):
        run = opened(tmp_path / f"{seed}", replace(CONFIG, seed=seed))
        for _ in run.train(1):
            if run.step == stop and (seed == 1 or stop % 23 or len(run.epochs) == stop // 23):
                break
        if stop:
            run.save()
        run.directory.close()
    seeds = range(1, len(stops) + 1)
    runs = [opened(tmp_path / f"{seed}", replace(CONFIG, seed=seed)) for seed in seeds]
    for now in side_by_side(runs, team, 10):
        if now.epoch == 3:
            break  # another stop, together
    for run in runs:
        run.save()
    finish(opened(tmp_path / "1", replace(CONFIG, seed=1)))
    rest = [opened(tmp_path / f"{seed}", replace(CONFIG, seed=seed)) for seed in (2, 3)]
    for _ in side_by_side(rest, team, 10):
        pass
    for seed in seeds:
        assert contents(tmp_path / f"{seed}") == alone["article", seed]


def test_a_lane_with_neighbours_does_not_train_by_itself():
    learners = [LaneLearner(replace(CONFIG, seed=seed).network()) for seed in (1, 2)]
    shared = team([Run(CONFIG, DATA, learner, None) for learner in learners])
    before = [learner.digest() for learner in learners]
    with pytest.raises(ValueError, match="2 lanes train together"):
        learners[0].train(DATA.train_images[:4], DATA.train_labels[:4])
    assert [learner.digest() for learner in learners] == before
    assert shared.train(DATA.train_images[np.zeros((4, 2), int)], np.zeros((4, 2), int)) != [0, 0]


@pytest.mark.parametrize("count, workers", list(product((0, 1, 2, 5, 8, 9, 16, 17, 33, 100, 1000), (1, 2, 3, 64))))
def test_groups_hold_all_and_fit_the_lanes(count, workers):
    found = groups(count, workers)
    assert sum(found) == count and all(1 <= size <= 16 for size in found)
    assert max(found, default=0) - min(found, default=0) <= 1
    for size in set(found):
        assert Lanes([CONFIG.network()] * size).count == size


def test_eight_lattices_use_both_of_two_cores_and_all_lanes_of_one():
    assert groups(8, 2) == [4, 4] and groups(8, 1) == [8] and groups(16, 2) == [8, 8]


# --- the command


def test_the_result_is_that_of_the_runs_alone_with_any_number_of_workers(answer, tmp_path):
    digests = {}
    for seed in (1, 2, 3, 5, 8):
        single = json.loads(answer(simulate.main, *SMALL, "--seed", seed, "--json", "--run-dir", f"s{seed}")[1])
        digests[seed] = single["digest"], single["test_accuracy"], single["train_accuracy"]
    found = {}
    for workers in (1, 2):
        code, out, err = answer(simulate.main, *SMALL, "--seeds", "1-3,5,8", "--json", "--workers", workers)
        assert code == 0, err
        found[workers] = json.loads(out)
        assert out.count("\n") == 1 and err.count("epoch   ") == 2
        runs = found[workers]["runs"]
        assert {run["seed"]: (run["digest"], run["test_accuracy"], run["train_accuracy"]) for run in runs} == digests
        assert [run["run_dir"] for run in runs] == [f"runs/small-world-short-{seed}-{workers}" for seed in digests]
        for seed in digests:
            assert contents(tmp_path / f"runs/small-world-short-{seed}-{workers}") == contents(tmp_path / f"s{seed}")
    accuracies = [accuracy for _, accuracy, _ in digests.values()]
    summary = {name: value for name, value in found[1].items() if name not in ("runs", "images_per_second")}
    assert summary == {
        "mean": pytest.approx(np.mean(accuracies), abs=1e-6),
        "sd": pytest.approx(np.std(accuracies, ddof=1), abs=1e-6),
        "lowest": min(accuracies),
        "highest": max(accuracies),
        "images": 40,
        "test_images": 20,
        "epochs": 2,
        "steps": 80,
    }
    assert found[1]["images_per_second"] > 0


def test_complete_runs_are_only_reported_and_missing_ones_begin(answer, tmp_path, monkeypatch):
    begun = answer(simulate.main, *SMALL, "--seeds", "7", "--run-dir", "d/{seed}x", "--preset", "article")
    assert begun[0] == 0 and "standard deviation" not in begun[1]
    more = answer(simulate.main, "--seeds", "7,2", "--run-dir", "d/{seed}x", "--resume")
    assert more[0] == 0, more[2]
    assert json.loads((tmp_path / "d/2x/config.json").read_text())["preset"] == "article"
    monkeypatch.setattr("host.runs.ensemble.Group", None)  # nothing is started
    again = answer(simulate.main, "--seeds", "7,2", "--run-dir", "d/{seed}x", "--resume")
    assert again[:2] == more[:2] and "complete" in again[2]
    lines = again[1].splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["seed", "7"], ["seed", "2"]]
    assert "over n - 1" in lines[4]


def started(*options: object) -> subprocess.Popen:
    fixed = ("-m", "host.simulate", "--seeds", "1-3", "--workers", "1", "--no-report")
    argv = [sys.executable, *fixed, *map(str, options)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def steps(path: Path) -> list[int]:
    files = [path / f"seed-{seed}/checkpoint.npz" for seed in (1, 2, 3)]
    return [Checkpoint.read(file).step if file.exists() else 0 for file in files]


def wait_for(done) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def whole(answer, tmp_path) -> tuple[object, ...]:
    """What a run of LONG with seed 2 writes alone. The commands that follow run beside it."""
    assert answer(simulate.main, *LONG, "--seed", 2, "--run-dir", "alone")[0] == 0
    return contents(tmp_path / "alone")


def test_ctrl_c_saves_all_and_the_whole_command_goes_on(tmp_path, whole):
    run = started(*LONG, "--run-dir", "r")
    wait_for(lambda: min(steps(tmp_path / "r")) > 0)  # an epoch
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (cli.EXIT_INTERRUPTED, "") and "Traceback" not in err
    again = "python -m host.simulate --run-dir r --resume --seeds 1-3 --workers 1 --no-report"
    assert err.endswith(f"saved 3 runs; go on with: {again}\ninterrupted\n")
    stopped = steps(tmp_path / "r")
    assert len(set(stopped)) == 1 and 0 < stopped[0] < 600 * 8
    started("--run-dir", "r", "--resume").communicate(timeout=60)
    assert contents(tmp_path / "r/seed-2") == whole


@pytest.mark.slow
def test_a_command_that_is_killed_leaves_no_worker_and_nothing_unsaved(tmp_path, whole):
    r = tmp_path / "r"
    run = started(*LONG, "--run-dir", "r")
    wait_for(lambda: min(steps(r)) > 0)
    run.kill()
    run.communicate()

    def free() -> bool:
        try:
            for seed in (1, 2, 3):
                config = RunDirectory.stored(r / f"seed-{seed}")[0]
                RunDirectory(r / f"seed-{seed}", config, resume=True).close()
        except cli.UserError:
            return False
        return True

    wait_for(free)
    assert len(set(steps(r))) == 1
    started("--run-dir", "r", "--resume").communicate(timeout=60)
    assert contents(r / "seed-2") == whole


@pytest.mark.parametrize(
    "ending, said",
    [
        ("os.write(1, b'{'); os.kill(os.getpid(), 9)", "a worker process was killed (signal 9; too little memory?)"),
        ("sys.stderr.write('error: no room'); sys.exit(2)", "no room"),
        ("raise OSError(5)", "a worker process ended with exit code 1: OSError: 5"),
        ("sys.exit(143)", "a worker process was ended by signal 15"),
    ],
)  # fmt: skip
def test_a_worker_that_dies_is_one_line_with_the_way_out(tmp_path, ending, said):
    """The other one, which would go on for ever, is told to save: its stdin ends."""
    members = [Member(replace(CONFIG, seed=seed), tmp_path / f"{seed}") for seed in (1, 2)]
    saved = tmp_path / "saved"
    code = f"import os, sys\nif sys.argv[-1].endswith('1'): {ending}\nos.read(0, 1); open({str(saved)!r}, 'w')"
    ensemble = Ensemble(members, 2, groups)
    with cli.Interrupt() as status:
        text = refused(lambda: ensemble.follow([sys.executable, "-c", code], "COMMAND", status), said, "goes on")
    assert text.endswith("all goes on from the last save with: COMMAND")
    assert saved.exists()
    assert all(group.process.returncode is not None for group in ensemble.groups)


def test_a_second_signal_ends_workers_at_once(tmp_path, monkeypatch):
    """Although they do not react to the first one, after which they are waited for."""
    ensemble = Ensemble([Member(CONFIG, tmp_path)], 1, groups)
    wait = subprocess.Popen.wait

    def struck(process, timeout=None):
        if timeout is None and process.poll() is None:
            signal.raise_signal(signal.SIGINT)
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", struck)
    with cli.Interrupt() as status, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        ensemble.follow([sys.executable, "-c", "import time; time.sleep(100)"], "COMMAND", status)
    assert ensemble.groups[0].process.wait(10) == -signal.SIGKILL


# --- what is refused


@pytest.mark.parametrize(
    "text, seeds",
    [("3", [3]), ("1-3", [1, 2, 3]), ("1,3,5-7", [1, 3, 5, 6, 7]), ("9,0", [9, 0]), ("4-4", [4])],
)
def test_seeds(text, seeds):
    assert numbers(text) == seeds


@pytest.mark.parametrize(
    "text, why",
    [
        ("8-1", "8-1 goes backwards"),
        ("1,2,1", "1 is there 2 times"),
        ("1-4,3", "3 is there 2 times"),
        ("1,,2", "a seed is missing"),
        ("1-", "1- is no seed"),
        ("-1", "-1 is no seed"),
        ("1.5", "1.5 is no seed"),
        ("1 2", "1 2 is no seed"),
        ("٣", "is no seed"),
        ("9" * 5000, "is no seed"),
        ("2147483648", "2147483648 is too large"),
        ("0-1000", "that is too many"),
        ("0-2147483647", "that is too many"),
        ("1-600,1001-1500", "that is too many"),
    ],
)
def test_no_seeds(text, why):
    refused(lambda: numbers(text), "--seeds", why, "choose 1000 at most of 0 to 2147483647, as 1-8 or 1,3,5-7")


@pytest.mark.parametrize(
    "options, said",
    [
        (("--seeds", "1-2", "--seed", 1), "--seed counts for nothing with --seeds"),
        (("--seeds", "1-2", "--evaluate", "x"), "--seeds counts for nothing with --evaluate"),
        (("--workers", 2), "--workers counts for nothing with a single run; add --seeds"),
        (("--seeds", "1-2", "--workers", 0), "--workers 0: choose 1 to 256"),
        *((("--seeds", "1-2", "--engine", engine), f"--engine {engine}") for engine in ("python", "checked", "float")),
        (("--seeds", "1-2", "--resume"), "add --run-dir DIR"),
        (("--seeds", "1-2", "--resume", "--run-dir", "none"), "none holds none of these runs; leave --resume out"),
        (("--seeds", ""), "--seeds is empty"),
        (("--seeds", "1-2", "--rows", 99), "--rows 99"),
    ],
    ids=str,
)
def test_options_that_do_not_go_together(answer, tmp_path, options, said):
    code, out, err = answer(simulate.main, *options)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1 and said in err
    assert not list(tmp_path.iterdir())


def test_directories_that_hold_something_else_are_left_alone(answer, tmp_path):
    assert answer(simulate.main, *SMALL, "--run-dir", "d/seed-2")[0] == 0
    assert answer(simulate.main, *SMALL, "--engine", "float", "--run-dir", "f/seed-1")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for options, said in (
        (("--run-dir", "d/seed-2"), "is the directory of one run; leave --seeds out"),
        (("--run-dir", "d"), "d/seed-2 exists already; add --resume"),
        (("--run-dir", "d", "--resume"), "d/seed-2 belongs to another configuration: --seed is 1 there and 2 here"),
        (("--run-dir", "d", "--resume", "--epochs", 9), "--epochs 9: the run in d/seed-2 was begun with --epochs 2"),
        (("--run-dir", "f", "--resume"), "f/seed-1 computes in float64, and --seeds trains integers only"),
    ):
        code, out, err = answer(simulate.main, "--seeds", "1-2", *options)
        assert (code, out) == (2, "") and said in err and err.count("\n") == 1, err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path != tmp_path / "d/seed-1"} == before


def test_a_run_that_is_in_use_is_refused(answer, tmp_path):
    assert answer(simulate.main, *SMALL, "--seeds", "1-2", "--run-dir", "d")[0] == 0
    code = "import sys; from host.base.files import lock; print(lock(f := open(sys.argv[1], 'r+b')), flush=True)"
    argv = [sys.executable, "-c", code + "; input()", str(tmp_path / "d/seed-2/config.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, stdin=-1, stdout=-1, text=True, env=environment) as other:
        assert other.stdout.readline() == "True\n"
        err = answer(simulate.main, "--seeds", "1-2", "--run-dir", "d", "--resume")[2]
        other.communicate("\n")
    assert "d/seed-2 is in use by another process" in err
