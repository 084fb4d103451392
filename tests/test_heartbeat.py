"""Signs of life while something takes its time."""

import sys
import threading
from types import SimpleNamespace

import pytest

from host.base.heartbeat import heartbeat, say


def test_it_beats_until_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    twice, beats = threading.Event(), []

    def text() -> str:
        beats.append(1)
        if len(beats) == 2:
            twice.set()
        return f"beat {len(beats)}"

    before = threading.active_count()
    with heartbeat(text, 0.01):
        assert twice.wait(30)
    assert threading.active_count() == before
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("beat 1\nbeat 2\n")


def test_a_stderr_that_cannot_be_written_to_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(text: str) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=write, flush=lambda: None))
    say("nobody hears this")
