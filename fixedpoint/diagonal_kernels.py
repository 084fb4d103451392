"""The diagonal network and its learning rule in integers: kernels in the same dialect as fixedpoint/kernels.py.

A unit hears all inputs and its own past: no message travels between units, so SnAP-1 is the exact gradient here, and
since delta does not depend on time, all that has to be kept of the past are sums. While rows arrive,

    listen      which inputs have said nothing so far
    absorb      one sweep per image row: s = sum over i of W_i e_i, y = tanh(s + b); and beside every parameter what it
                does to y, summed over time: d e_i for W_i (d = 1 - y^2), d eta for l, d for b, y for the readout

and when the last has come,

    logits      z_j = sum over units k of V_jk times the sum over t of y_k(t)
    teach       the message to every unit, M_k = sum over j of V_jk delta_j
    adapt       one SGD step: the gradient is M_k (for V: delta_j) times the sum beside the parameter

with kernels.feed() before, and kernels.softmax() between logits and teach. Parameters w, their operands v and the sums
stand in one order: W (units x inputs), l, b (units each), V (outputs x units); of V there is one sum per unit.

The same rules and bounds (31 bits) hold as in fixedpoint/kernels.py.
"""

try:
    from micropython import const
except ImportError:  # CPython: constants are plain numbers, and viper's types mere labels in the signatures
    ptr8 = ptr16 = ptr32 = object

    def const(x):
        """Return x: MicroPython's compiler folds it into the code, CPython need not."""
        return x


_ONE = const(16384)  # 1.0 as Q14
_HALF_C = const(16384)  # half an LSB of what `>> 15` leaves
_L_ORIGIN = const(268435456)  # 4.0 as Q26: the tables of c(l) and da/dl begin at l = -4
_Y_RANGE = const(131071)  # the last argument of the tanh table, 8 - 1 LSB (Q14)
_S_LIMIT = const(262143)  # s is kept within +-16.0 (Q14): beyond 8.0 tanh is saturated
_LIMIT = const(268435455)  # logits (Q14) and M (Q22) are kept within 28 bits
_UPDATE_LIMIT = const(536870911)  # |step| < 8.0 in Q26

# The record of a unit.
_C = const(0)  # Q15 coefficient c of the leaky integrator
_RATIO = const(1)  # Q10 (da/dl) / c
_B = const(2)  # Q14 operand of b
_S = const(3)  # Q15 s
_D = const(4)  # Q14 - narrow d of the last step: so coarse that 2**narrow steps and more can be summed up
_ETA = const(5)  # Q25 accumulator of eta = ds/dl, read as Q10
_UNIT = const(6)

# For those who import: MicroPython folds the names above into the code and forgets them.
RECORD = (_UNIT, _D)


def derive_weights(w: ptr32, v: ptr32, count: int):
    """Parameters w (Q26) -> operands v of W and V (Q12); of l and b there are none."""
    for p in range(count):
        v[p] = (w[p] + 8192) >> 14  # nearest


def derive_units(w: ptr32, u: ptr32, c_table: ptr16, da_table: ptr16, units: int, inputs: int):
    """Parameters w (Q26) -> coefficients in the records of the units."""
    n = units * inputs
    for k in range(units):
        q = k * _UNIT
        x = w[n + k] + _L_ORIGIN  # c(l) and da/dl as in kernels.derive()
        i = x >> 21
        x = (x >> 9) & 4095
        c = c_table[i]
        c = c + (((c_table[i + 1] - c) * x + 2048) >> 12)
        a = da_table[i]
        a = a + (((da_table[i + 1] - a) * x + 2048) >> 12)
        u[q + _C] = c
        u[q + _RATIO] = ((a << 10) + (c >> 1)) // c  # nearest
        u[q + _B] = (w[n + units + k] + 2048) >> 12  # Q26 -> Q14, nearest


def listen(h: ptr32, quiet: ptr32, inputs: int, t0: int, t1: int):
    """quiet[2 t], quiet[2 t + 1]: how many of the first and of the last inputs have been 0 so far, for t0 <= t < t1."""
    first = last = inputs
    if t0 > 0:
        first = quiet[2 * t0 - 2]
        last = quiet[2 * t0 - 1]
    for t in range(t0, t1):
        i = t * inputs
        end = i + first
        while i < end and h[i] == 0:
            i += 1
        first = i - t * inputs
        i = t * inputs + inputs
        end = i - last
        while i > end and h[i - 1] == 0:
            i -= 1
        last = t * inputs + inputs - i
        quiet[2 * t] = first
        quiet[2 * t + 1] = last


def absorb(
    a: int, x: int, e: ptr32, s: ptr32, h: ptr32, v: ptr32, u: ptr32, tanh: ptr16, quiet: ptr32, units: int,
    inputs: int, t0: int, t1: int, gain: int, narrow: int,
):  # fmt: skip
    """Rows t0 <= t < t1 of an image, which may come in several calls: outputs, traces e and the sums s.

    h: input i at time t in h[t * inputs + i], stored divided by 2**gain. e: Q29 accumulators, read as Q14 (as in
    kernels.forward()); s: sum of d e, Q28 - narrow. The sum takes what d and e were a step before, which is all known:
    so one sweep over the weights does, and the last summand is left to teach(). quiet: from listen(); inputs that have
    been 0 so far add nothing, and are passed over (all 0: none is). a and x carry nothing in.
    """
    n = units * inputs
    half = (1 << narrow) >> 1
    if t0 == 0:
        a = 0
        while a < n:
            e[a] = _HALF_C
            a += 1
        a = 0
        end = n + 3 * units
        while a < end:
            s[a] = 0
            a += 1
        for k in range(units):
            a = k * _UNIT
            u[a + _S] = 0
            u[a + _D] = 0
            u[a + _ETA] = _HALF_C
    sums = n + units  # of b; those of V stand behind them, those of l before them
    back = 2 * units
    wide = 6 - gain
    bias = (1 << wide) >> 1
    for t in range(t0, t1):
        first = quiet[2 * t]
        many = inputs - first - quiet[2 * t + 1]
        if many < 0:  # nothing but 0 so far
            many = 0
        k = units
        while k:
            k -= 1
            a = k * _UNIT
            c = 0 - u[a + _C]  # for e - x, which costs viper less than x - e
            d = u[a + _D]
            total = bias
            a = k * inputs
            row = t * inputs - a  # from a weight's place to its input's
            a += first
            end = a + many
            while a - end:  # cheaper than a comparison
                f = h[row + a]
                x = e[a]
                s[a] = (x >> 15) * d + s[a]
                x = ((x >> 15) - f) * c + x
                e[a] = x
                total = ((x >> 15) * v[a] >> 6) + total  # Q20, floor
                a += 1
            # s, Q15, nearest
            a = k * _UNIT
            x = total >> wide
            if (x ^ (x >> 31)) >> 18:  # beyond 16.0
                x = _S_LIMIT ^ (x >> 31)
            # eta <- eta - c eta + (da/dl) (s_old - u); u - s_old = (s - s_old) / c
            d = x - u[a + _S]
            u[a + _S] = x
            y = x
            x = u[a + _RATIO]
            d = d * x
            x = u[a + _ETA]
            x = (x >> 15) * c + x - d
            u[a + _ETA] = x
            f = x >> 15
            x = u[a + _B]
            x = x + y
            sign = (x >> 31) | 1
            x = sign * x
            if x >> 17:
                x = _Y_RANGE
            part = x & 255
            x = x >> 8
            d = tanh[x]
            x = tanh[x + 1]
            x = (((x - d) * part + 128) >> 8) + d  # |y|, nearest
            y = sign * x
            x = _ONE - ((x * x + 8192) >> 14)  # d, nearest
            d = (half + x) >> narrow  # nearest
            u[a + _D] = d
            a = sums + k
            s[a] = s[a] + x
            a += units
            s[a] = y + s[a]
            a -= back
            s[a] = f * d + s[a]


def logits(s: ptr32, v: ptr32, z: ptr32, units: int, inputs: int, outs: int):
    """Logits z_j, Q14, saturated at 2**14."""
    n = (inputs + 2) * units
    p = n
    for j in range(outs):
        total = 0
        for k in range(units):
            x = s[n + k]
            total = total + (((x & 4095) * v[p] + 2048) >> 12) + (x >> 12) * v[p]  # nearest
            x = ((total >> 31) | 1) * total
            if x >> 28:
                total = ((total >> 31) | 1) * _LIMIT
            p += 1
        z[j] = total


def teach(
    a: int, x: int, e: ptr32, s: ptr32, v: ptr32, u: ptr32, z: ptr32, quiet: ptr32, units: int, inputs: int, outs: int,
    steps: int,
):  # fmt: skip
    """M_k, Q22, saturated at 64.0, behind the outs logits and deltas in z; the last summand of all sums for W.

    a and x carry nothing in.
    """
    first = quiet[2 * steps - 2]
    last = quiet[2 * steps - 1]
    for k in range(units):
        d = u[k * _UNIT + _D]
        a = k * inputs + first
        end = k * inputs + inputs - last
        while a < end:
            x = e[a] >> 15
            s[a] = d * x + s[a]
            a += 1
        p = (inputs + 2) * units + k
        total = 0
        for j in range(outs):
            x = z[outs + j]
            total = total + (((x & 4095) * v[p] + 2048) >> 12) + (x >> 12) * v[p]  # nearest
            x = ((total >> 31) | 1) * total
            if x >> 28:
                total = ((total >> 31) | 1) * _LIMIT
            p += units
        z[2 * outs + k] = total


def adapt(
    p: int, x: int, w: ptr32, s: ptr32, v: ptr32, z: ptr32, rule: ptr32, units: int, inputs: int, outs: int, gain: int,
    narrow: int,
):  # fmt: skip
    """One SGD step: w -= rate * M * sum, Q26, within bounds; and the operands of what changes, as in derive_weights().

    rule is 4 x (multiplier 0..32767, shift 14..40, lowest, highest) of l, W, V, b: rate = multiplier * 2**-shift. p and
    x carry nothing in.
    """
    n = units * inputs
    for b in range(3 * units + outs):  # rows of parameters that have one message: W_k, l_k, b_k, V_j
        k = many = 1
        if b < units:
            p = b * inputs
            i = p
            many = inputs
            x = z[2 * outs + b]
            e = 28 - narrow - gain
        elif b < 2 * units:
            p = n + b - units
            i = p
            k = 0
            x = z[2 * outs + b - units]
            e = 23 - narrow
        elif b < 3 * units:
            p = n + b - units
            i = p
            k = 3
            x = z[2 * outs + b - 2 * units]
            e = 14
        else:
            i = n + 2 * units
            p = i + (b - 3 * units) * units
            k = 2
            many = units
            x = z[outs + b - 3 * units]
            e = 14
        # message times multiplier: 14 bits and an exponent
        e = e + rule[4 * k + 1] - 19
        y = ((x >> 31) | 1) * x
        half = 0
        while (y >> half) > 32767:
            half += 1
        e = e - half
        x = ((x + ((1 << half) >> 1)) >> half) * rule[4 * k]  # nearest
        y = ((x >> 31) | 1) * x
        half = 0
        while (y >> half) > 16383:
            half += 1
        e = e - half
        a = x
        if half:
            a = ((x >> (half - 1)) + 1) >> 1  # nearest, and 32768 * 32767 leaves no room to add to
        low = rule[4 * k + 2]
        high = rule[4 * k + 3]
        if e > 31:
            e = 31
        near = far = most = 0
        if e > 0:
            near = 1
        else:
            far = 0 - e
            most = _UPDATE_LIMIT >> far
        e -= 1
        i = i - p  # from a parameter to its sum
        end = p + many
        while p - end:
            x = s[i + p]
            y = (x >> 15) * a + (((x & 32767) * a) >> 15)  # floor
            if y:
                if near:
                    y = ((y >> e) + 1) >> 1  # nearest
                else:
                    if y > most:
                        y = most
                    if y < 0 - most:
                        y = 0 - most
                    y = y << far
                x = w[p] - y
                if x < low:
                    x = low
                if x > high:
                    x = high
                w[p] = x
                v[p] = (x + 8192) >> 14  # nearest
            p += 1
