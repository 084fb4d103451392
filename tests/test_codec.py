"""Frames: the codec against zlib and another COBS; streams, keys, pixels."""

import codeop
import random
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_frames import KEY, bodies, cobs, crc32, halves, keys, received, seal, uncobs

from firmware import codec, wire
from host.board.frames import pack
from host.runs.config import quantise

ROOT = Path(__file__).resolve().parent.parent


# CRC


@given(bodies, keys)
def test_crc_is_zlibs(body: bytes, key: int) -> None:
    assert crc32(body, key) == zlib.crc32(body, key)


def test_crc_table_entry_by_entry() -> None:
    """CRC-32 of a byte is its entry of the table, but for the shift of the register that was full of ones."""
    for i in range(256):
        entry = wire.CRC_TABLE[2 * i] | wire.CRC_TABLE[2 * i + 1] << 16
        assert zlib.crc32(bytes([i ^ 255])) == entry ^ 0x00FFFFFF ^ 0xFFFFFFFF


# COBS


@given(bodies)
def test_cobs_equals_the_other_one_and_comes_back(body: bytes) -> None:
    buffer = bytearray(len(body) + 3)
    n = codec.encode(body, len(body), buffer)
    assert bytes(buffer[:n]) == b"\0" + cobs(body) + b"\0"
    assert 0 not in buffer[1 : n - 1]
    buffer = buffer[1:]
    assert codec.decode(buffer, n - 2) == len(body)
    assert bytes(buffer[: len(body)]) == body


@pytest.mark.parametrize("fill", [0, 1, 255])
def test_cobs_at_its_longest(fill: int) -> None:
    body = bytes([fill]) * (wire.MAX_BODY + 4)
    buffer = bytearray(wire.MAX_FRAME)
    assert codec.encode(body, len(body), buffer) == wire.MAX_FRAME
    assert bytes(buffer) == b"\0" + cobs(body) + b"\0"
    buffer = buffer[1:]
    assert codec.decode(buffer, wire.MAX_FRAME - 2) == len(body) and bytes(buffer[: len(body)]) == body


@settings(max_examples=500)
@given(st.binary(max_size=254))
def test_decode_of_anything_is_what_the_other_one_says(data: bytes) -> None:
    """Any bytes, also zeros, which take() lets not through: rejected by both or decoded to the same, in place."""
    buffer = bytearray(data + b"guard")
    n = codec.decode(buffer, len(data))
    expected = uncobs(data)
    assert n == (-1 if expected is None else len(expected))
    assert expected is None or bytes(buffer[:n]) == expected
    assert bytes(buffer[len(data) :]) == b"guard", "it writes within what it was given"


# Numbers


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_numbers_go_and_come_back_below_2_to_the_30(value: int, at: int) -> None:
    packed = bytes(at) + value.to_bytes(4, "little")
    assert codec.get32(packed, at) == (value if value < 2**30 else -1)
    if value < 2**30:
        buffer = bytearray(b"guarding")
        codec.put32(buffer, at, value)
        assert bytes(buffer) == b"guarding"[:at] + value.to_bytes(4, "little") + b"guarding"[at + 4 :]


# Streams


@given(st.binary(min_size=1, max_size=60), st.sets(st.integers(1, 59)), st.integers(1, 30))
def test_fill_takes_what_is_there_and_no_more(data: bytes, pauses: set[int], size: int) -> None:
    """What arrives between two pauses, `size` bytes at a time; it never asks for a byte that is not there."""
    arrived = iter(data)
    at = 0

    def readinto(one: bytearray) -> None:
        nonlocal at
        one[0] = next(arrived)  # beyond the end a board would wait for ever
        at += 1

    def ipoll(ms: int) -> tuple[int, ...]:
        assert ms == 0
        return (1,) if at < len(data) and at not in pauses else ()

    one, expected = bytearray(1), []
    cuts = [0, *sorted(pause for pause in pauses if pause < len(data)), len(data)]
    for first, end in pairwise(cuts):
        expected += [data[i : min(i + size, end)] for i in range(first, end, size)]
    for part in expected:
        buffer = bytearray(size + 1)
        assert codec.fill(buffer, size, one, one, readinto, ipoll) == len(part)
        assert bytes(buffer) == part + bytes(size + 1 - len(part))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.data())
def test_chunks_do_not_matter(some: list[bytes], data: st.DataObject) -> None:
    """However a stream is cut into chunks, wherever a chunk begins within its buffer: the same bodies."""
    stream = b"".join(seal(body) for body in some)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    receiver, found = wire.Receiver(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        start = begin  # the whole stream is the buffer, the chunk a part of it
        while start < end:
            start = receiver.take(stream, start, end)
            if start < 0:
                break
            if n := receiver.unseal(KEY):
                found.append(bytes(receiver.body[:n]))
    assert found == some
    assert (receiver.damaged, receiver.overlong) == (0, 0)


@settings(max_examples=300)
@given(st.binary(max_size=600), st.binary(min_size=1, max_size=wire.MAX_BODY))
def test_noise_before_a_frame_costs_at_most_that_frame(noise: bytes, body: bytes) -> None:
    """Noise decodes to nothing, and the first frame behind a delimiter arrives."""
    receiver = wire.Receiver()
    assert received(receiver, noise + b"\0") == []
    assert received(receiver, seal(body)) == [body]
    assert receiver.overlong == sum(len(part) > wire.MAX_FRAME - 2 for part in (noise + b"\0").split(b"\0"))


@pytest.mark.parametrize("length", [245, 246, 247, 253, 254, 255, 256, 257, 65535, 65536, 70000, 200000])
def test_overlong_frame_is_counted_and_forgotten(length: int) -> None:
    """More than a frame can have, and more than its counter: nothing is written behind the buffer."""
    receiver = wire.Receiver()
    assert received(receiver, b"\1" * length) == []
    assert len(receiver.body) == wire.MAX_FRAME
    assert received(receiver, b"\0") == []
    longest = length <= wire.MAX_FRAME - 2  # without its delimiters
    assert (receiver.damaged, receiver.overlong) == (longest, not longest)
    assert received(receiver, seal(b"A good one")) == [b"A good one"]


@pytest.mark.parametrize("size", range(1, wire.MAX_BODY + 1, 7))
def test_every_length_and_every_type_arrives(size: int) -> None:
    generator = random.Random(size)
    receiver = wire.Receiver()
    for kind in range(256):
        body = bytes([kind]) + generator.randbytes(size - 1)
        assert received(receiver, seal(body)) == [body]


def test_a_body_of_no_byte_is_no_frame() -> None:
    receiver = wire.Receiver()
    for data in (b"", bytes(1), bytes(4), bytes(5), (0).to_bytes(4, "little")):
        assert received(receiver, cobs(data) + b"\0") == []
    assert received(receiver, b"\0" * 50) == []


# The key


@given(st.binary(min_size=1, max_size=wire.MAX_BODY), keys, keys)
def test_a_frame_of_another_session_does_not_decode(body: bytes, ours: int, theirs: int) -> None:
    """Never, not only almost never: for equal bodies CRCs are equal if and only if the keys are."""
    kind = body[0] | 0x80
    body = bytes([kind]) + body[1:]
    found = received(wire.Receiver(), seal(body, halves(theirs)), halves(ours))
    assert found == ([body] if ours == theirs else [])


@given(st.binary(min_size=1, max_size=wire.MAX_BODY), keys)
def test_a_frame_outside_a_session_decodes_in_each(body: bytes, key: int) -> None:
    body = bytes([body[0] & 0x7F]) + body[1:]
    assert received(wire.Receiver(), seal(body, wire.NO_KEY), halves(key)) == [body]


def test_the_key_of_a_conversation_is_its_own() -> None:
    """One of its two numbers differs, so does the key; both come whole."""
    keys = {tuple(wire.key_of(a, b)) for a in (1, 2**31, 0xFFFFFFFF) for b in (0, 0x10000, 77)}
    assert len(keys) == 9


# Text


def test_greeting_does_no_harm_at_a_prompt() -> None:
    """No control character, so no Ctrl-A to Ctrl-E, and nothing after which a prompt waits for more lines."""
    frame = seal(wire.GREETING, wire.NO_KEY)
    assert all(32 <= byte < 127 for byte in frame[1:-1]) and frame[0] == frame[-1] == 0
    text = frame[1:-1].decode()
    assert not set(text) & set("()[]{}'\"\\") and not text.endswith(":")
    with pytest.raises(SyntaxError):  # instead of None, for "go on"
        codeop.compile_command(text)
    assert text in (ROOT / "firmware/wire.py").read_text(), "the comment there"


# Pixels


@given(st.sampled_from((1, 4, 8)), st.integers(1, 64), st.integers(1, 4), st.integers(0, 9), st.data())
def test_both_ends_compute_from_the_same_pixels(
    bits: int, width: int, rows: int, offset: int, data: st.DataObject
) -> None:
    """Odd widths too, where a row ends within a byte."""
    pixels = np.frombuffer(data.draw(st.binary(min_size=width * rows, max_size=width * rows)), np.uint8)
    packed = pack(pixels.reshape(rows, width), bits)
    assert len(packed) == (len(pixels) * bits + 7) // 8
    out = bytearray(len(pixels) + 1)
    codec.stretch(bytes(offset) + packed, offset, out, len(pixels), bits)
    assert bytes(out) == quantise(pixels, bits).tobytes() + b"\0"


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_every_pixel_value_stretches_by_repeating_its_bits(bits: int) -> None:
    """Independent of quantise(): the leading bits, written again and again until there are eight."""
    values = np.arange(256, dtype=np.uint8)
    out = bytearray(256)
    codec.stretch(pack(values, bits), 0, out, 256, bits)
    assert list(out) == [int(f"{value:08b}"[:bits] * (8 // bits), 2) for value in range(256)]
