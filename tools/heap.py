"""The largest networks that a board's heap holds, found by running the real firmware in 32-bit MicroPythons.

A network fits if a board that has just started opens it, trains an image, tests one and writes its checkpoint, and
ends with the digest of the same engine on this computer; on i386 (bisection) and on armhf, an RP2040's own code, too.
One of them refuses the next larger one. Examples:

  python -m tools.heap                        heaps of 192, 240 and 520 KB; about a minute
  python -m tools.heap --heap 240 --json      one heap

A board has its code in the heap too, which these MicroPythons keep elsewhere: a heap of N KB here is N KB and the code
(firmware/README.md, Cost) on a board.
"""

import json
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firmware import wire
from host.base import cli
from host.base.heartbeat import heartbeat
from host.base.scratch import Scratch
from host.board import micropythons
from host.board.frames import image_frames
from host.board.learner import open_body, session_id
from host.board.link import Link
from host.data.dataset import Dataset
from host.engine.learners import executor
from host.runs.config import Config, bytes_of, configure

ROOT = Path(__file__).resolve().parent.parent
HEAPS = (192, 240, 520)  # KB
SEARCH, CONFIRM = "i386", "armhf"
CONVERSATION = 1

# argv: firmware, file with what the host sends, directory of the checkpoint. stdout: what the board sends.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import firmware.main as main
file = open(sys.argv[2], "rb")
main.wait = lambda ms: True
main.read = lambda buffer: file.readinto(buffer) or -1
main.main(root=sys.argv[3])
"""


@dataclass(frozen=True)
class Search:
    """The sizes named in axis are sought, 1 to `most`; the others stand."""

    text: str
    graph: str
    axis: tuple[str, ...]
    most: int
    rows: int = 28
    cols: int = 10
    steps: int = 28
    units: int = 28

    def sizes(self, n: int) -> dict[str, int]:
        """All sizes, if the one that is sought is n."""
        return {name: n if name in self.axis else getattr(self, name) for name in ("rows", "cols", "steps", "units")}


SEARCHES = (
    Search("lattice n x 10, 28 steps", "lattice", ("rows",), 64),
    Search("lattice 28 x n, 28 steps", "lattice", ("cols",), 64),
    Search("lattice n x n, 28 steps", "lattice", ("rows", "cols"), 64),
    Search("lattice 28 x 10, n steps", "lattice", ("steps",), 256),
    Search("small world n x 10, 28 steps", "small-world", ("rows",), 64),
    Search("skip lines n x 10, 28 steps", "skip", ("rows",), 64),
    Search("forest, n inputs, 10 classes, 28 steps", "forest", ("rows",), 64),
    Search("forest, 28 inputs, n classes, 28 steps", "forest", ("cols",), 64),
    Search("forest, 28 inputs, 10 classes, n steps", "forest", ("steps",), 256),
    Search("diagonal, n units, 28 inputs, 10 classes, 28 steps", "diagonal", ("units",), 256),
    Search("diagonal, n units, 64 inputs, 10 classes, 28 steps", "diagonal", ("units",), 256, rows=64),
    Search("diagonal, 28 units, 28 inputs, 10 classes, n steps", "diagonal", ("steps",), 256),
)


def noise(rows: int, cols: int, steps: int) -> Dataset:
    """An image to train on and one to test."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (2, steps, rows), np.uint8)
    labels = np.array([cols // 2, cols - 1], np.uint8)
    return Dataset("noise", images[:1], labels[:1], images[1:], labels[1:])


def session(config: Config, data: Dataset) -> bytes:
    """All that a host sends: OPEN, rates, an image to train on, one to test, CHECKPOINT, QUERY."""
    link, number = Link(), session_id(config)
    link.key = wire.key_of(number, CONVERSATION)
    rates = [x for pair in config.rates(0) for x in pair]
    bodies = [wire.GREETING, open_body(config, number, 0, CONVERSATION),
              struct.pack(wire.RATES_FORMAT, wire.RATES, 1, 0, *rates)]  # fmt: skip
    for kind, images, labels in ((wire.TRAIN, data.train_images, data.train_labels),
                                 (wire.TEST, data.test_images, data.test_labels)):  # fmt: skip
        bodies += [body for _, body in image_frames(kind, 0, images[0], int(labels[0]), config.pixel_bits, False)]
    bodies += [struct.pack(wire.ASK_FORMAT, kind, 2) for kind in (wire.CHECKPOINT, wire.QUERY)]
    return b"".join(map(link.frame, bodies))


def answers(data: bytes, config: Config) -> Iterator[bytes]:
    """The bodies in what a board has sent."""
    receiver, key, start = wire.Receiver(), wire.key_of(session_id(config), CONVERSATION), 0
    while (start := receiver.take(data, start, len(data))) >= 0:
        if n := receiver.unseal(key):
            yield bytes(receiver.body[:n])


class Boards:
    """Boards of both architectures. sent: by the last one."""

    def __init__(self, directory: Path):
        self.directory, self.kernels = directory, executor("llvm")
        for arch in (SEARCH, CONFIRM):
            micropythons.compile_tree(arch, [ROOT / "firmware", ROOT / "fixedpoint"], directory / arch)
        (directory / "run.py").write_text(SCRIPT)
        self.sent = b""

    def fits(self, arch: str, heap: int, graph: str, sizes: dict[str, int]) -> bool:
        """Whether a board with so many KB takes the network. Raises UserError for what is no refusal, and not right."""
        rows, cols, steps = sizes["rows"], sizes["cols"], sizes["steps"]
        data = noise(rows, cols, steps)
        units = sizes["units"] if graph == "diagonal" else None
        config = configure(data, None, 1, 1, rows, cols, graph=graph, units=units)
        where = self.directory / "frames"
        where.write_bytes(session(config, data))
        flash = self.directory / "flash"
        flash.mkdir(exist_ok=True)
        for left in flash.iterdir():
            left.unlink()
        argv = [*micropythons.command(arch), "-X", f"heapsize={heap}k", str(self.directory / "run.py")]
        done = subprocess.run([*argv, str(self.directory / arch), str(where), f"{flash}/"], capture_output=True)
        self.sent = done.stdout
        found = {body[0]: body for body in answers(done.stdout, config)}
        if wire.REFUSED in found and found[wire.REFUSED][1] in (wire.NO_MEMORY, wire.STORAGE):  # OPEN, CHECKPOINT
            return False
        if done.returncode or {wire.RESULT, wire.TESTED, wire.STATE} - found.keys():
            said = done.stderr.decode(errors="replace")[-300:]
            raise cli.UserError(f"{graph} {sizes} on {arch} in {heap} KB: {said!r}")
        state = found[wire.STATE]
        network = config.network(**self.kernels)
        network.set_rates(config.rates(0))
        network.train(data.train_images[0].tobytes(), int(data.train_labels[0]))
        if struct.unpack(wire.STATE_FORMAT, state)[2:4] != (1, network.digest()):
            raise cli.UserError(f"{graph} {sizes} on {arch}: the digest differs from this computer's")
        return True


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest n up to `most` that fits, 0 if none does."""
    low, high = 0, most + 1
    while high - low > 1:
        middle = most if high > most else (low + high) // 2  # often all of it fits
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def measure(heaps: list[int]) -> list[dict[str, Any]]:
    """For each search the largest n by heap, and what its arrays take."""
    table: list[dict[str, Any]] = []
    at = ["beginning"]
    with Scratch("heap") as directory, heartbeat(lambda: f"heap: {at[0]}"):
        boards = Boards(directory)
        for search in SEARCHES:
            row: dict[str, Any] = {"network": search.text, "most": search.most, "heaps": {}}
            for heap in heaps:
                at[0] = f"{search.text} in {heap} KB"

                def fits(n: int, arch: str = SEARCH, heap: int = heap, search: Search = search) -> bool:
                    return boards.fits(arch, heap, search.graph, search.sizes(n))

                n = largest(fits, search.most)
                while n and not fits(n, CONFIRM):
                    n -= 1
                row["heaps"][heap] = {"n": n, "bytes": taken(search, n)}
            table.append(row)
    return table


def taken(search: Search, n: int) -> int:
    """Bytes that the arrays of the network take."""
    if not n:
        return 0
    sizes = search.sizes(n)
    units = sizes["units"] if search.graph == "diagonal" else None
    data = noise(sizes["rows"], sizes["cols"], sizes["steps"])
    config = configure(data, None, 1, 1, sizes["rows"], sizes["cols"], graph=search.graph, units=units)
    return bytes_of(config.form)[0]


def report(table: list[dict[str, Any]], heaps: list[int]) -> list[str]:
    """The table, for people."""
    lines = [f"{'the largest n (KB of its arrays)':<54}" + "".join(f"{f'{heap} KB':>16}" for heap in heaps)]
    for row in table:
        cells = []
        for heap in heaps:
            found = row["heaps"][heap]
            most = "" if found["n"] < row["most"] else "*"
            cells.append(f"{found['n']}{most} ({found['bytes'] / 1024:.0f})")
        lines.append(f"{row['network']:<54}" + "".join(f"{cell:>16}" for cell in cells))
    return [*lines, "* as many as there can be"]


def main() -> None:
    parser = cli.Parser("python -m tools.heap", __doc__)
    parser.add_argument("--heap", type=int, nargs="+", default=list(HEAPS), metavar="KB", help="heaps (default: 192 240"
                        " 520)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    args = parser.parse_args()
    table = measure(args.heap)
    print(json.dumps(table) if args.json else "\n".join(report(table, args.heap)))


if __name__ == "__main__":
    cli.run(main)
