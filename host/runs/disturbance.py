"""What is done to the signals of a network, to see what survives: bits, rounding, noise, gain, mismatch.

A disturbance is written as clauses, one for each signal:

    message bits=6 rounding=stochastic; cross noise=0.1 leak=0.05

host.engine.disturbed makes kernels of it; host/engine/README.md says what each does, signal by signal.
"""

import re
from dataclasses import dataclass, fields
from functools import cache

SIGNALS = {
    "y": "outputs of the cells, and what their listeners hear",
    "message": "lam = m d as it travels to the sources",
    "incoming": "m, the sum of the messages that arrive at a cell",
    "state": "the filtered inputs of the forward sweep, which are all the state there is",
    "self": "self traces of the learning sweep: filtered inputs eL, eT, and eta; of a diagonal network e and eta",
    "cross": "cross traces: bits, noise and leak as they are kept, gains as they are read",
    "gradient": "the gradient, before the learning rate",
    "coefficient": "c of the leaky integrators: how fast a cell forgets",
    "weight": "wL, wT and b as operands; of a diagonal network W and V",
    "master": "the parameters themselves",
    "update": "the step that is subtracted from them",
}
ROUNDINGS = ("floor", "nearest", "zero", "stochastic")
OVERFLOWS = ("saturate", "wrap")


class Unreadable(ValueError):
    """A text that is no disturbance; str() says why, and what would be."""


@dataclass(frozen=True)
class Clause:
    """What is done to one signal, in this order: leak; gains, scatter, noise, what is constant of a cell; bits, limit.

    bits: fraction bits that are kept; block: bits, the sign included, of a word in block floating point. limit: the
    signal is kept in -2**limit to 2**limit less an LSB. noise: standard deviation, of messages relative to the RMS of
    delta, else in units of the signal. scatter: of a factor that is drawn anew each time. positive, negative: gain by
    the signal's sign. leak: part of a kept value that is lost at every step. mismatch, offset: standard deviation, over
    the cells, of a constant factor's deviation from 1, and of a constant that is added. stuck: share of the cells whose
    signal is `value` always.
    """

    signal: str
    bits: int | None = None
    block: int | None = None
    rounding: str = "nearest"
    limit: int | None = None
    overflow: str = "saturate"
    gain: float = 1.0
    positive: float = 1.0
    negative: float = 1.0
    noise: float = 0.0
    scatter: float = 0.0
    leak: float = 0.0
    mismatch: float = 0.0
    offset: float = 0.0
    stuck: float = 0.0
    value: float = 0.0

    @property
    def given(self) -> dict[str, object]:
        """What is not as usual."""
        values = {x.name: (getattr(self, x.name), x.default) for x in fields(self)[1:]}
        return {name: value for name, (value, usual) in values.items() if value != usual}

    def __str__(self) -> str:
        """As it is written, in one way only."""
        return " ".join([self.signal, *(f"{name}={_shown(value)}" for name, value in self.given.items())])


# Lowest and highest value of each number.
RANGES: dict[str, tuple[float, float]] = {
    "bits": (0, 29),
    "block": (2, 31),
    "limit": (-12, 12),
    "gain": (0, 1.999),
    "positive": (0, 1.999),
    "negative": (0, 1.999),
    "noise": (0, 8),
    "scatter": (0, 0.5),
    "leak": (0, 1),
    "mismatch": (0, 0.5),
    "offset": (0, 0.5),
    "stuck": (0, 1),
    "value": (-1, 1),
}
WORDS = {"rounding": ROUNDINGS, "overflow": OVERFLOWS}
HOW = {*WORDS, "value"}  # what says how, and does nothing by itself


def _shown(value: object) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


@cache
def parse(text: str) -> tuple[Clause, ...]:
    """The clauses of a text, in the order of SIGNALS; nothing for "". Raises Unreadable."""
    found: dict[str, Clause] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        signal, *given = part.split()
        if signal not in SIGNALS:
            raise Unreadable(f"{signal[:40]!r} is no signal; choose one of {', '.join(SIGNALS)}")
        if signal in found:
            raise Unreadable(f"{signal} is there twice; put what is done to it into one clause")
        values: dict[str, object] = {}
        for word in given:
            name, _, value = word.partition("=")
            if name in values:
                raise Unreadable(f"{signal}: {name} is there twice")
            values[name] = _value(signal, name, value)
        if not values.keys() - HOW:
            raise Unreadable(f"{signal}: say what is done to it, as in {signal} bits=6")
        found[signal] = clause = Clause(signal, **values)  # type: ignore[arg-type]
        if clause.bits is not None and clause.limit is not None and clause.bits + clause.limit < 0:
            raise Unreadable(f"{signal}: no bit is left of bits={clause.bits} limit={clause.limit}; choose more bits")
    return tuple(found[signal] for signal in SIGNALS if signal in found and found[signal].given.keys() - HOW)


def _value(signal: str, name: str, text: str) -> object:
    """What stands behind name=. Raises Unreadable."""
    if name in WORDS:
        if text not in WORDS[name]:
            raise Unreadable(f"{signal}: {name}={text[:40]}; choose one of {', '.join(WORDS[name])}")
        return text
    if name not in RANGES:
        raise Unreadable(f"{signal}: {name[:40]!r} is nothing that can be done to it; choose of {', '.join(RANGES)}")
    low, high = RANGES[name]
    whole = isinstance(low, int) and name in ("bits", "block", "limit")
    if not re.fullmatch(r"-?\d{1,9}" if whole else r"-?\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        raise Unreadable(f"{signal}: {name}={text[:40]} is no {'whole number' if whole else 'decimal number'}")
    if not low <= float(text) <= high:
        raise Unreadable(f"{signal}: {name}={text}; choose {low:g} to {high:g}")
    return int(text) if whole else float(text) + 0.0  # no -0.0


def canonical(text: str) -> str:
    """The one way to write it, without clauses that do nothing. Raises Unreadable."""
    return "; ".join(str(clause) for clause in parse(text) if clause != Clause(clause.signal))
