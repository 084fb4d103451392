"""A board at the end of a link as the Learner of a Run: it trains there, and comes back by itself after a lost link."""

import contextlib
import json
import math
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from firmware import wire
from host.base import cli
from host.board.link import Link
from host.board.transport import Gone, LinkLost, NoFirmware, Transport
from host.data import dataset
from host.engine.learners import FixedLearner, executor
from host.runs.checkpoint import digest
from host.runs.config import SEGMENT, Config

EVIDENCE = "twin-mismatch.npz"  # in the run's directory: both states, where board and twin differ
AGAIN = 10.0  # seconds between two signs of life while we wait for a board
PAUSE = 0.5  # seconds between two attempts to reach a board that is gone


def session_id(config: Config) -> int:
    """32 bits that name a run: data, configuration and seed. Never 0."""
    return zlib.crc32(json.dumps(config.as_dict(), sort_keys=True).encode()) or 1


class Stopped(KeyboardInterrupt):
    """Ctrl-C while the board was testing: it stands where the run stands, so this can be saved."""


class Twin(Protocol):
    """What is stepped beside a board and compared with it: a FixedLearner, or who stands in for one."""

    @property
    def lattice(self) -> Any:
        """Has train(pixels, label), which returns the prediction."""

    def set_rates(self, config: Config, step: int) -> None:
        """As Learner.set_rates."""

    def params(self) -> np.ndarray:
        """As Learner.params."""

    def load(self, params: np.ndarray, step: int) -> None:
        """As Learner.load."""

    def digest(self) -> str:
        """As Learner.digest."""


def open_body(config: Config, session: int, flags: int, conversation: int) -> bytes:
    """The OPEN message of a configuration."""
    bounds = [min(max(x, -32768), 32767) for pair in config.bounds for x in pair]
    return struct.pack(wire.OPEN_FORMAT, wire.OPEN, wire.VERSION, flags, *config.form, config.pixel_bits, session,
                       config.seed, *config.init, *bounds, conversation)  # fmt: skip


class BoardLearner:
    """A board at the end of a link as the Learner of a Run; comes back by itself after a lost link or a reset.

    connect() opens the transport; if it never can, or no board ever says HELLO, that is an error, and whatever happens
    later is waited out. twin: the same engine on the host, stepped with the board; a difference raises UserError and
    leaves both states in `directory`, which is the run's. replace: let the board forget another run. stopped: whether
    Ctrl-C was pressed; a wait ends then, with Gone.
    """

    def __init__(
        self,
        config: Config,
        data: dataset.Dataset,
        connect: Callable[[], Transport],
        twin: bool = False,
        replace: bool = False,
        directory: Path | None = None,
        stopped: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda text: None,
        link: Link | None = None,
    ):
        self.config, self.data, self.connect, self.say, self.stopped = config, data, connect, say, stopped
        self.session = session_id(config)
        self.flags = wire.FLAG_REPLACE if replace else 0
        self.directory = directory
        self.twin: Twin | None = FixedLearner(config.network(**executor("llvm"))) if twin else None
        self.twin_checks = 0
        self.link = link or Link()
        self.link.stopped, self.link.say = stopped, self._silent
        self.reached = False  # connect() has opened the port, ever
        self.met = False  # the firmware is at the other end now: HELLO
        self.connected = False  # and has our session open
        self.said: set[str] = set()  # why we wait, since the board was last there
        self.since = self.told = 0.0  # when that wait began, and when we last said so
        self.answers = 0  # the link's, then
        self.step = 0  # images whose result is here
        self.target = 0  # images whose result train() is to bring
        self.board_step = 0  # images the board has trained, as far as we know
        self.known: tuple[np.ndarray | None, int] = (None, 0)  # what a board that lost more than that is given
        self.keeps_none = False  # the board has no room for a checkpoint, and we have said so
        self.guess: int | None = None
        self.tests = 0
        self.orders: dict[int, np.ndarray] = {}

    # The Learner of a Run

    def set_rates(self, config: Config, step: int) -> None:
        """The board gets its rates with the images; they follow from the step."""

    def train(self, images: np.ndarray, labels: np.ndarray) -> int:
        """Train the board on the next len(images) images of the run."""
        self.target = self.step + len(images)
        self.correct = 0
        while self.step < self.target:
            try:
                self.ready()
                self._train_until(self.target)
            except LinkLost as error:
                self.lost(error)
        return self.correct

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Share of images that the board classifies rightly, without learning."""
        predictions: list[int] = []
        while len(predictions) < len(labels):
            first = self.tests
            try:
                self.ready()
                if self.board_step != self.step:
                    self._train_until(self.step)
                done = len(predictions)
                for got in self.link.images(wire.TEST, first, images[done:], labels[done:], self.config.pixel_bits):
                    predictions.append(got.prediction)
                    self.tests = got.sequence + 1
                    if self.stopped():
                        raise Stopped
            except LinkLost as error:
                self.lost(error)
        return float((np.array(predictions) == labels).mean())

    def params(self) -> np.ndarray:
        """The board's parameters; the board writes its own checkpoint of them too, if it can."""
        while True:
            try:
                self.ready()
                if self.board_step != self.step:
                    self._train_until(self.step)
                words = self.link.read_params(math.prod(self.config.shape))
                step, crc, _ = self.link.query()
                params = words.reshape(self.config.shape)
                if step != self.step or f"{crc:08x}" != digest(params, step):
                    raise LinkLost("the parameters changed while they were read")
                self.known = params, step
                with contextlib.suppress(Gone):  # for what the host writes down now the board is not needed
                    self._checkpoint()
                return params
            except LinkLost as error:
                self.lost(error)

    def _checkpoint(self) -> None:
        """Have the board write its own checkpoint; say once if it cannot: that costs time after a reset, no more."""
        problem = self.link.checkpoint()
        if not problem:
            self.flags = 0  # another run's checkpoint is gone now, no need to replace it again
        elif not self.keeps_none:
            self.keeps_none = True
            self.say(f"the board cannot write its own checkpoint ({problem}): {self.link.transport.room}; the run goes"
                     " on with the host's")  # fmt: skip

    def load(self, params: np.ndarray, step: int) -> None:
        """Let the run go on from these parameters."""
        self.known = params, step
        self.step = self.target = step
        if self.twin:
            self.twin.load(params, step)

    def digest(self) -> str:
        """The board's digest."""
        while True:
            try:
                self.ready()
                if self.board_step != self.step:
                    self._train_until(self.step)
                step, crc, flags = self.link.query()
                if step != self.step or flags & wire.FLAG_LOADING:
                    raise LinkLost(f"the board is at step {step}")
                return f"{crc:08x}"
            except LinkLost as error:
                self.lost(error)

    # The link

    def lost(self, error: LinkLost) -> None:
        """Note that the link is gone; ready() brings it back."""
        self.link.statistics.resets += self.connected
        self.close()
        self._waiting(str(error))

    def _waiting(self, cause: str, news: bool = True) -> None:
        """Say that we wait for the board, every AGAIN seconds that we still do, and (news) each new cause at once."""
        now = self.link.clock()
        if self.answers != self.link.answers:  # it was there meanwhile
            self.answers = self.link.answers
            self.said.clear()
        if not self.said:
            self.since = now if self.link.quiet is None else self.link.quiet
            way_on = f"; {self.way_on}" if self.directory else ""
            self.say(f"{cause}; waiting for the board at step {self.step} (Ctrl-C leaves{way_on})")
        elif now >= self.told + AGAIN or (news and cause not in self.said):
            self.say(f"still waiting, {now - self.since:.0f} s: {cause}")
        else:
            return
        self.told = now
        self.said.add(cause)

    def _silent(self, cause: str) -> None:
        """Say that we wait; what the silence is called is no news."""
        self._waiting(cause, news=False)

    @property
    def way_on(self) -> str:
        """How to go on with the run if it is left without the board."""
        return f"--run-dir {self.directory} --resume goes on from the last checkpoint, step {self.known[1]}"

    def close(self) -> None:
        """Let go of the transport."""
        self.met = self.connected = False
        self.link.transport.close()

    def leave(self, kind: int) -> None:
        """Tell the board that we go (CLOSE), or that it shall give back its prompt (EXIT), and let go of it."""
        if self.connected:
            body = bytes([kind]) if kind < wire.SEALED else struct.pack(wire.ASK_FORMAT, kind, 0)
            with contextlib.suppress(LinkLost):
                self.link.write(self.link.frame(body))
        self.close()

    def ready(self, opened: bool = True) -> None:
        """Have an open session with the board at a step from which the run can go on; wait for it if it was lost.

        opened=False: have the board there, and open nothing yet.
        Raises NoFirmware if there never was one, UserError if the port never could be opened or the board refuses.
        """
        while not self.connected:
            if self.stopped():
                raise Gone
            try:
                if not self.met:
                    self.link.transport = self.connect()
                    self.reached = True
                    self.link.attach()
                    self.met = True
                if not opened:
                    return
                self.connected = True
                self._open()
            except LinkLost as error:
                self.lost(error)
                if self.link.hopeless():
                    problem = f"no firmware answered: {error}, again and again; is it the right port?"
                    raise NoFirmware(problem) from error
                time.sleep(PAUSE / 10)
            except cli.UserError as error:
                waits = self.reached and not self.connected and not self.link.hopeless()
                self.close()
                if not waits or isinstance(error, NoFirmware):
                    raise
                self._waiting(str(error))
                time.sleep(PAUSE)

    def _session(self, flags: int) -> tuple[int, int, int]:
        """Open the session; return the board's step counter, digest and STATE flags."""
        conversation = self.link.draw()
        body = open_body(self.config, self.session, flags, conversation)
        return self.link.open(body, self.session, conversation)

    def _open(self) -> None:
        """Open the session, and bring the board back to where we are, or to where we can go on from."""
        step, _, flags = self._session(self.flags)
        params, known = self.known
        usable = known <= step <= self.step
        if step == self.step + 1 <= self.target and flags & wire.FLAG_RESULT:
            usable = True  # trained, but the result got lost; it can be asked for
        if flags & wire.FLAG_LOADING or not usable:
            if params is None:
                self._session(self.flags | wire.FLAG_RESTART)
            else:
                self.link.write_params(params, known, int(digest(params, known), 16))
            step = known
        self.board_step = step
        self.said.clear()

    def image(self, step: int) -> int:
        """The index of the training image of a step."""
        epoch, position = divmod(step, self.config.images)
        if epoch not in self.orders:
            self.orders = {epoch: self.config.order(epoch)}
        return int(self.orders[epoch][position])

    def _train_until(self, target: int) -> None:
        """Train from where the board is; images that were counted before are trained again if it has lost them."""
        while self.board_step < target or self.step < target:
            first = min(self.board_step, self.step)
            end = min(target, first - first % SEGMENT + SEGMENT)
            which = [self.image(step) for step in range(first, end)]
            labels = self.data.train_labels[which]
            if self.board_step > self.step:  # trained, but the result got lost: asking for it trains nothing
                which, labels = which[:1], labels[:1]
            else:
                self.link.set_rates(first, self.config.rates(first))
            for got, label in zip(
                self.link.images(wire.TRAIN, first, self.data.train_images[which], labels, self.config.pixel_bits,
                                 self.twin is not None),
                labels.tolist(),
                strict=True,
            ):  # fmt: skip
                self.board_step = got.sequence + 1
                if got.sequence == self.step:
                    self._compare(got.sequence, got.prediction, got.digest)
                    self.step += 1
                    self.correct += got.prediction == label
                    self.guess = got.prediction

    def _compare(self, step: int, prediction: int, found: int) -> None:
        """Step the twin and compare it with the board's answer."""
        if self.twin is None:
            return
        index = self.image(step)
        image, label = self.data.train_images[index : index + 1], self.data.train_labels[index : index + 1]
        self.twin.set_rates(self.config, step)
        guess = self.twin.lattice.train(image.reshape(-1), int(label[0]))
        wanted = self.twin.digest()
        self.twin_checks += 1
        if f"{found:08x}" != wanted or guess != prediction:
            raise cli.UserError(
                f"the board differs from its twin, first at step {step} (training image {index}): digest {found:08x},"
                f" the twin's is {wanted}; prediction {prediction}, the twin's is {guess}{self._evidence(step)}"
            )

    def _evidence(self, step: int) -> str:
        """Keep both states after a step in which they differ; return where."""
        if self.directory is None or self.twin is None:
            return ""
        path = self.directory / EVIDENCE
        try:
            board = self.link.read_params(math.prod(self.config.shape))
        except (LinkLost, cli.UserError, Gone):
            board = np.zeros(0, np.int32)
        try:
            np.savez(path, board=board, twin=self.twin.params().ravel(), step=step)
        except OSError as error:
            return f"; the states could not be written to {path} ({error.strerror})"
        return f"; {'both states are' if len(board) else 'the board has gone; the twin is'} in {path}"
