// x to a multiple of 2**DROP, in place: y keeps the weight of x's LSB, its last DROP bits are zero.
// MODE 0: down (floor); 1: to nearest, ties up; 2: towards zero. y is x where there is nothing to drop. The result may
// be one multiple larger than x was: IN leaves room for that.
module round #(
    parameter IN = 32,
    parameter DROP = 0,
    parameter MODE = 1
) (
    input signed [IN-1:0] x,
    output signed [IN-1:0] y
);
    generate
        if (DROP <= 0) begin : none
            assign y = x;
        end else begin : some
            wire up = MODE == 1 ? x[DROP-1] : MODE == 2 && x[IN-1] && |x[DROP-1:0];
            wire [IN-DROP-1:0] left = x[IN-1:DROP] + up;
            assign y = {left, {DROP{1'b0}}};
        end
    endgenerate
endmodule
