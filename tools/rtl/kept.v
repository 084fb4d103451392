// How a leaky accumulator is stored: KEPT fraction bits of the real number, and INTEGER bits before the point.
//
// An accumulator is Q(Q + fine), with half an LSB of what is read of it (1 << 14) in it that is no part of the value.
// What is stored is rounded from the value, whatever `fine` is. At full length (KEPT >= Q) it is the accumulator
// itself. A sweep begins with 0, at full length with that half LSB.
module kept #(
    parameter KEPT = 29,
    parameter Q = 25,
    parameter INTEGER = 4,
    parameter ROUNDING = 1,
    parameter WORD = KEPT < Q ? KEPT + INTEGER + 1 : 31  // bits of what is stored
) (
    input [2:0] fine,
    input signed [31:0] moved,  // the accumulator of the next step, to be stored as `word`
    output signed [WORD-1:0] word,
    input signed [WORD-1:0] stored,  // what it was stored as, to be read as `value`
    output signed [30:0] value
);
    localparam CUT = Q - KEPT;  // bits that a word lacks, besides `fine`
    localparam signed [30:0] HALF = 31'sd16384;
    generate
        if (CUT <= 0) begin : full
            assign word = moved[WORD-1:0];
            assign value = stored;
        end else begin : short
            wire signed [31:0] less = moved - HALF;
            wire signed [32-CUT:0] cut = less[31:CUT-1];  // with the bit that says what nearest is
            wire signed [32-CUT:0] finer = cut >>> fine;
            wire [31:0] lost = less & ((32'd1 << (CUT + fine)) - 32'd1);
            wire up = ROUNDING == 1 ? finer[0] : ROUNDING == 2 && less[31] && lost != 32'd0;
            assign word = finer[WORD:1] + up;
            wire signed [WORD+3:0] whole = $signed({{4{stored[WORD-1]}}, stored}) <<< fine;
            wire signed [WORD+CUT+3:0] unrounded = {whole, {CUT{1'b0}}};
            assign value = CUT > 14 ? unrounded[30:0] | HALF : unrounded[30:0] + HALF;
        end
    endgenerate
endmodule
