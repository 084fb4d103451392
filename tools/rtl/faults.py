"""Faults put into a copy of the Verilog, one at a time: the benches must find each, and name what is wrong first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.base.scratch import Scratch
from tools.rtl import bench
from tools.rtl.bench import Manifest
from tools.rtl.wild import loud, wild, written
from tools.vectors.trial import Trial

BITS = {"y": 8, "state": 12, "self": 12, "cross": 11, "message": 9, "weight": 7, "master": 10, "update": 14}
SHORT = "; ".join(f"{signal} bits={bits} rounding=zero" for signal, bits in BITS.items())
TRIALS: dict[str, Callable[[], Trial]] = {
    "wild": lambda: wild(3, rows=3, cols=3, steps=3, images=4, gain=2, cool=1),
    "short": lambda: wild(3, rows=3, cols=3, steps=3, images=1, gain=2, disturb=SHORT),
    "loud": lambda: wild(4, rows=1, cols=12, steps=2, images=2, dark=1.0, start=loud),
    "units": lambda: wild(2, "diagonal", rows=4, cols=3, steps=7, images=6, gain=2, units=6),
}


@dataclass(frozen=True)
class Fault:
    """A fault: `new` instead of `old`, which is there once in the file.

    first: how the bench's answer goes on behind "signal", on vectors of the trial of this name.
    """

    about: str
    file: str
    old: str
    new: str
    bench: str
    first: str
    trial: str = "wild"


def _of(bench: str, file: str, *faults: tuple[str, str, str, str] | tuple[str, str, str, str, str]) -> list[Fault]:
    return [Fault(about, file, old, new, bench, *rest) for about, old, new, *rest in faults]


FORWARD = _of(
    "forward_cell_tb", "forward_cell.v",
    ("el starts without half an LSB", "? 0 : 16384;", "? 0 : 0;", "el image 0 cell 0 step 0:"),
    ("el is not cleared between sweeps", "            el_stored <= START;\n",
     "            if (el_stored === {WORD{1'bx}}) el_stored <= START;\n", "el image 0 cell 1 step 0:"),
    ("the top input's unit is forgotten", "(product >>> lag)", "product", "y image "),
    ("an argument beyond 8.0 is not saturated", "|size[24:17] ? 17'h1ffff : size[16:0]", "size[16:0]", "y image "),
    ("the table's second entry is the first", "first : first + 10'd1", "first : first", "y image "),
    ("the interpolation is rounded down", "(product + 36'sd128) >>> 8", "product >>> 8", "y image "),
    ("1.0 is an LSB too small", "15'd16384 - ", "15'd16383 - ", "d image 0 cell 0 step 0:"),
    ("the cell comes to no end", "busy <= phase != 3'd7;", "busy <= 1'b1;", "busy image 0 cell 0 step 0:"),
)  # fmt: skip
LEARNING = _of(
    "learning_cell_tb", "learning_cell.v",
    ("the tables of c begin an entry later", "31'd268435456", "31'd270532608", "c image 0 cell 0 step -1:"),
    ("operands are rounded down", "(master + 30'sd8192) >>> 14", "master >>> 14", "wl_operand image "),
    ("couplings are rounded down", "kl <= (product + 36'sd16384) >>> 15;", "kl <= product >>> 15;", "kl image "),
    ("the top weight counts in full for fine", "((wt[16] ? -wt : wt) >> lag)", "(wt[16] ? -wt : wt)", "fine image "),
    ("eta's drive is twice as large on the left", "scratch <= product >>> 1;", "scratch <= product;", "eta image "),
    ("eta's sign is turned", "eta - product - sum;", "eta - product + sum;", "eta image "),
    ("messages come from the wrong descendants", "phase[0] ? message_below : message_right",
     "phase[0] ? message_right : message_below", "message image "),
    ("messages are rounded down", "scratch <= (product + 36'sd2048) >>> 12;", "scratch <= product >>> 12;",
     "message image "),
    ("m is not saturated", "beyond ? {sum[35], {26{!sum[35]}}} : sum[26:0]", "sum[26:0]", "message image ", "loud"),
    ("m is saturated at an LSB less", "beyond ? {sum[35], {26{!sum[35]}}}",
     "beyond ? {sum[35], {25{!sum[35]}}, sum[35]}", "message image ", "loud"),
    ("cross traces have the c of the other side", "side ? c_below : c_right", "side ? c_right : c_below",
     "cross_right_l image "),
    ("cross traces go on from the last sweep", "if (clear) fresh <= 1'b1;", "if (clear) fresh <= fresh === 1'bx;",
     "cross_right_l image 0 cell 1 step 0:"),
    ("sums go on from the last image", "fresh ? 31'sd0 : total", "(fresh && total === 31'bx) ? 31'sd0 : total",
     "sum_"),
    ("factors come from the other side", "side ? factor_below : factor_right", "side ? factor_right : factor_below",
     "sum_right_"),
    ("d eta is rounded down", "(product + 36'sd16384) >>> 15 : product", "product >>> 15 : product", "cross_right_l "),
    ("negative messages do not count for the largest", "peak | (short_message[29] ? -short_message : short_message)",
     "peak | (short_message[29] ? 30'sd0 : short_message)", "lost image "),
    ("both sides come under the smaller exponent", "lost_right > lost_below ?", "lost_right < lost_below ?",
     "exponent image "),
    ("sums are shifted by the other side's exponent", "side ? lost_below : lost_right",
     "side ? lost_right : lost_below", "gradient_"),
    ("sums are multiplied with the other side's w", "side ? w_below : w_right", "side ? w_right : w_below",
     "gradient_"),
    ("steps go uphill", "master - short_step", "master + short_step", "b_after image 0 cell 0 "),
    ("steps are rounded down", "(sum + 36'sd1) >>> 1", "sum >>> 1", "b_after image "),
    ("steps to the left are not saturated", "if (no_room) sum", "if (1'b0) sum",
     "b_after image ", "loud"),
    ("b's step has the unit of the inputs", "kind == 2'd3 ? 8'sd0 : ", "", "b_after image "),
    ("lower bounds are passed", "short_master < lowest ? lowest : ", "", "b_after image ", "loud"),
    ("the cell comes to no end", "running <= !done;", "running <= 1'b1;", "busy image 0 cell 0 step -1:"),
)  # fmt: skip
SHORT_WORDS = [
    Fault("rounding towards zero is rounding down", "round.v", "MODE == 2 && x[IN-1] && |x[DROP-1:0]", "1'b0",
          "forward_cell_tb", "y image ", "short"),
    Fault("the half LSB is stored, too", "kept.v", "less = moved - HALF;", "less = moved;", "forward_cell_tb",
          "el image ", "short"),
    Fault("what is stored is not shifted by fine", "kept.v", "cut >>> fine", "cut >>> 3'd4", "learning_cell_tb",
          "eta image ", "short"),
]  # fmt: skip
NETWORK = [
    *_of(
        "network_tb", "network.v",
        ("pixels are an LSB finer", "scaled[20:6]", "scaled[19:5]", "y image 0 cell "),
        ("all cells step at once", "operation == FORWARD ? wave == DEPTH[p*WAVE+:WAVE]",
         "operation == FORWARD ? wave == 0", "y image 0 cell 1 step 0:"),
        ("the first step's output is not counted", "else if (state == COUNT) logits",
         "else if (state == COUNT && t != 10'd0) logits", "logit image 0 cell 0 "),
        ("a message comes from the wrong descendant", "message[SECOND*30+:30]", "message[p*30+:30]",
         "message image 0 "),
        ("operands are not derived after an update", "UPDATE: operation <= DERIVE;",
         "UPDATE: begin operation <= DERIVE; state <= IDLE; end", "y image 1 cell "),
        ("an image that is classified is learned, too", "task_now == TRAIN ? NEXT : IDLE", "NEXT", "y image 0 cell "),
        ("the largest messages of all images count", ".clear_peak(state == CLEAR && sweep == 2'd0)",
         ".clear_peak(reset)", "exponent image "),
        ("the network comes to no end", "if (at == CELLS - 1) state <= IDLE;", "", "busy image 0 cell -1 step -1:"),
    ),
    *_of(
        "network_tb", "softmax.v",
        ("the last of equal classes is predicted", "logit > top", "logit >= top", "classified image 0 ", "loud"),
        ("the label's own share counts", "if (j != label) others", "if (j != 6'd0) others", "delta image "),
        ("delta is not cooled", "k + {1'b0, cool} - 5'd7", "k - 5'd7", "delta image 0 "),
        ("exponentials are not interpolated", "exps[j] <= beyond ? 24'd0 : interpolated[23:0];",
         "exps[j] <= beyond ? 24'd0 : low;", "delta image 0 "),
    ),
    Fault("factors are rounded down", "block_factor.v", "shorter[17:1] + shorter[0]", "shorter[17:1]", "network_tb",
          "gradient_"),
]  # fmt: skip
UNITS = [
    Fault(about, "unit.v", old, new, "unit_tb", first, "units")
    for about, old, new, first in (
        ("traces move away from their inputs", "p = x - e_value", "p = x + e_value", "e image 0 unit 0 step 1 input "),
        ("the last step's traces are not summed", "SUM, LAST: begin", "SUM: begin",
         "sum_w_complete image 0 unit 0 input "),
        ("traces are not read after the first step", "fresh <= 0;", "", "e image 0 unit 0 step 1 input "),
        ("s is saturated an LSB early", "262143 : s_wide", "262142 : s_wide", "s image "),
        ("eta is driven by s, not by its change", "change <= s_next - s;", "change <= s_next;",
         "eta image 0 unit 0 step 1:"),
        ("the interpolation is rounded down", "(product + 128) >>> 8", "product >>> 8", "y image "),
        ("1.0 is an LSB too small", "15'd16384 - d_loss", "15'd16383 - d_loss", "d image 0 unit 0 step 0:"),
        ("|y| is summed", "sum_v <= sum_v + y;", "sum_v <= sum_v + y_size;", "sum_v image 0 unit 0 step "),
        ("the quotient is rounded down to nothing", "dividend >= c", "dividend > c", "ratio image "),
        ("half an LSB of the step is forgotten", "carry <= factor[0];", "carry <= 0;", "w_after image "),
        ("lower bounds are passed", "master_round < lowest ? lowest : ", "", "l_after image "),
        ("c is not derived after an update", "state <= group == B ? TABLE : GROUP;",
         "state <= group == B ? IDLE : GROUP;", "c image "),
        ("the unit comes to no end", "LAST: if (last) state <= IDLE;", "LAST: ;", "done image 0 unit 0:"),
    )
]  # fmt: skip
FAULTS = (*FORWARD, *LEARNING, *SHORT_WORDS, *NETWORK, *UNITS)


def tried(fault: Fault, vectors: Path, manifest: Manifest) -> str:
    """What the bench says of these vectors with the fault in the Verilog."""
    with Scratch("fault") as directory:
        bench.changed(directory, fault.file, [(fault.old, fault.new)])
        return bench.run(fault.bench, vectors, manifest, directory)


def _result(fault: Fault, first: str, vectors: Path, manifest: Manifest) -> dict[str, Any]:
    said = tried(fault, vectors, manifest)
    return {
        "fault": fault.about, "file": fault.file, "bench": fault.bench, "found": said.startswith("FAIL"),
        "named": said.startswith(f"FAIL {fault.bench}: signal {first}"), "said": said,
    }  # fmt: skip


def results(vectors: Path | None, only: str | None) -> Iterator[dict[str, Any]]:
    """What comes of each fault that these vectors are for (None: those of the trials); only: of this bench.

    What differs first on vectors of one's own cannot be known: whatever the bench names will do. Raises UserError.
    """
    if vectors:
        manifest = bench.read(vectors)
        there = bench.benches(manifest, only)
        for fault in (fault for fault in FAULTS if fault.bench in there):
            yield _result(fault, "", vectors, manifest)
        return
    with Scratch("vectors") as directory:
        made: dict[str, Manifest] = {}
        for fault in (fault for fault in FAULTS if only in (None, fault.bench)):
            if fault.trial not in made:
                made[fault.trial] = written(TRIALS[fault.trial](), directory / fault.trial)
            yield _result(fault, fault.first, directory / fault.trial, made[fault.trial])
