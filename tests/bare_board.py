"""The firmware's Device with nothing around it: it is given frames, and its answers are read."""

import struct
from typing import Any

from frames import OPEN, WINDOW, ask_body, cut, frame, open_body, rates_body, result, state, unframe

from firmware import wire
from firmware.device import Device


class Board:
    """A Device and the frames that it sends. root: directory of its flash, with a slash; it has none by default."""

    def __init__(self, root: str = "no flash/", healthy: bool = True, **options: Any) -> None:
        self.root = root
        self.sent: list[bytes] = []
        self.times = iter(range(0, 10**9, 10))
        self.events: list[str] = []
        self.key = 0
        self.worked: int | None = None
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
        """Send frames in the conversation; return the answer to the last one, which must have just one.

        WORKING, which may come before an OPEN's answer, is noted in `worked`: the session that it names, or None.
        """
        for body in bodies:
            answers = self.raw(frame(body, self.key))
        *before, answer = answers
        self.worked = None
        if before:
            (self.worked,) = [struct.unpack(wire.WORKING_FORMAT, working)[1] for working in before]
            assert body[0] == wire.OPEN and before[0][0] == wire.WORKING
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
