"""What all networks have in common: seeded start, rates and bounds, training and prediction, digest."""

import gc
from array import array
from binascii import crc32

from fixedpoint import kernels

_, C_BITS, W_BITS, _, _, MASTER_BITS, _, _ = kernels.FORMATS

MAX_ROWS = 64  # inputs, and outputs; feed() and the logits' sum are safe far beyond, memory on a board is not
MAX_STEPS = 1023  # gradient sums keep 16 - bit_length(steps) bits of each message: six at the least
MAX_SCALE = 4112  # of a pixel: 255 * 4112 / 64 is 1 - 1 LSB in Q14
MAX_GAIN = 4  # binary exponent of the input
MAX_COOL = 4  # binary exponent of what the logits are divided by
L_LOWEST = -4 << MASTER_BITS  # the domain of the tables of c(l) and da/dl
L_HIGHEST = (6 << MASTER_BITS) - 1
W_HIGHEST = 32767 << (MASTER_BITS - W_BITS)  # the largest whose operand is below 8.0
RATE_SHIFTS = (14, 40)  # lowest and highest shift of a learning rate multiplier * 2**-shift
NO_RATE = (0, 40)

# Spread of the parameters at the start, all Q12: mean and standard deviation of wL and the share of its signs that are
# flipped, mean and standard deviation of wT, lowest and highest l, mean and standard deviation of b. A diagonal network
# has W instead of wL, and V instead of wT.
INIT_FIELDS = ("wl_mean", "wl_std", "wl_flipped", "wt_mean", "wt_std", "l_low", "l_high", "b_mean", "b_std")


def words(n):
    """Return n 32-bit zeros. In blocks: a single bytes() of all would for a moment take the memory twice."""
    zeros = array("i", bytes(4 * (n & 63)))
    block = array("i", bytes(4 * 64))
    if n > 1024 and hasattr(gc, "mem_free"):  # MicroPython's. An array that meets anything as it grows must move
        gc.collect()
    for _ in range(n >> 6):
        zeros.extend(block)
    return zeros


def check(rows, cols, steps, scale, gain, cool):
    """Raise ValueError for a size, scale, gain or cool outside the bounds above."""
    if not (1 <= rows <= MAX_ROWS and 1 <= cols <= MAX_ROWS and 1 <= steps <= MAX_STEPS):
        raise ValueError(f"lattice {rows}x{cols}, {steps} steps: 1..{MAX_ROWS} rows, columns; 1..{MAX_STEPS} steps")
    if not (1 <= scale <= MAX_SCALE and 0 <= gain <= MAX_GAIN and 0 <= cool <= MAX_COOL):
        raise ValueError(
            f"scale {scale}, gain {gain}, cool {cool}: scale is 1..{MAX_SCALE}, gain 0..{MAX_GAIN}, cool 0..{MAX_COOL}"
        )


class Random:
    """xorshift32 (see kernels.draw()): the same weights on every machine, no floats."""

    def __init__(self, seed, kernels=kernels):
        """Any integer seed; its low 32 bits count. kernels: as for Network."""
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


class Network:
    """`rows` inputs, `cols` outputs, `steps` time steps.

    w: parameters, Q26. step: training steps made so far (its low 32 bits enter the digest). rule: rates and bounds of
    four groups of parameters: l, wL or W, wT or V, b. kernels: the module of the kernels or its compiled twin; words:
    allocator of int32 arrays. Raises ValueError for a size, scale, gain or cool outside the bounds above.

    A kind of network has _derive(): operands from parameters; row(), advance(), classify(): an image on its way in;
    gradient(label): a training step but for the update; _update(): that, with new operands; group(i): of parameter i.
    """

    groups = (0, 1, 1, 2)  # which of the rates (l, w, b, v) each group of parameters has

    def __init__(self, rows, cols, steps, scale, gain, cool, kernels):
        check(rows, cols, steps, scale, gain, cool)
        self.rows, self.cols, self.steps = rows, cols, steps
        self.scale, self.gain, self.cool = scale, gain, cool
        self.kernels = kernels
        self.step = 0
        self.arrived = self.done = 0  # image rows taken in, and those that the forward sweep has seen

    def _begun(self):
        """What is left to do when the arrays are there."""
        self.set_rates((NO_RATE,) * 4)
        self.set_bounds(((-32768, 32767), (-32768, 32767), (-32768, 32767)))
        self._derive()

    def group(self, i):
        """The group of parameter i: 0 l, 1 wL, 2 wT, 3 b."""
        return i & 3

    def seed(self, seed, init):
        """Draw all parameters, one after the other, and set step to 0. init: the nine Q12 values of INIT_FIELDS."""
        wl_mean, wl_std, wl_flipped, wt_mean, wt_std, l_low, l_high, b_mean, b_std = init
        random = Random(seed, self.kernels)
        values, of = self.w, self.group
        for i in range(len(values)):
            group = of(i)
            if group == 0:
                values[i] = random.uniform(l_low, l_high)
            elif group == 1:
                values[i] = random.normal(wl_mean, wl_std)
                if random.draw() >> 4 < wl_flipped:
                    values[i] = 0 - values[i]
            elif group == 2:
                values[i] = random.normal(wt_mean, wt_std)
            else:
                values[i] = random.normal(b_mean, b_std)
        self.load(values, 0)

    def load(self, values, step):
        """Take parameters (Q26; clipped to their bounds) and the step counter that belongs to them."""
        w, rule, group = self.w, self.rule, self.group
        for i in range(len(w)):
            k = 4 * group(i)
            w[i] = min(max(values[i], rule[k + 2]), rule[k + 3])
        self.step = step
        self._derive()

    def set_rates(self, rates):
        """rates: (multiplier, shift) for l, w, b and, in a diagonal network, V; rate = multiplier * 2**-shift.

        Between two images only.
        """
        for multiplier, shift in rates:
            if not (0 <= multiplier <= 32767 and RATE_SHIFTS[0] <= shift <= RATE_SHIFTS[1]):
                raise ValueError(f"rate {multiplier} * 2**-{shift}: multiplier is 0..32767, shift {RATE_SHIFTS}")
        for k, group in enumerate(self.groups):
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

    def _best(self):
        """The class with the largest logit (the first of equal ones)."""
        z, best = self.z, 0
        for j in range(1, self.cols):
            if z[j] > z[best]:
                best = j
        return best

    def learn(self, label):
        """Finish the image with one training step (label 0..cols-1); return what was predicted before it."""
        best = self.gradient(label)
        self._update()
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
