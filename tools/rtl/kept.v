// How a leaky accumulator is stored: KEPT fraction bits of the real number, and INTEGER bits before the point.
//
// An accumulator is Q(Q + fine), with half an LSB of what is read of it (1 << 14) in it that is no part of the value. What
// is stored is rounded from the value, whatever `fine` is. At full length (KEPT >= Q) it is the accumulator itself.
// A sweep begins with START.
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
    localparam DROP = Q + 4 - KEPT;
    localparam signed [31:0] HALF = 32'sd16384;
    generate
        if (KEPT >= Q) begin : full
            assign word = moved[WORD-1:0];
            assign value = stored;
        end else begin : short
            wire signed [31:0] less = moved - HALF;
            wire signed [35:0] aligned = $signed({{4{less[31]}}, less}) <<< (3'd4 - fine);  // Q(Q + 4)
            wire signed [35:0] rounded;
            round #(.IN(36), .DROP(DROP), .MODE(ROUNDING)) to_word (.x(aligned), .y(rounded));
            assign word = rounded[DROP+WORD-1:DROP];
            wire signed [35:0] unrounded = $signed({stored, {DROP{1'b0}}}) >>> (3'd4 - fine);
            assign value = unrounded[30:0] + HALF[30:0];
        end
    endgenerate
endmodule
