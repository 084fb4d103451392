"""The codec and the wire on MicroPython: the same text, the same answers as under CPython."""

import json
import os
import random
import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from interpreters import interpreter
from sealed_frames import GOOD, KEY, TRAIN, cobs, drops, duplicates, flips, insertions, seal

from firmware import wire
from host.board import micropythons

ROOT = Path(__file__).resolve().parent.parent


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
    micropythons.compile_tree(arch, [ROOT / "firmware"], out, emit)
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
    argv = interpreter(arch)
    if emit == "native" and micropythons.emit(arch) == "bytecode":
        pytest.skip(f"the {arch} MicroPython runs no machine code here")
    found = answers(argv, emitted(arch, emit, tmp_path), job)
    different = [(ours, theirs) for ours, theirs in zip(golden, found, strict=True) if ours != theirs]
    assert not different, f"first of {len(different)} differences, CPython's and {arch}'s: {different[0]}"
