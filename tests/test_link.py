"""Exactly once: host and board joined by a line on which everything goes wrong, in virtual time (tools.faults).

The small counts are here; `python -m tools.soak` runs a million faults and more.
"""

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from firmware import codec, wire
from host.board import open_body, session_id
from host.cli import UserError
from host.link import ANSWER, Link, state
from host.run import Run
from tools import soak
from tools.faults.episode import Episode, episode, play
from tools.faults.golden import Violation, small
from tools.faults.injector import BYTE_FAULTS, Injector
from tools.faults.world import CHECKPOINT_FAULTS, KINDS, WORLD_FAULTS, World

ROW = wire.HEADER + 2  # body of a frame that carries one row of two pixels
SIZE = (2, 2, 4)  # four rows of two pixels: four such frames


def opened(frame: bytes) -> bytes:
    """The body in a frame, without a look at its CRC."""
    body = bytearray(frame)
    return bytes(body[: max(0, codec.decode(body, len(body)) - 4)])


class Script(Injector):
    """A line on which rule(body, frame, to_board) decides what becomes of each frame."""

    def __init__(self, world: World, decide: Callable[[bytes, bytes, bool], bytes]):
        super().__init__(world.random)
        self.decide = decide
        self.seen: Counter[int] = Counter()  # frames by type

    def damage(self, data: bytes, to_board: bool) -> bytes:
        out = b""
        for piece in data.split(b"\0")[:-1]:
            if body := opened(piece):
                self.seen[body[0]] += 1
                out += self.decide(body, piece + b"\0", to_board)
            else:
                out += piece + b"\0"
        return out


def once(condition: Callable[[bytes], bool], instead: Callable[[bytes], bytes] = lambda frame: b"") -> Callable:
    """A Script's rule: the first frame whose body meets the condition is replaced (by nothing)."""
    done = []

    def decide(body: bytes, frame: bytes, to_board: bool) -> bytes:
        if not done and condition(body):
            done.append(body)
            return instead(frame)
        return frame

    decide.done = done  # type: ignore[attr-defined]
    return decide


def intact(body: bytes, frame: bytes, to_board: bool) -> bytes:
    """A Script's rule: nothing happens."""
    return frame


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Episode]]:
    """stage(decide, ...) makes an Episode on a scripted line, and lets the test live in its world."""
    with ExitStack() as stack:

        def make(decide: Callable = intact, images: int = 14, largest: int = ROW, **options: object) -> Episode:
            world = World(1, small(1, images, 4, SIZE), **options)  # type: ignore[arg-type]
            world.injector = Script(world, decide)
            stack.enter_context(world.entered())
            return Episode(world, tmp_path, largest=largest)

        yield make


def trained(story: Episode) -> int:
    """Training steps that the board made."""
    return story.world.board.counters["steps trained"]


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


def is_kind(kind: int) -> Callable[[bytes], bool]:
    """Whether a body is of this type."""
    return lambda body: body[0] == kind


def is_row(row: int) -> Callable[[bytes], bool]:
    """Whether a body is a TRAIN of this row, not of the first image."""
    return lambda body: body[0] == wire.TRAIN and body[1] == 3 and body[5] == row


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
        assert flags_of(device(wire.RATES_FORMAT, wire.RATES, 7, step, 1, 20, 2, 20, 3, 20)) & wire.FLAG_REFUSED
        assert list(device.lattice.rule) == before
    assert not flags_of(device(wire.RATES_FORMAT, wire.RATES, 7, 5, 1, 20, 2, 20, 3, 20)) & wire.FLAG_REFUSED
    assert list(device.lattice.rule) != before


def test_parameters_without_their_commit_are_neither_trained_nor_tested_nor_kept(device) -> None:
    device.board.writable = True  # as behind OPEN
    assert flags_of(device(wire.READ_FORMAT + "i", wire.WRITE, 1, 3, 1, 12345)) & wire.FLAG_LOADING
    assert device(wire.RATES_FORMAT, wire.RATES, 2, 5, 1, 20, 2, 20, 3, 20)[1] == 2
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
    world = World(1, small(2, 12, 2, (6, 3, 5)), window=64)
    story = Episode(world, tmp_path)
    with world.entered():
        story.advance()
        story.do(Run.save)
        world.happen("swap")  # 72 parameters have to be written back
        story.to_end()
    assert world.paths["parameters given back"] == 1
    assert world.board.unread <= 64


# Everything at once


def test_a_storm_of_faults_takes_every_way_of_recovery_and_loses_no_step() -> None:
    paths: Counter[str] = Counter()
    injected: Counter[str] = Counter()
    for seed in range(16):
        story = play(seed, 400)
        paths += story.world.paths + story.world.board.counters
        injected += story.world.faults()
    assert injected.keys() == set(KINDS)
    assert paths.keys() >= {
        "link lost", "board seen to have reset", "session taken up", "steps trained again", "result asked for again",
        "board ahead of the host", "parameters given back", "run restarted", "host started again", "idle time-outs",
        "boots with a checkpoint", "frames asked for twice", "frames damaged", "frames too long",
    }  # fmt: skip


class ExactlyOnce(RuleBasedStateMachine):
    """Hypothesis chooses what happens when; every step, digest and prediction is compared as it comes."""

    @initialize(
        seed=st.integers(0, 2**31 - 1),
        size=st.sampled_from([(1, 2, 3), (2, 2, 4), (3, 2, 3)]),
        bits=st.sampled_from([8, 4, 1]),
        window=st.sampled_from([64, 128, 512]),
        pace=st.sampled_from([0.0001, 0.02, 0.3, 2.0]),
        lossy=st.booleans(),
        fat=st.booleans(),
        rows=st.integers(1, 4),
        chunk=st.integers(1, 7),
    )
    def start(self, seed, size, bits, window, pace, lossy, fat, rows, chunk):
        self.stack = ExitStack()
        self.world = World(seed, small(seed, 10, 2, size, 2, bits), window, lossy, pace, fat=fat)
        self.stack.enter_context(self.world.entered())
        directory = Path(self.stack.enter_context(TemporaryDirectory()))
        largest = wire.HEADER + rows * max(1, size[0] * bits // 8)
        self.story = Episode(self.world, directory, chunk, interval=5.0, largest=largest)
        self.more = True

    @rule(kind=st.sampled_from(sorted(BYTE_FAULTS)), to_board=st.booleans(), after=st.integers(0, 12))
    def damage_a_frame(self, kind, to_board, after):
        self.world.injector.plan(kind, to_board, after)

    @rule(kind=st.sampled_from(sorted({*WORLD_FAULTS, *CHECKPOINT_FAULTS})), after=st.integers(0, 20))
    def let_something_happen(self, kind, after):
        self.world.plan(kind, after)

    @rule(rate=st.sampled_from([0.0, 0.0, 0.1, 0.4]))
    def change_the_weather(self, rate):
        self.world.injector.rate = rate

    @rule(seconds=st.sampled_from([0.01, 1.0, 20.0]))
    def wait(self, seconds):
        self.world.sleep(seconds)

    @precondition(lambda self: self.more)
    @rule()
    def train(self):
        self.more = self.story.advance()

    @precondition(lambda self: self.more)
    @rule()
    def save(self):
        self.story.do(Run.save)

    @precondition(lambda self: self.more)
    @rule()
    def interrupt(self):
        self.story.stop = True
        self.more = self.story.advance()

    @precondition(lambda self: self.more)
    @rule()
    def kill_the_host(self):
        self.story.end()

    def teardown(self):
        if hasattr(self, "stack"):
            with self.stack:
                if self.more:
                    self.story.to_end()


TestExactlyOnce = ExactlyOnce.TestCase
TestExactlyOnce.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.slow
class TestExactlyOnceAtLength(ExactlyOnce.TestCase):
    """The same with more patience."""


TestExactlyOnceAtLength.settings = settings(TestExactlyOnce.settings, max_examples=300, stateful_step_count=40)


def test_a_seed_runs_the_same_again() -> None:
    """Else the seed that a failed soak names would be of no use."""
    first, second = play(4, 300), play(4, 300)
    assert first.world.faults() == second.world.faults()
    assert (first.statistics, first.world.now) == (second.statistics, second.world.now)
    assert first.world.faults().total() > 100


def test_a_soak_that_finds_something_names_the_seed_and_ends_with_1(monkeypatch, capsys) -> None:
    def wrong(seed: int, budget: int) -> Episode:
        if seed == 9:
            raise Violation("a step is lost")
        return play(seed, 10)

    monkeypatch.setattr(soak, "play", wrong)
    monkeypatch.setattr("sys.argv", ["soak", "--seed", "7", "--json"])
    assert soak.main() == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["failed"] == 9 and json.loads(out)["runs"] == 2
    assert "a step is lost" in err and err.endswith("python -m tools.soak --seed 9 --faults 1\n")


def test_the_golden_run_is_compared_with_in_every_step(stage: Callable[..., Episode]) -> None:
    """The comparison itself has teeth: a board that differs by one bit of one parameter is found out in one step."""
    story = stage()
    story.advance()
    story.world.board.device.lattice.w[3] ^= 1
    with pytest.raises(Violation, match="digest after step 6"):
        story.advance()


def test_a_refusal_for_good_is_an_error_that_names_the_way_out(stage: Callable[..., Episode]) -> None:
    story = stage()
    story.world.board.work(0.0)
    story.world.board.device.failed = True
    story.start()
    with pytest.raises(UserError, match=r"self-test failed.*install another MicroPython"):
        next(story.chunks)
