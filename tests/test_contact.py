"""Finding a board, losing it and waiting for it: what is an error at once, what is waited for, and what is said."""

import struct
import types
from collections.abc import Callable
from zlib import crc32

import pytest
from scripted_board import Answers, Line, hello, small, state

from firmware import wire
from host.base import cli
from host.board import learner, link, transport
from host.board.learner import BoardLearner
from host.board.transport import LinkLost


class Scene:
    """A learner on a scripted line. port: what connect() raises now, if anything."""

    def __init__(self, monkeypatch, answers: Callable[[int, int], Answers]):
        self.line = Line(answers)
        self.port: Callable[[], str | None] = lambda: None
        self.connects: list[float] = []
        self.said: list[str] = []
        self.stopped = False
        monkeypatch.setattr(learner, "time", types.SimpleNamespace(sleep=self.line.sleep, monotonic=self.line.clock))
        self.learner = BoardLearner(
            *small(),
            self.connect,
            stopped=lambda: self.stopped,
            say=self.said.append,
            link=link.Link(clock=self.line.clock),
        )

    def connect(self) -> Line:
        self.connects.append(self.line.now)
        assert len(self.connects) < 1000, "again and again"
        if problem := self.port():
            raise cli.UserError(problem)
        return self.line


@pytest.fixture
def scene(monkeypatch) -> Callable[..., Scene]:
    """scene(answers) is a Scene; without answers, one of a board that greets and opens at once."""
    return lambda answers=willing: Scene(monkeypatch, answers)


def willing(kind: int, n: int) -> Answers:
    """The answers of a board in good order."""
    return [(0.01, {wire.ATTACH: hello(), wire.OPEN: state()}[kind])]


def silent(kind: int, n: int) -> Answers:
    """The answers of nobody."""
    return []


def test_a_board_that_is_unplugged_during_the_very_first_open_is_waited_for(scene) -> None:
    play = scene()
    play.line.answers = lambda kind, n: [] if kind == wire.OPEN and n == 1 else willing(kind, n)
    play.line.fail = (0.2, "the port has gone")  # with the first OPEN under way

    def port() -> str | None:
        if len(play.connects) == 1:
            return None
        play.line.fail = None
        return "there is no port; is the board plugged in?" if play.line.now < 30 else None

    play.port = port
    play.learner.ready()
    assert play.learner.connected and play.line.now > 30
    assert len(play.connects) > 10
    assert play.said[0].startswith("the port has gone; waiting for the board")
    assert all(text.endswith(" s: there is no port; is the board plugged in?") for text in play.said[1:])


def test_a_board_that_is_reset_during_the_very_first_open_is_waited_for_however_slowly_it_starts(scene) -> None:
    play = scene()
    back = 25.0

    def answers(kind: int, n: int) -> Answers:
        if kind == wire.OPEN and n == 1:
            return [(0.5, hello(0))]
        return willing(kind, n) if n == 1 or play.line.now > back else []

    play.line.answers = answers
    play.learner.ready()
    assert play.line.now > back
    assert play.said[0].startswith("the board has started anew; waiting for the board")
    assert not [text for text in play.said if "--install" in text]
    assert len(play.said) == len(set(play.said)) <= 3 + 2


def test_a_firmware_that_has_spoken_once_is_waited_for_and_nobody_is_told_to_install_it(scene) -> None:
    play = scene()
    play.line.answers = lambda kind, n: willing(kind, n) if (kind, n) == (wire.ATTACH, 1) or play.line.now > 60 else []
    play.learner.ready()
    assert play.line.now > 60
    assert "waiting for the board" in play.said[0] and not [text for text in play.said if "--install" in text]


def test_a_beacon_is_a_word_of_the_firmware_and_a_board_that_does_not_hear_is_waited_for(scene) -> None:
    play = scene(silent)
    for k in range(40):
        play.line.later(0.5 * k, hello(0))

    def answers(kind: int, n: int) -> Answers:
        return willing(kind, n) if play.line.now > 19 else []

    play.line.answers = answers
    play.learner.ready()
    assert play.line.now > 19
    assert len(play.said) <= 2 and "waiting" in play.said[0]


def test_silence_from_the_start_is_said_to_be_waited_for_and_then_an_error_with_the_way_out(scene) -> None:
    play = scene(silent)
    with pytest.raises(cli.UserError, match=r"no firmware answered on this port.*--install"):
        play.learner.ready()
    assert link.PATIENCE <= play.line.now < link.PATIENCE + 1
    assert len(play.said) == 1 and play.said[0].startswith("no answer yet; waiting for the board")


def test_a_board_that_answers_at_once_is_not_said_to_be_waited_for(scene) -> None:
    play = scene()
    play.learner.ready()
    assert play.said == []


def test_a_port_that_is_missing_from_the_start_is_an_error_at_once(scene) -> None:
    play = scene()
    play.port = lambda: "there is no port"
    with pytest.raises(cli.UserError, match="there is no port"):
        play.learner.ready()
    assert (play.line.now, len(play.connects), play.said) == (0.0, 1, [])


def test_a_port_that_goes_away_before_any_hello_is_an_error_only_after_some_patience(scene) -> None:
    play = scene(silent)
    play.line.fail = (0.5, "the port has gone")
    play.port = lambda: None if len(play.connects) == 1 else "there is no port"
    with pytest.raises(cli.UserError, match="there is no port"):
        play.learner.ready()
    assert link.PATIENCE <= play.line.now < link.PATIENCE + 1


def test_a_port_that_comes_back_before_any_hello_is_taken(scene) -> None:
    """As that of a board whose USB starts anew when the port is opened."""
    play = scene()
    play.line.fail = (0.05, "the port has gone")

    def port() -> str | None:
        if len(play.connects) == 1:
            return None
        play.line.fail = None
        return "there is no port" if play.line.now < 2 else None

    play.port = port
    play.learner.ready()
    assert play.learner.connected


def test_an_other_end_that_hangs_up_again_and_again_is_an_error_after_some_patience(scene) -> None:
    play = scene(silent)
    play.line.fail = (0.0, "the other end has closed the connection")
    with pytest.raises(cli.UserError, match="no firmware answered: the other end has closed the connection, again and"):
        play.learner.ready()
    assert link.PATIENCE <= play.line.now < link.PATIENCE + 1
    assert len(play.connects) > 5
    assert len(play.said) == 1 and "waiting" in play.said[0]


def test_causes_that_alternate_are_said_once_each_and_then_every_ten_seconds(scene) -> None:
    play = scene()
    play.learner.ready()
    play.learner.lost(LinkLost("the port has gone"))
    play.line.answers = silent

    def port() -> str | None:
        if play.line.now > 60:
            play.line.answers, play.line.fail = willing, None
            return None
        play.line.fail = (play.line.now, "the port has gone")
        return "the port is busy" if len(play.connects) % 2 else None

    play.port = port
    play.learner.ready()
    assert len(play.connects) > 50
    assert len({text.rpartition(": ")[2] for text in play.said[1:]}) == 2
    assert 60 // (learner.AGAIN + learner.PAUSE) <= len(play.said) - 2 <= 60 // learner.AGAIN


@pytest.mark.parametrize("spoken, advised", [(True, False), (False, True)], ids=["after a HELLO", "from the start"])
def test_a_prompt_asks_for_an_installation_only_where_no_firmware_ran(scene, spoken: bool, advised: bool) -> None:
    play = scene()
    if spoken:
        play.learner.ready()
        play.learner.lost(LinkLost("the port has gone"))
    play.line.answers = lambda kind, n: [(0.1, "\r\n>>> ")]
    with pytest.raises(cli.UserError, match=r"at its MicroPython prompt.*reset the board") as error:
        play.learner.ready()
    assert ("--install" in str(error.value)) == advised


def test_another_version_of_the_wire_is_an_error_at_once(scene) -> None:
    play = scene(lambda kind, n: [(0.01, hello(version=9))])
    with pytest.raises(cli.UserError, match="speaks version 9 of the wire"):
        play.learner.ready()
    assert play.line.now < 1


@pytest.mark.parametrize("where", ["no answer", "no hello", "no port", "hellos only"])
def test_ctrl_c_ends_every_wait_within_a_second(scene, where: str) -> None:
    play = scene()
    play.learner.ready()
    pressed = play.line.now + 7.77
    play.learner.stopped = play.learner.link.stopped = lambda: play.line.now >= pressed
    if where != "no answer":
        play.learner.lost(LinkLost("the port has gone"))
    if where == "no port":
        play.port = lambda: "there is no port"
    if where == "hellos only":
        for k in range(100):
            play.line.later(0.3 * k, hello(0))
    play.line.answers = silent
    with pytest.raises(transport.Gone):
        play.learner.digest()
    assert pressed <= play.line.now < pressed + 1


def test_parameters_that_were_read_are_saved_even_if_the_board_does_not_say_that_it_saved_them(scene) -> None:
    """Ctrl-C, and a board that goes away, or takes long, when it is to write its own checkpoint."""
    play = scene()
    play.learner.ready()
    words = 4 * play.learner.config.rows * play.learner.config.cols

    def answers(kind: int, n: int) -> Answers:
        tag = play.line.last[1]
        if kind == wire.READ:
            _, _, first, count = struct.unpack(wire.READ_FORMAT, play.line.last)
            return [(0.01, struct.pack(wire.READ_FORMAT, wire.WORDS, tag, first, count) + bytes(4 * count))]
        if kind == wire.QUERY:
            return [(0.01, struct.pack(wire.STATE_FORMAT, wire.STATE, tag, 0, crc32(bytes(4 * words + 4)), 0))]
        assert kind == wire.CHECKPOINT
        play.stopped = True
        return []

    play.line.answers = answers
    begun = play.line.now
    try:
        assert play.learner.params().size == words
    except transport.Gone:
        pytest.fail("nothing is saved")
    assert play.learner.known[1] == 0 and play.learner.known[0] is not None
    assert play.line.now - begun < 1.5


def test_after_ctrl_c_an_answer_that_takes_its_time_is_still_taken(scene) -> None:
    play = scene()
    play.learner.ready()
    play.stopped = True
    begun = play.line.now
    play.line.later(0.4, state())
    assert play.learner.link.receive(link.ANSWER) == state()
    assert play.line.now == begun + 0.4
