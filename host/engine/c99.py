"""The kernels as C99: the same arithmetic, well-defined to the last bit, and still a text to read.

Every scalar is an int32_t. What may wrap is computed in uint32_t, where C says that it wraps, and brought back by
wrap(); shifts to the right go through asr(), as C leaves those of negative numbers to the compiler. Compilers make
of both what the machine has: no instruction, and one. An index is computed as it stands: one that overflowed would
name no element. Names, comments and the order of things are those of the text in Python.
"""

import ast
import io
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence

from host.engine import dialect
from host.engine.passes import Call, Passes

# What stands before each kernel's name.
STORAGE = "SHORELINE_KERNEL"
PREAMBLE = f"""\
/* How kernels are kept. Define it as static __attribute__((noinline, section(".time_critical.k"))), or what your linker
 * script calls it, to have them in RAM, where some chips run faster. */
#ifndef {STORAGE}
#define {STORAGE} static
#endif

#define U(x) ((uint32_t)(x))

/* The number in two's complement that these 32 bits are. */
static inline int32_t wrap(uint32_t x)
{{
    return x & 0x80000000u ? -1 - (int32_t)(UINT32_MAX - x) : (int32_t)x;
}}

/* x / 2^n, rounded towards minus infinity; 0 <= n < 32. */
static inline int32_t asr(int32_t x, int32_t n)
{{
    return x < 0 ? ~(~x >> n) : x >> n;
}}
"""
WIDTH = 120
TYPES = {8: "uint8_t", 16: "uint16_t", 32: "int32_t"}
ARITHMETIC: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
BITWISE: dict[type, str] = {ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^"}
COMPARED: dict[type, str] = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


def kernels(passes: Passes) -> str:
    """All kernels that the calls of a network need, as C functions, and the constants they name."""
    needed = {call[0] for call in (*passes.take, *passes.classify, *passes.learn, *passes.derive)}
    parts: list[str] = []
    constants: dict[str, int] = {}
    for text in passes.texts:
        comments = _comments(text)
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name in needed:
                writer = _Writer(passes.program.kernels[node.name], node, comments)
                parts.append("\n".join(writer.lines))
                constants |= writer.constants
    defines = [f"#define {name} {value}" for name, value in sorted(constants.items())]
    return "\n\n".join([PREAMBLE + "\n" + "\n".join(defines), *parts])


def calls(made: Sequence[Call], names: Mapping[str, str]) -> list[str]:
    """Calls as C statements. names: what an array, a size, or a part of the image is called there."""
    return [f"{kernel}({', '.join(str(x) if isinstance(x, int) else names[x] for x in given)});"
            for kernel, *given in made]  # fmt: skip


def _comments(text: str) -> dict[int, tuple[bool, str]]:
    """Line -> (whether the comment is all there is in it, its words)."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            found[token.start[0]] = (not token.line[: token.start[1]].strip(), token.string.lstrip("# "))
    return found


def _docstring(function: ast.FunctionDef) -> str:
    """As a comment of C."""
    return (
        "/* " + "\n".join(f" * {line}".rstrip() for line in (ast.get_docstring(function) or "").split("\n"))[3:] + " */"
    )


def _stored(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Names that are assigned to, in order."""
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _read(nodes: Sequence[ast.AST]) -> set[str]:
    return {n.id for top in nodes for n in ast.walk(top) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _read_outside(body: Sequence[ast.stmt], counter: str) -> set[str]:
    """Names that are read anywhere but in the loops of this counter."""
    found = set()
    for node in body:
        if isinstance(node, (ast.For, ast.While, ast.If)):
            found |= _read([node.iter if isinstance(node, ast.For) else node.test])
            if not (isinstance(node, ast.For) and isinstance(node.target, ast.Name) and node.target.id == counter):
                found |= _read_outside([*node.body, *node.orelse], counter)
        else:
            found |= _read([node])
    return found


def bare(text: str) -> str:
    """An expression without the parentheses around all of it."""
    if not text.startswith("("):
        return text
    depth = 0
    for at, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return text[1:-1] if at == len(text) - 1 else text
    return text


def wrapped(head: str, items: Sequence[str], tail: str) -> list[str]:
    """head, items with commas between them, tail; as many lines as it takes."""
    lines, line = [], head
    indent = " " * max(4, len(head) if len(head) < 40 else 4)
    for k, item in enumerate(items):
        end = "," if k < len(items) - 1 else tail
        if len(line) + len(item) + len(end) > WIDTH:
            lines.append(line.rstrip())
            line = indent
        line += item + end + " "
    return [*lines, line.rstrip()]


class _Writer:
    """Writes one kernel: `lines`, and the `constants` that it names."""

    def __init__(self, kernel: dialect.Kernel, source: ast.FunctionDef, comments: dict[int, tuple[bool, str]]) -> None:
        self.kernel = kernel
        self.comments = {line: comments[line] for line in sorted(comments) if line >= source.lineno}
        self.constants: dict[str, int] = {}
        self.lines = [*_docstring(source).split("\n"), *self.header()]
        self.loops = 0
        at = len(self.lines)
        self.block(kernel.body, 1)
        self.lines[at:at] = [*self.declarations(), ""]
        self.lines.append("}")

    def header(self) -> list[str]:
        written = {
            dialect.array(target)
            for node in ast.walk(ast.Module(self.kernel.body, []))
            if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Subscript)
        }
        arguments = [
            f"{'' if name in written else 'const '}{TYPES[bits]} *restrict {name}" if bits else f"int32_t {name}"
            for name, bits in self.kernel.arguments.items()
        ]
        return [*wrapped(f"{STORAGE} void {self.kernel.name}(", arguments, ")"), "{"]

    def declarations(self) -> list[str]:
        counters = [name for k in range(self.loops) for name in (f"at{k}", f"end{k}")]
        names = dict.fromkeys([*_stored(self.kernel.body), *counters])
        return wrapped("    int32_t ", [name for name in names if name not in self.kernel.arguments], ";")

    # Expressions

    def constant(self, node: ast.Constant) -> str:
        assert isinstance(node.value, int)
        name = dialect.named(node)
        if name is None:
            return str(node.value)
        self.constants[name.lstrip("_")] = node.value
        return name.lstrip("_")

    def element(self, node: ast.Subscript) -> str:
        return f"{dialect.array(node)}[{bare(self.index(node.slice))}]"

    def index(self, node: ast.expr) -> str:
        """As it stands."""
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            return self.chain(node, self.index)
        return self.signed(node)

    def chain(self, node: ast.BinOp, part: Callable[[ast.expr], str]) -> str:
        """A sum, difference or product of such parts, in no more parentheses than it takes."""
        operator = ARITHMETIC[type(node.op)]
        left, right = part(node.left), part(node.right)
        inner = [type(x.op) if isinstance(x, ast.BinOp) else None for x in (node.left, node.right)]
        if inner[0] is ast.Mult or (inner[0] in (ast.Add, ast.Sub) and operator != "*"):
            left = bare(left)
        if inner[1] is ast.Mult and operator != "*":
            right = bare(right)
        return f"({left} {operator} {right})"

    def signed(self, node: ast.expr) -> str:
        """An int32_t; in parentheses if it is more than one word."""
        if isinstance(node, ast.Constant):
            return self.constant(node)
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Subscript):
            return self.element(node)
        if isinstance(node, ast.BinOp):
            if type(node.op) in BITWISE:
                return f"({self.signed(node.left)} {BITWISE[type(node.op)]} {self.signed(node.right)})"
            if isinstance(node.op, ast.RShift):
                return f"asr({bare(self.signed(node.left))}, {bare(self.signed(node.right))})"
            return f"wrap({bare(self.unsigned(node))})"
        return f"({self.truth(node)})"

    def unsigned(self, node: ast.expr) -> str:
        """A uint32_t with the same bits."""
        if isinstance(node, ast.BinOp):
            if type(node.op) in ARITHMETIC:
                return self.chain(node, self.unsigned)
            if isinstance(node.op, ast.LShift):
                return f"({self.unsigned(node.left)} << {self.signed(node.right)})"
            if isinstance(node.op, ast.FloorDiv):  # a dividend that is not negative, a divisor above 0
                return f"({self.unsigned(node.left)} / {self.unsigned(node.right)})"
        return f"U({bare(self.signed(node))})"

    def truth(self, node: ast.expr) -> str:
        """A condition."""
        if isinstance(node, ast.Compare):
            left, right = self.signed(node.left), self.signed(node.comparators[0])
            return f"{left} {COMPARED[type(node.ops[0])]} {right}"
        if isinstance(node, ast.BoolOp):
            parts = [
                f"({self.truth(part)})" if isinstance(part, ast.BoolOp) else self.truth(part) for part in node.values
            ]
            return (" && " if isinstance(node.op, ast.And) else " || ").join(parts)
        return f"{self.signed(node)} != 0"

    # Statements

    def line(self, depth: int, text: str, node: ast.stmt) -> None:
        """A line of C with the comment beside it in the text, or below that if it is long."""
        text = "    " * depth + text
        for at in range(node.lineno, (node.end_lineno or node.lineno) + 1):
            if at in self.comments and not self.comments[at][0]:
                comment = f"/* {self.comments.pop(at)[1]} */"
                if len(text) + len(comment) < WIDTH:
                    text += " " + comment
                else:
                    self.lines.append("    " * depth + comment)
        self.lines.append(text)

    def above(self, depth: int, node: ast.stmt) -> None:
        """The comments in lines of their own before a statement, and the one beside the first line of a block."""
        indent = "    " * depth
        words = [self.comments.pop(at)[1] for at in list(self.comments) if at < node.lineno]
        if hasattr(node, "body") and node.lineno in self.comments:
            words.append(self.comments.pop(node.lineno)[1])
        for k, line in enumerate(words):
            before, end = "/* " if k == 0 else " * ", " */" if k == len(words) - 1 else ""
            self.lines.append(f"{indent}{before}{line}{end}")

    def block(self, body: Sequence[ast.stmt], depth: int) -> None:
        for node in body:
            self.above(depth, node)
            if isinstance(node, ast.Assign):
                target = node.targets[0]
                name = self.element(target) if isinstance(target, ast.Subscript) else target.id  # type: ignore[attr-defined]
                self.line(depth, f"{name} = {bare(self.signed(node.value))};", node)
            elif isinstance(node, ast.For):
                self.count(node, depth)
            elif isinstance(node, ast.While):
                self.braces(f"while ({self.truth(node.test)})", node.body, depth)
            elif isinstance(node, ast.If):
                self.braces(f"if ({self.truth(node.test)})", node.body, depth)
                if node.orelse:
                    self.lines.pop()
                    self.braces("} else", node.orelse, depth)
            else:
                self.line(depth, "continue;", node)

    def braces(self, head: str, body: Sequence[ast.stmt], depth: int) -> None:
        self.lines.append(f"{'    ' * depth}{head} {{")
        self.block(body, depth + 1)
        self.lines.append(f"{'    ' * depth}}}")

    def count(self, node: ast.For, depth: int) -> None:
        """C's loop where it means the same: else counter and end have names of their own, as range()'s have."""
        assert isinstance(node.iter, ast.Tuple) and isinstance(node.target, ast.Name)
        low, high, name = self.signed(node.iter.elts[0]), self.signed(node.iter.elts[1]), node.target.id
        assert isinstance(node.iter.elts[2], ast.Constant) and isinstance(node.iter.elts[2].value, int)
        step = node.iter.elts[2].value
        sign, next_ = ("<" if step > 0 else ">"), {1: "++", -1: "--"}.get(step, f" += {step}")
        inside = set(_stored(node.body))
        end_moves = inside & _read([node.iter]) or any(isinstance(part, ast.Subscript) for part in ast.walk(node.iter))
        if name not in inside and not end_moves and name not in _read_outside(self.kernel.body, name):
            self.braces(f"for ({name} = {bare(low)}; {name} {sign} {high}; {name}{next_})", node.body, depth)
            return
        at, end = f"at{self.loops}", f"end{self.loops}"
        self.loops += 1
        indent = "    " * depth
        self.lines.append(f"{indent}for ({at} = {bare(low)}, {end} = {bare(high)}; {at} {sign} {end}; {at}{next_}) {{")
        self.lines.append(f"{indent}    {name} = {at};")
        self.block(node.body, depth + 1)
        self.lines.append(f"{indent}}}")
