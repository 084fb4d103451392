"""Two-input cells, all stepped together: an independent second implementation of the engine, in the order of a chip.

The kernels run over the cells outside and over time inside. Here every cell keeps its eleven traces and takes one step
at a time, as the article has it, in plain Python on unbounded integers and with products that are not split. It shares
the tables with the engine, no code. The error is known after the first sweep, the largest message of every cell (which
sets the exponent of its messages) after the second, so the gradient takes a third. By the exact rule all cells step
back together, from the last step to the first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fixedpoint import wiring
from fixedpoint.lattice import Lattice
from fixedpoint.network import Random
from fixedpoint.tables import DA, C
from host.base.cli import UserError
from host.chip.arithmetic import (
    clip,
    floor,
    longer_by,
    looked_up,
    message,
    nearest,
    shifted,
    slope,
    softmax_error,
    squashed,
)
from host.chip.words import MASTER, Leaky, Words
from host.runs.config import Config

L, WL, WT, B = range(4)
RIGHT, BELOW = range(2)
ONE_C, ONE_W = 1 << 15, 1 << 12  # a readout's c, Q15, and its w and k, Q12
SIGNALS = ("y", "message", "state", "self", "cross", "weight", "master", "update")

Wiring = tuple[Sequence[int], Sequence[int], Sequence[int]]
Observer = Callable[[str, int], None]


def unobserved(sweep: str, t: int) -> None:
    """An Observer that does not look."""


@dataclass(frozen=True)
class Descendant:
    """What a cell knows of one that hears it: its place, its c (Q15), and w and k = c w (Q12) of the input concerned.

    Places are the cells 0 .. n - 1, the readouts n + j, and n + cols: nobody.
    """

    place: int
    c: int = 0
    w: int = 0
    k: int = 0


class Cell:
    """One cell within one image: operands that are made once, and what it keeps from step to step.

    c, da         Q15: coefficient of the leaky integrator, and da/dl
    wl, wt, kl, kt  Q12: weights, and couplings c w
    b             Q14
    gain, lag     the left input is stored divided by 2**gain, the top input by 2**(gain - lag)
    fine          fraction bits that eta and the cross traces of l have more than the least
    left, top     Q14: inputs of this step
    y, d          Q14: output and 1 - y^2
    el, et, eta   self traces (Leaky, Q29, Q29, Q26 + fine)
    state         the filtered inputs that y is made of: el and et themselves, unless they have another word length
    cross         cross[RIGHT or BELOW][L, WL, WT or B] (Leaky, Q29, of l Q25 + fine)
    nu            the exact rule's filtered message (Q18)
    """

    def __init__(self, masters: Sequence[int], gain: int = 0, lag: int = 0, words: Words | None = None) -> None:
        """masters: l, wL, wT, b (Q26)."""
        self.words = words = words or Words()
        weight = words["weight"]
        at = (masters[L] + (4 << MASTER)) >> 9
        self.c, self.da = looked_up(C, at, 12), looked_up(DA, at, 12)
        self.wl, self.wt = weight.fit(nearest(masters[WL], 14), 12), weight.fit(nearest(masters[WT], 14), 12)
        self.b = weight.fit(nearest(masters[B], 12), 14)
        self.kl, self.kt = nearest(self.c * self.wl, 15), nearest(self.c * self.wt, 15)
        self.gain, self.lag = gain, lag
        room = abs(self.wl) + (abs(self.wt) >> lag)
        self.fine = max(bits for bits in range(5) if room << bits <= 65536)
        self.begin()

    def begin(self) -> None:
        """A sweep begins: nothing has been heard."""
        own, cross, fine = self.words["self"], self.words["cross"], self.fine
        self.left = self.top = self.y = self.d = self.nu = 0
        self.el, self.et, self.eta = Leaky(own), Leaky(own), Leaky(own, 26, fine)
        self.state = (self.el, self.et)
        if self.words["state"] != own:
            self.state = (Leaky(self.words["state"]), Leaky(self.words["state"]))
        self.cross = [[Leaky(cross, 25, fine), Leaky(cross), Leaky(cross), Leaky(cross)] for _ in (RIGHT, BELOW)]

    def change(self, left: int, top: int) -> int:
        """u - s_old = wL (yL - eL) + wT (yT - eT), Q25."""
        return floor(self.wl * (left - self.el.value), 1) + floor(self.wt * (top - self.et.value), 1 + self.lag)

    def step(self, left: int, top: int) -> None:
        """Take these inputs (Q14): self traces, y and d of this step."""
        self.left, self.top = left, top
        drive = nearest(self.change(left, top), 14 - self.fine)  # Q11 + fine
        self.eta.add(-(self.c * self.eta.value + self.da * drive))
        self.el.take(self.c, left)
        self.et.take(self.c, top)
        of_left, of_top = self.state
        if of_left is not self.el:
            of_left.take(self.c, left)
            of_top.take(self.c, top)
        s = self.wl * of_left.value + floor(self.wt * of_top.value, self.lag)  # Q26 - gain
        self.y = self.words["y"].fit(squashed(nearest(s, 12 - self.gain) + self.b), 14)
        self.d = slope(self.y)

    def trace(self, right: Descendant, below: Descendant) -> None:
        """Bring the cross traces to this step: what l, wL, wT and b do to s, times d, filtered with a listener's c."""
        done = (
            nearest(self.d * self.eta.value, 15),  # Q10 + fine
            floor(self.d * self.el.value, 14),
            floor(self.d * self.et.value, 14),
            self.d,
        )
        for traces, listener in zip(self.cross, (right, below), strict=True):
            for trace, f in zip(traces, done, strict=True):
                trace.take(listener.c, f)


class CellsTogether:
    """Trains like Lattice.train(), from the network's parameters on and with its rates and bounds as they are then.

    After and, for an observer, within train(), of n cells:

    cells         the n Cells, with everything that they hold
    descendants   n x (right, below): who hears a cell
    messages      of this step, by place: lam, Q22, of a readout delta (exact: nu as it is sent, Q18)
    lost          by place: bits by which its largest message of the image is longer than the mantissa
    factors       of this step, by place: the message without these bits, which is what multiplies the traces
                  (messages, lost, factors: 0 until the sweep that makes them)
    sums          n x 2 x 4: over time, of factor times cross trace, by descendant (RIGHT, BELOW) and parameter (L, WL,
                  WT, B). Exact: n x 1 x 4, of the cell's own nu; that of b is the sum of lam
    logits, delta (cols,) Q14, Q22
    exponents, gradient  (n,), n x 4: dL/dtheta = gradient * 2**(exponent - 32), and as fixedpoint/kernels.py has it
    w             n x 4: l, wL, wT, b, Q26
    """

    def __init__(self, network: Lattice, wired: Wiring, words: Words | None = None) -> None:
        """wired: the wiring that the network was made of. Raises UserError for words of what it has not."""
        self.network, self.words = network, words or Words()
        self.words.check([signal for signal in SIGNALS if not (network.exact and signal == "cross")])
        self.left, self.top, self.ends = wired
        self.count = n = len(self.left)
        self.rows, self.cols, self.steps = network.rows, network.cols, network.steps
        self.mantissa = 16 - self.steps.bit_length()
        self.nobody = n + self.cols
        self.w = [[int(v) for v in network.w[4 * p : 4 * p + 4]] for p in range(n)]
        self.right = {source: p for p, source in enumerate(self.left) if 0 <= source < n}
        self.below = {source: p for p, source in enumerate(self.top) if 0 <= source < n}
        self.below |= {source: n + j for j, source in enumerate(self.ends)}

    @classmethod
    def of(cls, config: Config) -> "CellsTogether":
        """Of a run: at its seeded start, with its first learning rates and the word lengths of its disturbance."""
        words = Words.of(config.disturb)
        network = config.network()
        network.load(words.start(network.w), 0)
        network.set_rates(config.rates(0))
        return cls(network, wired(config), words)

    def train(self, pixels: Sequence[int], label: int, observe: Observer = unobserved) -> None:
        """One training step on an image, steps x rows bytes, flat.

        observe(sweep, t) is called when all cells have made step t of "forward", "message" or "learn"; by the exact
        rule the steps of "message" go down.
        """
        n, gain = self.count, self.network.gain
        self.cells = []
        for p, masters in enumerate(self.w):
            own = gain if self.left[p] >= n or self.top[p] >= n else 0
            self.cells.append(Cell(masters, own, 0 if self.top[p] >= n else own, self.words))
        self.descendants = [self._heard_by(p) for p in range(n)]
        self.logits = [0] * self.cols
        self.messages, self.factors, self.lost = ([0] * (self.nobody + 1) for _ in range(3))
        slopes = []
        for t in self._forward(pixels):
            for j, end in enumerate(self.ends):
                self.logits[j] += self.cells[end].y
            slopes.append([cell.d for cell in self.cells])
            observe("forward", t)
        self.delta = softmax_error(self.logits, label, self.network.cool)
        self.exponents: list[int] = []
        self.gradient: list[list[int]] = []
        if self.network.exact:
            self._exact(pixels, slopes, observe)
        else:
            self._snap1(pixels, observe)
        self._update()

    def _heard_by(self, p: int) -> tuple[Descendant, Descendant]:
        """Who hears cell p on its left and on its top input."""
        right, below = self.right.get(p, self.nobody), self.below.get(p, self.nobody)
        of_right, of_below = Descendant(right), Descendant(below)
        if right < self.count:
            cell = self.cells[right]
            of_right = Descendant(right, cell.c, cell.wl, cell.kl)
        if below < self.count:
            cell = self.cells[below]
            of_below = Descendant(below, cell.c, cell.wt, cell.kt)
        elif below < self.nobody:
            of_below = Descendant(below, ONE_C, ONE_W, ONE_W)
        return of_right, of_below

    def _source(self, source: int, pixels: Sequence[int], t: int) -> int:
        """What a port hears in step t, Q14."""
        if source < 0:
            return 0
        if source < self.count:
            return self.cells[source].y
        return floor(pixels[t * self.rows + source - self.count] * self.network.scale, 6)

    def _forward(self, pixels: Sequence[int]) -> Iterator[int]:
        """Step all cells together; yields after each step. Within a step, y ripples from sources to listeners."""
        for cell in self.cells:
            cell.begin()
        for t in range(self.steps):
            for p, cell in enumerate(self.cells):
                cell.step(self._source(self.left[p], pixels, t), self._source(self.top[p], pixels, t))
            yield t

    def _bits_lost(self, largest: Sequence[int]) -> list[int]:
        return [longer_by(value, self.mantissa) for value in largest]

    # SnAP-1

    def _send(self) -> None:
        """The messages of this step: within it, they ripple from listeners to sources."""
        self.messages = [0] * self.count + [*self.delta, 0]
        word = self.words["message"]
        for p in reversed(range(self.count)):
            heard = ((listener.k, self.messages[listener.place]) for listener in self.descendants[p])
            self.messages[p] = word.fit(message(self.cells[p].d, *heard), 22)

    def _snap1(self, pixels: Sequence[int], observe: Observer) -> None:
        largest = [0] * (self.nobody + 1)
        for t in self._forward(pixels):
            self._send()
            largest = [max(was, abs(lam)) for was, lam in zip(largest, self.messages, strict=True)]
            observe("message", t)
        self.lost = self._bits_lost(largest)
        self.sums = [[[0] * 4, [0] * 4] for _ in self.cells]
        for t in self._forward(pixels):
            self._send()
            self.factors = [nearest(lam, bits) for lam, bits in zip(self.messages, self.lost, strict=True)]
            for cell, listeners, sums in zip(self.cells, self.descendants, self.sums, strict=True):
                cell.trace(*listeners)
                for total, traces, listener in zip(sums, cell.cross, listeners, strict=True):
                    for k in range(4):
                        total[k] += self.factors[listener.place] * traces[k].value
            observe("learn", t)
        for cell, listeners, sums in zip(self.cells, self.descendants, self.sums, strict=True):
            shared = max(self.lost[listener.place] for listener in listeners)
            g = [0] * 4
            for total, listener in zip(sums, listeners, strict=True):
                for k in range(4):
                    g[k] += floor(total[k] * listener.w, 15 + 1 + shared - self.lost[listener.place])
            g[L] = floor(g[L], cell.fine)
            self.exponents.append(shared)
            self.gradient.append(g)

    # The exact rule

    def _exact(self, pixels: Sequence[int], slopes: Sequence[Sequence[int]], observe: Observer) -> None:
        """slopes: steps x n, d of every step, which the way back needs again."""
        self.sums = [[[0] * 4] for _ in self.cells]
        sent = self._nus(slopes, observe)
        self.lost = self._bits_lost([max(map(abs, row)) for row in zip(*sent, strict=True)])
        for cell in self.cells:
            cell.begin()
        for t in range(self.steps):
            self.messages = sent[t]
            self.factors = [nearest(nu, bits) for nu, bits in zip(self.messages, self.lost, strict=True)]
            for p, cell in enumerate(self.cells):
                left, top = self._source(self.left[p], pixels, t), self._source(self.top[p], pixels, t)
                factor, (total,) = self.factors[p], self.sums[p]
                total[L] += factor * nearest(cell.change(left, top), 16 - cell.fine)
                total[WL] += factor * left
                total[WT] += factor * top
                cell.step(left, top)
            observe("learn", t)
        for p, cell in enumerate(self.cells):
            (total,) = self.sums[p]
            if not any(now[listener.place] for now in sent for listener in self.descendants[p]):
                self.exponents.append(0)
                self.gradient.append([0] * 4)
                continue
            lost, whole = self.lost[p], floor(total[B], 14)
            more = longer_by(whole, lost + 5)
            x = lost + more
            of_l = -floor(total[L] * ((cell.da << 14) // cell.c), 14)
            self.exponents.append(x + 4)
            self.gradient.append(
                [
                    floor(of_l, cell.fine + 3 + more),
                    floor(total[WL], more + 4),
                    floor(total[WT], more + 4),
                    (whole << (24 - x)) + floor((total[B] & 16383) << 10, x),
                ]
            )

    def _nus(self, slopes: Sequence[Sequence[int]], observe: Observer) -> list[list[int]]:
        """steps x places, Q18: what is sent. All cells step back together, and sum up lam."""
        n, word = self.count, self.words["message"]
        self.messages = [0] * n + [*(nearest(delta, 4) for delta in self.delta), 0]
        sent = []
        for t in reversed(range(self.steps)):
            for p in reversed(range(n)):
                cell, heard = self.cells[p], self.descendants[p]
                lam = message(slopes[t][p], *((listener.w, self.messages[listener.place]) for listener in heard))
                self.sums[p][0][B] += lam
                cell.nu += nearest(cell.c * (lam - cell.nu), 15)
                self.messages[p] = word.fit(cell.nu, 18)
            sent.append(self.messages.copy())
            observe("message", t)
        return sent[::-1]

    def _update(self) -> None:
        rule = [int(v) for v in self.network.rule]
        of_step, of_master = self.words["update"], self.words["master"]
        for p, (masters, cell) in enumerate(zip(self.w, self.cells, strict=True)):
            for k, units in enumerate((4 + cell.gain, cell.gain, cell.gain - cell.lag, 0)):
                multiplier, shift, lowest, highest = rule[4 * k : 4 * k + 4]
                step = floor(self.gradient[p][k] * multiplier, 15)
                step = of_step.fit(shifted(step, shift - 9 - self.exponents[p] - units), MASTER)
                masters[k] = clip(of_master.fit(masters[k] - step, MASTER), lowest, highest)


def wired(config: Config) -> Wiring:
    """The wiring of a run's two-input cells. Raises UserError for a graph that has none."""
    rows, cols = config.rows, config.cols
    if config.graph == "diagonal":
        raise UserError("--graph diagonal has no wiring of two-input cells; choose another graph")
    drawn: Wiring
    if config.graph == "small-world":
        drawn = wiring.small_world(rows, cols, config.share, Random(config.wiring_seed))
    else:
        drawn = {"lattice": wiring.lattice, "forest": wiring.forest, "skip": wiring.skip}[config.graph](rows, cols)
    return drawn
