"""The board's checkpoints: it goes on from one bit-identically, and no bad or foreign one is used or lost."""

import struct
from pathlib import Path

import pytest
from bare_board import Board
from frames import SESSION, ask_body, cut, golden, lattice, open_body, rates_body, state, write_bodies

from firmware import storage, wire


@pytest.fixture
def flash(tmp_path: Path) -> str:
    return f"{tmp_path}/"


def test_a_board_goes_on_from_its_checkpoint(flash: str) -> None:
    """Bit-identical, whenever it was written: between two images, or amid one."""
    board = Board(flash).begin(2)
    board.ask(cut(wire.TRAIN, 2)[0])
    assert state(board.ask(ask_body(wire.CHECKPOINT, 0x55)))[:2] == (2, golden(2)[0])
    board.ask(*cut(wire.TRAIN, 2)[1:])
    assert board.digest() == golden(3)[0], "the image under way is not disturbed"
    assert struct.unpack(wire.HELLO_FORMAT, board.attach())[-4:] == (SESSION, 3, SESSION, 2)

    board = Board(flash)
    flags, *_, session, step, saved_session, saved_step = struct.unpack(wire.HELLO_FORMAT, board.attach())[5:]
    assert flags == wire.FLAG_ATTACHED | wire.FLAG_CHECKPOINT
    assert (session, step, saved_session, saved_step) == (0, 0, SESSION, 2)
    assert board.open(conversation=7) == (2, golden(2)[0], 0)
    board.ask(rates_body(2))
    for step in (3, 4):
        board.train()
        assert board.digest() == golden(step)[0]


def test_no_checkpoint_of_parameters_half_written(flash: str) -> None:
    board = Board(flash).begin(2)
    board.ask(ask_body(wire.CHECKPOINT))
    board.open(conversation=2)
    board.ask(write_bodies(golden(5)[2])[0])
    assert state(board.ask(ask_body(wire.CHECKPOINT)))[2] & wire.FLAG_LOADING
    board = Board(flash)
    board.attach()
    assert board.open() == (2, golden(2)[0], 0)


def test_a_checkpoint_of_another_session_is_not_lost_unless_it_is_to_be_replaced(flash: str) -> None:
    Board(flash).begin(2).ask(ask_body(wire.CHECKPOINT))
    board = Board(flash)
    board.attach()
    assert board.refused(open_body(session=5)) == (wire.OTHER_SESSION, SESSION, 2, 0), "and it is named"
    assert board.open(session=5, flags=wire.FLAG_REPLACE) == (0, golden(0)[0], 0)
    flags, *_, saved_session, saved_step = struct.unpack(wire.HELLO_FORMAT, board.attach())[5:]
    assert (flags, saved_session, saved_step) == (wire.FLAG_ATTACHED | wire.FLAG_SESSION, 0, 0)

    board = Board(flash)  # a reset before the new session's first checkpoint
    board.attach()
    assert board.open(session=5) == (0, golden(0)[0], 0)


def test_a_bad_configuration_does_not_cost_the_checkpoint(flash: str) -> None:
    Board(flash).begin(2).ask(ask_body(wire.CHECKPOINT))
    board = Board(flash)
    board.attach()
    assert board.refused(open_body(session=5, rows=0, flags=wire.FLAG_REPLACE))[0] == wire.BAD_CONFIG
    assert board.open() == (2, golden(2)[0], 0)


def test_a_checkpoint_that_goes_bad_after_the_start_is_not_used(flash: str) -> None:
    """Between the look at the start and OPEN the file changes: the session begins anew, and the host sees it."""
    Board(flash).begin(2).ask(ask_body(wire.CHECKPOINT))
    for content in (b"", Path(flash, storage.NAME).read_bytes()[:-1] + b"?"):
        board = Board(flash)
        board.attach()
        Path(flash, storage.NAME).write_bytes(content)
        assert board.open() == (0, golden(0)[0], 0)
        storage.save(SESSION, 2, lattice().w, flash)
    board = Board(flash)
    board.attach()
    storage.save(SESSION, 7, lattice().w, flash)
    assert board.open() == (0, golden(0)[0], 0), "good, but not the one that HELLO offered"


def test_a_checkpoint_of_another_size_is_not_used(flash: str) -> None:
    storage.save(SESSION, 7, lattice(rows=2).w, flash)
    board = Board(flash)
    board.attach()
    assert board.open() == (0, golden(0)[0], 0)


def test_storage_that_fails_is_reported_and_training_goes_on(flash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(flash + "no such directory/").begin(1)
    assert board.refused(ask_body(wire.CHECKPOINT)) == (wire.STORAGE, SESSION, 1, 2)

    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(storage, "save", no_memory)
    assert board.refused(ask_body(wire.CHECKPOINT)) == (wire.STORAGE, SESSION, 1, 12)
    board.train()
    assert board.digest() == golden(2)[0]
