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
    """What tells these configurations apart, for people: the graph always, of the rest what differs."""
    parts = [
        [GRAPHS[x.graph] for x in configs],
        [RULES[x.rule] for x in configs],
        [f"preset {x.preset}" for x in configs],
        [x.disturb or "undisturbed" for x in configs],
        [f"{x.images} images x {x.epochs}" for x in configs],
        [f"{x.rows}x{x.cols}" if x.graph != "diagonal" else f"{x.units} units" for x in configs],
        [f"{x.pixel_bits} bits per pixel" for x in configs],
        ["float64" if x.arithmetic == "float" else "fixed point" for x in configs],
    ]
    telling = [part for k, part in enumerate(parts) if k == 0 or len(set(part)) > 1]
    found = [", ".join(words) for words in zip(*telling, strict=True)]
    return [
        name if found.count(name) == 1 else f"{name} ({chr(ord('a') + found[:k].count(name))})"
        for k, name in enumerate(found)
    ]


def plural(count: int, what: str) -> str:
    """So many of these."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
