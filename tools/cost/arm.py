"""An RP2040's own code, run by MicroPython under qemu-arm: instructions, cycles, bytes; passes and firmware."""

import os
import struct
from pathlib import Path
from typing import Any

from firmware import wire
from host.base.cli import UserError
from host.board import micropythons
from host.board.frames import OVERHEAD, image_frames
from host.board.learner import open_body
from tools.c.build import compiler, execute
from tools.cost.job import BITS, ROOT, WARM, Counts, Job

PLUGIN = Path(__file__).with_name("count_plugin.c")
BOARD_HEAP = "192k"  # of a stock board, at least


def plugin(directory: Path) -> Path:
    """The counting plugin, compiled into this directory. Raises UserError."""
    target = directory / "count_plugin.so"
    execute([compiler("tools/cost/count_plugin.c"), "-O2", "-shared", "-fPIC", "-o", str(target), str(PLUGIN)])
    return target


def counter(job: Job) -> list[str]:
    """argv of the armhf MicroPython under the plugin, which writes to job.directory / "counts"."""
    micropythons.setup("armhf")
    shared = plugin(job.directory)
    program = micropythons.command("armhf")[-3:]  # -L ROOT MICROPYTHON

    def usable(argv: list[str]) -> bool:
        try:
            return not execute([*argv, "-plugin", f"{shared},out={os.devnull}", *program, "-c", "pass"])
        except UserError:
            return False

    qemu = micropythons.setup_emulator("qemu-arm", usable)
    micropythons.compile_tree("armhf", [ROOT / "fixedpoint", ROOT / "firmware"], job.directory / "armhf")
    return [*qemu, "-plugin", f"{shared},out={job.directory / 'counts'}", *program]


def counts(job: Job) -> Counts:
    """The plugin's four counters at each write, of the program that ran last."""
    return [tuple(map(int, line.split())) for line in (job.directory / "counts").read_text().splitlines()]


def count_arm(job: Job, argv: list[str]) -> tuple[list[str], Counts]:
    """Marks and, at each, the plugin's four counters. argv: counter()."""
    marks = execute([*argv, *job.arguments("count.py", "armhf")]).decode().split()
    return marks, counts(job)


def count_board(job: Job, argv: list[str]) -> tuple[list[bytes], Counts, list[int]]:
    """The frames that a board sends in a session, the plugin's counters at each, and the bytes of every image to it.

    The host's part is written down beforehand: ATTACH, OPEN, RATES, a TRAIN for every part of the images, EXIT.
    """
    key, sender = wire.key_of(1, 1), wire.Sender()

    def frame(body: bytes) -> bytes:
        sender.body[: len(body)] = body
        return bytes(sender.frame[: sender.seal(len(body), key)])

    rates = [x for pair in job.config.rates(0) for x in pair]
    begin = [wire.GREETING, open_body(job.config, 1, 0, 1), struct.pack(wire.RATES_FORMAT, wire.RATES, 1, 0, *rates)]
    largest = min(wire.MAX_BODY, 500 // 2 - OVERHEAD)  # two are under way in an RP2040's window
    images = [
        b"".join(frame(body) for _, body in image_frames(wire.TRAIN, step, image, label, BITS, False, largest))
        for step, (image, label) in enumerate(job.pairs)
    ]
    stdin = b"".join(map(frame, begin)) + b"".join(images) + frame(bytes([wire.EXIT]))
    argv = [*argv, "-X", f"heapsize={BOARD_HEAP}", str(job.directory / "board.py"), str(job.directory / "armhf")]
    stream, receiver, bodies, at = execute(argv, stdin=stdin), wire.Receiver(), [], 0
    while (at := receiver.take(stream, at, len(stream))) >= 0:
        if n := receiver.unseal(key):
            bodies.append(bytes(receiver.body[:n]))
    return bodies, counts(job), [len(image) for image in images]


def whole(bodies: list[bytes], counts: Counts, sent: list[int], job: Job) -> dict[str, Any]:
    """Of count_board()'s frames: cycles from one RESULT to the next, the mean of the counted images, and of OPEN."""
    if len(bodies) != len(counts):
        raise UserError(f"{len(bodies)} frames from the firmware, {len(counts)} counts: they do not match")
    kinds = [body[0] for body in bodies]
    results = [i for i, kind in enumerate(kinds) if kind == wire.RESULT]
    if len(results) != len(job.pairs) or wire.STATE not in kinds:
        raise UserError(f"the firmware trained {len(results)} of {len(job.pairs)} images")

    def between(first: int, last: int, divisor: int = 1) -> dict[str, int]:
        made, code, rest, interpreter = (
            round((b - a) / divisor) for a, b in zip(counts[first], counts[last], strict=True)
        )
        return {"cycles": code + interpreter, "machine_code": code, "interpreter": interpreter,
                "instructions": made + rest}  # fmt: skip

    opened = kinds.index(wire.STATE)
    attached = max(i for i in range(opened) if kinds[i] == wire.HELLO)
    return {
        "whole_image": between(results[WARM - 1], results[-1], job.images),
        "opening": between(attached, opened),
        "link_bytes": round(sum(sent[WARM:]) / job.images, 1),
    }


def memory(job: Job) -> dict[str, int]:
    """Bytes: of the compiled engine, and of the heap on a 32-bit machine. Needs armhf and its engine."""
    files = {path.stem: path.stat().st_size for path in (job.directory / "armhf/fixedpoint").rglob("*.mpy")}
    argv = micropythons.command("armhf")
    arguments = job.arguments("heap.py", "armhf")
    start, loaded, running, arrays = map(int, execute([*argv, *arguments]).decode().split())
    low, high = 0, 4096  # KB; the smallest heap that will do is above low and at most high
    while high - low > 4:
        middle = (low + high) // 2
        try:
            execute([*argv, "-X", f"heapsize={middle}k", *arguments])
            high = middle
        except UserError:
            low = middle
    return {
        "mpy": sum(files.values()),
        "kernels_mpy": files["kernels"] + files["diagonal_kernels"],
        "arrays": arrays,
        "engine": loaded - start,
        "lattice": running - loaded,
        "smallest_heap": high * 1024,
    }
