"""firmware/README.md says what the code does: messages, an example frame, and numbers."""

import re
import struct
import zlib
from pathlib import Path

from frames import frame

from firmware import device as device_module
from firmware import main, storage, wire
from fixedpoint import wiring
from fixedpoint.diagonal import MAX_UNITS
from fixedpoint.network import MAX_COOL, MAX_GAIN, MAX_ROWS, MAX_SCALE, RATE_SHIFTS
from host.board.link import ANSWER, GREET, TRIES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "firmware/README.md").read_text()

LETTERS = {"u8": "B", "u16": "H", "u32": "I", "i16": "h"}


def expanded(form: str) -> str:
    """A struct format with its counts written out."""
    return re.sub(r"(\d+)(\w)", lambda match: int(match[1]) * match[2], form)


def test_documented_messages_are_those_of_the_wire() -> None:
    """Names, types, offsets, fields and sizes."""
    source = (ROOT / "firmware/wire.py").read_text()
    types = {name: int(code, 16) for name, code in re.findall(r"^([A-Z]+) = (0x\w\w)\b", source, re.M)}
    del types["SEALED"]
    documented: dict[str, int] = {}
    formats = set()
    for section in README.split("#### ")[1:]:
        heading, _, text = re.split(r"\n#+ ", section)[0].partition("\n")
        documented |= {name: int(code, 16) for name, code in re.findall(r"([A-Z]+) (0x\w\w)", heading)}
        form, offset = "<", 0
        for at, kind, times, _ in re.findall(r"^\| (\d+) \| ([\w.]+)(?: x (\d+))? \| (.+) \|$", text, re.M):
            assert int(at) == offset, heading
            if kind != "...":
                letter = LETTERS[kind] * int(times or 1)
                form += letter
                offset += struct.calcsize("<" + letter)
        for name in re.findall(r"`(\w+_FORMAT)`", heading):
            formats.add(name)
            assert expanded(getattr(wire, name)) == form, heading
    assert documented == types
    assert formats == {name for name in dir(wire) if name.endswith("_FORMAT")}


def test_documented_example_is_what_the_code_makes() -> None:
    lines = dict(re.findall(r"^    (body|CRC|frame) +([0-9a-f]{2}(?: [0-9a-f]{2})+)", README, re.M))
    body, crc, whole = (bytes.fromhex(lines[name]) for name in ("body", "CRC", "frame"))
    numbers = re.search(r"Session (0x\w{8}), conversation (0x\w{8}), so the key is (0x\w{8})", README)
    session, conversation, key = (int(number, 16) for number in numbers.groups())
    assert session ^ conversation == key
    assert crc == zlib.crc32(body, key).to_bytes(4, "little") and whole == frame(body, key)
    sender = wire.Sender()
    sender.body[: len(body)] = body
    n = sender.seal(len(body), wire.key_of(session, conversation))
    assert bytes(sender.frame[:n]) == whole
    assert struct.unpack_from(wire.ROWS_FORMAT, body) == (wire.TRAIN, 5, 0, 1, 7)
    assert wire.GREETING.decode() in README and frame(wire.GREETING)[1:-1].decode() in README
    assert frame(bytes([wire.EXIT])).hex(" ") in README and not set(frame(bytes([wire.EXIT]))) & {1, 2, 3, 4, 5}


def test_documented_numbers_are_the_codes() -> None:
    limits = {
        "body: 1 to (\\d+) bytes": wire.MAX_BODY,
        "at most (\\d+)\\.": wire.MAX_FRAME,
        "how many, 1 to (\\d+)": wire.MAX_WORDS,
        "steps, 1 to (\\d+)": device_module.MAX_STEPS,
        "rows, 1 to (\\d+): inputs": MAX_ROWS,
        "columns, 1 to (\\d+): classes": MAX_ROWS,
        "cool, 0 to (\\d+):": MAX_COOL,
        "units of a diagonal network, 1 to (\\d+)": MAX_UNITS,
        "rewires, Q12: 0 to (\\d+)": wiring.ONE,
        "scale of a pixel, 1 to (\\d+)": MAX_SCALE,
        "gain of the input, 0 to (\\d+)": MAX_GAIN,
        "shift for l, (\\d+) to": RATE_SHIFTS[0],
        "shift for l, \\d+ to (\\d+)": RATE_SHIFTS[1],
        "every (\\d+) ms while no host": wire.BEAT_MS,
        "after (\\d+) s without a byte": main.IDLE_MS // 1000,
        "version of the wire, (\\d+);": wire.VERSION,
        "asks again after \\| (1.5) s": ANSWER,
        "gives the link up after (\\d+) times": TRIES,
        "host greets \\| every (\\d+) s": GREET,
    }
    for pattern, value in limits.items():
        (found,) = re.findall(pattern, README)
        assert float(found) == value, pattern
    text = README.split("#### REFUSED")[1].split("####")[0]
    for reason in ("BAD_VERSION", "OTHER_SESSION", "SELF_TEST", "BAD_CONFIG", "NO_MEMORY", "STORAGE"):
        code = getattr(wire, reason)
        assert f"{code} {wire.REASONS[code]}" in text
    assert storage.NAME in README and storage.ASIDE in README and storage.MAGIC.decode() in README
