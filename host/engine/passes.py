"""Which kernels an image goes through, as data: LLVM (host.engine.llvm) and C (host.engine.c99) write the same calls.

A back end is given a Passes and knows no network by itself: one with other kernels, or another rule, is another Passes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from fixedpoint import diagonal_kernels, kernels, tables
from fixedpoint.diagonal import Diagonal
from fixedpoint.lattice import Lattice
from fixedpoint.network import MAX_STEPS, Network, words
from host.engine import dialect

# A kernel and its arguments: numbers, and names of arrays, of sizes, or of IMAGE's.
Call = tuple[str | int, ...]
Table = Sequence[int]  # an array of Python's or NumPy's

# What differs from image to image, and from one part of it to the next; a back end says what each is. pixels: those
# that arrive now, `count` rows of them, `area` in all, and `at` is where the first goes in h; done, arrived: the rows
# that the forward sweep has seen, and those that are there with these; label: the right class; prediction: one word for
# the answer.
IMAGE = ("pixels", "count", "area", "at", "done", "arrived", "label", "prediction")

# What Lattice.classify() does in Python.
BEST = """
def best(z: ptr32, prediction: ptr32, outs: int):
    \"\"\"prediction[0] = the class with the largest logit, the first of equal ones.\"\"\"
    top = z[0]
    k = 0
    for j in range(1, outs):
        if z[j] > top:
            top = z[j]
            k = j
    prediction[0] = k
"""


@dataclass(frozen=True, eq=False)
class Passes:
    """The kernels of a network and when each is called.

    texts: in the dialect. state: the network's int32 arrays, attributes of it. tables: arrays that never change, by the
    name of the kernels' argument. sizes: name -> what says it of a network. take: pixels come in; classify: from the
    last pixels to the prediction; learn: from there to the next parameters; derive: what new parameters ask for.
    """

    texts: tuple[str, ...]
    state: tuple[str, ...]
    tables: Mapping[str, Table]
    sizes: Mapping[str, Callable[[Any], int]]
    take: tuple[Call, ...]
    classify: tuple[Call, ...]
    learn: tuple[Call, ...]
    derive: tuple[Call, ...]
    counter: tuple[str, int] | None = None  # array and index where the kernels count training steps, if they do

    @cached_property
    def program(self) -> dialect.Program:
        """All kernels, read and checked."""
        programs = [dialect.parse(text) for text in self.texts]
        return dialect.Program(
            {name: kernel for program in programs for name, kernel in program.kernels.items()},
            {name: value for program in programs for name, value in program.constants.items()},
        )

    @property
    def calls(self) -> tuple[Call, ...]:
        """All of them."""
        return (*self.take, *self.classify, *self.learn, *self.derive)

    @cached_property
    def widths(self) -> dict[str, int]:
        """Bits of the elements of every array in a call."""
        return {
            name: bits
            for kernel, *arguments in self.calls
            for name, bits in zip(arguments, self.program.kernels[str(kernel)].arguments.values(), strict=True)
            if bits and isinstance(name, str)
        }


TABLES = {"tanh": tables.TANH, "exp": tables.EXP, "c_table": tables.C, "da_table": tables.DA}


def _sizes(*names: str) -> dict[str, Callable[[Any], int]]:
    """Attributes of a network, by their own names."""
    return {name: attrgetter(name) for name in names}


def _texts(*modules: ModuleType) -> tuple[str, ...]:
    return (*(Path(str(module.__file__)).read_text() for module in modules), BEST)


def _cells(backward: str) -> Passes:
    """Of two-input cells, with this kernel for the gradient."""
    derive: tuple[Call, ...] = (("derive", "w", "m", "c_table", "da_table", "cells"),)
    return Passes(
        texts=_texts(kernels),
        state=("h", "m", "w", "z", "rule"),
        tables=TABLES,
        sizes=_sizes("rows", "cols", "cells", "steps", "scale", "mantissa", "cool", "coarse", "base"),
        take=(("feed", "h", "pixels", 0, "count", "rows", "at", "steps", "scale"),),
        classify=(
            ("forward", 0, 0, "h", "m", "tanh", "cells", "steps", "done", "arrived"),
            ("readout", "m", "h", "z", "cells", "cols", "steps"),
            ("best", "z", "prediction", "cols"),
        ),
        learn=(
            ("softmax", "z", "exp", "cols", "label", "cool"),
            ("error", "m", "h", "z", "cells", "cols", "steps", "coarse"),
            (backward, 0, 0, "h", "m", "cells", "steps", "mantissa"),
            ("update", "w", "m", "rule", "cells"),
            *derive,
        ),
        derive=derive,
    )


def _units(alone: bool) -> Passes:
    """Of the diagonal network. alone: it passes over inputs that have been 0 so far."""
    shape = ("units", "rows", "cols")
    derive: tuple[Call, ...] = (("derive_units", "w", "u", "c_table", "da_table", "units", "rows"),)
    absorb = ("h", "v", "u", "tanh", "quiet", "units", "rows", "done", "arrived", "gain", "narrow")
    return Passes(
        texts=_texts(kernels, diagonal_kernels),
        state=("h", "w", "v", "e", "s", "u", "z", "rule", *(("quiet",) if alone else ())),
        tables=TABLES if alone else TABLES | {"quiet": words(2 * MAX_STEPS)},
        sizes={
            **_sizes(*shape, "steps", "scale", "gain", "narrow", "cool"),
            "base": lambda network: 0,
            "count_w": lambda network: len(network.w),
        },
        take=(("feed", "h", "pixels", 0, 1, "area", "at", 1, "scale"),),
        classify=(
            *((("listen", "h", "quiet", "rows", "done", "arrived"),) if alone else ()),
            ("absorb", 0, 0, "e", "s", *absorb),
            ("logits", "s", "v", "z", *shape),
            ("best", "z", "prediction", "cols"),
        ),
        learn=(
            ("softmax", "z", "exp", "cols", "label", "cool"),
            ("teach", 0, 0, "e", "s", "v", "u", "z", "quiet", *shape, "steps"),
            ("adapt", 0, 0, "w", "s", "v", "z", "rule", *shape, "gain", "narrow"),
            *derive,
        ),
        derive=(("derive_weights", "w", "v", "count_w"), *derive),
    )


SNAP1, EXACT, DIAGONAL, DIAGONAL_ALONE = _cells("backward"), _cells("exact"), _units(False), _units(True)


def passes_of(network: Network, alone: bool = False) -> Passes:
    """What an image goes through in this network.

    alone: as Network has it, and a board. Side by side, networks do not pass over the same inputs. A network that was
    given others has them in `passes` (host.engine.disturbed).
    """
    if own := getattr(network, "passes", None):
        return own  # type: ignore[no-any-return]
    if isinstance(network, Diagonal):
        return DIAGONAL_ALONE if alone else DIAGONAL
    return EXACT if isinstance(network, Lattice) and network.exact else SNAP1


def everything() -> dialect.Program:
    """All kernels of all networks, for who calls them one by one."""
    return DIAGONAL.program
