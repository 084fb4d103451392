// Holds every rounding, saturation and look-up of a cell, and the softmax, against the vectors of level "operations",
// whose expected values are fxpmath's. Runs in their directory. Prints PASS, or the first operation and case to differ.
//
// A case comes in at the ports, or is written into the register that the operation reads, in the clock before it does.
// What a port is too short for is counted and left out: logits of 2^24, which are more than 1023 steps can add up to.
`timescale 1ns / 1ns
`define READ(memory, file, count) $readmemh({"operations/", file, ".mem"}, memory, 0, count - 1);
// Every case of an operation, of which there are so many
`define CASES(name, count) operation = name; total = total + count; for (i = 0; i < count; i = i + 1)
module operations_tb;
    parameter CASES_WORD = 1, CASES_FACTOR = 1, CASES_WEIGHT = 1, CASES_BIAS = 1, CASES_COEFFICIENT = 1;
    parameter CASES_DERIVATIVE = 1, CASES_COUPLING = 1, CASES_LEAKY = 1, CASES_DRIVE = 1, CASES_SQUASH = 1;
    parameter CASES_SLOPE = 1, CASES_ETA_DRIVE = 1, CASES_ETA = 1, CASES_CROSS_L = 1, CASES_CROSS_W = 1;
    parameter CASES_MESSAGE_SUM = 1, CASES_MESSAGE = 1, CASES_GRADIENT = 1, CASES_RATED = 1, CASES_STEP = 1;
    parameter CASES_UPDATE = 1, CASES_EXPONENTIAL = 1, CASES_PROBABILITY = 1, CASES_SOFTMAX = 1;
    localparam MOST = 1024;
    localparam [2:0] FORWARD = 0, MESSAGE = 1, LEARN = 2, FINISH = 3, UPDATE = 4, DERIVE = 5;  // learning_cell.v

    reg [31:0] a[0:MOST-1], b[0:MOST-1], c[0:MOST-1], d[0:MOST-1], e[0:MOST-1], f[0:MOST-1], g[0:MOST-1];
    reg [31:0] expected[0:MOST-1], expected_1[0:MOST-1], expected_2[0:MOST-1];
    reg [11*8-1:0] operation;
    integer i = 0, total = 0, beyond = 0;
    reg clk = 1'b0;
    always #1 clk = !clk;

    // A word of so many bits as an integer

    function signed [31:0] extended(input [31:0] word, input integer width);
        extended = $signed(word << (32 - width)) >>> (32 - width);
    endfunction

    task check(input signed [31:0] got, input [31:0] word, input integer width);
        if (got !== extended(word, width)) begin
            $display("FAIL operations_tb: operation %0s case %0d: got %0d, expected %0d", operation, i, got,
                extended(word, width));
            $finish;
            #1;
        end
    endtask

    // round.v and kept.v, for all that may be cut off

    localparam CUTS = 25;
    reg signed [30:0] value;
    wire signed [31:0] rounded[0:3*32-1], stored_as[0:3*32-1];
    genvar how, cut;
    generate
        for (how = 0; how < 3; how = how + 1) begin : mode
            for (cut = 0; cut < CUTS; cut = cut + 1) begin : drop
                round #(.IN(32), .DROP(cut), .MODE(how)) word (.x({value[30], value}), .y(rounded[32*how+cut]));
                if (cut == 0 || cut > 4) begin : stored  // kept.v has the others not
                    localparam WORD = cut == 0 ? 31 : 34 - cut;
                    wire signed [WORD-1:0] word;
                    wire signed [30:0] found;
                    kept #(.KEPT(29 - cut), .ROUNDING(how)) state (
                        .fine(3'd4), .moved({value[30], value} + 32'sd16384), .word(word), .stored(word), .value(found)
                    );
                    assign stored_as[32*how+cut] = found;
                end
            end
        end
    endgenerate
    wire [6:0] at = 32 * c[i] + b[i];

    // block_factor.v: a peak of so many bits more than the mantissa

    localparam MANTISSA = 7;
    wire [5:0] lost;
    wire signed [16:0] factor;
    block_factor #(.MANTISSA(MANTISSA)) block (
        .peak(30'd1 << (b[i] + MANTISSA - 1)), .message(a[i][29:0]), .lost(lost), .factor(factor)
    );

    // learning_cell.v

    reg clear = 1'b0, start = 1'b0, write = 1'b0, soft_start = 1'b0;
    reg [2:0] what, gain = 3'd0, lag = 3'd0;
    reg [1:0] kind = 2'd0;
    reg signed [15:0] left = 16'd0, top = 16'd0;
    reg signed [29:0] message_right = 30'd0, message_below = 30'd0, written = 30'd0;
    reg [5:0] lost_right = 6'd0, lost_below = 6'd0, shift = 6'd0;
    reg signed [16:0] k_right = 17'd0, k_below = 17'd0, w_right = 17'd0, w_below = 17'd0;
    reg [14:0] multiplier = 15'd0;
    reg signed [29:0] lowest = -30'sd536870912, highest = 30'sd536870911;
    wire busy;
    wire [9:0] address;
    wire [15:0] c_entry, da_entry;
    rom #(.FILE("tables/c.mem"), .ENTRIES(321)) c_table (.clk(clk), .address(address), .entry(c_entry));
    rom #(.FILE("tables/da.mem"), .ENTRIES(321)) da_table (.clk(clk), .address(address), .entry(da_entry));
    learning_cell one (
        .clk(clk), .clear(clear), .clear_peak(clear), .learning(1'b1), .start(start), .operation(what), .busy(busy),
        .done(), .gain(gain), .lag(lag), .left(left), .top(top), .y(), .message_right(message_right),
        .message_below(message_below), .factor_right(17'sd0), .factor_below(17'sd0), .lost_right(lost_right),
        .lost_below(lost_below), .c_right(17'd0), .c_below(17'd0), .k_right(k_right), .k_below(k_below),
        .w_right(w_right), .w_below(w_below), .message(), .factor(), .lost(), .c(), .kl(), .kt(), .wl(), .wt(),
        .write(write), .write_kind(kind), .write_value(written), .rule_kind(), .multiplier(multiplier), .shift(shift),
        .lowest(lowest), .highest(highest), .table_address(address), .c_entry(c_entry), .da_entry(da_entry)
    );

    task begin_with(input [2:0] which);
        begin
            what = which;
            start = 1'b1;
            @(negedge clk) start = 1'b0;
        end
    endtask

    task go_on;
        while (busy) @(negedge clk);
    endtask

    task until_phase(input [2:0] number);
        while (one.phase != number) @(negedge clk);
    endtask

    task until_part(input [2:0] number);
        while (one.part != number) @(negedge clk);
    endtask

    task forget;
        begin
            clear = 1'b1;
            @(negedge clk) clear = 1'b0;
        end
    endtask

    task derive(input [1:0] of, input [29:0] master);
        begin
            write = 1'b1;
            kind = of;
            written = master;
            @(negedge clk) write = 1'b0;
            begin_with(DERIVE);
            go_on;
        end
    endtask

    task set_fine(input [2:0] bits);  // not as many as there are
        case (bits)
            3'd0: force one.fine = 3'd0;
            3'd1: force one.fine = 3'd1;
            3'd2: force one.fine = 3'd2;
            3'd3: force one.fine = 3'd3;
            default: force one.fine = 3'd4;
        endcase
    endtask

    // softmax.v

    reg signed [24:0] z_0, z_1, z_2;
    reg [5:0] label;
    reg [2:0] cool;
    wire [3*30-1:0] delta;
    wire soft_busy;
    softmax #(.COLS(3)) soft (
        .clk(clk), .start(soft_start), .logits({z_2, z_1, z_0}), .label(label), .cool(cool), .delta(delta), .best(),
        .busy(soft_busy)
    );

    task begin_softmax;
        begin
            soft_start = 1'b1;
            @(negedge clk) soft_start = 1'b0;
        end
    endtask

    task end_softmax;
        while (soft_busy) @(negedge clk);
    endtask

    initial begin
        @(negedge clk);
        rounding;
        parameters;
        forward;
        traces;
        messages;
        gradients;
        softmaxes;
        $display("PASS operations_tb: %0d cases of 24 operations, %0d beyond what a port takes", total, beyond);
        $finish;
    end

    task rounding;
        begin
            `READ(a, "word/value", CASES_WORD) `READ(b, "word/cut", CASES_WORD)
            `READ(c, "word/how", CASES_WORD)
            `READ(expected, "word/expected", CASES_WORD)
            `CASES("word", CASES_WORD) begin
                value = a[i];
                #1;
                check(rounded[at], expected[i], 32);
                if (b[i] == 0 || b[i] > 4) check(stored_as[at], expected[i] + 32'd16384, 31);
            end
            `READ(a, "factor/message", CASES_FACTOR) `READ(b, "factor/lost", CASES_FACTOR)
            `READ(expected, "factor/expected", CASES_FACTOR)
            `CASES("factor", CASES_FACTOR) begin
                #1;
                check(lost, b[i], 32);
                check(factor, expected[i], 17);
            end
            @(negedge clk);
        end
    endtask

    task parameters;
        begin
            `READ(a, "weight/master", CASES_WEIGHT) `READ(expected, "weight/expected", CASES_WEIGHT)
            `CASES("weight", CASES_WEIGHT) begin
                derive(2'd1, a[i]);
                check(one.wl, expected[i], 17);
                derive(2'd2, a[i]);
                check(one.wt, expected[i], 17);
            end
            `READ(a, "bias/master", CASES_BIAS) `READ(expected, "bias/expected", CASES_BIAS)
            `CASES("bias", CASES_BIAS) begin
                derive(2'd3, a[i]);
                check(one.b, expected[i], 18);
            end
            `READ(a, "coefficient/log_tau", CASES_COEFFICIENT)
            `READ(expected, "coefficient/expected", CASES_COEFFICIENT)
            `CASES("coefficient", CASES_COEFFICIENT) begin
                derive(2'd0, a[i]);
                check(one.c, expected[i], 17);
            end
            `READ(a, "derivative/log_tau", CASES_DERIVATIVE) `READ(expected, "derivative/expected", CASES_DERIVATIVE)
            `CASES("derivative", CASES_DERIVATIVE) begin
                derive(2'd0, a[i]);
                check(one.da, expected[i], 17);
            end
            `READ(a, "coupling/c", CASES_COUPLING) `READ(b, "coupling/w", CASES_COUPLING)
            `READ(expected, "coupling/expected", CASES_COUPLING)
            `CASES("coupling", CASES_COUPLING) begin
                begin_with(DERIVE);
                until_phase(3'd5);
                one.c = a[i];
                one.wl = b[i];
                until_phase(3'd6);
                one.wt = b[i];
                go_on;
                check(one.kl, expected[i], 17);
                check(one.kt, expected[i], 17);
            end
        end
    endtask

    task forward;
        begin
            `READ(a, "leaky/accumulator", CASES_LEAKY) `READ(b, "leaky/c", CASES_LEAKY)
            `READ(c, "leaky/x", CASES_LEAKY)
            `READ(expected, "leaky/expected", CASES_LEAKY)
            `CASES("leaky", CASES_LEAKY) begin
                one.c = b[i];
                one.ahead.el_stored = a[i];
                one.ahead.et_stored = a[i];
                left = c[i];
                top = c[i];
                begin_with(FORWARD);
                go_on;
                check(one.ahead.el, expected[i], 31);
                check(one.ahead.et, expected[i], 31);
            end
            `READ(a, "drive/el", CASES_DRIVE) `READ(b, "drive/et", CASES_DRIVE)
            `READ(c, "drive/wl", CASES_DRIVE) `READ(d, "drive/wt", CASES_DRIVE)
            `READ(e, "drive/b", CASES_DRIVE) `READ(f, "drive/gain", CASES_DRIVE)
            `READ(g, "drive/lag", CASES_DRIVE)
            `READ(expected, "drive/expected", CASES_DRIVE)
            one.c = 17'd32768;  // the filters hold their inputs
            `CASES("drive", CASES_DRIVE) begin
                forget;
                left = a[i];
                top = b[i];
                one.wl = c[i];
                one.wt = d[i];
                one.b = extended(e[i], 18);
                gain = f[i];
                lag = g[i];
                begin_with(FORWARD);
                go_on;
                check(one.ahead.s, expected[i], 24);
            end
            `READ(a, "squash/drive", CASES_SQUASH) `READ(expected, "squash/expected", CASES_SQUASH)
            one.b = 0;
            gain = 3'd4;
            lag = 3'd0;
            `CASES("squash", CASES_SQUASH) begin
                begin_with(FORWARD);
                until_phase(3'd4);
                one.ahead.drive = a[i] << 8;
                go_on;
                check(one.y, expected[i], 16);
            end
            `READ(a, "slope/y", CASES_SLOPE) `READ(expected, "slope/expected", CASES_SLOPE)
            `CASES("slope", CASES_SLOPE) begin
                begin_with(FORWARD);
                until_phase(3'd7);
                one.ahead.y = a[i];
                go_on;
                check(one.d, expected[i], 16);
            end
        end
    endtask

    task traces;
        begin
            `READ(a, "eta_drive/wl", CASES_ETA_DRIVE) `READ(b, "eta_drive/wt", CASES_ETA_DRIVE)
            `READ(c, "eta_drive/left", CASES_ETA_DRIVE) `READ(d, "eta_drive/top", CASES_ETA_DRIVE)
            `READ(e, "eta_drive/lag", CASES_ETA_DRIVE) `READ(f, "eta_drive/fine", CASES_ETA_DRIVE)
            `READ(expected, "eta_drive/expected", CASES_ETA_DRIVE)
            `CASES("eta_drive", CASES_ETA_DRIVE) begin
                forget;
                set_fine(f[i]);
                one.wl = a[i];
                one.wt = b[i];
                left = c[i];
                top = d[i];
                lag = e[i];
                begin_with(FORWARD);
                go_on;
                check(one.scratch, expected[i], 18);
            end
            release one.fine;
            `READ(a, "eta/accumulator", CASES_ETA) `READ(b, "eta/c", CASES_ETA)
            `READ(c, "eta/da", CASES_ETA) `READ(d, "eta/drive", CASES_ETA)
            `READ(expected, "eta/expected", CASES_ETA)
            `CASES("eta", CASES_ETA) begin
                one.eta_stored = a[i];
                one.c = b[i];
                one.da = c[i];
                begin_with(FORWARD);
                until_phase(3'd2);
                one.scratch = extended(d[i], 18);
                go_on;
                check(one.eta, expected[i], 31);
            end
            `READ(a, "cross_l/d", CASES_CROSS_L) `READ(b, "cross_l/eta", CASES_CROSS_L)
            `READ(expected, "cross_l/expected", CASES_CROSS_L)
            `CASES("cross_l", CASES_CROSS_L) begin
                one.ahead.d = a[i];
                one.eta_stored = b[i] << 15;
                begin_with(LEARN);
                until_part(3'd1);
                check(one.f, expected[i], 16);
                go_on;
            end
            `READ(a, "cross_w/d", CASES_CROSS_W) `READ(b, "cross_w/e", CASES_CROSS_W)
            `READ(expected, "cross_w/expected", CASES_CROSS_W)
            `CASES("cross_w", CASES_CROSS_W) begin
                one.ahead.d = a[i];
                one.ahead.el_stored = b[i] << 15;
                one.ahead.et_stored = b[i] << 15;
                begin_with(LEARN);
                while (one.kind != 2'd1) @(negedge clk);
                until_part(3'd1);
                check(one.f, expected[i], 16);
                while (one.kind != 2'd2) @(negedge clk);
                until_part(3'd1);
                check(one.f, expected[i], 16);
                go_on;
            end
        end
    endtask

    task messages;
        begin
            `READ(a, "message_sum/k_right", CASES_MESSAGE_SUM) `READ(b, "message_sum/right", CASES_MESSAGE_SUM)
            `READ(c, "message_sum/k_below", CASES_MESSAGE_SUM) `READ(d, "message_sum/below", CASES_MESSAGE_SUM)
            `READ(expected, "message_sum/expected", CASES_MESSAGE_SUM)
            `CASES("message_sum", CASES_MESSAGE_SUM) begin
                k_right = a[i];
                message_right = b[i];
                k_below = c[i];
                message_below = d[i];
                begin_with(MESSAGE);
                go_on;
                check(one.m, expected[i], 27);
            end
            `READ(a, "message/m", CASES_MESSAGE) `READ(b, "message/d", CASES_MESSAGE)
            `READ(expected, "message/expected", CASES_MESSAGE)
            `CASES("message", CASES_MESSAGE) begin
                one.ahead.d = b[i];
                begin_with(MESSAGE);
                until_phase(3'd4);
                one.sum = extended(a[i], 27);
                go_on;
                check(one.message, expected[i], 30);
            end
        end
    endtask

    task gradients;
        begin
            `READ(a, "gradient/sum_right", CASES_GRADIENT) `READ(b, "gradient/w_right", CASES_GRADIENT)
            `READ(c, "gradient/shift_right", CASES_GRADIENT) `READ(d, "gradient/sum_below", CASES_GRADIENT)
            `READ(e, "gradient/w_below", CASES_GRADIENT) `READ(f, "gradient/shift_below", CASES_GRADIENT)
            `READ(g, "gradient/fine", CASES_GRADIENT)
            `READ(expected, "gradient/expected", CASES_GRADIENT)
            `CASES("gradient", CASES_GRADIENT) begin
                set_fine(g[i]);
                one.sums[0] = a[i];
                one.sums[4] = d[i];
                w_right = b[i];
                w_below = e[i];
                lost_right = 33 - c[i];
                lost_below = 33 - f[i];
                begin_with(FINISH);
                go_on;
                check(one.gradient[0], expected[i], 31);
            end
            release one.fine;
            `READ(a, "rated/gradient", CASES_RATED) `READ(b, "rated/multiplier", CASES_RATED)
            `READ(expected, "rated/expected", CASES_RATED)
            `CASES("rated", CASES_RATED) begin
                one.gradient[0] = a[i];
                multiplier = b[i];
                begin_with(UPDATE);
                until_part(3'd2);
                check(one.sum, expected[i], 31);
                go_on;
            end
            `READ(a, "step/value", CASES_STEP) `READ(b, "step/down", CASES_STEP)
            `READ(expected, "step/expected", CASES_STEP)
            gain = 3'd0;
            `CASES("step", CASES_STEP) begin
                one.exponent = 6'd19;
                shift = extended(b[i], 6) + 32;  // l: 9 + 4 + exponent less
                begin_with(UPDATE);
                until_part(3'd2);
                one.sum = extended(a[i], 31);
                until_part(3'd4);
                check(one.exact_step, expected[i], 30);
                go_on;
            end
            `READ(a, "update/master", CASES_UPDATE) `READ(b, "update/step", CASES_UPDATE)
            `READ(c, "update/lowest", CASES_UPDATE) `READ(d, "update/highest", CASES_UPDATE)
            `READ(expected, "update/expected", CASES_UPDATE)
            `CASES("update", CASES_UPDATE) begin
                one.l = a[i];
                lowest = c[i];
                highest = d[i];
                begin_with(UPDATE);
                until_part(3'd4);
                one.sum = extended(b[i], 30);
                go_on;
                check(one.l, expected[i], 30);
            end
        end
    endtask

    task softmaxes;
        begin
            `READ(a, "exponential/below", CASES_EXPONENTIAL) `READ(b, "exponential/cool", CASES_EXPONENTIAL)
            `READ(expected, "exponential/expected", CASES_EXPONENTIAL)
            label = 6'd2;
            `CASES("exponential", CASES_EXPONENTIAL)
                if (a[i] > 32'd33554431) beyond = beyond + 1;
                else begin
                    z_0 = 25'sd16777215;
                    z_1 = 25'sd16777215 - a[i];
                    z_2 = z_1;
                    cool = b[i];
                    begin_softmax;
                    end_softmax;
                    check(soft.exps[1], expected[i], 25);
                end
            `READ(a, "probability/e", CASES_PROBABILITY) `READ(b, "probability/total", CASES_PROBABILITY)
            `READ(c, "probability/cool", CASES_PROBABILITY)
            `READ(expected, "probability/expected", CASES_PROBABILITY)
            `CASES("probability", CASES_PROBABILITY) begin
                cool = c[i];
                begin_softmax;
                while (soft.state != 3'd2) @(negedge clk);  // all exponentials are there
                soft.exps[0] = a[i];
                soft.total = b[i];
                end_softmax;
                check($signed(delta[29:0]), expected[i], 24);
            end
            `READ(a, "softmax/z_0", CASES_SOFTMAX) `READ(b, "softmax/z_1", CASES_SOFTMAX)
            `READ(c, "softmax/z_2", CASES_SOFTMAX) `READ(d, "softmax/label", CASES_SOFTMAX)
            `READ(e, "softmax/cool", CASES_SOFTMAX)
            `READ(expected, "softmax/expected_0", CASES_SOFTMAX)
            `READ(expected_1, "softmax/expected_1", CASES_SOFTMAX)
            `READ(expected_2, "softmax/expected_2", CASES_SOFTMAX)
            `CASES("softmax", CASES_SOFTMAX)
                if (a[i] == 32'd16777216 || b[i] == 32'd16777216 || c[i] == 32'd16777216) beyond = beyond + 1;
                else begin
                    z_0 = a[i];
                    z_1 = b[i];
                    z_2 = c[i];
                    label = d[i];
                    cool = e[i];
                    begin_softmax;
                    end_softmax;
                    check($signed(delta[29:0]), expected[i], 30);
                    check($signed(delta[59:30]), expected_1[i], 30);
                    check($signed(delta[89:60]), expected_2[i], 30);
                end
        end
    endtask
endmodule
