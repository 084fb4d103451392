"""Memory on a 32-bit board of 192 KB: nothing is left behind while idle, and OPEN finds room whatever went before."""

import json
import struct
import subprocess
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frames import frame, unframe

from firmware import wire
from host.base.cli import UserError
from host.board import micropythons
from host.board.frames import image_frames
from host.board.learner import open_body
from host.data.dataset import load
from host.runs.config import Config, configure, prepare
from tools.networks import NETWORKS

ROOT = Path(__file__).resolve().parent.parent
HEAP = "192k"
SESSION, CONVERSATION = 7, 9
FULL = 260  # KB of garbage: more than the heap has, so that it has been collected meanwhile

# argv: firmware, job. firmware.main with a host that acts between two parts of a script: job["before"] and job["after"]
# are lists of chunks. Between them the heap is used as job says: "garbage" in KB; "holes": every so many pieces of it
# one stays; "idle": seconds of a board without a host. Prints gc.mem_alloc() in the middle and at the end of idling.
SCRIPT = """
import gc, json, sys
sys.path.insert(0, sys.argv[1])
with open(sys.argv[2]) as file:
    job = json.load(file)
import firmware.main as main

chunks = [bytes(chunk) for chunk in job["before"]] + [None] + [bytes(chunk) for chunk in job["after"]]
del job["before"], job["after"]
at = 0
now = 0
used = [0, 0]
kept = None

def history():
    global kept
    for i in range(job["garbage"] * 1024 // 112):
        bytearray(100)
        if job["holes"] and i % job["holes"] == 0:
            kept = [kept]

def millis():
    return now

def wait(ms):
    global now, at
    if chunks[at] is not None:
        return True
    now += ms
    if now >= job["idle"] * 1000:
        used[1] = gc.mem_alloc()
        history()
        at += 1
        return True
    if now < job["idle"] * 500:
        used[0] = gc.mem_alloc()
    return False

def read(buffer):
    global at
    data = chunks[at]
    at += 1
    for i in range(len(data)):
        buffer[i] = data[i]
    return len(data)

main.millis, main.elapsed, main.wait, main.read = millis, lambda now, before: now - before, wait, read
main.main(root=job["root"])
print(used[0], used[1], file=sys.stderr)
"""


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The compiled firmware, by architecture."""
    directory = tmp_path_factory.mktemp("memory")
    found = {}
    for arch in ("i386", "armhf"):
        if micropythons.available(arch):
            micropythons.compile_tree(arch, [ROOT / "firmware", ROOT / "fixedpoint"], directory / arch)
            found[arch] = directory / arch
    (directory / "run.py").write_text(SCRIPT)
    return found


def session(config: Config, image: np.ndarray, flags: int = 0) -> list[bytes]:
    """What a host sends to open a session and to train an image, in chunks."""
    key = SESSION ^ CONVERSATION
    rates = [x for pair in config.rates(0) for x in pair]
    bodies = [open_body(config, SESSION, flags, CONVERSATION), struct.pack(wire.RATES_FORMAT, wire.RATES, 1, 0, *rates)]
    bodies += [body for _, body in image_frames(wire.TRAIN, 0, image, 3, config.pixel_bits, True)]
    return [frame(wire.GREETING), *(frame(body, key) for body in bodies)]


@cache
def full(graph: str = "lattice", rule: str = "snap1", units: int | None = None) -> tuple[list[bytes], int]:
    """A session of a network of full size (28 inputs, 10 classes, 28 steps), and the digest after its first image."""
    data = load()
    config = configure(data, None, 1, 1, pixel_bits=4, graph=graph, rule=rule, units=units)
    image = prepare(data, config).train_images[0]
    network = config.network()
    network.set_rates(config.rates(0))
    network.train(image.tobytes(), 3)
    return session(config, image, wire.FLAG_REPLACE), network.digest()


@pytest.fixture(scope="module")
def usual() -> tuple[list[bytes], int]:
    """A session of 28 x 10 cells, and the digest after its first image."""
    return full()


def run(arch: str, boards: dict[str, Path], directory: Path, **job: Any) -> tuple[list[bytes], list[int]]:
    """Run the script on a board; return the frames that it sent, and the bytes in use while idle."""
    try:
        argv = micropythons.command(arch)
    except UserError as error:
        pytest.skip(str(error))
    job = {"before": [], "garbage": 0, "holes": 0, "idle": 0, "root": f"{directory}/", "heap": HEAP} | job
    job |= {part: [list(chunk) for chunk in job[part]] for part in ("before", "after")}
    job["after"].append(list(frame(bytes([wire.EXIT]))))
    (directory / "job").write_text(json.dumps(job))
    argv = [*argv, "-X", f"heapsize={job['heap']}", str(boards[arch].parent / "run.py"), str(boards[arch])]
    done = subprocess.run([*argv, str(directory / "job")], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    key = SESSION ^ CONVERSATION
    bodies = [unframe(b"\0" + part + b"\0", key) for part in done.stdout.split(b"\0") if part]
    return bodies, [int(x) for x in done.stderr.split()]


def trained(bodies: list[bytes]) -> int:
    """The digest in the last RESULT; fails with the reason if OPEN was refused."""
    refused = [wire.REASONS[body[1]] for body in bodies if body[0] == wire.REFUSED]
    assert not refused, refused
    assert bodies[-1][0] == wire.RESULT, [hex(body[0]) for body in bodies]
    return struct.unpack(wire.RESULT_FORMAT, bodies[-1])[5]


@pytest.mark.parametrize("arch", ["i386", "armhf"])
def test_idling_leaves_no_garbage(arch: str, boards: dict[str, Path], tmp_path: Path) -> None:
    """Two minutes without a host: 240 HELLOs, and as many bytes in use after the second as after the first."""
    bodies, (middle, end) = run(arch, boards, tmp_path, after=[], idle=120)
    assert [body[0] for body in bodies].count(wire.HELLO) >= 240
    assert 0 < middle == end


def sweep(arch: str, step: int, holes: int, boards: dict[str, Path], directory: Path, usual: Any, **job: Any) -> None:
    """OPEN and train an image after every amount of garbage."""
    chunks, digest = usual
    for garbage in range(0, FULL, step):
        bodies, _ = run(arch, boards, directory, after=chunks, garbage=garbage, holes=holes, **job)
        assert trained(bodies) == digest, garbage


@pytest.mark.parametrize("holes", [0, 3, 18], ids=["garbage", "holes of 300 bytes", "holes of 2 KB"])
@pytest.mark.parametrize("arch, step", [("i386", 5), ("armhf", 52)])
def test_open_finds_room_whatever_was_in_the_heap(
    arch: str, step: int, holes: int, boards: dict[str, Path], tmp_path: Path, usual: Any
) -> None:
    sweep(arch, step, holes, boards, tmp_path, usual)


@pytest.mark.parametrize("arch, step", [("i386", 13), ("armhf", 104)])
def test_open_finds_room_after_another_session(
    arch: str, step: int, boards: dict[str, Path], tmp_path: Path, usual: Any
) -> None:
    """A smaller lattice was there and has left its own marks: parameters, a checkpoint, answers."""
    data = load()
    config = configure(data, "article", 2, 1, rows=9, cols=12, pixel_bits=8)
    key = SESSION ^ CONVERSATION
    before = session(config, prepare(data, config).train_images[0])
    before.append(frame(struct.pack(wire.ASK_FORMAT, wire.CHECKPOINT, 2), key))
    before += [frame(struct.pack(wire.READ_FORMAT, wire.READ, 3, 56 * i, 56), key) for i in range(7)]
    sweep(arch, step, 0, boards, tmp_path, usual, before=before)


OTHERS = [*NETWORKS[1:], ("diagonal", "snap1", 64)]  # but for the lattice, above


@pytest.mark.parametrize("network", OTHERS, ids=str)
def test_open_finds_room_for_every_network(network: Any, boards: dict[str, Path], tmp_path: Path) -> None:
    sweep("i386", 65, 18, boards, tmp_path, full(*network))


@pytest.mark.parametrize("before, after", [*pairwise([*OTHERS, NETWORKS[0], *OTHERS[-1:], NETWORKS[1]])], ids=str)
def test_open_finds_room_for_one_network_after_another(
    before: Any, after: Any, boards: dict[str, Path], tmp_path: Path
) -> None:
    """Both of full size: there is room for one only."""
    sweep("i386", 135, 3, boards, tmp_path, full(*after), before=full(*before)[0])


@pytest.mark.parametrize("heap, fits", [("112k", False), ("144k", True)])
def test_a_smaller_board_starts_and_takes_what_fits(
    heap: str, fits: bool, boards: dict[str, Path], tmp_path: Path, usual: Any
) -> None:
    """The room that is kept is never what the firmware itself needs."""
    data = load()
    config = configure(data, "article", 2, 1, rows=9, cols=12)
    small = session(config, prepare(data, config).train_images[0], wire.FLAG_REPLACE)
    bodies, _ = run("i386", boards, tmp_path, before=usual[0], after=small, heap=heap, garbage=50)
    assert (wire.REFUSED in [body[0] for body in bodies]) == (not fits)
    assert [body[0] for body in bodies].count(wire.RESULT) == 1 + fits
    assert bodies[-1][0] == wire.RESULT


@pytest.mark.slow
@pytest.mark.parametrize("holes", [0, 3, 9, 18, 90])
@pytest.mark.parametrize("arch, step", [("i386", 1), ("armhf", 4)])
def test_open_finds_room_in_small_steps(
    arch: str, step: int, holes: int, boards: dict[str, Path], tmp_path: Path, usual: Any
) -> None:
    sweep(arch, step, holes, boards, tmp_path, usual)


@pytest.mark.slow
@pytest.mark.parametrize("holes", [0, 3, 18])
@pytest.mark.parametrize("arch, step", [("i386", 5), ("armhf", 26)])
@pytest.mark.parametrize("network", OTHERS, ids=str)
def test_open_finds_room_for_every_network_in_small_steps(
    network: Any, arch: str, step: int, holes: int, boards: dict[str, Path], tmp_path: Path
) -> None:
    sweep(arch, step, holes, boards, tmp_path, full(*network))
    sweep(arch, 2 * step, holes, boards, tmp_path, full(*network), before=full()[0])
