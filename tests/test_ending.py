"""report.html at the end of runs: where it is, when it is made, and that it costs no run its result."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host import simulate
from host.base import cli
from host.pictures import ending

SMALL = ("--limit", 40, "--test-limit", 20, "--epochs", 1)


@pytest.fixture
def reports(monkeypatch) -> Iterator[list[tuple[list[str], str, str | None]]]:
    """What was to be reported: runs, place, data. As if there were matplotlib."""
    made = []

    def write(paths, out: Path, data: str | None) -> None:
        made.append(([str(path) for path in paths], str(out), data))
        out.write_text("page")

    monkeypatch.setattr(ending, "available", lambda: True)
    monkeypatch.setattr(ending, "write_report", write)
    yield made


def test_a_run_ends_with_its_report_and_makes_it_again_only_if_it_has_gone(answer, reports, tmp_path):
    code, out, err = answer(simulate.main, *SMALL, "--run-dir", "r", "--json")
    assert code == 0 and json.loads(out)["run_dir"] == "r" and err.endswith("\nreport: r/report.html\n")
    assert reports == [(["r"], "r/report.html", None)]
    assert "report" not in answer(simulate.main, "--run-dir", "r", "--resume")[2] and len(reports) == 1
    (tmp_path / "r/report.html").unlink()
    assert answer(simulate.main, "--run-dir", "r", "--resume")[2].endswith("\nreport: r/report.html\n")


def test_runs_with_several_seeds_have_one_report(answer, reports):
    assert answer(simulate.main, *SMALL, "--seeds", "1,2", "--run-dir", "d")[0] == 0
    assert answer(simulate.main, *SMALL, "--seeds", "1,2", "--run-dir", "e/{seed}x")[0] == 0
    paths = ["d/seed-1", "d/seed-2"], ["e/1x", "e/2x"]
    assert reports == [(paths[0], "d/report.html", None), (paths[1], "e/1x/report.html", None)]


@pytest.mark.parametrize("seeds", [(), ("--seeds", "1,2")])
def test_no_report_makes_none(answer, reports, seeds):
    assert answer(simulate.main, *SMALL, "--no-report", *seeds)[0] == 0 and reports == []
    said = answer(simulate.main, "--no-report", "--evaluate", "x")[2]
    assert said.startswith("error: --no-report counts for nothing with --evaluate")


def test_without_matplotlib_there_is_no_report_and_no_word_of_it(answer, reports, monkeypatch, tmp_path):
    monkeypatch.setattr(ending, "available", lambda: False)
    code, _, err = answer(simulate.main, *SMALL, "--run-dir", "r")
    assert code == 0 and "report" not in err and not (tmp_path / "r/report.html").exists()


@pytest.mark.parametrize(
    "error, reason",
    [
        (cli.UserError("no room; make some"), "no room; make some"),
        (KeyError("x\ny"), "'x\\ny'"),
        (MemoryError(), "Memory"),
    ],
)
def test_a_report_that_fails_is_one_line_and_the_run_has_its_result(answer, reports, monkeypatch, error, reason):
    def fails(*args: object) -> None:
        raise error

    monkeypatch.setattr(ending, "write_report", fails)
    code, out, err = answer(simulate.main, *SMALL, "--run-dir", "r", "--json")
    last = err.splitlines()[-1]
    assert code == 0 and json.loads(out)["steps"] == 40
    assert last.startswith(f"no r/report.html: {reason}") and "Traceback" not in err
    assert last.endswith("; the run is saved, and this tries again: python -m host.report r --out r/report.html")


def test_ctrl_c_during_the_report_comes_after_the_result(answer, reports, monkeypatch):
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ending, "write_report", interrupted)
    code, out, _ = answer(simulate.main, *SMALL, "--json")
    assert code == cli.EXIT_INTERRUPTED and json.loads(out)["steps"] == 40


def test_the_real_page_is_about_the_run(answer: Callable, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(ending, "available", lambda: True)
    code, _, err = answer(simulate.main, *SMALL, "--run-dir", "r")
    assert code == 0 and err.endswith("\nreport: r/report.html\n")
    page = (tmp_path / "r/report.html").read_text()
    assert page.startswith("<!doctype html>") and "Learning curves" in page
