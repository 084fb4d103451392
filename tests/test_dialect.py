"""The kernels keep to what means the same to CPython, bytecode and viper on 32 bits, LLVM and C: host.engine.dialect.

Most violations compile, and go wrong on a chip only: so the reader must find every one of them.
"""

import ast
from pathlib import Path

import pytest

from host.base.cli import UserError
from host.board import micropythons
from host.engine import dialect

SOURCE = (Path(__file__).resolve().parent.parent / "fixedpoint/kernels.py").read_text()


def violations(source: str) -> list[str]:
    """What the reader says of a text."""
    try:
        dialect.parse(source)
    except dialect.DialectError as error:
        return str(error).split("; ")
    return []


def test_kernels_keep_to_the_dialect() -> None:
    assert violations(SOURCE) == []
    kernels = [node.name for node in ast.parse(SOURCE).body if isinstance(node, ast.FunctionDef)]
    assert {"derive", "feed", "forward", "readout", "error", "backward", "update"} <= set(kernels)


def inserted(statement: str) -> str:
    """The kernels with a statement at the start of readout()."""
    function = next(n for n in ast.parse(SOURCE).body if isinstance(n, ast.FunctionDef) and n.name == "readout")
    lines = SOURCE.splitlines(keepends=True)
    at = function.body[1].lineno - 1
    return "".join([*lines[:at], f"    x = v = n + 1\n    {statement}\n", *lines[at:]])


def header(name: str, arguments: str) -> str:
    """The kernels with another argument list for one of them."""
    before, _, rest = SOURCE.partition(f"def {name}(")
    return f"{before}def {name}({arguments}){rest[rest.index('):') + 1 :]}"


# What must be found, and whether viper for the RP2040 compiles it all the same: what it does not refuse is worse.
MUTATIONS = [
    ("x = 0x40000000", "beyond 30 bits", False),
    ("x = -0x40000000", "beyond 30 bits", True),
    ("x = 1 << 30", "beyond 30 bits", False),
    ("x = _M_LIMIT << 5", "beyond 30 bits", False),
    ("x = n >> 32", "shift count 32", True),
    ("x <<= 40", "shift count 40", True),
    ("x = n >> -1", "shift count -1", True),
    ("x = n << (_ONE * 2)", "shift count 32768", True),
    ("v = -x", "unary minus", True),
    ("v = n - (-(x + 1))", "unary minus", True),
    ("v = ~x", "no operator Invert", True),
    ("v = +x", "no operator UAdd", True),
    ("v = not x", "no operator Not", False),
    ("x = n / 2", "no operator Div", False),
    ("x /= 2", "no operator Div", False),
    ("x = n ** 2", "no operator Pow", False),
    ("x **= 2", "no operator Pow", False),
    ("x = 1.5", "1.5 is no integer", False),
    ("x = n * 0.5", "0.5 is no integer", False),
    ("x = 'a'", "'a' is no integer", False),
    ("x = True", "True is no integer", False),
    ("x = ptr32(m)[0]", "only pointers have", True),
    ("x = ptr16(h)[1]", "only pointers have", True),
    ("x = uint(n)", "no cast", False),
    ("x = abs(n)", "no call", False),
    ("derive(m, m, m, m, 1)", "no Expr statement", True),
    ("x = int(len(m))", "no call", True),
    ("for i in range(0, n, steps): x = i", "step of range()", False),
    ("for i in range(0, n, 0): x = i", "step of range()", False),
    ("for i in range(stop=n): x = i", "range() takes", False),
    ("for i in (1, 2): x = i", "over range() only", False),
    ("x = m[0:1]", "no Slice expression", False),
    ("x = [1][0]", "only pointers have an index", False),
    ("x = (m + 4)[0]", "only pointers have an index", False),
    ("v = m", "arithmetic with the pointer", False),
    ("m = h", "keeps its value", True),
    ("x = m is h", "no comparison but", False),
    ("x = RECORD", "RECORD is neither", False),
    ("x, v = v, x", "no Tuple expression", True),
    ("return", "no Return statement", True),
    ("global x", "no Global statement", False),
    ("import sys", "no Import statement", True),
    ("x = lambda: 0", "no Lambda expression", False),
    ("x = n.bit_length", "no Attribute expression", False),
    ("x = (v := n)", "no NamedExpr expression", True),
]


@pytest.mark.parametrize("statement, message, _", MUTATIONS, ids=[statement for statement, _, _ in MUTATIONS])
def test_each_statement_is_found(statement: str, message: str, _: bool) -> None:
    found = violations(inserted(statement))
    assert any(message in text for text in found), found


HEADERS = [
    ("m: ptr32, h: ptr32, z: ptr32, n: int, outs: int, steps: int = 28", "without defaults"),
    ("m: ptr32, h: ptr32, z: ptr32, n: int, *, outs: int, steps: int", "positional"),
    ("m: ptr32, h: ptr32, z: ptr32, *n: int", "positional"),
    ("m: ptr32, h: ptr32, z: ptr32, n: int, outs: int, steps", "steps is annotated"),
    ("m: ptr32, h: ptr32, z: ptr32, n: uint, outs: int, steps: int", "n is annotated"),
    ("m: 'ptr32', h: ptr32, z: ptr32, n: int, outs: int, steps: int", "m is annotated"),
]


@pytest.mark.parametrize("arguments, message", HEADERS)
def test_each_header_is_found(arguments: str, message: str) -> None:
    assert any(message in text for text in violations(header("readout", arguments)))


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("def readout(", "@micropython.viper\ndef readout(", "no decorator"),
        ("_ONE = const(16384)", "_ONE = const(0x40000000)", "beyond 30 bits"),
        ("_ONE = const(16384)", "_ONE = const(1 << 30)", "beyond 30 bits"),
        ("_ONE = const(16384)", "_ONE = const(0.5)", "no _NAME = const"),
        ("_ONE = const(16384)", "_ONE = const(16384)\nONE = const(16384)", "ONE is no _NAME"),
        ("_ONE = const(16384)", "_ONE = 16384", "_ONE is neither"),
    ],
)
def test_each_edit_is_found(old: str, new: str, message: str) -> None:
    assert SOURCE.count(old) == 1
    found = violations(SOURCE.replace(old, new))
    assert any(message in text for text in found), found


def compiles(source: str, directory: Path, march: str) -> bool:
    path = directory / "kernels.py"
    path.write_text(source)
    try:
        micropythons.compile_file(path, directory / "kernels.mpy", "viper", march)
    except UserError:
        return False
    return True


def test_what_the_compiler_refuses(tmp_path: Path) -> None:
    """mpy-cross for the RP2040 refuses one half of it and lets the other, more dangerous one pass: hence this check."""
    assert compiles(SOURCE, tmp_path, "armv6m")
    different = [s for s, _, expected in MUTATIONS if compiles(inserted(s), tmp_path, "armv6m") != expected]
    assert different == []


def test_an_error_names_file_line_and_reason(tmp_path: Path) -> None:
    text = "def f(m: ptr32, n: int):\n    x = n + 1\n    m[0] = x * 0.5\n    m[1] = y >> 40\n"
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(dialect.DialectError) as caught:
        dialect.read(path)
    assert str(caught.value).split("; ") == [
        "mine.py, line 3: 0.5 is no integer",
        "mine.py, line 4: shift count 40 is not in 0..31",
        "mine.py, line 4: y is neither a variable nor a const()",
    ]
    with pytest.raises(dialect.DialectError, match=r"kernels.py, line 2: .*(expected|invalid)"):
        dialect.parse("def f(m: ptr32):\n    x = = 2\n")
