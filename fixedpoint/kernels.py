"""Two-input cells and their learning rules in integers: one text for CPython, MicroPython, viper and LLVM.

A cell is a record of CELL words in `m`; its time series is a row of `steps` words in `h`. One image is

    derive      parameters -> coefficients of every cell                  (depends on the weights only)
    feed        pixels of some image rows -> inputs x_i(t)
    forward     y = tanh(s + b) for every cell, into its row of h
    readout     logits z_j = sum over t of y[bottom row][j](t)
    softmax     delta = softmax(z) - onehot(label), behind the logits
    error       delta into the rows of the readouts
    backward    messages, eleven eligibility traces and gradient of every cell by SnAP-1, in reverse order; or
    exact       messages and the exact gradient instead
    update      one SGD step

and, before the first one,

    draw        random bits for the parameters

Why the loops run over the cells outside and over time inside: within one time step the wiring has no cycle, and a cell
remembers only its own past, so a cell's whole time series can be computed as soon as those of its two sources are
there (backward: of its two descendants). The numbers are those of a machine that steps all cells together, but the
filters and the eleven traces of a cell live in local variables, and `h` needs one word per cell and step: the backward
sweep overwrites y, once it is of no more use, with the message.

forward() and backward() take two arguments, i and x, that carry nothing in (pass 0): viper keeps the first two
variables of a function in registers and the others on the stack. i is the place in m or h, x the value at hand. So
sums begin with the product, and of two factors the one that is x comes last: viper then needs no temporary. What a
shift makes of a variable is worked out each time it is needed: to keep it beside would cost more. And hot loops are
`while i < end`, half the price of range().

Every intermediate value stays within 31 bits (|v| < 2**30: what MicroPython holds without allocating on a 32-bit
chip), for all inputs, by the bounds in fixedpoint/README.md. `>>` rounds towards minus infinity ("floor"); where a
comment says "nearest", half an LSB was added before. Nothing here may use `-x`, `~x`, floats, shift counts above 31 or
constants beyond 30 bits: see fixedpoint/README.md, "The dialect".
"""

try:
    from micropython import const
except ImportError:  # CPython: constants are plain numbers, and viper's types mere labels in the signatures
    ptr8 = ptr16 = ptr32 = object

    def const(x):
        """Return x: MicroPython's compiler folds it into the code, CPython need not."""
        return x


# Q-formats: a value v of format Qn means v / 2**n. Bounds and why they hold: fixedpoint/README.md.
_Y_BITS = const(14)  # y, x, eL, eT and their cross traces, d = 1 - y^2: |v| <= 1.0
_C_BITS = const(15)  # c and da/dl: 0 <= v <= 1.0; also the extra bits of every leaky accumulator
_W_BITS = const(12)  # wL, wT and k = c w as operands: |v| < 8.0
_ETA_BITS = const(11)  # eta: |v| < 12.0 (in units of 2**gain); up to 4 bits more where the weights leave room
_ETA_CROSS_BITS = const(10)  # cross traces of l, and as many bits more
_MASTER_BITS = const(26)  # the parameters themselves: |v| < 8.0
_MSG_BITS = const(22)  # messages lam and delta: saturated at |v| < 64.0
_COARSE = const(4)  # bits less that messages of the exact rule have, which grow further: |v| < 1024.0
_EXP_BITS = const(23)  # exp(-x) in the softmax

_ONE = const(16384)  # 1.0 as Q14
_HALF_C = const(16384)  # half an LSB of what `>> _C_BITS` leaves
_L_ORIGIN = const(268435456)  # 4.0 as Q26: the tables of c(l) and da/dl begin at l = -4
_Y_RANGE = const(131071)  # the last argument of the tanh table, 8 - 1 LSB (Q14)
_M_LIMIT = const(67108863)  # m in -64.0 .. 64.0 - 1 LSB (Q20), so that lam = m d is in +-64.0 (Q22)
_UPDATE_LIMIT = const(536870911)  # |step| < 8.0 in Q26

# The record of a cell. Readouts (unit gain, no memory) and the null shoreline (all zero) are records too.
_LEFT = const(0)  # rows of h that the left and the top input read
_TOP = const(1)
_RIGHT = const(2)  # records of the descendants that hear this cell on their left and on their top input
_BELOW = const(3)
_GAIN = const(4)  # binary exponent of the left input: x is stored divided by 2**gain
_LAG = const(5)  # and by how much that of the top input is below it
_C = const(6)  # Q15 coefficient c of the leaky integrator
_DA = const(7)  # Q15 da/dl = -dc/dl
_WL = const(8)  # Q12 operands of wL and wT
_WT = const(9)
_B = const(10)  # Q14 operand of b
_KL = const(11)  # Q12 couplings c wL and c wT: what the message to the left and to the top source is multiplied by
_KT = const(12)
_EL = const(13)  # Q29 accumulators of the filtered inputs, kept between two calls of forward()
_ET = const(14)
_PEAK = const(15)  # bitwise OR of |lam| over the row: as many bits as its largest, 0 only if all are 0
_EXPONENT = const(16)  # of the gradient: dL/dtheta = g * 2**(_EXPONENT - 32), for l * 2**(_EXPONENT - 28)
_GRADIENT = const(17)  # dL/dl, dL/dwL, dL/dwT, dL/db; for l and wL in units of 2**-gain, for wT of 2**(lag - gain)
_CELL = const(21)

# For those who import: MicroPython folds the names above into the code and forgets them.
RECORD = (_CELL, _LEFT, _TOP, _RIGHT, _BELOW, _GAIN, _LAG, _C, _WL, _WT, _KL, _KT)
GRADIENT = (_EXPONENT, _GRADIENT)
COARSE = (_COARSE,)
FORMATS = (_Y_BITS, _C_BITS, _W_BITS, _ETA_BITS, _ETA_CROSS_BITS, _MASTER_BITS, _MSG_BITS, _EXP_BITS)


def draw(x: ptr32, terms: int):
    """x[2] = sum of `terms` draws of 16 uniform bits; x[0], x[1]: state, high and low half. terms <= 16383.

    xorshift32 (Marsaglia 2003): x ^= x << 13; x ^= x >> 17; x ^= x << 5; its high half is the draw. In halves, because
    32 bits would not stay within 31.
    """
    high = x[0]
    low = x[1]
    total = 0
    for _ in range(terms):
        high = high ^ (((high << 13) | (low >> 3)) & 0xFFFF)
        low = low ^ ((low << 13) & 0xFFFF)
        low = low ^ (high >> 1)  # 17 = 16 + 1: the high half moves into the low one
        high = high ^ (((high << 5) | (low >> 11)) & 0xFFFF)
        low = low ^ ((low << 5) & 0xFFFF)
        total = total + high
    x[0] = high
    x[1] = low
    x[2] = total


def derive(w: ptr32, m: ptr32, c_table: ptr16, da_table: ptr16, n: int):
    """Parameters w (n x (l, wL, wT, b), Q26) -> operands c, da/dl, wL, wT, b and couplings of n records."""
    for p in range(n):
        q = p * _CELL
        # c(l) = 1 - exp(-exp(-l)) and da/dl: tables at steps of 1/32, interpolated at 12 bits, nearest
        x = w[4 * p] + _L_ORIGIN
        i = x >> 21
        x = (x >> 9) & 4095
        c = c_table[i]
        c = c + (((c_table[i + 1] - c) * x + 2048) >> 12)
        a = da_table[i]
        a = a + (((da_table[i + 1] - a) * x + 2048) >> 12)
        wl = (w[4 * p + 1] + 8192) >> 14  # Q26 -> Q12, nearest
        wt = (w[4 * p + 2] + 8192) >> 14
        m[q + _C] = c
        m[q + _DA] = a
        m[q + _WL] = wl
        m[q + _WT] = wt
        m[q + _B] = (w[4 * p + 3] + 2048) >> 12  # Q26 -> Q14, nearest
        m[q + _KL] = (c * wl + _HALF_C) >> _C_BITS  # Q12, nearest
        m[q + _KT] = (c * wt + _HALF_C) >> _C_BITS


def feed(h: ptr32, pixels: ptr8, offset: int, rows: int, count: int, base: int, steps: int, scale: int):
    """`rows` image rows of `count` pixels (0..255) from pixels[offset] on -> inputs; x = pixel * scale / 64.

    Pixel i of the first row goes to h[base + i * steps], those of the next rows behind it. scale = 4112 maps 255 to
    1 - 1 LSB (Q14); floor.
    """
    for t in range(rows):
        place = base + t
        for i in range(offset, offset + count):
            h[place] = (pixels[i] * scale) >> 6
            place += steps
        offset += count


def forward(i: int, x: int, h: ptr32, m: ptr32, tanh: ptr16, n: int, steps: int, t0: int, t1: int):
    """Outputs y(t) of all n cells for t0 <= t < t1 (article: eq. 1 and 2), which may come in several calls.

    The drive wL yL + wT yT passes a leaky integrator. As that is linear, s = wL eL + wT eT, where eL and eT are the
    leaky integrals of the two inputs: the eligibility traces of the two weights. So they are all the state there is.
    """
    for p in range(n):
        i = p * _CELL
        c = 0 - m[i + _C]  # for e - x, which costs viper less than x - e
        wl = m[i + _WL]
        wt = m[i + _WT]
        b = m[i + _B]
        lag = m[i + _LAG]
        narrow = _W_BITS - m[i + _GAIN]
        half = 1 << (narrow - 1)
        # A leaky accumulator keeps the product's bits and is read at the operand's: no dead band. It starts at half an
        # LSB, so that the reading by floor is to nearest.
        el = et = _HALF_C
        if t0:
            el = m[i + _EL]
            et = m[i + _ET]
        left = (m[i + _LEFT] - p) * steps  # from a place in the cell's own row to the same step in its source's
        top = (m[i + _TOP] - p) * steps
        i = p * steps + t0
        end = p * steps + t1
        while i < end:
            x = h[left + i]
            el = ((el >> _C_BITS) - x) * c + el
            x = h[top + i]
            et = ((et >> _C_BITS) - x) * c + et
            # s + b, Q14, nearest: near criticality half an LSB in one direction adds up over the cells
            x = ((et >> _C_BITS) * wt) >> lag
            x = (((el >> _C_BITS) * wl + x + half) >> narrow) + b
            sign = (x >> 31) | 1  # 1 or -1
            x = sign * x
            if x >> 17:  # beyond 8.0
                x = _Y_RANGE
            part = x & 255
            x = x >> 8
            y = tanh[x]
            x = tanh[x + 1]
            x = (((x - y) * part + 128) >> 8) + y  # nearest
            h[i] = sign * x
            i += 1
        i = p * _CELL
        m[i + _EL] = el
        m[i + _ET] = et


def readout(m: ptr32, h: ptr32, z: ptr32, n: int, outs: int, steps: int):
    """Logits z_j, Q14: the sum over time of the output that readout j listens to."""
    for j in range(outs):
        row = m[(n + j) * _CELL + _TOP] * steps
        s = 0
        for t in range(steps):
            s += h[row + t]
        z[j] = s


def softmax(z: ptr32, exp: ptr32, outs: int, label: int, cool: int):
    """delta = dL/dz, Q22, of L = -log softmax(z / 2**cool)[label], behind the logits: z has 2 * outs words."""
    top = z[0]
    for j in range(outs):
        if z[j] > top:
            top = z[j]
    total = 0
    for j in range(outs):
        x = (top - z[j]) >> cool
        e = 0
        if x < 262144:  # exp(-16) is less than an LSB of delta: nought from there on
            i = x >> 9
            e = exp[i]
            e = e + (((exp[i + 1] - e) * (x & 511) + 256) >> 9)  # nearest
        z[outs + j] = e
        total += e
    # Long division by the leading 15 bits of the total (relative error 2**-14 at most, the same for all classes).
    k = 0
    while (total >> k) > 32767:
        k += 1
    s = total >> k
    rest = 0
    for j in range(outs):
        e = z[outs + j]
        i = e // s
        e = (((i << 15) + ((e - i * s) << 15) // s) + (1 << (k + cool - 8))) >> (k + cool - 7)  # Q22, nearest
        z[outs + j] = e
        if j != label:
            rest += e
    z[outs + label] = 0 - rest  # p - 1 without cancellation; the errors sum to 0 exactly


def error(m: ptr32, h: ptr32, z: ptr32, n: int, outs: int, steps: int, coarse: int):
    """delta from z into the rows and the peaks of the readouts, Q22 - coarse, nearest: what they say at every step."""
    for j in range(outs):
        e = (z[outs + j] + ((1 << coarse) >> 1)) >> coarse
        row = (n + j) * steps
        for t in range(steps):
            h[row + t] = e
        i = e >> 31
        m[(n + j) * _CELL + _PEAK] = (e ^ i) - i


def backward(i: int, x: int, h: ptr32, m: ptr32, n: int, steps: int, mantissa: int):
    """Messages and SnAP-1 gradients of all n cells, last cell first; h: rows y -> rows lam. Article: section on SnAP-1.

    Cross traces are kept without their constant factor: eps_d = w_d E_d, where E_d is the leaky integral, with the
    descendant's own c, of d f_theta. So dL/dtheta = sum over d of w_d * (sum over t of lam_d E_d), and the readout is a
    descendant like any other, with c = 1 and w = 1. The message is one factor of all products of a row and is rounded
    to `mantissa` bits of the row's largest (block floating point); mantissa = 16 - bit_length(steps) keeps the sums in
    30 bits.
    """
    for p in range(n - 1, -1, -1):
        i = p * _CELL
        r = m[i + _RIGHT] * _CELL
        s = m[i + _BELOW] * _CELL
        end = p * steps + steps
        u = m[r + _PEAK]
        v = m[s + _PEAK]
        if (u | v) == 0:  # no message came: all that follows would be zero
            m[i + _PEAK] = 0
            for k in range(5):
                m[i + _EXPONENT + k] = 0
            for i in range(p * steps, end):
                h[i] = 0
            continue
        right = (m[i + _RIGHT] - p) * steps  # from a place in the cell's own row to the same step in another's
        below = (m[i + _BELOW] - p) * steps
        left = (m[i + _LEFT] - p) * steps
        top = (m[i + _TOP] - p) * steps
        c = m[i + _C]
        da = m[i + _DA]
        wl = m[i + _WL]
        wt = m[i + _WT]
        lag = m[i + _LAG]
        # nr, nb: bits by which the largest message of a row is longer than `mantissa`; hr, hb: half of what they take
        x = mantissa
        while u >> x:
            x += 1
        nr = x - mantissa
        x = mantissa
        while v >> x:
            x += 1
        nb = x - mantissa
        hr = (1 << nr) >> 1
        hb = (1 << nb) >> 1
        # |eta| < (|wL| + |wT|) * 0.74: small weights leave room for up to 4 bits more, `fine`, than the largest would
        e = ((wl >> 31) | 1) * wl + ((((wt >> 31) | 1) * wt) >> lag)
        x = 4
        while (e << x) > 65536:
            x -= 1
        fine = x
        lag += 1
        narrow = 14 - fine
        half = 1 << (13 - fine)
        cr = 0 - m[r + _C]  # for E - x, which costs viper less than x - E
        cb = 0 - m[s + _C]
        kr = m[r + _KL]
        kb = m[s + _KT]
        peak = 0
        # traces: Q14 + 15 bits (eta Q11 + fine + 15, its cross traces Q10 + fine + 15)
        el = et = eta = _HALF_C
        rl = rt = rb = re = bl = bt = bb = be = _HALF_C
        grl = grt = grb = gre = gbl = gbt = gbb = gbe = 0
        i = p * steps
        while i < end:
            x = h[i]
            d = _ONE - ((x * x + 8192) >> _Y_BITS)  # nearest
            # self traces eL, eT, and eta <- eta - c eta + da/dl (s_old - u); u - s_old = wL (yL - eL) + wT (yT - eT)
            x = (eta >> _C_BITS) * c
            eta = eta - x
            x = h[left + i]
            x = x - (el >> _C_BITS)
            v = (wl * x) >> 1
            el = c * x + el
            x = h[top + i]
            x = x - (et >> _C_BITS)
            et = c * x + et
            x = (((wt * x) >> lag) + v + half) >> narrow  # Q11 + fine, nearest
            x = da * x
            eta = eta - x
            # what they do to y, d f_theta with d = 1 - y^2, and from there to the two descendants: cross traces
            x = ((el >> _C_BITS) * d) >> _Y_BITS  # floor
            rl = ((rl >> _C_BITS) - x) * cr + rl
            bl = ((bl >> _C_BITS) - x) * cb + bl
            x = ((et >> _C_BITS) * d) >> _Y_BITS  # floor
            rt = ((rt >> _C_BITS) - x) * cr + rt
            bt = ((bt >> _C_BITS) - x) * cb + bt
            x = ((eta >> _C_BITS) * d + 16384) >> 15  # Q10 + fine, nearest
            re = ((re >> _C_BITS) - x) * cr + re
            be = ((be >> _C_BITS) - x) * cb + be
            x = d
            rb = ((rb >> _C_BITS) - x) * cr + rb
            bb = ((bb >> _C_BITS) - x) * cb + bb
            # gradient: sums of lam_d E_d; message: m = kR lam_right + kB lam_below, Q20, in two halves
            x = h[right + i]
            v = (x >> 14) * kr
            y = (x & 16383) * kr
            x = (hr + x) >> nr  # nearest
            grl = (rl >> _C_BITS) * x + grl
            grt = (rt >> _C_BITS) * x + grt
            gre = (re >> _C_BITS) * x + gre
            grb = (rb >> _C_BITS) * x + grb
            x = h[below + i]
            v = (x >> 14) * kb + v
            y = (x & 16383) * kb + y
            x = (hb + x) >> nb  # nearest
            gbl = (bl >> _C_BITS) * x + gbl
            gbt = (bt >> _C_BITS) * x + gbt
            gbe = (be >> _C_BITS) * x + gbe
            gbb = (bb >> _C_BITS) * x + gbb
            x = ((y + 8192) >> 14) + v  # nearest
            if (x ^ (x >> 31)) >> 26:  # beyond 64.0
                x = _M_LIMIT ^ (x >> 31)
            x = (((x & 4095) * d + 2048) >> 12) + (x >> 12) * d  # lam = m d, Q22, nearest
            h[i] = x
            peak = (((x >> 31) | 1) * x) | peak
            i += 1
        i = p * _CELL
        m[i + _PEAK] = peak
        # times w_d, halved, and both brought to the larger exponent, floor
        x = nr
        if nb > x:
            x = nb
        m[i + _EXPONENT] = x
        nr = 1 + x - nr
        nb = 1 + x - nb
        x = m[r + _WL]
        gre = (((gre & 32767) * x >> 15) + (gre >> 15) * x) >> nr
        grl = (((grl & 32767) * x >> 15) + (grl >> 15) * x) >> nr
        grt = (((grt & 32767) * x >> 15) + (grt >> 15) * x) >> nr
        grb = (((grb & 32767) * x >> 15) + (grb >> 15) * x) >> nr
        x = m[s + _WT]
        m[i + _GRADIENT] = (((((gbe & 32767) * x >> 15) + (gbe >> 15) * x) >> nb) + gre) >> fine
        m[i + _GRADIENT + 1] = ((((gbl & 32767) * x >> 15) + (gbl >> 15) * x) >> nb) + grl
        m[i + _GRADIENT + 2] = ((((gbt & 32767) * x >> 15) + (gbt >> 15) * x) >> nb) + grt
        m[i + _GRADIENT + 3] = ((((gbb & 32767) * x >> 15) + (gbb >> 15) * x) >> nb) + grb


def exact(i: int, x: int, h: ptr32, m: ptr32, n: int, steps: int, mantissa: int):
    """Messages and exact gradients of all n cells, as backward() has them of SnAP-1; h: rows y -> rows nu.

    The message carries the future of its cell: nu(t) = nu(t + 1) + c (lam(t) - nu(t + 1)), lam = m d, and a source
    hears w nu instead of k lam. Then dL/dw = sum over t of nu y_source, dL/db = sum of lam, and dL/dl = sum of
    nu (da/dl) / c (s_old - u): backpropagation through time, with the filter run in reverse. nu is a mean of messages,
    so it stays within their bound. A readout has c = 1 and w = 1: its nu is delta. Messages are Q18 here.
    """
    for p in range(n - 1, -1, -1):
        i = p * _CELL
        r = m[i + _RIGHT] * _CELL
        s = m[i + _BELOW] * _CELL
        begin = p * steps
        end = begin + steps
        if (m[r + _PEAK] | m[s + _PEAK]) == 0:  # no message came: all that follows would be zero
            m[i + _PEAK] = 0
            for k in range(5):
                m[i + _EXPONENT + k] = 0
            for i in range(begin, end):
                h[i] = 0
            continue
        right = (m[i + _RIGHT] - p) * steps  # from a place in the cell's own row to the same step in another's
        below = (m[i + _BELOW] - p) * steps
        left = (m[i + _LEFT] - p) * steps
        top = (m[i + _TOP] - p) * steps
        c = m[i + _C]
        wl = m[i + _WL]
        wt = m[i + _WT]
        lag = m[i + _LAG]
        wr = m[r + _WL]
        wb = m[s + _WT]
        nu = 0
        high = 0
        low = 0
        peak = 0
        i = end
        while i > begin:
            i -= 1
            x = h[i]
            d = _ONE - ((x * x + 8192) >> _Y_BITS)  # nearest
            # m = wR nu_right + wB nu_below, Q16, in two halves; lam = m d, Q18
            x = h[right + i]
            v = (x >> 14) * wr
            y = (x & 16383) * wr
            x = h[below + i]
            v = (x >> 14) * wb + v
            y = (x & 16383) * wb + y
            x = ((y + 8192) >> 14) + v  # nearest
            if (x ^ (x >> 31)) >> 26:  # beyond 1024.0
                x = _M_LIMIT ^ (x >> 31)
            x = (((x & 4095) * d + 2048) >> 12) + (x >> 12) * d  # nearest
            high = (x >> 14) + high  # dL/db, in two halves
            low = (x & 16383) + low
            x = x - nu
            x = (((x & 32767) * c + 16384) >> 15) + (x >> 15) * c + nu  # Q18, nearest
            nu = x
            h[i] = x
            peak = (((x >> 31) | 1) * x) | peak
        # nu as a factor: `e` bits less, so that its largest has `mantissa`
        x = mantissa
        while peak >> x:
            x += 1
        e = x - mantissa
        he = (1 << e) >> 1
        x = ((wl >> 31) | 1) * wl + ((((wt >> 31) | 1) * wt) >> lag)
        fine = 4  # as in backward(): small weights leave room for more bits
        while (x << fine) > 65536:
            fine -= 1
        lag += 1
        narrow = 16 - fine
        half = 1 << (15 - fine)
        el = et = _HALF_C
        gl = gwl = gwt = 0
        i = begin
        while i < end:
            x = h[i]
            y = (he + x) >> e  # nearest
            # u - s_old = wL (yL - eL) + wT (yT - eT), Q9 + fine
            x = h[left + i]
            gwl = y * x + gwl
            x = x - (el >> _C_BITS)
            v = (wl * x) >> 1
            el = c * x + el
            x = h[top + i]
            gwt = y * x + gwt
            x = x - (et >> _C_BITS)
            et = c * x + et
            x = (((wt * x) >> lag) + v + half) >> narrow  # nearest
            gl = y * x + gl
            i += 1
        i = p * _CELL
        m[i + _PEAK] = peak
        # dL/dl: a sum of Q31 + fine - e times -(da/dl) / c, Q14; dL/db may need a larger exponent than the others, by x
        v = (m[i + _DA] << 14) // c
        v = 0 - (((gl & 16383) * v >> 14) + (gl >> 14) * v)
        high = high + (low >> 14)
        y = (((high >> 31) | 1) * high) >> 5
        x = e
        while y >> x:
            x += 1
        m[i + _EXPONENT] = x + _COARSE
        m[i + _GRADIENT + 3] = (high << (24 - x)) + (((low & 16383) << 10) >> x)
        x = x - e
        m[i + _GRADIENT] = v >> (fine + 3 + x)
        m[i + _GRADIENT + 1] = gwl >> (x + 4)
        m[i + _GRADIENT + 2] = gwt >> (x + 4)


def update(w: ptr32, m: ptr32, rule: ptr32, n: int):
    """One SGD step: w -= rate * gradient for n x (l, wL, wT, b), Q26, within bounds.

    rule is 4 x (multiplier 0..32767, shift 14..40, lowest, highest): rate = multiplier * 2**-shift.
    """
    for k in range(4):
        a = rule[4 * k]
        shift = rule[4 * k + 1] - 9
        if k == 0:
            shift -= 4
        lowest = rule[4 * k + 2]
        highest = rule[4 * k + 3]
        q = 0
        for i in range(k, 4 * n, 4):
            x = m[q + _GRADIENT + k]
            v = (x >> 15) * a + (((x & 32767) * a) >> 15)  # floor
            e = shift - m[q + _EXPONENT]
            if k < 3:
                e = e - m[q + _GAIN]
            if k == 2:
                e = e + m[q + _LAG]
            if e > 0:
                v = ((v >> (e - 1)) + 1) >> 1  # nearest
            else:
                e = 0 - e
                x = _UPDATE_LIMIT >> e
                sign = (v >> 31) | 1
                if sign * v > x:
                    v = sign * x
                v = v << e
            v = w[i] - v
            if v < lowest:
                v = lowest
            if v > highest:
                v = highest
            w[i] = v
            q += _CELL
