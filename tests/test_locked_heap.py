"""On MicroPython nothing is allocated while frames are received, images trained and answers sent."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bare_board import Board
from frames import NETWORKS, SESSION, cut, frame, golden, open_body, rates_body, unframe
from interpreters import interpreter

from firmware import wire
from host.board import micropythons

ROOT = Path(__file__).resolve().parent.parent

LOCKED = """
import gc, json, sys, time
sys.path.insert(0, sys.argv[-2])
from micropython import heap_lock, heap_unlock
from firmware import wire
from firmware.device import Device

job = open(sys.argv[-1])
sent = bytearray(8 * wire.MAX_FRAME)
count = [0, 0]  # frames sent, bytes of the last batch

def send(buffer, n):
    count[0] += 1
    if count[1] + n <= len(sent):
        for i in range(n):
            sent[count[1] + i] = buffer[i]
        count[1] += n

device = Device(send, time.ticks_us, 500, 1, 1, "no flash/", elapsed=time.ticks_diff)
chunk = bytearray(64)

def give(data):
    # As firmware.main does: the same buffer, filled again and again.
    at = 0
    while at < len(data):
        n = min(len(chunk), len(data) - at)
        for i in range(n):
            chunk[i] = data[at + i]
        device.receive(chunk, n)
        at += n

for line in job:
    step = json.loads(line)
    data = bytes(step["data"])
    count[1] = 0
    if step["locked"]:
        gc.collect()
        before = gc.mem_alloc()
        heap_lock()
        give(data)
        heap_unlock()
        after = gc.mem_alloc()
        assert after == before, (before, after)
    else:
        give(data)
    step = device.lattice.step if device.lattice else 0
    digest = device.lattice.digest() if device.lattice else 0
    print(step, "%08x" % digest, count[0], device.counters[7], device.receiver.damaged, device.receiver.overlong)
    print("".join("%02x" % sent[i] for i in range(count[1])))
"""


def locked_job(network: dict[str, int]) -> list[dict[str, Any]]:
    """A session of this network, in another's place: opened, then batches of all that a loss leads to, heap locked."""
    key = SESSION ^ 1
    big = [frame(body, key) for body in cut(wire.TRAIN, 2**30, image=0)]
    other = [frame(body, 1234) for body in cut(wire.TRAIN, 0)]
    steps: list[tuple[bool, list[bytes]]] = [
        (
            False,
            [
                b"\0",
                frame(wire.GREETING),
                frame(open_body(**network, flags=wire.FLAG_REPLACE)),
                frame(rates_body(0), key),
            ],
        ),
    ]
    for step in range(6):
        train, test = ([frame(body, key) for body in cut(kind, step)] for kind in (wire.TRAIN, wire.TEST))
        damaged = [train[0][:20] + b"\7" + train[0][21:], train[1][:-9], b"\0", b"\1" * 600 + b"\0"]
        steps.append((True, [*train]))
        steps.append((True, [train[2], train[0]]))  # repeated
        steps.append((True, [*test, test[2]]))
        steps.append((True, [*damaged, *other, *big]))  # nothing of it counts
        following = [frame(body, key) for body in cut(wire.TRAIN, step + 1)]
        steps.append((True, [following[0], following[2], test[0], following[1]]))  # out of order, pushed aside
    return [{"locked": locked, "data": list(b"".join(data))} for locked, data in steps]


@pytest.mark.parametrize(
    "arch, emit",
    [("i386", "viper"), ("i386", "bytecode"), ("armhf", "viper"), ("x64", "native"),
     pytest.param("armhf", "bytecode", marks=pytest.mark.slow)],
)  # fmt: skip
def test_receiving_training_and_answering_allocates_nothing(arch: str, emit: str, tmp_path: Path) -> None:
    """With every graph and rule, one after the other; and what it computes and answers then is what CPython does."""
    argv = interpreter(arch)
    if emit == "native" and micropythons.emit(arch) == "bytecode":
        pytest.skip(f"the {arch} MicroPython runs no machine code here")
    micropythons.compile_tree(arch, [ROOT / "firmware", ROOT / "fixedpoint"], tmp_path / "board", emit)
    (tmp_path / "run.py").write_text(LOCKED)
    sessions = [locked_job(network) for network in NETWORKS.values()]
    job = [step for session in sessions for step in session]
    (tmp_path / "job").write_text("\n".join(map(json.dumps, job)))
    argv = [*argv, "-X", "heapsize=400k", str(tmp_path / "run.py"), str(tmp_path / "board"), str(tmp_path / "job")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(job)

    board = Board()
    board.key = SESSION ^ 1
    count, digests = 0, []
    for step, line, sent in zip(job, lines[::2], lines[1::2], strict=True):
        answers = board.raw(bytes(step["data"]))
        count += len(answers)
        device = board.device
        trained = device.lattice.step if device.lattice else 0
        digest = device.lattice.digest() if device.lattice else 0
        counters = device.counters[7], device.receiver.damaged, device.receiver.overlong
        assert line.split() == [str(trained), f"{digest:08x}", *map(str, (count, *counters))]
        found = [unframe(b"\0" + part + b"\0", board.key) for part in bytes.fromhex(sent).split(b"\0") if part]
        if step["locked"]:
            assert [without_time(body) for body in found] == [without_time(body) for body in answers]
        digests.append((trained, digest))
    ends = range(len(sessions[0]) - 1, len(job), len(sessions[0]))
    assert [digests[end] for end in ends] == [(6, golden(6, **network)[0]) for network in NETWORKS.values()]


def without_time(body: bytes) -> bytes:
    return body[:7] + body[11:] if body[0] in (wire.RESULT, wire.TESTED) else body
