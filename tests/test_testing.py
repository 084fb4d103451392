"""Test images on the board: they are answered as the engine would, learn nothing, and give way to training."""

import pytest
from bare_board import Board
from frames import COLS, ack, cut, golden, lattice, pixels, refusal, result

from firmware import wire


def test_tests_do_not_learn() -> None:
    board = Board().begin(3)
    wanted = lattice()
    wanted.load(golden(3)[2], 3)
    for number, image in ((1, 50), (2, 51), (7, 52)):
        *some, last = cut(wire.TEST, number, image=image)
        for body, row in zip(some, (4, 8), strict=True):
            assert ack(board.ask(body)) == (wire.TEST, number, row, wire.FLAG_RATES)
        tested = board.ask(last)
        assert tested[0] == wire.TESTED
        assert result(tested)[:3] == (number, image % COLS, wanted.predict(pixels(image)))
        assert board.ask(some[0]) == board.ask(last) == tested, "repeated"
    assert board.digest() == golden(3)[0]
    board.train()
    assert board.digest() == golden(4)[0]


def test_tests_need_no_rates() -> None:
    board = Board()
    board.attach()
    board.open()
    assert result(board.ask(*cut(wire.TEST, 0)))[0] == 0


def test_a_test_pushes_a_training_image_aside_which_is_done_again() -> None:
    board = Board().begin(1)
    first, second, third = cut(wire.TRAIN, 1)
    board.ask(first, second)
    board.ask(*cut(wire.TEST, 9, image=70)[:2])
    assert refusal(board.ask(third)) == (wire.TRAIN, 1, 0)
    board.ask(cut(wire.TEST, 9, image=70)[2])
    assert refusal(board.ask(third)) == (wire.TRAIN, 1, 0)
    board.ask(first, second, third)
    assert board.digest() == golden(2)[0]


def test_a_training_image_pushes_a_test_aside_which_is_done_again() -> None:
    board = Board().begin(1)
    wanted = lattice()
    wanted.load(golden(2)[2], 2)
    tests = cut(wire.TEST, 9, image=70)
    board.ask(tests[0])
    board.train()
    assert refusal(board.ask(tests[1])) == (wire.TEST, 9, 0)
    assert result(board.ask(*tests))[:3] == (9, 0, wanted.predict(pixels(70)))
    assert board.digest() == golden(2)[0]


def test_another_test_pushes_a_test_aside() -> None:
    board = Board().begin()
    board.ask(cut(wire.TEST, 5, image=70)[0])
    assert refusal(board.ask(cut(wire.TEST, 6, image=71)[1])) == (wire.TEST, 6, 0), "no rows of two images in one"
    whole = result(board.ask(*cut(wire.TEST, 6, image=71)))
    assert whole[:3] == (6, 71 % COLS, lattice().predict(pixels(71)))


@pytest.mark.parametrize("number", [2**30, 2**31, 2**32 - 1])
def test_a_test_number_of_more_than_30_bits_is_refused(number: int) -> None:
    board = Board().begin()
    for body in cut(wire.TEST, number, image=0):
        assert refusal(board.ask(body)) == (wire.TEST, 0, 0)
