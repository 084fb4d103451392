"""host.engine.c99: programs in C do what they do in Python, and keep its names, comments and constants."""

import ctypes
import shutil
import subprocess
from array import array
from pathlib import Path
from typing import Any

import pytest

from host.engine import c99
from host.engine.passes import DIAGONAL, EXACT, SNAP1, Passes

CONSTANT = "_FOUR = const(4)\n"
PROGRAM = '''
def {name}(x: ptr32, bytes: ptr8, n: int):
    """What it does.

    In two paragraphs.
    """
    # a line
    # and another
    k = n - 1  # beside it
    {body}
    x[1] = k
'''

# Bodies in which a loop of C's own would go wrong, or an operator's place in the order of operators matters.
BODIES = {
    "counter is assigned to": "for i in range(n):\n        k = k + i\n        i = i + 5\n        x[i] = k",
    "counter outlives its loop": "for i in range(n):\n        k = k + 1\n    k = k * 100 + i",
    "end changes": "for i in range(k):\n        k = k - 1\n        x[3] = i",
    "end is an element": "x[2] = 5\n    for i in range(x[2]):\n        x[2] = 1\n        k += i",
    "backwards": "for i in range(n, 0, -2):\n        k = 3 * k + i",
    "constant step": "for i in range(0, n, _FOUR):\n        k = 3 * k + i",
    "loop in loop": "for i in range(n):\n        for j in range(i, n):\n            k += i * j\n            j = 0",
    "continue": "for i in range(n):\n        if i & 1:\n            continue\n        k += i",
    "while": "while k > 3 or (k & 1 and not_zero != 0):\n        k = k - 3\n        not_zero = 0",
    "chained": "if 0 < n < 9:\n        k = 77\n    else:\n        k = 78",
    "signs": "k = n - (k - (n + 3) * (n - 9)) * (0 - 7) - (n - k - 1) * _FOUR",
    "shifts": "k = ((0 - n) >> 1 << 2) + ((n << 3) - 1000 >> 2)",
    "bits": "k = (n - 9 & 255) ^ (k | 3) + (0 - n & 12)",
    "division": "k = (n * 1000) // (k // 2 + 1)",
    "bytes": "k = bytes[n & 3] * bytes[1] - (bytes[0] > 2)",
    "truth": "k = (n > 2) + (k == n) * 2",
    "chained targets": "k = j = n * 2\n    k = k + j",
}


def passes(text: str, *names: str) -> Passes:
    """Of a text, with one call of each of these kernels."""
    return Passes((text,), ("x",), {}, {}, (), (), tuple((name, "x", "pixels", 0) for name in names), ())


def test_programs_mean_the_same(tmp_path: Path) -> None:
    """All bodies in turn, for several n, in Python and in C."""
    if not (compiler := shutil.which("gcc")):
        pytest.skip("no gcc")
    names = {f"run{k}": body for k, body in enumerate(BODIES.values())}
    text = CONSTANT + "".join(
        PROGRAM.format(name=name, body=f"not_zero = j = 1\n    {body}") for name, body in names.items()
    )
    python: dict[str, Any] = {"const": int, "ptr32": object, "ptr8": object}
    exec(text, python)
    source, target = tmp_path / "run.c", tmp_path / "run.so"
    source.write_text(f"#include <stdint.h>\n#define {c99.STORAGE}\n{c99.kernels(passes(text, *names))}\n")
    subprocess.run([compiler, "-std=c99", "-O1", "-shared", "-fPIC", "-o", str(target), str(source)], check=True)
    library, given = ctypes.CDLL(str(target)), bytes((3, 200, 255, 0))
    for title, name in zip(BODIES, names, strict=True):
        for n in (1, 2, 7, 12):
            mine, theirs = array("i", range(40)), (ctypes.c_int32 * 40)(*range(40))
            python[name](mine, given, n)
            library[name](theirs, given, n)
            assert list(theirs) == list(mine), f"{title}, n = {n}"


def test_text_is_one_to_read() -> None:
    made = c99.kernels(passes(CONSTANT + PROGRAM.format(name="run", body="x[_FOUR] = k * 2"), "run"))
    assert "/* What it does.\n *\n * In two paragraphs. */\n" in made
    assert "    /* a line\n     * and another */\n    k = wrap(U(n) - U(1)); /* beside it */\n" in made
    assert "#define FOUR 4\n" in made and "x[FOUR] = wrap(U(k) * U(2));" in made
    assert "void run(int32_t *restrict x, const uint8_t *restrict bytes, int32_t n)" in made


def test_kernels_of_the_engine_keep_every_comment() -> None:
    """And their order."""
    of_cells = SNAP1.texts[0], c99.kernels(SNAP1) + c99.kernels(EXACT)
    for text, made in (of_cells, (DIAGONAL.texts[1], c99.kernels(DIAGONAL))):
        beside = [line.split("  # ")[1] for line in text[text.index("def derive") :].splitlines() if "  # " in line]
        assert len(beside) > 20 and [words for words in beside if words not in made] == []
    made = c99.kernels(SNAP1)
    order = [made.index(f"void {name}(") for name in ("derive", "feed", "forward", "readout", "error", "backward")]
    assert order == sorted(order) and "void draw(" not in made and "void exact(" not in made
