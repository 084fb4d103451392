"""The exported C computes what the golden model computes, under every compiler there is, and is what C99 defines."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from small_run import CONFIGS, DATA

from fixedpoint.build import RULES
from fixedpoint.network import Network
from host.base.cli import UserError
from host.board import micropythons
from host.data import dataset
from host.engine.lanes import Lanes
from host.engine.passes import passes_of
from host.runs.checkpoint import CHECKPOINT, Checkpoint, digest
from host.runs.config import SEGMENT, Config, configure, prepare
from tools.c import model, thumb
from tools.c.library import CompiledC
from tools.export_c import main as export_main

STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror")
UNDEFINED = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
SIZES = [(28, 10), (9, 13), (1, 10)]
# graph, rule, rows, options: every kernel, and every way to be wired; more of them below, in slow tests.
NETWORKS = [
    ("forest", "snap1", 28, {}),
    ("small-world", "exact", 28, {"share": 2048, "wiring_seed": 5}),
    ("skip", "snap1", 28, {}),
    ("diagonal", "snap1", 7, {"units": 33}),
]


def needed(program: str, package: str) -> str:
    """The path of a program; the test is skipped where it is missing."""
    found = shutil.which(program)
    if not found:
        pytest.skip(f"no {program}; install Debian's {package}")
    return found


def sanitizing(compiler: str, directory: Path) -> str:
    """As needed(), and it has what UNDEFINED asks for, which some systems keep in another package."""
    found, empty = needed(compiler, compiler), directory / "empty.c"
    empty.write_text("int main(void) { return 0; }")
    argv = [found, *UNDEFINED, "-o", str(directory / "empty"), str(empty)]
    if subprocess.run(argv, capture_output=True).returncode:
        pytest.skip(f"this {compiler} has no -fsanitize=undefined; its runtime library is missing")
    return found


@cache
def digits(rows: int, cols: int, preset: str = "critical") -> tuple[Config, dataset.Dataset]:
    data = dataset.load()
    config = configure(data, preset, 1, 1, rows, cols)
    return config, prepare(data, config)


def of_graph(graph: str, rule: str, rows: int, options: dict[str, int]) -> tuple[Config, dataset.Dataset]:
    data = dataset.load()
    config = configure(data, None, 1, 1, rows, graph=graph, rule=rule, **options)
    return config, prepare(data, config)


def started(config: Config) -> Network:
    network = config.network()
    network.set_rates(config.rates(0))
    return network


def records(data: dataset.Dataset, count: int) -> bytes:
    """As main.c reads them."""
    pairs = zip(data.train_images[:count], data.train_labels[:count].tolist(), strict=True)
    return b"".join(image.tobytes() + bytes([label]) for image, label in pairs)


def golden(lattice: Network, data: dataset.Dataset, count: int) -> list[str]:
    """What main.c prints: a line for each image, and the digest."""
    pairs = zip(data.train_images[:count], data.train_labels[:count].tolist(), strict=True)
    lines = [f"{label} {lattice.train(image.tobytes(), label)}" for image, label in pairs]
    return [*lines, f"digest {lattice.step} {lattice.digest():08x}"]


def built(network: Network, directory: Path, *argv: str) -> Path:
    """main.c of this model, compiled by a command."""
    for name, text in model.files(network, passes_of(network, alone=True), "a test").items():
        (directory / name).write_text(text)
    target = directory / "program"
    argv = (*argv, "-o", str(target), str(directory / "main.c"), str(directory / "shoreline.c"))
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return target


def outcome(argv: list[object], stdin: bytes) -> tuple[int, list[str], str]:
    done = subprocess.run(list(map(str, argv)), input=stdin, capture_output=True)
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


@pytest.mark.parametrize("compiler, rows, cols", [("gcc", 28, 10), ("clang", 28, 10), ("gcc", 9, 13)])
def test_no_warning_no_undefined_behaviour_and_the_golden_models_bits(
    compiler: str, rows: int, cols: int, tmp_path: Path
) -> None:
    config, data = digits(rows, cols)
    program = built(started(config), tmp_path, sanitizing(compiler, tmp_path), *STRICT, "-O1", *UNDEFINED)
    assert outcome([program], records(data, 6)) == (0, golden(started(config), data, 6), "")


@pytest.mark.parametrize("compiler, level", [("gcc", "-O0"), ("gcc", "-O3"), ("clang", "-O3"), ("gcc", "-Os")])
def test_every_level_of_optimisation_gives_the_same(compiler: str, level: str, tmp_path: Path) -> None:
    config, data = digits(28, 10)
    program = built(started(config), tmp_path, needed(compiler, compiler), *STRICT, level)
    assert outcome([program], records(data, 3)) == (0, golden(started(config), data, 3), "")


@pytest.mark.parametrize("graph, rule, rows, options", NETWORKS)
def test_every_network_without_undefined_behaviour_and_with_the_golden_models_bits(
    graph: str, rule: str, rows: int, options: dict[str, int], tmp_path: Path
) -> None:
    config, data = of_graph(graph, rule, rows, options)
    program = built(started(config), tmp_path, sanitizing("gcc", tmp_path), *STRICT, "-O2", *UNDEFINED)
    assert outcome([program], records(data, 3)) == (0, golden(started(config), data, 3), "")


def saturating(preset: str) -> Network:
    """Parameters at their bounds, of both signs, and the highest rates there are: sums, messages and steps saturate."""
    config, _ = digits(28, 10, preset)
    network = config.network()
    network.set_rates(((32767, 14),) * 4)
    chance = np.random.default_rng(1)
    network.load(chance.choice([-(2**31), 2**31 - 1], len(network.w)).tolist(), 7)
    return network


@pytest.mark.parametrize(
    "compiler, preset",
    [("gcc", "critical"), ("clang", "article"), ("gcc", "small-world-exact"), ("gcc", "forest"), ("gcc", "diagonal")],
)
def test_nothing_is_undefined_where_everything_saturates(compiler: str, preset: str, tmp_path: Path) -> None:
    _, data = digits(28, 10, preset)
    program = built(saturating(preset), tmp_path, sanitizing(compiler, tmp_path), *STRICT, "-O1", *UNDEFINED)
    assert outcome([program], records(data, 3)) == (0, golden(saturating(preset), data, 3), "")


def test_arithmetic_is_modulo_two_to_the_32nd(tmp_path: Path) -> None:
    """wrap() and asr() at the ends of their ranges, where C leaves the plain operators to the compiler."""
    config, _ = digits(1, 10)
    network = config.network()
    for name, text in model.files(network, passes_of(network, alone=True), "a test").items():
        (tmp_path / name).write_text(text)
    values = [-(2**31), -(2**31) + 1, -65537, -1, 0, 1, 65536, 2**31 - 1]
    (tmp_path / "ends.c").write_text(
        '#include <stdio.h>\n#include "shoreline.c"\nint main(void) { int a, n; while (scanf("%d %d", &a, &n) == 2)'
        ' printf("%d %d\\n", (int)wrap(U(a) * U(n) + U(a)), (int)asr(a, n)); return 0; }\n'
    )
    program = tmp_path / "ends"
    argv = [needed("gcc", "gcc"), "-std=c99", "-w", *UNDEFINED, "-o", str(program), str(tmp_path / "ends.c")]
    subprocess.run(argv, check=True)
    cases = [(a, n) for a in values for n in (0, 1, 15, 31)]
    code, lines, errors = outcome([program], "".join(f"{a} {n}\n" for a, n in cases).encode())
    assert (code, errors) == (0, "")
    expected = [f"{(a * n + a + 2**31) % 2**32 - 2**31} {a >> n}" for a, n in cases]
    assert lines == expected


def emulator() -> list[str]:
    try:
        return micropythons.emulator("qemu-arm")
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("rows, cols", SIZES)
def test_thumb_1_gives_the_same_bits(rows: int, cols: int, tmp_path: Path) -> None:
    """An RP2040's code, without a library."""
    needed("arm-none-eabi-gcc", "gcc-arm-none-eabi")
    config, data = digits(rows, cols)
    program = thumb.build(started(config), passes_of(started(config), alone=True), tmp_path)
    code, lines, errors = outcome([*emulator(), program], records(data, 4))
    assert (code, errors) == (0, "")
    assert lines[-1] == golden(started(config), data, 4)[-1].split()[-1]


@pytest.mark.parametrize("graph, rule, rows, options", [("skip", "exact", 9, {}), ("diagonal", "snap1", 28, {})])
def test_thumb_1_gives_the_same_bits_of_every_kernel(
    graph: str, rule: str, rows: int, options: dict[str, int], tmp_path: Path
) -> None:
    needed("arm-none-eabi-gcc", "gcc-arm-none-eabi")
    config, data = of_graph(graph, rule, rows, options)
    network = started(config)
    program = thumb.build(network, passes_of(network, alone=True), tmp_path)
    code, lines, errors = outcome([*emulator(), program], records(data, 2))
    assert (code, errors) == (0, "")
    assert lines[-1] == golden(network, data, 2)[-1].split()[-1]


def test_thumb_under_linux_gives_the_same_bits(tmp_path: Path) -> None:
    """main.c itself, with a library."""
    compiler = needed("arm-linux-gnueabi-gcc", "gcc-arm-linux-gnueabi")
    config, data = digits(28, 10)
    program = built(started(config), tmp_path, compiler, *STRICT, "-O2", "-mthumb", "-march=armv5te", "-static")
    assert outcome([*emulator(), program], records(data, 4)) == (0, golden(started(config), data, 4), "")


def test_library_trains_and_classifies_as_the_golden_model() -> None:
    needed("gcc", "gcc")
    config, data = digits(28, 10)
    compiled, lattice = CompiledC(started(config)), started(config)
    expected = [int(line.split()[1]) for line in golden(lattice, data, 5)[:-1]]
    assert compiled.train(data.train_images[:5], data.train_labels[:5]).tolist() == expected
    assert compiled.digest() == f"{lattice.digest():08x}"
    expected = [lattice.predict(image.tobytes()) for image in data.test_images[:5]]
    assert compiled.classify(data.test_images[:5]).tolist() == expected
    assert compiled.digest() == f"{lattice.digest():08x}", "nothing was learned"
    with pytest.raises(ValueError, match="multiplier is 0"):
        compiled.set_rates(((1, 20), (1, 20), (1, 20), (32768, 20)))


@pytest.mark.slow
@pytest.mark.parametrize("rows, cols", [(28, 10), (28, 16), (12, 10)])
@pytest.mark.parametrize("preset", ["critical", "article"])
def test_a_thousand_digits(rows: int, cols: int, preset: str, tmp_path: Path) -> None:
    """Through both changes of the rate, against LLVM; and as Thumb with one rate."""
    config, data = digits(rows, cols, preset)
    compiled, other = CompiledC(config.network()), Lanes([config.network()])
    for step in range(0, 1000, SEGMENT):
        which = slice(step, step + SEGMENT)
        for learner in (compiled, other):
            learner.set_rates(config.rates(step))
        images, labels = data.train_images[which], data.train_labels[which]
        expected = other.learn(images[:, None], labels[:, None])[:, 0]
        assert compiled.train(images, labels).tolist() == expected.tolist()
    assert compiled.digest() == f"{other.lattice(0).digest():08x}"
    needed("arm-none-eabi-gcc", "gcc-arm-none-eabi")
    alone = Lanes([started(config)])
    alone.learn(data.train_images[:1000, None], data.train_labels[:1000, None])
    program = thumb.build(started(config), passes_of(started(config), alone=True), tmp_path)
    assert outcome([*emulator(), program], records(data, 1000))[1][-1] == f"{alone.lattice(0).digest():08x}"


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("graph", ["lattice", "forest", "small-world", "skip", "diagonal"])
def test_a_thousand_digits_of_every_network(graph: str, rule: str, tmp_path: Path) -> None:
    config, data = of_graph(graph, rule, 28, {})
    network = started(config)
    compiled, other = CompiledC(network), Lanes([network])
    images, labels = data.train_images[:1000], data.train_labels[:1000]
    expected = other.learn(images[:, None], labels[:, None])[:, 0]
    assert compiled.train(images, labels).tolist() == expected.tolist()
    assert compiled.digest() == f"{other.lattice(0).digest():08x}"
    needed("arm-none-eabi-gcc", "gcc-arm-none-eabi")
    program = thumb.build(network, passes_of(network, alone=True), tmp_path)
    assert outcome([*emulator(), program], records(data, 1000))[1][-1] == compiled.digest()


# The command


def saved(path: Path, kind: str = "fixed", step: int = 5) -> Network:
    """A checkpoint of a run on noise, and the lattice that goes on with it."""
    config = CONFIGS[kind]
    lattice = config.network()
    lattice.set_rates(config.rates(0))
    for image, label in zip(DATA.train_images[:step], DATA.train_labels[:step].tolist(), strict=True):
        lattice.train(image.tobytes(), label)
    masters = np.array(lattice.w, np.int32).reshape(config.rows, config.cols, 4)
    params = masters if kind == "fixed" else masters / 2.0**26
    Checkpoint(config.as_dict(), params, step, digest(params, step)).save(path)
    return lattice


def test_a_checkpoint_goes_on_exactly(answer: Callable, tmp_path: Path) -> None:
    """From the digest where the run stopped to that where it would have been."""
    compiler = needed("gcc", "gcc")
    lattice = saved(tmp_path / CHECKPOINT)
    code, out, errors = answer(export_main, "--out", "made", "--checkpoint", CHECKPOINT, "--json")
    assert (code, errors) == (0, "")
    result = json.loads(out)
    assert (result["step"], result["digest"]) == (5, f"{lattice.digest():08x}")
    made = tmp_path / "made"
    assert {path.name: path.stat().st_size for path in made.iterdir()} == result["files"]
    argv = [compiler, "-std=c99", "-o", str(tmp_path / "main"), str(made / "main.c"), str(made / "shoreline.c")]
    subprocess.run(argv, check=True)
    images, labels = DATA.train_images[5:], DATA.train_labels[5:]
    rest = replace(DATA, train_images=images, train_labels=labels)
    assert outcome([tmp_path / "main"], records(rest, 18)) == (0, golden(lattice, rest, 18), "")
    assert result["state_bytes"] == CompiledC(lattice).library.size_of_state()


def test_what_is_in_the_directory_stays_unless_it_is_ours(answer: Callable, tmp_path: Path) -> None:
    small = ("--out", "made", "--rows", 2)
    assert answer(export_main, *small)[0] == 0
    before = (tmp_path / "made/shoreline.c").read_text()
    code, out, _ = answer(export_main, *small, "--seed", 2, "--rate", "0.1")
    assert code == 0 and "seed 2" in out and (tmp_path / "made/shoreline.c").read_text() != before
    (tmp_path / "made/main.c").write_text("int main(void) { return 42; }")
    written = (tmp_path / "made/shoreline.c").read_text()
    code, out, errors = answer(export_main, *small)
    assert (code, out) == (2, "") and "main.c is not of this command's making" in errors
    assert (tmp_path / "made/shoreline.c").read_text() == written, "nothing was begun"


def test_what_cannot_be_exported_is_one_line(answer: Callable, tmp_path: Path) -> None:
    saved(tmp_path / "float.npz", "float", 0)
    saved(tmp_path / "fixed.npz")
    (tmp_path / "file").write_text("")
    for arguments, words in (
        (("--out", "x", "--checkpoint", "none.npz"), "there is no checkpoint none.npz"),
        (("--out", "x", "--checkpoint", "float.npz"), "is of float arithmetic; name one"),
        (("--out", "x", "--checkpoint", "fixed.npz", "--rows", 3), "--rows counts for nothing with --checkpoint"),
        (("--out", "x", "--rate", "fast"), "--rate fast: choose a decimal number"),
        (("--out", "x", "--rate", "99"), "learning rate"),
        (("--out", "x", "--rows", 29), "--rows 29: choose 1 to 28"),
        (("--out", "x", "--units", 29), "--units counts for nothing with --graph small-world"),
        (
            ("--out", "x", "--checkpoint", "fixed.npz", "--graph", "skip"),
            "--graph counts for nothing with --checkpoint",
        ),
        (("--out", "file"), "file"),
        ((), "--out"),
    ):
        code, out, errors = answer(export_main, *arguments)
        assert (code, out, errors.count("\n")) == (2, "", 1) and words in errors, errors
        assert not (tmp_path / "x").exists()


def test_a_network_of_any_kind_can_be_chosen(answer: Callable, tmp_path: Path) -> None:
    """And what is made says which it is."""
    for number, (options, words) in enumerate((
        (("--graph", "diagonal", "--units", 5), "a diagonal network of 5 units, 28 rows of 28 pixels"),
        (("--preset", "forest-exact"), "forest of 280 cells, the exact gradient, 28 rows of 28 pixels"),
        (("--graph", "small-world", "--share", 0.5, "--wiring-seed", 3, "--rows", 4), "small-world of 40 cells, 28"),
    )):  # fmt: skip
        made = tmp_path / str(number)
        code, out, errors = answer(export_main, "--out", str(made), *options)
        assert (code, errors) == (0, "") and words in out
        assert words in (made / "shoreline.c").read_text() and words in (made / "shoreline.h").read_text()


def test_a_model_that_does_not_learn_is_told_to_need_a_rate(answer: Callable) -> None:
    small = ("--out", "made", "--rows", 2)
    assert "learning rates are 0" not in answer(export_main, *small)[1]
    assert "learning rates are 0" in answer(export_main, *small, "--rate", 0)[1]


def test_main_names_what_is_wrong(tmp_path: Path) -> None:
    config, data = digits(1, 10)
    program = built(started(config), tmp_path, needed("gcc", "gcc"), "-std=c99")
    image = data.train_images[0].tobytes()
    assert outcome([program], image)[::2] == (1, "record 1: 28 bytes, not 29; is its size another?\n")
    assert outcome([program], image + b"\x0a")[::2] == (1, "record 1: label 10; labels are 0 to 9, or 255\n")
    code, lines, _ = outcome([program], image + b"\xff")
    assert (code, lines) == (0, [f"- {started(config).predict(image)}", f"digest 0 {started(config).digest():08x}"])


API = """
#include <stdio.h>
#include "shoreline.h"
static shoreline_state s;
int main(void)
{
    static const uint8_t row[SHORELINE_ROWS];
    shoreline_rate zero = {0, 40}, wrong = {1, 41};
    int t;
    shoreline_init(&s);
    printf("%d ", (int)shoreline_classify(&s)); /* no row yet */
    printf("%d ", (int)shoreline_learn(&s, 0));
    for (t = 0; t < SHORELINE_STEPS - 1; t++)
        shoreline_row(&s, row);
    printf("%d ", (int)shoreline_learn(&s, 0)); /* one is missing */
    printf("%d ", (int)shoreline_row(&s, row));
    printf("%d ", (int)shoreline_learn(&s, SHORELINE_COLS)); /* no such label */
    printf("%d ", (int)shoreline_learn(&s, -1));
    printf("%d ", (int)shoreline_set_rates(&s, zero, zero, zero, wrong));
    printf("%d ", (int)shoreline_set_rates(&s, zero, zero, zero, zero));
    printf("%d ", (int)s.step);
    t = (int)shoreline_classify(&s); /* the image is still there */
    printf("%d ", t == shoreline_learn(&s, 1));
    printf("%d ", (int)s.step);
    printf("%d ", (int)shoreline_classify(&s)); /* and now it is not */
    return 0;
}
"""


@pytest.mark.parametrize("graph", ["lattice", "diagonal"])
def test_calls_out_of_turn_change_nothing(graph: str, tmp_path: Path) -> None:
    config, _ = of_graph(graph, "snap1", 1, {})
    program = built(started(config), tmp_path, needed("gcc", "gcc"), "-std=c99")
    (tmp_path / "main.c").write_text(API)
    sources = [str(tmp_path / name) for name in ("main.c", "shoreline.c")]
    subprocess.run([needed("gcc", "gcc"), "-std=c99", "-o", str(program), *sources], check=True)
    assert outcome([program], b"")[1] == ["-1 -1 -1 0 -1 -1 -1 0 0 1 1 -1 "]
