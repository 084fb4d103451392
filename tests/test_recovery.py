"""Host and board of which one knows more than the other: half-written parameters, other runs, checkpoints ahead.

And what a board does not do, whatever a host says.
"""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_line import SIZE, is_row, opened, trained

from firmware import wire
from host.base.cli import UserError
from host.board.learner import open_body, session_id
from host.board.link import Link, state
from host.runs.run import Run
from tools.faults.episode import Episode
from tools.faults.golden import Violation, small
from tools.faults.world import World

# Boards that know more, less, or another thing than the host


def test_a_board_that_holds_another_run_is_left_alone_unless_it_shall_forget_it(tmp_path: Path) -> None:
    world = World(1, small(1, 12, 2, SIZE))
    first = Episode(world, tmp_path / "first")
    with world.entered():
        first.advance()
        first.do(Run.save)
        first.end()
        world.golden = small(3, 12, 2, SIZE)
        for board_resets in (False, True):  # it holds the run in its memory, or in its flash
            if board_resets:
                world.reset()
            second = Episode(world, tmp_path / f"second-{board_resets}")
            with pytest.raises(Violation, match=r"holds another run .*--replace"):
                second.advance()
            second.end()
        third = Episode(world, tmp_path / "third", replace=True)
        third.advance()
        world.reset()  # the first run's checkpoint is still in its flash
        third.to_end()


def test_a_board_whose_checkpoint_is_ahead_of_the_hosts_is_brought_back(stage: Callable[..., Episode]) -> None:
    story = stage()
    world = story.world
    story.advance()
    story.advance()
    world.files_cut = 0
    story.do(Run.save)  # the board's checkpoint is written, the host dies before it has written its own
    assert world.counts["host cut"] == 1 and world.board.device.saved[1] == 6
    story.advance()
    world.happen("reset")
    story.to_end()
    assert world.paths["board ahead of the host"] + world.paths["run restarted"] >= 2


def test_a_result_that_only_the_board_knows_is_asked_for_and_counted(stage: Callable[..., Episode]) -> None:
    """Else the step would be lost to the host, or done twice by the board; and the accuracy shows which."""
    story = stage(largest=wire.MAX_BODY)
    world = story.world
    story.advance()

    def decide(body: bytes, frame: bytes, to_board: bool) -> bytes:
        if body[0] == wire.RESULT and world.plugged == 0.0:
            world.happen("unplug")
            return b""
        return frame

    world.injector.decide = decide
    story.to_end()
    assert world.paths["result asked for again"] == 1
    assert trained(story) == story.golden.total


def test_a_board_that_lost_everything_gets_its_parameters_back(stage: Callable[..., Episode]) -> None:
    story = stage()
    story.advance()
    story.do(Run.save)
    story.world.happen("swap")
    story.to_end()
    assert story.world.paths["parameters given back"] == 1


def test_parameters_half_written_are_never_trained_on(stage: Callable[..., Episode]) -> None:
    killed = []

    def decide(body: bytes, frame: bytes, to_board: bool) -> bytes:
        if body[0] == wire.COMMIT and not killed:
            killed.append(body)
            story.world.die()
        return frame

    story = stage(decide)
    story.advance()
    story.do(Run.save)
    story.world.happen("swap")
    story.to_end()
    assert killed
    assert story.world.paths["parameters half written"] == 1


def test_a_write_that_comes_again_late_overwrites_nothing(stage: Callable[..., Episode]) -> None:
    """In the midst of the run that went on from it: the board refuses it, and the run ends as it should."""
    frames: list[bytes] = []

    def decide(body: bytes, frame: bytes, to_board: bool) -> bytes:
        if body[0] == wire.WRITE:
            frames.append(frame)
        if body[0] == wire.TRAIN and body[1] == 8 and body[5] == 1 and len(frames) == 1:
            frames.append(b"")
            return frames[0] + frame
        return frame

    story = stage(decide)
    story.advance()
    story.do(Run.save)
    story.world.happen("swap")
    story.to_end()
    assert len(frames) > 1
    assert story.world.paths["parameters half written"] == 0


def test_parameters_that_another_host_left_half_written_are_given_anew(stage: Callable[..., Episode]) -> None:
    """As `--evaluate` of an older checkpoint, killed: the board's step is right, its parameters are not."""
    story = stage()
    world, config = story.world, story.golden.config
    story.advance()
    story.do(Run.save)
    story.end()
    other = Link(world.connect(), world.monotonic)
    other.attach()
    session = session_id(config)
    step, _, flags = other.open(open_body(config, session, 0, 77), session, 77)
    other.ask((wire.STATE,), wire.WRITE, wire.READ_FORMAT + "i", 0, 1, 12345)
    other.transport.close()
    assert (step, flags & wire.FLAG_LOADING) == (5, 0)
    story.to_end()
    assert world.paths["parameters half written"] == 1


# What a board does not do, whatever a host says


@pytest.fixture
def device(stage: Callable[..., Episode]) -> Callable[..., bytes]:
    """device(form, ...) sends a message to a board in the midst of a run; returns its answer."""
    story = stage()
    story.advance()
    board, sender, answers = story.world.board.device, wire.Sender(), []
    board.send = lambda frame, n: answers.append(opened(bytes(frame[1 : n - 1])))

    def call(form: str, *values: int | bytes) -> bytes:
        body = struct.pack(form, *values)
        sender.body[: len(body)] = body
        n = sender.seal(len(body), board.key)
        answers.clear()
        board.receive(bytes(sender.frame[:n]), n)
        return answers[-1] if answers else b""

    call.lattice = board.lattice  # type: ignore[attr-defined]
    call.board = board  # type: ignore[attr-defined]
    return call


IMAGE = wire.ROWS_FORMAT + "8s"  # all rows of one


def flags_of(body: bytes) -> int:
    """The flags of an ACK or STATE."""
    return body[7] if body[0] == wire.ACK else state(body)[2]


def test_no_step_without_learning_rates(device) -> None:
    image = (IMAGE, wire.TRAIN, 5, 0, 4, 0, bytes(8))
    device.board.rates = False
    assert flags_of(device(*image)) == wire.FLAG_REFUSED
    assert device.lattice.step == 5
    device.board.rates = True
    assert device(*image)[0] == wire.RESULT
    assert device.lattice.step == 6


def test_learning_rates_of_another_step_are_refused(device) -> None:
    before = list(device.lattice.rule)
    for step in (4, 6):
        assert flags_of(device(wire.RATES_FORMAT, wire.RATES, 7, step, 1, 20, 2, 20, 3, 20, 0, 40)) & wire.FLAG_REFUSED
        assert list(device.lattice.rule) == before
    assert not flags_of(device(wire.RATES_FORMAT, wire.RATES, 7, 5, 1, 20, 2, 20, 3, 20, 0, 40)) & wire.FLAG_REFUSED
    assert list(device.lattice.rule) != before


def test_parameters_without_their_commit_are_neither_trained_nor_tested_nor_kept(device) -> None:
    device.board.writable = True  # as behind OPEN
    assert flags_of(device(wire.READ_FORMAT + "i", wire.WRITE, 1, 3, 1, 12345)) & wire.FLAG_LOADING
    assert device(wire.RATES_FORMAT, wire.RATES, 2, 5, 1, 20, 2, 20, 3, 20, 0, 40)[1] == 2
    for kind in (wire.TRAIN, wire.TEST):
        assert flags_of(device(IMAGE, kind, 5, 0, 4, 0, bytes(8))) & wire.FLAG_REFUSED
    device(wire.ASK_FORMAT, wire.CHECKPOINT, 3)
    assert device.board.saved is None
    assert device.lattice.step == 5


def test_written_parameters_count_only_with_the_right_digest(device) -> None:
    device.board.writable = True  # as behind OPEN
    lattice = device.lattice
    device(wire.READ_FORMAT + "i", wire.WRITE, 1, 3, 1, 12345)
    assert flags_of(device(wire.COMMIT_FORMAT, wire.COMMIT, 2, 9, lattice.digest() ^ 1)) & wire.FLAG_LOADING
    lattice.step = 9
    right = lattice.digest()
    assert not flags_of(device(wire.COMMIT_FORMAT, wire.COMMIT, 3, 9, right)) & wire.FLAG_LOADING
    assert (lattice.step, lattice.digest()) == (9, right)


@pytest.mark.parametrize("kind", [wire.GREETING[0], wire.OPEN], ids=["ATTACH", "OPEN"])
def test_a_greeting_that_comes_again_in_the_midst_of_a_run_does_no_harm(
    stage: Callable[..., Episode], kind: int
) -> None:
    frames: list[bytes] = []

    def decide(body: bytes, frame: bytes, to_board: bool) -> bytes:
        if body[0] == kind:
            frames.append(frame)
        if is_row(1)(body) and len(frames) < 9:
            frames.extend([b""] * 9)
            return frame + frames[0]
        return frame

    story = stage(decide)
    story.to_end()
    assert len(frames) >= 9
    assert story.world.now < 60  # no long row of time-outs
    assert trained(story) == story.golden.total


def test_a_refusal_for_good_is_an_error_that_names_the_way_out(stage: Callable[..., Episode]) -> None:
    story = stage()
    story.world.board.work(0.0)
    story.world.board.device.failed = True
    story.start()
    with pytest.raises(UserError, match=r"self-test failed.*install another MicroPython"):
        next(story.chunks)
