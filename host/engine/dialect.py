"""The kernels' language: read once, checked, and made simple for those who compile it.

What means the same to CPython, to MicroPython's bytecode and viper on 32 bits, to LLVM and to C is little: integers,
flat arrays, loops, conditions. Most of what leaves it compiles, and goes wrong on a chip only; so every construct that
is not in the dialect is an error here that names the line. fixedpoint/README.md has the rules for people.

A back end gets a Program: its constants are folded, and of Python's forms only these are left:

    statements    Assign (one target, Name or Subscript), For over range(low, high, step), While, If, Continue
    expressions   Constant (int), Name, Subscript (of a pointer), BinOp (+ - * // << >> & | ^), Compare (one operator),
                  BoolOp
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT = 0x3FFFFFFF  # what a small int of a 32-bit machine holds
TYPES = {"int": 0, "ptr8": 8, "ptr16": 16, "ptr32": 32}  # bits of an array's elements
STATEMENTS = (ast.Assign, ast.AugAssign, ast.For, ast.While, ast.If, ast.Expr, ast.Continue)
EXPRESSIONS = (ast.BinOp, ast.BoolOp, ast.Compare, ast.Subscript, ast.Name, ast.Constant, ast.UnaryOp)
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor)
COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)

# What is the same in all lanes: arrays that they share, and the fields of a record that say who is connected with whom.
SHARED = ("tanh", "exp", "c_table", "da_table", "quiet")
WIRING = ("_LEFT", "_TOP", "_RIGHT", "_BELOW", "_GAIN", "_LAG")
PER_LANE = ("label",)  # arguments that each lane has of its own


class DialectError(Exception):
    """The text leaves the dialect; str() names the file, each line, and the reason."""


@dataclass
class Kernel:
    """One function. arguments: name -> bits of the array's elements, 0 for an integer. varying: names that differ."""

    name: str
    arguments: dict[str, int]
    body: list[ast.stmt]
    lines: list[bytes]  # of the whole text, which the body's positions are of
    varying: set[str] = field(default_factory=set)

    def text(self, node: ast.expr) -> str:
        """An expression as it is written in the source; what was added to a variable (a += b) with the variable."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        whole = b"\n".join(self.lines[node.lineno - 1 : node.end_lineno])
        behind = len(self.lines[node.end_lineno - 1]) - node.end_col_offset
        return whole[node.col_offset : len(whole) - behind].decode()

    def varies(self, node: ast.expr) -> bool:
        """Whether an expression has another value in every lane."""
        if isinstance(node, ast.Name):
            return node.id in self.varying
        if isinstance(node, ast.Subscript):
            if array(node) in SHARED:
                return self.varies(node.slice)
            return not is_wiring(node)
        return any(self.varies(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))


@dataclass
class Program:
    """All kernels of a text, by name."""

    kernels: dict[str, Kernel]
    constants: dict[str, int]


def array(node: ast.Subscript) -> str:
    """The name of the array that is indexed."""
    assert isinstance(node.value, ast.Name)
    return node.value.id


def named(node: ast.Constant) -> str | None:
    """The name of the const() that stood here."""
    return getattr(node, "named", None)


def is_wiring(node: ast.Subscript) -> bool:
    """Whether this is a field of a record that all lanes have in common: m[... + _LEFT], say."""
    return getattr(node, "wiring", False)


def read(path: Path) -> Program:
    """The kernels of a file. Raises DialectError."""
    return parse(path.read_text(), path.name)


def parse(source: str, filename: str = "kernels.py") -> Program:
    """The kernels of a text. Raises DialectError."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise DialectError(f"{filename}, line {error.lineno}: {error.msg}") from error
    lines = source.encode().splitlines()
    constants: dict[str, int] = {}
    found: list[str] = []
    kernels = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            found += _constant(node, constants)
        if isinstance(node, ast.FunctionDef):
            check = _Check(node, constants)
            found += check.found
            if not check.found:
                kernels[node.name] = _simple(node, constants, lines)
    if found:
        raise DialectError("; ".join(f"{filename}, line {what}" for what in found))
    return Program(kernels, constants)


def _constant(node: ast.Assign, constants: dict[str, int]) -> Iterator[str]:
    """Take in _NAME = const(integer); yield what is wrong with it."""
    assert isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call)
    name = node.targets[0].id
    value = fold(node.value.args[0], constants) if len(node.value.args) == 1 else None
    if not name.startswith("_") or value is None:
        yield f"{node.lineno}: {name} is no _NAME = const(integer): MicroPython would look it up each time"
        return
    constants[name] = value
    if abs(value) > LIMIT:
        yield f"{node.lineno}: constant {value} is beyond 30 bits"


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


class _Check:
    """The check of one function; `found` has what it found, as "line: reason"."""

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
        for statement in _statements(function):
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
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.stmt):
                    self.statement(child)
                elif isinstance(child, ast.expr) and (name != "iter" or not isinstance(node, ast.For)):
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
        if not isinstance(operator, OPERATORS):
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


def _statements(function: ast.FunctionDef) -> list[ast.stmt]:
    """The body without its docstring."""
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def _simple(function: ast.FunctionDef, constants: dict[str, int], lines: list[bytes]) -> Kernel:
    """A checked function in the few forms that are left, and which of its values vary."""
    arguments = {a.arg: TYPES[a.annotation.id] for a in function.args.args if isinstance(a.annotation, ast.Name)}
    simplify = _Simplify(constants)
    body = [line for statement in _statements(function) for line in simplify.statement(statement)]
    kernel = Kernel(function.name, arguments, body, lines, {name for name in arguments if name in PER_LANE})
    before = -1
    while before < len(kernel.varying):  # until nothing is added: loops carry values from their end to their beginning
        before = len(kernel.varying)
        _spread(kernel, body, False)
    return kernel


def _spread(kernel: Kernel, body: list[ast.stmt], under: bool) -> None:
    """Add to the kernel's varying names. under: a condition that varies decides whether this is done."""
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if under or kernel.varies(node.value):
                kernel.varying.add(node.targets[0].id)
        elif isinstance(node, (ast.If, ast.While)):
            inner = under or kernel.varies(node.test)
            _spread(kernel, node.body, inner)
            _spread(kernel, node.orelse, inner)
        elif isinstance(node, ast.For):
            _spread(kernel, node.body, under)


class _Simplify(ast.NodeTransformer):
    """Folds constants and reduces the forms; see the docstring of this file."""

    def __init__(self, constants: dict[str, int]):
        self.constants = constants

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        """The same in simple forms. `a = b = c` becomes two assignments: c has no effect of its own."""
        made: list[ast.stmt]
        if isinstance(node, ast.Assign):
            made = [ast.Assign([self.visit(target)], self.visit(node.value)) for target in reversed(node.targets)]
        elif isinstance(node, ast.AugAssign):
            load = copy.deepcopy(node.target)
            load.ctx = ast.Load()
            made = [ast.Assign([self.visit(node.target)], self.visit(ast.BinOp(load, node.op, node.value)))]
        elif isinstance(node, ast.For):
            assert isinstance(node.iter, ast.Call)
            given = [self.visit(x) for x in node.iter.args]
            low, high, step = [*given, ast.Constant(1)] if len(given) == 2 else (
                given if len(given) == 3 else [ast.Constant(0), *given, ast.Constant(1)]
            )  # fmt: skip
            made = [ast.For(node.target, ast.Tuple([low, high, step]), self.block(node.body), [])]
        elif isinstance(node, (ast.If, ast.While)):
            made = [type(node)(self.visit(node.test), self.block(node.body), self.block(node.orelse))]
        else:
            made = [node]
        return [ast.fix_missing_locations(ast.copy_location(x, node)) for x in made]

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [line for statement in body for line in self.statement(statement)]

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.expr) and (value := fold(node, self.constants)) is not None:
            made = ast.copy_location(ast.Constant(value), node)
            made.named = node.id if isinstance(node, ast.Name) else None  # type: ignore[attr-defined]
            return made
        return super().visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        i = node.slice
        field = i.right if isinstance(i, ast.BinOp) and isinstance(i.op, ast.Add) else None
        wiring = array(node) == "m" and isinstance(field, ast.Name) and field.id in WIRING
        made = ast.copy_location(ast.Subscript(node.value, self.visit(i), node.ctx), node)
        made.wiring = wiring  # type: ignore[attr-defined]
        return made

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """a < b < c is a < b and b < c: b has no effect of its own."""
        values = [self.visit(x) for x in (node.left, *node.comparators)]
        parts: list[ast.expr] = [ast.Compare(values[k], [op], [values[k + 1]]) for k, op in enumerate(node.ops)]
        return ast.copy_location(parts[0] if len(parts) == 1 else ast.BoolOp(ast.And(), parts), node)
