"""READ, WRITE and COMMIT: parameters come and go whole and verified, or not at all."""

import struct

import pytest
from bare_board import Board
from frames import COLS, ROWS, ack, commit_body, cut, digest_of, frame, golden, rates_body, refusal, state, write_bodies

from firmware import wire


def test_read_returns_the_parameters() -> None:
    board = Board().begin(2)
    found: list[int] = []
    for first in range(0, 4 * ROWS * COLS, wire.MAX_WORDS):
        count = min(wire.MAX_WORDS, 4 * ROWS * COLS - first)
        answer = board.ask(struct.pack(wire.READ_FORMAT, wire.READ, 0x77, first, count))
        assert struct.unpack_from(wire.READ_FORMAT, answer) == (wire.WORDS, 0x77, first, count)
        found += struct.unpack(f"<{count}i", answer[struct.calcsize(wire.READ_FORMAT) :])
    assert tuple(found) == golden(2)[2]


@pytest.mark.parametrize("first, count", [(0, 0), (0, 57), (0, 255), (119, 2), (120, 1), (65535, 1), (65535, 56)])
def test_read_and_write_of_what_is_not_there_are_ignored(first: int, count: int) -> None:
    board = Board().begin(1)
    head = struct.pack(wire.READ_FORMAT, wire.READ, 1, first, count)
    assert board.raw(frame(head, board.key)) == []
    head = struct.pack(wire.READ_FORMAT, wire.WRITE, 1, first, count)
    for data in (bytes(4 * count), bytes(4 * count + 1), bytes(3), bytes(4)):
        if len(head + data) <= wire.MAX_BODY:
            assert board.raw(frame(head + data, board.key)) == []
    assert board.digest() == golden(1)[0]


def test_no_training_between_write_and_commit() -> None:
    """Parameters that are half written must not be trained, tested or kept."""
    board = Board().begin(2)
    board.open(conversation=2)
    digest, _, params = golden(4)
    for body in write_bodies(params):
        assert state(board.ask(body))[2] == wire.FLAG_LOADING
        for image in (cut(wire.TRAIN, 2), cut(wire.TEST, 3)):
            assert refusal(board.ask(image[0]))[2] == 0
        board.ask(rates_body(2))
        assert refusal(board.ask(cut(wire.TRAIN, 2)[0]))[2] == 0
    beyond = [(step, digest_of(params, step)) for step in (2**30, 2**32 - 1)]  # right, were these steps
    for step, wrong in ((4, digest ^ 1), (5, digest), (4, 0), *beyond):
        assert state(board.ask(commit_body(step, wrong)))[2] & wire.FLAG_LOADING
        assert refusal(board.ask(cut(wire.TRAIN, board.device.lattice.step)[0]))[2] == 0
    assert state(board.ask(commit_body(4, digest))) == (4, digest, 0)
    assert ack(board.ask(cut(wire.TRAIN, 4)[0])) == (wire.TRAIN, 4, 0, wire.FLAG_REFUSED), (
        "the rates are to be set anew"
    )
    board.ask(rates_body(4))
    board.train()
    assert board.digest() == golden(5)[0]


def test_commit_without_write_changes_nothing() -> None:
    """A COMMIT that comes twice, the second time after the training has gone on."""
    board = Board().begin(2)
    for step, digest in ((1, golden(1)[0]), (2, golden(2)[0]), (9, 7)):
        assert state(board.ask(commit_body(step, digest))) == (2, golden(2)[0], wire.FLAG_RATES | wire.FLAG_RESULT)
    board.train()
    assert board.digest() == golden(3)[0]


def test_write_forgets_the_result() -> None:
    """What a repeated image would be told belongs to parameters that are no more."""
    board = Board().begin(3)
    board.open(conversation=2)
    digest, _, params = golden(3)
    board.ask(*write_bodies(params), commit_body(3, digest))
    assert refusal(board.ask(cut(wire.TRAIN, 2)[2])) == (wire.TRAIN, 3, 0)


def test_written_parameters_are_within_the_formats() -> None:
    """load() clips what would lead the engine out of its tables; the digest then tells the host."""
    board = Board().begin()
    board.open(conversation=2)
    wild = tuple((-(2**31), 2**31 - 1)[i // 2 % 2] for i in range(4 * ROWS * COLS))
    answer = board.ask(*write_bodies(wild), commit_body(1, 0))
    _, digest, flags = state(answer)
    assert flags & wire.FLAG_LOADING
    assert state(board.ask(commit_body(1, digest)))[2] == 0
    board.ask(rates_body(1))
    board.train()


def test_a_write_that_comes_late_changes_nothing() -> None:
    """One that comes twice, the second time when training has gone on: it must not undo that."""
    board = Board().begin(1)
    board.open(conversation=2)
    digest, _, params = golden(2)
    board.ask(*write_bodies(params), commit_body(2, digest))
    assert state(board.ask(write_bodies(params)[0])) == (2, digest, wire.FLAG_REFUSED), "not even before RATES"
    board.ask(rates_body(2))
    board.train()
    assert state(board.ask(write_bodies(params)[0]))[:2] == (3, golden(3)[0])
    board.train()
    assert board.digest() == golden(4)[0]
