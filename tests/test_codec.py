"""Frames: the codec against zlib and another COBS, and every single-byte fault of whole frames, all of them."""

import codeop
import json
import os
import random
import subprocess
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware import codec, wire
from host import lanes
from host.cli import UserError
from host.config import quantise
from host.link import image_frames, pack

ROOT = Path(__file__).resolve().parent.parent
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


# Single-byte faults


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


# The same text on MicroPython

SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[-2])
from array import array
from binascii import hexlify, unhexlify
from firmware import codec, wire

def out(name, *data):
    print(name, *[x if isinstance(x, int) else hexlify(x).decode() for x in data])

class Line:
    # Bytes that arrive in parts of key[0] % 7 + 1 and key[1] % 40 + 1 by turns.
    def __init__(self, data, key):
        self.data, self.key, self.at, self.pauses = data, key, 0, [0]
        while self.pauses[-1] < len(data):
            k = len(self.pauses) & 1
            self.pauses.append(self.pauses[-1] + key[k] % (40 if k else 7) + 1)

    def readinto(self, one):
        one[0] = self.data[self.at]
        self.at += 1

    def ipoll(self, ms):
        return (1,) if self.at < len(self.data) and self.at not in self.pauses else ()

receiver, sender = wire.Receiver(), wire.Sender()
with open(sys.argv[-1]) as file:
    for line in file:
        name, key, data = json.loads(line)
        data = unhexlify(data)
        key = array("H", key)
        if name == "crc":
            crc = array("H", (0, 0))
            codec.crc32(data, len(data), key, wire.CRC_TABLE, crc)
            out(name, crc[0], crc[1])
        elif name == "seal":
            sender.body[: len(data)] = data
            n = sender.seal(len(data), key)
            out(name, n, sender.frame[:n])
        elif name == "decode":
            buffer = bytearray(data)
            n = codec.decode(buffer, len(buffer))
            out(name, n, buffer)
        elif name == "numbers":
            for i in range(0, len(data) - 3, 4):
                n = codec.get32(data, i)
                buffer = bytearray(b"guards")
                if n >= 0:
                    codec.put32(buffer, 1, n)
                out(name, n, buffer)
        elif name == "fill":
            line = Line(data, key)
            one = bytearray(1)
            while line.at < len(data):
                buffer = bytearray(25)
                n = codec.fill(buffer, 20, one, one, line.readinto, line.ipoll)
                out(name, n, buffer)
        elif name == "stream":
            start = 0
            while start < len(data):
                start = receiver.take(data, start, len(data))
                if start < 0:
                    break
                n = receiver.unseal(key)
                out(name, start, n, receiver.body[:n])
            out(name, receiver.length[0], receiver.damaged, receiver.overlong)
        else:
            for bits in (1, 4, 8):
                pixels = bytearray(8 * len(data) // bits)
                codec.stretch(data, 0, pixels, len(pixels), bits)
                out(name, pixels)
out("table", bytes(wire.CRC_TABLE))
"""


def jobs() -> Iterator[tuple[str, tuple[int, int], bytes]]:
    """What each MicroPython is asked: bodies of many lengths, damaged frames, noise."""
    generator = random.Random(11)
    noise = generator.randbytes
    for n in (0, 1, 2, 3, 4, *range(7, wire.MAX_BODY, 9), wire.MAX_BODY):
        key = generator.randrange(65536), generator.randrange(65536)
        body = bytes(generator.choice((0, 255, 1, generator.randrange(256))) for _ in range(n))
        yield "crc", key, noise(n)
        yield "crc", key, body
        if n:
            yield "seal", key, body
            yield "stream", key, seal(body, array("H", key))
            yield "stream", key, seal(noise(n), array("H", key))[generator.randrange(3) :]
        yield "stretch", (0, 0), noise(n // 4)
        yield "fill", key, noise(n)
        yield "numbers", (0, 0), bytes(generator.choice((0, 1, 63, 64, 255, byte)) for byte in noise(n))
        yield "decode", (0, 0), noise(n)
        yield "decode", (0, 0), bytes(byte % 9 + 1 for byte in noise(n))
        yield "decode", (0, 0), cobs(body)
    for fault in (flips, drops, duplicates, insertions):
        for faulty in generator.sample(list(fault(seal(TRAIN["4 bits"]))), 40):
            yield "stream", tuple(KEY), faulty + seal(GOOD)
    for _ in range(20):
        yield "stream", tuple(KEY), noise(generator.randrange(600))


def emitted(arch: str, emit: str, directory: Path) -> Path:
    """The firmware with its codec compiled by an emitter, everything else as it is in the source."""
    out = directory / f"{arch}-{emit}"
    lanes.compile_tree(arch, [ROOT / "firmware"], out, emit)
    return out


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Script and questions."""
    directory = tmp_path_factory.mktemp("codec")
    (directory / "run.py").write_text(SCRIPT)
    lines = [json.dumps((name, key, data.hex())) for name, key, data in jobs()]
    (directory / "job").write_text("\n".join(lines) + "\n")
    return directory / "run.py", directory / "job"


def answers(argv: list[str], firmware: Path, job: tuple[Path, Path]) -> list[str]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [*argv, str(job[0]), str(firmware), str(job[1])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def golden(job: tuple[Path, Path]) -> list[str]:
    """CPython's answers, which the tests above have compared with zlib and the other COBS."""
    lines = answers([sys.executable], ROOT, job)
    assert len(set(lines)) > 500
    return lines


@pytest.mark.parametrize(
    "arch, emit", [("x64", "bytecode"), ("x64", "native"), ("i386", "bytecode"), ("i386", "viper"), ("armhf", "viper")]
)
def test_micropython_gives_the_same_answers(
    arch: str, emit: str, job: tuple[Path, Path], golden: list[str], tmp_path: Path
) -> None:
    try:
        argv = lanes.command(arch)
    except UserError as error:
        pytest.skip(str(error))
    if emit == "native" and lanes.emit(arch) == "bytecode":
        pytest.skip(f"the {arch} MicroPython runs no machine code here")
    found = answers(argv, emitted(arch, emit, tmp_path), job)
    different = [(ours, theirs) for ours, theirs in zip(golden, found, strict=True) if ours != theirs]
    assert not different, f"first of {len(different)} differences, CPython's and {arch}'s: {different[0]}"
