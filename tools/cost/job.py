"""What is counted: the images, and the scripts that MicroPython runs on them."""

import json
from pathlib import Path

from host.base.cli import UserError
from host.data import dataset
from host.runs.config import configure, prepare

ROOT = Path(__file__).resolve().parent.parent.parent
MHZ = 125  # an RP2040 as it leaves the factory
PASSES = ("derive", "feed", "forward", "readout", "error", "backward", "update")
WARM = 3  # images trained before the counted ones
BITS = 4  # per pixel on the wire
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
