"""No tool is silent for long: what is said on stderr while it works, and that stdout stays the result's."""

import json
import sys
import threading
from collections.abc import Callable
from types import ModuleType

import pytest

from host.base import cli, heartbeat
from tools import bench, mutate, parity, soak

Outcome = tuple[int, str, list[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """run(module, ...) calls a command with quick heartbeats; returns exit code, stdout and the lines on stderr."""
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)

    def call(module: ModuleType, *args: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [module.__name__, *args])
        with pytest.raises(SystemExit) as left:
            cli.run(module.main)
        out, err = capsys.readouterr()
        return left.value.code, out, err.splitlines()

    return call


@pytest.mark.slow
def test_bench_names_executors_and_rounds_and_no_goal(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures are for the reader to judge: what we aimed at is nothing that a user's machine fails in."""
    monkeypatch.setattr(bench, "ROUND", {"llvm": 10, "python": 5, "float oracle": 5})
    monkeypatch.setattr(bench, "SIDES", (4, 5))
    monkeypatch.setattr(bench, "CELL_STEPS", 2000)
    code, out, lines = run(bench, "--quick")
    assert code == 0 and "goal" not in out and "reached" not in out
    for part in ("getting python ready", "executors, round 3 of 3", "sizes, round 2 of 3"):
        assert f"bench: {part}" in lines
    code, out, _ = run(bench, "--quick", "--json")
    assert code == 0 and not {"goal", "reached"} & json.loads(out).keys()


def test_parity_says_how_far_it_is(run: Callable) -> None:
    code, out, lines = run(parity, "--images", "300", "--test-images", "50", "--seeds", "1", "--json")
    assert code == 0 and out.count("\n") == 1
    assert any(line.startswith("parity: ") and line.endswith(" of 300 images") for line in lines)


def test_mutate_says_how_far_it_is(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the tests run; here they last until that was said."""
    said = threading.Event()

    def hear(text: str) -> None:
        if text.startswith("mutate: 1 of 2 runs of the tests have ended"):
            said.set()

    def try_out(tests: mutate.Tests, mutation: mutate.Mutation | None) -> tuple[str | None, float]:
        assert mutation is None or said.wait(60)
        return mutation and "test_x.py::test_y", 0.0

    monkeypatch.setattr(heartbeat, "say", hear)
    monkeypatch.setattr(mutate, "try_out", try_out)
    monkeypatch.setattr(mutate, "copy", lambda tree: None)
    monkeypatch.setattr(mutate, "mutate", lambda tree, mutation: None)
    code, out, _ = run(mutate, "--only", "crc")
    assert code == 0 and said.is_set() and "1 mutations, 0 survived" in out


def test_soak_counts_the_faults_of_the_run_that_has_not_ended() -> None:
    total = soak.Total(100)
    total.counts["flip"] = 30
    total.under_way = lambda: 12
    assert total.so_far().strip().startswith("42 of 100 faults")


def test_soak_says_how_far_it_is(run: Callable) -> None:
    code, out, lines = run(soak, "--faults", "300", "--json")
    assert code == 0 and json.loads(out)["faults"] >= 300
    assert any("of 300 faults" in line for line in lines)
