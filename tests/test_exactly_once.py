"""Exactly once: host and board joined by a line on which everything goes wrong, in virtual time (tools.faults).

The small counts are here; `python -m tools.soak` runs a million faults and more.
"""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from firmware import wire
from host.runs.run import Run
from tools import soak
from tools.faults.episode import Episode, play
from tools.faults.golden import Violation, small
from tools.faults.injector import BYTE_FAULTS
from tools.faults.world import CHECKPOINT_FAULTS, KINDS, WORLD_FAULTS, World


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
        window=st.sampled_from([72, 128, 512]),
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
    first, second = play(9, 300), play(9, 300)
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
