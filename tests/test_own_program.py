"""A board's own program: the README's example learns, is killed, goes on; models and their files on every machine."""

import math
import re
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from interpreters import interpreter
from test_storage import CUTS, FLASH, run

from firmware import example, model
from firmware.model import Model, load
from fixedpoint.build import DIAGONAL, EXACT, FOREST, LATTICE, SKIP, SMALL_WORLD, SNAP1, build
from host.board import micropythons
from host.engine.learners import executor

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "firmware/README.md").read_text()
ARCHS = ("x64", "i386")


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The compiled firmware, by architecture."""
    directory = tmp_path_factory.mktemp("own")
    found = {arch: directory / arch for arch in (*ARCHS, "armhf") if micropythons.available(arch)}
    for arch, path in found.items():
        micropythons.compile_tree(arch, [ROOT / "firmware", ROOT / "fixedpoint"], path)
    return found


# The example


def test_readme_shows_the_example_as_it_is() -> None:
    assert f"```python\n{(ROOT / 'firmware/example.py').read_text()}```\n" in README


def movement(number: int) -> tuple[bytes, int]:
    """The rows that the example's program makes of this movement, and its label."""
    sensor = example.Sensor(number)
    values = [sensor.read(channel) for _ in range(example.STEPS) for channel in range(example.CHANNELS)]
    span = example.HIGH - example.LOW
    return bytes(min(max((x - example.LOW) * 255 // span, 0), 255) for x in values), sensor.button()


@pytest.fixture(scope="module")
def host() -> Callable[[int], tuple[int, list[bool]]]:
    """host(n): digest after n movements and which of them were told rightly, of the LLVM engine, images as a whole."""
    fresh = example.fresh()
    network = build(*fresh.form, **executor("llvm"))
    network.set_bounds(fresh.bounds)
    network.seed(2, (0, 2400, 0, 0, 2048, -2048, 7372, 0, 0))
    network.set_rates(fresh.rates)
    start = list(network.w)

    def trained(count: int) -> tuple[int, list[bool]]:
        network.load(start, 0)
        right = []
        for pixels, label in map(movement, range(count)):
            right.append(network.train(pixels, label) == label)
        return network.digest(), right

    return trained


@pytest.mark.parametrize("arch", ARCHS)
def test_example_learns_and_goes_on_after_a_kill(
    arch: str, boards: dict[str, Path], tmp_path: Path, host: Callable[[int], tuple[int, list[bool]]]
) -> None:
    """In a heap of 192 KB; the digest in the end is that of the same training on the host, without a kill."""
    argv = [*interpreter(arch), "-X", "heapsize=192k", str(tmp_path / "main.py")]
    text = "import sys\nsys.path.insert(0, {!r})\nimport firmware.example\nfirmware.example.main({})\n"
    (tmp_path / "main.py").write_text(text.format(str(boards[arch]), 1 << 30))
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as board:
        assert board.stdout
        said = [next(board.stdout) for _ in range(170)]
        board.kill()
    assert said[0].startswith("start 0 ") and any(line.startswith("saved 150 ") for line in said)
    kept = load(str(tmp_path / "model.shl"))
    assert kept and kept.step >= 150

    total = kept.step + 100
    (tmp_path / "main.py").write_text(text.format(str(boards[arch]), total))
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    digest, right = host(total)
    assert said[0] == f"start {kept.step} {host(kept.step)[0]:#x}"
    assert said[-1] == f"saved {total} {digest:#x}"
    told = [line.split()[1] == line.split()[-1] for line in said if line[0].isdigit()]
    assert told == right[-100:]
    assert sum(told) >= 75, "chance is 33"


LOCKED = """
import gc, sys
sys.path.insert(0, sys.argv[1])
from micropython import heap_lock, heap_unlock
from firmware import example
learner = example.fresh()
def main():
    row = bytearray(3)
    for number in range(3):
        gc.collect()
        before = gc.mem_alloc()
        heap_lock()
        for i in range(32):
            row[0], row[2] = 7 * i, 8 * i
            learner.row(row)
        learner.classify()
        learner.learn(number)
        heap_unlock()
        after = gc.mem_alloc()
        assert after == before, (number, before, after)
main()
print(learner.step)
"""


@pytest.mark.parametrize("arch", ARCHS)
def test_rows_and_steps_allocate_nothing(arch: str, boards: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(LOCKED)
    done = subprocess.run([*interpreter(arch), tmp_path / "run.py", boards[arch]], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


# Every network, row by row and from a file

FORMS = {
    "lattice": (LATTICE, SNAP1, 4, 3, 5, 2570, 2, 0, 0, 0, 0),
    "exact": (LATTICE, EXACT, 4, 3, 5, 4112, 0, 1, 0, 0, 0),
    "forest": (FOREST, SNAP1, 6, 2, 5, 3084, 1, 1, 0, 0, 0),
    "small world": (SMALL_WORLD, SNAP1, 5, 4, 6, 4112, 0, 0, 0, 2048, 7),
    "skip": (SKIP, EXACT, 6, 3, 5, 4112, 0, 0, 0, 0, 0),
    "diagonal": (DIAGONAL, SNAP1, 4, 3, 5, 2570, 1, 0, 7, 0, 0),
}
BOUNDS = ((-16384, 24575), (-6000, 6000), (-8192, 8192))
INIT = (3072, 2000, 2048, 3072, 2000, -8192, 8192, 0, 1024)
RATES = ((20000, 19), (20001, 18), (20002, 20), (20003, 21))
STORY = f"""
import sys
sys.path.insert(0, sys.argv[1])
from firmware.model import Model, load
for form in {tuple(FORMS.values())!r}:
    made = Model(*form)
    made.set_bounds({BOUNDS!r})
    made.seed(3, {INIT!r})
    made.set_rates({RATES!r})
    row = bytearray(form[2])
    for number in range(8):
        complete = False
        while not complete:
            for i in range(len(row)):
                row[i] = (37 * made.network.arrived + 91 * i + 53 * number) & 255
            complete = made.row(row)
        said = made.classify() if number & 1 else -1
        share = sum([made.confidence(j) for j in range(form[3])]) if number & 1 else 100
        print(number, said, 97 <= share <= 103, made.learn(number % form[3]), hex(made.digest()))
        if number % 3 == 2:  # the power fails in the middle of the next sequence
            made.save(sys.argv[2])
            made.row(row)
            made = load(sys.argv[2])
"""


def story(argv: list[str], firmware: Path, directory: Path) -> list[str]:
    (directory / "story.py").write_text(STORY)
    argv = [*argv, str(directory / "story.py"), str(firmware), str(directory / "kept")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What plain networks say that get each sequence as a whole, and are never saved."""
    lines = []
    for form in FORMS.values():
        network = build(*form)
        network.set_bounds(BOUNDS)
        network.seed(3, INIT)
        network.set_rates(RATES)
        for number in range(8):
            pixels = bytes(37 * t + 91 * i + 53 * number & 255 for t in range(form[4]) for i in range(form[2]))
            said = network.predict(pixels)
            assert network.train(pixels, number % form[3]) == said
            lines.append(f"{number} {said if number & 1 else -1} True {said} {network.digest():#x}")
    return lines


@pytest.mark.parametrize("arch", ["cpython", *ARCHS, "armhf"])
def test_every_network_learns_row_by_row_and_from_its_file(
    arch: str, boards: dict[str, Path], tmp_path: Path, told: list[str]
) -> None:
    assert story(interpreter(arch), boards.get(arch, ROOT), tmp_path) == told


@pytest.fixture
def diagonal() -> Model:
    made = Model(*FORMS["diagonal"])
    made.set_bounds(BOUNDS)
    made.seed(3, INIT)
    made.set_rates(RATES)
    return made


def test_what_is_asked_at_a_wrong_time_changes_nothing(diagonal: Model) -> None:
    digest = diagonal.digest()
    for call in (diagonal.classify, lambda: diagonal.learn(0), lambda: diagonal.row(b"123"), lambda: diagonal.row(b"")):
        with pytest.raises(ValueError):
            call()
    assert [diagonal.row(b"1234") for _ in range(5)] == [False] * 4 + [True]
    for label in (-1, 3):
        with pytest.raises(ValueError, match="classes 0 to 2"):
            diagonal.learn(label)
    assert diagonal.digest() == digest
    diagonal.learn(2)
    with pytest.raises(ValueError, match="0 of 5 rows"):  # a sequence is learned once
        diagonal.learn(2)
    assert diagonal.step == 1
    assert [diagonal.row(b"1234") for _ in range(7)] == [False] * 4 + [True, False, False], "and again from its start"
    diagonal.begin()
    assert [diagonal.row(b"1234") for _ in range(5)] == [False] * 4 + [True]


@pytest.mark.parametrize("name", FORMS)
def test_rows_are_taken_in_as_they_arrive(name: str) -> None:
    """No work piles up until the label comes: the outputs so far are there after each row."""
    made = Model(*FORMS[name])
    for rows in range(1, 6):
        made.row(bytes(made.form[2]))
        assert made.network.done == rows


@pytest.mark.parametrize("name", ["exact", "diagonal"])
def test_confidence_is_the_softmax_of_the_logits(name: str) -> None:
    """To a percent, and divided by 2**cool where the form says so."""
    made = Model(*FORMS[name])
    made.seed(3, INIT)
    for number in range(20):
        for t in range(5):
            made.row(bytes(37 * t + 91 * i + 53 * number & 255 for i in range(4)))
        guess = made.classify()
        cool = made.form[7]
        powers = [math.exp(z / 2 ** (14 + cool)) for z in made.network.z[:3]]
        assert guess == powers.index(max(powers))
        for label in range(3):
            assert abs(made.confidence(label) - 100 * powers[label] / sum(powers)) <= 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Model(*FORMS["diagonal"][:8], 0),
        lambda: Model(*FORMS["lattice"][:8], 5),
        lambda: Model(5, 0, 3, 3, 5),
        lambda: Model(LATTICE, SNAP1, 65, 3, 5),
        lambda: Model(*FORMS["lattice"]).set_bounds(((5, 4), (0, 1), (0, 1))),
        lambda: Model(*FORMS["lattice"]).set_rates(((32768, 20),) * 4),
    ],
)
def test_models_that_there_are_not(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        wrong()


# The file


def documented() -> list[tuple[str, int]]:
    """Letter and count of each field of the README's table, whose offsets are checked."""
    fields, offset = [], 0
    letters = {"4 bytes": "4s", "u8": "B", "u16": "H", "u32": "I", "i16": "h"}
    table = README.split("### The model file")[1].split("\n## ")[0]
    for at, kind, times in re.findall(r"^\| (\d+) \| ([\w ]+?)(?: x (\d+))? \| .+ \|$", table, re.M):
        assert int(at) == offset, at
        fields.append((letters[kind], int(times or 1)))
        offset += struct.calcsize("<" + letters[kind]) * int(times or 1)
        if offset == model.SIZE:
            break
    return fields


def test_file_is_as_documented(diagonal: Model, tmp_path: Path) -> None:
    for _ in range(5):
        diagonal.row(b"abcd")
    diagonal.learn(1)
    diagonal.save(str(tmp_path / "m"))
    data = (tmp_path / "m").read_bytes()
    form = "<" + "".join(letter * count for letter, count in documented())
    size = struct.calcsize(form)
    bounds = [x for pair in BOUNDS for x in pair]
    rates = [x for pair in RATES for x in pair]
    assert struct.unpack(form, data[:size]) == (b"SHM1", *FORMS["diagonal"], 1, *rates, *bounds, 63)
    assert struct.unpack("<63i", data[size:-4]) == tuple(diagonal.network.w)
    assert data[-4:] == zlib.crc32(data[:-4]).to_bytes(4, "little")
    assert len(data) == 58 + 4 * 63 and "58 bytes and the parameters" in README


def sealed(data: bytes) -> bytes:
    return data + zlib.crc32(data).to_bytes(4, "little")


def test_damaged_file_is_none_and_the_one_beside_it_is_taken(diagonal: Model, tmp_path: Path) -> None:
    path = tmp_path / "m"
    assert load(str(path)) is None
    diagonal.save(str(path))
    data = path.read_bytes()
    damaged = [data[:n] for n in range(0, len(data), 7)] + [data + b"\0", b"SHL1" + data[4:], sealed(data[:54])]
    damaged += [data[:i] + bytes([data[i] ^ 16]) + data[i + 1 :] for i in range(0, len(data), 3)]
    for other in damaged:
        path.write_bytes(other)
        assert load(str(path)) is None
    (tmp_path / "m.new").write_bytes(data)  # renamed neither, as after a cut on FAT
    found = load(str(path))
    assert found and found.digest() == diagonal.digest()


@pytest.mark.parametrize("at, value", [(4, 9), (5, 2), (6, 0), (7, 200), (12, 9), (13, 9), (14, 0), (14, 8), (28, 99),
                                       (39, 100)])  # fmt: skip
def test_whole_file_of_no_network_is_an_error(at: int, value: int, diagonal: Model, tmp_path: Path) -> None:
    """(The number of units fits another number of parameters; the lowest l is above its highest.)"""
    diagonal.save(str(tmp_path / "m"))
    data = bytearray((tmp_path / "m").read_bytes()[:-4])
    data[at] = value
    (tmp_path / "m").write_bytes(sealed(bytes(data)))
    with pytest.raises(ValueError):
        load(str(tmp_path / "m"))


# In place of the checkpoint: the words are a model's.
AS_MODEL = """
from firmware import model
class storage:
    def save(session, step, words, root):
        made = model.Model(4, 0, 3, 3, 8, units=16)
        made.network.load(words, step)
        made.save(root + "model.shl")
    def load(words, root):
        found = model.load(root + "model.shl")
        if found is None:
            return None
        for i in range(len(words)):
            words[i] = found.network.w[i]
        return 7, found.step, len(words)
"""


@pytest.mark.parametrize("kind", ["littlefs", "fat"])
def test_power_cut_in_save_leaves_the_old_or_the_new_model(kind: str) -> None:
    """At every write and erase of the flash; torn ones too on littlefs, and twice in a row on FAT."""
    job = {"kind": kind, "words": 128, "old": True, "torn": kind == "littlefs", "twice": kind == "fat"}
    found = run(FLASH + AS_MODEL + CUTS, job)
    assert found["bad"] == 0 and found["points"] >= 20, found
