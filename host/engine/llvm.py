"""The kernels compiled by LLVM, for one lattice or for several side by side, one in each lane of a vector register.

Every scalar of the text is 32 bits wide and wraps as the chip's register does. With more than one lane arrays are
interleaved, element e of lane k at e * lanes + k, and a scalar that differs from lane to lane is a vector. Where a
condition differs, both ways are taken and each lane keeps its own; a loop goes on until no lane is left in it. A
`continue` under such a condition is a shortcut, taken only if all lanes would: the text guarantees that what it skips
gives the same.

Nothing compiled is kept on disk: what a command needs is read and compiled in 0.25 to 0.3 s of CPU time, whatever the
number of lanes (the checking mode in 0.7 s). A cache would have to be found, trusted, told apart by processor and
version, and cleaned up.

Beside the kernels the module has two functions that call them, so that many images cost one call from Python: `learn`
and `classify`, the loops of Lattice.learn() and Lattice.predict().
"""

import ast
import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from llvmlite import binding, ir

from host.engine import dialect
from host.engine.passes import Call, Passes

INT, LONG, BIT = ir.IntType(32), ir.IntType(64), ir.IntType(1)
ALIGNED = 4  # bytes: arrays come from anywhere
LANES = (1, 4, 8, 16)


def number(value: int, word: ir.IntType = INT) -> ir.Constant:
    """A constant."""
    return ir.Constant(word, value)


def whole(node: ast.expr) -> int:
    """The value of a constant."""
    assert isinstance(node, ast.Constant) and isinstance(node.value, int)
    return node.value


def wide(value: ir.Value) -> bool:
    """Whether this is a vector: a value of each lane."""
    return isinstance(value.type, ir.VectorType)


class Emitter:
    """Writes one kernel as LLVM's intermediate representation."""

    word = INT  # what a variable is
    further: ClassVar[dict[str, int]] = {}  # arguments behind the kernel's own, as in Kernel.arguments

    def __init__(self, module: ir.Module, kernel: dialect.Kernel, lanes: int):
        self.kernel, self.lanes = kernel, lanes
        self.vector = ir.VectorType(self.word, lanes) if lanes > 1 else self.word
        arguments = kernel.arguments | self.further
        types = [
            ir.IntType(bits).as_pointer() if bits else self.vector if name in dialect.PER_LANE else self.word
            for name, bits in arguments.items()
        ]
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), kernel.name)
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        self.slots: dict[str, ir.Value] = {}
        self.pointers: dict[str, ir.Argument] = {}
        self.mask: ir.Value | None = None  # the lanes that are here; None: all
        self.following: list[ir.Block] = []  # where `continue` goes
        self.addressing = False  # within an index
        for (name, bits), argument in zip(arguments.items(), self.function.args, strict=True):
            if bits:
                argument.add_attribute("noalias")
                self.pointers[name] = argument
            else:
                self.put(ast.Name(name, ast.Store()), argument)
        self.block(kernel.body)
        self.builder.ret_void()

    def type_of(self, name: str) -> ir.Type:
        """The type of a variable."""
        return self.vector if self.lanes > 1 and name in self.kernel.varying else self.word

    def slot(self, name: str) -> ir.Value:
        """Where a variable lives until LLVM has found a register for it."""
        if name not in self.slots:
            with self.builder.goto_entry_block():
                self.slots[name] = self.builder.alloca(self.type_of(name), name=name)
        return self.slots[name]

    def splat(self, value: ir.Value) -> ir.Value:
        """The same value in every lane."""
        if self.lanes == 1 or wide(value):
            return value
        if isinstance(value, ir.Constant):
            return ir.Constant(ir.VectorType(value.type, self.lanes), [value.constant] * self.lanes)
        vector = ir.VectorType(value.type, self.lanes)
        one = self.builder.insert_element(ir.Constant(vector, ir.Undefined), value, number(0))
        zeros = ir.Constant(ir.VectorType(INT, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

    def alike(self, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Two operands, both vectors if one of them is."""
        return (self.splat(a), self.splat(b)) if wide(a) or wide(b) else (a, b)

    # Expressions

    def value(self, node: ast.expr) -> ir.Value:
        """A word, or a vector of them."""
        if isinstance(node, ast.Constant):
            return number(whole(node), self.word)
        if isinstance(node, ast.Name):
            return self.builder.load(self.slot(node.id))
        if isinstance(node, ast.Subscript):
            return self.load(node)
        if isinstance(node, ast.BinOp):
            return self.operation(type(node.op), *self.alike(*self.operands(node)))
        truth = self.truth(node)
        return self.builder.zext(truth, self.vector if wide(truth) else self.word)

    def operands(self, node: ast.BinOp) -> tuple[ir.Value, ir.Value]:
        """Of an operation."""
        return self.value(node.left), self.value(node.right)

    def operation(self, operator: type[ast.operator], left: ir.Value, right: ir.Value) -> ir.Value:
        b = self.builder
        if operator is ast.FloorDiv:  # the checked domain: a dividend that is not negative, a divisor above 0
            return b.udiv(left, self.of_those_here(right, 1))
        if self.addressing and operator in (ast.Add, ast.Sub, ast.Mult):
            return {ast.Add: b.add, ast.Sub: b.sub, ast.Mult: b.mul}[operator](left, right, flags=("nsw",))
        return {ast.Add: b.add, ast.Sub: b.sub, ast.Mult: b.mul, ast.LShift: b.shl, ast.RShift: b.ashr,
                ast.BitAnd: b.and_, ast.BitOr: b.or_, ast.BitXor: b.xor}[operator](left, right)  # fmt: skip

    def truth(self, node: ast.expr) -> ir.Value:
        """A bit, or one of each lane."""
        if isinstance(node, ast.Compare):
            left, right = self.alike(self.value(node.left), self.value(node.comparators[0]))
            name = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
            return self.builder.icmp_signed(name[type(node.ops[0])], left, right)
        if isinstance(node, ast.BoolOp):  # nothing in the dialect has an effect, so all parts may be looked at
            combine = self.builder.and_ if isinstance(node.op, ast.And) else self.builder.or_
            found = self.truth(node.values[0])
            for other in node.values[1:]:
                found = combine(*self.alike(found, self.truth(other)))
            return found
        return self.builder.icmp_signed("!=", *self.alike(self.value(node), number(0, self.word)))

    def of_those_here(self, value: ir.Value, other: int) -> ir.Value:
        """The value in the lanes that are here, elsewhere one that does no harm."""
        return (
            value
            if self.mask is None
            else self.builder.select(self.mask, *self.alike(self.splat(value), number(other, self.word)))
        )

    # Arrays

    def address(self, name: str, index: ir.Value, lane: int = 0) -> ir.Value:
        """Of an element of one lane. index: a scalar."""
        i = self.builder.sext(index, LONG)
        if self.lanes > 1 and name not in dialect.SHARED:
            i = self.builder.add(self.builder.mul(i, ir.Constant(LONG, self.lanes)), ir.Constant(LONG, lane))
        return self.builder.gep(self.pointers[name], [i])

    def index(self, node: ast.Subscript) -> ir.Value:
        """Which element of a lane's array. What leads to it never wraps, as the checking mode shows; to know this lets
        LLVM count in addresses.
        """
        self.addressing = True
        found = self.value(node.slice)
        self.addressing = False
        return found

    def load(self, node: ast.Subscript) -> ir.Value:
        b, name = self.builder, dialect.array(node)
        bits, shared = self.kernel.arguments[name], name in dialect.SHARED
        index = self.index(node)
        if wide(index):
            index = self.of_those_here(index, 0)
            found = ir.Constant(ir.VectorType(ir.IntType(bits), self.lanes), ir.Undefined)
            for lane in range(self.lanes):
                at = self.address(name, b.extract_element(index, number(lane)), lane)
                found = b.insert_element(found, b.load(at), number(lane))
        elif self.lanes == 1 or shared or dialect.is_wiring(node):
            found = b.load(self.address(name, index))
        else:
            vector = ir.VectorType(ir.IntType(bits), self.lanes)
            found = b.load(b.bitcast(self.address(name, index), vector.as_pointer()), align=bits // 8)
        if bits == self.word.width:
            return found
        return (b.sext if bits == 32 else b.zext)(found, self.vector if wide(found) else self.word)

    def store(self, node: ast.Subscript, value: ir.Value) -> None:
        b, name = self.builder, dialect.array(node)
        index = self.index(node)
        if self.lanes == 1:
            element = ir.IntType(self.kernel.arguments[name])
            b.store(value if element == self.word else b.trunc(value, element), self.address(name, index))
            return
        value = self.splat(value)
        if wide(index):
            for lane in range(self.lanes):  # a lane that is not here writes what it finds
                at = self.address(name, b.extract_element(self.of_those_here(index, 0), number(lane)), lane)
                new = b.extract_element(value, number(lane))
                if self.mask is not None:
                    new = b.select(b.extract_element(self.mask, number(lane)), new, b.load(at))
                b.store(new, at)
            return
        at = b.bitcast(self.address(name, index), self.vector.as_pointer())
        if self.mask is not None:
            value = b.select(self.mask, value, b.load(at, align=ALIGNED))
        b.store(value, at, align=ALIGNED)

    # Statements

    def block(self, body: Sequence[ast.stmt]) -> None:
        for node in body:
            {ast.Assign: self.assign, ast.If: self.branch, ast.While: self.loop, ast.For: self.count,
             ast.Continue: self.skip}[type(node)](node)  # type: ignore[operator]  # fmt: skip

    def assign(self, node: ast.Assign) -> None:
        self.put(node.targets[0], self.value(node.value))

    def put(self, target: ast.expr, value: ir.Value) -> None:
        if isinstance(target, ast.Subscript):
            self.store(target, value)
            return
        assert isinstance(target, ast.Name)
        slot = self.slot(target.id)
        if self.type_of(target.id) is self.vector:
            value = self.splat(value)
            if self.mask is not None:
                value = self.builder.select(self.mask, value, self.builder.load(slot))
        self.builder.store(value, slot)

    def skip(self, node: ast.Continue) -> None:
        self.builder.branch(self.following[-1])

    def branch(self, node: ast.If) -> None:
        condition = self.truth(node.test)
        if wide(condition) and not any(isinstance(x, ast.Continue) for x in node.body):
            outer = self.mask
            for body, here in ((node.body, condition), (node.orelse, self.builder.not_(condition))):
                if body:
                    self.mask = here if outer is None else self.builder.and_(outer, here)
                    self.block(body)
            self.mask = outer
            return
        if wide(condition):
            condition = self.vote(condition, "all")
        b = self.builder
        ways = [b.append_basic_block(name) for name in ("then", "else", "endif")]
        b.cbranch(condition, *ways[:2])
        for way, body in zip(ways, (node.body, node.orelse), strict=False):
            b.position_at_end(way)
            self.block(body)
            if not b.block.is_terminated:
                b.branch(ways[2])
        b.position_at_end(ways[2])

    def loop(self, node: ast.While) -> None:
        b, outer = self.builder, self.mask
        head, body, end = (b.append_basic_block(name) for name in ("while", "do", "endwhile"))
        b.branch(head)
        b.position_at_end(head)
        condition = self.truth(node.test)
        if wide(condition):
            self.mask = condition if outer is None else b.and_(outer, condition)
            condition = self.vote(self.mask, "any")
        b.cbranch(condition, body, end)
        b.position_at_end(body)
        self.block(node.body)
        b.branch(head)
        b.position_at_end(end)
        self.mask = outer

    def count(self, node: ast.For) -> None:
        """The counter is not the variable: the body may assign to that."""
        assert isinstance(node.iter, ast.Tuple)
        b, step = self.builder, whole(node.iter.elts[2])
        low, high = self.value(node.iter.elts[0]), self.value(node.iter.elts[1])
        with b.goto_entry_block():
            counter = b.alloca(self.word)
        b.store(low, counter)
        head, body, following, end = (b.append_basic_block(name) for name in ("for", "do", "next", "endfor"))
        b.branch(head)
        b.position_at_end(head)
        i = b.load(counter)
        b.cbranch(b.icmp_signed("<" if step > 0 else ">", i, high), body, end)
        b.position_at_end(body)
        self.put(node.target, i)
        self.following.append(following)
        self.block(node.body)
        self.following.pop()
        b.branch(following)
        b.position_at_end(following)
        b.store(b.add(i, number(step, self.word)), counter)
        b.branch(head)
        b.position_at_end(end)

    def vote(self, condition: ir.Value, which: str) -> ir.Value:
        """Whether all, or any, of the lanes that are here say so."""
        bits = ir.IntType(self.lanes)
        if self.mask is not None and which == "all":
            condition = self.builder.or_(condition, self.builder.not_(self.mask))
        found = self.builder.bitcast(condition, bits)
        if which == "all":
            return self.builder.icmp_unsigned("==", found, ir.Constant(bits, (1 << self.lanes) - 1))
        return self.builder.icmp_unsigned("!=", found, ir.Constant(bits, 0))


def loop_arguments(passes: Passes) -> dict[str, int]:
    """Of the two loops: name -> bits of the array's elements, 0 for an integer. `images` are how many."""
    arrays = (*passes.state, *passes.tables, "pixels", "labels", "predictions")
    return {name: passes.widths.get(name, 32) for name in arrays} | dict.fromkeys(("images", *passes.sizes), 0)


def emit_loop(module: ir.Module, name: str, passes: Passes, calls: Sequence[Call], lanes: int) -> None:
    """A function that makes these calls for each of `images` images."""
    arguments = loop_arguments(passes)
    types = [ir.IntType(bits).as_pointer() if bits else INT for bits in arguments.values()]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
    of: dict[str, ir.Value] = dict(zip(arguments, function.args, strict=True))
    entry, head, body, end = (function.append_basic_block(part) for part in ("entry", "image", "do", "end"))
    b = ir.IRBuilder(entry)
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(LONG)
    i.add_incoming(ir.Constant(LONG, 0), entry)
    b.cbranch(b.icmp_signed("<", i, b.sext(of["images"], LONG)), body, end)
    b.position_at_end(body)
    own = b.mul(i, ir.Constant(LONG, lanes))
    at = b.gep(of["labels"], [own])
    area = b.mul(of["rows"], of["steps"])
    of |= {
        "area": area,
        "pixels": b.gep(of["pixels"], [b.mul(own, b.sext(area, LONG))]),
        "prediction": b.gep(of["predictions"], [own]),
        "label": b.load(b.bitcast(at, ir.VectorType(INT, lanes).as_pointer()) if lanes > 1 else at, align=ALIGNED),
        "at": of["base"],  # all rows of the image at once
        "done": number(0),
        "count": of["steps"],
        "arrived": of["steps"],
    }
    for kernel, *given in calls:
        b.call(module.get_global(kernel), [number(x) if isinstance(x, int) else of[x] for x in given])
    i.add_incoming(b.add(i, ir.Constant(LONG, 1)), body)
    b.branch(head)
    b.position_at_end(end)
    b.ret_void()


def module(program: dialect.Program, lanes: int) -> ir.Module:
    """The kernels of a text."""
    made = ir.Module("shoreline")
    for kernel in program.kernels.values():
        Emitter(made, kernel, lanes)
    return made


def emit(passes: Passes, lanes: int) -> str:
    """A network's kernels, and the two loops around them, as text."""
    program, called = passes.program, {call[0] for call in passes.calls}
    kernels = {name: kernel for name, kernel in program.kernels.items() if name in called}
    made = module(dialect.Program(kernels, program.constants), lanes)
    for kernel in made.functions:  # once each: to inline them into both loops takes longer, and gains nothing
        kernel.linkage = "internal"
        kernel.attributes.add("noinline")
    answer = (*passes.take, *passes.classify)
    emit_loop(made, "learn", passes, (*answer, *passes.learn), lanes)
    emit_loop(made, "classify", passes, answer, lanes)
    return str(made)


def machine() -> binding.TargetMachine:
    """This computer, with all that its processor can do. A new one each time: a compiler keeps what it is given."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    target = binding.Target.from_default_triple()
    return target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=3)


def best_lanes() -> int:
    """As many lattices as are trained fastest here in one call: as many as a vector register has words."""
    features = binding.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


class Native:
    """A compiled module. functions: name -> a ctypes function that takes addresses and integers."""

    def __init__(self, text: str, signatures: Mapping[str, Sequence[type]], level: int = 3):
        """Compile. signatures: of the functions that are wanted. level: of LLVM's optimisation, 1 to 3."""
        module = binding.parse_assembly(text)
        options = binding.create_pipeline_tuning_options(level)
        options.slp_vectorization = options.loop_vectorization = level == 3
        computer = machine()
        passes = binding.create_pass_builder(computer, options)
        passes.getModulePassManager().run(module, passes)
        self.engine = binding.create_mcjit_compiler(module, computer)
        self.engine.finalize_object()
        self.functions: dict[str, Any] = {}
        for name, types in signatures.items():
            function: Any = ctypes.CFUNCTYPE(None, *types)(self.engine.get_function_address(name))
            function.owner = self  # the code is there as long as its functions are
            self.functions[name] = function
