"""Hostile frames and bytes in every state of the board: no exception, no parameter changed, no wedge."""

import random
import struct
from collections.abc import Iterable

import pytest
from bare_board import Board
from frames import COLS, ROWS, commit_body, cut, frame, golden, open_body, rates_body, state, write_bodies
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware import wire

STATES = ("before attach", "attached", "open", "rates", "mid-image", "mid-test", "loading", "refused")


def reach(board: Board, name: str) -> None:
    """Bring the board to a state, with two images trained, whatever it was in before."""
    if name == "before attach":
        board.device.attached = board.device.open = False
        return
    board.attach()
    if name == "attached":
        return
    if name == "refused":
        board.refused(open_body(session=1))
        return
    board.open(conversation=board.key & 0xFFFF)
    if board.device.lattice.step == 0:
        board.ask(rates_body(0))
        board.train()
        board.train()
        board.open(conversation=board.key & 0xFFF)
    if name in ("rates", "mid-image"):
        board.ask(rates_body(2))
    if name == "mid-image":
        board.ask(*cut(wire.TRAIN, 2)[:2])
    if name == "mid-test":
        board.ask(*cut(wire.TEST, 4)[:1])
    if name == "loading":
        board.ask(write_bodies(golden(2)[2])[0])


def assert_it_still_trains(board: Board) -> None:
    """From wherever it is: the two images that it had trained, and the next two."""
    board.device.leave = False
    board.attach()
    step, digest, flags = board.open(conversation=0xABCDEF)
    if flags & wire.FLAG_LOADING:
        digest, _, params = golden(2)
        step, digest, _ = state(board.ask(*write_bodies(params), commit_body(2, digest)))
    assert (step, digest) == (2, golden(2)[0])
    board.ask(rates_body(2))
    board.train()
    board.train()
    assert board.digest() == golden(4)[0]


FORMATS = [getattr(wire, name) for name in dir(wire) if name.endswith("_FORMAT")]
LENGTHS = sorted(
    {1, 2, 3, 4, 30, 31, 32, 63, 64, 65, 127, 128, 200, 232, 239, 240}
    | {struct.calcsize(form) + more for form in FORMATS for more in (-1, 0, 1)}
)


def is_write(body: bytes) -> bool:
    """Whether a body is a WRITE of parameters that exist."""
    head = struct.calcsize(wire.READ_FORMAT)
    if body[0] != wire.WRITE or len(body) <= head:
        return False
    _, _, first, count = struct.unpack_from(wire.READ_FORMAT, body)
    return 0 < count <= wire.MAX_WORDS and first + count <= 4 * ROWS * COLS and len(body) == head + 4 * count


def send_hostile_frames(name: str, lengths: Iterable[int]) -> int:
    """All types and these lengths in a state, with a good CRC and a body of zeros, of ones, or of noise."""
    generator = random.Random(name)
    board = Board()
    reach(board, "open")
    reach(board, name)
    device = board.device
    params = tuple(device.lattice.w)
    count = 0
    for kind in range(256):
        for length in lengths:
            count += 1
            rest = (bytes(length - 1), b"\xff" * (length - 1), generator.randbytes(length - 1))[count % 3]
            body = bytes([kind]) + rest
            if is_write(body) or (name == "loading" and kind == wire.COMMIT):
                continue  # which may change parameters and step, and have tests of their own
            before = device.attached, device.open, device.kind, device.loading
            board.raw(frame(body, board.key))
            assert device.leave == (kind == wire.EXIT)
            device.leave = False
            if before != (device.attached, device.open, device.kind, device.loading):
                assert kind in (wire.OPEN, wire.CLOSE, wire.TRAIN, wire.TEST, wire.ATTACH), kind
                reach(board, name)
        assert tuple(device.lattice.w) == params and device.lattice.step == 2, kind
    assert_it_still_trains(board)
    return count


@pytest.mark.parametrize("name", STATES)
def test_every_type_in_every_state(name: str) -> None:
    """At all lengths that mean something, and one less or more: no exception, no parameter changed, no wedge."""
    assert send_hostile_frames(name, LENGTHS) == 256 * len(LENGTHS)


@pytest.mark.slow
@pytest.mark.parametrize("name", STATES)
def test_every_type_and_every_length_in_every_state(name: str) -> None:
    assert send_hostile_frames(name, range(1, wire.MAX_BODY + 1)) == 256 * 240


hostile = st.builds(
    lambda kind, rest: bytes([kind]) + rest,
    st.sampled_from(range(0x80, 0x8A))
    | st.sampled_from((wire.ATTACH, wire.OPEN, wire.STATISTICS))
    | st.integers(0, 255),
    st.binary(max_size=wire.MAX_BODY - 1),
)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(STATES), st.lists(hostile, min_size=1, max_size=6))
def test_any_bodies_in_any_state(name: str, bodies: list[bytes]) -> None:
    board = Board()
    reach(board, "open")
    reach(board, name)
    params = tuple(board.device.lattice.w)
    written = False
    for body in bodies:
        board.raw(frame(body, board.key))
        written |= is_write(body)
    if not written:
        assert tuple(board.device.lattice.w) == params
    assert_it_still_trains(board)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(STATES), st.binary(max_size=1500))
def test_any_bytes_in_any_state(name: str, data: bytes) -> None:
    """Not even frames."""
    board = Board()
    reach(board, "open")
    reach(board, name)
    params = tuple(board.device.lattice.w)
    board.raw(data)
    board.raw(b"\0")
    assert tuple(board.device.lattice.w) == params
    assert_it_still_trains(board)
