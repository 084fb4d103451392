// The forward half of a cell, article eq. 1 and 2: y = tanh(wL eL + wT eT + b), one step in eight clocks, one
// multiplier.
//
//   phase   multiplies          makes
//   0       c (left - el)       el, the leaky integral of the left input
//   1       c (top - et)        et
//   2       wl el               drive
//   3       wt et               drive
//   4       -                   first table entry is asked for
//   5       -                   second
//   6       difference, part    y
//   7       y y                 d = 1 - y^2, which only learning needs
//
// el and et are all that a cell remembers: the state of the filter and the eligibility traces of the two weights in
// one.
// Formats: y, left, top, d Q14; c Q15; wl, wt Q12; b Q14; el, et Q29 with half an LSB of what is read of them, Q14.
module forward_cell #(
    parameter Y_BITS = 14,  // fraction bits of the output wire
    parameter TRACE_BITS = 29,  // and of what is kept of el and et
    parameter ROUNDING = 1  // see round.v
) (
    input clk,
    input clear,  // forget the last sweep
    input start,  // left and top are there, and stay until `done`
    input [16:0] c,
    input signed [16:0] wl,
    input signed [16:0] wt,
    input signed [18:0] b,
    input [2:0] gain,  // binary exponent of the left input
    input [2:0] lag,  // and by how much that of the top input is below it
    input signed [15:0] left,
    input signed [15:0] top,
    output reg signed [15:0] y,
    output reg [14:0] d,
    output signed [15:0] el_read,  // Q14, nearest
    output signed [15:0] et_read,
    output signed [16:0] change,  // in phases 0 and 1: left - el, top - et, before the step
    output reg busy,
    output done  // in the last clock
);
    localparam WORD = TRACE_BITS < 25 ? TRACE_BITS + 2 : 31;  // see kept.v
    localparam signed [WORD-1:0] START = TRACE_BITS < 25 ? 0 : 16384;

    reg [2:0] phase;
    assign done = busy && phase == 3'd7;
    always @(posedge clk)
        if (start) begin
            busy <= 1'b1;
            phase <= 3'd0;
        end else if (clear) busy <= 1'b0;
        else if (busy) begin
            busy <= phase != 3'd7;
            phase <= phase + 3'd1;
        end

    // What is stored of the two filters, and the accumulators that it stands for

    reg signed [WORD-1:0] el_stored, et_stored;
    wire signed [30:0] el, et;
    wire signed [31:0] moved;
    wire signed [WORD-1:0] word;
    kept #(.KEPT(TRACE_BITS), .INTEGER(1), .ROUNDING(ROUNDING)) left_filter (
        .fine(3'd4), .moved(moved), .word(word), .stored(el_stored), .value(el)
    );
    kept #(.KEPT(TRACE_BITS), .INTEGER(1), .ROUNDING(ROUNDING)) top_filter (
        .fine(3'd4), .moved(moved), .word(), .stored(et_stored), .value(et)
    );
    assign el_read = el >>> 15;
    assign et_read = et >>> 15;
    assign change = phase[0] ? top - et_read : left - el_read;

    reg signed [17:0] p, q;
    wire signed [35:0] product = p * q;

    assign moved = (phase[0] ? et : el) + product;  // el + c (left - el), exact

    // s + b, Q14, nearest, and its size up to 8.0 - 1 LSB
    reg signed [31:0] drive;
    wire signed [35:0] scaled = $signed({{4{drive[31]}}, drive}) <<< gain;
    wire signed [35:0] rounded = (scaled + 36'sd2048) >>> 12;
    wire signed [24:0] s = $signed(rounded[24:0]) + b;
    wire [24:0] size = s[24] ? -s : s;
    wire [16:0] argument = |size[24:17] ? 17'h1ffff : size[16:0];

    wire [9:0] first = {1'b0, argument[16:8]};
    wire [15:0] entry;
    reg [15:0] low;
    rom #(.FILE("tables/tanh.mem"), .ENTRIES(513), .WIDTH(16)) tanh (
        .clk(clk), .address(phase == 3'd4 ? first : first + 10'd1), .entry(entry)
    );
    wire signed [16:0] step = (product + 36'sd128) >>> 8;  // of the interpolation, nearest
    wire signed [16:0] size_y = $signed({1'b0, low}) + step;
    wire signed [16:0] exact_y = s[24] ? -size_y : size_y;
    wire signed [16:0] short_y;
    round #(.IN(17), .DROP(14 - Y_BITS), .MODE(ROUNDING)) wires (.x(exact_y), .y(short_y));

    always @* begin
        p = c;
        q = change;
        case (phase)
            3'd2: begin
                p = wl;
                q = el_read;
            end
            3'd3: begin
                p = wt;
                q = et_read;
            end
            3'd6: begin
                p = $signed({1'b0, entry}) - $signed({1'b0, low});
                q = {10'd0, argument[7:0]};
            end
            3'd7: begin
                p = y;
                q = y;
            end
            default: ;
        endcase
    end

    always @(posedge clk)
        if (clear) begin
            el_stored <= START;
            et_stored <= START;
        end else if (busy)
            case (phase)
                3'd0: el_stored <= word;
                3'd1: et_stored <= word;
                3'd2: drive <= product;
                3'd3: drive <= drive + (product >>> lag);
                3'd5: low <= entry;
                3'd6: y <= short_y;
                3'd7: d <= 15'd16384 - ((product + 36'sd8192) >> 14);
                default: ;
            endcase
endmodule
