"""host.study: what it trains and writes; whatever stops it or fails, it goes on to the same table."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from small_run import noise, refused

from host import simulate, study
from host.base import cli
from host.base.files import lock
from host.studies import pool, work
from host.studies.directory import Turn
from host.studies.runner import Study, Work
from host.studies.work import Ended, Job

ROOT = Path(__file__).resolve().parent.parent
HERE = ("--data", "noise.npz", "--backend", "threading")
SPEC = """
name = "small"
about = "a small one"
images = {images}
epochs = {epochs}
test_images = 30
seeds = "1-3"

[quick]
epochs = 1
seeds = "2"

[[sweep]]
figure = "bits"
series = "{{rounding}}"
x = "fraction bits"
graph = "lattice"
preset = "critical"
disturb = "message bits={{level}} rounding={{rounding}}"
levels = [3, 7]
over = {{ rounding = ["floor"] }}
"""
TEAMS, SEEDS = 3, 3  # with the baseline
LONG = 20  # epochs


def prepare(place: Path) -> None:
    """Two studies, of a moment and of some seconds, and their data."""
    data = noise(1500, 30, 12, 6)
    arrays = {"train_x": data.train_images, "train_y": data.train_labels}
    np.savez(place / "noise.npz", **arrays, test_x=data.test_images, test_y=data.test_labels)
    (place / "small.toml").write_text(SPEC.format(images=60, epochs=2))
    (place / "long.toml").write_text(SPEC.format(images=1500, epochs=LONG))


@pytest.fixture(autouse=True)
def prepared(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)


def tables(path: Path) -> tuple[bytes, bytes]:
    return (path / "results.csv").read_bytes(), (path / "results.json").read_bytes()


def lines(path: Path) -> list[dict[str, str]]:
    with open(path / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def started(*options: object) -> subprocess.Popen:
    """The command, in a session of its own, as in a terminal: what it starts is told of Ctrl-C, too."""
    argv = [sys.executable, "-m", "host.study", *map(str, options)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def wait_for(done: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def under_way(path: Path) -> bool:
    """Whether a run has saved, but has not come to its end."""
    files = [file for file in path.glob("runs/*/epochs.jsonl") if 1 < file.read_text().count("\n") < LONG - 10]
    return len(files) >= SEEDS


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[bytes, bytes]:
    """The tables of the long study, undisturbed, from processes."""
    place = tmp_path_factory.mktemp("whole")
    prepare(place)
    argv = [sys.executable, "-m", "host.study", "long.toml", "--data", "noise.npz", "--out", "s"]
    done = subprocess.run(argv, cwd=place, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return tables(place / "s")


# --- what it writes


def test_runs_are_run_directories_that_train_as_alone(answer):
    code, _, err = answer(study.main, "small.toml", *HERE, "--out", "s")
    assert code == 0, err
    found = lines(Path("s"))
    assert [(x["series"], x["level"], x["seed"], x["status"]) for x in found] == [
        (series, level, seed, "complete")
        for series, level in (("undisturbed", "0"), ("floor", "3"), ("floor", "7"))
        for seed in "123"
    ]
    assert len({x["run"] for x in found}) == TEAMS * SEEDS
    assert {path.name for path in Path("s/runs").iterdir()} == {x["run"] for x in found}
    options = ("--preset", "critical", "--limit", 60, "--epochs", 2, "--data", "noise.npz", "--json")
    for row in (found[1], found[5]):  # seed 2 of the baseline, and seed 3 of the first level
        disturbed = ("--disturb", row["disturb"]) if row["disturb"] else ()
        alone = json.loads(answer(simulate.main, *options, "--seed", row["seed"], *disturbed)[1])
        assert (alone["digest"], str(alone["test_accuracy"])) == (row["digest"], row["test_accuracy"])
        again = answer(simulate.main, "--resume", "--run-dir", f"s/runs/{row['run']}", "--json")
        assert json.loads(again[1])["digest"] == row["digest"]


def test_the_result_is_a_table_or_one_json_object(answer):
    code, out, err = answer(study.main, "small.toml", *HERE, "--out", "s")
    assert code == 0 and out.startswith("Study small, by host.study\n")
    assert "  bits, undisturbed (lattice, snap1, critical): 0." in out and "  bits, floor, 3: 0." in out
    assert err.count("bits, floor, 3: ") == 1
    found = json.loads(answer(study.main, "--resume", "--out", "s", "--json")[1])
    stored = json.loads(Path("s/results.json").read_text())
    assert found["results"] == stored["results"] and (found["complete"], found["failed"]) == (9, 0)
    plain, three, _ = stored["results"]
    pairs = [plain["accuracies"][seed] - three["accuracies"][seed] for seed in "123"]
    assert three["drop"] == pytest.approx(sum(pairs) / 3, abs=1e-6) and three["n"] == 3
    about = json.loads(Path("s/study.json").read_text())
    assert about["complete"] and about["seeds"] == [1, 2, 3] and about["spec"]["name"] == "small"
    ids = [x["id"] for x in about["conditions"]]
    assert [x["baseline"] for x in about["conditions"]] == [ids[0]] * 3


def test_nothing_is_trained_twice(answer, monkeypatch):
    assert answer(study.main, "small.toml", *HERE, "--out", "s")[0] == 0
    before = tables(Path("s"))
    monkeypatch.setattr(study, "Pool", None)  # nothing is started
    code, _, err = answer(study.main, "small.toml", "--resume", "--out", "s")
    assert code == 0 and tables(Path("s")) == before and "0 of them to do" in err


def test_directories_without_a_name_are_numbered(answer):
    for _ in range(2):
        assert answer(study.main, "small.toml", *HERE, "--quick")[0] == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["study-small-quick", "study-small-quick-2"]
    assert [(x["epochs"], x["seed"]) for x in lines(Path("runs/study-small-quick"))] == [("1", "2")] * 3


def test_data_are_read_once_in_each_process(answer, monkeypatch):
    seen = []
    load = work.dataset.load
    monkeypatch.setattr(work, "load", work.lru_cache(1)(lambda source: seen.append(source) or load(source)))
    assert answer(study.main, "small.toml", *HERE, "--workers", 1, "--out", "s")[0] == 0
    assert len(seen) == 1


# --- failures


@pytest.fixture
def made(answer, monkeypatch) -> Callable[[], Study]:
    """made() is the small study in a new directory, s, as the command makes it, before anything is trained."""

    def make() -> Study:
        found: list[Study] = []
        monkeypatch.setattr(study, "run", lambda args: found.append(study.opened(args)))
        assert answer(study.main, "small.toml", *HERE, "--out", "s")[0] == 0
        return found[0]

    return make


def test_a_run_that_fails_is_written_down_and_tried_again_and_its_team_goes_on(answer, monkeypatch):
    assert answer(study.main, "small.toml", *HERE, "--out", "good")[0] == 0
    opened = work.opened

    def flaky(paths: Sequence[Path], *rest: object) -> object:
        runs = opened(paths, *rest)
        if any(run.config.seed == 2 and "bits=7" in run.config.disturb for run in runs):
            raise MemoryError("none left\nat all")
        return runs

    monkeypatch.setattr(work, "opened", flaky)
    code, out, err = answer(study.main, "small.toml", *HERE, "--out", "s")
    found = lines(Path("s"))
    bad = found[7]
    assert code == 1 and [x["status"] for x in found] == ["complete"] * 7 + ["failed", "complete"]
    assert bad["error"] == "MemoryError: none left at all" and bad["test_accuracy"] == ""
    assert f"run {bad['run']} (seed 2) failed: MemoryError" in err
    assert f"1 runs failed ({bad['run']}); results.csv says why" in err and "--resume --out s" in err
    assert "bits, floor, 7: " in out and "(2 seeds, 1 failed)" in out
    assert json.loads(Path("s/failures.jsonl").read_text()) == {"run": bad["run"], "error": bad["error"]}
    assert answer(study.main, "--resume", "--out", "s", *HERE)[0] == 1
    monkeypatch.setattr(work, "opened", opened)
    assert answer(study.main, "--resume", "--out", "s", *HERE)[0] == 0
    assert tables(Path("s")) == tables(Path("good"))


def test_a_run_directory_that_is_damaged_fails_alone(answer):
    assert answer(study.main, "small.toml", *HERE, "--out", "s")[0] == 0
    run = Path("s/runs") / lines(Path("s"))[4]["run"]
    (run / "epochs.jsonl").write_text("")
    (run / "checkpoint.npz").write_bytes(b"PK")
    code, _, err = answer(study.main, "--resume", "--out", "s", *HERE)
    assert code == 1 and "checkpoint.npz" in lines(Path("s"))[4]["error"], err
    assert [x["status"] for x in lines(Path("s"))].count("failed") == 1


class Deadly:
    """A pool some of whose workers die: as soon as one of these seeds is trained, all that is under way is lost."""

    workers = 2

    def __init__(self, seeds: Sequence[int]):
        self.seeds = seeds
        self.begun: list[list[int]] = []

    def work(self, teams: Iterator[Sequence[Job]], at_once: int, source: object, turn: Turn) -> Iterator[list[Ended]]:
        for team in teams:
            seeds = [job.config.seed for job in team]
            self.begun.append(seeds)
            if set(seeds) & set(self.seeds) and "bits=3" in team[0].config.disturb:
                raise BrokenPipeError
            yield [Ended(job.name, {"test_accuracy": 0.5, "train_accuracy": 0.5, "digest": "0"}) for job in team]


@pytest.mark.parametrize("seeds", [[2], [1, 3]])
def test_a_worker_s_death_is_laid_to_the_run_that_was_alone_with_it(made, seeds):
    deadly = Deadly(seeds)
    with cli.Interrupt() as status:
        Work(made(), deadly).follow(status)  # type: ignore[arg-type]
    found = lines(Path("s"))
    assert [x["seed"] for x in found if x["status"] == "failed"] == [str(seed) for seed in seeds]
    assert all("a worker process died of it (BrokenPipeError" in x["error"] for x in found if x["status"] == "failed")
    assert [x["status"] for x in found].count("complete") == 9 - len(seeds)
    assert deadly.begun == [[1, 2, 3], [1, 2, 3], [1], [2], [3], [1, 2, 3]]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for children in /proc")
def test_a_worker_that_is_killed_is_replaced_and_the_table_is_the_same(tmp_path, whole):
    run = started("long.toml", "--data", "noise.npz", "--out", "s")
    wait_for(lambda: under_way(tmp_path / "s"))
    os.kill(workers(run.pid)[-1], signal.SIGKILL)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert err.count("a worker process died (TerminatedWorkerError); its runs go on one by one\n") == 1
    assert "Traceback" not in err and tables(tmp_path / "s") == whole


def workers(parent: int) -> list[int]:
    """Child processes of this one that train."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and b"popen_loky" in path.with_name("cmdline").read_bytes():
                found.append(int(path.parent.name))
        except (OSError, IndexError):
            continue
    return sorted(found)


# --- stops


def test_ctrl_c_saves_all_and_the_whole_command_goes_on(tmp_path, whole):
    run = started("long.toml", "--data", "noise.npz", "--out", "s")
    wait_for(lambda: under_way(tmp_path / "s"))
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (cli.EXIT_INTERRUPTED, "") and "Traceback" not in err, err
    assert err.endswith("saved; go on with: python -m host.study --resume --out s\ninterrupted\n")
    begun = [path for path in (tmp_path / "s/runs").iterdir() if (path / "checkpoint.npz").exists()]
    assert begun and not all(x["status"] == "complete" for x in lines(tmp_path / "s"))
    goes_on = started("--resume", "--out", "s")
    assert goes_on.communicate(timeout=60) and goes_on.returncode == 0
    assert tables(tmp_path / "s") == whole


def test_a_study_that_is_killed_goes_on_to_the_same_table_at_once(tmp_path, whole):
    """Although its workers still had the runs when it died."""
    run = started("long.toml", "--data", "noise.npz", "--out", "s")
    wait_for(lambda: under_way(tmp_path / "s"))
    run.kill()
    again = started("--resume", "--out", "s")
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0 and "failed" not in err, err
    assert tables(tmp_path / "s") == whole
    run.communicate()


def test_runs_stop_when_another_command_has_its_turn(made):
    """A worker that cannot be reached, of a cluster that was lost, say, leaves its runs to the next one."""
    found = made()
    turn = found.directory.take_turn()
    team = found.teams()[0]
    assert all(ended.epoch for ended in work.work(team, found.source, turn))
    found.directory.take_turn()
    other = found.teams()[1]
    assert work.work(other, found.source, turn) == [Ended(job.name) for job in other]
    assert not any(job.path.exists() for job in other)


# --- elsewhere


def test_a_dask_cluster_ends_with_the_same_table(tmp_path, whole):
    pytest.importorskip("distributed")
    run = started("long.toml", "--data", "noise.npz", "--out", "s", "--backend", "dask", "--workers", "2")
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0 and "Traceback" not in err, err
    assert tables(tmp_path / "s") == whole


@pytest.mark.slow
@pytest.mark.parametrize("how", ["one worker", "killed", "interrupted"])
def test_a_cluster_elsewhere(tmp_path, whole, how):
    """Its scheduler is named; a worker of it may be killed, and Ctrl-C saves there, too."""
    distributed = pytest.importorskip("distributed")
    count = 1 if how == "one worker" else 2
    with distributed.LocalCluster(count, threads_per_worker=1, dashboard_address=None) as cluster:
        options = ("--backend", "dask", "--scheduler", cluster.scheduler_address)
        run = started("long.toml", "--data", "noise.npz", "--out", "s", *options)
        wait_for(lambda: under_way(tmp_path / "s"))
        if how == "killed":
            next(iter(cluster.workers.values())).process.process._process.kill()
        if how == "interrupted":
            os.killpg(run.pid, signal.SIGINT)
        _, err = run.communicate(timeout=120)
        if how == "interrupted":
            assert run.returncode == cli.EXIT_INTERRUPTED, err
            run = started("--resume", "--out", "s", *options)
            _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert tables(tmp_path / "s") == whole


def test_a_team_that_dask_gives_up_is_no_end_of_waiting(monkeypatch):
    """joblib's own backend tells nobody of a task that Dask lost with its workers."""
    pytest.importorskip("distributed")
    kind = pool.dask_backend()
    backend, lost, told = kind.__new__(kind), Future(), []
    monkeypatch.setattr(kind.__base__, "submit", lambda self, func, callback: lost)
    backend.submit(None, told.append)
    lost.set_exception(OSError("KilledWorker"))
    assert isinstance(told[0], OSError)
    with pytest.raises(OSError, match="KilledWorker"):
        backend.retrieve_result_callback(told[0])


# --- what is refused


def test_options_that_do_not_go_together(answer, tmp_path):
    before = sorted(tmp_path.iterdir())
    for options, said in (
        ((), "which study? Choose one of article, bits, graphs, mismatch, noise, tau"),
        (("small",), "small is no study, and cannot be read as the file of one"),
        (("--resume",), "--resume needs the study to go on with; add --out DIR"),
        (("--resume", "--out", "x"), "x holds no study to resume"),
        (("--resume", "--quick", "--out", "x"), "--quick counts for nothing with --resume"),
        (("small.toml", "--scheduler", "tcp://x:1"), "--scheduler counts for nothing with --backend loky"),
        (("small.toml", "--workers", 0), "--workers 0: choose 1 to 4096"),
        (("small.toml", "--data", "nonesuch"), "nonesuch"),
        (("small.toml", "--out", "noise.npz"), "noise.npz exists already, and holds no study"),
        (("small.toml", "--out", "."), ". exists already, and holds no study"),
    ):
        code, out, err = answer(study.main, *options)
        assert (code, out) == (2, "") and said in err and err.count("\n") == 1, err
    assert sorted(tmp_path.iterdir()) == before


def test_another_study_is_left_alone(answer, tmp_path):
    assert answer(study.main, "small.toml", *HERE, "--out", "s", "--quick")[0] == 0
    before = tables(Path("s"))
    np.savez("other.npz", **{**np.load("noise.npz"), "train_y": (np.arange(1500) % 2)})
    for options, said in (
        (("small.toml", "--out", "s"), "s holds a study; add --resume to go on with it, or give another --out"),
        (("long.toml", "--out", "s", "--resume"), "s holds another study than long.toml is now (small, quick)"),
        (("--out", "s", "--resume", "--data", "other.npz"), "s was begun with other data"),
    ):
        code, out, err = answer(study.main, *options)
        assert (code, out) == (2, "") and said in err, err
    with open("s/turn", "a+b") as other:
        code = "import sys; from host.base.files import lock; print(lock(open('s/turn', 'r+b')), flush=True); input()"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen([sys.executable, "-c", code.replace("open(", "f := open(")], stdin=-1, stdout=-1,
                              text=True, env=environment) as holder:  # fmt: skip
            assert holder.stdout.readline() == "True\n" and not lock(other)
            assert "s is in use by another process" in answer(study.main, "--resume", "--out", "s")[2]
            holder.communicate("\n")
    assert tables(Path("s")) == before
    Path("s/study.json").write_text("[1]")
    assert "study.json is damaged (it is no study's)" in answer(study.main, "--resume", "--out", "s")[2]


def test_backends_and_schedulers_that_are_not_there(monkeypatch):
    refused(lambda: pool.Pool("nonesuch", 2, None), "joblib has no backend nonesuch", "choose loky or dask")
    monkeypatch.setattr(pool, "CONNECT", 0.2)
    pytest.importorskip("distributed")
    refused(lambda: pool.Pool("dask", 2, "tcp://127.0.0.1:9"), "--scheduler tcp://127.0.0.1:9: no Dask scheduler with")
