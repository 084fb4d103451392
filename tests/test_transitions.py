"""A host that does what it likes against a model that knows every transition of the board's state machine."""

import tempfile

from bare_board import Board
from frames import (
    COLS,
    OTHER_RATES,
    RATES,
    ROWS,
    STEPS,
    ack,
    ask_body,
    commit_body,
    golden,
    lattice,
    pixels,
    rates_body,
    result,
    rows_body,
    state,
    write_bodies,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from firmware import wire
from fixedpoint.lattice import Lattice


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
