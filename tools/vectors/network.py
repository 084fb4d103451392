"""A whole network as the engine has it: inputs, outputs, messages, gradients, and what it has learned."""

from collections.abc import Iterator

import numpy as np

from fixedpoint.diagonal import Diagonal
from fixedpoint.lattice import CELL, GAIN, LAG, Lattice
from tools.vectors.engine import GROUPS, RULE_FIELDS, UNIT_GROUPS, wiring
from tools.vectors.signals import TIES_UP, Signal, Table, count, table
from tools.vectors.trial import Trial

LEVEL = "network"
SUM_W = "sum over time of d e, in units of 2^gain"
BOUNDED = "clipped to lowest..highest of its group"
Y = Signal("output", 1, 14, rounding=TIES_UP, saturation="its argument is taken as 8 - 2^-14 at the most")
PIXEL = {
    "pixel": count("pixel of the image", 8),
    "input": Signal("pixel * scale / 2^20, in units of 2^gain", 1, 14, rounding="floor"),
}
IMAGE = {
    "label": count("right class", 6),
    "prediction": count("class with the largest logit, the first of equal ones, before the update", 6),
    "digest": count("CRC-32 over the parameters after the update, and the step counter", 32),
    "step": count("training steps made after this one, the low 32 bits", 32),
}
CLASS = {
    "logit": Signal("sum of outputs over time", 14, 14),
    "delta": Signal(
        "(softmax(logits / 2^cool) - onehot) / 2^cool: what this readout says at every step", 7, 22, rounding=TIES_UP
    ),
}
AFTER = {f"{group}_after": Signal(f"{group} after the update", 3, 26, saturation=BOUNDED) for group in GROUPS}
START = {group: Signal(f"{group} before the first image", 3, 26) for group in GROUPS}
GRADIENT_OF = {
    "gradient_l": Signal("dL/dl in units of 2^gain", 2, 28, rounding="floor", plus="-exponent"),
    "gradient_wl": Signal("dL/dwL in units of 2^gain", -2, 32, rounding="floor", plus="-exponent"),
    "gradient_wt": Signal("dL/dwT in units of 2^(gain - lag)", -2, 32, rounding="floor", plus="-exponent"),
    "gradient_b": Signal("dL/db", -2, 32, rounding="floor", plus="-exponent"),
}
CELLS = {"exponent": count("of the four gradients of this cell", 6), **GRADIENT_OF, **AFTER}
WIRING = {
    "left": Signal("number of the cell that is heard on the left; cells + i for input i, -1 for none", 15, 0),
    "top": Signal("number of the cell that is heard on top; cells + i for input i, -1 for none", 15, 0),
}
SCALES = {
    "gain": count("binary exponent of the left input", 3),
    "lag": count("by how much that of the top input is below it", 3),
}
FIELDS = {"gain": GAIN, "lag": LAG}
ENDS = {"ends": count("number of the cell that this readout hears", 15)}
MESSAGES = {
    "snap1": Signal("lam = m d, what the cell says to its sources", 7, 22, rounding=TIES_UP, saturation="m, at 64.0"),
    "exact": Signal("nu, what the cell says to its sources", 11, 18, rounding=TIES_UP, saturation="m, at 1024.0"),
}


def rule_signals(groups: tuple[str, ...]) -> dict[str, Signal]:
    """Rates and bounds of these groups of parameters."""
    of = dict(
        zip(
            RULE_FIELDS,
            (
                lambda group: count(f"learning rate of {group}: multiplier * 2^-shift", 15),
                lambda group: count(f"learning rate of {group}: multiplier * 2^-shift", 6),
                lambda group: Signal(f"lowest {group}", 3, 26),
                lambda group: Signal(f"highest {group}", 3, 26),
            ),
            strict=True,
        )
    )
    return {f"{field}_{group}": of[field](group) for group in groups for field in RULE_FIELDS}


def _of_cells(network: Lattice, seen: dict[str, np.ndarray]) -> Iterator[Table]:
    left, top, ends = wiring(network)
    masters = np.array(network.w).reshape(network.cells, 4)
    steps = {"y": Y, "message": MESSAGES["exact" if network.exact else "snap1"]}
    yield table(LEVEL, "network_step", ("image", "cell", "step"), steps, seen)
    yield table(LEVEL, "network_cell", ("image", "cell"), CELLS, seen)
    yield table(LEVEL, "network_start", ("cell",), START, dict(zip(GROUPS, masters.T, strict=True)))
    scales = {name: [network.m[p * CELL + field] for p in range(network.cells)] for name, field in FIELDS.items()}
    yield table(LEVEL, "network_wiring", ("cell",), WIRING | SCALES, {"left": left, "top": top, **scales})
    yield table(LEVEL, "network_ends", ("class",), ENDS, {"ends": ends})


def _of_units(network: Diagonal, seen: dict[str, np.ndarray]) -> Iterator[Table]:
    narrow = network.narrow
    groups = np.array([network.group(i) for i in range(len(network.w))])
    steps = {
        "s": Signal("filtered drive", 4, 14, rounding=TIES_UP, saturation="at 16.0"),
        "y": Y,
        "factor": Signal("d = 1 - y^2 as a factor of sums", 1, 14 - narrow, rounding=TIES_UP),
    }
    units = {
        "message": Signal("M, the sum over classes of V delta", 7, 22, rounding=TIES_UP, saturation="at 64.0"),
        "sum_l_complete": Signal("sum over time of d eta", 7 + narrow, 23 - narrow),
        "sum_b_complete": Signal("sum over time of d", 11, 14),
        "sum_v_complete": Signal("sum over time of y", 11, 14),
    }
    weights = {"sum_w_complete": Signal(SUM_W, 2 + narrow, 28 - narrow)}
    yield table(LEVEL, "network_step", ("image", "unit", "step"), steps, seen)
    yield table(LEVEL, "network_unit", ("image", "unit"), units, seen)
    yield table(LEVEL, "network_weight", ("image", "unit", "input"), weights, seen)
    after = {"after": Signal("parameter after the update: W, l, b, V", 3, 26, saturation=BOUNDED)}
    yield table(LEVEL, "network_parameter", ("image", "parameter"), after, seen)
    start = {"start": Signal("parameter before the first image", 3, 26), "group": count("0 l, 1 W, 2 V, 3 b", 2)}
    yield table(LEVEL, "network_start", ("parameter",), start, {"start": network.w, "group": groups})


def network_level(trial: Trial) -> list[Table]:
    """Tables of the engine's signals."""
    network, seen = trial.network(), trial.seen
    groups = UNIT_GROUPS if isinstance(network, Diagonal) else GROUPS
    return [
        table(LEVEL, "network_pixel", ("image", "step", "row"), PIXEL, seen),
        table(LEVEL, "network_image", ("image",), IMAGE, seen),
        table(LEVEL, "network_class", ("image", "class"), CLASS, seen),
        table(LEVEL, "network_rule", ("image",), rule_signals(groups), seen),
        *(_of_units(network, seen) if isinstance(network, Diagonal) else _of_cells(network, seen)),
    ]
