"""Frames to the board and back, made and read by zlib and a COBS of our own, not by the codec that the board uses.

The session they all speak of is a small one: its OPEN, its images by their number, what the engine alone makes of them.
"""

import struct
import zlib
from functools import cache
from typing import Any

from firmware import wire
from fixedpoint.build import build
from fixedpoint.network import Network, Random

ROWS, COLS, STEPS = 6, 5, 9
SCALE, GAIN, SEED, SESSION = 2570, 4, 3, 0x5E551017
INIT = (3072, 4096, 2048, 3072, 4096, -12288, 12288, 0, 2048)
BOUNDS = (-16384, 24575, -32768, 32767, -32768, 32767)
RATES = ((20972, 17), (20972, 17), (20972, 19), (9000, 17))
OTHER_RATES = ((9000, 17), (7000, 17), (5000, 19), (3000, 17))

# Every graph and rule, as changes of OPEN.
NETWORKS: dict[str, dict[str, int]] = {
    "lattice": {},
    "lattice, exact": {"rule": 1},
    "forest": {"graph": 1, "cool": 1},
    "forest, exact": {"graph": 1, "rule": 1},
    "small world": {"graph": 2, "share": 4096, "wiring_seed": 2},
    "small world, exact": {"graph": 2, "rule": 1, "share": 2048, "wiring_seed": 2**32 - 1},
    "skip": {"graph": 3},
    "skip, exact": {"graph": 3, "rule": 1, "cool": 4},
    "diagonal": {"graph": 4, "units": 7},
}
WINDOW = 500

# What OPEN carries, in its order.
OPEN = {
    "version": wire.VERSION, "flags": 0, "graph": 0, "rule": 0, "rows": ROWS, "cols": COLS, "steps": STEPS,
    "scale": SCALE, "gain": GAIN, "cool": 0, "units": 0, "share": 0, "wiring_seed": 0, "bits": 8, "session": SESSION,
    "seed": SEED, "init": INIT, "bounds": BOUNDS, "conversation": 1,
}  # fmt: skip


def open_body(**changes: Any) -> bytes:
    """OPEN, usual but for the changes."""
    *some, init, bounds, conversation = {**OPEN, **changes}.values()
    return struct.pack(wire.OPEN_FORMAT, wire.OPEN, *some, *init, *bounds, conversation)


def frame(body: bytes, key: int = 0) -> bytes:
    """A frame. key: of the conversation, for the types that are sealed with it."""
    sealed = body + zlib.crc32(body, key if body[0] >= 0x80 else 0).to_bytes(4, "little")
    return b"\0" + b"".join(bytes([len(block) + 1]) + block for block in sealed.split(b"\0")) + b"\0"


def unframe(data: bytes, key: int = 0) -> bytes:
    """The body of a frame that must be a good one."""
    assert data[0] == data[-1] == 0 and 0 not in data[1:-1]
    blocks, i = [], 1
    while i < len(data) - 1:
        blocks.append(data[i + 1 : i + data[i]])
        i += data[i]
    sealed = b"\0".join(blocks)
    body = sealed[:-4]
    assert zlib.crc32(body, key if body[0] >= 0x80 else 0) == int.from_bytes(sealed[-4:], "little")
    return body


def pixels(step: int) -> bytes:
    """An image, another one for each number."""
    source = Random(1000 + step)
    return bytes(source.draw() >> 8 for _ in range(ROWS * STEPS))


def digest_of(params: tuple[int, ...], step: int) -> int:
    """The digest of these parameters and this step."""
    return zlib.crc32(struct.pack(f"<{len(params)}iI", *params, step))


# What build() takes, in its order.
FORM = ("graph", "rule", "rows", "cols", "steps", "scale", "gain", "cool", "units", "share", "wiring_seed")


def lattice(**changes: Any) -> Network:
    """What OPEN makes of this on the board."""
    some = {**OPEN, **changes}
    made = build(*(some[name] for name in FORM))
    made.set_bounds(tuple(zip(some["bounds"][::2], some["bounds"][1::2], strict=True)))
    made.seed(some["seed"], some["init"])
    return made


@cache
def golden(steps: int, **changes: Any) -> tuple[int, int, tuple[int, ...]]:
    """Digest, last prediction and parameters after so many images, by the engine alone."""
    made = lattice(**changes)
    made.set_rates(RATES)
    prediction = 0
    for step in range(steps):
        prediction = made.train(pixels(step), step % COLS)
    return made.digest(), prediction, tuple(made.w)


def rows_body(
    kind: int, number: int, first: int, count: int, label: int, data: bytes | None = None, image: int | None = None
) -> bytes:
    """TRAIN or TEST with rows of an image (by default the one of that number)."""
    if data is None:
        data = pixels(number if image is None else image)[first * ROWS : (first + count) * ROWS]
    return struct.pack(wire.ROWS_FORMAT, kind, number, first, count, label) + data


def cut(kind: int, number: int, image: int | None = None, flags: int = 0) -> list[bytes]:
    """An image as three frames."""
    label = (number if image is None else image) % COLS | flags
    return [rows_body(kind, number, first, count, label, image=image) for first, count in ((0, 4), (4, 4), (8, 1))]


def rates_body(step: int, rates: tuple[tuple[int, int], ...] = RATES, tag: int = 0x31) -> bytes:
    return struct.pack(wire.RATES_FORMAT, wire.RATES, tag, step, *[x for pair in rates for x in pair])


def ask_body(kind: int, tag: int = 0x32) -> bytes:
    return struct.pack(wire.ASK_FORMAT, kind, tag)


def write_bodies(params: tuple[int, ...]) -> list[bytes]:
    """WRITE of all parameters."""
    bodies = []
    for first in range(0, len(params), wire.MAX_WORDS):
        some = params[first : first + wire.MAX_WORDS]
        head = struct.pack(wire.READ_FORMAT, wire.WRITE, 0x33, first, len(some))
        bodies.append(head + struct.pack(f"<{len(some)}i", *some))
    return bodies


def commit_body(step: int, digest: int) -> bytes:
    return struct.pack(wire.COMMIT_FORMAT, wire.COMMIT, 0x34, step, digest)


def state(body: bytes) -> tuple[int, int, int]:
    """Step, digest and flags of a STATE."""
    kind, _, *rest = struct.unpack(wire.STATE_FORMAT, body)
    assert kind == wire.STATE
    return tuple(rest)


def result(body: bytes) -> tuple[int, int, int, int, int]:
    kind, *rest = struct.unpack(wire.RESULT_FORMAT, body)
    assert kind in (wire.RESULT, wire.TESTED)
    return tuple(rest)


def ack(body: bytes) -> tuple[int, int, int, int]:
    """Kind, number, row and flags of an ACK."""
    kind, image, number, row, flags, credit = struct.unpack(wire.ACK_FORMAT, body)
    assert (kind, credit) == (wire.ACK, WINDOW)
    return image, number, row, flags


def refusal(body: bytes) -> tuple[int, int, int]:
    """Kind, number and row of an ACK that refuses."""
    image, number, row, flags = ack(body)
    assert flags & wire.FLAG_REFUSED
    return image, number, row
