"""The checking mode: the kernels re-made from their own source so that every intermediate value is watched.

A value may use 31 bits, sign included (MicroPython's small ints on a 32-bit chip; the registers have 32). The result of
every operation and every value loaded, assigned or stored is held against that bound; shift counts must be 0..31, a
divisor positive and a dividend not negative (elsewhere C, viper and Python disagree), an index inside its array. What
breaks a bound raises OverflowError with kernel, line, expression and value; of all else the range is recorded.

`python -m host.simulate --engine checked` runs the checks in plain CPython. `python -m host.checked` has them compiled
by Numba, with no type declared, so in 64 bits that do not wrap: whole epochs become feasible.
"""

import ast
import inspect
import types
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

import numpy as np

from fixedpoint import kernels
from host.engine.lanes import program

BITS = 31
KERNELS = tuple(program().kernels)
BOUND = 1 << (BITS - 1)  # -BOUND <= v < BOUND


@dataclass
class Site:
    """An expression of a kernel whose value is watched."""

    kernel: str
    line: int  # of fixedpoint/kernels.py
    text: str
    rule: str  # what its value has to be
    signals: tuple[str, ...] = ()  # variables or array elements that take the value; none: part of an expression

    def __str__(self) -> str:
        return f"{self.kernel}, line {self.line}: {self.text}"


def watch(value: int, site: int, low: "array[int]", high: "array[int]") -> int:
    """Return value, its range recorded; raise OverflowError beyond 31 bits."""
    if value < low[site] or value > high[site]:
        if value < -BOUND or value >= BOUND:
            low[-1], high[-1] = site, value
            raise OverflowError
        low[site] = min(value, low[site])
        high[site] = max(value, high[site])
    return value


def within(value: int, site: int, low: "array[int]", high: "array[int]", lowest: int, end: int) -> int:
    """Return value; raise OverflowError unless lowest <= value < end."""
    if value < lowest or value >= end:
        low[-1], high[-1] = site, value
        raise OverflowError
    return value


class Watcher(ast.NodeTransformer):
    """Puts watch() or within() around whatever a kernel computes or loads, and adds each place to `sites`.

    A kernel gets two more parameters, in front: the arrays `_low` and `_high` with the range of every site.
    """

    operators = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor)

    def __init__(self, sites: list[Site]):
        self.sites = sites

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.kernel = node.name
        node.args.args = [ast.arg(name) for name in ("_low", "_high", *(arg.arg for arg in node.args.args))]
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.Call:
        text = ast.unparse(node)
        return self._watch(self._operation(node), text)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.UnaryOp:
        if not isinstance(node.operand, ast.Constant):
            self._refuse(node)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        text, name = ast.unparse(node), ast.unparse(node.value)
        length = ast.Call(ast.Name("len", ast.Load()), [ast.Name(name, ast.Load())], [])
        node.slice = self._within(node.slice, f"an index of {name}", 0, length)
        return self._watch(node, text) if isinstance(node.ctx, ast.Load) else node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        text, signals = ast.unparse(node.value), tuple(ast.unparse(target) for target in node.targets)
        node.value = self._watch(self.visit(node.value), text, signals)
        node.targets = [self.visit(target) for target in node.targets]
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.Assign:
        if not isinstance(node.target, ast.Name):
            self._refuse(node)
        value = ast.copy_location(ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value), node)
        return self.visit_Assign(ast.copy_location(ast.Assign([node.target], value), node))

    def _operation(self, node: ast.BinOp) -> ast.BinOp:
        if not isinstance(node.op, self.operators):
            self._refuse(node)
        if isinstance(node.op, ast.FloorDiv):
            node.left = self._within(node.left, "a dividend of 0 or more", 0, ast.Constant(BOUND))
            node.right = self._within(node.right, "a divisor above 0", 1, ast.Constant(BOUND))
        elif isinstance(node.op, ast.LShift | ast.RShift):
            node.left = self.visit(node.left)
            node.right = self._within(node.right, "a shift count of 0..31", 0, ast.Constant(32))
        else:
            self.generic_visit(node)
        return node

    def _watch(self, node: ast.expr, text: str, signals: tuple[str, ...] = ()) -> ast.Call:
        match node:
            case ast.Call(func=ast.Name("watch"), args=[_, ast.Constant(int(site)), *_]):  # it only lacks the names
                self.sites[site].signals = signals
                return node
        new = Site(self.kernel, node.lineno, text, f"a value of {BITS} bits", signals)
        return self._call("watch", node, new)

    def _within(self, node: ast.expr, rule: str, lowest: int, end: ast.expr) -> ast.Call:
        site = Site(self.kernel, node.lineno, ast.unparse(node), rule)
        # The narrower check makes watch() needless for an operation's result, not for its operands.
        inner = self._operation(node) if isinstance(node, ast.BinOp) else self.visit(node)
        return self._call("within", inner, site, ast.Constant(lowest), end)

    def _call(self, function: str, node: ast.expr, site: Site, *limits: ast.expr) -> ast.Call:
        self.sites.append(site)
        args = [node, ast.Constant(len(self.sites) - 1)]
        args += [ast.Name(name, ast.Load()) for name in ("_low", "_high")]
        return ast.copy_location(ast.Call(ast.Name(function, ast.Load()), [*args, *limits], []), node)

    def _refuse(self, node: ast.expr | ast.stmt) -> NoReturn:
        raise SyntaxError(f"{self.kernel}, line {node.lineno}: {ast.unparse(node)} is not in the dialect")


def _watched() -> tuple[list[Site], types.CodeType]:
    """All sites, and the code that defines the watched kernels."""
    sites: list[Site] = []
    tree = ast.parse(inspect.getsource(kernels))
    tree.body = [Watcher(sites).visit(node) for node in tree.body if getattr(node, "name", None) in KERNELS]
    return sites, compile(ast.fix_missing_locations(tree), kernels.__file__, "exec")


SITES, _CODE = _watched()
# The range of every site; last, what broke a bound: the site and its value. Arrays, as Numba can share their memory.
_low = array("q", bytes(8 * len(SITES) + 8))
_high = array("q", bytes(8 * len(SITES) + 8))


def reset() -> None:
    """Forget all ranges."""
    for k in range(len(SITES)):
        _low[k], _high[k] = BOUND, -BOUND - 1  # whatever comes first is a new extreme on both sides


reset()


@cache
def checked_kernels(compiled: bool = False) -> types.SimpleNamespace:
    """The watched kernels, for CPython or compiled by Numba, which needs host.engine.lanes.int32_words; one set of
    ranges.

    They raise OverflowError as described above.
    """
    if not compiled:
        return _executable(watch, within, lambda function: function, lambda arg: arg)

    import numba

    # Without NRT there is no reference counting of the arrays around every check: a hundred times faster.
    compile_ = numba.njit(_nrt=False)
    word, range_ = numba.int64, numba.int64[::1]

    def numpy(arg: object) -> object:
        return np.frombuffer(arg, arg.typecode) if isinstance(arg, array) else arg

    # The signatures make every value that passes a check a 64-bit one, whatever type the array had that it came from.
    return _executable(
        numba.njit(word(word, word, range_, range_), _nrt=False)(watch),
        numba.njit(word(word, word, range_, range_, word, word), _nrt=False)(within),
        compile_,
        numpy,
    )


def _executable(
    watch: Callable[..., int],
    within: Callable[..., int],
    compile_: Callable[[Callable[..., Any]], Callable[..., Any]],
    convert: Callable[[object], object],
) -> types.SimpleNamespace:
    names = {**vars(kernels), "watch": watch, "within": within}
    exec(_CODE, names)

    def reporting(function: Callable[..., Any]) -> Callable[..., None]:
        def call(*args: object) -> None:
            try:
                function(*map(convert, (_low, _high, *args)))
            except OverflowError:
                site, value = SITES[_low[-1]], _high[-1]
                raise OverflowError(f"{site} is {value}, not {site.rule}") from None

        return call

    return types.SimpleNamespace(**{name: reporting(compile_(names[name])) for name in KERNELS})


def ranges() -> dict[str, tuple[int, int]]:
    """Lowest and highest value of every signal that had one: {"kernel.variable" or "kernel.array[element]": ...}."""
    found: dict[str, tuple[int, int]] = {}
    for site, low, high in zip(SITES, _low, _high, strict=False):
        if low <= high:
            for signal in site.signals:
                name = f"{site.kernel}.{signal}"
                old = found.get(name, (low, high))
                found[name] = min(low, old[0]), max(high, old[1])
    return found


def widest(kernel: str) -> tuple[Site, int, int]:
    """The watched expression of a kernel that came closest to the bound, with its range (highest < lowest: none)."""
    which = [k for k, site in enumerate(SITES) if site.kernel == kernel]
    k = max(which, key=lambda k: max(_high[k], -_low[k]))
    return SITES[k], _low[k], _high[k]


def report() -> str:
    """The ranges as a table: signal, lowest, highest, bits with the sign, share of 2**30; per kernel the widest."""
    lines = [f"{'signal':<48}{'lowest':>12}{'highest':>12}{'bits':>6}{'share':>9}"]

    def add(name: str, low: int, high: int) -> None:
        bits = max(high.bit_length(), (~low).bit_length() if low < 0 else 0) + 1
        lines.append(f"{name:<48}{low:>12}{high:>12}{bits:>6}{max(high, -low) / BOUND:>9.2%}")

    found = ranges()
    for kernel in KERNELS:
        for name, (low, high) in found.items():
            if name.startswith(f"{kernel}."):
                add(name, low, high)
        site, low, high = widest(kernel)
        if low <= high:
            add(f"  widest of {kernel}: line {site.line}", low, high)
    return "\n".join(lines)
