"""A graph of two-input cells as data: who listens to whom, in the numbering that the engine's wiring has.

With n cells, o readouts and i inputs, a source is a row number: 0 .. n-1 the cells, n .. n+o-1 the readouts, which
nobody hears, n+o the null, which is always 0, and from n+o+1 on the inputs.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Graph:
    """Cells in an order in which sources come first.

    left, top   (n,) the row that each cell's two ports listen to
    out         (o,) the cell that each readout listens to; it does so on its top port
    inputs      how many inputs there are
    gain        (2, n) binary exponents, left and top: what enters the port is multiplied by 2**gain; default 0

    A cell has at most one listener on the left port of a cell, and one on the top port of a cell or readout.
    ValueError for any other graph.
    """

    left: Array
    top: Array
    out: Array
    inputs: int
    gain: Array = field(default_factory=lambda: np.zeros((2, 1), int))

    def __post_init__(self) -> None:
        for name in ("left", "top", "out"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        if self.left.shape != self.top.shape or self.left.ndim != 1 or self.out.ndim != 1:
            shapes = f"left {self.left.shape}, top {self.top.shape}, out {self.out.shape}"
            raise ValueError(f"{shapes}: they must be (n,), (n,) and (o,)")
        object.__setattr__(self, "gain", _frozen(np.broadcast_to(self.gain, (2, self.cells))))
        for port, sources in (("left", self.left), ("top", self.top)):
            for cell, source in enumerate(sources):
                if not (0 <= source < cell or self.null <= source < self.rows):
                    raise ValueError(f"{port} of cell {cell} is row {source}: no earlier cell, the null or an input")
        if ((self.out < 0) | (self.out >= self.cells)).any():
            raise ValueError(f"readouts listen to cells 0..{self.cells - 1}, not to {self.out}")
        for heard in (self.left[self.left < self.cells], np.append(self.top[self.top < self.cells], self.out)):
            if len(np.unique(heard)) < len(heard):
                raise ValueError("a cell has at most one listener on a left port and one on a top port")

    @property
    def cells(self) -> int:
        """How many cells there are, n."""
        return len(self.left)

    @property
    def null(self) -> int:
        """The row that is always 0."""
        return self.cells + len(self.out)

    @property
    def rows(self) -> int:
        """How many rows there are; the inputs are the last."""
        return self.null + 1 + self.inputs

    @cached_property
    def depth(self) -> Array:
        """(rows,) cells on the longest way from an input to a row's value, itself included; 0 for all but cells."""
        depth = np.zeros(self.rows, int)
        for cell, sources in enumerate(zip(self.left, self.top, strict=True)):
            depth[cell] = 1 + max(depth[source] for source in sources)
        return depth

    @cached_property
    def listeners(self) -> Array:
        """(2, n) the cell that listens to each cell on its left port, and on its top port; -1 where there is none."""
        found = np.full((2, self.cells), -1)
        for port, sources in enumerate((self.left, self.top)):
            heard = sources < self.cells
            found[port, sources[heard]] = np.flatnonzero(heard)
        return found


def lattice(rows: int, cols: int) -> Graph:
    """rows x cols cells in raster order: input i enters row i from the left, readout j listens below column j."""
    cells = np.arange(rows * cols).reshape(rows, cols)
    left, top = cells - 1, cells - cols
    left[:, 0] = rows * cols + cols + 1 + np.arange(rows)
    top[0] = rows * cols + cols
    return Graph(left.ravel(), top.ravel(), cells[-1], rows)


def _frozen(values: Array) -> Array:
    values = np.array(values, dtype=np.intp)
    values.flags.writeable = False
    return values
