"""Host and board joined by a line that loses, repeats and delays frames, in virtual time: each is made good.

Go-back-N, late answers, and the credit, on scripted lines (scripted_line.py).
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from scripted_line import ROW, is_kind, is_row, once, opened, trained

from firmware import wire
from host.board.link import ANSWER
from host.runs.run import Run
from tools.faults.episode import Episode, episode, play
from tools.faults.golden import small
from tools.faults.injector import BYTE_FAULTS, Injector
from tools.faults.world import World

# Without faults


@pytest.mark.parametrize("seed", range(16))
def test_without_faults_nothing_is_sent_twice_or_late_and_the_credit_is_kept(seed: int) -> None:
    story = play(seed, 0, storm=False)
    sent = story.statistics
    if story.world.pace < ANSWER:  # a slower board is asked again, and rightly so
        assert (sent["retransmitted"], sent["timeouts"]) == (0, 0)
        assert story.world.board.overruns == 0
    assert sent["resets"] == 0
    assert trained(story) == story.golden.total
    assert story.world.board.unread > 0


def test_several_frames_are_under_way_at_once(stage: Callable[..., Episode]) -> None:
    story = stage(window=128, pace=0.02)
    story.to_end()
    assert 4 * (ROW + 6) <= story.world.board.unread <= 128


# Single losses and repetitions: go-back-N


def test_a_lost_ack_costs_nothing_since_the_next_one_says_as_much(stage: Callable[..., Episode]) -> None:
    decide = once(lambda body: body[0] == wire.ACK and body[6] == 2)
    story = stage(decide)
    story.to_end()
    assert decide.done
    assert (story.statistics["retransmitted"], story.statistics["timeouts"]) == (0, 0)


@pytest.mark.parametrize("largest, timeouts", [(ROW, 0), (wire.MAX_BODY, 1)], ids=["of many frames", "of one frame"])
def test_a_lost_result_of_an_image_is_given_again_without_training(
    stage: Callable[..., Episode], largest: int, timeouts: int
) -> None:
    story = stage(once(is_kind(wire.RESULT)), largest=largest)
    story.to_end()
    assert story.statistics["timeouts"] == timeouts
    assert story.statistics["retransmitted"] >= 1
    assert story.world.board.counters["frames asked for twice"] >= 1
    assert trained(story) == story.golden.total


@pytest.mark.parametrize("row", [0, 1, 3], ids=["first", "middle", "last"])
def test_a_lost_frame_is_missed_by_the_board_before_any_time_out(stage: Callable[..., Episode], row: int) -> None:
    story = stage(once(is_row(row)))
    story.to_end()
    assert story.statistics["retransmitted"] >= 1
    assert story.statistics["timeouts"] == 0
    assert trained(story) == story.golden.total


def test_the_last_frame_of_all_when_lost_is_sent_again_after_a_time_out(stage: Callable[..., Episode]) -> None:
    story = stage(once(lambda body: body[0] == wire.TRAIN and body[1] == 13 and body[5] == 3))
    story.to_end()
    assert (story.statistics["retransmitted"], story.statistics["timeouts"]) == (1, 1)
    assert trained(story) == story.golden.total


def test_a_lost_tested_is_given_again_without_testing(stage: Callable[..., Episode]) -> None:
    story = stage(once(is_kind(wire.TESTED)))
    story.to_end()
    assert story.world.board.device.counters[2] == 4
    assert story.statistics["timeouts"] == 0


def test_results_that_come_again_later_are_not_counted_again(stage: Callable[..., Episode]) -> None:
    old: list[bytes] = []

    def decide(body: bytes, frame: bytes, to_board: bool) -> bytes:
        if body[0] in (wire.RESULT, wire.TESTED):
            old.append(frame)
            return frame + b"".join(old[-4:])
        return frame

    story = stage(decide)
    story.to_end()
    assert story.statistics["images"] == story.golden.total + 4


@pytest.mark.parametrize("later", [0, 1, 2, 3, 9])
def test_frames_that_come_again_later_are_not_trained_again(stage: Callable[..., Episode], later: int) -> None:
    old: list[bytes] = []

    def decide(body: bytes, frame: bytes, to_board: bool) -> bytes:
        if to_board and body[0] >= wire.SEALED:
            old.append(frame)
            return frame + (old[-1 - later] if later < len(old) else b"")
        return frame

    story = stage(decide, largest=wire.MAX_BODY)
    story.to_end()
    assert trained(story) == story.golden.total
    assert story.world.board.counters["frames asked for twice"] >= 1


def test_a_frame_of_the_future_is_refused(stage: Callable[..., Episode]) -> None:
    story = stage()
    story.advance()
    device, sent = story.world.board.device, []
    device.send = lambda frame, n: sent.append(opened(bytes(frame[1 : n - 1])))
    rows = bytes(8)
    for ahead in (1, 2, 1000):
        step = device.lattice.step
        sender = wire.Sender()
        body = bytes([wire.TRAIN]) + (step + ahead).to_bytes(4, "little") + bytes([0, 4, 0]) + rows
        sender.body[: len(body)] = body
        n = sender.seal(len(body), device.key)
        device.receive(bytes(sender.frame[:n]), n)
        assert device.lattice.step == step
        assert sent.pop()[0] == wire.ACK


# Answers that are late


def test_a_late_answer_is_not_taken_for_that_to_new_learning_rates(stage: Callable[..., Episode]) -> None:
    """The board would go on with the old ones: a wrong run that nobody notices."""
    answers: list[bytes] = []
    lost: list[bytes] = []

    def decide(body: bytes, frame: bytes, to_board: bool) -> bytes:
        if body[0] == wire.STATE:
            answers.append(frame)
        if body[0] == wire.RATES and len(answers) > 2 and not lost:
            lost.append(frame)
            story.world._carry(answers[-1], False, story.world.now)
            return b""
        return frame

    story = stage(decide)
    story.to_end()
    assert lost
    assert story.statistics["timeouts"] == 1


def test_a_late_answer_is_not_taken_for_the_digest(stage: Callable[..., Episode]) -> None:
    answers: list[bytes] = []

    def decide(body: bytes, frame: bytes, to_board: bool) -> bytes:
        if body[0] == wire.STATE:
            answers.append(frame)
        if body[0] == wire.QUERY:
            story.world._carry(answers[0], False, story.world.now)
        return frame

    story = stage(decide)
    story.to_end()  # the digest is in the epoch's line, which is compared
    assert len(answers) > 3


def test_what_an_earlier_conversation_left_on_the_line_does_not_decode(stage: Callable[..., Episode]) -> None:
    frames: list[bytes] = []

    def decide(body: bytes, frame: bytes, to_board: bool) -> bytes:
        if to_board and body[0] >= wire.SEALED:
            frames.append(frame)
        return frame

    story = stage(decide)
    story.advance()
    old = list(frames)
    assert {opened(frame[:-1])[0] for frame in old} >= {wire.RATES, wire.TRAIN}
    story.world.happen("unplug")
    story.advance()
    device = story.world.board.device
    before = device.lattice.step, device.lattice.arrived, list(device.counters), device.receiver.damaged
    for frame in old:
        device.receive(frame, len(frame))
    after = device.lattice.step, device.lattice.arrived, list(device.counters), device.receiver.damaged
    assert after == (*before[:3], before[3] + len(old))
    story.to_end()


def test_frames_of_another_session_do_not_decode(stage: Callable[..., Episode]) -> None:
    story = stage()
    story.advance()
    device = story.world.board.device
    sender = wire.Sender()
    sender.body[:2] = bytes([wire.CLOSE, 1])
    for key in (wire.NO_KEY, wire.key_of(device.session ^ 1, 0), wire.key_of(device.session, 12345)):
        n = sender.seal(2, key)
        device.receive(bytes(sender.frame[:n]), n)
        assert device.open
    n = sender.seal(2, device.key)
    device.receive(bytes(sender.frame[:n]), n)
    assert not device.open


# Credit


def test_credit_is_never_exceeded_whatever_gets_lost() -> None:
    """No line that only loses makes a host send more than a board can hold."""
    lossy = {kind: BYTE_FAULTS[kind] for kind in ("flip", "drop", "erase", "garble", "lose")}
    lost = most = 0
    for seed in range(12):
        with TemporaryDirectory() as name:
            story = episode(seed, Path(name), storm=False)
            world = story.world
            world.pace = min(world.pace, 0.02)
            world.injector = Injector(world.random, 0.1, lossy)
            with world.entered():
                story.to_end(faults=150)
        assert world.board.overruns == 0
        lost += world.faults().total()
        most = max(most, world.board.unread / world.window)
    assert lost > 300
    assert most > 0.9  # it came near


def test_a_window_smaller_than_the_largest_frame_is_kept_too(tmp_path: Path) -> None:
    world = World(1, small(2, 12, 2, (6, 3, 5)), window=72)
    story = Episode(world, tmp_path)
    with world.entered():
        story.advance()
        story.do(Run.save)
        world.happen("swap")  # 72 parameters have to be written back
        story.to_end()
    assert world.paths["parameters given back"] == 1
    assert world.board.unread <= 72
