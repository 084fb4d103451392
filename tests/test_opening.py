"""OPEN may take a board long: how long the host waits, when it asks again, and when it does not."""

import time

import pytest
from scripted_board import Line, hello, small, state, working

from firmware import wire
from host.board import link, sim, transport
from host.board.learner import BoardLearner, open_body, session_id
from host.board.link import Link
from host.board.serialport import SerialTransport
from host.board.transport import BoardReset, LinkLost, NoFirmware

CONFIG, _ = small()
SESSION = session_id(CONFIG)


def opening(line: Line, **options: object) -> tuple[Link, tuple[int, int, int]]:
    """Open the session over a line."""
    found = Link(line, line.clock, **options)  # type: ignore[arg-type]
    return found, found.open(open_body(CONFIG, SESSION, 0, 77), SESSION, 77)


def to_open(*answers: tuple[float, bytes | str]) -> Line:
    """A board that answers its first OPEN so, and no other."""
    return Line(lambda kind, n: answers if (kind, n) == (wire.OPEN, 1) else ())


def test_an_open_that_a_healthy_board_works_on_for_long_is_not_repeated() -> None:
    line = to_open((0.01, working(SESSION)), (5.0, state(3)))
    found, answer = opening(line)
    assert answer[0] == 3
    assert line.times(wire.OPEN) == [0.0]
    assert found.statistics.timeouts == 0
    assert line.now == 5.0


def test_an_open_whose_working_was_lost_is_repeated() -> None:
    line = Line(lambda kind, n: [(0.1, state(3))] if n == 2 else [])
    assert opening(line)[1][0] == 3
    assert line.times(wire.OPEN) == [0.0, link.ANSWER]


def test_a_firmware_that_knows_no_working_is_asked_again_and_its_late_answer_taken() -> None:
    line = to_open((4.0, state(3)))
    found, answer = opening(line)
    assert answer[0] == 3
    assert line.times(wire.OPEN) == [0.0, 1.5, 3.0]
    assert found.statistics.timeouts == 2


@pytest.mark.parametrize("stale", [working(SESSION ^ 1), working(SESSION)[:-1], working(SESSION) + b"!"])
def test_what_is_no_working_on_this_open_changes_nothing(stale: bytes) -> None:
    line = Line(lambda kind, n: [(0.1, state() if n == 2 else stale)])
    opening(line)
    assert line.times(wire.OPEN) == [0.0, link.ANSWER]


def test_a_refusal_after_long_work_is_a_refusal() -> None:
    refused = bytes([wire.REFUSED, wire.NO_MEMORY]) + bytes(10)
    with pytest.raises(link.UserError, match="does not fit the board's memory"):
        opening(to_open((0.01, working(SESSION)), (20.0, refused)))


def test_a_board_that_works_for_ever_is_lost_at_last() -> None:
    line = to_open((0.01, working(SESSION)))
    with pytest.raises(LinkLost, match="does not answer"):
        opening(line)
    assert line.times(wire.OPEN) == [0.0]
    assert link.OPENING <= line.now < link.OPENING + 0.1


def test_a_board_that_starts_anew_while_it_works_is_noticed_at_once() -> None:
    line = to_open((0.01, working(SESSION)), (2.0, hello(0)))
    with pytest.raises(BoardReset):
        opening(line)
    assert line.now == 2.0


def test_a_traceback_of_a_board_that_works_is_shown_soon() -> None:
    line = to_open((0.01, working(SESSION)), (1.0, 'Traceback (most recent call last):\r\n  File "x"\r\nOops: no\r\n'))
    with pytest.raises(NoFirmware, match="Oops: no"):
        opening(line)
    assert line.now < 1.0 + 2 * link.ANSWER


def test_ctrl_c_is_heard_while_the_board_works() -> None:
    line = to_open((0.01, working(SESSION)))
    with pytest.raises(transport.Gone):
        opening(line, stopped=lambda: line.now >= 3.0)
    assert 3.0 <= line.now < 4.0


def test_a_board_that_still_works_on_the_open_of_a_host_before_is_waited_for() -> None:
    line = Line(lambda kind, n: [(0.1, working(SESSION)), (9.0, hello())] if n == 1 else [])
    Link(line, line.clock).attach()
    assert 9.0 <= line.now < 9.2


SLOW = """
import time
from fixedpoint import lattice
seed = lattice.Lattice.seed
def slow(self, *arguments):
    if self.rows == 28:  # not the self-test
        time.sleep(2.5 * %f)
    return seed(self, *arguments)
lattice.Lattice.seed = slow
import firmware.main
firmware.main.main()
"""


@pytest.mark.skipif(sim.best_architecture() != "x64", reason="no MicroPython on this machine")
def test_a_real_firmware_that_draws_for_long_is_asked_once(monkeypatch) -> None:
    opens: list[bytes] = []

    def count(data: bytes, to_board: bool) -> bytes:
        opens.extend(frame for frame in data.split(b"\0") if to_board and frame[1:2] == bytes([wire.OPEN]))
        return data

    monkeypatch.setattr(sim, "MAIN", SLOW % link.ANSWER)
    with sim.SimBoard("x64", damage=count) as found:
        learner = BoardLearner(*small(), lambda: SerialTransport(found.port))
        begun = time.monotonic()
        learner.ready()
        assert time.monotonic() - begun > 2 * link.ANSWER
        learner.leave(wire.CLOSE)
    assert len(opens) == 1
    assert learner.link.statistics.timeouts == 0
