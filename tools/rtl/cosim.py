"""Cells in a simulator against the vectors, under cocotb 2. Copy this file to hold a cell of your own against them.

  python -m tools.vectors --out DIR --graph lattice --rows 3 --cols 3      vectors first
  python -m tools.rtl check DIR --cocotb                                   these tests, under Icarus Verilog

The circuit takes the place of each cell of the network, on each image: it gets what that cell got, and after each step
must hold what that cell held. A test ends at the first signal that differs, and names it.

Of our circuits are the tables (a signal of the vectors, and where the circuit has it), and `run`: how it is told to do
something. The rest is of the vectors, whatever the circuit. The simulator runs in their directory.
"""

import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, SimTimeoutError, with_timeout

Handle = Any  # cocotb's, of a signal or a module
Source = Callable[[], int]  # reads a signal
FORWARD, MESSAGE, LEARN, FINISH, UPDATE, DERIVE = range(6)  # operations of learning_cell.v
KINDS = ("l", "wl", "wt", "b")
CLOCK, PATIENCE = 2, 10_000  # of the simulator's steps: a clock, and the longest operation


class Replay:
    """A place in the vectors of level "cell": what they hold there, and whether the circuit does."""

    def __init__(self, name: str) -> None:
        self.name = name
        found = json.loads(Path("manifest.json").read_bytes())["signals"]
        signals = {signal["name"]: signal for signal in found if signal["file"].startswith("cell/")}
        with np.load("cell/cell.npz") as archive:
            self.values = {name: archive[signal["key"]] for name, signal in signals.items()}
        self.index = {name: signal["index"] for name, signal in signals.items()}
        self.images, self.cells, self.steps = self.values["y"].shape
        self.at = {"image": 0, "cell": 0, "step": 0}

    def everywhere(self) -> Iterator[None]:
        """Every cell on every image, before its first step, which is step -1."""
        for image in range(self.images):
            for cell in range(self.cells):
                self.at = {"image": image, "cell": cell, "step": -1}
                yield

    def each_step(self) -> Iterator[None]:
        """Its steps. After the last it is step `steps`."""
        for step in range(self.steps):
            self.at["step"] = step
            yield
        self.at["step"] = self.steps

    def expected(self, signal: str) -> int:
        return int(self.values[signal][tuple(self.at[part] for part in self.index[signal])])

    def drive(self, ports: Mapping[str, Handle]) -> None:
        """Put the vectors' values on these ports."""
        for signal, port in ports.items():
            port.value = self.expected(signal)

    def check(self, sources: Mapping[str, Source]) -> None:
        """Raises AssertionError for the first of these that differs."""
        for signal, read in sources.items():
            try:
                got: int | str = read()
            except ValueError:  # bits that are neither 0 nor 1
                got = "x"
            if got != self.expected(signal):
                self.fail(signal, got, self.expected(signal))

    def fail(self, signal: str, got: int | str, expected: int) -> None:
        where = " ".join(f"{part} {number}" for part, number in self.at.items())
        raise AssertionError(f"FAIL {self.name}: signal {signal} {where}: got {got}, expected {expected}")

    async def run(self, dut: Handle, **ports: int) -> None:
        """Begin what these ports say, and wait until it is done. Ports are driven, and signals read, between clocks."""
        for name, value in ports.items():
            getattr(dut, name).value = value
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        try:
            await with_timeout(FallingEdge(dut.busy), PATIENCE)
        except SimTimeoutError:
            self.fail("busy", 1, 0)
        await FallingEdge(dut.clk)

    def passed(self, more: str = "") -> None:
        print(f"PASS {self.name}: {self.values['y'].size} cell-steps{more}, under cocotb {cocotb.__version__}")


def signed(handle: Handle) -> Source:
    """Reads two's complement."""
    return lambda: int(handle.value.to_signed())


def natural(handle: Handle) -> Source:
    return lambda: int(handle.value.to_unsigned())


async def pulse(dut: Handle, port: Handle) -> None:
    """1 for a clock."""
    port.value = 1
    await FallingEdge(dut.clk)
    port.value = 0


async def reset(dut: Handle) -> None:
    """Start the clock, with everything at rest."""
    for port in ("start", "clear", "write", "clear_peak"):
        if hasattr(dut, port):
            getattr(dut, port).value = 0
    Clock(dut.clk, CLOCK).start()
    await FallingEdge(dut.clk)


@cocotb.test()
async def forward_cell(dut: Handle) -> None:
    """forward_cell.v: filters and output."""
    replay = Replay("forward_cell")
    operands = {"c": dut.c, "wl_operand": dut.wl, "wt_operand": dut.wt, "b_operand": dut.b, "gain": dut.gain,
                "lag": dut.lag}  # fmt: skip
    inputs = {"left": dut.left, "top": dut.top}
    outputs = {"el": signed(dut.el), "et": signed(dut.et), "y": signed(dut.y), "d": natural(dut.d)}
    await reset(dut)
    for _ in replay.everywhere():
        replay.drive(operands)
        await pulse(dut, dut.clear)
        for _ in replay.each_step():
            replay.drive(inputs)
            await replay.run(dut)
            replay.check(outputs)
    replay.passed()


@cocotb.test()
async def learning_cell(dut: Handle) -> None:
    """learning_cell.v: the same, with traces, messages, gradient, update, and operands of the parameters."""
    replay = Replay("learning_cell")
    neighbours = {f"{name}_{side}": getattr(dut, f"{name}_{side}")
                  for name in ("c", "k", "w", "lost") for side in ("right", "below")}  # fmt: skip
    inputs = {name: getattr(dut, name) for name in ("left", "top", "message_right", "message_below", "factor_right",
                                                    "factor_below")}  # fmt: skip
    operands = {
        "c": natural(dut.c), "da": natural(dut.da), "wl_operand": signed(dut.wl), "wt_operand": signed(dut.wt),
        "b_operand": signed(dut.b), "kl": signed(dut.kl), "kt": signed(dut.kt), "fine": natural(dut.fine),
    }  # fmt: skip
    state = {
        "el": signed(dut.ahead.el), "et": signed(dut.ahead.et), "y": signed(dut.y), "d": natural(dut.d),
        "eta": signed(dut.eta), "message": signed(dut.message),
    }  # fmt: skip
    places = [(side, kind) for side in ("right", "below") for kind in KINDS]
    state |= {f"cross_{side}_{kind}": cross(dut, i) for i, (side, kind) in enumerate(places)}
    state |= {f"sum_{side}_{kind}": signed(dut.sums[i]) for i, (side, kind) in enumerate(places)}
    factor = {"lost": natural(dut.lost)}
    gradient = {"exponent": natural(dut.exponent)}
    gradient |= {f"gradient_{kind}": signed(dut.gradient[i]) for i, kind in enumerate(KINDS)}
    after = masters(dut)

    await reset(dut)
    dut.learning.value = 1
    for _ in replay.everywhere():
        for i, kind in enumerate(KINDS):
            dut.write_kind.value = i
            replay.drive({kind: dut.write_value})
            await pulse(dut, dut.write)
        replay.drive({"gain": dut.gain, "lag": dut.lag} | neighbours)
        await beside(tables(dut), replay.run(dut, operation=DERIVE))
        replay.check(operands)
        dut.clear_peak.value = 1
        await pulse(dut, dut.clear)
        dut.clear_peak.value = 0
        for _ in replay.each_step():
            replay.drive(inputs)
            for operation in (FORWARD, MESSAGE, LEARN):
                await replay.run(dut, operation=operation)
            replay.check(state)
        replay.check(factor)
        await replay.run(dut, operation=FINISH)
        replay.check(gradient)
        await beside(rule(dut, replay), replay.run(dut, operation=UPDATE))
        replay.check(after)
    replay.passed(f", {replay.images * replay.cells} updates")


async def beside(service: Coroutine[Any, Any, None], work: Coroutine[Any, Any, None]) -> None:
    """Do the work while the service, which knows no end, goes on."""
    serving = cocotb.start_soon(service)
    await work
    serving.cancel()


async def tables(dut: Handle) -> None:
    """The memories of c and da: an entry comes a clock after its address."""
    with np.load("tables/tables.npz") as archive:
        c, da = (dict(enumerate(archive[name].tolist())) for name in ("c", "da"))
    while True:
        await RisingEdge(dut.clk)
        address = dut.table_address.value
        at = address.to_unsigned() if address.is_resolvable else 0
        dut.c_entry.value, dut.da_entry.value = c.get(at, 0), da.get(at, 0)  # of addresses beyond none is used


async def rule(dut: Handle, replay: Replay) -> None:
    """Rate and bounds of the kind of parameter that the cell asks for."""
    while True:
        kind = KINDS[dut.rule_kind.value.to_unsigned()]
        replay.drive({f"{name}_{kind}": getattr(dut, name) for name in ("multiplier", "shift", "lowest", "highest")})
        await dut.rule_kind.value_change


def cross(dut: Handle, place: int) -> Source:
    """Reads the accumulator that a cross trace, in a word of CROSS_BITS, stands for: see kept.v."""
    stored, bits = signed(dut.traces[place]), int(dut.CROSS_BITS.value)
    if bits >= 25:
        return stored
    spare = natural(dut.fine) if place % 4 == 0 else lambda: 4
    return lambda: (stored() << (29 - bits) >> (4 - spare())) + (1 << 14)


def masters(dut: Handle) -> dict[str, Source]:
    """Reads the parameters, of which all but l are kept without their last MASTER_CUT bits, as Q26."""
    cut = int(dut.MASTER_CUT.value)
    short = {f"{kind}_after": signed(dut.masters[i]) for i, kind in enumerate(KINDS) if kind != "l"}
    return {"l_after": signed(dut.l)} | {name: lambda read=read: read() << cut for name, read in short.items()}
