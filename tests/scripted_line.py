"""Host and board on a line where a script decides what becomes of each frame, in the world of tools.faults."""

from collections import Counter
from collections.abc import Callable

from firmware import codec, wire
from tools.faults.episode import Episode
from tools.faults.injector import Injector
from tools.faults.world import World

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


def trained(story: Episode) -> int:
    """Training steps that the board made."""
    return story.world.board.counters["steps trained"]


def is_kind(kind: int) -> Callable[[bytes], bool]:
    """Whether a body is of this type."""
    return lambda body: body[0] == kind


def is_row(row: int) -> Callable[[bytes], bool]:
    """Whether a body is a TRAIN of this row, not of the first image."""
    return lambda body: body[0] == wire.TRAIN and body[1] == 3 and body[5] == row
