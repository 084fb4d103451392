"""What a training image costs: instructions of every pass, cycles and milliseconds on an RP2040, bytes.

Two things are counted: the training step alone, pass by pass, and the whole image as the firmware sees it, from its
first byte on stdin to its RESULT on stdout, through firmware.main, device, wire and codec. The difference is the link.

Nothing here is a stopwatch. Instructions are counted, the same number every time, whatever else the machine does:
  ARM     the RP2040's own code (armv6m viper), run by Debian's armhf MicroPython under qemu-arm with a plugin that
          counts (tools/count_plugin.c)
  x86-64  native code in PyPI's MicroPython, under valgrind --tool=callgrind
The script under test writes a mark before and after each pass (the firmware: a frame), and the counters are read at
each: what a program does at its start differs from run to run, what it does between two marks does not.

Cycles are an estimate: each instruction as in the Cortex-M0+ manual (loads and stores 2, several registers 1 + their
number, taken branches 2, calls 3, all else 1) with memory that never waits. That holds for the passes, which run from
RAM. The interpreter, which calls them, is counted in Debian's build (Thumb-2); a board's is larger and runs from flash.
"""

import json
import os
import re
import shutil
import struct
import subprocess
from itertools import accumulate
from pathlib import Path
from typing import Any

from firmware import wire
from host.base import cli
from host.base.cli import UserError
from host.base.heartbeat import say
from host.base.scratch import Scratch
from host.board import micropythons
from host.board.frames import OVERHEAD, image_frames
from host.board.learner import open_body
from host.data import dataset
from host.runs.config import configure, prepare

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = Path(__file__).with_name("count_plugin.c")
MHZ = 125  # an RP2040 as it leaves the factory
PASSES = ("derive", "feed", "forward", "readout", "error", "backward", "update")
WARM = 3  # images trained before the counted ones
BITS = 4  # per pixel on the wire
BOARD_HEAP = "192k"  # of a stock board, at least
Counts = list[tuple[int, ...]]

# argv: engine, job. Every write is a mark. Each counted image is trained twice, by two lattices in the same state: as
# it is, for the sum, and with marks around every kernel.
SCRIPT = """
import gc, json, sys
sys.path.insert(0, sys.argv[1])
from fixedpoint import kernels
from fixedpoint.lattice import Lattice

job = json.load(open(sys.argv[2]))
mark = sys.stdout.write

class Marked:
    pass

def marked(name, kernel):
    def call(*args):
        mark(name)
        kernel(*args)
        mark(name)
    return call

def nothing(*args):
    pass

for name in job["kernels"]:
    setattr(Marked, name, staticmethod(marked(name + "\\n", getattr(kernels, name))))

def lattice():
    new = Lattice(*job["size"])
    new.set_bounds(job["bounds"])
    new.seed(1, job["init"])
    new.set_rates(job["rates"])
    return new

plain, split = lattice(), lattice()
empty = marked("call\\n", nothing)
pixels = bytearray(plain.rows * plain.steps)
with open(job["file"], "rb") as file:
    for image in range(job["warm"] + job["images"]):
        file.readinto(pixels)
        label = file.read(1)[0]
        if image == job["warm"]:
            split.kernels = Marked
            gc.collect()
            gc.disable()
        if image < job["warm"]:
            plain.train(pixels, label)
            split.train(pixels, label)
        else:
            mark("mark\\n")
            mark("mark\\n")
            empty(1, 2, 3, 4, 5)
            mark("image\\n")
            plain.train(pixels, label)
            mark("image\\n")
            split.train(pixels, label)
assert plain.digest() == split.digest()
"""

# argv: engine, job. Prints bytes of the heap in use: at the start, with the engine loaded, with a lattice that learns.
HEAP = """
import gc, json, sys
sys.path.insert(0, sys.argv[1])
job = json.load(open(sys.argv[2]))
gc.collect()
a = gc.mem_alloc()
from fixedpoint.lattice import Lattice
gc.collect()
b = gc.mem_alloc()
lattice = Lattice(*job["size"])
lattice.seed(1, job["init"])
gc.collect()
c = gc.mem_alloc()
pixels = bytes(lattice.rows * lattice.steps)
lattice.train(pixels, 0)
print(a, b, c, sum(4 * len(x) for x in (lattice.w, lattice.m, lattice.h, lattice.z, lattice.rule)))
"""

# argv: engine and firmware. stdin: what a host sends; it is read as a board reads it, not as a terminal of Linux.
BOARD = """
import sys
sys.path.insert(0, sys.argv[1])
import firmware.main
firmware.main.DEVICE_OS = True
firmware.main.main()
"""


class Job:
    """A directory with the scripts and the digits, and the engine compiled for the MicroPythons."""

    def __init__(self, directory: Path, images: int) -> None:
        digits = dataset.load()
        self.config = config = configure(digits, "critical", 1, 1, pixel_bits=BITS)
        digits = prepare(digits, config)
        available = len(digits.train_images) - WARM
        if not 1 <= images <= available:
            raise UserError(f"--images {images}: choose 1 to {available}")
        self.directory, self.images = directory, images
        self.cells, self.steps = config.rows * config.cols, config.steps
        self.pairs = list(zip(digits.train_images[: WARM + images], digits.train_labels.tolist(), strict=False))
        (directory / "digits").write_bytes(b"".join(image.tobytes() + bytes([label]) for image, label in self.pairs))
        for name, text in (("count.py", SCRIPT), ("heap.py", HEAP), ("board.py", BOARD)):
            (directory / name).write_text(text)
        values = {
            "size": [config.rows, config.cols, config.steps, config.scale, config.gain],
            "bounds": config.bounds,
            "init": config.init,
            "rates": config.rates(0),
            "kernels": PASSES,
            "file": str(directory / "digits"),
            "warm": WARM,
            "images": images,
        }
        (directory / "job").write_text(json.dumps(values))  # MicroPython takes no argument of more than 255 bytes

    def arguments(self, script: str, arch: str) -> list[str]:
        """The arguments of a MicroPython that runs one of the scripts on its own engine."""
        return [str(self.directory / script), str(self.directory / arch), str(self.directory / "job")]


def execute(argv: list[str], environment: dict[str, str] | None = None, stdin: bytes = b"") -> bytes:
    """Run a program and return what it prints. Raises UserError with its last words if it fails."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=600, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{Path(argv[0]).name} does not run: {error}") from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").splitlines()
        lines = [line for line in words if line.strip() and not line.startswith("==")]  # valgrind's
        raise UserError(f"{Path(argv[0]).name} failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return done.stdout


def plugin(directory: Path) -> Path:
    """The counting plugin, compiled into this directory. Raises UserError."""
    target = directory / "count_plugin.so"
    if not (compiler := shutil.which("cc") or shutil.which("gcc")):
        raise UserError("no C compiler for tools/count_plugin.c; install gcc")
    execute([compiler, "-O2", "-shared", "-fPIC", "-o", str(target), str(PLUGIN)])
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


def count_x64(job: Job) -> tuple[list[str], Counts]:
    """Marks and, at each, the instructions so far as (0, 0, instructions, 0): all code alike."""
    if not (valgrind := shutil.which("valgrind")):
        raise UserError("no valgrind; install Debian's package of that name")
    if micropythons.emit("x64") != "native":
        raise UserError("only an x86-64 machine runs x86-64 code")
    out = job.directory / "callgrind"
    micropythons.compile_tree("x64", [ROOT / "fixedpoint"], job.directory / "x64")
    options = ["--tool=callgrind", f"--callgrind-out-file={out}", "--dump-before=write", "--dump-before=__write",
               "--vgdb=no"]  # whose pipes in $TMPDIR outlive an interruption  # fmt: skip
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    argv = [valgrind, *options, *micropythons.command("x64"), *job.arguments("count.py", "x64")]
    marks = execute(argv, environment).decode().split()
    # one file before each mark, and one more at the end
    deltas = []
    for number in range(1, len(marks) + 1):
        file = out.with_name(f"{out.name}.{number}")
        found = re.search(r"^totals: (\d+)", file.read_text(), re.MULTILINE) if file.exists() else None
        if not found:
            raise UserError(f"valgrind made {number - 1} of {len(marks)} counts; another version of it may do better")
        deltas.append(int(found[1]))
    return marks, [(0, 0, total, 0) for total in accumulate(deltas)]


def split(marks: list[str], counts: Counts) -> dict[str, Counts]:
    """Pairs of marks -> the counts between them, by the marks' name, in order."""
    if len(marks) != len(counts) or marks[::2] != marks[1::2]:
        raise UserError(f"{len(marks)} marks, {len(counts)} counts: they do not match")
    found: dict[str, Counts] = {}
    for i in range(0, len(marks), 2):
        found.setdefault(marks[i], []).append(tuple(b - a for a, b in zip(counts[i], counts[i + 1], strict=True)))
    return found


def table(found: dict[str, Counts], job: Job, made: bool) -> dict[str, Any]:
    """Counts per image, the mean of all: of each pass, of the interpreter around them, and of the whole.

    made: the counters know the passes' code from the interpreter's (else a call of an empty pass is deducted).
    """

    def mean(name: str, field: int) -> int:
        return round(sum(count[field] for count in found[name]) / job.images)

    passes: dict[str, dict[str, Any]] = {}
    for name in PASSES:
        calls = len(found[name]) // job.images
        instructions = mean(name, 0) if made else mean(name, 2) - calls * mean("call", 2)
        passes[name] = {"calls": calls, "instructions": instructions}
        passes[name]["per_cell_step"] = round(instructions / (job.cells * job.steps), 2)
        if made:
            passes[name]["cycles"] = mean(name, 1)
    total = {"instructions": mean("image", 0) + mean("image", 2) - mean("mark", 2)}
    rest = {"instructions": total["instructions"] - sum(p["instructions"] for p in passes.values())}
    if made:
        total["cycles"] = mean("image", 1) + mean("image", 3) - mean("mark", 3)
        rest["cycles"] = total["cycles"] - sum(p["cycles"] for p in passes.values())
    return {"passes": passes, "interpreter": rest, "image": total}


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
        "kernels_mpy": files["kernels"],
        "arrays": arrays,
        "engine": loaded - start,
        "lattice": running - loaded,
        "smallest_heap": high * 1024,
    }


def measure(images: int) -> dict[str, Any]:
    """All there is to know; a part that cannot be measured here is {"missing": why}. Raises UserError if none can."""
    with Scratch("cost") as directory:
        job = Job(directory, images)
        result: dict[str, Any] = {"cells": job.cells, "steps": job.steps, "images": images, "mhz": MHZ}
        try:
            say("cost: RP2040's code: the training step, pass by pass")
            argv = counter(job)
            result["arm"] = table(split(*count_arm(job, argv)), job, made=True)
            result["arm"]["ms"] = round(result["arm"]["image"]["cycles"] / (MHZ * 1000), 1)
            say("cost: RP2040's code: the whole image, through the firmware")
            result |= whole(*count_board(job, argv), job)
            step, image = result["arm"]["image"]["cycles"], result["whole_image"]["cycles"]
            result["training_step"] = {"cycles": step}
            result["link"] = {"cycles": image - step}
            result["ratio"] = round(image / step, 3)
            result["images_per_second"] = round(MHZ * 1e6 / image, 2)
            say("cost: memory")
            result["bytes"] = memory(job)
        except UserError as error:
            result["arm"] = result["bytes"] = {"missing": str(error)}
        try:
            say("cost: x86-64 native code: the training step, pass by pass")
            result["x64"] = table(split(*count_x64(job)), job, made=False)
        except UserError as error:
            result["x64"] = {"missing": str(error)}
            if "missing" in result["arm"]:
                raise UserError(f"nothing can be counted here: {result['arm']['missing']}; {error}") from error
        return result


def report(result: dict[str, Any]) -> list[str]:
    """The result as lines of text."""
    lines = [f"one training image: {result['cells']} cells, {result['steps']} steps; mean of {result['images']}"]
    for name, title in (("arm", "RP2040's code (armv6m viper)"), ("x64", "x86-64 native code")):
        part = result[name]
        if "missing" in part:
            lines += ["", f"{title}: not counted: {part['missing']}"]
            continue
        cycles = "cycles" in part["image"]
        heading = f"{title:28}{'calls':>6}{'instructions':>14}{'a cell-step':>13}"
        lines += ["", heading + (f"{'M0+ cycles':>12}{f'ms at {MHZ} MHz':>15}" if cycles else "")]
        for row, count in {**part["passes"], "interpreter": part["interpreter"], "step": part["image"]}.items():
            line = (
                f"  {row:26}{count.get('calls', ''):>6}{count['instructions']:>14,}{count.get('per_cell_step', ''):>13}"
            )
            lines.append(line + (f"{count['cycles']:>12,}{count['cycles'] / (MHZ * 1000):>15.2f}" if cycles else ""))
    if "whole_image" in result:
        lines += ["", f"{f'as the firmware sees it, {BITS} bits a pixel':61}{'M0+ cycles':>12}{f'ms at {MHZ} MHz':>15}"]
        for row, name in (("training step", "training_step"), ("link", "link"), ("whole image", "whole_image"),
                          ("OPEN of a new session", "opening")):  # fmt: skip
            cycles = result[name]["cycles"]
            lines.append(f"  {row:59}{cycles:>12,}{cycles / (MHZ * 1000):>15.2f}")
        lines.append(
            f"  {result['link_bytes']} bytes an image; {result['ratio']} times the training step alone;"
            f" {result['images_per_second']} images/s"
        )
    sizes = result["bytes"]
    if "missing" not in sizes:
        lines += [
            "",
            f"engine as .mpy: {sizes['mpy']:,} bytes, of which kernels.mpy {sizes['kernels_mpy']:,} (a board copies its"
            " code to RAM)",
            f"heap: engine {sizes['engine']:,} bytes without that code, lattice {sizes['lattice']:,}"
            f" (arrays {sizes['arrays']:,}); it trains in a heap of {sizes['smallest_heap'] // 1024} KB",
        ]
    return lines


def main() -> int:
    parser = cli.Parser("python -m tools.cost", __doc__)
    parser.epilog = (
        "Downloads what `python -m host.micropythons` does, if it is not there. Needs gcc, and valgrind for x86-64;\n"
        "a part that cannot be counted says why."
    )
    parser.add_argument("--images", type=int, default=3, metavar="N", help="training images to average (default: 3)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    args = parser.parse_args()
    result = measure(args.images)
    print(json.dumps(result) if args.json else "\n".join(report(result)))
    return 0


if __name__ == "__main__":
    cli.run(main)
