"""Learning rates: no training without them, from which step they hold, and which ones are refused."""

import pytest
from bare_board import Board
from frames import COLS, OTHER_RATES, RATES, ack, cut, golden, lattice, pixels, rates_body, state

from firmware import wire


def test_no_training_without_rates() -> None:
    board = Board()
    board.attach()
    board.open()
    for body in cut(wire.TRAIN, 0):
        assert ack(board.ask(body)) == (wire.TRAIN, 0, 0, wire.FLAG_REFUSED)
    assert state(board.ask(rates_body(0)))[2] == wire.FLAG_RATES
    board.train()
    assert board.digest() == golden(1)[0]


def test_rates_hold_from_their_step_on() -> None:
    wanted = lattice()
    board = Board().begin()
    for step in range(4):
        rates = OTHER_RATES if step >= 2 else RATES
        if step == 2:
            board.ask(rates_body(2, OTHER_RATES))
        wanted.set_rates(rates)
        wanted.train(pixels(step), step % COLS)
        board.train()
        assert board.digest() == wanted.digest()


def test_rates_of_another_step_are_refused_and_change_nothing() -> None:
    board = Board().begin(2)
    for step in (0, 1, 3, 2**30, 2**32 - 1):
        answer = board.ask(rates_body(step, OTHER_RATES, tag=step & 255))
        assert answer[1] == step & 255
        assert state(answer)[2] == wire.FLAG_REFUSED | wire.FLAG_RATES | wire.FLAG_RESULT
    board.train()
    assert board.digest() == golden(3)[0]


@pytest.mark.parametrize("bad", [(32768, 17), (1, 13), (1, 41), (65535, 255)])
@pytest.mark.parametrize("group", range(3))
def test_rates_beyond_the_engines_are_refused(bad: tuple[int, int], group: int) -> None:
    board = Board().begin(1)
    rates = [*RATES[:group], bad, *RATES[group + 1 :]]
    assert state(board.ask(rates_body(1, tuple(rates))))[2] & wire.FLAG_REFUSED
    board.train()
    assert board.digest() == golden(2)[0]
