"""The engine's tables, which a circuit has as read-only memories."""

from fixedpoint import tables
from tools.vectors.signals import Signal, Table, table
from tools.vectors.trial import Trial

LEVEL = "tables"
TABLES = {
    "tanh": (tables.TANH, Signal("tanh at steps of 1/64", 0, 14, sign=0, rounding="nearest")),
    "exp": (tables.EXP, Signal("exp(-x) at steps of 1/32", 1, 23, sign=0, rounding="nearest")),
    "c": (tables.C, Signal("c(l) at steps of 1/32 from l = -4", 1, 15, sign=0, rounding="nearest")),
    "da": (tables.DA, Signal("da/dl at steps of 1/32 from l = -4", 0, 15, sign=0, rounding="nearest")),
}


def tables_level(trial: Trial) -> list[Table]:
    """One table for each, as they are of different lengths."""
    return [
        table(LEVEL, f"table_{name}", ("entry",), {name: signal}, {name: list(values)})
        for name, (values, signal) in TABLES.items()
    ]
