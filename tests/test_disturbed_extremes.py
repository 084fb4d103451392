"""No value of a disturbed kernel leaves 32 bits, whatever parameters, pixels, rates and disturbance.

31 bits, which undisturbed kernels keep, are for boards; lanes have registers of 32, that a disturbance may fill.
"""

import pytest
from disturbed_bench import small, watched
from test_extremes import FASTEST, PATTERNS, start

from fixedpoint.network import L_HIGHEST, L_LOWEST
from host.base.cli import UserError
from host.engine.passes import passes_of
from host.engine.walk import Walk
from host.runs.disturbance import SIGNALS

MANY, SIGNED = ("black", "white", "checkers"), ("plus", "alternating", "unbiased")
EVERYTHING = "gain=1.999 positive=1.999 negative=1.999 scatter=0.5 noise=8 mismatch=0.5 offset=0.5"
# Of every signal what drives it, or what it drives, farthest.
FARTHEST = {
    "y": (EVERYTHING, "bits=0 rounding=stochastic", "stuck=0.5 value=-1", "limit=-3 overflow=wrap", "gain=0"),
    "message": (EVERYTHING, "bits=0 rounding=stochastic", "block=2 rounding=stochastic", "stuck=0.5 value=1",
                "limit=6 overflow=wrap gain=1.9"),
    "incoming": (EVERYTHING, "bits=0 rounding=stochastic", "stuck=0.5 value=-1"),
    "state": ("noise=8 bits=0 leak=1", "bits=14 limit=-2 overflow=wrap", "noise=8"),
    "self": ("noise=8 bits=0 leak=1", "bits=14 limit=-2 overflow=wrap", "noise=8"),
    "cross": (f"{EVERYTHING} leak=1", "bits=0 rounding=stochastic", "noise=0.2", "stuck=0.5 value=1"),
    "gradient": ("bits=0", "bits=29 rounding=stochastic", "block=2 rounding=stochastic"),
    "coefficient": (EVERYTHING, "gain=0.1", "gain=0", "stuck=0.5 value=1", "limit=-1 overflow=wrap", "bits=0"),
    "weight": (EVERYTHING, "bits=0 rounding=stochastic", "stuck=0.5 value=-1"),
    "master": ("noise=8", "noise=8 bits=0 rounding=stochastic", "limit=2 overflow=wrap"),
    "update": ("noise=8", "noise=8 bits=0 rounding=stochastic", "limit=2 overflow=wrap"),
}  # fmt: skip


def drive(kind: str, text: str, bits: int, patterns: tuple[str, ...], signs: tuple[str, ...], gain: int = 0) -> None:
    """The largest steps there are, from parameters at their bounds. Raises OverflowError for a value of more bits."""
    network = small(kind, 1, text, 12, 5, 28, gain=gain, cool=gain)
    network.set_rates(FASTEST)
    kernels = watched(passes_of(network), bits)
    for log_tau in (L_LOWEST, 0, L_HIGHEST):
        for sign in signs:
            for pattern in patterns:
                network.load(start(network, sign, log_tau), 0)
                walk = Walk(network, kernels)
                for label in (0, network.cols - 1):
                    walk.train(bytes(PATTERNS[pattern](t, i) for t in range(28) for i in range(12)), label)


# The least that did before it was seen to.
OVERFLOWED = [
    ("small-world", "cross noise=0.2"),
    ("small-world", "state noise=1"),
    ("small-world", "update noise=1"),
    ("small-world", "master noise=8"),
    ("small-world", "coefficient gain=0.1"),
    ("small-world", f"message {EVERYTHING}"),
    ("exact", "coefficient limit=-1 overflow=wrap"),
    ("diagonal", "update noise=8"),
]


@pytest.mark.parametrize("kind, text", OVERFLOWED)
def test_what_has_left_32_bits_once_does_no_more(kind, text):
    drive(kind, text, 32, ("black", "checkers"), ("plus", "alternating"))


@pytest.mark.slow
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("kind", ["small-world", "exact", "diagonal"])
def test_every_signal_driven_farthest_stays_within_32_bits(kind, signal):
    for clause in FARTHEST[signal]:
        for gain in (0, 4):
            try:
                drive(kind, f"{signal} {clause}", 32, MANY, SIGNED, gain)
            except UserError:
                continue  # there is no such signal, or this is not done to it


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(6))
@pytest.mark.parametrize("kind", ["small-world", "exact", "diagonal"])
def test_all_signals_driven_farthest_at_once_stay_within_32_bits(kind, turn):
    clauses = []
    for signal, farthest in FARTHEST.items():
        text = f"{signal} {farthest[turn % len(farthest)]}"
        try:
            small(kind, 1, text)
        except UserError:
            continue
        clauses.append(text)
    for gain in (0, 4):
        drive(kind, "; ".join(clauses), 32, MANY, SIGNED, gain)


def test_the_checking_mode_finds_an_overflow_in_a_disturbed_kernel():
    """Of 20 bits, which nothing is within."""
    with pytest.raises(OverflowError, match="not a value of 20 bits"):
        drive("lattice", "y noise=0.1", 20, ("white",), ("plus",))
