// delta = softmax(logits / 2**cool) - onehot(label), and the class with the largest logit (the first of equal ones).
// The engine's own way, operation by operation: exp by table, division by the leading 15 bits of the sum, to nearest.
// Sequential: COLS (1 + 3 + 40) clocks and up to 17 more; `start` begins anew whatever was going on, so there is no
// reset. Formats: logits Q14, delta Q22, exponentials Q23.
module softmax #(
    parameter COLS = 3
) (
    input clk,
    input start,
    input [COLS*25-1:0] logits,
    input [5:0] label,
    input [2:0] cool,
    output reg [COLS*30-1:0] delta,
    output reg [5:0] best,
    output reg busy
);
    localparam [2:0] LARGEST = 0, EXP = 1, SHIFT = 2, DIVIDE = 3, LABEL = 4;
    reg [2:0] state;
    reg [5:0] j;
    reg [5:0] clock;  // within a class

    wire signed [24:0] logit = logits[j*25+:25];
    reg signed [24:0] top;
    wire [25:0] below = {top[24], top} - {logit[24], logit};
    wire [25:0] x = below >> cool;
    wire beyond = |x[25:18];  // exp(-16) and less: nought
    wire [23:0] entry;
    reg [23:0] low;
    wire [9:0] first = {1'b0, x[17:9]};
    rom #(.FILE("tables/exp.mem"), .ENTRIES(513), .WIDTH(24)) exp (
        .clk(clk), .address(clock == 6'd0 ? first : first + 10'd1), .entry(entry)
    );
    wire [17:0] fall = low - entry;  // exp(-x) falls by less than 2**18 from entry to entry
    wire [26:0] product = fall * x[8:0];
    wire [23:0] interpolated = low - ((product + 27'd255) >> 9);  // nearest, ties up

    reg [23:0] exps[0:COLS-1];
    reg [29:0] total;  // in the end its leading 15 bits, the divisor
    reg [3:0] k;  // bits that the sum is longer than 15
    reg [38:0] quotient;  // the dividend leaves it on the left as the quotient comes in on the right
    reg [15:0] rest;
    wire [15:0] tried = {rest[14:0], quotient[38]};
    wire [16:0] less = tried - total[14:0];
    wire [4:0] drop = k + {1'b0, cool} - 5'd7;
    wire [30:0] shorter = {quotient[29:0], 1'b0} >> drop;
    wire [29:0] share = shorter[30:1] + shorter[0];  // p, Q22, nearest
    reg [29:0] others;

    always @(posedge clk)
        if (start) begin
            state <= LARGEST;
            j <= 6'd0;
            clock <= 6'd0;
            total <= 30'd0;
            others <= 30'd0;
            k <= 4'd0;
            busy <= 1'b1;
        end else if (busy)
            case (state)
                LARGEST: begin
                    if (j == 6'd0 || logit > top) begin
                        top <= logit;
                        best <= j;
                    end
                    j <= j == COLS - 1 ? 6'd0 : j + 6'd1;
                    if (j == COLS - 1) state <= EXP;
                end
                EXP: begin
                    if (clock == 6'd1) low <= entry;
                    if (clock == 6'd2) begin
                        exps[j] <= beyond ? 24'd0 : interpolated[23:0];
                        total <= total + (beyond ? 24'd0 : interpolated[23:0]);
                        j <= j == COLS - 1 ? 6'd0 : j + 6'd1;
                        if (j == COLS - 1) state <= SHIFT;
                    end
                    clock <= clock == 6'd2 ? 6'd0 : clock + 6'd1;
                end
                SHIFT:
                if (total[29:15] != 15'd0) begin
                    total <= total >> 1;
                    k <= k + 4'd1;
                end else begin
                    quotient <= {exps[0], 15'd0};
                    rest <= 16'd0;
                    state <= DIVIDE;
                end
                DIVIDE:
                if (clock != 6'd39) begin
                    quotient <= {quotient[37:0], !less[16]};
                    rest <= less[16] ? tried : less[15:0];
                    clock <= clock + 6'd1;
                end else begin
                    delta[j*30+:30] <= share;
                    if (j != label) others <= others + share;
                    quotient <= {exps[j+6'd1], 15'd0};
                    rest <= 16'd0;
                    clock <= 6'd0;
                    j <= j + 6'd1;
                    if (j == COLS - 1) state <= LABEL;
                end
                default: begin
                    delta[label*30+:30] <= -others;  // p - 1 without cancellation
                    busy <= 1'b0;
                end
            endcase
endmodule
