// Replays what `python -m tools.vectors --graph diagonal` wrote, unit by unit and image by image, in that directory. A
// unit is given its parameters before the first image only: what it has learned it keeps.
module unit_tb;
    parameter IMAGES = 4;
    parameter UNITS = 28;
    parameter STEPS = 28;
    parameter INPUTS = 28;
    parameter WATCHED = 4;  // images of which the vectors have the trace and the sum of every weight after every step
    parameter GAIN = 1;
    parameter Y_BITS = 14;
    parameter SELF_BITS = 29;
    parameter MESSAGE_BITS = 22;
    parameter WEIGHT_BITS = 12;
    parameter MASTER_BITS = 26;
    parameter UPDATE_BITS = 26;
    parameter ROUNDING = 1;
    localparam BEGIN = 0, DERIVE = 1, STEP = 2, FINISH = 3, ADAPT = 4;
    localparam RUNS = IMAGES * UNITS;

    reg signed [15:0] x[0:IMAGES*STEPS*INPUTS-1];
    reg signed [15:0] y[0:RUNS*STEPS-1], d[0:RUNS*STEPS-1];
    reg signed [18:0] s[0:RUNS*STEPS-1];
    reg signed [30:0] eta[0:RUNS*STEPS-1], sum_l[0:RUNS*STEPS-1];
    reg signed [25:0] sum_b[0:RUNS*STEPS-1], sum_v[0:RUNS*STEPS-1];
    reg signed [30:0] e[0:WATCHED*UNITS*STEPS*INPUTS-1], sum_w[0:WATCHED*UNITS*STEPS*INPUTS-1];
    reg signed [29:0] l[0:RUNS-1], b[0:RUNS-1], l_after[0:RUNS-1], b_after[0:RUNS-1], message[0:RUNS-1];
    reg signed [29:0] message_whole[0:RUNS-1];
    reg signed [16:0] c[0:RUNS-1];
    reg signed [11:0] ratio[0:RUNS-1];
    reg signed [17:0] b_operand[0:RUNS-1];
    reg signed [29:0] w[0:RUNS*INPUTS-1], w_after[0:RUNS*INPUTS-1];
    reg signed [16:0] w_operand[0:RUNS*INPUTS-1];
    reg signed [30:0] sum_w_complete[0:RUNS*INPUTS-1];
    reg [14:0] multiplier_l[0:IMAGES-1], multiplier_w[0:IMAGES-1], multiplier_b[0:IMAGES-1];
    reg [5:0] shift_l[0:IMAGES-1], shift_w[0:IMAGES-1], shift_b[0:IMAGES-1];
    reg signed [29:0] lowest_l[0:IMAGES-1], lowest_w[0:IMAGES-1], lowest_b[0:IMAGES-1];
    reg signed [29:0] highest_l[0:IMAGES-1], highest_w[0:IMAGES-1], highest_b[0:IMAGES-1];
    initial begin
        $readmemh("unit/x.mem", x);
        $readmemh("unit/y.mem", y);
        $readmemh("unit/d.mem", d);
        $readmemh("unit/s.mem", s);
        $readmemh("unit/eta.mem", eta);
        $readmemh("unit/sum_l.mem", sum_l);
        $readmemh("unit/sum_b.mem", sum_b);
        $readmemh("unit/sum_v.mem", sum_v);
        $readmemh("unit/e.mem", e);
        $readmemh("unit/sum_w.mem", sum_w);
        $readmemh("unit/l.mem", l);
        $readmemh("unit/b.mem", b);
        $readmemh("unit/l_after.mem", l_after);
        $readmemh("unit/b_after.mem", b_after);
        $readmemh("unit/message.mem", message);
        $readmemh("unit/message_whole.mem", message_whole);
        $readmemh("unit/c.mem", c);
        $readmemh("unit/ratio.mem", ratio);
        $readmemh("unit/b_operand.mem", b_operand);
        $readmemh("unit/w.mem", w);
        $readmemh("unit/w_after.mem", w_after);
        $readmemh("unit/w_operand.mem", w_operand);
        $readmemh("unit/sum_w_complete.mem", sum_w_complete);
        $readmemh("unit/multiplier_l.mem", multiplier_l);
        $readmemh("unit/multiplier_w.mem", multiplier_w);
        $readmemh("unit/multiplier_b.mem", multiplier_b);
        $readmemh("unit/shift_l.mem", shift_l);
        $readmemh("unit/shift_w.mem", shift_w);
        $readmemh("unit/shift_b.mem", shift_b);
        $readmemh("unit/lowest_l.mem", lowest_l);
        $readmemh("unit/lowest_w.mem", lowest_w);
        $readmemh("unit/lowest_b.mem", lowest_b);
        $readmemh("unit/highest_l.mem", highest_l);
        $readmemh("unit/highest_w.mem", highest_w);
        $readmemh("unit/highest_b.mem", highest_b);
    end

    reg clk = 0, reset = 1, load = 0, start = 0;
    reg [6:0] place;
    reg signed [29:0] value;
    reg [2:0] operation;
    integer image, unit, step, at, clocks;  // step -1, at -1: none
    integer run, i;  // run: number of the image and unit
    integer per_step;  // clocks, that of `start` included
    wire done;
    wire [6:0] index;
    wire [1:0] group;
    unit #(
        .INPUTS(INPUTS), .STEPS(STEPS), .GAIN(GAIN), .Y_BITS(Y_BITS), .SELF_BITS(SELF_BITS),
        .MESSAGE_BITS(MESSAGE_BITS), .WEIGHT_BITS(WEIGHT_BITS), .MASTER_BITS(MASTER_BITS), .UPDATE_BITS(UPDATE_BITS),
        .ROUNDING(ROUNDING)
    ) dut (
        .clk(clk), .reset(reset), .load(load), .place(place), .value(value), .start(start),
        .operation(operation), .done(done), .index(index), .x(x[(image*STEPS+step)*INPUTS+index]),
        .message(message_whole[run]), .group(group),
        .multiplier(group == 0 ? multiplier_l[image] : group == 1 ? multiplier_w[image] : multiplier_b[image]),
        .shift(group == 0 ? shift_l[image] : group == 1 ? shift_w[image] : shift_b[image]),
        .lowest(group == 0 ? lowest_l[image] : group == 1 ? lowest_w[image] : lowest_b[image]),
        .highest(group == 0 ? highest_l[image] : group == 1 ? highest_w[image] : highest_b[image]),
        .y(), .sum_v()
    );
    always #5 clk = !clk;

    // $finish lets the clock's events of this instant go on: `over` keeps it to one line.
    reg over = 0;
    task same(input [8*14-1:0] name, input signed [31:0] got, input signed [31:0] expected);
        if (got !== expected && !over) begin
            over = 1;
            $write("FAIL unit_tb: signal %0s image %0d unit %0d", name, image, unit);
            if (step >= 0) $write(" step %0d", step);
            if (at >= 0) $write(" input %0d", at);
            $display(": got %0d, expected %0d", got, expected);
            $finish;
        end
    endtask

    task put(input integer where, input signed [29:0] what);
        begin
            load = 1;
            place = where;
            value = what;
            @(negedge clk) load = 0;
        end
    endtask

    task go(input [2:0] what);
        begin
            operation = what;
            start = 1;
            clocks = 0;
            @(negedge clk) start = 0;
            while (!done && clocks < 100000) @(negedge clk) clocks = clocks + 1;
            same("done", done, 1);
        end
    endtask

    task parameters(input after);
        begin
            same(after ? "l_after" : "l", dut.l, after ? l_after[run] : l[run]);
            same(after ? "b_after" : "b", dut.b_full, after ? b_after[run] : b[run]);
            for (at = 0; at < INPUTS; at = at + 1)
                same(after ? "w_after" : "w", dut.masters[at] <<< dut.KEPT_CUT,
                     after ? w_after[run*INPUTS+at] : w[run*INPUTS+at]);
            at = -1;
        end
    endtask

    task coefficients(input integer of);
        begin
            same("c", dut.c, c[of]);
            same("ratio", dut.ratio, ratio[of]);
            same("b_operand", dut.b_operand, b_operand[of]);
            for (at = 0; at < INPUTS; at = at + 1)
                same("w_operand", dut.operands[at] <<< dut.WEIGHT_CUT, w_operand[of*INPUTS+at]);
            at = -1;
        end
    endtask

    task row;
        begin
            go(STEP);
            for (at = 0; at < INPUTS && image < WATCHED; at = at + 1) begin
                i = (run * STEPS + step) * INPUTS + at;
                same("e", (dut.traces[at] <<< dut.E_CUT) + 16384, e[i]);
                same("sum_w", dut.sums[at], sum_w[i]);
            end
            at = -1;
            i = run * STEPS + step;
            same("s", dut.s, s[i]);
            same("eta", dut.eta_full + 16384, eta[i]);
            same("y", dut.y, y[i]);
            same("d", dut.d, d[i]);
            same("sum_l", dut.sum_l, sum_l[i]);
            same("sum_b", dut.sum_b, sum_b[i]);
            same("sum_v", dut.sum_v, sum_v[i]);
        end
    endtask

    initial begin
        image = 0;
        step = -1;
        at = -1;
        repeat (2) @(negedge clk);
        reset = 0;
        for (unit = 0; unit < UNITS && !over; unit = unit + 1) begin
            image = 0;
            run = unit;
            for (i = 0; i < INPUTS; i = i + 1) put(i, w[unit*INPUTS+i]);
            put(INPUTS, l[unit]);
            put(INPUTS + 1, b[unit]);
            go(DERIVE);
            for (image = 0; image < IMAGES && !over; image = image + 1) begin
                run = image * UNITS + unit;
                parameters(0);
                coefficients(run);
                go(BEGIN);
                for (step = 0; step < STEPS && !over; step = step + 1) row;
                per_step = clocks + 1;
                step = -1;
                go(FINISH);
                for (at = 0; at < INPUTS; at = at + 1) same("sum_w_complete", dut.sums[at], sum_w_complete[run*INPUTS+at]);
                at = -1;
                same("message", dut.message_round, message[run]);
                go(ADAPT);
                parameters(1);
            end
        end
        if (!over)
            $display("PASS unit_tb: %0d unit-steps, %0d updates, %0d clocks per unit-step", RUNS * STEPS, RUNS,
                per_step);
        $finish;
    end
endmodule
