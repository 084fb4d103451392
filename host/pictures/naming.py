"""What runs are called in pictures."""

from collections.abc import Sequence

from host.runs.config import Config

GRAPHS = {
    "lattice": "lattice",
    "forest": "forest",
    "small-world": "small world",
    "skip": "skip lines",
    "diagonal": "diagonal network",
}
RULES = {"snap1": "SnAP-1", "exact": "exact gradient"}


def names(configs: Sequence[Config]) -> list[str]:
    """What tells these configurations apart, for people: the graph always, of the rest what is needed."""
    parts = [
        [GRAPHS[x.graph] for x in configs],
        [RULES[x.rule] for x in configs],
        [x.disturb or "undisturbed" for x in configs],
        [f"{plural(x.images, 'image')} x {x.epochs}" for x in configs],
        [f"{x.rows}x{x.cols}" if x.graph != "diagonal" else f"{x.units} units" for x in configs],
        [f"{x.pixel_bits} bits per pixel" for x in configs],
        ["float64" if x.arithmetic == "float" else "fixed point" for x in configs],
        [f"preset {x.preset}" for x in configs],
    ]
    found = parts[0]
    for part in parts[1:]:
        apart = [", ".join(both) for both in zip(found, part, strict=True)]
        if len(set(apart)) > len(set(found)):
            found = apart
    times = [found[:k].count(name) for k, name in enumerate(found)]
    return [name if found.count(name) == 1 else f"{name} ({k + 1})" for name, k in zip(found, times, strict=True)]


def plural(count: int, what: str) -> str:
    """So many of these."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def raised(number: int) -> str:
    """A whole number as an exponent."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
