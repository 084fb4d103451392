"""Generate fixedpoint/tables.py from the formulas below: `python -m tools.make_tables [--check]`.

The engine never computes a table: a float that differs in its last bit between two machines must not decide a digest.
"""

import binascii
import math
import struct
from collections.abc import Callable
from pathlib import Path

from host.base import cli

PATH = Path(__file__).resolve().parent.parent / "fixedpoint" / "tables.py"


def c_of(log_tau: float) -> float:
    """Zero-order-hold coefficient c = 1 - exp(-dt/tau) of the leaky integrator; l = log(tau/dt)."""
    return -math.expm1(-math.exp(-log_tau))


def da_of(log_tau: float) -> float:
    """da/dl = -dc/dl for a = exp(-exp(-l))."""
    return math.exp(-log_tau - math.exp(-log_tau))


# name: (array type, fraction bits, first argument, step, entries, largest value, formula, as text)
TABLES: dict[str, tuple[str, int, float, float, int, int, Callable[[float], float], str]] = {
    "TANH": ("H", 14, 0.0, 1 / 64, 513, 16383, math.tanh, "tanh(x)"),
    "C": ("H", 15, -4.0, 1 / 32, 321, 32768, c_of, "c(l) = 1 - exp(-exp(-l))"),
    "DA": ("H", 15, -4.0, 1 / 32, 321, 32768, da_of, "da/dl = exp(-l - exp(-l))"),
    "EXP": ("i", 23, 0.0, 1 / 32, 513, 1 << 23, lambda x: math.exp(-x), "exp(-x)"),
}


def values(name: str) -> list[int]:
    """The table's integers: round(2**bits * formula), at most `largest`."""
    _, bits, first, step, entries, largest, formula, _ = TABLES[name]
    return [min(round(formula(first + i * step) * (1 << bits)), largest) for i in range(entries)]


def worst_error(name: str, between: int = 64) -> float:
    """Largest error in LSB of linear interpolation in the table (before its rounding), over its whole range."""
    _, bits, first, step, entries, _, formula, _ = TABLES[name]
    v = values(name)
    return max(
        abs(v[i] + (v[i + 1] - v[i]) * k / between - formula(first + (i + k / between) * step) * (1 << bits))
        for i in range(entries - 1)
        for k in range(between)
    )


def source() -> str:
    """The text of fixedpoint/tables.py."""
    parts = [
        '"""Tables of the engine, made by `python -m tools.make_tables` from the formulas beside them.'
        ' Do not edit."""\n',
        "\nfrom array import array\n",
    ]
    crc = 0
    for name, (kind, bits, first, step, entries, largest, _, text) in TABLES.items():
        v = values(name)
        crc = binascii.crc32(struct.pack(f"<{entries}{kind}", *v), crc)
        parts.append(
            f"\n# min(round(2**{bits} * f(x)), {largest}), f(x) = {text},"
            f" x = {first:g} + i/{1 / step:g}, i < {entries};"
            f"\n# interpolated, the largest error is {worst_error(name):.2f} LSB\n# fmt: off\n"
        )
        parts.append(f'{name} = array("{kind}", (\n')
        lines, line = [], "   "
        for x in v:
            if len(line) + len(f" {x},") > 118:
                lines.append(line)
                line = "   "
            line += f" {x},"
        parts.append("\n".join([*lines, line]) + "\n))\n# fmt: on\n")
    parts.append(f"\nCRC = 0x{crc:08X}  # CRC-32 of the four, in this order, as little-endian words\n")
    return "".join(parts)


def main() -> int:
    parser = cli.Parser("python -m tools.make_tables", __doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 2 if the committed file differs")
    args = parser.parse_args()
    text = source()
    if args.check:
        if not PATH.exists() or PATH.read_text() != text:
            raise cli.UserError(f"{PATH.name} is not what its formulas give; run python -m tools.make_tables")
        print(f"{PATH.name} is what its formulas give")
    else:
        try:
            PATH.write_text(text)
        except OSError as error:
            raise cli.UserError(f"cannot write {PATH} ({error.strerror}); make that possible, and try again") from error
        print(f"wrote {PATH.name}: " + ", ".join(f"{name} {worst_error(name):.2f} LSB" for name in TABLES))
    return 0


if __name__ == "__main__":
    cli.run(main)
