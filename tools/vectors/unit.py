"""One unit of a diagonal network, as a circuit has it: its registers after every step, its memories, its update.

From the chip's order (host.chip), with which the engine must agree.
"""

import numpy as np

from fixedpoint.diagonal import Diagonal
from host.chip.arithmetic import scalar_product
from host.chip.units import UnitsTogether
from host.chip.words import Words
from tools.vectors.chip import agree
from tools.vectors.engine import Seen
from tools.vectors.network import BOUNDED, PIXEL, SUM_W, Y, rule_signals
from tools.vectors.signals import TIES_UP, Signal, Table, table
from tools.vectors.trial import Trial

LEVEL = "unit"
WATCHED = 4  # images of which the memories are there after every step: 43,904 words each with 28 units
RULE = ("l", "w", "b")
LEAKY = "half an LSB of what is read of it, its upper 16 bits, included"
WEIGHT_STEP = ("e", "sum_w")
INDEX = {
    "unit_step": ("image", "unit", "step"),
    "unit_weight_step": ("image", "unit", "step", "input"),
    "unit_image": ("image", "unit"),
    "unit_weight": ("image", "unit", "input"),
}


def _signals(narrow: int) -> dict[str, dict[str, Signal]]:
    """Of every table. narrow: bits by which d is shorter as a factor."""
    return {
        "unit_step": {
            "s": Signal("filtered drive", 4, 14, rounding=TIES_UP, saturation="at 16.0"),
            "eta": Signal(f"ds/dl; {LEAKY}", 6, 24),
            "y": Y,
            "d": Signal("1 - y^2", 1, 14, rounding=TIES_UP),
            "sum_l": Signal("sum over time of d eta", 7 + narrow, 23 - narrow),
            "sum_b": Signal("sum over time of d", 11, 14),
            "sum_v": Signal("sum over time of y", 11, 14),
        },
        "unit_weight_step": {
            "e": Signal(f"trace of input i, in units of 2^gain; {LEAKY}", 1, 29),
            "sum_w": Signal(f"{SUM_W}, but for this step's, added in the next", 2 + narrow, 28 - narrow),
        },
        "unit_image": {
            "l": Signal("log of the time constant before the update", 3, 26),
            "b": Signal("bias before the update", 3, 26),
            "c": Signal("coefficient of the leaky integrator", 1, 15, rounding=TIES_UP),
            "ratio": Signal("(da/dl) / c", 1, 10, rounding=TIES_UP),
            "b_operand": Signal("bias as a summand", 3, 14, rounding=TIES_UP),
            "message_whole": Signal("M, not yet rounded to its word", 7, 22, rounding=TIES_UP, saturation="at 64.0"),
            "message": Signal("M", 7, 22, rounding=TIES_UP, saturation="at 64.0"),
            "l_after": Signal("l after the update", 3, 26, saturation=BOUNDED),
            "b_after": Signal("b after the update", 3, 26, saturation=BOUNDED),
        },
        "unit_weight": {
            "w": Signal("weight of input i before the update", 3, 26),
            "w_operand": Signal("weight as a factor", 4, 12, rounding=TIES_UP),
            "sum_w_complete": Signal(f"{SUM_W}, complete", 2 + narrow, 28 - narrow),
            "w_after": Signal("weight after the update", 3, 26, saturation=BOUNDED),
        },
    }


def _masters(chip: UnitsTogether, suffix: str) -> Seen:
    units, inputs = chip.network.units, chip.network.rows
    weights, taus, biases, _ = np.split(np.array(chip.w), np.cumsum((units * inputs, units, units)))
    return {f"w{suffix}": weights.reshape(units, inputs), f"l{suffix}": taus, f"b{suffix}": biases}


def _step(chip: UnitsTogether, pixels: bytes, label: int) -> Seen:
    """One training step of all units; by the names of the tables, and of the engine."""
    steps: list[list[list[int]]] = []
    memories: list[list[list[list[int]]]] = []
    sums = [[0] * chip.network.rows] * chip.network.units  # as a circuit has them: each summand one step later

    def observe(_: str, __: int) -> None:
        units = chip.units
        steps.append([[u.s, u.eta.sum, u.y, u.d, u.of_l, u.of_b, u.of_v] for u in units])
        memories.append([[[trace.sum for trace in u.e], row] for u, row in zip(units, sums, strict=True)])
        sums[:] = [u.sums for u in units]

    before = _masters(chip, "")
    chip.train(pixels, label, observe)
    step = dict(zip(_signals(0)["unit_step"], np.array(steps).transpose(2, 1, 0), strict=True))
    memory = dict(zip(WEIGHT_STEP, np.array(memories).transpose(2, 1, 0, 3), strict=True))
    units = chip.units
    return {
        **before, **step, **memory, **_masters(chip, "_after"),
        "c": [u.c for u in units], "ratio": [u.ratio for u in units], "b_operand": [u.b for u in units],
        "w_operand": [u.w for u in units], "sum_w_complete": sums, "message": chip.messages,
        "message_whole": [scalar_product(list(zip(chip.delta, u.v, strict=True))) for u in units],
        **{f"{of}_sum": step[f"sum_{of}"][:, -1] for of in ("l", "b", "v")},
        "after": [*chip.w], "logit": chip.logits, "delta": chip.delta,
    }  # fmt: skip


def unit_level(trial: Trial) -> list[Table]:
    """Tables of what all units do. Raises UserError if the engine does something else."""
    network: Diagonal = trial.network()
    chip = UnitsTogether(network, Words.of(trial.config.disturb))
    found: list[Seen] = []
    for number, (image, label) in enumerate(zip(trial.images, trial.labels.tolist(), strict=True), trial.step):
        network.set_rates(trial.config.rates(number))
        found.append(_step(chip, image.tobytes(), label))
        if len(found) > WATCHED:
            for name in WEIGHT_STEP:
                del found[-1][name]
    seen = {name: np.array([one[name] for one in found if name in one], np.int64) for name in found[0]}
    agree(trial.seen, seen)
    return [
        table(LEVEL, "unit_input", ("image", "step", "input"), {"x": PIXEL["input"]}, {"x": trial.seen["input"]}),
        table(LEVEL, "unit_rule", ("image",), rule_signals(RULE), trial.seen),
        *(table(LEVEL, name, INDEX[name], signals, seen) for name, signals in _signals(network.narrow).items()),
    ]
