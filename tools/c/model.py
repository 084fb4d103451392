"""shoreline.c and shoreline.h of one model: the kernels, its tables, wiring and parameters, and the functions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fixedpoint.diagonal import Diagonal
from fixedpoint.kernels import RECORD
from fixedpoint.lattice import Lattice
from fixedpoint.network import Network
from host.engine import c99
from host.engine.passes import Passes

HERE = Path(__file__).parent
MADE = "/* Shoreline: made by python -m tools.export_c; the next one overwrites it."  # how a file of ours begins
CELL, *_, LAG, _, _, _, _, KT = RECORD
WIRES, FIELDS = LAG + 1, KT + 1  # words of a record: those that say who is connected with whom; with coefficients


def _heading(about: str) -> str:
    return f"{MADE}\n *\n" + "".join(f" * {line}\n" for line in about.split("\n")) + " */\n"


def _array(declaration: str, values: Sequence[object]) -> str:
    return "\n".join(c99.wrapped(f"static const {declaration} = {{", [str(value) for value in values], "};"))


def _rows(values: Sequence[int], width: int, count: int) -> list[str]:
    """The first `count` words of every record of `width` words, as initialisers."""
    return [f"{{{', '.join(map(str, values[at : at + count]))}}}" for at in range(0, len(values), width)]


def _sizes(network: Network) -> dict[str, int]:
    """What the C has names for, SHORELINE_ROWS and so on."""
    names = ("rows", "cols", "steps", "units" if isinstance(network, Diagonal) else "cells")
    return {name: getattr(network, name) for name in names}


def header(network: Network, passes: Passes, about: str) -> str:
    """shoreline.h. about: what the model is, for its reader."""
    words = {name: len(getattr(network, name)) for name in passes.state}
    defines = [f"#define SHORELINE_{name.upper()} {value}" for name, value in _sizes(network).items()]
    defines += [f"#define SHORELINE_{name.upper()} {value} /* words of an array */" for name, value in words.items()]
    state = ", ".join(f"{name}[SHORELINE_{name.upper()}]" for name in passes.state)
    parts = [
        _heading(about) + "\n#ifndef SHORELINE_H_\n#define SHORELINE_H_\n\n#include <stdint.h>",
        '#ifdef __cplusplus\nextern "C" {\n#endif',
        "\n".join(defines),
        (HERE / "api.h").read_text().replace("@STATE@", state).rstrip(),
        "#ifdef __cplusplus\n}\n#endif\n\n#endif\n",
    ]
    return "\n\n".join(parts)


def names(network: Network, passes: Passes) -> dict[str, str]:
    """What the arguments of a network's calls are in shoreline.c. s: the state; pixels: of one row."""
    side_by_side = isinstance(network, Diagonal)  # the inputs of a row, in h
    return {
        **{name: f"s->{name}" for name in passes.state},
        **{name: f"{name.removesuffix('_table').upper()}_TABLE" for name in passes.tables},
        **{name: str(size(network)) for name, size in passes.sizes.items()},
        **{name: f"SHORELINE_{name.upper()}" for name in _sizes(network)},
        "pixels": "pixels",
        "count": "1",
        "area": "SHORELINE_ROWS",
        "at": "s->arrived * SHORELINE_ROWS" if side_by_side else f"{passes.sizes['base'](network)} + s->arrived",
        "done": "s->done",
        "arrived": "s->arrived",
        "label": "label",
        "prediction": "prediction",
    }


def _wiring(lattice: Lattice) -> list[str]:
    """Who hears whom, as data."""
    cells = lattice.cells * CELL
    units = _rows(lattice.m[cells:], CELL, FIELDS)
    return [
        f"enum {{ RECORD = {CELL}, WIRES = {WIRES}, FIELDS = {FIELDS}, UNITS = {len(units)} }};",
        "/* Of a cell: the rows of h that it reads on its left and from above, the records that hear it, its gain. */\n"
        + _array("uint16_t WIRING[SHORELINE_CELLS][WIRES]", _rows(lattice.m[:cells], CELL, WIRES)),
        "/* The first words of the records that are no cells: the readouts, and the null shoreline. */\n"
        + _array("uint16_t FIXED[UNITS][FIELDS]", units),
    ]


def source(network: Any, passes: Passes, about: str) -> str:
    """shoreline.c: the parameters, step counter, bounds and rates of this network."""
    known = names(network, passes)
    data = [
        _array(f"{c99.TYPES[passes.widths[name]]} {known[name]}[{len(table)}]", table)
        for name, table in passes.tables.items()
    ]
    if isinstance(network, Lattice):
        data += _wiring(network)
    groups = "l, W, V, b" if isinstance(network, Diagonal) else "l, wL, wT, b"
    data += [
        f"/* Of {groups}: learning rate as multiplier and shift, lowest and highest value. */\n"
        + _array("int32_t RULE[SHORELINE_RULE]", network.rule),
        "/* And which of the rates of l, w, b, v it has. */\n" + _array("uint8_t RATE_OF[4]", network.groups),
        _array("int32_t PARAMETERS[SHORELINE_W]", network.w),
        f"static const uint32_t STEP = {network.step & 0xFFFFFFFF}u;",
    ]
    functions = [
        f"static void {head}\n{{\n" + "".join(f"    {line}\n" for line in c99.calls(made, known)) + "}"
        for head, made in (
            ("derive_all(shoreline_state *s)", passes.derive),
            ("take(shoreline_state *s, const uint8_t *pixels)", passes.take),
            ("classify(shoreline_state *s, int32_t *prediction)", passes.classify),
            ("learn(shoreline_state *s, int32_t label)", passes.learn),
        )
    ]
    kind = "units.c" if isinstance(network, Diagonal) else "cells.c"
    parts = [_heading(about) + '\n#include "shoreline.h"', c99.kernels(passes), *data, *functions,
             (HERE / kind).read_text().rstrip(), (HERE / "api.c").read_text()]  # fmt: skip
    return "\n\n".join(parts)


def files(network: Network, passes: Passes, about: str) -> dict[str, str]:
    """All that is written, by name."""
    return {
        "shoreline.h": header(network, passes, about),
        "shoreline.c": source(network, passes, about),
        "main.c": MADE + " */\n\n" + (HERE / "main.c").read_text(),
    }
