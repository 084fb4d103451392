"""Faults on a line: what becomes of the bytes and frames that go over it."""

from collections import Counter, deque
from random import Random
from typing import Any

LONGEST_BURST = 512
MEMORY = 64  # frames of each direction that may come again later

# What happens to bytes, with its share of all such faults.
BYTE_FAULTS = {
    "flip": 6,  # one bit
    "drop": 6,  # one byte
    "duplicate": 5,  # one byte
    "insert": 5,  # one byte
    "zero": 2,  # a byte becomes a delimiter
    "garbage": 2,  # up to 512 bytes between two others: noise, or pieces of what was sent before
    "garble": 2,  # up to 512 bytes, whatever they were, become noise
    "erase": 2,  # up to 512 bytes do not come
    "lose": 3,  # a whole frame does not come
    "repeat": 3,  # a whole frame comes twice
    "late": 3,  # a whole frame comes again after others, many of them perhaps
}


class Injector:
    """Damages what goes over a line. rate: chance of a fault in a chunk, and after each fault of another one there."""

    def __init__(self, random: Random, rate: float = 0.0, weights: dict[str, int] | None = None):
        weights = BYTE_FAULTS if weights is None else weights
        self.random, self.rate = random, rate
        self.kinds, self.weights = tuple(weights), tuple(weights.values())
        self.counts: Counter[str] = Counter()
        self.planned: list[list[Any]] = []  # [chunks until then, direction, kind]
        self.memory: dict[bool, deque[bytes]] = {way: deque(maxlen=MEMORY) for way in (True, False)}
        self.bursts = {True: ["", 0], False: ["", 0]}  # what still happens to so many bytes to come

    def plan(self, kind: str, to_board: bool, after: int) -> None:
        """Let this fault hit the chunk after so many others."""
        self.planned.append([after, to_board, kind])

    def calm(self) -> None:
        """No more faults."""
        self.rate = 0.0
        self.planned.clear()
        self.bursts = {True: ["", 0], False: ["", 0]}

    def damage(self, data: bytes, to_board: bool) -> bytes:
        """What arrives when `data` is sent."""
        random = self.random
        memory = self.memory[to_board]
        memory.append(data)
        if self.bursts[to_board][1]:
            data = self._burst(data, self.bursts[to_board])
        if self.planned:
            for plan in [plan for plan in self.planned if plan[1] == to_board]:
                plan[0] -= 1
                if plan[0] < 0:
                    self.planned.remove(plan)
                    data = self.fault(plan[2], data, to_board)
        while self.rate and random.random() < self.rate:
            data = self.fault(random.choices(self.kinds, self.weights)[0], data, to_board)
        return data

    def fault(self, kind: str, data: bytes, to_board: bool) -> bytes:
        """One fault of this kind, somewhere in data."""
        random, memory = self.random, self.memory[to_board]
        if not data and kind in ("flip", "drop", "duplicate", "zero"):
            kind = "insert"
        self.counts[kind] += 1
        at = random.randrange(len(data) + (kind in ("insert", "garbage"))) if data else 0
        if kind == "flip":
            return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        if kind == "drop":
            return data[:at] + data[at + 1 :]
        if kind == "duplicate":
            return data[:at] + data[at : at + 1] + data[at:]
        if kind == "insert":
            return data[:at] + bytes([random.randrange(256)]) + data[at:]
        if kind == "zero":
            return data[:at] + b"\0" + data[at + 1 :]
        if kind == "garbage":
            return data[:at] + self._garbage(memory) + data[at:]
        if kind == "lose":
            return b""
        if kind in ("garble", "erase"):
            self.bursts[to_board] = [kind, self._length()]
            return data[:at] + self._burst(data[at:], self.bursts[to_board])
        if kind == "repeat":
            return data + data
        if kind == "late":
            return data + memory[random.randrange(len(memory))]
        raise ValueError(kind)

    def _length(self) -> int:
        return min(LONGEST_BURST, int(2 ** (9.1 * self.random.random())))

    def _garbage(self, memory: deque[bytes]) -> bytes:
        """Noise, or, harder to tell from frames, pieces of frames."""
        random, length = self.random, self._length()
        if random.random() < 0.5 or not memory:
            return random.randbytes(length)
        out = b""
        while len(out) < length:
            piece = memory[random.randrange(len(memory))]
            at = random.randrange(len(piece) + 1)
            out += piece[at : at + random.randrange(1, 40)] or b"\0"
        return out[:length]

    def _burst(self, data: bytes, burst: list[Any]) -> bytes:
        n = min(burst[1], len(data))
        burst[1] -= n
        return (self.random.randbytes(n) if burst[0] == "garble" else b"") + data[n:]
