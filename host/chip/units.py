"""Units of the diagonal network, all stepped together: an independent second implementation, in the order of a chip.

One sweep does: what a weight does to the loss is one message of its unit, times a sum over time that stands beside the
weight. The sums wait for delta, the messages with them.
"""

from collections.abc import Sequence

from fixedpoint.diagonal import Diagonal
from fixedpoint.tables import DA, C
from host.chip.arithmetic import (
    clip,
    floor,
    longer_by,
    looked_up,
    nearest,
    scalar_product,
    shifted,
    slope,
    softmax_error,
    squashed,
)
from host.chip.cells import Observer, unobserved
from host.chip.words import MASTER, Leaky, Words
from host.runs.config import Config

SIGNALS = ("y", "message", "self", "weight", "master", "update")
L, W, V, B = range(4)  # groups of the rule


class Unit:
    """One unit within one image, of so many inputs.

    c, ratio      Q15, Q10: coefficient of the leaky integrator; (da/dl) / c
    w, v          (inputs,), (outputs,) Q12
    b, s, y, d    Q14
    factor        d, Q14 - narrow: so coarse that all steps can be summed up
    e, eta        (inputs,) Leaky, Q29; Leaky, Q24
    sums          (inputs,) over time, of factor times e, Q28 - narrow
    of_l, of_b, of_v  the same for l (Q23 - narrow), b and V (Q14)
    """

    def __init__(
        self, weights: Sequence[int], log_tau: int, bias: int, out: Sequence[int], words: Words | None = None
    ) -> None:
        """Parameters are masters, Q26."""
        self.words = words = words or Words()
        weight = words["weight"]
        at = (log_tau + (4 << MASTER)) >> 9
        self.c, self.da = looked_up(C, at, 12), looked_up(DA, at, 12)
        self.ratio = (self.da * 1024 + self.c // 2) // self.c
        self.w, self.v = ([weight.fit(nearest(x, 14), 12) for x in row] for row in (weights, out))
        self.b = nearest(bias, 12)
        self.e, self.eta = [Leaky(words["self"]) for _ in weights], Leaky(words["self"], 24)
        self.s = self.y = self.d = self.factor = 0
        self.sums = [0] * len(weights)
        self.of_l = self.of_b = self.of_v = 0

    def step(self, x: Sequence[int], gain: int, narrow: int) -> None:
        """Take these inputs (inputs,), Q14 of what is divided by 2**gain."""
        for trace, value in zip(self.e, x, strict=True):
            trace.take(self.c, value)
        drive = sum(floor(trace.value * w, 6) for trace, w in zip(self.e, self.w, strict=True))
        s = clip(nearest(drive, 6 - gain), -(1 << 18), (1 << 18) - 1)
        self.eta.add(-(self.c * self.eta.value + (s - self.s) * self.ratio))
        self.s = s
        self.y = self.words["y"].fit(squashed(s + self.b), 14)
        self.d = slope(self.y)
        self.factor = nearest(self.d, narrow)
        self.of_b += self.d
        self.of_v += self.y
        self.of_l += self.factor * self.eta.value
        self.sums = [total + self.factor * trace.value for total, trace in zip(self.sums, self.e, strict=True)]


class UnitsTogether:
    """Trains like Diagonal.train(), from the network's parameters on and with its rates and bounds as they are then.

    units         the Units, with everything that they hold
    logits, delta (cols,) Q14, Q22
    messages      (units,) M_k, Q22
    w             all parameters, Q26, in the network's order: W, l, b, V
    """

    def __init__(self, network: Diagonal, words: Words | None = None) -> None:
        """Raises UserError for words of what it has not."""
        self.network, self.words = network, words or Words()
        self.words.check(SIGNALS)
        self.w = [int(v) for v in network.w]

    @classmethod
    def of(cls, config: Config) -> "UnitsTogether":
        """Of a run: at its seeded start, with its first learning rates and the word lengths of its disturbance."""
        words = Words.of(config.disturb)
        network = config.network()
        network.load(words.start(network.w), 0)
        network.set_rates(config.rates(0))
        return cls(network, words)

    def train(self, pixels: Sequence[int], label: int, observe: Observer = unobserved) -> None:
        """One training step on an image, steps x rows bytes, flat.

        observe("forward", t) is called when all units have made step t.
        """
        net, w = self.network, self.w
        units, inputs, outs = net.units, net.rows, net.cols
        n = units * inputs
        narrow = max(0, net.steps.bit_length() - 2)
        self.units = [
            Unit(
                w[k * inputs : (k + 1) * inputs], w[n + k], w[n + units + k], w[n + 2 * units + k :: units], self.words
            )
            for k in range(units)
        ]
        for t in range(net.steps):
            x = [floor(p * net.scale, 6) for p in pixels[t * inputs : (t + 1) * inputs]]
            for unit in self.units:
                unit.step(x, net.gain, narrow)
            observe("forward", t)
        self.logits = [scalar_product([(unit.of_v, unit.v[j]) for unit in self.units]) for j in range(outs)]
        self.delta = softmax_error(self.logits, label, net.cool)
        word = self.words["message"]
        self.messages = [
            word.fit(scalar_product(list(zip(self.delta, unit.v, strict=True))), 22) for unit in self.units
        ]
        for k, unit in enumerate(self.units):
            m = self.messages[k]
            for i in range(inputs):
                self._step(k * inputs + i, W, m, unit.sums[i], 28 - narrow - net.gain)
            self._step(n + k, L, m, unit.of_l, 23 - narrow)
            self._step(n + units + k, B, m, unit.of_b, 14)
            for j in range(outs):
                self._step(n + (2 + j) * units + k, V, self.delta[j], unit.of_v, 14)

    def _step(self, i: int, group: int, m: int, total: int, bits: int) -> None:
        """Subtract the rate times m times the total from parameter i. bits: fraction bits of the total."""
        multiplier, shift, lowest, highest = (int(v) for v in self.network.rule[4 * group : 4 * group + 4])
        down = bits + shift - 19
        lost = longer_by(m, 15)
        m, down = nearest(m, lost) * multiplier, down - lost
        lost = longer_by(m, 14)
        m, down = nearest(m, lost), down - lost
        step = floor(total * m, 15)
        if step:
            step = self.words["update"].fit(shifted(step, min(down, 31)), MASTER)
            self.w[i] = clip(self.words["master"].fit(self.w[i] - step, MASTER), lowest, highest)
