"""The chip's order: all cells stepped together, one time step after the other. An independent second implementation.

The kernels run over the cells outside and over time inside. Here every cell keeps its eleven traces and takes one step
at a time, as the article has it, in plain Python on unbounded integers and with products that are not split. It shares
the tables with the engine, no code. The error is known after the first sweep, the largest message of every cell (which
sets the exponent of its messages) after the second, so the gradient takes a third. By the exact rule all cells step
back together, from the last step to the first. Units of a diagonal network step together, too, and pass over nothing.
"""

from collections.abc import Sequence

from fixedpoint.diagonal import Diagonal
from fixedpoint.lattice import Lattice
from fixedpoint.tables import DA, EXP, TANH, C

L, WL, WT, B = range(4)
NOBODY = None


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
    def __init__(self, masters: Sequence[int], gain: int, lag: int) -> None:
        at = (masters[L] + (4 << 26)) >> 9
        self.c, self.da = looked_up(C, at, 12), looked_up(DA, at, 12)
        self.wl, self.wt, self.b = nearest(masters[WL], 14), nearest(masters[WT], 14), nearest(masters[B], 12)
        self.kl, self.kt = nearest(self.c * self.wl, 15), nearest(self.c * self.wt, 15)
        self.gain, self.lag = gain, lag
        room = abs(self.wl) + (abs(self.wt) >> lag)
        self.fine = max(bits for bits in range(5) if room << bits <= 65536)
        self.begin()

    def begin(self) -> None:
        self.el, self.et, self.eta = Leaky(), Leaky(), Leaky()
        self.cross = [[Leaky() for _ in range(4)] for _ in range(2)]  # of the right and of the below descendant
        self.nu = 0

    def change(self, left: int, top: int) -> int:
        """u - s_old, Q25."""
        return floor(self.wl * (left - self.el.value), 1) + floor(self.wt * (top - self.et.value), 1 + self.lag)

    def step(self, left: int, top: int) -> None:
        self.eta.sum -= self.c * self.eta.value + self.da * nearest(self.change(left, top), 14 - self.fine)
        self.el.take(self.c, left)
        self.et.take(self.c, top)
        s = self.wl * self.el.value + floor(self.wt * self.et.value, self.lag)
        self.y, self.d = squashed(nearest(s, 12 - self.gain) + self.b)

    def trace(self, c_right: int, c_below: int) -> None:
        e, x, v = (
            nearest(self.d * self.eta.value, 15),
            floor(self.d * self.el.value, 14),
            floor(self.d * self.et.value, 14),
        )
        for traces, c in zip(self.cross, (c_right, c_below), strict=True):
            for trace, f in zip(traces, (e, x, v, self.d), strict=True):
                trace.take(c, f)


def squashed(drive: int) -> tuple[int, int]:
    """y and d of s + b."""
    size = looked_up(TANH, min(abs(drive), (8 << 14) - 1), 8)
    return -size if drive < 0 else size, (1 << 14) - nearest(size * size, 14)


def message(d: int, *heard: tuple[int, int]) -> int:
    """lam = m d of the weights and messages that arrive."""
    m = clip(nearest(sum(k * sent for k, sent in heard), 14), -(1 << 26), (1 << 26) - 1)
    return nearest(m * d, 12)


class TimeMajor:
    """Trains like Lattice.train(), from the lattice's parameters on and with its rates and bounds.

    wired: the wiring that the lattice was made of. Readout j is the listener n + j of a cell's top port.
    """

    def __init__(self, lattice: Lattice, wired: tuple[Sequence[int], Sequence[int], Sequence[int]]) -> None:
        self.lattice = lattice
        self.left, self.top, self.ends = wired
        self.cells_in_all = n = len(self.left)
        self.rows, self.cols, self.steps = lattice.rows, lattice.cols, lattice.steps
        self.w = [[int(v) for v in lattice.w[4 * p : 4 * p + 4]] for p in range(n)]
        self.right = {source: p for p, source in enumerate(self.left) if 0 <= source < n}
        self.below = {source: p for p, source in enumerate(self.top) if 0 <= source < n}
        self.below |= {source: n + j for j, source in enumerate(self.ends)}

    def train(self, pixels: Sequence[int], label: int) -> None:
        n, gain = self.cells_in_all, self.lattice.gain
        self.cells = []
        for p, masters in enumerate(self.w):
            own = gain if self.left[p] >= n or self.top[p] >= n else 0
            self.cells.append(Cell(masters, own, 0 if self.top[p] >= n else own))
        self.logits = [0] * self.cols
        for _ in self._forward(pixels):
            for j, end in enumerate(self.ends):
                self.logits[j] += self.cells[end].y
        self.delta = softmax_error(self.logits, label, self.lattice.cool)
        if self.lattice.exact:
            self._exact(pixels)
        else:
            self._snap1(pixels)
        self._update()

    def _sources(self, p: int, pixels: Sequence[int], t: int) -> tuple[int, int]:
        n = self.cells_in_all
        of = (self.left[p], self.top[p])
        return tuple(
            0 if s < 0 else self.cells[s].y if s < n
            else floor(pixels[t * self.rows + s - n] * self.lattice.scale, 6)
            for s in of
        )  # fmt: skip

    def _forward(self, pixels: Sequence[int]):
        """Step all cells together; yields after each step."""
        for cell in self.cells:
            cell.begin()
        for t in range(self.steps):
            for p, cell in enumerate(self.cells):
                cell.step(*self._sources(p, pixels, t))
            yield t

    def _descendants(self, p: int, what: str) -> tuple[tuple[int, int | None], ...]:
        """(c, w or k of the input that hears this cell, its number) of the right and of the below descendant."""
        readout = {"c": 1 << 15, "w": 1 << 12, "k": 1 << 12}[what]
        found = []
        for listeners, name in ((self.right, {"c": "c", "w": "wl", "k": "kl"}[what]),
                                (self.below, {"c": "c", "w": "wt", "k": "kt"}[what])):  # fmt: skip
            other = listeners.get(p, NOBODY)
            value = (
                0 if other is NOBODY else readout if other >= self.cells_in_all else getattr(self.cells[other], name)
            )
            found.append((value, other))
        return tuple(found)

    # SnAP-1

    def _messages(self) -> dict[int | None, int]:
        """lam of all cells in this step, and of the readouts."""
        lam: dict[int | None, int] = {self.cells_in_all + j: delta for j, delta in enumerate(self.delta)} | {NOBODY: 0}
        for p in reversed(range(self.cells_in_all)):
            heard = self._descendants(p, "k")
            lam[p] = message(self.cells[p].d, *((k, lam[other]) for k, other in heard))
        return lam

    def _snap1(self, pixels: Sequence[int]) -> None:
        largest: dict[int | None, int] = {}
        for _ in self._forward(pixels):
            for place, lam in self._messages().items():
                largest[place] = max(largest.get(place, 0), abs(lam))
        bits = 16 - self.steps.bit_length()
        exponents = {place: max(0, value.bit_length() - bits) for place, value in largest.items()}
        sums = [[[0] * 4, [0] * 4] for _ in self.cells]
        for _ in self._forward(pixels):
            lam = self._messages()
            for p, cell in enumerate(self.cells):
                descendants = self._descendants(p, "c")
                cell.trace(*(c for c, _ in descendants))
                for total, traces, (_, other) in zip(sums[p], cell.cross, descendants, strict=True):
                    factor = nearest(lam[other], exponents[other])
                    for k in range(4):
                        total[k] += factor * traces[k].value
        self.exponents, self.gradient = [], []
        for p, cell in enumerate(self.cells):
            weights = self._descendants(p, "w")
            shared = max(exponents[other] for _, other in weights)
            g = [0] * 4
            for total, (w, other) in zip(sums[p], weights, strict=True):
                for k in range(4):
                    g[k] += floor(total[k] * w, 15 + 1 + shared - exponents[other])
            g[L] = floor(g[L], cell.fine)
            self.exponents.append(shared)
            self.gradient.append(g)

    # The exact rule

    def _exact(self, pixels: Sequence[int]) -> None:
        slopes = [[cell.d for cell in self.cells] for _ in self._forward(pixels)]
        n = self.cells_in_all
        sent: dict[int | None, int] = {n + j: nearest(delta, 4) for j, delta in enumerate(self.delta)} | {NOBODY: 0}
        nus, sums = [], [0] * n
        for cell in self.cells:
            cell.nu = 0
        for d in reversed(slopes):  # all cells step back together
            for p in reversed(range(n)):
                lam = message(d[p], *((w, sent[other]) for w, other in self._descendants(p, "w")))
                sums[p] += lam
                cell = self.cells[p]
                cell.nu += nearest(cell.c * (lam - cell.nu), 15)
                sent[p] = cell.nu
            nus.append([cell.nu for cell in self.cells])
        nus.reverse()
        largest = [max(abs(now[p]) for now in nus) for p in range(n)]
        lost = [max(0, x.bit_length() - (16 - self.steps.bit_length())) for x in largest]
        total = [[0] * 3 for _ in range(n)]
        for cell in self.cells:
            cell.begin()
        for t in range(self.steps):
            for p, cell in enumerate(self.cells):
                left, top = self._sources(p, pixels, t)
                factor = nearest(nus[t][p], lost[p])
                total[p][L] += factor * nearest(cell.change(left, top), 16 - cell.fine)
                total[p][WL] += factor * left
                total[p][WT] += factor * top
                cell.step(left, top)
        self.exponents, self.gradient = [], []
        for p, cell in enumerate(self.cells):
            if not any(any(now) for now in self._heard(p, nus)):
                self.exponents.append(0)
                self.gradient.append([0] * 4)
                continue
            more = max(0, (abs(floor(sums[p], 14)) >> 5).bit_length() - lost[p])
            x = lost[p] + more
            of_l = -floor(total[p][L] * ((cell.da << 14) // cell.c), 14)
            self.exponents.append(x + 4)
            self.gradient.append(
                [
                    floor(of_l, cell.fine + 3 + more),
                    floor(total[p][WL], more + 4),
                    floor(total[p][WT], more + 4),
                    (floor(sums[p], 14) << (24 - x)) + floor((sums[p] & 16383) << 10, x),
                ]
            )

    def _heard(self, p: int, nus: list[list[int]]) -> list[list[int]]:
        """All that came from each descendant."""
        n = self.cells_in_all
        return [
            []
            if other is NOBODY
            else [nearest(self.delta[other - n], 4)]
            if other >= n
            else [now[other] for now in nus]
            for _, other in self._descendants(p, "w")
        ]

    def _update(self) -> None:
        rule = [int(v) for v in self.lattice.rule]
        for p, (masters, cell) in enumerate(zip(self.w, self.cells, strict=True)):
            for k, units in enumerate((4 + cell.gain, cell.gain, cell.gain - cell.lag, 0)):
                multiplier, shift, lowest, highest = rule[4 * k : 4 * k + 4]
                step = floor(self.gradient[p][k] * multiplier, 15)
                masters[k] = clip(masters[k] - shifted(step, shift - 9 - self.exponents[p] - units), lowest, highest)


def shifted(step: int, down: int) -> int:
    """Down to nearest, or up as far as there is room."""
    if down > 0:
        return nearest(step, down)
    limit = ((1 << 29) - 1) >> -down
    return clip(step, -limit, limit) << -down


def softmax_error(logits: Sequence[int], label: int, cool: int = 0) -> list[int]:
    """softmax(logits / 2**cool) - onehot(label), over 2**cool, Q22."""
    below = [floor(max(logits) - z, cool) for z in logits]
    exps = [looked_up(EXP, x, 9) if x < 16 << 14 else 0 for x in below]
    narrow = sum(exps).bit_length() - 15
    p = [nearest((e << 15) // (sum(exps) >> narrow), narrow + cool - 7) for e in exps]
    p[label] = 0
    p[label] = -sum(p)
    return p


class Unit:
    def __init__(self, weights: Sequence[int], log_tau: int, bias: int, out: Sequence[int]) -> None:
        at = (log_tau + (4 << 26)) >> 9
        self.c, self.da = looked_up(C, at, 12), looked_up(DA, at, 12)
        self.ratio = (self.da * 1024 + self.c // 2) // self.c
        self.w, self.b, self.v = [nearest(w, 14) for w in weights], nearest(bias, 12), [nearest(v, 14) for v in out]
        self.e, self.eta, self.s = [Leaky() for _ in weights], Leaky(), 0
        self.sums = [0] * len(weights)
        self.of_l = self.of_b = self.of_v = 0

    def step(self, x: Sequence[int], gain: int, narrow: int) -> None:
        for trace, value in zip(self.e, x, strict=True):
            trace.take(self.c, value)
        drive = sum(floor(trace.value * w, 6) for trace, w in zip(self.e, self.w, strict=True))
        s = clip(nearest(drive, 6 - gain), -(1 << 18), (1 << 18) - 1)
        self.eta.sum -= self.c * self.eta.value + (s - self.s) * self.ratio
        self.s = s
        y, d = squashed(s + self.b)
        self.of_b += d
        self.of_v += y
        d = nearest(d, narrow)
        self.of_l += d * self.eta.value
        self.sums = [total + d * trace.value for total, trace in zip(self.sums, self.e, strict=True)]


def scalar_product(pairs: Sequence[tuple[int, int]]) -> int:
    total = 0
    for a, b in pairs:
        total = clip(total + nearest(a * b, 12), 1 - (1 << 28), (1 << 28) - 1)
    return total


class UnitsTogether:
    """Trains like Diagonal.train(), from the network's parameters on and with its rates and bounds."""

    def __init__(self, network: Diagonal) -> None:
        self.network = network
        self.w = [int(v) for v in network.w]

    def train(self, pixels: Sequence[int], label: int) -> None:
        net = self.network
        units, inputs, outs, w = net.units, net.rows, net.cols, self.w
        n = units * inputs
        narrow = max(0, net.steps.bit_length() - 2)
        cells = [
            Unit(w[k * inputs : (k + 1) * inputs], w[n + k], w[n + units + k], w[n + 2 * units + k :: units])
            for k in range(units)
        ]
        for t in range(net.steps):
            x = [floor(p * net.scale, 6) for p in pixels[t * inputs : (t + 1) * inputs]]
            for cell in cells:
                cell.step(x, net.gain, narrow)
        self.logits = [scalar_product([(cell.of_v, cell.v[j]) for cell in cells]) for j in range(outs)]
        self.delta = softmax_error(self.logits, label, net.cool)
        self.messages = [scalar_product(list(zip(self.delta, cell.v, strict=True))) for cell in cells]
        for k, cell in enumerate(cells):
            m = self.messages[k]
            for i in range(inputs):
                self._step(k * inputs + i, 1, m, cell.sums[i], 28 - narrow - net.gain)
            self._step(n + k, 0, m, cell.of_l, 23 - narrow)
            self._step(n + units + k, 3, m, cell.of_b, 14)
            for j in range(outs):
                self._step(n + (2 + j) * units + k, 2, self.delta[j], cell.of_v, 14)

    def _step(self, i: int, group: int, m: int, total: int, bits: int) -> None:
        multiplier, shift, lowest, highest = (int(v) for v in self.network.rule[4 * group : 4 * group + 4])
        down = bits + shift - 19
        for most in (32767, 16383):  # the message, and its product with the multiplier
            lost = next(k for k in range(32) if abs(m) >> k <= most)
            m, down = nearest(m, lost), down - lost
            m = m * multiplier if most == 32767 else m
        self.w[i] = clip(self.w[i] - shifted(floor(total * m, 15), min(down, 31)), lowest, highest)
