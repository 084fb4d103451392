"""OPEN: a session goes on, begins anew, or is refused, and its reason says why."""

import struct
from pathlib import Path
from typing import Any

import pytest
from bare_board import Board
from frames import (
    BOUNDS,
    NETWORKS,
    OTHER_RATES,
    SESSION,
    ask_body,
    commit_body,
    cut,
    frame,
    golden,
    lattice,
    open_body,
    rates_body,
    refusal,
    state,
    write_bodies,
)

from firmware import device, wire
from fixedpoint.network import words


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


def test_the_host_is_told_before_an_open_takes_long(tmp_path: Path) -> None:
    """WORKING comes before a lattice is laid out, drawn or loaded, and only then."""
    board = Board(f"{tmp_path}/")
    board.attach()
    laid: list[list[str]] = []
    board.device.lattice_options = {"words": lambda n: laid.append(list(board.events)) or words(n)}
    board.open()
    assert board.worked == SESSION and laid[0] == ["attached", "sent", "sent"], "HELLO, WORKING, then the arrays"
    board.open()
    assert board.worked is None, "the OPEN that came again is answered at once"
    board.attach()
    board.open(conversation=2)
    assert board.worked is None, "so is that of a host that comes back"
    board.ask(rates_body(0))
    board.train()
    board.open(conversation=3, flags=wire.FLAG_RESTART)
    assert board.worked == SESSION
    board.ask(ask_body(wire.CHECKPOINT))
    again = Board(f"{tmp_path}/")
    again.attach()
    again.open(conversation=4)
    assert again.worked == SESSION, "a checkpoint is read"
    other = Board()
    other.attach()
    other.open(session=SESSION + 1)
    assert other.refused(open_body(rows=200))[0] == wire.BAD_CONFIG and other.worked == SESSION


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
    "change",
    [{"session": 5}, {"seed": 4}, {"rows": 5}, {"bits": 4}, {"bounds": (-1, *BOUNDS[1:])}]
    + [network for network in NETWORKS.values() if network],
    ids=str,
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


def test_another_version_of_the_wire_is_refused_whatever_its_open_is_like() -> None:
    """The first two bytes keep their place in all versions, the length need not: version 1 had 53 bytes."""
    board = Board().begin(1)
    for version in set(range(256)) - {wire.VERSION}:
        body = open_body(version=version)
        for length in {len(body), 2, 53, 2 + version % 230}:
            found = board.refused(body.ljust(length, b"?")[:length])
            assert found == (wire.BAD_VERSION, SESSION, 1, wire.VERSION)
    assert board.open(conversation=2)[:2] == (1, golden(1)[0])


def test_an_open_of_this_version_has_its_length() -> None:
    board = Board().begin(1)
    for length in (1, 2, len(open_body()) - 1, len(open_body()) + 1):
        assert board.raw(frame(open_body().ljust(length, b"?")[:length])) == []
    board.train()
    assert board.digest() == golden(2)[0], "and the session is still open"


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_trains_goes_on_and_comes_back_from_its_checkpoint(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]
    board = Board(f"{tmp_path}/").begin(2, **network)
    board.ask(ask_body(wire.CHECKPOINT))
    board.train()
    board.open(**network, conversation=2)
    board.ask(rates_body(3), *cut(wire.TEST, 1))
    board.train()
    assert board.digest() == golden(4, **network)[0]
    again = Board(f"{tmp_path}/")
    again.attach()
    assert again.open(**network, conversation=3)[:2] == (2, golden(2, **network)[0])
    params = golden(4, **network)[2]
    assert all(again.ask(body)[0] == wire.STATE for body in write_bodies(params))
    assert state(again.ask(commit_body(4, golden(4, **network)[0])))[:2] == (4, golden(4, **network)[0])
    again.ask(rates_body(4))
    again.train()
    assert again.digest() == golden(5, **network)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_what_does_not_fit_is_refused_with_what_is_free(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In KB, when all that was tried has been given back, the room of the lattice included."""

    def full(n: int) -> Any:
        raise MemoryError

    board = Board(kernels={"words": full})
    board.attach()
    rooms: list[object] = []
    free = lambda: (rooms.append(board.device.room.piece), 123 * 1024 + 1023)[1]  # noqa: E731
    monkeypatch.setattr(device, "free_heap", free)
    assert board.refused(open_body(**NETWORKS[name])) == (wire.NO_MEMORY, 0, 0, 123)
    assert rooms == [None] and board.device.room.piece


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


@pytest.mark.parametrize("failing", range(5))
def test_an_allocation_that_fails_once_costs_nothing(failing: int) -> None:
    """Whichever of the lattice's five arrays it is: the second attempt has what the first has left behind."""
    calls = []

    def once(n: int) -> Any:
        calls.append(n)
        if len(calls) == failing + 1:
            raise MemoryError
        return words(n)

    board = Board(kernels={"words": once})
    assert board.device.room.piece, "laid down before anything else"
    board.begin(1)
    assert board.digest() == golden(1)[0] and len(calls) == 5 + failing + 1
    assert board.device.room.piece, "and again, for what may come after it"


def test_room_is_kept_again_after_a_refusal() -> None:
    board = Board()
    board.attach()
    assert board.refused(open_body(rows=200))[0] == wire.BAD_CONFIG
    assert board.device.room.piece
