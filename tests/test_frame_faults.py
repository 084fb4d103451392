"""Every single-byte fault of whole frames, all of them, and bursts: none is ever taken for what was not sent."""

import random
from collections.abc import Callable, Iterator

import pytest
from sealed_frames import GOOD, TRAIN, drops, duplicates, flips, insertions, received, seal

from firmware import wire


@pytest.mark.parametrize("name", ["8 bits", "4 bits", "0 and 255", pytest.param("full length", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", [flips, drops, duplicates, insertions])
def test_every_single_byte_fault_of_a_frame(name: str, fault: Callable[[bytes], Iterator[bytes]]) -> None:
    """Between two good frames: no payload but the one that was sent is accepted, and the next good frame decodes.

    The good frame before is that of the fault before.
    """
    body = TRAIN[name]
    frame, good = seal(body), seal(GOOD)
    receiver = wire.Receiver()
    count = spared = 0
    for faulty in fault(frame):
        count += 1
        found = received(receiver, faulty + good)
        spared += found == [body, GOOD]
        assert found in ([GOOD], [body, GOOD])
    sizes = {flips: 255 * len(frame), drops: len(frame), duplicates: len(frame), insertions: 256 * (len(frame) + 1)}
    assert count == sizes[fault]
    # What hits a delimiter spares the frame; but bytes that join it at an end, and all others, do not.
    assert spared == {flips: 0, drops: 2, duplicates: 2, insertions: 256 + 1 + 1 + 256}[fault]


def test_bursts_are_never_repaired() -> None:
    """Several bytes at once, in 20,000 places: up to 64 of noise, zeros, ones, pieces of the frame, or none."""
    generator = random.Random(5)
    body = TRAIN["full length"]
    frame, good = seal(body), seal(GOOD)
    receiver = wire.Receiver()
    for _ in range(20000):
        i = generator.randrange(len(frame))
        k = generator.randrange(1, 65)
        burst = generator.choice((generator.randbytes(k), bytes(k), b"\xff" * k, frame[:k], frame[i : i + k] * 2, b""))
        found = received(receiver, frame[:i] + burst + frame[i + generator.randrange(k + 1) :] + b"\0")
        assert set(found) <= {body}
        assert received(receiver, good) == [GOOD]
