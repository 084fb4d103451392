"""While a board does not answer a person is told so: soon, then every ten seconds, however it is gone."""

import re
import types
from itertools import pairwise

import pytest
from scripted_board import Answers, Line, hello, small, state, working

from firmware import wire
from host.base import cli
from host.board import learner as board
from host.board import link
from host.board.learner import AGAIN, BoardLearner, session_id
from host.board.link import Link
from host.board.transport import LinkLost

AWAY = 45.0  # seconds
SLACK = 1.5  # until one attempt ends and the next begins


def answer(line: Line, kind: int) -> Answers:
    """Of a board that is there, to anything but images."""
    if kind == wire.ATTACH:
        return [(0.01, hello())]
    if kind == wire.OPEN:
        return [(0.01, state())]
    return [(0.01, struct_state(line.last[1]))]


def struct_state(tag: int) -> bytes:
    """A STATE with this tag."""
    return state()[:1] + bytes([tag]) + state()[2:]


class Scene:
    """A learner, its line, and what it says and when. away: from when on nobody answers, and until when."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = (1e9, 1e9)
        self.line = Line(self.answers)
        self.said: list[tuple[float, str]] = []
        monkeypatch.setattr(board, "time", types.SimpleNamespace(sleep=self.line.sleep))
        self.learner = BoardLearner(*small(), self.connect, say=self.say, link=Link(self.line, self.line.clock))
        self.missing = False  # the port is, while the board is away
        self.learner.ready()

    def is_away(self) -> bool:
        return self.away[0] <= self.line.now < self.away[1]

    def answers(self, kind: int, n: int) -> Answers:
        return [] if self.is_away() else answer(self.line, kind)

    def connect(self) -> Line:
        if self.missing and self.is_away():
            raise cli.UserError("there is no port")
        return self.line

    def say(self, text: str) -> None:
        self.said.append((self.line.now, text))

    def leave(self) -> float:
        """The board does not answer from now on; return when that is."""
        self.away = (self.line.now, self.line.now + AWAY)
        return self.line.now


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


@pytest.mark.parametrize("how", ["silent", "lost", "without a port"])
def test_a_board_that_is_gone_in_mid_run_is_said_to_be_waited_for_every_ten_seconds(scene: Scene, how: str) -> None:
    begun = scene.leave()
    scene.missing = how == "without a port"
    if how != "silent":
        scene.learner.lost(LinkLost("the port has gone"))
    assert scene.learner.digest() == "00000000"
    times = [then - begun for then, _ in scene.said]
    assert times[0] <= 2.0
    assert all(b - a <= AGAIN + SLACK for a, b in pairwise([*times, AWAY]))
    first, *later = (text for _, text in scene.said)
    assert "; waiting for the board at step 0" in first and 4 <= len(later) <= 8
    for then, text in scene.said[1:]:
        found = re.match(r"still waiting, (\d+) s: \w+", text)
        assert found and abs(int(found[1]) - (then - begun)) <= 1, text


def test_a_frame_that_gets_lost_is_not_worth_a_word(scene: Scene) -> None:
    scene.leave()
    scene.away = (scene.line.now, scene.line.now + 0.5)
    scene.learner.digest()
    assert scene.learner.link.statistics.timeouts == 1
    assert scene.said == []


def test_a_second_silence_is_told_from_its_own_beginning(scene: Scene) -> None:
    for _ in range(2):
        scene.leave()
        scene.away = (scene.away[0], scene.away[0] + 4)
        scene.learner.digest()
        scene.line.now += 30  # with something else to do than to wait for the board
    assert len(scene.said) == 2
    assert all("does not answer; waiting for the board" in text for _, text in scene.said)


def test_a_board_whose_training_step_takes_long_is_not_said_to_be_gone(scene: Scene) -> None:
    scene.learner.link.pace = 3.0
    scene.leave()
    scene.away = (scene.away[0], scene.away[0] + 4)
    scene.learner.digest()
    assert scene.said == []


def test_a_board_that_is_at_work_on_open_is_not_said_to_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    config, data = small()
    opened = [(0.01, working(session_id(config))), (25.0, state())]
    line = Line(lambda kind, n: [(0.01, hello())] if kind == wire.ATTACH else opened)
    learner = BoardLearner(config, data, lambda: line, say=said.append, link=Link(line, line.clock))
    learner.ready()
    assert "at work" in said[0] and len(said) == 3 and not [text for text in said if link.SILENCE in text]
