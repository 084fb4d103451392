"""The board's state machine, frame by frame: each transition, a model that knows all of them, and hostile frames.

Frames are made and read here by zlib and a COBS of our own, not by the codec that the board uses.
"""

import json
import random
import re
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from firmware import device as device_module
from firmware import main, storage, wire
from firmware.device import Device
from fixedpoint.lattice import MAX_GAIN, MAX_ROWS, MAX_SCALE, RATE_SHIFTS, Lattice, Random, words
from host import lanes
from host.cli import UserError
from host.link import ANSWER, GREET, TRIES, image_frames

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "firmware/README.md").read_text()

ROWS, COLS, STEPS = 6, 5, 9
SCALE, GAIN, SEED, SESSION = 2570, 4, 3, 0x5E551017
INIT = (3072, 4096, 2048, 3072, 4096, -12288, 12288, 0, 2048)
BOUNDS = (-16384, 24575, -32768, 32767, -32768, 32767)
RATES = ((20972, 17), (20972, 17), (20972, 19))
OTHER_RATES = ((9000, 17), (7000, 17), (5000, 19))
WINDOW = 500

# What OPEN carries, in its order.
OPEN = {
    "version": wire.VERSION, "flags": 0, "rows": ROWS, "cols": COLS, "steps": STEPS, "scale": SCALE, "gain": GAIN,
    "bits": 8, "session": SESSION, "seed": SEED, "init": INIT, "bounds": BOUNDS, "conversation": 1,
}  # fmt: skip


def open_body(**changes: Any) -> bytes:
    """OPEN, usual but for the changes."""
    *some, init, bounds, conversation = {**OPEN, **changes}.values()
    return struct.pack(wire.OPEN_FORMAT, wire.OPEN, *some, *init, *bounds, conversation)


def frame(body: bytes, key: int = 0) -> bytes:
    """A frame. key: of the conversation, for the types that are sealed with it."""
    sealed = body + zlib.crc32(body, key if body[0] >= 0x80 else 0).to_bytes(4, "little")
    return b"\0" + b"".join(bytes([len(block) + 1]) + block for block in sealed.split(b"\0")) + b"\0"


def unframe(data: bytes, key: int = 0) -> bytes:
    """The body of a frame that must be a good one."""
    assert data[0] == data[-1] == 0 and 0 not in data[1:-1]
    blocks, i = [], 1
    while i < len(data) - 1:
        blocks.append(data[i + 1 : i + data[i]])
        i += data[i]
    sealed = b"\0".join(blocks)
    body = sealed[:-4]
    assert zlib.crc32(body, key if body[0] >= 0x80 else 0) == int.from_bytes(sealed[-4:], "little")
    return body


def pixels(step: int) -> bytes:
    """An image, another one for each number."""
    source = Random(1000 + step)
    return bytes(source.draw() >> 8 for _ in range(ROWS * STEPS))


def digest_of(params: tuple[int, ...], step: int) -> int:
    """The digest of these parameters and this step."""
    return zlib.crc32(struct.pack(f"<{len(params)}iI", *params, step))


def lattice(**changes: Any) -> Lattice:
    """What OPEN makes of this on the board."""
    some = {**OPEN, **changes}
    made = Lattice(some["rows"], some["cols"], some["steps"], some["scale"], some["gain"])
    made.set_bounds(tuple(zip(some["bounds"][::2], some["bounds"][1::2], strict=True)))
    made.seed(some["seed"], some["init"])
    return made


@cache
def golden(steps: int) -> tuple[int, int, tuple[int, ...]]:
    """Digest, last prediction and parameters after so many images, by the engine alone."""
    made = lattice()
    made.set_rates(RATES)
    prediction = 0
    for step in range(steps):
        prediction = made.train(pixels(step), step % COLS)
    return made.digest(), prediction, tuple(made.w)


def rows_body(
    kind: int, number: int, first: int, count: int, label: int, data: bytes | None = None, image: int | None = None
) -> bytes:
    """TRAIN or TEST with rows of an image (by default the one of that number)."""
    if data is None:
        data = pixels(number if image is None else image)[first * ROWS : (first + count) * ROWS]
    return struct.pack(wire.ROWS_FORMAT, kind, number, first, count, label) + data


def cut(kind: int, number: int, image: int | None = None, flags: int = 0) -> list[bytes]:
    """An image as three frames."""
    label = (number if image is None else image) % COLS | flags
    return [rows_body(kind, number, first, count, label, image=image) for first, count in ((0, 4), (4, 4), (8, 1))]


def rates_body(step: int, rates: tuple[tuple[int, int], ...] = RATES, tag: int = 0x31) -> bytes:
    return struct.pack(wire.RATES_FORMAT, wire.RATES, tag, step, *[x for pair in rates for x in pair])


def ask_body(kind: int, tag: int = 0x32) -> bytes:
    return struct.pack(wire.ASK_FORMAT, kind, tag)


def write_bodies(params: tuple[int, ...]) -> list[bytes]:
    """WRITE of all parameters."""
    bodies = []
    for first in range(0, len(params), wire.MAX_WORDS):
        some = params[first : first + wire.MAX_WORDS]
        head = struct.pack(wire.READ_FORMAT, wire.WRITE, 0x33, first, len(some))
        bodies.append(head + struct.pack(f"<{len(some)}i", *some))
    return bodies


def commit_body(step: int, digest: int) -> bytes:
    return struct.pack(wire.COMMIT_FORMAT, wire.COMMIT, 0x34, step, digest)


class Board:
    """A Device and the frames that it sends. root: directory of its flash, with a slash; it has none by default."""

    def __init__(self, root: str = "no flash/", healthy: bool = True, **options: Any) -> None:
        self.root = root
        self.sent: list[bytes] = []
        self.times = iter(range(0, 10**9, 10))
        self.events: list[str] = []
        self.key = 0
        options.setdefault("micros", lambda: next(self.times))
        self.device = Device(
            self.send, options.pop("micros"), WINDOW, 0xC0FFEE, 0xC0FFEE if healthy else 1, root,
            on_attach=lambda: self.events.append("attached"), **options,
        )  # fmt: skip

    def send(self, buffer: bytearray, n: int) -> None:
        self.sent.append(bytes(buffer[:n]))
        self.events.append("sent")

    def raw(self, data: bytes, key: int | None = None) -> list[bytes]:
        """Give the board bytes; return the bodies that it answers with."""
        self.sent.clear()
        self.device.receive(data, len(data))
        return [unframe(data, self.key if key is None else key) for data in self.sent]

    def ask(self, *bodies: bytes) -> bytes:
        """Send frames in the conversation; return the answer to the last one, which must have just one."""
        for body in bodies:
            answers = self.raw(frame(body, self.key))
        (answer,) = answers
        return answer

    def attach(self) -> bytes:
        return self.ask(wire.GREETING)

    def open(self, **changes: Any) -> tuple[int, int, int]:
        """Open the session; return step, digest and flags."""
        body = open_body(**changes)
        self.key = {**OPEN, **changes}["session"] ^ {**OPEN, **changes}["conversation"]
        answer = self.ask(body)
        assert (answer[0], answer[1]) == (wire.STATE, 0), answer
        return state(answer)

    def refused(self, body: bytes) -> tuple[int, int, int, int]:
        """Send an OPEN that is refused; return reason, session, step, detail."""
        answer = self.ask(body)
        assert answer[0] == wire.REFUSED
        return struct.unpack(wire.REFUSED_FORMAT, answer)[1:]

    def begin(self, steps: int = 0, **changes: Any) -> "Board":
        """Attach, open, set the rates, train so many images."""
        self.attach()
        self.open(**changes)
        self.ask(rates_body(self.device.lattice.step))
        for _ in range(steps):
            self.train()
        return self

    def train(self) -> tuple[int, int, int, int, int]:
        """Train the next image; return step, label, prediction, time and digest of its result."""
        step = self.device.lattice.step
        return result(self.ask(*cut(wire.TRAIN, step)))

    def digest(self) -> int:
        return state(self.ask(ask_body(wire.QUERY)))[1]


def state(body: bytes) -> tuple[int, int, int]:
    """Step, digest and flags of a STATE."""
    kind, _, *rest = struct.unpack(wire.STATE_FORMAT, body)
    assert kind == wire.STATE
    return tuple(rest)


def result(body: bytes) -> tuple[int, int, int, int, int]:
    kind, *rest = struct.unpack(wire.RESULT_FORMAT, body)
    assert kind in (wire.RESULT, wire.TESTED)
    return tuple(rest)


def ack(body: bytes) -> tuple[int, int, int, int]:
    """Kind, number, row and flags of an ACK."""
    kind, image, number, row, flags, credit = struct.unpack(wire.ACK_FORMAT, body)
    assert (kind, credit) == (wire.ACK, WINDOW)
    return image, number, row, flags


def refusal(body: bytes) -> tuple[int, int, int]:
    """Kind, number and row of an ACK that refuses."""
    image, number, row, flags = ack(body)
    assert flags & wire.FLAG_REFUSED
    return image, number, row


# Hello


def test_hello_tells_who_is_there() -> None:
    board = Board()
    board.device.hello()
    kind, version, *rest = struct.unpack(wire.HELLO_FORMAT, unframe(board.sent[-1]))
    assert (kind, version, tuple(rest[:3])) == (wire.HELLO, wire.VERSION, device_module.VERSION)
    flags, window, mpy, free, self_test, *sessions = rest[3:]
    assert (flags, window, self_test, sessions) == (0, WINDOW, 0xC0FFEE, [0, 0, 0, 0])
    assert (mpy, free) == (0, 0), "CPython has no .mpy files and no such heap"
    board.begin(2)
    flags, *_, session, step, _, _ = struct.unpack(wire.HELLO_FORMAT, board.attach())[5:]
    assert (flags, session, step) == (wire.FLAG_ATTACHED | wire.FLAG_SESSION, SESSION, 2)


def test_ctrl_c_is_off_before_the_host_hears_of_it() -> None:
    """From the HELLO on the host sends binary data, and a 0x03 among them would stop the program."""
    board = Board()
    board.attach()
    assert board.events == ["attached", "sent"]


def test_without_a_host_nothing_is_answered_but_the_greeting() -> None:
    board = Board()
    for kind in range(256):
        if kind != wire.EXIT:
            assert board.raw(frame(bytes([kind]) + bytes(30))) == []
    assert board.raw(frame(open_body())) == []
    assert board.raw(frame(wire.GREETING[:-1])) == [] and board.raw(frame(wire.GREETING + b"!")) == []
    assert not board.device.attached and board.device.lattice is None
    assert board.attach()[0] == wire.HELLO


def test_in_no_session_nothing_is_answered_but_open_and_statistics() -> None:
    """Neither before the first OPEN, nor between ATTACH and the next one."""
    new, back = Board(), Board().begin(2)
    for board in (new, back):
        board.attach()
        bodies = [ask_body(kind) for kind in (wire.QUERY, wire.CHECKPOINT, wire.CLOSE)]
        bodies += [*cut(wire.TRAIN, 2), *cut(wire.TEST, 2), rates_body(2), *write_bodies(golden(0)[2])]
        bodies += [struct.pack(wire.READ_FORMAT, wire.READ, 1, 0, 1), commit_body(0, golden(0)[0])]
        for body in bodies:
            assert board.raw(frame(body, board.key)) == []
        assert board.device.attached and board.ask(bytes([wire.STATISTICS]))[0] == wire.COUNTERS
    assert back.open(conversation=2)[:2] == (2, golden(2)[0])


def test_exit_ends_the_program_attached_or_not() -> None:
    for board in (Board(), Board().begin()):
        assert not board.device.leave
        assert board.raw(frame(bytes([wire.EXIT]))) == []
        assert board.device.leave


def test_close_lets_the_host_go() -> None:
    board = Board().begin(1)
    assert state(board.ask(ask_body(wire.CLOSE)))[0] == 1
    assert not board.device.attached
    assert board.raw(frame(ask_body(wire.QUERY), board.key)) == []
    board.begin()
    assert board.device.lattice.step == 1, "the session stays in memory"


def test_statistics_count() -> None:
    board = Board().begin(2)
    board.ask(*cut(wire.TEST, 1))
    board.ask(cut(wire.TRAIN, 1)[0])  # repeated
    board.raw(b"\5noise\0" + b"\1" * 300 + b"\0")
    kind, _, trained, tested, micros, _, _, accepted, repeated, damaged, overlong = struct.unpack(
        wire.COUNTERS_FORMAT, board.ask(bytes([wire.STATISTICS]))
    )
    assert (kind, trained, tested, repeated, damaged, overlong) == (wire.COUNTERS, 2, 1, 1, 1, 1)
    assert accepted == 4 + 9 and micros > 0, "greeting, OPEN, RATES, STATISTICS, and frames of rows"


# Training


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


# Testing


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


# Rates


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


# Parameters


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


# Sessions


def test_the_same_session_goes_on() -> None:
    """A host that comes back, with the next conversation: rates and rows are gone, the last result is not."""
    board = Board().begin(2)
    trained = board.ask(cut(wire.TRAIN, 1)[2])
    board.ask(cut(wire.TRAIN, 2)[0])
    board.attach()
    assert board.raw(frame(cut(wire.TRAIN, 2)[1], board.key)) == [], "not before OPEN"
    assert board.open(conversation=2) == (2, golden(2)[0], wire.FLAG_RESULT)
    assert board.ask(cut(wire.TRAIN, 1)[2]) == trained
    assert refusal(board.ask(cut(wire.TRAIN, 2)[1])) == (wire.TRAIN, 2, 0)
    board.ask(rates_body(2))
    board.train()
    assert board.digest() == golden(3)[0]


def test_a_new_session_has_no_result_to_repeat() -> None:
    board = Board()
    board.attach()
    assert board.open() == (0, golden(0)[0], 0)


def test_open_that_comes_twice_changes_nothing() -> None:
    board = Board().begin(1)
    first, second, third = cut(wire.TRAIN, 1)
    board.ask(first)
    assert board.open() == (1, golden(1)[0], wire.FLAG_RATES | wire.FLAG_RESULT)
    board.ask(second, third)
    assert board.digest() == golden(2)[0]


def test_frames_of_another_conversation_are_not_heard() -> None:
    board = Board().begin(1)
    old = board.key
    board.attach()
    board.open(conversation=99)
    board.ask(rates_body(1))
    for body in (*cut(wire.TRAIN, 1), rates_body(1, OTHER_RATES), ask_body(wire.CLOSE), *write_bodies(golden(0)[2])):
        assert board.raw(frame(body, old)) == []
        assert board.raw(frame(body, 0)) == []
    board.train()
    assert board.digest() == golden(2)[0]


@pytest.mark.parametrize(
    "change", [{"session": 5}, {"seed": 4}, {"rows": 5}, {"bits": 4}, {"bounds": (-1, *BOUNDS[1:])}], ids=str
)
def test_another_session_is_refused_unless_it_is_to_be_replaced(change: dict[str, Any]) -> None:
    board = Board().begin(2)
    assert board.refused(open_body(**change)) == (wire.OTHER_SESSION, SESSION, 2, 0)
    assert board.raw(frame(cut(wire.TRAIN, 2)[0], board.key)) == [], "the host that was refused has no session"
    assert board.open(conversation=2)[:2] == (2, golden(2)[0]), "nothing is lost"
    step, digest, flags = board.open(**change, flags=wire.FLAG_REPLACE)
    assert (step, flags) == (0, 0)
    assert digest == lattice(**change).digest()


def test_a_session_without_progress_gives_way() -> None:
    board = Board().begin()
    assert board.open(session=5, seed=6) == (0, lattice(seed=6).digest(), 0)


def test_restart_forgets_the_progress() -> None:
    board = Board().begin(3)
    assert board.open(flags=wire.FLAG_RESTART) == (0, golden(0)[0], 0)
    board.ask(rates_body(0))
    assert refusal(board.ask(cut(wire.TRAIN, 2)[2])) == (wire.TRAIN, 0, 0), "the old result is forgotten"
    board.train()
    assert board.digest() == golden(1)[0]


def test_restart_ends_a_write() -> None:
    board = Board().begin(1)
    board.open(conversation=2)
    board.ask(write_bodies(golden(3)[2])[0])
    assert board.open(conversation=3)[2] & wire.FLAG_LOADING, "OPEN alone does not"
    assert board.open(flags=wire.FLAG_RESTART) == (0, golden(0)[0], 0)


def test_failed_self_test_refuses_every_session() -> None:
    board = Board(healthy=False)
    flags = struct.unpack(wire.HELLO_FORMAT, board.attach())[5]
    assert flags == wire.FLAG_ATTACHED | wire.FLAG_SELF_TEST_FAILED
    for flags in range(4):
        assert board.refused(open_body(flags=flags))[0] == wire.SELF_TEST
    assert board.device.lattice is None


def test_another_version_of_the_wire_is_refused() -> None:
    board = Board().begin(1)
    for version in set(range(256)) - {wire.VERSION}:
        assert board.refused(open_body(version=version)) == (wire.BAD_VERSION, SESSION, 1, wire.VERSION)
    assert board.open(conversation=2)[:2] == (1, golden(1)[0])


def test_a_lattice_that_does_not_fit_is_refused_and_a_smaller_one_taken() -> None:
    class Memory:
        left = 10**9

        def words(self, n: int) -> Any:
            self.left -= n
            if self.left < 0:
                raise MemoryError
            return words(n)

    memory = Memory()
    board = Board(kernels={"words": memory.words})
    board.begin()
    for left in (0, 100, 500, 1000):  # it fails at the first array, or at a later one
        memory.left = left
        assert board.refused(open_body(session=5))[0] == wire.NO_MEMORY
    memory.left = 10**9
    board.begin(1)
    assert board.digest() == golden(1)[0]


# Hostile configurations

BAD: list[tuple[str, Any]] = [
    *[("rows", x) for x in (0, 65, 128, 255)],
    *[("cols", x) for x in (0, 65, 128, 255)],
    *[("steps", x) for x in (0, 257, 1023, 1024, 65535)],  # rows from 256 on have no number on the wire
    *[("scale", x) for x in (0, 4113, 65535)],
    *[("gain", x) for x in (5, 255)],
    *[("bits", x) for x in (0, 2, 3, 5, 7, 16, 255)],
    *[("bounds", (*BOUNDS[: 2 * k], 5, 4, *BOUNDS[2 * k + 2 :])) for k in range(3)],
    ("bounds", (-32768, -16385, *BOUNDS[2:])),  # below the tables' domain
    ("bounds", (24576, 32767, *BOUNDS[2:])),  # above it
    *[("init", (*INIT[:k], 32767, *INIT[k + 1 :])) for k in (1, 4, 8)],  # beyond 32 bits
    *[("init", (*INIT[:k], -32768, *INIT[k + 1 :])) for k in (1, 4, 8)],
]


@pytest.mark.parametrize("field, value", BAD)
def test_each_bad_field_is_refused(field: str, value: Any) -> None:
    board = Board()
    board.attach()
    assert board.refused(open_body(**{field: value}))[0] == wire.BAD_CONFIG
    board.begin(1)
    assert board.digest() == golden(1)[0]


edges16 = st.sampled_from((-32768, -16385, -16384, -1, 0, 1, 16383, 24575, 24576, 32767)) | st.integers(-32768, 32767)
configurations = st.fixed_dictionaries(
    {
        "rows": st.integers(0, 12) | st.integers(0, 255),
        "cols": st.integers(0, 12) | st.integers(0, 255),
        "steps": st.integers(0, 12) | st.integers(0, 65535),
        "scale": st.sampled_from((0, 1, 2570, 4112, 4113, 65535)),
        "gain": st.integers(0, 5),
        "bits": st.sampled_from((0, 1, 4, 8, 9)),
        "session": st.integers(0, 2**32 - 1),
        "seed": st.integers(0, 2**32 - 1),
        "init": st.tuples(*[edges16] * 9),
        "bounds": st.tuples(*[edges16] * 6),
        "flags": st.integers(0, 255),
        "conversation": st.integers(0, 2**32 - 1),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configurations, st.binary(min_size=8, max_size=8))
def test_any_configuration_is_refused_or_works(numbers: dict[str, Any], noise: bytes) -> None:
    """Whatever OPEN says: refused, or trained with the steepest rates without leaving the formats."""
    if numbers["rows"] <= 64 and numbers["cols"] <= 64 and numbers["steps"] <= 256:
        while numbers["rows"] * numbers["cols"] * numbers["steps"] > 600:  # a large one would take its time, no more
            numbers = {**numbers, "rows": (numbers["rows"] + 1) // 2, "steps": (numbers["steps"] + 1) // 2}
    board = Board()
    board.attach()
    board.key = numbers["session"] ^ numbers["conversation"]
    answer = board.ask(open_body(**numbers))
    if answer[0] == wire.REFUSED:
        assert answer[1] == wire.BAD_CONFIG
        assert board.device.lattice is None
    else:
        rows, cols, steps, bits = (numbers[name] for name in ("rows", "cols", "steps", "bits"))
        assert state(answer)[0] == 0
        board.ask(rates_body(0, ((32767, 14),) * 3))
        count = (rows * bits + 7) // 8
        for step in range(2):
            for row in range(steps):
                data = (noise * count)[row : row + count].ljust(count, b"\xff")
                answer = board.ask(rows_body(wire.TRAIN, step, row, 1, step % cols, data))
            assert result(answer)[0] == step + 1
        low, high = board.device.lattice.rule[2::4], board.device.lattice.rule[3::4]
        assert all(low[i % 4] <= w <= high[i % 4] for i, w in enumerate(board.device.lattice.w))
        assert -(4 << 26) <= low[0] <= high[0] < 6 << 26
    board.open(flags=wire.FLAG_REPLACE)
    board.ask(rates_body(0))
    board.train()
    assert board.digest() == golden(1)[0]


# Checkpoints


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


# The clock


@pytest.mark.parametrize("start", [0, 2**30 - 7, 2**30 - 1])
@pytest.mark.parametrize("wrap", [2**30, 2**62])
def test_the_clock_may_wrap(start: int, wrap: int) -> None:
    """Ticks of 32-bit boards wrap after 18 minutes; the time of a step is right all the same."""
    ticks = iter(range(start, start + 1000, 3))
    board = Board(micros=lambda: next(ticks) % wrap).begin()
    for step in range(3):
        assert result(board.ask(*cut(wire.TRAIN, step)))[3] == 3 * 3, "three frames, 3 us each"
        assert result(board.ask(*cut(wire.TEST, step + 1)))[3] == 3 * 3


# A model that knows every transition


class Machine(RuleBasedStateMachine):
    """A host that does what it likes, and a model that says what the board must answer."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.saved: tuple[int, tuple[int, ...]] | None = None

    def teardown(self) -> None:
        self.directory.cleanup()

    @initialize()
    def power_on(self) -> None:
        self.board = Board(f"{self.directory.name}/")
        self.conversation = 0
        self.model: Lattice | None = None
        self.loading = self.rates = False
        self.done: tuple[int, int, int] | None = None  # number, label, prediction
        self.connect()

    @rule()
    def reset(self) -> None:
        self.power_on()

    @rule()
    def connect(self) -> None:
        """Attach, and open the session: with what is in memory, else in the checkpoint, else anew."""
        self.conversation += 1
        self.board.attach()
        self.kind, self.number, self.rows = 0, 0, b""
        self.tested: tuple[int, int, int] | None = None
        self.rates = False
        if self.model is None:
            self.model = lattice()
            if self.saved:
                self.model.load(self.saved[1], self.saved[0])
        step, digest, flags = self.board.open(conversation=self.conversation)
        self.writable = True
        self.check_state(step, digest, flags)

    def check_state(self, step: int, digest: int, flags: int, refused: bool = False) -> None:
        wanted = refused * wire.FLAG_REFUSED | self.rates * wire.FLAG_RATES | self.loading * wire.FLAG_LOADING
        last = self.done is not None and self.done[0] + 1 == self.model.step
        assert (step, flags) == (self.model.step, wanted | last * wire.FLAG_RESULT)
        assert self.loading or digest == self.model.digest()

    @rule(offset=st.sampled_from((0, 0, 0, 1, -1, 7, 2**30)), which=st.sampled_from((RATES, OTHER_RATES)))
    def set_rates(self, offset: int, which: tuple[tuple[int, int], ...]) -> None:
        step = max(self.model.step + offset, 0)
        answer = self.board.ask(rates_body(step, which))
        good = step == self.model.step and not self.loading
        if good:
            self.model.set_rates(which)
            self.rates, self.writable = True, False
        self.check_state(*state(answer), refused=not good)

    @rule(kind=st.sampled_from((wire.TRAIN, wire.TEST)), count=st.integers(1, STEPS), repeats=st.integers(1, 2))
    def next_rows(self, kind: int, count: int, repeats: int) -> None:
        """What a good host sends, perhaps twice."""
        if kind == wire.TRAIN:
            number = self.model.step
        else:
            number = self.number if self.kind == wire.TEST else (self.tested[0] + 1 if self.tested else 0)
        first = len(self.rows) // ROWS if kind == self.kind else 0
        count = min(count, STEPS - first)
        for _ in range(repeats):
            self.send_rows(kind, number, first, count, number % COLS, 0)

    @rule(
        kind=st.sampled_from((wire.TRAIN, wire.TEST)),
        offset=st.sampled_from((0, 0, 0, -1, -1, 1, -2, 2**30, 2**32 - 1)),
        first=st.integers(0, STEPS + 1),
        count=st.integers(0, STEPS + 1),
        label=st.sampled_from((0, 1, COLS - 1, COLS, 127)),
        extra=st.sampled_from((0, 0, 0, 0, 1, -1)),
    )
    def any_rows(self, kind: int, offset: int, first: int, count: int, label: int, extra: int) -> None:
        """What no good host sends."""
        number = (self.model.step if kind == wire.TRAIN else self.number) + offset
        self.send_rows(kind, min(max(number, 0), 2**32 - 1), first, count, label, extra)

    def send_rows(self, kind: int, number: int, first: int, count: int, label: int, extra: int) -> None:
        size = count * ROWS + extra
        if size <= 0 or size > wire.MAX_BODY - wire.HEADER:
            return
        data = (pixels(number % 1000 + (500 if kind == wire.TEST else 0)) * 2)[first * ROWS :][:size].ljust(size, b"+")
        answer = self.board.ask(rows_body(kind, number, first, count, label, data))
        training = kind == wire.TRAIN
        if training and self.done and number == self.done[0] and number + 1 == self.model.step:
            assert result(answer)[:3] == (self.model.step, *self.done[1:])
            return
        if not training and self.tested and number == self.tested[0]:
            assert result(answer)[:3] == self.tested
            return
        fits = number == self.model.step and self.rates if training else number < 2**30
        wanted = self.model.step if training else (number if fits else 0)
        if fits and first == 0 and (kind, training or number) != (self.kind, training or self.number):
            self.kind, self.number, self.rows = kind, number, b""
        current = kind == self.kind and (training or wanted == self.number)
        arrived = len(self.rows) // ROWS if current else 0
        good = fits and current and not self.loading and first == arrived and 0 < count <= STEPS - first
        if not good or label >= COLS or extra:
            flags = wire.FLAG_REFUSED | self.rates * wire.FLAG_RATES
            assert ack(answer) == (kind, wanted, arrived, flags)
            return
        self.rows += data
        if len(self.rows) < ROWS * STEPS:
            assert ack(answer) == (kind, number, first + count, self.rates * wire.FLAG_RATES)
            return
        if training:
            self.done = number, label, self.model.train(self.rows, label)
            assert result(answer)[:3] == (number + 1, *self.done[1:])
        else:
            self.tested = number, label, self.model.predict(self.rows)
            assert answer[0] == wire.TESTED and result(answer)[:3] == self.tested
        self.kind, self.rows = 0, b""

    @rule(steps=st.integers(0, 6), whole=st.sampled_from((True, True, False)), wrong=st.sampled_from((0, 0, 1)))
    def write(self, steps: int, whole: bool, wrong: int) -> None:
        """Parameters of some step of the usual training, perhaps not all of them, perhaps with a wrong digest."""
        digest, _, params = golden(steps)
        bodies = write_bodies(params)
        for body in bodies if whole else bodies[:1]:
            if self.writable:
                self.loading, self.rates, self.done = True, False, None
            step, found, flags = state(self.board.ask(body))
            self.check_state(step, found, flags, refused=not self.writable)
        if not whole or not self.writable:
            return
        found = state(self.board.ask(commit_body(steps, digest ^ wrong)))
        self.model.load(params, steps)
        self.kind, self.rows = 0, b""
        self.loading = self.writable = bool(wrong)
        self.check_state(*found)

    @rule()
    def restart(self) -> None:
        self.conversation += 1
        self.model = lattice()
        self.loading = self.rates = False
        self.kind, self.rows, self.done, self.tested = 0, b"", None, None
        self.writable = True
        self.check_state(*self.board.open(conversation=self.conversation, flags=wire.FLAG_RESTART))

    @rule()
    def checkpoint(self) -> None:
        self.check_state(*state(self.board.ask(ask_body(wire.CHECKPOINT))))
        if not self.loading:
            self.saved = self.model.step, tuple(self.model.w)

    @rule(data=st.binary(max_size=300))
    def noise(self, data: bytes) -> None:
        assert self.board.raw(data + b"\0") == []

    @precondition(lambda self: not self.loading)
    @invariant()
    def board_and_model_are_equal(self) -> None:
        assert tuple(self.board.device.lattice.w) == tuple(self.model.w)
        assert self.board.device.lattice.step == self.model.step


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)


# Hostile frames

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


# On MicroPython: nothing is allocated

LOCKED = """
import gc, json, sys, time
sys.path.insert(0, sys.argv[-2])
from micropython import heap_lock, heap_unlock
from firmware import wire
from firmware.device import Device

with open(sys.argv[-1]) as file:
    job = json.load(file)
sent = bytearray(8 * wire.MAX_FRAME)
count = [0, 0]  # frames sent, bytes of the last batch

def send(buffer, n):
    count[0] += 1
    if count[1] + n <= len(sent):
        for i in range(n):
            sent[count[1] + i] = buffer[i]
        count[1] += n

device = Device(send, time.ticks_us, 500, 1, 1, "no flash/", elapsed=time.ticks_diff)
chunk = bytearray(64)

def give(data):
    # As firmware.main does: the same buffer, filled again and again.
    at = 0
    while at < len(data):
        n = min(len(chunk), len(data) - at)
        for i in range(n):
            chunk[i] = data[at + i]
        device.receive(chunk, n)
        at += n

for step in job:
    data = bytes(step["data"])
    count[1] = 0
    if step["locked"]:
        gc.collect()
        before = gc.mem_alloc()
        heap_lock()
        give(data)
        heap_unlock()
        after = gc.mem_alloc()
        assert after == before, (before, after)
    else:
        give(data)
    step = device.lattice.step if device.lattice else 0
    digest = device.lattice.digest() if device.lattice else 0
    print(step, "%08x" % digest, count[0], device.counters[7], device.receiver.damaged, device.receiver.overlong)
    print("".join("%02x" % sent[i] for i in range(count[1])))
"""


def locked_job() -> list[dict[str, Any]]:
    """A session: opened, then batches of frames of all kinds that a loss can lead to, under a locked heap."""
    key = SESSION ^ 1
    big = [frame(body, key) for body in cut(wire.TRAIN, 2**30, image=0)]
    other = [frame(body, 1234) for body in cut(wire.TRAIN, 0)]
    steps: list[tuple[bool, list[bytes]]] = [
        (False, [b"\0", frame(wire.GREETING), frame(open_body()), frame(rates_body(0), key)]),
    ]
    for step in range(6):
        train, test = ([frame(body, key) for body in cut(kind, step)] for kind in (wire.TRAIN, wire.TEST))
        damaged = [train[0][:20] + b"\7" + train[0][21:], train[1][:-9], b"\0", b"\1" * 600 + b"\0"]
        steps.append((True, [*train]))
        steps.append((True, [train[2], train[0]]))  # repeated
        steps.append((True, [*test, test[2]]))
        steps.append((True, [*damaged, *other, *big]))  # nothing of it counts
        following = [frame(body, key) for body in cut(wire.TRAIN, step + 1)]
        steps.append((True, [following[0], following[2], test[0], following[1]]))  # out of order, pushed aside
    return [{"locked": locked, "data": list(b"".join(data))} for locked, data in steps]


@pytest.mark.parametrize("arch, emit", [("i386", "viper"), ("i386", "bytecode"), ("armhf", "viper"), ("x64", "native")])
def test_receiving_training_and_answering_allocates_nothing(arch: str, emit: str, tmp_path: Path) -> None:
    """And what it computes and answers meanwhile is what CPython does."""
    try:
        argv = lanes.command(arch)
    except UserError as error:
        pytest.skip(str(error))
    if emit == "native" and lanes.emit(arch) == "bytecode":
        pytest.skip(f"the {arch} MicroPython runs no machine code here")
    lanes.compile_tree(arch, [ROOT / "firmware", ROOT / "fixedpoint"], tmp_path / "board", emit)
    (tmp_path / "run.py").write_text(LOCKED)
    job = locked_job()
    (tmp_path / "job").write_text(json.dumps(job))
    argv = [*argv, "-X", "heapsize=400k", str(tmp_path / "run.py"), str(tmp_path / "board"), str(tmp_path / "job")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(job)

    board = Board()
    board.key = SESSION ^ 1
    count = 0
    for step, line, sent in zip(job, lines[::2], lines[1::2], strict=True):
        answers = board.raw(bytes(step["data"]))
        count += len(answers)
        device = board.device
        trained = device.lattice.step if device.lattice else 0
        digest = device.lattice.digest() if device.lattice else 0
        counters = device.counters[7], device.receiver.damaged, device.receiver.overlong
        assert line.split() == [str(trained), f"{digest:08x}", *map(str, (count, *counters))]
        found = [unframe(b"\0" + part + b"\0", board.key) for part in bytes.fromhex(sent).split(b"\0") if part]
        if step["locked"]:
            assert [without_time(body) for body in found] == [without_time(body) for body in answers]
    assert device.lattice.step == 6 and device.lattice.digest() == golden(6)[0]


def without_time(body: bytes) -> bytes:
    return body[:7] + body[11:] if body[0] in (wire.RESULT, wire.TESTED) else body


# The loop around it


class Line:
    """firmware.main on a board in virtual time: a clock that wraps as on a board, and a host that follows a script.

    script: (milliseconds of silence before, bytes), and at its end EXIT. slow: milliseconds that an answer takes.
    log: what the board did, with the time.
    """

    def __init__(
        self, patch: pytest.MonkeyPatch, root: str, script: list[tuple[int, bytes]], start: int = 0, slow: int = 0
    ) -> None:
        self.now = self.start = start
        self.script = [*script, (0, frame(bytes([wire.EXIT])))]
        self.due: int | None = None
        self.slow = slow
        self.log: list[tuple[int, str, Any]] = []
        patch.setattr(main, "millis", lambda: self.now % 2**30)
        patch.setattr(main, "elapsed", lambda now, before: (now - before + 2**29) % 2**30 - 2**29)
        patch.setattr(main, "interrupt_on", lambda code: self.log.append((self.now - start, "interrupt", code)))
        for name in ("wait", "read", "write"):
            patch.setattr(main, name, getattr(self, name))
        main.main(root=root)

    def wait(self, ms: int) -> bool:
        if self.due is None:
            self.due = self.now + self.script[0][0]
        if self.now + ms < self.due < self.now + 60000:
            self.now += ms
            return False
        self.now = self.due  # days pass at once
        return True

    def read(self, buffer: bytearray) -> int:
        _, data = self.script.pop(0)
        self.due = None
        buffer[: len(data)] = data
        return len(data)

    def write(self, buffer: bytearray, n: int) -> None:
        body = unframe(bytes(buffer[:n]), SESSION ^ 1)
        flags = struct.unpack(wire.HELLO_FORMAT, body)[5] if body[0] == wire.HELLO else None
        self.log.append((self.now - self.start, f"{body[0]:x}", flags))
        self.now += self.slow if flags is None else 0

    def hellos(self) -> list[int]:
        """When the board said that it has no host."""
        return [time for time, what, flags in self.log if what == "41" and not flags & wire.FLAG_ATTACHED]


@pytest.mark.parametrize("start", [0, 2**30 - 700, 2**29 - 700])
def test_a_board_without_a_host_says_so(start: int, flash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(monkeypatch, flash, [(1790, frame(wire.GREETING)), (3000, b"\0")], start)
    assert line.hellos() == [0, 500, 1000, 1500], "and not while one is there, whatever the clock does"
    interrupts = [entry for entry in line.log if entry[1] == "interrupt"]
    assert interrupts[0] == (1790, "interrupt", -1) and interrupts[-1][2] == 3, "off with ATTACH, on at the end"
    assert line.log.index(interrupts[0]) < line.log.index((1790, "41", wire.FLAG_ATTACHED))


def test_a_silent_host_is_given_up(flash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte counts, though it be noise; then Ctrl-C and the HELLOs are back, and the session is still there."""
    greeting, opening = frame(wire.GREETING), frame(open_body())
    script = [(100, greeting), (0, opening), (9000, b"?"), (9000, b"\0"), (12000, greeting), (0, opening)]
    line = Line(monkeypatch, flash, script)
    given_up = line.hellos()[1]
    assert 18100 + 10000 < given_up < 18100 + 10000 + 600
    assert [code for time, what, code in line.log if what == "interrupt" and time > 20000][:2] == [3, -1]
    assert [what for _, what, _ in line.log].count("c4") == 2


def test_a_long_step_is_not_the_hosts_silence(flash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = [(100, frame(wire.GREETING)), (0, frame(open_body())), (900, b"\0")]
    assert Line(monkeypatch, flash, script, slow=30000).hellos() == [0]


def test_hellos_come_back_after_a_week(flash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks differ rightly for six days only: the last HELLO before the host came is no measure."""
    week, close = 7 * 86400 * 1000, frame(ask_body(wire.CLOSE), SESSION ^ 1)
    script = [(100, frame(wire.GREETING)), (0, frame(open_body())), (week, close), (2000, b"\0")]
    line = Line(monkeypatch, flash, script)
    assert [time - week - 100 for time in line.hellos()[1:4]] == [500, 1000, 1500]


def test_credit_is_what_a_board_can_hold() -> None:
    """Two frames of seven rows where there is room for them; a whole frame everywhere."""
    text = (ROOT / "firmware/main.py").read_text()
    large, small = (int(number) for number in re.search(r"^WINDOW = (\d+) if .* else (\d+)$", text, re.M).groups())
    assert 2 * (wire.HEADER + 7 * 28 + wire.MAX_FRAME - wire.MAX_BODY) <= large < 511
    assert wire.MAX_FRAME <= small < 255
    assert large == main.WINDOW
    assert f"credit {large}" in README and f"credit {small}" in README


STDIO = """
import sys
sys.path.insert(0, sys.argv[-1])
from micropython import heap_lock, heap_unlock
import firmware.main as main
main.DEVICE_OS = sys.argv[-2] == "board"
buffer = bytearray(512)

def echo():
    total = 0
    while total < 600:
        if main.wait(1000):
            n = main.read(buffer)
            main.write(buffer, n)
            total += n

main.wait(0)  # the poller makes itself a tuple, once
heap_lock()
echo()
heap_unlock()
"""


@pytest.mark.parametrize("arch", ["i386", "x64"])
@pytest.mark.parametrize("reader", ["board", "process"])
def test_stdin_to_stdout_as_it_is_and_without_allocation(arch: str, reader: str, tmp_path: Path) -> None:
    """As a board reads, a byte at a time after a poll, and as a process does: all values, none translated."""
    try:
        argv = lanes.command(arch)
    except UserError as error:
        pytest.skip(str(error))
    (tmp_path / "run.py").write_text(STDIO)
    data = bytes(range(256)) + b"\r\n\3\4\0" * 20 + random.Random(1).randbytes(244)
    argv += [str(tmp_path / "run.py"), reader, str(ROOT)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(argv, **pipes) as process:
        guard = Timer(30, process.kill)
        guard.start()
        process.stdin.write(data)
        process.stdin.flush()
        if reader == "process":  # it would wait for more; a board's stdin has no end
            process.stdin.close()
        echoed = process.stdout.read(len(data))
        process.stdin.close()
        error = process.stderr.read()
        process.wait()
        guard.cancel()
    assert (process.returncode, echoed) == (0, data), error


# The documentation

LETTERS = {"u8": "B", "u16": "H", "u32": "I", "i16": "h"}


def expanded(form: str) -> str:
    """A struct format with its counts written out."""
    return re.sub(r"(\d+)(\w)", lambda match: int(match[1]) * match[2], form)


def test_documented_messages_are_those_of_the_wire() -> None:
    """Names, types, offsets, fields and sizes."""
    source = (ROOT / "firmware/wire.py").read_text()
    types = {name: int(code, 16) for name, code in re.findall(r"^([A-Z]+) = (0x\w\w)\b", source, re.M)}
    del types["SEALED"]
    documented: dict[str, int] = {}
    formats = set()
    for section in README.split("#### ")[1:]:
        heading, _, text = re.split(r"\n#+ ", section)[0].partition("\n")
        documented |= {name: int(code, 16) for name, code in re.findall(r"([A-Z]+) (0x\w\w)", heading)}
        form, offset = "<", 0
        for at, kind, times, _ in re.findall(r"^\| (\d+) \| ([\w.]+)(?: x (\d+))? \| (.+) \|$", text, re.M):
            assert int(at) == offset, heading
            if kind != "...":
                letter = LETTERS[kind] * int(times or 1)
                form += letter
                offset += struct.calcsize("<" + letter)
        for name in re.findall(r"`(\w+_FORMAT)`", heading):
            formats.add(name)
            assert expanded(getattr(wire, name)) == form, heading
    assert documented == types
    assert formats == {name for name in dir(wire) if name.endswith("_FORMAT")}


def test_documented_example_is_what_the_code_makes() -> None:
    lines = dict(re.findall(r"^    (body|CRC|frame) +([0-9a-f]{2}(?: [0-9a-f]{2})+)", README, re.M))
    body, crc, whole = (bytes.fromhex(lines[name]) for name in ("body", "CRC", "frame"))
    numbers = re.search(r"Session (0x\w{8}), conversation (0x\w{8}), so the key is (0x\w{8})", README)
    session, conversation, key = (int(number, 16) for number in numbers.groups())
    assert session ^ conversation == key
    assert crc == zlib.crc32(body, key).to_bytes(4, "little") and whole == frame(body, key)
    sender = wire.Sender()
    sender.body[: len(body)] = body
    n = sender.seal(len(body), wire.key_of(session, conversation))
    assert bytes(sender.frame[:n]) == whole
    assert struct.unpack_from(wire.ROWS_FORMAT, body) == (wire.TRAIN, 5, 0, 1, 7)
    assert wire.GREETING.decode() in README and frame(wire.GREETING)[1:-1].decode() in README
    assert frame(bytes([wire.EXIT])).hex(" ") in README and not set(frame(bytes([wire.EXIT]))) & {1, 2, 3, 4, 5}


def test_documented_numbers_are_the_codes() -> None:
    limits = {
        "body: 1 to (\\d+) bytes": wire.MAX_BODY,
        "at most (\\d+)\\.": wire.MAX_FRAME,
        "how many, 1 to (\\d+)": wire.MAX_WORDS,
        "steps, 1 to (\\d+)": device_module.MAX_STEPS,
        "rows, 1 to (\\d+) \\|": MAX_ROWS,
        "columns, 1 to (\\d+)": MAX_ROWS,
        "scale of a pixel, 1 to (\\d+)": MAX_SCALE,
        "gain of the input, 0 to (\\d+)": MAX_GAIN,
        "shift for l, (\\d+) to": RATE_SHIFTS[0],
        "shift for l, \\d+ to (\\d+)": RATE_SHIFTS[1],
        "every (\\d+) ms while no host": wire.BEAT_MS,
        "after (\\d+) s without a byte": main.IDLE_MS // 1000,
        "version of the wire, (\\d+);": wire.VERSION,
        "asks again after \\| (1.5) s": ANSWER,
        "gives the link up after (\\d+) times": TRIES,
        "host greets \\| every (\\d+) s": GREET,
    }
    for pattern, value in limits.items():
        (found,) = re.findall(pattern, README)
        assert float(found) == value, pattern
    text = README.split("#### REFUSED")[1].split("####")[0]
    for reason in ("BAD_VERSION", "OTHER_SESSION", "SELF_TEST", "BAD_CONFIG", "NO_MEMORY", "STORAGE"):
        code = getattr(wire, reason)
        assert f"{code} {wire.REASONS[code]}" in text
    assert storage.NAME in README and storage.ASIDE in README and storage.MAGIC.decode() in README
