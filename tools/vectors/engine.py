"""The engine's own kernels under plain CPython, disturbed or not, and every signal they leave on their way."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fixedpoint.diagonal import UNIT, Diagonal
from fixedpoint.diagonal_kernels import RECORD as UNITS
from fixedpoint.kernels import GRADIENT
from fixedpoint.lattice import CELL, LEFT, TOP, Lattice
from host.engine.walk import Walk
from host.runs.checkpoint import digest

GROUPS, UNIT_GROUPS = ("l", "wl", "wt", "b"), ("l", "w", "v", "b")  # of parameters
RULE_FIELDS = ("multiplier", "shift", "lowest", "highest")  # of each group, as in a network's rule
_, D = UNITS
S = D - 1  # of a unit's record
EXPONENT, GRADIENTS = GRADIENT
Seen = dict[str, Any]  # by signal
Rates = tuple[tuple[int, int], ...]


def wiring(network: Lattice) -> tuple[list[int], list[int], list[int]]:
    """Left and top source of every cell, and the cells that are read out, as in fixedpoint.wiring."""
    n, m = network.cells, network.m

    def source(row: int) -> int:
        return row if row < n else -1 if row == n + network.cols else row - network.inputs + n

    left, top = ([source(m[p * CELL + port]) for p in range(n)] for port in (LEFT, TOP))
    return left, top, [m[(n + j) * CELL + TOP] for j in range(network.cols)]


def rows_of(walk: Walk, first: int, count: int) -> np.ndarray:
    """Rows of h."""
    steps = walk.steps
    return np.array(walk.arrays["h"][first * steps : (first + count) * steps]).reshape(count, steps)


def _cells(walk: Walk, network: Lattice, pixels: bytes, label: int) -> Seen:
    """One training step of two-input cells."""
    n, cols, passes = network.cells, network.cols, walk.passes
    prediction = walk.make((*passes.take, *passes.classify), pixels, label)
    seen = {"prediction": prediction, "y": rows_of(walk, 0, n), "input": rows_of(walk, network.inputs, network.rows).T}
    for call in passes.learn:
        walk.make((call,), pixels, label)
        if call[0] in ("backward", "exact"):
            seen["message"] = rows_of(walk, 0, n)
            records = np.array(walk.arrays["m"]).reshape(-1, CELL)[:n]
            seen["exponent"] = records[:, EXPONENT]
            seen |= {f"gradient_{group}": records[:, GRADIENTS + k] for k, group in enumerate(GROUPS)}
    z = np.array(walk.arrays["z"])
    after = np.array(walk.arrays["w"]).reshape(n, 4)
    seen |= {f"{group}_after": after[:, k] for k, group in enumerate(GROUPS)}
    return seen | {"logit": z[:cols], "delta": z[cols : 2 * cols]}


def _units(walk: Walk, network: Diagonal, pixels: bytes, label: int) -> Seen:
    """One training step of a diagonal network."""
    units, cols, steps, passes = network.units, network.cols, network.steps, walk.passes
    of_y = (network.rows + 2) * units  # where the sums of y begin
    by_step: dict[str, list[np.ndarray]] = {"s": [], "y": [], "factor": []}
    walk.make(passes.take, pixels, label)
    inputs = np.array(walk.arrays["h"]).reshape(steps, network.rows)
    prediction = 0
    for call in passes.classify:
        if call[0] != "absorb":
            prediction = walk.make((call,), pixels, label)
            continue
        before = np.zeros(units, np.int64)
        for t in range(steps):
            walk.make((call,), pixels, label, t, t + 1)
            records = np.array(walk.arrays["u"]).reshape(units, UNIT)
            now = np.array(walk.arrays["s"][of_y : of_y + units])
            for name, values in (("s", records[:, S]), ("y", now - before), ("factor", records[:, D])):
                by_step[name].append(values)
            before = now
    walk.make(passes.learn, pixels, label)
    z, sums, n = np.array(walk.arrays["z"]), np.array(walk.arrays["s"]), units * network.rows
    return {
        "input": inputs, **{name: np.array(values).T for name, values in by_step.items()},
        "prediction": prediction, "logit": z[:cols], "delta": z[cols : 2 * cols], "message": z[2 * cols :],
        "sum_w_complete": sums[:n].reshape(units, network.rows),
        **dict(zip(("sum_l_complete", "sum_b_complete", "sum_v_complete"), sums[n:].reshape(3, units), strict=True)),
        "after": np.array(walk.arrays["w"]),
    }  # fmt: skip


def observed(
    network: Any, images: np.ndarray, labels: np.ndarray, rates: Callable[[int], Rates]
) -> dict[str, np.ndarray]:
    """Train on images (n, steps, rows); every signal, with the image as its first dimension.

    rates: of the training step with this number. The network itself, disturbed or not, is left as it was but for them.
    """
    walk = Walk(network)
    diagonal = isinstance(network, Diagonal)
    learn, groups = (_units, UNIT_GROUPS) if diagonal else (_cells, GROUPS)
    rule = [f"{field}_{group}" for group in groups for field in RULE_FIELDS]
    seen: list[Seen] = []
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True), network.step):
        network.set_rates(rates(number))
        walk.arrays["rule"][:] = network.rule
        found = learn(walk, network, image.tobytes(), label)
        step = number + 1
        found |= dict(zip(rule, network.rule, strict=True))
        crc = int(digest(np.array(walk.arrays["w"], np.int32), step), 16)
        seen.append(found | {"pixel": image, "label": label, "digest": crc, "step": step & 0xFFFFFFFF})
    return {name: np.array([found[name] for found in seen]) for name in seen[0]}
