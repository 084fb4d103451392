"""What a network takes of a board's heap: told when it is refused, and found by running (tools.heap)."""

import struct
import subprocess
from pathlib import Path

import pytest
from interpreters import interpreter
from scripted_board import Line
from test_opening import CONFIG, SESSION, opening

from firmware import wire
from fixedpoint.build import DIAGONAL
from host.base.cli import UserError
from host.board import link, micropythons
from host.board.learner import open_body
from host.board.link import Link
from host.data.dataset import load
from host.runs.config import bytes_of, configure
from tools import heap
from tools.networks import NETWORKS

ROOT = Path(__file__).resolve().parent.parent

MEASURE = """
import gc, sys
sys.path.insert(0, sys.argv[1])
from fixedpoint.build import build
build(*[int(x) for x in sys.argv[2:]])
gc.collect()
before = gc.mem_alloc()
network = build(*[int(x) for x in sys.argv[2:]])
gc.collect()
print(gc.mem_alloc() - before)
"""


@pytest.mark.parametrize("graph, rule", NETWORKS)
def test_bytes_of_a_network_are_those_that_it_takes(graph: str, rule: str, tmp_path: Path) -> None:
    """On a 32-bit board; objects and names of its own are a little more."""
    form = configure(load(), None, 1, 1, graph=graph, rule=rule).form
    argv = interpreter("i386")
    (tmp_path / "run.py").write_text(MEASURE)
    micropythons.compile_tree("i386", [ROOT / "fixedpoint"], tmp_path / "board")
    argv = [*argv, "-X", "heapsize=2M", str(tmp_path / "run.py"), str(tmp_path / "board"), *map(str, form)]
    taken = int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    total, largest = bytes_of(form)
    assert 0 <= taken - total < 2500
    assert largest < total


@pytest.mark.parametrize(
    "free, parts",
    [(70, ("it takes 64 KB, 35 KB of them in one piece, and 70 KB are free; use fewer rows, columns or steps",)),
     (0, ("it takes 64 KB, 35 KB of them in one piece; use",))],
)  # fmt: skip
def test_a_network_that_does_not_fit_is_refused_with_numbers(free: int, parts: tuple[str, ...]) -> None:
    refused = struct.pack(wire.REFUSED_FORMAT, wire.REFUSED, wire.NO_MEMORY, 0, 0, free)
    with pytest.raises(UserError, match="does not fit the board's memory") as error:
        opening(Line(lambda kind, n: [(0.1, refused)]))
    assert all(part in str(error.value) for part in parts), error.value
    assert "\n" not in str(error.value)


def test_of_a_diagonal_network_fewer_units_are_the_way_out() -> None:
    config = configure(load(), None, 1, 1, graph="diagonal", units=256)
    assert config.form[0] == DIAGONAL
    refused = struct.pack(wire.REFUSED_FORMAT, wire.REFUSED, wire.NO_MEMORY, 0, 0, 99)
    line = Line(lambda kind, n: [(0.1, refused)])
    with pytest.raises(UserError, match=r"it takes 150 KB, 40 KB .* 99 KB are free; use fewer units, rows or columns"):
        Link(line, line.clock).open(open_body(config, SESSION, 0, 77), SESSION, 77)
    assert link.sizes((), 5) == ""


def test_a_real_board_says_what_it_has(tmp_path: Path) -> None:
    """Between what its arrays would have taken and its whole heap."""
    interpreter("i386")
    boards = heap.Boards(tmp_path)
    sizes = {"rows": 28, "cols": 10, "steps": 28, "units": 0}
    assert boards.fits("i386", 192, "lattice", sizes)
    assert not boards.fits("i386", 112, "lattice", sizes)
    bodies = {body[0]: body for body in heap.answers(boards.sent, CONFIG)}
    _, reason, _, _, free = struct.unpack(wire.REFUSED_FORMAT, bodies[wire.REFUSED])
    assert reason == wire.NO_MEMORY and 30 < free < 80


def test_the_largest_that_fits_is_found_with_few_trials() -> None:
    for most in (1, 2, 64, 256):
        for n in range(most + 1):
            tried: list[int] = []

            def fits(size: int, n: int = n, tried: list[int] = tried) -> bool:
                tried.append(size)
                return size <= n

            assert heap.largest(fits, most) == n
            assert len(tried) <= 1 + most.bit_length() and len(tried) == len(set(tried))


@pytest.mark.slow
def test_documented_table_is_what_is_found() -> None:
    """But for a few percent: each line of the firmware takes its room, too."""
    text = (ROOT / "firmware/README.md").read_text()
    for row in heap.measure([192, 240, 520]):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {row['network']} |")]
        documented = [int(cell.split()[0]) for cell in line.split("|")[2:-1]]
        found = [one["n"] for one in row["heaps"].values()]
        assert documented == pytest.approx(found, rel=0.04, abs=1), row["network"]
