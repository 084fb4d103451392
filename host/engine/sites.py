"""Where each signal is in the kernels: the statement that makes it, and how its integer is to be read.

A site is a statement of a kernel, as the text has it, and what stands in its place when the signal is disturbed: the
same with a line `@name` where the variable `name` holds the signal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# What may be done to a signal: where its integers are too long for a product, no gain; where nothing is kept, no leak.
NARROW = ("bits", "rounding", "limit", "overflow")
GAINS = ("gain", "positive", "negative", "scatter", "mismatch", "offset", "stuck", "value")
MAY = {
    "y": (*NARROW, *GAINS, "noise"),
    "message": (*NARROW, *GAINS, "noise", "block"),
    "incoming": (*NARROW, *GAINS, "noise"),
    "state": (*NARROW, "noise", "leak"),
    "self": (*NARROW, "noise", "leak"),
    "cross": (*NARROW, *GAINS, "noise", "leak"),
    "gradient": ("bits", "rounding", "block"),
    "coefficient": (*NARROW, *GAINS, "noise"),
    "weight": (*NARROW, *GAINS, "noise"),
    "master": (*NARROW, "noise"),
    "update": (*NARROW, "noise"),
}
ALL = (*NARROW, *GAINS, "noise", "leak", "block")


@dataclass(frozen=True)
class Site:
    """A place where a signal is a variable.

    old: the statement, or with `which` one of several that are alike, counted from 0. new: what stands in its place.
    q: fraction bits, a number or "number + fine". bound: what the value is kept within, in LSBs, when something was
    added to it, and `lowest` the least that it may be. unit: what noise is measured in, in real numbers. keys: what of
    a clause is done here. cell: an expression for the number of the cell, out of count(network).
    """

    signal: str
    kernel: str
    old: str
    new: tuple[str, ...]
    q: int | str
    bound: int = 0
    unit: float = 1.0
    keys: tuple[str, ...] = ALL
    cell: str = "p"
    count: Callable[[Any], int] = lambda network: int(network.cells)
    which: int = 0
    lowest: int | None = None

    @property
    def variable(self) -> str:
        """The one that holds the signal."""
        return next(line[1:] for line in self.new if line.startswith("@"))

    @property
    def element(self) -> tuple[str, str]:
        """What its constant flaws belong to: two statements that write one word are flawed alike."""
        return self.signal, self.new[-1]


KEPT, READ = (*NARROW, "noise"), GAINS
ACCUMULATOR = 29  # Q14 and the 15 bits more of what leaks
FULL = (1 << ACCUMULATOR) + (1 << 15) - 1  # what is read as 1.0
ETA_BOUND = 24250 << 15  # fixedpoint/README.md: eta stays below 0.74 times what `fine` leaves room for
MESSAGE_BOUND, INCOMING_BOUND = (1 << 28) - 1, (1 << 26) - 1  # 64.0; of the exact rule 1024.0
WEIGHT_BOUND = 32767  # 8.0 as Q12
# da/dl is c at the most, whatever c is: or eta, and what the exact rule multiplies with (da/dl) / c, would overflow.
DERIVATIVE = "if a > c:\n    a = c"
TYPICAL = {"l": 0.025, "L": 0.125, "T": 0.125, "b": 0.9}  # RMS of cross traces, measured at the presets' starts


def _after(
    signal: str, kernel: str, old: str, variable: str, q: int | str, bound: int = 0, unit: float = 1.0,
    keys: tuple[str, ...] = ALL, which: int = 0,
) -> Site:  # fmt: skip
    return Site(signal, kernel, old, (old, f"@{variable}"), q, bound, unit, keys, which=which)


def _before(
    signal: str, kernel: str, old: str, variable: str, q: int | str, bound: int = 0, unit: float = 1.0,
    keys: tuple[str, ...] = ALL, cell: str = "p",
) -> Site:  # fmt: skip
    return Site(signal, kernel, old, (f"@{variable}", old), q, bound, unit, keys, cell)


def _value(signal: str, kernel: str, target: str, value: str, q: int | str, bound: int = 0,
           cell: str = "p", count: Callable[[Any], int] | None = None) -> Site:  # fmt: skip
    """A value that goes straight to memory."""
    new = (f"tap = {value}", "@tap", f"{target} = tap")
    counted = {"count": count} if count else {}
    return Site(signal, kernel, f"{target} = {value}", new, q, bound, cell=cell, **counted)  # type: ignore[arg-type]


def _master(kernel: str, old: str, x: str) -> Site:
    """A parameter when its step is made, which is a bit longer than it is."""
    full = tuple(f"if {x} {beyond}:\n    {x} = {end}" for beyond, end in ((f"> {FULL}", FULL), (f"< -{FULL}", -FULL)))
    return Site("master", kernel, old, (old, *full, f"@{x}"), 26, FULL, keys=MAY["master"])


def _leaky(
    signal: str, kernel: str, old: str, variable: str, bits: int | str, bound: int, unit: float, which: int = 0
) -> Site:
    """A value that is kept from step to step, behind the statement that brings it to the next."""
    return _after(signal, kernel, old, variable, bits, bound, unit, KEPT, which)


def _cells() -> tuple[Site, ...]:
    """Of two-input cells."""
    sites = [
        Site("y", "forward", "h[i] = sign * x", ("x = sign * x", "@x", "h[i] = x"), 14, 1 << 14),
        _leaky("state", "forward", "el = ((el >> _C_BITS) - x) * c + el", "el", ACCUMULATOR, FULL, 0.2),
        _leaky("state", "forward", "et = ((et >> _C_BITS) - x) * c + et", "et", ACCUMULATOR, FULL, 0.2),
        _before("state", "forward", "x = h[left + i]", "el", ACCUMULATOR, keys=("leak",)),
        _before("state", "forward", "x = h[top + i]", "et", ACCUMULATOR, keys=("leak",)),
        _before("message", "backward", "h[i] = x", "x", 22, MESSAGE_BOUND),
        _before("message", "exact", "h[i] = x", "x", 18, MESSAGE_BOUND),
        *(
            _before("incoming", kernel, "x = (((x & 4095) * d + 2048) >> 12) + (x >> 12) * d", "x", q, INCOMING_BOUND)
            for kernel, q in (("backward", 20), ("exact", 16))
        ),
        *(_leaky("self", kernel, "el = c * x + el", "el", ACCUMULATOR, FULL, 0.2) for kernel in ("backward", "exact")),
        *(_leaky("self", kernel, "et = c * x + et", "et", ACCUMULATOR, FULL, 0.2) for kernel in ("backward", "exact")),
        _leaky("self", "backward", "eta = eta - x", "eta", "26 + fine", ETA_BOUND, 0.03, which=1),
        _before("self", "backward", "x = (eta >> _C_BITS) * c", "eta", "26 + fine", keys=("leak",)),
        *(
            _before("self", kernel, f"x = x - ({e} >> _C_BITS)", e, ACCUMULATOR, keys=("leak",))
            for kernel in ("backward", "exact")
            for e in ("el", "et")
        ),
        _value("weight", "derive", "wl", "(w[4 * p + 1] + 8192) >> 14", 12, WEIGHT_BOUND),
        _value("weight", "derive", "wt", "(w[4 * p + 2] + 8192) >> 14", 12, WEIGHT_BOUND),
        _value("weight", "derive", "m[q + _B]", "(w[4 * p + 3] + 2048) >> 12", 14, 1 << 17),
        Site("coefficient", "derive", "m[q + _C] = c", ("@c", DERIVATIVE, "m[q + _C] = c"), 15, 1 << 15, lowest=1),
        _before("update", "update", "v = w[i] - v", "v", 26, FULL, keys=MAY["update"]),
        _master("update", "v = w[i] - v", "v"),
    ]
    for d, last in (("r", "grl"), ("b", "gbl")):
        for kind, name in (("l", "e"), ("L", "l"), ("T", "t"), ("b", "b")):
            e, g, eta = d + name, last[:2] + name, name == "e"
            kept = f"{e} = (({e} >> _C_BITS) - x) * c{d} + {e}"
            q: int | str = "25 + fine" if eta else ACCUMULATOR
            sites += [
                _leaky("cross", "backward", kept, e, q, FULL, TYPICAL[kind]),
                _before("cross", "backward", kept, e, q, keys=("leak",)),
                Site(
                    "cross",
                    "backward",
                    f"{g} = ({e} >> _C_BITS) * x + {g}",
                    (f"tap = {e} >> _C_BITS", "@tap", f"{g} = tap * x + {g}"),
                    "10 + fine" if eta else 14,
                    1 << 14,
                    keys=READ,
                ),
            ]
    return tuple(sites)


def _units() -> tuple[Site, ...]:
    """Of the diagonal network: its traces e are its state, too, and its messages M stay at the unit."""

    def units(network: Any) -> int:
        return int(network.units)

    def weights(network: Any) -> int:
        return len(network.w)

    return (
        Site("y", "absorb", "y = sign * x", ("y = sign * x", "@y", "x = ((y >> 31) | 1) * y"), 14, 1 << 14, cell="k",
             count=units),
        _before("self", "absorb", "e[a] = x", "x", ACCUMULATOR, FULL, 0.2, KEPT),
        _before("self", "absorb", "x = ((x >> 15) - f) * c + x", "x", ACCUMULATOR, keys=("leak",)),
        _leaky("self", "absorb", "x = (x >> 15) * c + x - d", "x", 24, FULL, 0.03),
        _before("self", "absorb", "x = (x >> 15) * c + x - d", "x", 24, keys=("leak",)),
        Site("message", "teach", "z[2 * outs + k] = total", ("@total", "z[2 * outs + k] = total"), 22, MESSAGE_BOUND,
             cell="k", count=units),
        _value("weight", "derive_weights", "v[p]", "(w[p] + 8192) >> 14", 12, WEIGHT_BOUND, count=weights),
        Site("coefficient", "derive_units", "u[q + _C] = c", ("@c", DERIVATIVE, "u[q + _C] = c"), 15, 1 << 15,
             cell="k", count=units, lowest=1),
        _before("update", "adapt", "x = w[p] - y", "y", 26, FULL, keys=MAY["update"]),
        _master("adapt", "x = w[p] - y", "x"),
    )  # fmt: skip


SITES = (*_cells(), *_units())
