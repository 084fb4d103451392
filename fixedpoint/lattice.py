"""The lattice: its wiring, its seeded start, training and prediction, digest, parameters in and out."""

from array import array
from binascii import crc32

from fixedpoint import kernels, tables

CELL, LEFT, TOP, RIGHT, BELOW, GAIN, C, WL, WT, KL, KT = kernels.RECORD
_, C_BITS, W_BITS, _, _, MASTER_BITS, _, _ = kernels.FORMATS

MAX_ROWS = 64  # feed() and the logits' sum are safe far beyond; memory on a board is not
MAX_STEPS = 1023  # gradient sums keep 16 - bit_length(steps) bits of each message: six at the least
MAX_SCALE = 4112  # of a pixel: 255 * 4112 / 64 is 1 - 1 LSB in Q14
MAX_GAIN = 4  # binary exponent of the input
L_LOWEST = -4 << MASTER_BITS  # the domain of the tables of c(l) and da/dl
L_HIGHEST = (6 << MASTER_BITS) - 1
W_HIGHEST = 32767 << (MASTER_BITS - W_BITS)  # the largest whose operand is below 8.0
RATE_SHIFTS = (14, 40)  # lowest and highest shift of a learning rate multiplier * 2**-shift

# Spread of the parameters at the start, all Q12: mean and standard deviation of wL and the share of its signs that are
# flipped, mean and standard deviation of wT, lowest and highest l, mean and standard deviation of b.
INIT_FIELDS = ("wl_mean", "wl_std", "wl_flipped", "wt_mean", "wt_std", "l_low", "l_high", "b_mean", "b_std")


def words(n):
    """Return n 32-bit zeros."""
    zeros = array("i")
    block = array("i", bytes(4 * 64))
    for i in range(0, n, 64):  # in blocks: a single bytes() of all would for a moment take the memory twice
        zeros.extend(block if n - i >= 64 else array("i", bytes(4 * (n - i))))
    return zeros


class Random:
    """xorshift32 (see kernels.draw()): the same weights on every machine, no floats."""

    def __init__(self, seed, kernels=kernels):
        """Any integer seed; its low 32 bits count. kernels: as for Lattice."""
        x = (seed * 2654435761 + 1013904223) & 0xFFFFFFFF or 1
        self.x = array("i", (x >> 16, x & 0xFFFF, 0))
        self.kernels = kernels
        self.draw(16)

    def draw(self, terms=1):
        """Return 16 uniform bits, or the sum of several draws."""
        self.kernels.draw(self.x, terms)
        return self.x[2]

    def uniform(self, low, high):
        """Return a master (Q26) in [low, high), both Q12."""
        return (low << 14) + (((high - low) * self.draw()) >> 2)

    def normal(self, mean, std):
        """Return a master (Q26) of that mean and standard deviation, both Q12: Irwin-Hall, 12 uniforms, |z| <= 6."""
        return (mean << 14) + ((std * (self.draw(12) - 6 * 65535)) >> 2)


class Lattice:
    """rows x cols cells on `steps` time steps; input i drives row i from the left, output j leaves below column j.

    w: parameters, rows*cols*(l, wL, wT, b), Q26, raster order. step: training steps made so far (its low 32 bits
    enter the digest). kernels: the module of the kernels or its compiled twin; words: allocator of int32 arrays.
    Raises ValueError for a size, scale or gain outside the bounds above.
    """

    def __init__(self, rows, cols, steps, scale=MAX_SCALE, gain=0, kernels=kernels, words=words):
        if not (1 <= rows <= MAX_ROWS and 1 <= cols <= MAX_ROWS and 1 <= steps <= MAX_STEPS):
            raise ValueError(f"lattice {rows}x{cols}, {steps} steps: 1..{MAX_ROWS} rows, columns; 1..{MAX_STEPS} steps")
        if not (1 <= scale <= MAX_SCALE and 0 <= gain <= MAX_GAIN):
            raise ValueError(f"scale {scale}, gain {gain}: scale is 1..{MAX_SCALE}, gain 0..{MAX_GAIN}")
        self.rows, self.cols, self.steps = rows, cols, steps
        self.scale, self.gain = scale, gain
        self.cells = n = rows * cols
        self.inputs = n + cols + 1  # rows of h: cells, readouts, the null shoreline, inputs
        self.mantissa = 16
        while steps >> (16 - self.mantissa):
            self.mantissa -= 1  # 16 - bit_length(steps)
        self.kernels = kernels
        self.h = words((self.inputs + rows) * steps)  # the largest first, while there is a large hole
        self.m = words((n + cols + 1) * CELL)
        self.w = words(4 * n)
        self.z = words(2 * cols)
        self.rule = words(16)
        self.step = 0
        self.arrived = self.done = 0  # image rows taken in, and those that the forward sweep has seen
        self._wire()
        self.set_rates(((0, 40), (0, 40), (0, 40)))
        self.set_bounds(((-32768, 32767), (-32768, 32767), (-32768, 32767)))
        self._derive()

    def _wire(self):
        """Who is connected with whom: data, the kernels know no lattice. Any graph without a cycle will do."""
        rows, cols, n, m = self.rows, self.cols, self.cells, self.m
        null = n + cols
        for p in range(n):
            i, j = p // cols, p % cols
            q = p * CELL
            m[q + LEFT] = p - 1 if j else self.inputs + i
            m[q + TOP] = p - cols if i else null
            m[q + RIGHT] = p + 1 if j < cols - 1 else null
            m[q + BELOW] = p + cols  # under the last row: readout j
            m[q + GAIN] = 0 if j else self.gain
        for j in range(cols):
            q = (n + j) * CELL
            m[q + TOP] = (rows - 1) * cols + j
            m[q + C] = 1 << C_BITS
            m[q + WL] = m[q + WT] = m[q + KL] = m[q + KT] = 1 << W_BITS

    def _derive(self):
        self.kernels.derive(self.w, self.m, tables.C, tables.DA, self.cells)

    def seed(self, seed, init):
        """Draw all parameters, cell by cell, and set step to 0. init: the nine Q12 values of INIT_FIELDS."""
        wl_mean, wl_std, wl_flipped, wt_mean, wt_std, l_low, l_high, b_mean, b_std = init
        random = Random(seed, self.kernels)
        values = self.w
        for p in range(0, 4 * self.cells, 4):
            values[p] = random.uniform(l_low, l_high)
            values[p + 1] = random.normal(wl_mean, wl_std)
            if random.draw() >> 4 < wl_flipped:
                values[p + 1] = 0 - values[p + 1]
            values[p + 2] = random.normal(wt_mean, wt_std)
            values[p + 3] = random.normal(b_mean, b_std)
        self.load(values, 0)

    def load(self, values, step):
        """Take parameters (Q26; clipped to their bounds) and the step counter that belongs to them."""
        for i in range(4 * self.cells):
            low, high = self.rule[4 * (i & 3) + 2], self.rule[4 * (i & 3) + 3]
            self.w[i] = min(max(values[i], low), high)
        self.step = step
        self._derive()

    def set_rates(self, rates):
        """rates: (multiplier, shift) for l, w and b; rate = multiplier * 2**-shift. Between two images only."""
        for multiplier, shift in rates:
            if not (0 <= multiplier <= 32767 and RATE_SHIFTS[0] <= shift <= RATE_SHIFTS[1]):
                raise ValueError(f"rate {multiplier} * 2**-{shift}: multiplier is 0..32767, shift {RATE_SHIFTS}")
        for k, group in enumerate((0, 1, 1, 2)):
            self.rule[4 * k], self.rule[4 * k + 1] = rates[group]

    def set_bounds(self, bounds):
        """bounds: (lowest, highest) l, w and b, Q12, at which update() stops a parameter; never beyond the formats'."""
        for k, group in enumerate((0, 1, 1, 2)):
            low, high = bounds[group]
            self.rule[4 * k + 2] = max(low << 14, L_LOWEST if k == 0 else 0 - W_HIGHEST)
            self.rule[4 * k + 3] = min(high << 14, L_HIGHEST if k == 0 else W_HIGHEST)

    def begin(self):
        """Start a new image."""
        self.arrived = self.done = 0

    def row(self, pixels, offset=0, count=1):
        """Take the next image row, pixels[offset : offset + rows] (0..255), or the next `count` of them."""
        base = self.inputs * self.steps + self.arrived
        self.kernels.feed(self.h, pixels, offset, count, self.rows, base, self.steps, self.scale)
        self.arrived += count

    def advance(self):
        """Sweep forward over the image rows that have arrived since the last call."""
        self.kernels.forward(0, 0, self.h, self.m, tables.TANH, self.cells, self.steps, self.done, self.arrived)
        self.done = self.arrived

    def classify(self):
        """Finish the image without learning; return the class with the largest logit (the first of equal ones)."""
        self.advance()
        z, cols = self.z, self.cols
        self.kernels.readout(self.m, self.h, z, self.cells, cols, self.steps)
        best = 0
        for j in range(1, cols):
            if z[j] > z[best]:
                best = j
        return best

    def gradient(self, label):
        """Finish the image: the records' GRADIENT and EXPONENT; return the prediction. Parameters stay."""
        best = self.classify()
        n, steps, run = self.cells, self.steps, self.kernels
        run.error(self.m, self.h, self.z, tables.EXP, n, self.cols, steps, label)
        run.backward(0, 0, self.h, self.m, n, steps, self.mantissa)
        return best

    def learn(self, label):
        """Finish the image with one training step (label 0..cols-1); return what was predicted before it."""
        best = self.gradient(label)
        self.kernels.update(self.w, self.m, self.rule, self.cells)
        self._derive()
        self.step += 1
        return best

    def _image(self, pixels):
        self.begin()
        self.row(pixels, 0, self.steps)

    def train(self, pixels, label):
        """One training step on an image, steps x rows pixels (0..255), flat; return the prediction before it."""
        self._image(pixels)
        return self.learn(label)

    def predict(self, pixels):
        """Return the predicted class of an image."""
        self._image(pixels)
        return self.classify()

    def digest(self):
        """CRC-32 over the parameters (little-endian words) and the step counter: equal digests, equal runs."""
        return crc32(self.step.to_bytes(4, "little"), crc32(self.w))
