"""A board that follows a script, on a line whose clock is the script's: the host is seen to the millisecond."""

import struct
from collections.abc import Callable, Iterable
from math import inf

from firmware import wire
from host.board.transport import LinkLost
from host.data.dataset import Dataset, load
from host.runs.config import Config, configure

END = 300.0  # seconds: no script takes so long
Answers = Iterable[tuple[float, bytes | str]]  # seconds after the question, and the body of a frame, or a text


def small() -> tuple[Config, Dataset]:
    """A lattice's configuration, and its data."""
    data = load().limited(4, 2)
    return configure(data, "critical", 1, 1), data


def hello(flags: int = wire.FLAG_ATTACHED, version: int = wire.VERSION) -> bytes:
    """A HELLO."""
    return struct.pack(wire.HELLO_FORMAT, wire.HELLO, version, 0, 1, 0, flags, 500, 0, 100000, 0, 0, 0, 0, 0)


def working(session: int) -> bytes:
    """A WORKING."""
    return struct.pack(wire.WORKING_FORMAT, wire.WORKING, session)


def state(step: int = 0, flags: int = 0) -> bytes:
    """The STATE that answers OPEN."""
    return struct.pack(wire.STATE_FORMAT, wire.STATE, 0, step, 0, flags)


class Line:
    """A Transport to a board that gives answers(kind, n) to the n-th frame of this kind, counted from 1.

    fail: LinkLost is raised by read() from this time on, with what is in it.
    """

    room = "free space"

    def __init__(self, answers: Callable[[int, int], Answers]):
        self.answers = answers
        self.now = 0.0
        self.seen: list[tuple[float, int]] = []  # when a frame came, and of which kind
        self.coming: list[tuple[float, bytes]] = []
        self.last = b""  # body that came
        self.key = wire.NO_KEY
        self.fail: tuple[float, str] | None = None

    def clock(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        assert self.now < END, "the host waits for ever"

    def times(self, kind: int) -> list[float]:
        """When frames of this kind came."""
        return [then for then, what in self.seen if what == kind]

    def later(self, after: float, what: bytes | str) -> None:
        """Let the board send a frame with this body, or a text."""
        if isinstance(what, str):
            data = what.encode()
        else:
            sender = wire.Sender()
            sender.body[: len(what)] = what
            data = bytes(sender.frame[: sender.seal(len(what), self.key)])
        self.coming = sorted([*self.coming, (self.now + after, data)])

    def read(self, timeout: float) -> bytes:
        """As Transport.read, in naps as those of host.board.serialport."""
        assert self.now < END, "the host waits for ever"
        until = self.now + min(timeout, 0.1)
        at = self.coming[0][0] if self.coming else inf
        if self.fail and max(self.now, self.fail[0]) <= min(at, until):
            self.now = max(self.now, self.fail[0])
            raise LinkLost(self.fail[1])
        if at > until:
            self.now = until
            return b""
        self.now = max(self.now, at)
        return self.coming.pop(0)[1]

    def write(self, data: bytes) -> None:
        """As Transport.write."""
        receiver, start = wire.Receiver(), 0
        while (start := receiver.take(data, start, len(data))) >= 0:
            if n := receiver.unseal(self.key):
                self.last = body = bytes(receiver.body[:n])
                if body[0] == wire.OPEN:
                    *_, conversation = struct.unpack(wire.OPEN_FORMAT, body)
                    self.key = wire.key_of(struct.unpack(wire.OPEN_FORMAT, body)[15], conversation)
                self.seen.append((self.now, body[0]))
                for after, what in self.answers(body[0], len(self.times(body[0]))):
                    self.later(after, what)

    def close(self) -> None:
        """As Transport.close."""
