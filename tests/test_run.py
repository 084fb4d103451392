"""host.runs: a run interrupted anywhere ends as if it had not been, and its directory is never spoilt."""

import csv
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_run import CONFIG, CONFIGS, DATA, FILES, refused

from host.base import files
from host.base.files import aside_of, write_atomically
from host.engine.learners import FixedLearner, FloatLearner, LaneLearner, executor
from host.runs.checkpoint import Checkpoint, digest
from host.runs.config import OPTIONS, Config
from host.runs.directory import RunDirectory
from host.runs.run import Learner, Run

ROOT = Path(__file__).resolve().parent.parent
SAVED = ("checkpoint.npz", "epochs.jsonl", "results.csv")  # one after the other
# Every example begins with a directory of its own.
many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def learner(config: Config = CONFIG, engine: str = "llvm") -> Learner:
    return FloatLearner(config) if config.arithmetic == "float" else FixedLearner(config.network(**executor(engine)))


def opened(path: Path, engine: str = "llvm", config: Config = CONFIG, interval: float = 1e9) -> Run:
    """The run in a directory: a new one, or resumed."""
    resume = (path / "config.json").exists()
    run = Run(config, DATA, learner(config, engine), RunDirectory(path, config, resume), interval)
    if resume:
        run.resume()
    return run


def finish(run: Run, chunk: int = 7) -> Run:
    for _ in run.train(chunk):
        pass
    return run


def untimed(epochs: list[dict]) -> list[dict]:
    """Epochs without what the clock says."""
    return [{k: v for k, v in epoch.items() if k != "images_per_second"} for epoch in epochs]


@cache
def expected(kind: str = "fixed") -> tuple[list[dict], bytes]:
    """Epochs and parameters of a run that nobody interrupts."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        run = finish(opened(Path(directory) / "run", config=CONFIGS[kind]))
        return untimed(run.epochs), run.learner.params().tobytes()


def assert_as_expected(run: Run, kind: str = "fixed") -> None:
    epochs, params = expected(kind)
    assert untimed(run.epochs) == epochs
    assert run.learner.params().tobytes() == params
    saved = Checkpoint.read(run.directory.checkpoint_path)
    assert saved.params.tobytes() == params and saved.step == run.step == CONFIG.total
    lines = [json.loads(line) for line in (run.directory.path / "epochs.jsonl").read_text().splitlines()]
    assert lines == run.epochs
    assert sorted(p.name for p in run.directory.path.iterdir()) == FILES


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Makes names of directories that are not there yet."""
    numbers = iter(range(10**6))
    yield lambda: tmp_path / f"run{next(numbers)}"


# --- uninterrupted


def test_epochs_say_what_happened(tmp_path):
    run = finish(opened(tmp_path / "run"))
    assert [epoch["epoch"] for epoch in run.epochs] == [1, 2, 3]
    assert [epoch["step"] for epoch in run.epochs] == [23, 46, 69]
    for epoch in run.epochs:
        assert epoch["train_accuracy"] * 23 == pytest.approx(round(epoch["train_accuracy"] * 23), abs=1e-4)
    last = run.epochs[-1]
    assert last["digest"] == run.learner.digest() == digest(run.learner.params(), 69)
    assert last["test_accuracy"] == round(run.learner.evaluate(DATA.test_images, DATA.test_labels), 6)
    assert all(epoch["images_per_second"] > 0 for epoch in run.epochs)
    assert len({epoch["digest"] for epoch in run.epochs}) == 3


def test_results_are_a_table_for_a_spreadsheet(tmp_path):
    """Of the epochs as they are told, each with what tells its run from others."""
    run = opened(tmp_path / "run", config=replace(CONFIG, seed=7, disturb="message bits=6; y noise=0.1"))
    results = tmp_path / "run/results.csv"
    for _ in run.train(100):
        if len(run.epochs) == 2:
            assert len(results.read_text().splitlines()) == 3
    with open(results, newline="") as file:
        lines = list(csv.DictReader(file))
    assert [{name: line[name] for name in run.epochs[0]} for line in lines] == [
        {name: str(value) for name, value in epoch.items()} for epoch in run.epochs
    ]
    for line in lines:
        for name in ("seed", "graph", "rule", "preset", "disturb", "images", "test_images", "data"):
            assert line[name] == str(getattr(run.config, name))


@pytest.mark.parametrize("kind, engine", [("fixed", "python"), ("fixed", "llvm"), ("fixed", "lanes"), ("float", "")])
def test_the_last_image_comes_with_what_was_said_of_it_before_its_step(tmp_path, kind, engine):
    config = CONFIGS[kind]

    def guesses(chunk: int) -> dict[int, int]:
        """By training step; and the image is the one that was due there."""
        made = LaneLearner(config.network()) if engine == "lanes" else learner(config, engine)
        run = Run(config, DATA, made, RunDirectory(tmp_path / f"{chunk}", config, False))
        assert run.last() is None
        found = {}
        for _ in run.train(chunk):
            image, label, found[run.step] = run.last()
            which = config.order((run.step - 1) // 23)[(run.step - 1) % 23]
            assert np.array_equal(image, DATA.train_images[which]) and label == DATA.train_labels[which]
        return found

    one, seven = guesses(1), guesses(7)
    assert seven.items() <= one.items() and len(one) == CONFIG.total
    labels = [DATA.train_labels[which] for epoch in range(3) for which in config.order(epoch)]
    hits = sum(guess == label for guess, label in zip(one.values(), labels, strict=True))
    assert hits == round(sum(epoch["train_accuracy"] for epoch in expected(kind)[0]) * 23)


def test_training_accuracy_counts_predictions_before_each_step(tmp_path):
    run = finish(opened(tmp_path / "run"))
    lattice, hits = CONFIG.network(), 0
    for step, n in enumerate(CONFIG.order(0)):
        lattice.set_rates(CONFIG.rates(step))
        hits += lattice.train(DATA.train_images[n].tobytes(), int(DATA.train_labels[n])) == DATA.train_labels[n]
    assert run.epochs[0]["train_accuracy"] == round(hits / 23, 6)
    assert run.epochs[0]["digest"] == f"{lattice.digest():08x}"


def test_progress_never_passes_over_an_epoch(tmp_path):
    seen = [(now.epoch, now.image) for now in opened(tmp_path / "run").train(10)]
    assert sorted(set(seen)) == [(epoch, image) for epoch in (1, 2, 3) for image in (10, 20, 23)]


@pytest.mark.parametrize("engine", ["python", "llvm"])
@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_result_depends_neither_on_the_engine_nor_on_the_chunk(tmp_path, engine, chunk):
    assert_as_expected(finish(opened(tmp_path / "run", engine), chunk))


def test_digest_is_that_of_the_lattice():
    lattice = CONFIG.network()
    lattice.step = 12345
    assert digest(np.array(lattice.w, np.int32), 12345) == f"{lattice.digest():08x}"
    assert digest(np.array(lattice.w, np.int32), 12346) != f"{lattice.digest():08x}"


# --- interrupted


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9), st.booleans(), st.sampled_from(["llvm", "python"]))),
)
@many
def test_stopped_and_killed_anywhere_under_either_engine(fresh, stops):
    """Stop after so many chunks of such a size, having saved (Ctrl-C) or not (kill), and go on under any engine."""
    path = fresh()
    for chunks, size, saved, engine in stops:
        run = opened(path, engine)
        for _, _ in zip(range(chunks), run.train(size), strict=False):
            pass
        if saved:
            run.save()
    assert_as_expected(finish(opened(path)))


def test_stopped_while_testing(tmp_path):
    """An epoch's test is under way when the run stops: its line is neither lost nor written twice."""
    run = opened(tmp_path / "run")
    for now in run.train(1):
        if now.image == 23 and now.epoch == 2 and run.step == 46 and len(run.epochs) == 1:
            break  # the last image of the epoch has been trained, or some of the test images have been seen
    for now, _ in zip(run.train(1), range(2), strict=False):
        assert now.image == 23 and len(run.epochs) == 1
    run.save()
    assert_as_expected(finish(opened(tmp_path / "run")))


@pytest.mark.parametrize("stop", [5, 23, 40])
def test_float_runs_resume_too(tmp_path, stop):
    config = CONFIGS["float"]
    run = opened(tmp_path / "run", config=config)
    for _ in run.train(3):
        if run.step >= stop:
            run.save()
            break
    assert_as_expected(finish(opened(tmp_path / "run", config=config)), "float")


class Killed(BaseException):
    """What nobody catches: the process is no more."""


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 7, 10])
def test_killed_while_a_file_is_written(tmp_path, monkeypatch, function, at):
    """os.fsync and os.replace are called once for each file: config.json first, then those of SAVED again and again."""
    path = tmp_path / "run"
    calls = iter(range(1, 10**6))
    real = getattr(os, function)

    def dying(*args):
        if next(calls) == at:
            raise Killed
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, function, dying)
        patch.setattr(Path, "unlink", lambda *args, **kwargs: None)  # the dead do not clean up
        with pytest.raises(Killed):
            finish(opened(path, interval=0))
    assert aside_of(path / ("config.json" if at == 1 else SAVED[(at - 2) % 3])).exists()
    assert_as_expected(finish(opened(path, interval=0)))


def test_killed_in_the_middle_of_a_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def half(file):
        file.write(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, half)
    assert contents(tmp_path) == {"file": b"old"}
    aside_of(path).write_bytes(b"ne")
    write_atomically(path, lambda file: file.write(b"new"))
    assert contents(tmp_path) == {"file": b"new"}


def test_full_disk_leaves_the_last_save(tmp_path, monkeypatch):
    path = tmp_path / "run"
    run = opened(path)
    for _ in run.train(5):
        if run.step == 15:
            run.save()
            break
    before = contents(path)
    for _ in run.train(5):
        break

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        refused(run.save, "cannot write to", "No space left on device", "--resume")
    assert contents(path) == before
    assert_as_expected(finish(opened(path)))


def test_epochs_files_are_made_again_from_the_checkpoint(tmp_path):
    run = opened(tmp_path / "run")
    for _ in run.train(100):
        if len(run.epochs) == 2:
            run.save()
            break
    (tmp_path / "run/epochs.jsonl").write_text('{"epoch": 1, "ste')
    (tmp_path / "run/results.csv").unlink()
    assert_as_expected(finish(opened(tmp_path / "run")))


# --- the directory


@pytest.mark.parametrize("name", ["config.json", "checkpoint.npz", "notes.txt"])
def test_directory_that_holds_something_is_left_alone(tmp_path, name):
    """--resume is the way out where there is a run, and nowhere else."""
    (tmp_path / name).write_text("precious")
    said = refused(lambda: RunDirectory(tmp_path, CONFIG, resume=False), "exists already", "--run-dir")
    assert ("--resume" in said) == (name == "config.json")
    assert contents(tmp_path) == {name: b"precious"}


def test_file_in_the_place_of_the_directory_is_left_alone(tmp_path):
    file = tmp_path / "file"
    file.write_text("precious")
    assert "--resume" not in refused(lambda: RunDirectory(file, CONFIG, resume=False), "exists already", "no directory")
    refused(lambda: RunDirectory(file / "run", CONFIG, resume=False), "cannot use", "--run-dir")
    refused(lambda: RunDirectory(file, CONFIG, resume=True), str(file))
    assert file.read_text() == "precious"


def test_empty_directory_will_do(tmp_path):
    assert_as_expected(finish(opened(tmp_path)))


def test_nothing_to_resume(tmp_path):
    refused(lambda: RunDirectory(tmp_path / "run", CONFIG, resume=True), "no run to resume", "leave --resume out")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("change", [{"seed": 2}, {"epochs": 4}, {"data": "0" * 16}, {"arithmetic": "float"}])
def test_run_of_another_configuration_is_left_alone(tmp_path, change):
    path = tmp_path / "run"
    finish(opened(path))
    before = contents(path)
    other = Config.from_dict({**CONFIG.as_dict(), **change})
    (name,) = change
    parts = ("other data", "--data") if name == "data" else ("another configuration", OPTIONS[name], str(change[name]))
    refused(lambda: RunDirectory(path, other, resume=True), *parts)
    assert contents(path) == before


def test_checkpoint_of_another_run_is_refused(tmp_path):
    path, other = tmp_path / "run", tmp_path / "other"
    finish(opened(path))
    finish(opened(other, config=CONFIGS["float"]))
    (path / "checkpoint.npz").write_bytes((other / "checkpoint.npz").read_bytes())
    before = contents(path)
    refused(lambda: opened(path), "another run's")
    assert contents(path) == before


def test_run_that_lost_its_checkpoint_does_not_begin_anew(tmp_path):
    path = tmp_path / "run"
    finish(opened(path))
    (path / "checkpoint.npz").unlink()
    before = contents(path)
    refused(lambda: opened(path), "lost its checkpoint")
    assert contents(path) == before


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b'{"seed": 1}', b"null"])
def test_damaged_config_is_refused(tmp_path, damage):
    path = tmp_path / "run"
    finish(opened(path))
    (path / "config.json").write_bytes(damage)
    before = contents(path)
    refused(lambda: opened(path), "config")
    assert contents(path) == before


def test_run_in_use_by_another_process_is_refused(tmp_path):
    path = tmp_path / "run"
    opened(path)
    code = "import sys; from host.base.files import lock; print(lock(f := open(sys.argv[1], 'r+b')), flush=True)"
    code += "; input()"
    argv = [sys.executable, "-c", code, str(path / "config.json")]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, cwd=ROOT, text=True) as other:
        assert other.stdout.readline() == "True\n"
        refused(lambda: opened(path), "in use by another process", "--run-dir")
        other.communicate("\n")
    assert_as_expected(finish(opened(path)))


def test_runs_without_a_name_get_new_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [RunDirectory.unnamed(CONFIG).path for _ in range(3)]
    assert [str(path) for path in paths] == [str(Path("runs") / f"article-1-{n}") for n in (1, 2, 3)]
    (paths[1] / "config.json").unlink()
    paths[1].rmdir()
    assert RunDirectory.unnamed(CONFIG).path == paths[1]


def test_unwritable_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("a file")
    refused(lambda: RunDirectory.unnamed(CONFIG), "name a place with --run-dir")


@pytest.mark.parametrize("named", [True, False])
def test_what_never_began_leaves_no_directory_behind(tmp_path, monkeypatch, named):
    """The disk is full as config.json is written."""

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(files.os, "fsync", full)
    if named:
        refused(lambda: RunDirectory(Path("mine/a/b"), CONFIG, resume=False), "No space left on device")
        refused(lambda: RunDirectory(Path("mine"), CONFIG, resume=False), "No space left on device")
    else:
        refused(lambda: RunDirectory.unnamed(CONFIG), "No space left on device")
    assert [p.name for p in tmp_path.rglob("*")] == ["mine"]
