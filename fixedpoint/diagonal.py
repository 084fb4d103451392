"""The diagonal network: units with a memory of their own, all inputs to all units, all units to all outputs."""

from fixedpoint import diagonal_kernels, kernels, tables
from fixedpoint.network import MAX_SCALE, Network, words

UNIT, _ = diagonal_kernels.RECORD
MAX_UNITS = 256


class Kernels:
    """The plain ones of both texts, under one roof as compiled ones are."""

    draw = staticmethod(kernels.draw)
    feed = staticmethod(kernels.feed)
    softmax = staticmethod(kernels.softmax)
    derive_weights = staticmethod(diagonal_kernels.derive_weights)
    derive_units = staticmethod(diagonal_kernels.derive_units)
    listen = staticmethod(diagonal_kernels.listen)
    absorb = staticmethod(diagonal_kernels.absorb)
    logits = staticmethod(diagonal_kernels.logits)
    teach = staticmethod(diagonal_kernels.teach)
    adapt = staticmethod(diagonal_kernels.adapt)


class Diagonal(Network):
    """`units` leaky integrators with tanh (article: "diagonal-LTC RNN accelerator with SnAP-1 traces").

    w: W (units x inputs), l, b (units each), V (outputs x units), Q26. Rates: l, W, b, V. All else is as Network has
    it; learning goes on while rows arrive, and needs no memory of the image.
    """

    groups = (0, 1, 3, 2)

    def __init__(self, rows, cols, steps, scale=MAX_SCALE, gain=0, kernels=Kernels, words=words, units=28, cool=0):
        Network.__init__(self, rows, cols, steps, scale, gain, cool, kernels)
        if not 1 <= units <= MAX_UNITS:
            raise ValueError(f"{units} units: 1..{MAX_UNITS}")
        self.units = units
        self.narrow = -2
        while steps >> (self.narrow + 2):
            self.narrow += 1  # bit_length(steps) - 2
        self.narrow = max(self.narrow, 0)
        n = units * rows
        self.h = words(rows * steps)
        self.w = words(n + (2 + cols) * units)
        self.shape = (len(self.w),)
        self.v = words(n + (2 + cols) * units)
        self.e = words(n)
        self.s = words(n + 3 * units)
        self.u = words(units * UNIT)
        self.quiet = words(2 * steps)
        self.z = words(2 * cols + units)
        self.rule = words(16)
        self._begun()

    def group(self, i):
        """The group of parameter i: 0 l, 1 W, 2 V, 3 b."""
        i -= self.units * self.rows
        return 1 if i < 0 else 0 if i < self.units else 3 if i < 2 * self.units else 2

    def _derive(self):
        self.kernels.derive_weights(self.w, self.v, len(self.w))
        self.kernels.derive_units(self.w, self.u, tables.C, tables.DA, self.units, self.rows)

    def _update(self):
        self.kernels.adapt(
            0, 0, self.w, self.s, self.v, self.z, self.rule, self.units, self.rows, self.cols, self.gain,
            self.narrow,
        )  # fmt: skip
        self.kernels.derive_units(self.w, self.u, tables.C, tables.DA, self.units, self.rows)

    def row(self, pixels, offset=0, count=1):
        """Take the next image row, pixels[offset : offset + rows] (0..255), or the next `count` of them."""
        self.kernels.feed(self.h, pixels, offset, 1, count * self.rows, self.arrived * self.rows, 1, self.scale)
        self.arrived += count

    def advance(self):
        """Take in the image rows that have arrived since the last call."""
        self.kernels.listen(self.h, self.quiet, self.rows, self.done, self.arrived)
        self.kernels.absorb(
            0, 0, self.e, self.s, self.h, self.v, self.u, tables.TANH, self.quiet, self.units, self.rows,
            self.done, self.arrived, self.gain, self.narrow,
        )  # fmt: skip
        self.done = self.arrived

    def classify(self):
        """Finish the image without learning; return the class with the largest logit (the first of equal ones)."""
        self.advance()
        self.kernels.logits(self.s, self.v, self.z, self.units, self.rows, self.cols)
        return self._best()

    def gradient(self, label):
        """Finish the image: messages in z, sums in s; return the prediction. Parameters stay."""
        best = self.classify()
        run = self.kernels
        run.softmax(self.z, tables.EXP, self.cols, label, self.cool)
        run.teach(
            0, 0, self.e, self.s, self.v, self.u, self.z, self.quiet, self.units, self.rows, self.cols, self.steps
        )
        return best
