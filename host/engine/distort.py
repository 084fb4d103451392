"""What is done to a signal, as statements of the kernels' dialect: each with its real-number meaning and its rounding.

A draw is 16 random bits of a multiply-with-carry generator (Marsaglia): x(n) = a x(n - 2) + carry mod 2**16, with
a * 2**32 - 1 a safe prime, so that its period is a * 2**31 - 1, 3.5e13. It stays within 31 bits, as the kernels do.
Noise is the sum of a draw's two bytes less its mean, a triangle of variance (2**16 - 1) / 6: zero mean, within 2.44
standard deviations. Factors are Q14.
"""

import math
from collections.abc import Iterator

from host.engine.sites import Site
from host.runs.disturbance import Clause

MULTIPLIER = 16170
DRAW = (
    f"rng_t = rng_y * {MULTIPLIER} + rng_c",
    "rng_y = rng_x",
    "rng_x = rng_t & 65535",
    "rng_c = rng_t >> 16",
)
LOAD = ("rng_x = noise[0]", "rng_y = noise[1]", "rng_c = noise[2]")
STORE = ("noise[0] = rng_x", "noise[1] = rng_y", "noise[2] = rng_c")
STEP, SEED, MESSAGE, INCOMING, NOISE = 3, 4, 5, 6, 7  # of the array: step counter, seed, amplitudes; its length
AMPLITUDE = {"message": MESSAGE, "incoming": INCOMING}  # relative to the RMS of delta: known when error() has run
SAMPLE = "((rng_x & 255) + (rng_x >> 8) - 255)"  # of noise, behind a draw
TRIANGLE = math.sqrt((2**16 - 1) / 6)  # its standard deviation
AMPLITUDE_BITS = 4
MOST = 6_000_000  # of any other amplitude: 255 times that, and a value of 30 bits, stay within 32 (1.17 in Q29)
ONE = 1 << 14
HALF = 1 << 14  # in accumulators, half an LSB of what is read of them is no part of the value
ACCUMULATORS = ("state", "self", "cross")


def constant(clause: Clause) -> bool:
    """Whether it takes a factor and an offset of each cell."""
    return bool(clause.mismatch or clause.offset or clause.stuck)


def statements(clause: Clause, site: Site, place: int | None) -> Iterator[str]:
    """What is done to the site's variable. place: where its factors and offsets begin in `flaw`."""
    x, keys = site.variable, site.keys
    if "leak" in keys and clause.leak:
        yield f"{x} = {x} - ({x} - {HALF // 2} >> 14) * {round(clause.leak * ONE)}"  # of Q15, nearest
    bounds = list(clipped(x, str(site.bound), site.lowest))
    if "gain" in keys and (clause.gain, clause.positive, clause.negative) != (1, 1, 1):
        positive, negative = (round(clause.gain * g * ONE) for g in (clause.positive, clause.negative))
        yield f"factor = {positive}"
        if negative != positive:
            yield f"if {x} < 0:\n    factor = {negative}"
        yield from (scaled(x, "factor"), *bounds)
    if "scatter" in keys and clause.scatter:
        yield from DRAW
        yield f"factor = ({SAMPLE} * {_amplitude(clause.scatter, 22)} + 128 >> 8) + {ONE}"
        yield from (scaled(x, "factor"), *bounds)
    if "noise" in keys and clause.noise:
        yield from (*noise(clause, site), *bounds)
    if "mismatch" in keys and constant(clause):
        at = f"{place} + 2 * ({site.cell})"
        yield f"factor = flaw[{at}]"
        yield scaled(x, "factor")
        yield from (f"{x} = {x} + (flaw[{at} + 1] << {_fine(site)})", *bounds)
    if "bits" in keys and (clause.bits is not None or clause.limit is not None):
        word = [*rounded(x, cut(site, clause.bits), clause.rounding), *limited(x, clause, site.q)]
        if word and site.signal in ACCUMULATORS:
            word = [f"{x} = {x} - {HALF}", *word, f"{x} = {x} + {HALF}"]
        yield from word
        if site.lowest is not None:
            yield f"if {x} < {site.lowest}:\n    {x} = {site.lowest}"


def limited(x: str, clause: Clause, q: int | str) -> Iterator[str]:
    """x, rounded before, as a word of two's complement has it: from -2**limit to that less one LSB."""
    if clause.limit is None or isinstance(q, str) or q + clause.limit > 29:
        return
    top = 1 << max(0, q + clause.limit)
    if clause.overflow == "wrap":
        yield f"{x} = ({x} + {top} & {2 * top - 1}) - {top}"
        return
    highest = top - (1 << max(0, q - (q if clause.bits is None else clause.bits)))
    yield f"if {x} > {highest}:\n    {x} = {highest}"
    yield f"if {x} < 0 - {top}:\n    {x} = 0 - {top}"


def _fine(site: Site) -> str:
    """How many fraction bits more than it says a site has."""
    return "0" if isinstance(site.q, int) else site.q.split(" + ")[1]


def cut(site: Site, bits: int | None) -> str:
    """How many bits are cut off, as an expression."""
    if bits is None:
        return "0"
    if isinstance(site.q, int):
        return str(max(site.q - bits, 0))
    known = int(site.q.split(" + ")[0])
    return f"{known - bits} + fine" if known >= bits else "0"


def scaled(x: str, gain: str) -> str:
    """x times a Q14 factor, nearest, in two halves."""
    return f"{x} = ((({x} & 16383) * {gain} + 8192) >> 14) + ({x} >> 14) * {gain}"


def clipped(x: str, bound: str, lowest: int | None) -> Iterator[str]:
    """x within +-bound."""
    low = f"0 - {bound}" if lowest is None else str(lowest)
    yield f"if {x} > {bound}:\n    {x} = {bound}"
    yield f"if {x} < {low}:\n    {x} = {low}"


def noise(clause: Clause, site: Site) -> Iterator[str]:
    """x plus noise, nearest."""
    x = site.variable
    yield from DRAW
    if site.signal in AMPLITUDE:
        half = 1 << (AMPLITUDE_BITS - 1)
        yield f"{x} = {x} + ({SAMPLE} * noise[{AMPLITUDE[site.signal]}] + {half} >> {AMPLITUDE_BITS})"
        return
    q, fine, least = (site.q, "", 0) if isinstance(site.q, int) else (int(site.q.split(" + ")[0]), " - fine", 4)
    shift = 20
    while shift > least and _amplitude(clause.noise * site.unit, q + shift) >= 1 << 20:
        shift -= 1
    amplitude = min(_amplitude(clause.noise * site.unit, q + shift), MOST)
    yield f"{x} = {x} + ({SAMPLE} * {amplitude} + (1 << {shift}{fine} >> 1) >> {shift}{fine})"


def _amplitude(deviation: float, q: int) -> int:
    """What a sample of noise is multiplied by for this standard deviation, Qn."""
    return round(math.ldexp(deviation, q) / TRIANGLE)


def rounded(x: str, count: str, how: str) -> Iterator[str]:
    """x without its last `count` bits: down, to nearest, towards zero, or up with the probability of what is lost."""
    if count == "0":
        return
    yield f"cut = {count}"
    yield from rounded_at(x, how)


def rounded_at(x: str, how: str) -> Iterator[str]:
    """The same, of `cut` bits."""
    if how == "nearest":
        yield f"{x} = (({x} + (1 << cut >> 1)) >> cut) << cut"
    elif how == "zero":
        yield f"{x} = (({x} + (({x} >> 31) & (1 << cut) - 1)) >> cut) << cut"
    elif how == "stochastic":  # 16 random bits: finer than 2**-16 of what is kept no probability needs to be
        yield from (*DRAW, "if cut > 16:\n    rng_t = rng_x << cut - 16\nelse:\n    rng_t = rng_x >> 16 - cut")
        yield f"{x} = (({x} + rng_t) >> cut) << cut"
    else:
        yield f"{x} = ({x} >> cut) << cut"


def amplitudes(clauses: tuple[Clause, ...], coarse: str) -> Iterator[str]:
    """When delta is known: its RMS, Q22 with 3 bits more, and from it the amplitudes of the messages' noise.

    delta is brought to 11 bits before it is squared (relative error 2**-11 of the largest at most); floor.
    """
    yield from (
        "top = 0",
        "for j in range(outs):\n    x = z[outs + j]\n    top = top | (x ^ (x >> 31))",
        "cut = 0",
        "while top >> cut > 2047:\n    cut += 1",
        "total = 0",
        "for j in range(outs):\n    x = z[outs + j] >> cut\n    total = total + x * x",
        "total = (total // outs) << 6",
        "root = 0",
        "for j in range(15):\n    x = root + (16384 >> j)\n    if x * x <= total:\n        root = x",
    )
    for clause in clauses:
        if clause.signal in AMPLITUDE and clause.noise:
            shift = 24
            factor = clause.noise * 2**AMPLITUDE_BITS / 8 / TRIANGLE
            while round(factor * 2**shift) >= 1 << 15:
                shift -= 1
            less = shift + (2 if clause.signal == "incoming" else 0)  # m is Q20 where lam is Q22
            yield f"x = {less} + {coarse} - cut"
            yield f"noise[{AMPLITUDE[clause.signal]}] = (root * {round(factor * 2**shift)} + (1 << x >> 1)) >> x"


def block_of_messages(bits: int, how: str) -> Iterator[str]:
    """Behind a cell's row of messages: all its words have `bits` bits, the sign included, of the row's largest."""
    limit = (1 << (bits - 1)) - 1
    yield "cut = 0"
    yield f"while peak >> cut > {limit}:\n    cut += 1"
    body = [*rounded_at("x", how), *clipped("x", f"({limit} << cut)", None)]
    inner = "\n".join(["x = h[k]", *body, "h[k] = x"]).replace("\n", "\n    ")
    yield f"for k in range(p * steps, p * steps + steps):\n    {inner}"


def fixed_gradients(bits: int, how: str) -> Iterator[str]:
    """Behind a cell's four gradients, which have one exponent (l's is less by 4): `bits` fraction bits are left."""
    yield "\n    ".join(
        [
            "for k in range(4):",
            f"cut = {32 - bits} - m[i + _EXPONENT]",
            "if k == 0:\n        cut = cut - 4",
            "if k < 3:\n        cut = cut - m[i + _GAIN]",
            "if k == 2:\n        cut = cut + m[i + _LAG]",
            "if cut < 0:\n        cut = 0",
            "if cut > 30:\n        cut = 30",
            "x = m[i + _GRADIENT + k]",
            *(line.replace("\n", "\n    ") for line in rounded_at("x", how)),
            "m[i + _GRADIENT + k] = x",
        ]
    )


def block_of_gradients(bits: int, how: str) -> Iterator[str]:
    """Behind a cell's four gradients: they have `bits` bits, the sign included, of the largest."""
    limit = (1 << (bits - 1)) - 1
    yield "top = 0"
    yield "for k in range(4):\n    x = m[i + _GRADIENT + k]\n    top = top | (x ^ (x >> 31))"
    yield "cut = 0"
    yield f"while top >> cut > {limit}:\n    cut += 1"
    body = [*rounded_at("x", how), *clipped("x", f"({limit} << cut)", None)]
    inner = "\n".join(["x = m[i + _GRADIENT + k]", *body, "m[i + _GRADIENT + k] = x"]).replace("\n", "\n    ")
    yield f"for k in range(4):\n    {inner}"


STIR = f'''
def stir(noise: ptr32, pixels: ptr8, area: int):
    """The generator's state for this image, from the seed, the step and the pixels: a run goes on from any step.

    A Feistel network of eight rounds on two halves of 16 bits, so that neighbouring steps have nothing in common.
    """
    x = 0
    for j in range(area):
        x = (x * 31 + pixels[j]) & 16777215
    low = ((x & 65535) ^ noise[{STEP}]) & 65535
    high = ((x >> 8) ^ (noise[{STEP}] >> 16)) & 65535
    seed = noise[{SEED}]
    for j in range(8):
        x = ((low ^ seed) & 65535) * (12345 + j * 411)
        seed = ((seed >> 5) | (seed << 11)) & 65535
        x = ((x >> 9) ^ x ^ (j * 9029)) & 65535
        x = x ^ high
        high = low
        low = x
    noise[0] = low
    noise[1] = high
    noise[2] = ((low * 7 + high) & 8191) + 1


def tick(noise: ptr32):
    """One step more."""
    noise[{STEP}] = noise[{STEP}] + 1
'''
