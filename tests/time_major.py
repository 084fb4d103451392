"""The chip's order: all cells stepped together, one time step after the other. An independent second implementation.

The kernels run over the cells outside and over time inside. Here every cell keeps its eleven traces and takes one step
at a time, as the article has it, in plain Python on unbounded integers and with products that are not split. It shares
the tables with the engine, no code. The error is known after the first sweep, the largest message of every cell (which
sets the exponent of its messages) after the second, so the gradient takes a third.
"""

from collections.abc import Sequence

from fixedpoint.lattice import Lattice
from fixedpoint.tables import DA, EXP, TANH, C

L, WL, WT, B = range(4)


def floor(value: int, bits: int) -> int:
    return value >> bits


def nearest(value: int, bits: int) -> int:
    return (value + ((1 << bits) >> 1)) >> bits


def clip(value: int, lowest: int, highest: int) -> int:
    return max(lowest, min(highest, value))


def looked_up(table: Sequence[int], x: int, bits: int) -> int:
    """Entry x / 2**bits of the table, interpolated."""
    i, f = divmod(x, 1 << bits)
    return nearest(table[i] * ((1 << bits) - f) + table[min(i + 1, len(table) - 1)] * f, bits)


class Leaky:
    """A leaky integral: 15 bits more than it is read with, and half an LSB to begin with."""

    def __init__(self) -> None:
        self.sum = 1 << 14

    @property
    def value(self) -> int:
        return floor(self.sum, 15)

    def take(self, c: int, x: int) -> None:
        self.sum += c * (x - self.value)


class Cell:
    def __init__(self, masters: Sequence[int], gain: int) -> None:
        at = (masters[L] + (4 << 26)) >> 9
        self.c, self.da = looked_up(C, at, 12), looked_up(DA, at, 12)
        self.wl, self.wt, self.b = nearest(masters[WL], 14), nearest(masters[WT], 14), nearest(masters[B], 12)
        self.kl, self.kt = nearest(self.c * self.wl, 15), nearest(self.c * self.wt, 15)
        self.gain = gain
        room = abs(self.wl) + (abs(self.wt) >> gain)
        self.fine = max(bits for bits in range(5) if room << bits <= 65536)
        self.begin()

    def begin(self) -> None:
        self.el, self.et, self.eta = Leaky(), Leaky(), Leaky()
        self.cross = [[Leaky() for _ in range(4)] for _ in range(2)]  # of the right and of the below descendant

    def step(self, left: int, top: int) -> None:
        change = floor(self.wl * (left - self.el.value), 1) + floor(self.wt * (top - self.et.value), 1 + self.gain)
        self.eta.sum -= self.c * self.eta.value + self.da * nearest(change, 14 - self.fine)
        self.el.take(self.c, left)
        self.et.take(self.c, top)
        s = self.wl * self.el.value + floor(self.wt * self.et.value, self.gain)
        drive = nearest(s, 12 - self.gain) + self.b
        size = looked_up(TANH, min(abs(drive), (8 << 14) - 1), 8)
        self.y = -size if drive < 0 else size
        self.d = (1 << 14) - nearest(self.y * self.y, 14)

    def trace(self, c_right: int, c_below: int) -> None:
        e, x, v = (
            nearest(self.d * self.eta.value, 15),
            floor(self.d * self.el.value, 14),
            floor(self.d * self.et.value, 14),
        )
        for traces, c in zip(self.cross, (c_right, c_below), strict=True):
            for trace, f in zip(traces, (e, x, v, self.d), strict=True):
                trace.take(c, f)

    def message(self, k_right: int, right: int, k_below: int, below: int) -> int:
        m = clip(nearest(k_right * right + k_below * below, 14), -(1 << 26), (1 << 26) - 1)
        return nearest(m * self.d, 12)


class TimeMajor:
    """Trains like Lattice.train(), from the lattice's parameters on and with its rates and bounds."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.rows, self.cols, self.steps = lattice.rows, lattice.cols, lattice.steps
        self.w = [[int(v) for v in lattice.w[4 * p : 4 * p + 4]] for p in range(self.rows * self.cols)]
        self.places = [(i, j) for i in range(self.rows) for j in range(self.cols)]

    def train(self, pixels: Sequence[int], label: int) -> None:
        self.cells = {(i, j): Cell(self.w[i * self.cols + j], 0 if j else self.lattice.gain) for i, j in self.places}
        self.logits = [0] * self.cols
        for _ in self._forward(pixels):
            for j in range(self.cols):
                self.logits[j] += self.cells[self.rows - 1, j].y
        self.delta = softmax_error(self.logits, label)
        largest: dict[tuple[int, int], int] = {}
        for _ in self._forward(pixels):
            for place, lam in self._messages().items():
                largest[place] = max(largest.get(place, 0), abs(lam))
        bits = 16 - self.steps.bit_length()
        exponents = {place: max(0, value.bit_length() - bits) for place, value in largest.items()}
        self._gradient(pixels, exponents)
        self._update()

    def _forward(self, pixels: Sequence[int]):
        """Step all cells together; yields after each step."""
        for cell in self.cells.values():
            cell.begin()
        for t in range(self.steps):
            for (i, j), cell in self.cells.items():
                x = floor(pixels[t * self.rows + i] * self.lattice.scale, 6)
                cell.step(self.cells[i, j - 1].y if j else x, self.cells[i - 1, j].y if i else 0)
            yield t

    def _messages(self) -> dict[tuple[int, int], int]:
        """lam of all cells in this step, and of the readouts below them."""
        lam = {(self.rows, j): self.delta[j] for j in range(self.cols)}
        for place in reversed(self.places):
            (k_right, right), (k_below, below) = self._descendants(place, "k")
            lam[place] = self.cells[place].message(k_right, lam.get(right, 0), k_below, lam[below])
        return lam

    def _descendants(self, place: tuple[int, int], what: str) -> tuple[tuple[int, tuple[int, int]], ...]:
        """(c, w or k of the input that hears this cell, place) of the right and of the below descendant."""
        right, below = (place[0], place[1] + 1), (place[0] + 1, place[1])
        null, readout = {"c": (0, 1 << 15), "w": (0, 1 << 12), "k": (0, 1 << 12)}[what]
        names = {"c": ("c", "c"), "w": ("wl", "wt"), "k": ("kl", "kt")}[what]
        return (
            (getattr(self.cells[right], names[0]) if right in self.cells else null, right),
            (getattr(self.cells[below], names[1]) if below in self.cells else readout, below),
        )

    def _gradient(self, pixels: Sequence[int], exponents: dict[tuple[int, int], int]) -> None:
        sums = {place: [[0] * 4, [0] * 4] for place in self.places}
        for _ in self._forward(pixels):
            lam = self._messages()
            for place, cell in self.cells.items():
                descendants = self._descendants(place, "c")
                cell.trace(*(c for c, _ in descendants))
                for total, traces, (_, other) in zip(sums[place], cell.cross, descendants, strict=True):
                    message = nearest(lam.get(other, 0), exponents.get(other, 0))
                    for k in range(4):
                        total[k] += message * traces[k].value
        self.exponents, self.gradient = {}, {}
        for place, cell in self.cells.items():
            weights = self._descendants(place, "w")
            shared = max(exponents.get(other, 0) for _, other in weights)
            g = [0] * 4
            for total, (w, other) in zip(sums[place], weights, strict=True):
                for k in range(4):
                    g[k] += floor(total[k] * w, 15 + 1 + shared - exponents.get(other, 0))
            g[L] = floor(g[L], cell.fine)
            self.exponents[place], self.gradient[place] = shared, g

    def _update(self) -> None:
        rule = [int(v) for v in self.lattice.rule]
        for masters, place in zip(self.w, self.places, strict=True):
            gain = self.cells[place].gain
            for k, units in enumerate((4 + gain, gain, 0, 0)):  # binary exponents of the units of the four
                multiplier, shift, lowest, highest = rule[4 * k : 4 * k + 4]
                step = floor(self.gradient[place][k] * multiplier, 15)
                down = shift - 9 - self.exponents[place] - units
                if down > 0:
                    step = nearest(step, down)
                else:
                    limit = ((1 << 29) - 1) >> -down
                    step = clip(step, -limit, limit) << -down
                masters[k] = clip(masters[k] - step, lowest, highest)


def softmax_error(logits: Sequence[int], label: int) -> list[int]:
    """softmax(logits) - onehot(label), Q22."""
    below = [max(logits) - z for z in logits]
    exps = [looked_up(EXP, x, 9) if x < 16 << 14 else 0 for x in below]
    narrow = sum(exps).bit_length() - 15
    p = [nearest((e << 15) // (sum(exps) >> narrow), narrow - 7) for e in exps]
    p[label] = 0
    p[label] = -sum(p)
    return p
