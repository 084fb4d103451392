// A message as a factor of the gradient (block floating point): rounded so far, to nearest, that the largest one of the
// sweep has MANTISSA bits. `lost` are the bits that it loses, `peak` the OR of all |message|.
module block_factor #(
    parameter MANTISSA = 11
) (
    input [29:0] peak,
    input signed [29:0] message,
    output [5:0] lost,
    output signed [16:0] factor
);
    reg [5:0] length;
    integer i;
    always @* begin
        length = 6'd0;
        for (i = 0; i < 30; i = i + 1) if (peak[i]) length = i + 1;
    end
    assign lost = length > MANTISSA ? length - MANTISSA : 6'd0;
    wire signed [30:0] shorter = $signed({message, 1'b0}) >>> lost;
    assign factor = shorter[17:1] + shorter[0];  // the last bit lost says what nearest is
endmodule
