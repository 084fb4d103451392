"""What is counted: the network, the images, and the scripts that MicroPython runs on them."""

import json
from pathlib import Path
from typing import Any

from fixedpoint.network import Network
from host.base.cli import UserError
from host.data import dataset
from host.engine.passes import passes_of
from host.runs.config import configure, prepare

ROOT = Path(__file__).resolve().parent.parent.parent
MHZ = 125  # an RP2040 as it leaves the factory
WARM = 3  # images trained before the counted ones
BITS = 4  # per pixel on the wire
# Images to average: cells take nearly the same for all; a diagonal network passes over inputs that have said nothing.
IMAGES, IMAGES_DIAGONAL = 3, 16
Counts = list[tuple[int, ...]]

# argv: engine, job. Every write is a mark. Each counted image is trained twice, by two networks in the same state: as
# it is, for the sum, and with marks around every kernel.
SCRIPT = """
import gc, json, sys
sys.path.insert(0, sys.argv[1])
from fixedpoint.build import build

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

def network():
    new = build(*job["form"])
    new.set_bounds(job["bounds"])
    new.seed(1, job["init"])
    new.set_rates(job["rates"])
    return new

plain, split = network(), network()
for name in job["kernels"]:
    setattr(Marked, name, staticmethod(marked(name + "\\n", getattr(plain.kernels, name))))
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

# argv: engine, job. Prints bytes of the heap in use: at the start, with the engine loaded, with a network that learns;
# and bytes of its arrays.
HEAP = """
import gc, json, sys
sys.path.insert(0, sys.argv[1])
job = json.load(open(sys.argv[2]))
gc.collect()
a = gc.mem_alloc()
from fixedpoint.build import build
gc.collect()
b = gc.mem_alloc()
network = build(*job["form"])
network.seed(1, job["init"])
gc.collect()
c = gc.mem_alloc()
pixels = bytes(network.rows * network.steps)
network.train(pixels, 0)
print(a, b, c, sum(4 * len(getattr(network, name)) for name in job["state"]))
"""

# argv: engine and firmware. stdin: what a host sends; it is read as a board reads it, not as a terminal of Linux.
BOARD = """
import sys
sys.path.insert(0, sys.argv[1])
import firmware.main
firmware.main.DEVICE_OS = True
firmware.main.main()
"""


def kernels_of(network: Network) -> tuple[str, ...]:
    """The kernels of a training step, in order; the class is picked in Python."""
    passes = passes_of(network, alone=True)
    every = (str(call[0]) for call in (*passes.take, *passes.classify, *passes.learn))
    return tuple(name for name in every if name != "best")


class Job:
    """A directory with the scripts and the digits, and the engine compiled for the MicroPythons.

    options: those of configure() that say which network. images: None for as many as it takes. Raises UserError.
    """

    def __init__(self, directory: Path, images: int | None = None, **options: Any) -> None:
        digits = dataset.load()
        self.config = config = configure(digits, None, 1, 1, pixel_bits=BITS, **options)
        self.network = config.network()
        digits = prepare(digits, config)
        available = len(digits.train_images) - WARM
        if images is None:
            images = IMAGES_DIAGONAL if config.units else IMAGES
        if not 1 <= images <= available:
            raise UserError(f"--images {images}: choose 1 to {available}")
        self.directory, self.images = directory, images
        self.kernels = kernels_of(self.network)
        self.cells, self.steps = config.units or self.network.cells, config.steps
        self.pairs = list(zip(digits.train_images[: WARM + images], digits.train_labels.tolist(), strict=False))
        (directory / "digits").write_bytes(b"".join(image.tobytes() + bytes([label]) for image, label in self.pairs))
        for name, text in (("count.py", SCRIPT), ("heap.py", HEAP), ("board.py", BOARD)):
            (directory / name).write_text(text)
        values = {
            "form": config.form,
            "bounds": config.bounds,
            "init": config.init,
            "rates": config.rates(0),
            "kernels": self.kernels,
            "state": passes_of(self.network, alone=True).state,
            "file": str(directory / "digits"),
            "warm": WARM,
            "images": images,
        }
        (directory / "job").write_text(json.dumps(values))  # MicroPython takes no argument of more than 255 bytes

    def arguments(self, script: str, arch: str) -> list[str]:
        """The arguments of a MicroPython that runs one of the scripts on its own engine."""
        return [str(self.directory / script), str(self.directory / arch), str(self.directory / "job")]
