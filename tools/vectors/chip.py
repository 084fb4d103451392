"""Signals of two-input cells in the order of a chip (host.chip), with which the engine must agree."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fixedpoint.lattice import Lattice
from host.base.cli import UserError
from host.chip.cells import CellsTogether
from host.chip.words import Words
from tools.vectors.engine import GROUPS, Rates, Seen, wiring

SIDES = ("right", "below")
BY_STEP = (
    "left", "top", "y", "d", "el", "et", "eta",
    *(f"cross_{side}_{of}" for side in SIDES for of in GROUPS),
    "message_right", "message_below", "message", "factor_right", "factor_below",
    *(f"sum_{side}_{of}" for side in SIDES for of in GROUPS),
)  # fmt: skip
BY_IMAGE = (
    "gain", "lag", "fine", "c", "da", "wl_operand", "wt_operand", "b_operand", "kl", "kt", "lost",
    *(f"{what}_{side}" for side in SIDES for what in ("c", "k", "w", "lost")),
)  # fmt: skip


def _now(together: CellsTogether, p: int) -> list[int]:
    """What is in cell p after a step of the learning sweep, in the order of BY_STEP."""
    cell, sides = together.cells[p], together.descendants[p]
    messages, factors = together.messages, together.factors
    return [
        cell.left, cell.top, cell.y, cell.d, cell.el.sum, cell.et.sum, cell.eta.sum,
        *(trace.sum for traces in cell.cross for trace in traces),
        *(messages[listener.place] for listener in sides), messages[p],
        *(factors[listener.place] for listener in sides),
        *(total for totals in together.sums[p] for total in totals),
    ]  # fmt: skip


def _of_image(together: CellsTogether, p: int) -> list[int]:
    """What cell p has for a whole image, in the order of BY_IMAGE."""
    cell = together.cells[p]
    own = [cell.gain, cell.lag, cell.fine, cell.c, cell.da, cell.wl, cell.wt, cell.b, cell.kl, cell.kt]
    return [*own, together.lost[p]] + [
        x for side in together.descendants[p] for x in (side.c, side.k, side.w, together.lost[side.place])
    ]


def _step(together: CellsTogether, pixels: bytes, label: int) -> Seen:
    """One training step of two-input cells."""
    n, exact = together.count, together.network.exact
    steps: list[list[list[int]]] = []

    def observe(sweep: str, t: int) -> None:
        if sweep == "learn" and exact:
            steps.append([[together.cells[p].y, together.messages[p]] for p in range(n)])
        elif sweep == "learn":
            steps.append([_now(together, p) for p in range(n)])

    seen: Seen = dict(zip(GROUPS, np.array(together.w).T, strict=True))
    together.train(pixels, label, observe)
    names = ("y", "message") if exact else BY_STEP
    seen |= dict(zip(names, np.array(steps).transpose(2, 1, 0), strict=True))
    seen |= dict(zip(BY_IMAGE, np.array([_of_image(together, p) for p in range(n)]).T, strict=True))
    for text, values in (("gradient_{}", together.gradient), ("{}_after", together.w)):
        seen |= {text.format(group): column for group, column in zip(GROUPS, np.array(values).T, strict=True)}
    return seen | {"exponent": together.exponents, "logit": together.logits, "delta": together.delta}


def observed(
    network: Lattice, disturb: str, images: np.ndarray, labels: np.ndarray, rates: Callable[[int], Rates]
) -> dict[str, np.ndarray]:
    """As tools.vectors.engine.observed() of a network disturbed so, but for what only the engine has.

    Raises UserError for a disturbance that is no word lengths.
    """
    together, seen = CellsTogether(network, wiring(network), Words.of(disturb)), []
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True), network.step):
        network.set_rates(rates(number))
        seen.append(_step(together, image.tobytes(), label))
    return {name: np.array([found[name] for found in seen], np.int64) for name in seen[0]}


def agree(engine: dict[str, np.ndarray], chip: dict[str, np.ndarray]) -> None:
    """Raise UserError, with the first place, if they part in what both have."""
    for name, place in _apart(engine, chip):
        raise UserError(
            f"the engine and host.chip part: {name}{list(map(int, place))} (image first) is {engine[name][place]}"
            f" and {chip[name][place]}; one of the two was changed, and the other is to follow"
        )


def _apart(engine: dict[str, np.ndarray], chip: dict[str, np.ndarray]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Image by image, as all that follows parts, too."""
    for image in range(len(engine["label"])):
        for name in (name for name in engine if name in chip):
            for place in np.argwhere(engine[name][image] != chip[name][image]):
                yield name, (image, *place)
