"""The kernels keep to what means the same to CPython, Numba, bytecode and viper on 32 bits.

Most violations compile, and go wrong on a chip only: so the text itself is checked, construct by construct.
"""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from host.base.cli import UserError
from host.board import micropythons

SOURCE = (Path(__file__).resolve().parent.parent / "fixedpoint/kernels.py").read_text()

LIMIT = 0x3FFFFFFF  # what a small int of a 32-bit machine holds
TYPES = {"int", "ptr8", "ptr16", "ptr32"}
STATEMENTS = (ast.Assign, ast.AugAssign, ast.For, ast.While, ast.If, ast.Expr, ast.Continue)
EXPRESSIONS = (ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Subscript, ast.Name, ast.Constant, ast.UnaryOp)
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr)
COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def violations(source: str) -> list[str]:
    """What the text has that the dialect has not, as "line: what"."""
    tree = ast.parse(source)
    constants: dict[str, int] = {}
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            value = node.value.args[0] if len(node.value.args) == 1 else None
            folded = fold(value, constants) if value else None
            if not name.startswith("_") or folded is None:
                found.append(
                    f"{node.lineno}: {name} is no _NAME = const(integer): MicroPython would look it up each time"
                )
            else:
                constants[name] = folded
                if abs(folded) > LIMIT:
                    found.append(f"{node.lineno}: constant {folded} is beyond 30 bits")
        if isinstance(node, ast.FunctionDef):
            found += Kernel(node, constants).found
    return found


def fold(node: ast.expr, constants: dict[str, int]) -> int | None:
    """The value of an expression of integer constants, which compilers fold; None for any other."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = fold(node.operand, constants)
        return None if value is None else -value
    if isinstance(node, ast.BinOp):
        left, right = fold(node.left, constants), fold(node.right, constants)
        operation: dict[type, Callable[[int, int], int]] = {
            ast.Add: int.__add__,
            ast.Sub: int.__sub__,
            ast.Mult: int.__mul__,
            ast.LShift: lambda a, b: a << b if 0 <= b < 64 else 0,
        }
        if left is not None and right is not None and type(node.op) in operation:
            return operation[type(node.op)](left, right)
    return None


class Kernel:
    """The check of one function; `found` has what it found."""

    def __init__(self, function: ast.FunctionDef, constants: dict[str, int]) -> None:
        self.found: list[str] = []
        self.constants = constants
        arguments = function.args
        if arguments.defaults or arguments.kwonlyargs or arguments.vararg or arguments.kwarg or arguments.posonlyargs:
            self.note(function, "arguments are positional, without defaults")
        if function.decorator_list or function.returns:
            self.note(function, "no decorator, no result: the emitter is chosen when compiling, results go to memory")
        for argument in arguments.args:
            if not (isinstance(argument.annotation, ast.Name) and argument.annotation.id in TYPES):
                self.note(argument, f"argument {argument.arg} is annotated as one of {', '.join(sorted(TYPES))}")
        self.pointers = {a.arg for a in arguments.args if getattr(a.annotation, "id", "").startswith("ptr")}
        assigned = [n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        self.known = {a.arg for a in arguments.args} | set(assigned) | set(constants)
        for name in self.pointers.intersection(assigned):
            self.note(function, f"{name} is a pointer: it keeps its value")
        body = function.body[1:] if ast.get_docstring(function) is not None else function.body
        for statement in body:
            self.statement(statement)

    def note(self, node: ast.AST, what: str) -> None:
        self.found.append(f"{getattr(node, 'lineno', 0)}: {what}")

    def statement(self, node: ast.stmt) -> None:
        if not isinstance(node, STATEMENTS) or isinstance(node, ast.Expr):
            self.note(node, f"no {type(node).__name__} statement")
            return
        if isinstance(node, ast.For):
            self.loop(node)
        if isinstance(node, (ast.For, ast.While)) and node.orelse:
            self.note(node, "no else of a loop")
        if isinstance(node, ast.AugAssign):
            self.operation(node, node.op, node.value)
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.stmt):
                    self.statement(child)
                elif isinstance(child, ast.expr) and (field != "iter" or not isinstance(node, ast.For)):
                    self.expression(child)

    def loop(self, node: ast.For) -> None:
        call = node.iter
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"):
            self.note(node, "for runs over range() only")
            return
        if call.keywords or not 1 <= len(call.args) <= 3:
            self.note(node, "range() takes 1 to 3 positional arguments")
        if len(call.args) == 3 and not fold(call.args[2], self.constants):
            self.note(node, "the step of range() is a constant, and not 0")
        for argument in call.args:
            self.expression(argument)

    def operation(self, node: ast.AST, operator: ast.operator, right: ast.expr) -> None:
        if not isinstance(operator, (*OPERATORS, ast.BitXor)):
            self.note(node, f"no operator {type(operator).__name__}")
        if isinstance(operator, (ast.LShift, ast.RShift)):
            count = fold(right, self.constants)
            if count is not None and not 0 <= count <= 31:
                self.note(node, f"shift count {count} is not in 0..31")

    def expression(self, node: ast.expr) -> None:
        if isinstance(node, ast.Call):
            self.note(node, "no call but that of range() in for: no function, no cast, no allocation")
            return
        if not isinstance(node, EXPRESSIONS):
            self.note(node, f"no {type(node).__name__} expression")
            return
        value = fold(node, self.constants)
        if value is not None and abs(value) > LIMIT:
            self.note(node, f"constant {value} is beyond 30 bits")
            return
        if isinstance(node, ast.UnaryOp):
            if not isinstance(node.op, ast.USub):
                self.note(node, f"no operator {type(node.op).__name__}")
            elif value is None:
                self.note(node, "unary minus on a variable overwrites it in released firmware: write 0 - x")
        if isinstance(node, ast.Constant) and type(node.value) is not int:
            self.note(node, f"{node.value!r} is no integer")
        if isinstance(node, ast.Name) and node.id not in self.known:
            self.note(node, f"{node.id} is neither a variable nor a const()")
        if isinstance(node, ast.BinOp):
            self.operation(node, node.op, node.right)
        if isinstance(node, ast.Compare) and not all(isinstance(operator, COMPARISONS) for operator in node.ops):
            self.note(node, "no comparison but == != < <= > >=")
        if isinstance(node, ast.Subscript):
            if not (isinstance(node.value, ast.Name) and node.value.id in self.pointers):
                self.note(node, "only pointers have an index")
            self.expression(node.slice)
            return
        if isinstance(node, ast.Name) and node.id in self.pointers:
            self.note(node, f"no arithmetic with the pointer {node.id}")
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.expression(child)


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
