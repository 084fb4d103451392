"""What single things cost a learning cell: it is synthesized without them, and agrees with the engine no more."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from host.base.scratch import Scratch
from tools.rtl import bench, resources

CELL = "learning_cell"
Edits = tuple[tuple[str, str], ...]  # old text and new, of learning_cell.v
FINE = "room <= 4096 ? 3'd4 : room <= 8192 ? 3'd3 : room <= 16384 ? 3'd2 : room <= 32768 ? 3'd1 : 3'd0"
OUTGOING = (
    "block_factor #(.MANTISSA(MANTISSA)) outgoing (.peak(peak), .message(message), .lost(lost), .factor(factor));"
)
FIXED = """wire signed [17:0] fixed = message >>> 12;
    assign lost = 6'd12;
    assign factor = fixed > 2047 ? 17'sd2047 : fixed < -2047 ? -17'sd2047 : fixed;"""
RIGHT = """$signed({2'b00, shift}) - 8'sd9 - $signed({2'b00, exponent})
        - (kind == 2'd0 ? 8'sd4 : 8'sd0) - (kind == 2'd3 ? 8'sd0 : $signed({5'd0, gain}))
        + (kind == 2'd2 ? $signed({5'd0, lag}) : 8'sd0)"""
WITHOUT: dict[str, Edits] = {
    "fine": ((FINE, "3'd2"),),
    "block exponents": (
        (OUTGOING, FIXED),
        ("remaining <= 6'd1 + shared - (side ? lost_below : lost_right);", "remaining <= 6'd1;"),
        ("exponent <= shared;", "exponent <= 6'd12;"),
    ),
    "gain and lag": (
        ("    input [2:0] gain,\n    input [2:0] lag,\n", ""),
        ("    localparam [2:0] FORWARD", "    localparam [2:0] gain = 0, lag = 0;\n    localparam [2:0] FORWARD"),
    ),
    "the step's shift": ((RIGHT, "8'sd11"),),
    "saturation of m": (("beyond ? {sum[35], {26{!sum[35]}}} : sum[26:0]", "sum[26:0]"),),
}
ALL = ("fine", "block exponents", "gain and lag", "the step's shift")  # what depends on data


def measured(disturb: str | None) -> Iterator[dict[str, Any]]:
    """LUTs in all without each thing, with the engine's words and with short ones (None: the study's).

    Raises UserError.
    """
    short = resources.CELLS if disturb is None else disturb
    variants: dict[str, Edits] = {"nothing": (), **WITHOUT}
    variants["all that depends on data"] = tuple(chain.from_iterable(WITHOUT[name] for name in ALL))
    with Scratch("plainer") as here:
        resources.vectors("cell", "", here / "vectors")
        for number, (name, edits) in enumerate(variants.items()):
            rtl = bench.changed(here / f"rtl-{number}", f"{CELL}.v", edits)
            luts = []
            for text in ("", short):
                found = resources.cells(CELL, here / "vectors", bench.words(text), rtl)
                luts.append(resources.luts(found))
            yield {"without": name, "luts": luts[0], "luts_short": luts[1], "disturb": short}


def rows(results: Iterable[dict[str, Any]]) -> Iterator[str]:
    """As a table in Markdown, line by line."""
    yield "| a learning cell without | LUTs in all | saved | with short words | saved |"
    yield "|---|---|---|---|---|"
    first: dict[str, Any] = {}
    for result in results:
        first = first or result
        counts = [
            f"{result[key]:,} | {first[key] - result[key]:,}" if result is not first else f"{result[key]:,} | "
            for key in ("luts", "luts_short")
        ]
        yield f"| {result['without']} | {' | '.join(counts)} |"
