"""The checking mode: the kernels compiled in 64 bits that do not wrap, with every intermediate value watched.

A value may use 31 bits, sign included (MicroPython's small ints on a 32-bit chip; the registers have 32). The result of
every operation and every value loaded, assigned or stored is held against that bound; shift counts must be 0..31, a
divisor positive and a dividend not negative (elsewhere C, viper and Python disagree), an index inside its array. What
breaks a bound raises OverflowError with kernel, line, expression and value; of all else the range is recorded.

`python -m host.checked` trains so and prints the ranges; `python -m host.simulate --engine checked` does with a run.
"""

import ast
import ctypes
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from llvmlite import ir

from host.engine import dialect, lanes, llvm
from host.engine.llvm import BIT, LONG, number
from host.engine.passes import everything

BITS = 31
BOUND = 1 << (BITS - 1)  # -BOUND <= v < BOUND
FAULT = 0  # entries of the record that the kernels write: the site that broke its bound, plus 1, and the value;
SITES = 2  # from here on, two for each site: its lowest value, and its highest minus the lowest plus 1, 0 for none


@dataclass
class Site:
    """An expression of a kernel whose value is watched."""

    of: dialect.Kernel
    node: ast.expr
    rule: str  # what its value has to be
    signals: tuple[str, ...] = ()  # variables or array elements that take the value; none: part of an expression

    @property
    def kernel(self) -> str:
        return self.of.name

    @property
    def line(self) -> int:
        """Of fixedpoint/kernels.py."""
        return self.node.lineno

    @property
    def text(self) -> str:
        return self.of.text(self.node)

    def __str__(self) -> str:
        return f"{self.kernel}, line {self.line}: {self.text}"


class Watching(llvm.Emitter):
    """Writes a kernel that watches its values, and lists their sites. It takes two more arguments: the record, and the
    lengths of its arrays.
    """

    word = LONG
    further: ClassVar[dict[str, int]] = {"_record": 64, "_lengths": 64}

    def __init__(self, module: ir.Module, kernel: dialect.Kernel, sites: list[Site]):
        self.sites = sites
        self.grow = module.globals.get("grow") or grow(module)
        super().__init__(module, kernel, 1)

    def value(self, node: ast.expr) -> ir.Value:
        found = super().value(node)
        if isinstance(node, (ast.BinOp, ast.Subscript)):
            self.watch(found, node)
        return found

    def assign(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        if not isinstance(node.value, (ast.BinOp, ast.Subscript)):
            self.watch(value, node.value)
        self.sites[-1].signals = (self.kernel.text(node.targets[0]),)
        self.put(node.targets[0], value)

    def operands(self, node: ast.BinOp) -> tuple[ir.Value, ir.Value]:
        if isinstance(node.op, ast.FloorDiv):
            bound = number(BOUND, LONG)
            return (
                self.within(node.left, "a dividend of 0 or more", 0, bound),
                self.within(node.right, "a divisor above 0", 1, bound),
            )
        if isinstance(node.op, (ast.LShift, ast.RShift)):
            return self.value(node.left), self.within(node.right, "a shift count of 0..31", 0, number(32, LONG))
        return super().operands(node)

    def index(self, node: ast.Subscript) -> ir.Value:
        name = dialect.array(node)
        length = entry(self.builder, self.pointers["_lengths"], list(self.kernel.arguments).index(name))
        return self.within(node.slice, f"an index of {name}", 0, self.builder.load(length))

    def truth(self, node: ast.expr) -> ir.Value:
        """As in Python, what need not be looked at is not: it might be out of bounds."""
        if not isinstance(node, ast.BoolOp):
            return super().truth(node)
        b = self.builder
        end = b.append_basic_block("decided")
        ways = []
        for part in node.values:
            found = self.truth(part)
            ways.append((found, b.block))
            if part is node.values[-1]:
                b.branch(end)
            else:
                more = b.append_basic_block("more")
                b.cbranch(found, *((more, end) if isinstance(node.op, ast.And) else (end, more)))
                b.position_at_end(more)
        b.position_at_end(end)
        decided = b.phi(BIT)
        for way in ways:
            decided.add_incoming(*way)
        return decided

    def site(self, node: ast.expr, rule: str) -> int:
        """The number of a new site."""
        self.sites.append(Site(self.kernel, node, rule))
        return len(self.sites) - 1

    def watch(self, value: ir.Value, node: ast.expr) -> None:
        """Record the value's range; leave the kernel if it is beyond 31 bits."""
        b, record, site = self.builder, self.pointers["_record"], self.site(node, f"a value of {BITS} bits")
        low, count = (b.load(entry(b, record, SITES + 2 * site + k)) for k in (0, 1))
        with (
            b.if_then(b.icmp_unsigned(">=", b.sub(value, low), count), likely=False),
            b.if_then(b.call(self.grow, [record, number(site, LONG), value])),
        ):
            b.ret_void()

    def within(self, node: ast.expr, rule: str, lowest: int, end: ir.Value) -> ir.Value:
        """The value; leave the kernel unless lowest <= value < end."""
        # The narrower check makes watch() needless for an operation's result, not for its operands.
        value = super().value(node) if isinstance(node, ast.BinOp) else self.value(node)
        b, low, site = self.builder, number(lowest, LONG), self.site(node, rule)
        with b.if_then(b.icmp_unsigned(">=", b.sub(value, low), b.sub(end, low)), likely=False):
            fault(b, self.pointers["_record"], number(site, LONG), value)
            b.ret_void()
        return value


def entry(b: ir.IRBuilder, array: ir.Value, index: int) -> ir.Value:
    """The address of an entry of the record, or of a length."""
    return b.gep(array, [number(index, LONG)])


def fault(b: ir.IRBuilder, record: ir.Value, site: ir.Value, value: ir.Value) -> None:
    """Write down what broke a bound."""
    b.store(b.add(site, number(1, LONG)), entry(b, record, FAULT))
    b.store(value, entry(b, record, FAULT + 1))


def grow(module: ir.Module) -> ir.Function:
    """A function that takes a new extreme into a site's range, and returns whether it is beyond 31 bits."""
    function = ir.Function(module, ir.FunctionType(BIT, [LONG.as_pointer(), LONG, LONG]), "grow")
    function.linkage = "internal"
    for attribute in ("noinline", "cold"):
        function.attributes.add(attribute)
    record, site, value = function.args
    b = ir.IRBuilder(function.append_basic_block())
    inside = b.icmp_unsigned("<", b.add(value, number(BOUND, LONG)), number(2 * BOUND, LONG))
    with b.if_then(b.not_(inside)):
        fault(b, record, site, value)
        b.ret(number(1, BIT))
    lowest, count = (b.gep(record, [b.add(b.add(site, site), number(SITES + k, LONG))]) for k in (0, 1))
    low, high = b.load(lowest), b.sub(b.add(b.load(lowest), b.load(count)), number(1, LONG))
    first = b.icmp_signed("==", b.load(count), number(0, LONG))
    low = b.select(b.or_(first, b.icmp_signed("<", value, low)), value, low)
    high = b.select(b.or_(first, b.icmp_signed(">", value, high)), value, high)
    b.store(low, lowest)
    b.store(b.add(b.sub(high, low), number(1, LONG)), count)
    b.ret(number(0, BIT))
    return function


@dataclass
class Mode:
    """The watched kernels, compiled, and what they have seen since the last reset()."""

    sites: list[Site]
    record: np.ndarray
    kernels: types.SimpleNamespace


@cache
def mode() -> Mode:
    """The checking mode of all kernels, compiled."""
    return watched(everything())


def watched(program: dialect.Program) -> Mode:
    """The checking mode of these kernels, compiled."""
    sites: list[Site] = []
    kernels = program.kernels
    module = ir.Module("checked")
    for kernel in kernels.values():
        Watching(module, kernel, sites)
    further: list[type] = [lanes.POINTER] * len(Watching.further)
    signatures = {name: lanes.signature(kernel, ctypes.c_int64) + further for name, kernel in kernels.items()}
    native = llvm.Native(str(module), signatures, level=1)  # more takes longer, and the code is no faster
    record = np.zeros(SITES + 2 * len(sites), np.int64)
    start = record.ctypes.data

    def reporting(kernel: dialect.Kernel) -> Callable[..., None]:
        function, widths = native.functions[kernel.name], tuple(kernel.arguments.values())
        lengths_of = ctypes.c_int64 * len(widths)

        def call(*given: Any) -> None:
            pairs = zip(given, widths, strict=True)
            lengths = [8 * memoryview(x).nbytes // bits if bits else 0 for x, bits in pairs]
            record[FAULT] = 0
            function(*lanes.addresses(given), start, lengths_of(*lengths))
            if record[FAULT]:
                site = sites[record[FAULT] - 1]
                raise OverflowError(f"{site} is {record[FAULT + 1]}, not {site.rule}")

        return call

    return Mode(sites, record, types.SimpleNamespace(**{name: reporting(kernel) for name, kernel in kernels.items()}))


def checked_kernels() -> types.SimpleNamespace:
    """The watched kernels, as the `kernels` of a Lattice. They raise OverflowError as described above."""
    return mode().kernels


def reset() -> None:
    """Forget all ranges."""
    mode().record[:] = 0


def seen() -> list[tuple[Site, int, int]]:
    """The sites that had a value since then, with the lowest and the highest."""
    pairs = mode().record[SITES:].reshape(-1, 2).tolist()
    return [(site, low, low + count - 1) for site, (low, count) in zip(mode().sites, pairs, strict=True) if count]


def ranges() -> dict[str, tuple[int, int]]:
    """Lowest and highest value of every signal that had one: {"kernel.variable" or "kernel.array[element]": ...}."""
    found: dict[str, tuple[int, int]] = {}
    for site, low, high in seen():
        for signal in site.signals:
            name = f"{site.kernel}.{signal}"
            old = found.get(name, (low, high))
            found[name] = min(low, old[0]), max(high, old[1])
    return found


def report() -> str:
    """The ranges as a table: signal, lowest, highest, bits with the sign, share of 2**30; per kernel the widest."""
    lines = [f"{'signal':<48}{'lowest':>12}{'highest':>12}{'bits':>6}{'share':>9}"]

    def add(name: str, low: int, high: int) -> None:
        bits = max(high.bit_length(), (~low).bit_length() if low < 0 else 0) + 1
        lines.append(f"{name:<48}{low:>12}{high:>12}{bits:>6}{max(high, -low) / BOUND:>9.2%}")

    found = ranges()
    for kernel in everything().kernels:
        for name, (low, high) in found.items():
            if name.startswith(f"{kernel}."):
                add(name, low, high)
        if own := [x for x in seen() if x[0].kernel == kernel]:
            site, low, high = max(own, key=lambda x: max(x[2], -x[1]))
            add(f"  widest of {kernel}: line {site.line}", low, high)
    return "\n".join(lines)
