"""One unit of a diagonal network, as a circuit has it: its registers after every step, its memories, its update.

From the chip's order (host.chip), and checked against the engine.
"""

from typing import Any

import numpy as np

from fixedpoint.diagonal import Diagonal
from host.base.cli import UserError
from host.chip.arithmetic import scalar_product
from host.chip.units import Unit, UnitsTogether
from host.chip.words import Words
from tools.vectors.network import BOUNDED, Y, rule_signals
from tools.vectors.signals import TIES_UP, Signal, Table, table
from tools.vectors.trial import Trial

LEVEL = "unit"
WATCHED = 4  # images of which the memories are there after every step: 43,904 words each with 28 units
RULE = ("l", "w", "b")
X = {"x": Signal("input i, pixel * scale / 64, in units of 2^gain", 1, 14, rounding="floor")}


def _signals(narrow: int) -> dict[str, dict[str, Signal]]:
    """Of every table. narrow: bits by which d is shorter as a factor."""
    leaky = "; half an LSB of what is read of it included, its upper 16 bits"
    of_w = Signal("", 2 + narrow, 28 - narrow)
    return {
        "unit_step": {
            "s": Signal("filtered drive, in real units", 4, 14, rounding=TIES_UP, saturation="at 16.0"),
            "eta": Signal(f"ds/dl{leaky}", 6, 24),
            "y": Y,
            "d": Signal("1 - y^2", 1, 14, rounding=TIES_UP),
            "sum_l": Signal("sum over time of d eta", 7 + narrow, 23 - narrow),
            "sum_b": Signal("sum over time of d", 11, 14),
            "sum_v": Signal("sum over time of y", 11, 14),
        },
        "unit_weight_step": {
            "e": Signal(f"trace of input i{leaky}", 1, 29),
            "sum_w": Signal("sum over time of d e, but for this step's, which is added in the next", of_w.integer,
                            of_w.fraction),
        },
        "unit_image": {
            "l": Signal("log of the time constant before the update", 3, 26),
            "b": Signal("bias before the update", 3, 26),
            "c": Signal("coefficient of the leaky integrator", 1, 15, rounding=TIES_UP),
            "ratio": Signal("(da/dl) / c", 1, 10, rounding=TIES_UP),
            "b_operand": Signal("bias as a summand", 3, 14, rounding=TIES_UP),
            "message_whole": Signal("M before it is rounded to its word", 7, 22, rounding=TIES_UP,
                                    saturation="at 64.0"),
            "message": Signal("M", 7, 22, rounding=TIES_UP, saturation="at 64.0"),
            "l_after": Signal("l after the update", 3, 26, saturation=BOUNDED),
            "b_after": Signal("b after the update", 3, 26, saturation=BOUNDED),
        },
        "unit_weight": {
            "w": Signal("weight of input i before the update", 3, 26),
            "w_operand": Signal("weight as a factor", 4, 12, rounding=TIES_UP),
            "w_sum": Signal("sum over time of d e, complete", of_w.integer, of_w.fraction),
            "w_after": Signal("weight after the update", 3, 26, saturation=BOUNDED),
        },
    }  # fmt: skip


INDEX = {
    "unit_step": ("image", "unit", "step"),
    "unit_weight_step": ("image", "unit", "step", "input"),
    "unit_image": ("image", "unit"),
    "unit_weight": ("image", "unit", "input"),
}


def _step(unit: Unit) -> dict[str, Any]:
    return {
        "s": unit.s, "eta": unit.eta.sum, "y": unit.y, "d": unit.d, "sum_l": unit.of_l, "sum_b": unit.of_b,
        "sum_v": unit.of_v,
    }  # fmt: skip


def _stacked(rows: list[list[dict[str, Any]]]) -> dict[str, np.ndarray]:
    """The signals of rows[step][unit], with dimensions (unit, step, ...)."""
    return {name: np.array([[one[name] for one in row] for row in rows]).swapaxes(0, 1) for name in rows[0][0]}


class _Watched:
    """One training step of all units, and what they were on the way; watched: with the memories."""

    def __init__(self, chip: UnitsTogether, pixels: bytes, label: int, watched: bool) -> None:
        network = chip.network
        units, inputs = network.units, network.rows
        n = units * inputs
        before = np.array(chip.w)
        steps: list[list[dict[str, Any]]] = []
        memories: list[list[dict[str, Any]]] = []
        sums = [[0] * inputs for _ in range(units)]  # as a circuit has them: each summand one step later

        def observe(_: str, __: int) -> None:
            steps.append([_step(unit) for unit in chip.units])
            if watched:
                traces = [[trace.sum for trace in unit.e] for unit in chip.units]
                memories.append([{"e": e, "sum_w": row} for e, row in zip(traces, sums, strict=True)])
                sums[:] = [unit.sums for unit in chip.units]

        chip.train(pixels, label, observe)
        after = np.array(chip.w)
        whole = [scalar_product(list(zip(chip.delta, unit.v, strict=True))) for unit in chip.units]
        step = _stacked(steps)
        self.tables: dict[str, dict[str, Any]] = {
            "unit_step": step,
            "unit_image": {
                "l": before[n : n + units], "b": before[n + units : n + 2 * units],
                "c": [unit.c for unit in chip.units], "ratio": [unit.ratio for unit in chip.units],
                "b_operand": [unit.b for unit in chip.units], "message_whole": whole, "message": chip.messages,
                "l_after": after[n : n + units], "b_after": after[n + units : n + 2 * units],
            },
            "unit_weight": {
                "w": before[:n].reshape(units, inputs), "w_operand": [unit.w for unit in chip.units],
                "w_sum": [unit.sums for unit in chip.units], "w_after": after[:n].reshape(units, inputs),
            },
        }  # fmt: skip
        if watched:
            self.tables["unit_weight_step"] = _stacked(memories)
        self.engines = {  # as tools.vectors.engine names them
            "s": step["s"], "y": step["y"], "logit": chip.logits, "delta": chip.delta, "message": chip.messages,
            "sum": np.concatenate([np.ravel([unit.sums for unit in chip.units]),
                                   *(step[name][:, -1] for name in ("sum_l", "sum_b", "sum_v"))]),
            "after": after,
        }  # fmt: skip


def unit_level(trial: Trial) -> list[Table]:
    """Tables of what all units do in a few images. Raises UserError if the engine does something else."""
    network: Diagonal = trial.network()
    chip = UnitsTogether(network, Words.of(trial.config.disturb))
    found = []
    for at, (image, label) in enumerate(zip(trial.images, trial.labels.tolist(), strict=True)):
        network.set_rates(trial.config.rates(trial.step + at))
        one = _Watched(chip, image.tobytes(), label, at < WATCHED)
        for name, values in one.engines.items():
            if not np.array_equal(values, trial.seen[name][at]):
                raise UserError(
                    f"image {at}: {name} of the chip's order is not the engine's; this is a defect, please report it"
                )
        found.append(one.tables)
    made = [
        table(LEVEL, "unit_input", ("image", "step", "input"), X, {"x": trial.seen["input"]}),
        table(LEVEL, "unit_rule", ("image",), rule_signals(RULE), trial.seen),
    ]
    for name, signals in _signals(network.narrow).items():
        rows = [tables[name] for tables in found if name in tables]
        made.append(table(LEVEL, name, INDEX[name], signals, {key: np.array([row[key] for row in rows])
                                                              for key in signals}))  # fmt: skip
    return made
