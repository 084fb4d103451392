"""Who is there, who is heard, and who is let go: greeting, HELLO, EXIT, CLOSE and the counters."""

import struct

from bare_board import Board
from frames import (
    SESSION,
    WINDOW,
    ask_body,
    commit_body,
    cut,
    frame,
    golden,
    open_body,
    rates_body,
    state,
    unframe,
    write_bodies,
)

from firmware import device as device_module
from firmware import wire


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
