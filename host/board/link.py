"""The host's half of the link: finds the board, opens a session, sends images so that each is trained exactly once.

What may happen to bytes on the way is firmware/README.md's subject; the rules that make loss harmless are few: a board
answers every good frame, the host repeats what is not answered, and the board's step counter decides what is new.
"""

import itertools
import os
import secrets
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from firmware import wire
from fixedpoint.build import DIAGONAL
from host.base.cli import UserError
from host.board.frames import OVERHEAD, image_frames
from host.board.transport import BoardReset, Gone, LinkLost, NoFirmware, Transport, Unopened
from host.runs.config import bytes_of

ANSWER = 1.5  # seconds until a board that does not answer is asked again: a training step of a slow board, and more
TRIES = 6  # so often, then the link counts as lost
GREET = 1.0  # seconds between two ATTACH frames while we wait for a HELLO
PATIENCE = 4.0  # seconds until a port without a HELLO counts as one without the firmware
SOON = 1.0  # seconds without a HELLO until we say that we wait
QUIET = 1.8  # so in mid-run, beyond the last training step's time: one lost frame, ANSWER, is not worth a word
SILENCE = "the board does not answer"
# Seconds that an OPEN may take once the board has said WORKING. An RP2040 draws 28 x 10 cells in 0.27 s (tools.cost),
# 64 x 64, the most there are, in 15 times that; boards without machine code are slower.
OPENING = 60.0
GRACE = 0.6  # seconds that a board may be silent after Ctrl-C: enough for a training step of a fast one
PROMPT, TRACEBACK = "\n>>> ", "Traceback (most recent call last):"
SESSION = struct.calcsize("<BBBBBBBHHBBHHIB")  # where it is in an OPEN: see wire.OPEN_FORMAT


@dataclass(frozen=True)
class Hello:
    """A board's HELLO."""

    wire_version: int
    version: str
    flags: int
    window: int
    mpy: int
    free: int
    self_test: int
    session: int
    step: int
    saved_session: int
    saved_step: int

    @classmethod
    def parse(cls, body: bytes) -> "Hello":
        """Raises NoFirmware for a board that speaks another version of the wire."""
        if len(body) < 2 or body[1] != wire.VERSION or len(body) != struct.calcsize(wire.HELLO_FORMAT):
            raise NoFirmware(
                f"the board speaks version {body[1] if len(body) > 1 else '?'} of the wire, this host {wire.VERSION};"
                " put this version's firmware on it with --install"
            )
        _, version, a, b, c, *rest = struct.unpack(wire.HELLO_FORMAT, body)
        return cls(version, f"{a}.{b}.{c}", *rest)


@dataclass
class Statistics:
    """What went over the line."""

    bytes_out: int = 0
    bytes_in: int = 0
    frames: int = 0  # image frames, the first time
    retransmitted: int = 0  # image frames, again
    timeouts: int = 0
    resets: int = 0
    images: int = 0
    computing: float = 0.0  # seconds of the board's time, in these


@dataclass
class Result:
    """A board's answer to one image."""

    sequence: int
    prediction: int
    digest: int
    micros: int


@dataclass
class Link:
    """One conversation with a board over a transport.

    clock: seconds, for time-outs only. answer: seconds until what was not answered is sent again. largest: body of an
    image frame. draw: numbers that no two conversations share. stopped: whether Ctrl-C was pressed; a wait ends then,
    with Gone, unless the board goes on answering. say: is told, again and again while it lasts, why we wait.
    """

    transport: Transport = field(default_factory=Unopened)
    clock: Callable[[], float] = time.monotonic
    statistics: Statistics = field(default_factory=Statistics)
    answer: float = ANSWER
    largest: int = wire.MAX_BODY
    draw: Callable[[], int] = lambda: secrets.randbits(32)
    stopped: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda text: None

    def __post_init__(self) -> None:
        self.sender, self.receiver = wire.Sender(), wire.Receiver()
        self.key = wire.NO_KEY
        self.pending: deque[bytes] = deque()
        self.tail = b""  # the last bytes that came, to show what was there instead of frames
        self.credit = wire.MAX_FRAME
        self.tags = itertools.cycle(range(1, 256))  # 0 is OPEN's
        self.talking = False  # the session is open: a board that says HELLO now has left it
        self.spoken = False  # a HELLO has come, ever: the firmware is there, and worth waiting for
        self.begun: float | None = None  # when we first looked for it
        self.quiet: float | None = None  # since when we wait for a body
        self.answers = 0  # bodies that came while the session was open
        self.pace = 0.0  # seconds of the board's last training step

    # Frames

    def frame(self, body: bytes) -> bytes:
        """Seal a body."""
        self.sender.body[: len(body)] = body
        return bytes(self.sender.frame[: self.sender.seal(len(body), self.key)])

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.statistics.bytes_out += len(data)
        self.transport.write(data)

    def receive(self, timeout: float, silence: str = SILENCE) -> bytes | None:
        """The next good body, or None if none came in `timeout` seconds. Raises LinkLost, Gone.

        silence: what say() is told if the board is quiet for long.
        """
        begun = self.clock()
        if self.quiet is None:
            self.quiet = begun
        until = begun + timeout
        while not self.pending:
            now = self.clock()
            if now >= until:
                return None
            if now >= begun + GRACE and self.stopped():
                raise Gone
            data = self.transport.read(until - now)
            if not data and self.clock() >= self.quiet + QUIET + self.pace:
                self.say(silence)
            self.statistics.bytes_in += len(data)
            self.tail = (self.tail + data)[-4000:]
            start = 0
            while start < len(data):
                start = self.receiver.take(data, start, len(data))
                if start < 0:
                    break
                if n := self.receiver.unseal(self.key):
                    self.pending.append(bytes(self.receiver.body[:n]))
        self.quiet = None
        self.answers += self.talking
        return self.pending.popleft()

    def explain(self) -> str | None:
        """What the board said instead of frames, if it is something a person should see."""
        return explain(self.tail, self.spoken)

    def request(self, kinds: tuple[int, ...], body: bytes, tag: int | None = None) -> bytes:
        """Send a frame until it is answered by one of these kinds (and with this tag); return the answer's body.

        An OPEN that the board is WORKING on is not sent again, but waited for.
        Raises LinkLost if it never is, BoardReset if the board has started anew, NoFirmware if its program has ended.
        """
        for _ in range(TRIES):
            self.write(self.frame(body))
            until = self.clock() + self.answer
            while (left := until - self.clock()) > 0:
                answer = self.receive(left)
                if answer is None:
                    break
                if answer[0] in kinds and (tag is None or answer[0] < wire.SEALED or answer[1] == tag):
                    return answer
                if works_on(answer, body):
                    return self.outlast(kinds)
                self.notice(answer)
            self.missed()
        raise LinkLost(SILENCE)

    def outlast(self, kinds: tuple[int, ...]) -> bytes:
        """The answer of a board that is WORKING on it. Raises what request() raises."""
        until = self.clock() + OPENING
        while (left := until - self.clock()) > 0:
            answer = self.receive(min(left, self.answer), "the board is at work on the new session")
            if answer is None:
                self.look()
            elif answer[0] in kinds:
                return answer
            else:
                self.notice(answer)
        raise LinkLost(SILENCE)

    def ask(self, kinds: tuple[int, ...], kind: int, form: str = wire.ASK_FORMAT, *values: int) -> bytes:
        """Make a request within the session. A tag keeps late answers to earlier ones apart."""
        tag = next(self.tags)
        return self.request(kinds, struct.pack(form, kind, tag, *values), tag)

    def notice(self, body: bytes) -> None:
        """React to a frame that nobody waits for."""
        if body[0] == wire.HELLO:
            if not Hello.parse(body).flags & wire.FLAG_ATTACHED:
                raise BoardReset("the board has started anew")
            if self.talking:
                raise LinkLost("the board has left the session")

    def missed(self) -> None:
        """Count a time-out. Raises NoFirmware if the board has said why it does not answer."""
        self.statistics.timeouts += 1
        self.look()

    def look(self) -> None:
        """Raise NoFirmware if the board has said why it does not answer."""
        if text := self.explain():
            raise NoFirmware(text)

    # Conversation

    def attach(self) -> Hello:
        """Find the firmware at the other end.

        Raises NoFirmware if there is none (with what there is instead), LinkLost if there was one before.
        """
        self.pending.clear()
        self.quiet = None
        self.tail = b""
        self.receiver = wire.Receiver()
        self.key, self.talking = wire.NO_KEY, False
        begun = self.clock()
        if self.begun is None:
            self.begun = begun
        until, greet = begun + PATIENCE, begun + 0.1
        greeting = self.frame(wire.GREETING)
        asked = False
        while (now := self.clock()) < until:
            if self.stopped():
                raise Gone
            if now >= begun + SOON:
                self.say("no answer yet")
            if now >= greet:
                self.write(greeting)
                greet = now + GREET
            body = self.receive(min(greet, until) - now)
            if body and body[0] == wire.HELLO:
                hello = Hello.parse(body)
                self.spoken = True
                self.credit = hello.window
                if hello.flags & wire.FLAG_ATTACHED:
                    return hello
                self.write(greeting)
                until = max(until, self.clock() + self.answer)
            elif body and body[0] == wire.WORKING:  # on the OPEN of a host before us
                until = max(until, self.clock() + OPENING)
            elif self.clock() > until - 1 and not asked:
                asked = True
                self.write(b"\r\n")  # a prompt shows itself
        self.look()
        if self.spoken:
            raise LinkLost(SILENCE)
        raise NoFirmware(
            "no firmware answered on this port; is it the right one? Put the firmware on the board with --install"
        )

    def hopeless(self) -> bool:
        """Whether we have waited for PATIENCE at least, in however many attempts, and there never was a HELLO."""
        return not self.spoken and self.begun is not None and self.clock() >= self.begun + PATIENCE

    def open(self, body: bytes, session: int, conversation: int) -> tuple[int, int, int]:
        """Open a session with an OPEN body; return the board's step counter, digest and STATE flags.

        Raises UserError if the board refuses, with the reason.
        """
        self.key, self.talking = wire.key_of(session, conversation), False
        answer = self.request((wire.STATE, wire.REFUSED), body)
        if answer[0] == wire.REFUSED:
            self.refused(answer, struct.unpack(wire.OPEN_FORMAT, body)[3:14])
        self.talking = True
        return state(answer)

    def refused(self, body: bytes, form: tuple[int, ...] = ()) -> None:
        """Raise what a REFUSED frame says. form: the network that the board was to lay out."""
        _, reason, session, step, detail = struct.unpack(wire.REFUSED_FORMAT, body)
        raise UserError(
            {
                wire.BAD_VERSION: f"the board speaks version {detail} of the wire; use --install",
                wire.OTHER_SESSION: f"the board holds another run (session {session:08x}, step {step});"
                " go on with that one, or discard it with --replace",
                wire.SELF_TEST: "the board's self-test failed: its MicroPython computes wrongly (miscompiled viper code"
                " is a known defect of some releases); install another MicroPython release on it",
                wire.BAD_CONFIG: "the board's firmware does not support this configuration; use fewer rows or steps",
                wire.NO_MEMORY: f"the network does not fit the board's memory{sizes(form, detail)}",
            }.get(reason, f"the board refuses: {reason}")
        )

    def query(self) -> tuple[int, int, int]:
        """The board's step counter, digest and STATE flags."""
        return state(self.ask((wire.STATE,), wire.QUERY))

    def set_rates(self, step: int, rates: tuple[tuple[int, int], ...]) -> None:
        """Set the learning rates before this step. Raises LinkLost if the board is at another one."""
        flat = [x for pair in rates for x in pair]
        _, _, flags = state(self.ask((wire.STATE,), wire.RATES, wire.RATES_FORMAT, step, *flat))
        if flags & wire.FLAG_REFUSED:
            raise LinkLost("the board is at another step")

    def read_params(self, count: int) -> np.ndarray:
        """All `count` parameters, int32, Q26."""
        words = np.zeros(count, np.int32)
        for first in range(0, count, wire.MAX_WORDS):
            n = min(wire.MAX_WORDS, count - first)
            body = self.ask((wire.WORDS,), wire.READ, wire.READ_FORMAT, first, n)
            words[first : first + n] = np.frombuffer(body, "<i4", n, struct.calcsize(wire.READ_FORMAT))
        return words

    def write_params(self, params: np.ndarray, step: int, digest: int) -> None:
        """Give the board parameters (int32, Q26) and the step counter that belongs to them. Raises LinkLost."""
        flat = params.ravel()
        room = (self.credit - 1 - OVERHEAD - struct.calcsize(wire.READ_FORMAT)) // 4
        most = max(1, min(wire.MAX_WORDS, room))
        for first in range(0, len(flat), most):
            some = flat[first : first + most].tolist()
            form = f"{wire.READ_FORMAT}{len(some)}i"
            self.ask((wire.STATE,), wire.WRITE, form, first, len(some), *some)
        answer = state(self.ask((wire.STATE,), wire.COMMIT, wire.COMMIT_FORMAT, step, digest))
        if answer[2] & wire.FLAG_LOADING or answer[:2] != (step, digest):
            raise LinkLost("the board did not get the parameters")

    def checkpoint(self) -> str:
        """Have the board write its checkpoint; nothing is under way meanwhile. Return why it cannot, or ""."""
        answer = self.ask((wire.STATE, wire.REFUSED), wire.CHECKPOINT)
        if answer[0] == wire.STATE:
            return ""
        _, reason, _, _, detail = struct.unpack(wire.REFUSED_FORMAT, answer)
        if reason != wire.STORAGE:
            self.refused(answer)
        return f"error {detail}, {os.strerror(detail)}"

    def counters(self) -> dict[str, int]:
        """The board's own statistics."""
        answer = self.request((wire.COUNTERS,), bytes([wire.STATISTICS]))
        names = ("free_heap", "trained", "tested", "last_step_us", "waiting_ms", "busy_ms", "accepted", "repeated",
                 "damaged", "overlong")  # fmt: skip
        return dict(zip(names, struct.unpack(wire.COUNTERS_FORMAT, answer)[1:], strict=True))

    # Images

    def images(
        self, kind: int, first: int, images: np.ndarray, labels: np.ndarray, bits: int, digests: bool = False
    ) -> Iterator[Result]:
        """Send images (n, steps, rows) uint8 as TRAIN or TEST with sequence numbers from `first`; yield their results.

        Go-back-N over frames of whole rows, at most `credit` bytes under way; after a loss one frame at a time until
        the board goes on, for what else it has not read yet is not known then. The last frame of an image waits until
        the result of the image before is here, so that a board has to remember one result only.
        Raises LinkLost, BoardReset, NoFirmware.
        """
        answer = wire.RESULT if kind == wire.TRAIN else wire.TESTED
        largest = max(wire.HEADER + 1, min(self.largest, self.credit // 2 - OVERHEAD))  # two of them are under way
        cut = [image_frames(kind, first + i, image, int(label), bits, digests, largest)
               for i, (image, label) in enumerate(zip(images, labels, strict=True))]  # fmt: skip
        last = len(cut[0]) - 1 if cut else 0
        done = 0  # images whose result is here
        cursor = (0, 0)  # image and frame to send next
        highest = (0, 0)  # beyond all that was ever sent
        flight: deque[tuple[tuple[int, int], int]] = deque()
        gone_back: tuple[int, int] | None = None
        probing = False
        misses = 0
        while done < len(cut):
            while cursor[0] < len(cut) and (cursor[1] < last or cursor[0] == done):
                rows = cut[cursor[0]][cursor[1]][1]
                if flight and (probing or sum(n for _, n in flight) + len(rows) + OVERHEAD > self.credit):
                    break
                data = self.frame(rows)
                self.statistics.frames += cursor >= highest
                self.statistics.retransmitted += cursor < highest
                self.write(data)
                flight.append((cursor, len(data)))
                cursor = (cursor[0], cursor[1] + 1) if cursor[1] < last else (cursor[0] + 1, 0)
                highest = max(highest, cursor)
            body = self.receive(self.answer)
            if body is None:
                self.missed()
                misses += 1
                if misses >= TRIES:
                    raise LinkLost(SILENCE)
                probing = True
                cursor = flight[0][0] if flight else min(cursor, (done, 0))
                flight.clear()
                gone_back = None
                continue
            if body[0] == answer and len(body) == struct.calcsize(wire.RESULT_FORMAT):
                _, number, _, prediction, micros, digest = struct.unpack(wire.RESULT_FORMAT, body)
                if number - (kind == wire.TRAIN) != first + done:
                    continue  # a late repetition
                misses, probing, gone_back = 0, False, None
                self.statistics.images += 1
                self.pace = micros / 1e6
                self.statistics.computing += self.pace
                yield Result(first + done, prediction, digest, micros)
                done += 1
                while flight and flight[0][0] < (done, 0):
                    flight.popleft()
                cursor = max(cursor, (done, 0))
            elif body[0] == wire.ACK and body[1] == kind and len(body) == struct.calcsize(wire.ACK_FORMAT):
                _, _, number, row, flags, self.credit = struct.unpack(wire.ACK_FORMAT, body)
                if kind == wire.TRAIN and not flags & wire.FLAG_RATES:
                    raise LinkLost("the board has lost its learning rates")
                image = number - first
                if kind == wire.TRAIN and image < done:
                    raise BoardReset(f"the board went back to step {number}")
                lost = image == done + 1  # it is at the next one, but the result of this one did not come
                if lost:
                    wanted = (done, last)
                elif done <= image < len(cut):
                    wanted = (image, next((k for k, (start, _) in enumerate(cut[image]) if start == row), 0))
                else:
                    continue
                probing = probing and bool(flags & wire.FLAG_REFUSED)
                while flight and flight[0][0] < wanted:
                    flight.popleft()
                    misses = 0
                if wanted > cursor:
                    cursor = wanted
                elif (lost or flags & wire.FLAG_REFUSED) and wanted < cursor and wanted != gone_back:
                    cursor = gone_back = wanted
                    flight.clear()
                    probing = True
            else:
                self.notice(body)


def sizes(form: tuple[int, ...], free: int) -> str:
    """What a network takes and what a board has (KB; 0 if it does not say), and the way out."""
    if not form:
        return ""
    total, largest = (-(-size // 1024) for size in bytes_of(form))
    there = f", and {free} KB are free" if free else ""
    fewer = "units, rows or columns" if form[0] == DIAGONAL else "rows, columns or steps"
    return f": it takes {total} KB, {largest} KB of them in one piece{there}; use fewer {fewer}"


def works_on(answer: bytes, request: bytes) -> bool:
    """Whether a body is the WORKING of a board that has this OPEN."""
    if request[0] != wire.OPEN or answer[0] != wire.WORKING or len(answer) != struct.calcsize(wire.WORKING_FORMAT):
        return False
    return answer[1:] == request[SESSION : SESSION + 4]


def explain(said: bytes, spoken: bool) -> str | None:
    """What `said`, which is no frame, tells a person. spoken: the firmware is on the board, it ran before."""
    text = said.decode("utf-8", "replace")
    traces = text.replace("\r", "").split(TRACEBACK)[1:]
    for trace in reversed(traces):
        if '"<stdin>"' not in trace:  # that would be what the prompt has to say to an ATTACH
            lines = [line.strip() for line in trace.split("\n") if line and "\0" not in line and ">>> " not in line]
            return f"the board's program has stopped with: {TRACEBACK} {' | '.join(lines[:12])}"
    if PROMPT in text:
        way_out = "reset the board" if spoken else "reset the board, or put the firmware on it with --install"
        return f"the board is at its MicroPython prompt, the firmware does not run; {way_out}"
    return None


def state(body: bytes) -> tuple[int, int, int]:
    """Step counter, digest and flags of a STATE."""
    return struct.unpack(wire.STATE_FORMAT, body)[2:]
