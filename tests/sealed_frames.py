"""Frames made by zlib and another COBS than the board's, what a Receiver takes from them, and single-byte faults."""

from array import array
from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st

from firmware import codec, wire
from host.board.frames import image_frames

KEY = array("H", (0x1234, 0xABCD))

bodies = st.binary(max_size=wire.MAX_BODY)
keys = st.integers(0, 2**32 - 1)


# The other COBS: no loop over bytes, no state. What stands between two zeros is a block; a block is its length + 1 and
# itself. (Bodies here are too short for a block of 254, where COBS has a special case.)
def cobs(body: bytes) -> bytes:
    return b"".join(bytes([len(block) + 1]) + block for block in body.split(b"\0"))


def uncobs(data: bytes) -> bytes | None:
    """What cobs() makes into `data`; None if nothing does."""
    blocks = []
    while data:
        size = data[0]
        if size == 0 or size > len(data):
            return None
        blocks.append(data[1:size])
        data = data[size:]
    return b"\0".join(blocks) if blocks else b""


def halves(value: int) -> array:
    return array("H", (value & 0xFFFF, value >> 16))


def crc32(body: bytes, key: int = 0) -> int:
    crc = array("H", (0, 0))
    codec.crc32(body, len(body), halves(key), wire.CRC_TABLE, crc)
    return crc[0] | crc[1] << 16


def seal(body: bytes, key: array = KEY) -> bytes:
    """A frame, as both ends make it."""
    sender = wire.Sender()
    sender.body[: len(body)] = body
    return bytes(sender.frame[: sender.seal(len(body), key)])


def received(receiver: wire.Receiver, data: bytes, key: array = KEY) -> list[bytes]:
    """The bodies that a receiver gets out of these bytes."""
    found = []
    start = 0
    while start < len(data):
        start = receiver.take(data, start, len(data))
        if start < 0:
            break
        if n := receiver.unseal(key):
            found.append(bytes(receiver.body[:n]))
    return found


def train_frames() -> dict[str, bytes]:
    """TRAIN bodies: usual ones with the zeros of a margin, one of 4 bits, one of nothing but 0 and 255.

    The work of a test of all faults grows with the square of the length.
    """
    generator = np.random.default_rng(1)
    digit = np.zeros((28, 28), np.uint8)
    digit[5:23, 6:22] = generator.integers(0, 256, (18, 16))
    grey = generator.integers(0, 256, (28, 28)).astype(np.uint8)
    extreme = (np.indices((28, 28)).sum(0) % 3 // 2 * 255).astype(np.uint8)
    return {
        "8 bits": image_frames(wire.TRAIN, 300, digit, 7, 8, False, 110)[2][1],
        "4 bits": image_frames(wire.TRAIN, 70000, grey, 3, 4, True, 110)[1][1],
        "0 and 255": image_frames(wire.TRAIN, 0, extreme, 0, 8, True, 100)[0][1],
        "full length": image_frames(wire.TRAIN, 300, digit, 7, 8, False)[1][1],
    }


TRAIN = train_frames()
GOOD = b"\xc1good\0\xff"


def flips(frame: bytes) -> Iterator[bytes]:
    for i, byte in enumerate(frame):
        for value in range(256):
            if value != byte:
                yield frame[:i] + bytes([value]) + frame[i + 1 :]


def drops(frame: bytes) -> Iterator[bytes]:
    for i in range(len(frame)):
        yield frame[:i] + frame[i + 1 :]


def duplicates(frame: bytes) -> Iterator[bytes]:
    for i in range(len(frame)):
        yield frame[: i + 1] + frame[i:]


def insertions(frame: bytes) -> Iterator[bytes]:
    for i in range(len(frame) + 1):
        for value in range(256):
            yield frame[:i] + bytes([value]) + frame[i:]
