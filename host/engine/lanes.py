"""Lattices of one shape side by side, one in each lane of a vector register: each with its own start, order and labels.

What a lane ends with is what the lattice ends with alone, to the last bit: lanes never meet.
"""

import copy
import ctypes
import os
import types
from array import array
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from math import ceil
from typing import Any

import numpy as np

from fixedpoint.diagonal import Diagonal
from fixedpoint.lattice import CELL, LAG, Lattice
from host.base.heartbeat import heartbeat
from host.engine import dialect, llvm
from host.engine.passes import Passes, everything, passes_of

POINTER, INT = ctypes.c_void_p, ctypes.c_int32
COMPILING = "compiling the kernels for this computer"  # a quarter of a second, so they are not kept on disk

# What an image of each of so many lanes takes, in microseconds as measured with 512-bit registers; the ratios count.
MICROSECONDS = {1: 77, 4: 194, 8: 234, 16: 391}


@cache
def compiled(passes: Passes, width: int) -> llvm.Native:
    """The two loops for so many lanes."""
    loop = [POINTER if bits else INT for bits in llvm.loop_arguments(passes).values()]
    return llvm.Native(llvm.emit(passes, width), {"learn": loop, "classify": loop})


@cache
def one_lattice() -> types.SimpleNamespace:
    """The kernels, compiled, as the `kernels` of a network; they take whatever has a buffer for an array."""
    program = everything()
    signatures = {kernel.name: signature(kernel) for kernel in program.kernels.values()}
    native = llvm.Native(str(llvm.module(program, 1)), signatures)

    def with_buffers(name: str) -> Callable[..., None]:
        function = native.functions[name]

        def call(*given: Any) -> None:
            function(*addresses(given))

        return call

    return types.SimpleNamespace(**{name: with_buffers(name) for name in native.functions})


def signature(kernel: dialect.Kernel, word: type = INT) -> list[type]:
    """The types of its arguments for ctypes."""
    return [POINTER if bits else word for bits in kernel.arguments.values()]


def addresses(given: Sequence[Any]) -> list[int]:
    """Arguments of a call as a compiled kernel takes them: of an array the address, good as long as the array lives."""
    return [
        x if isinstance(x, int) else x.buffer_info()[0] if isinstance(x, array)  # the quickest way to it
        else np.frombuffer(x, np.uint8).ctypes.data
        for x in given
    ]  # fmt: skip


def aligned(shape: tuple[int, int]) -> np.ndarray:
    """Zeros, int32, that begin with a cache line: a register's worth of them never lies in two."""
    size = 4 * shape[0] * shape[1]
    memory = np.zeros(size + 64, np.uint8)
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + size].view(np.int32).reshape(shape)


def cores() -> int:
    """How many processor cores there are for this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def groups(count: int, workers: int) -> list[int]:
    """How many of `count` lattices are best trained side by side by each of so many processes, one group at a time."""

    def duration(width: int) -> int:
        return ceil(ceil(count / width) / workers) * MICROSECONDS[width]

    widths = [width for width in MICROSECONDS if width <= llvm.best_lanes()]
    number = ceil(count / min(widths, key=duration))
    return [(count + i) // number for i in range(number)]


def wiring_of(network: Any) -> tuple[int, ...]:
    """Who listens to whom, and with which gains; nothing in a diagonal network."""
    if isinstance(network, Diagonal):
        return ()
    return tuple(x for at in range(0, len(network.m), CELL) for x in network.m[at : at + LAG + 1])


class Lanes:
    """The states of `lattices`, which must be of one shape, side by side; the lattices themselves are left alone.

    ready: compile now. Raises ValueError for lattices of different shapes, wirings or rules.
    """

    def __init__(self, lattices: Sequence[Lattice], ready: bool = True):
        shapes = {(x.rows, x.cols, x.steps, x.scale, x.gain, x.cool, len(x.w)) for x in lattices}
        if len(shapes) != 1:
            raise ValueError(f"lattices side by side are of one shape; these are of {sorted(shapes)}")
        if len({(passes_of(x), wiring_of(x)) for x in lattices}) != 1:  # it is read once, for all lanes
            raise ValueError("lattices side by side are of one graph and one rule; these are not")
        self.shape = lattices[0]
        self.passes = passes_of(self.shape)
        self.tables = [np.array(table) for table in self.passes.tables.values()]
        self.count = len(lattices)
        self.width = next((width for width in llvm.LANES if width >= self.count), 0)
        if not self.width:
            raise ValueError(f"{self.count} lattices: choose at most {llvm.LANES[-1]}")
        if ready:
            self.functions  # noqa: B018 (compiled now, not while a run is timed)
        self.arrays = {name: aligned((len(getattr(self.shape, name)), self.width)) for name in self.passes.state}
        self.steps = [0] * self.count
        for lane in range(self.width):  # those that are left over do as the first, and nobody looks
            self._put(lane, lattices[lane if lane < self.count else 0])

    @cached_property
    def functions(self) -> dict[str, Any]:
        """The two loops, compiled."""
        with heartbeat(lambda: COMPILING):
            return compiled(self.passes, self.width).functions

    def _put(self, lane: int, lattice: Lattice) -> None:
        for name in self.passes.state:
            self.arrays[name][:, lane] = np.array(getattr(lattice, name), np.int32)
        if self.passes.counter:
            name, at = self.passes.counter
            self.arrays[name][at, lane] = lattice.step
        if lane < self.count:
            self.steps[lane] = lattice.step

    def set_rates(self, rates: tuple[tuple[int, int], ...]) -> None:
        """As Lattice.set_rates(), of all lanes."""
        self.shape.set_rates(rates)
        self.arrays["rule"][:] = np.array(self.shape.rule, np.int32)[:, None]

    def learn(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Train on images (n, lanes, steps, rows) uint8, labels (n, lanes); return the predictions before, alike."""
        found = self._run("learn", images, labels)
        self.steps = [step + len(images) for step in self.steps]
        return found

    def classify(self, images: np.ndarray) -> np.ndarray:
        """What each lane makes of images (n, steps, rows) uint8: (n, lanes)."""
        many = np.broadcast_to(images[:, None], (len(images), self.count, *images.shape[1:]))
        return self._run("classify", many, np.zeros((len(images), self.count), np.int32))

    def _run(self, name: str, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        s, n, width = self.shape, len(images), self.width
        if labels.shape != (n, self.count):
            raise ValueError(f"labels {labels.shape}: {self.count} lanes train together")
        pixels = np.zeros((n, s.rows * s.steps, width), np.uint8)
        pixels[:, :, : self.count] = images.reshape(n, self.count, -1).transpose(0, 2, 1)
        targets = np.zeros((n, width), np.int32)
        targets[:, : self.count] = labels
        found = np.zeros((n, width), np.int32)
        arrays = [*(self.arrays[x] for x in self.passes.state), *self.tables, pixels, targets, found]
        sizes = [size(s) for size in self.passes.sizes.values()]
        self.functions[name](*[x.ctypes.data for x in arrays], n, *sizes)
        return found[:, : self.count]

    def lattice(self, lane: int) -> Lattice:
        """A plain lattice with the parameters and the step counter of a lane."""
        made = copy.copy(self.shape)
        for name in self.passes.state:
            setattr(made, name, array("i", self.arrays[name][:, lane].tolist()))
        made.step = self.steps[lane]
        return made

    def load(self, lane: int, params: np.ndarray, step: int) -> None:
        """Take a lane's parameters (int32, Q26, raster order) and the step counter that belongs to them."""
        lattice = self.lattice(lane)
        lattice.load(params.ravel().tolist(), step)
        self._put(lane, lattice)
