"""Images in frames of rows, trained exactly once and in their order: what comes twice, late, wrong or too early."""

from collections.abc import Iterator

import numpy as np
import pytest
from bare_board import Board
from frames import COLS, RATES, ROWS, STEPS, ack, cut, golden, lattice, pixels, refusal, result, rows_body

from firmware import wire
from host.board.frames import image_frames


def test_training_in_order_is_the_engines() -> None:
    """Each frame is answered with what is wanted next, the last one with what came out."""
    board = Board().begin()
    assert board.digest() == golden(0)[0]
    for step in range(4):
        first, second, third = cut(wire.TRAIN, step, flags=wire.WITH_DIGEST)
        assert ack(board.ask(first)) == (wire.TRAIN, step, 4, wire.FLAG_RATES)
        assert ack(board.ask(second)) == (wire.TRAIN, step, 8, wire.FLAG_RATES)
        after, label, prediction, micros, digest = result(board.ask(third))
        assert (after, label, prediction, digest) == (step + 1, step % COLS, golden(step + 1)[1], golden(step + 1)[0])
        assert micros > 0
        assert board.digest() == digest


def test_result_has_a_digest_only_if_asked_for() -> None:
    board = Board().begin()
    assert board.train()[4] == 0
    again = result(board.ask(cut(wire.TRAIN, 0, flags=wire.WITH_DIGEST)[2]))
    assert again[4] == golden(1)[0], "a host that asks later than it trained gets it too"


def test_frames_may_be_of_any_size_and_bits() -> None:
    """One row at a time, all at once, and packed pixels: the engine sees what quantise() makes of the image."""
    for bits in (8, 4, 1):
        wanted = lattice(bits=bits)
        wanted.set_rates(RATES)
        board = Board().begin(bits=bits)
        for step, largest in enumerate((wire.HEADER + 1, 30, wire.MAX_BODY)):
            levels = (1 << bits) - 1
            wanted.train(bytes((p >> (8 - bits)) * 255 // levels for p in pixels(step)), step % COLS)
            image = np.frombuffer(pixels(step), np.uint8).reshape(STEPS, ROWS)
            bodies = [body for _, body in image_frames(wire.TRAIN, step, image, step % COLS, bits, True, largest)]
            assert result(board.ask(*bodies))[4] == wanted.digest()


def test_repeated_image_gets_its_result_again_and_is_not_trained_again() -> None:
    board = Board().begin(2)
    trained = board.ask(cut(wire.TRAIN, 1)[2])
    assert result(trained)[:3] == (2, 1, golden(2)[1])
    for body in cut(wire.TRAIN, 1) * 3:
        assert board.ask(body) == trained
    assert board.digest() == golden(2)[0] and board.device.lattice.step == 2
    board.train()
    assert board.digest() == golden(3)[0]


def test_repeated_image_leaves_the_next_one_alone() -> None:
    """The host may repeat the last frame of an image after it sent the first rows of the next."""
    board = Board().begin(1)
    first, second, third = cut(wire.TRAIN, 1)
    board.ask(first)
    assert result(board.ask(cut(wire.TRAIN, 0)[2]))[:3] == (1, 0, golden(1)[1])
    board.ask(second, third)
    assert board.digest() == golden(2)[0]


@pytest.mark.parametrize("steps", [0, 3])
def test_past_and_future_images_are_refused(steps: int) -> None:
    """The answer says which image is wanted. A number that is no small int of 32 bits is no number."""
    board = Board().begin(steps)
    past = range(steps - 1)  # but the last one, which is repeated
    for number in (*past, steps + 1, steps + 2, steps + 256, 2**30 - 1, 2**30, 2**31, 2**32 - 1):
        for body in cut(wire.TRAIN, number, image=0):
            assert refusal(board.ask(body)) == (wire.TRAIN, steps, 0)
    assert board.digest() == golden(steps)[0]
    board.train()
    assert board.digest() == golden(steps + 1)[0]


def test_wrong_rows_are_refused_and_the_image_goes_on() -> None:
    board = Board().begin(1)
    first, second, third = cut(wire.TRAIN, 1)

    def wrong(row: int) -> Iterator[bytes]:
        data = bytes(ROWS)
        for start in range(STEPS + 2):
            if start != row:
                yield rows_body(wire.TRAIN, 1, start, 1, 1, data)  # a gap, or rows that came already
        yield rows_body(wire.TRAIN, 1, row, 0, 1, b"x")
        yield rows_body(wire.TRAIN, 1, row, STEPS + 1 - row, 1, data * (STEPS + 1 - row))  # more than there are
        yield rows_body(wire.TRAIN, 1, row, 255, 1, bytes(200))
        yield rows_body(wire.TRAIN, 1, row, 1, 1, data[1:])
        yield rows_body(wire.TRAIN, 1, row, 1, 1, data + b"x")
        yield rows_body(wire.TRAIN, 1, row, 1, COLS, data)  # no such class
        yield rows_body(wire.TRAIN, 1, row, 1, 127, data)

    for row, body in ((0, first), (4, second), (8, third)):
        for other in wrong(row):
            assert refusal(board.ask(other)) == (wire.TRAIN, 1, row)
        answer = board.ask(body)
    assert result(answer)[0] == 2
    assert board.digest() == golden(2)[0]


def test_rows_of_a_lost_frame_can_be_sent_again() -> None:
    board = Board().begin()
    first, second, third = cut(wire.TRAIN, 0)
    board.ask(first)
    assert refusal(board.ask(third)) == (wire.TRAIN, 0, 4)
    board.ask(second)
    assert refusal(board.ask(second)) == (wire.TRAIN, 0, 8)
    board.ask(third)
    assert board.digest() == golden(1)[0]


@pytest.mark.parametrize("start", [0, 2**30 - 7, 2**30 - 1])
@pytest.mark.parametrize("wrap", [2**30, 2**62])
def test_the_clock_may_wrap(start: int, wrap: int) -> None:
    """Ticks of 32-bit boards wrap after 18 minutes; the time of a step is right all the same."""
    ticks = iter(range(start, start + 1000, 3))
    board = Board(micros=lambda: next(ticks) % wrap).begin()
    for step in range(3):
        assert result(board.ask(*cut(wire.TRAIN, step)))[3] == 3 * 3, "three frames, 3 us each"
        assert result(board.ask(*cut(wire.TEST, step + 1)))[3] == 3 * 3
