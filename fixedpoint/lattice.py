"""Networks of two-input cells: the lattice, and every other wiring."""

from fixedpoint import kernels, tables, wiring
from fixedpoint.network import C_BITS, MAX_SCALE, W_BITS, Network, words

(COARSE,) = kernels.COARSE
CELL, LEFT, TOP, RIGHT, BELOW, GAIN, LAG, C, WL, WT, KL, KT = kernels.RECORD


class Lattice(Network):
    """rows x cols cells; input i drives row i from the left, output j leaves below column j. Or any other wiring:
    wired() draws one of so many cells. That is done last: the arrays need the large holes that a heap has.

    w: n x (l, wL, wT, b), Q26, in the order of the wiring (raster). exact: learn by the exact gradient, not by SnAP-1.
    gain: of all ports that inputs come in at. All else is as Network has it.
    """

    def __init__(
        self, rows, cols, steps, scale=MAX_SCALE, gain=0, kernels=kernels, words=words, cells=None, wired=None,
        exact=False, cool=0,
    ):  # fmt: skip
        Network.__init__(self, rows, cols, steps, scale, gain, cool, kernels)
        self.exact, self.coarse = exact, COARSE if exact else 0
        self.cells = n = cells or rows * cols
        self.shape = (rows, cols, 4) if n == rows * cols else (n, 4)  # of w
        self.inputs = n + cols + 1  # rows of h: cells, readouts, the null shoreline, inputs
        self.base = self.inputs * steps
        self.mantissa = 16
        while steps >> (16 - self.mantissa):
            self.mantissa -= 1  # 16 - bit_length(steps)
        self.h = words((self.inputs + rows) * steps)  # the largest first, while there is a large hole
        self.m = words((n + cols + 1) * CELL)
        self.w = words(4 * n)
        self.z = words(2 * cols)
        self.rule = words(16)
        self._wire(*(wired() if wired else wiring.lattice(rows, cols)))
        self._begun()

    def _wire(self, left, top, ends):
        """Who is connected with whom: data, the kernels know no graph. Any without a cycle will do."""
        n, m = self.cells, self.m
        null = n + self.cols
        first = self.inputs - n  # from the number of a source that is an input to its row
        cell, right, below, gain = CELL, RIGHT, BELOW, self.gain  # names of a module are slow to look up on a board
        q = 0
        for p in range(n):
            a, b = left[p], top[p]
            m[q + right] = m[q + below] = null
            if a >= n or b >= n:
                m[q + GAIN] = gain
                m[q + LAG] = 0 if b >= n else gain
            if 0 <= a < n:
                m[a * cell + right] = p
            if 0 <= b < n:
                m[b * cell + below] = p
            m[q + LEFT] = null if a < 0 else a if a < n else a + first
            m[q + TOP] = null if b < 0 else b if b < n else b + first
            q += cell
        for j in range(self.cols):
            q = (n + j) * CELL
            m[q + TOP] = ends[j]
            m[ends[j] * CELL + BELOW] = n + j
            m[q + C] = 1 << C_BITS
            m[q + WL] = m[q + WT] = m[q + KL] = m[q + KT] = 1 << W_BITS

    def _derive(self):
        self.kernels.derive(self.w, self.m, tables.C, tables.DA, self.cells)

    def _update(self):
        self.kernels.update(self.w, self.m, self.rule, self.cells)
        self._derive()

    def row(self, pixels, offset=0, count=1):
        """Take the next image row, pixels[offset : offset + rows] (0..255), or the next `count` of them."""
        base = self.base + self.arrived
        self.kernels.feed(self.h, pixels, offset, count, self.rows, base, self.steps, self.scale)
        self.arrived += count

    def advance(self):
        """Sweep forward over the image rows that have arrived since the last call."""
        self.kernels.forward(0, 0, self.h, self.m, tables.TANH, self.cells, self.steps, self.done, self.arrived)
        self.done = self.arrived

    def classify(self):
        """Finish the image without learning; return the class with the largest logit (the first of equal ones)."""
        self.advance()
        self.kernels.readout(self.m, self.h, self.z, self.cells, self.cols, self.steps)
        return self._best()

    def gradient(self, label):
        """Finish the image: the records' GRADIENT and EXPONENT; return the prediction. Parameters stay."""
        best = self.classify()
        n, steps, run = self.cells, self.steps, self.kernels
        run.softmax(self.z, tables.EXP, self.cols, label, self.cool)
        run.error(self.m, self.h, self.z, n, self.cols, steps, self.coarse)
        (run.exact if self.exact else run.backward)(0, 0, self.h, self.m, n, steps, self.mantissa)
        return best
