"""Two-input cells step by step, as a circuit that learns by SnAP-1 has them: values of host.chip.

All of a step are those after it, in the learning sweep. The right descendant hears the cell on its left, the one below
on its top input; where there is none, there is 0.
"""

from dataclasses import replace

from tools.vectors.chip import BY_IMAGE, BY_STEP, SIDES
from tools.vectors.engine import GROUPS
from tools.vectors.network import CELLS, MESSAGES, SCALES, START, Y, rule_signals
from tools.vectors.signals import TIES_UP, Signal, Table, count, table
from tools.vectors.trial import Trial

LEVEL = "cell"
OF_LEFT, OF_TOP = "in units of 2^gain", "in units of 2^(gain - lag)"
NAMES = {"l": f"l, {OF_LEFT}", "wl": f"wL, {OF_LEFT}", "wt": f"wT, {OF_TOP}", "b": "b"}
LAM = MESSAGES["snap1"]


def operand(about: str, integer: int, fraction: int) -> Signal:
    return Signal(about, integer, fraction, rounding=TIES_UP)


def accumulator(about: str, integer: int, fraction: int, plus: str = "") -> Signal:
    """A leaky integral: its products are added whole, and 15 bits less of it are read."""
    return Signal(f"{about}: the accumulator, half an LSB of its reading (>> 15) in it", integer, fraction, plus=plus)


def _step() -> dict[str, Signal]:
    made = {
        "left": Signal(f"left input, {OF_LEFT}", 1, 14),
        "top": Signal(f"top input, {OF_TOP}", 1, 14),
        "y": Y,
        "d": operand("1 - y^2", 1, 14),
        "el": accumulator(f"eL, filtered left input, {OF_LEFT}", 1, 29),
        "et": accumulator(f"eT, filtered top input, {OF_TOP}", 1, 29),
        "eta": accumulator(f"eta = ds/dl, {OF_LEFT}", 4, 26, "fine"),
        "message": LAM,
    }
    for side in SIDES:
        made |= {
            f"message_{side}": replace(LAM, about=f"message from the {side} descendant"),
            f"factor_{side}": Signal(
                f"the same, rounded by lost_{side} bits: what multiplies the traces", -6, 22,
                rounding=TIES_UP, plus=f"-lost_{side}",
            ),
        }  # fmt: skip
        for of, name in NAMES.items():
            what = f"cross trace, through the {side} descendant, of {name}"
            cross, total = f"cross_{side}_{of}", f"sum_{side}_{of}"
            made[cross] = accumulator(what, 5, 25, "fine") if of == "l" else accumulator(what, 1, 29)
            base, plus = ((-2, 32), f"fine-lost_{side}") if of == "l" else ((-6, 36), f"-lost_{side}")
            made[total] = Signal(f"sum over time of factor_{side} times {cross} >> 15, of {name}", *base, plus=plus)
    return {name: made[name] for name in BY_STEP}


def _image() -> dict[str, Signal]:
    made = {
        **SCALES,
        "fine": count("fraction bits that eta and the cross traces of l have more", 3),
        "c": operand("coefficient of the leaky integrator", 1, 15),
        "da": operand("da/dl", 1, 15),
        "wl_operand": operand("wL", 4, 12),
        "wt_operand": operand("wT", 4, 12),
        "b_operand": operand("b", 4, 14),  # as wL and wT: room for 8.0, to which short words are rounded
        "kl": operand("c wL", 4, 12),
        "kt": operand("c wT", 4, 12),
        "lost": count("bits by which this cell's largest message of the image is too long", 6),
    }
    for side in SIDES:
        made |= {
            f"c_{side}": operand(f"c of the {side} descendant", 1, 15),
            f"k_{side}": operand(f"c w of the input by which the {side} descendant hears this cell", 4, 12),
            f"w_{side}": operand(f"w of the input by which the {side} descendant hears this cell", 4, 12),
            f"lost_{side}": count(f"bits by which the largest message from the {side} descendant is too long", 6),
        }
    before = {group: replace(START[group], about=f"{group} before the update") for group in GROUPS}
    return before | {name: made[name] for name in BY_IMAGE} | CELLS


def cell_level(trial: Trial) -> list[Table]:
    """Tables of every cell's signals by step and by image, and the rates and bounds of the update."""
    chip, engine = trial.chip, trial.seen
    return [
        table(LEVEL, "cell_step", ("image", "cell", "step"), _step(), chip),
        table(LEVEL, "cell_image", ("image", "cell"), _image(), chip),
        table(LEVEL, "cell_rule", ("image",), rule_signals(GROUPS), engine),
    ]
