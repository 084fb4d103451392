// Replays every cell of a network on every image against the vectors of level "cell" (python -m tools.vectors).
// Runs in the vectors' directory. Prints PASS, or the first signal, image, cell and step that differ.
`timescale 1ns / 1ns
`define SIGNED(name, width, count, file) reg signed [width-1:0] name[0:count-1]; initial $readmemh(file, name);
`define NATURAL(name, width, count, file) reg [width-1:0] name[0:count-1]; initial $readmemh(file, name);
module learning_cell_tb;
    parameter IMAGES = 1, CELLS = 1, STEPS = 28, MANTISSA = 11;
    parameter Y_BITS = 14, TRACE_BITS = 29, CROSS_BITS = 29, MESSAGE_BITS = 22, WEIGHT_BITS = 14, MASTER_BITS = 26;
    parameter UPDATE_BITS = 26, ROUNDING = 1;
    localparam CELLWISE = IMAGES * CELLS, STEPWISE = CELLWISE * STEPS;
    localparam [2:0] FORWARD = 0, MESSAGE = 1, LEARN = 2, FINISH = 3, UPDATE = 4, DERIVE = 5;

    `SIGNED(left, 16, STEPWISE, "cell/left.mem")
    `SIGNED(top, 16, STEPWISE, "cell/top.mem")
    `SIGNED(y, 16, STEPWISE, "cell/y.mem")
    `NATURAL(d, 16, STEPWISE, "cell/d.mem")
    `SIGNED(el, 31, STEPWISE, "cell/el.mem")
    `SIGNED(et, 31, STEPWISE, "cell/et.mem")
    `SIGNED(eta, 31, STEPWISE, "cell/eta.mem")
    `SIGNED(cross_right_l, 31, STEPWISE, "cell/cross_right_l.mem")
    `SIGNED(cross_right_wl, 31, STEPWISE, "cell/cross_right_wl.mem")
    `SIGNED(cross_right_wt, 31, STEPWISE, "cell/cross_right_wt.mem")
    `SIGNED(cross_right_b, 31, STEPWISE, "cell/cross_right_b.mem")
    `SIGNED(cross_below_l, 31, STEPWISE, "cell/cross_below_l.mem")
    `SIGNED(cross_below_wl, 31, STEPWISE, "cell/cross_below_wl.mem")
    `SIGNED(cross_below_wt, 31, STEPWISE, "cell/cross_below_wt.mem")
    `SIGNED(cross_below_b, 31, STEPWISE, "cell/cross_below_b.mem")
    `SIGNED(message_right, 30, STEPWISE, "cell/message_right.mem")
    `SIGNED(message_below, 30, STEPWISE, "cell/message_below.mem")
    `SIGNED(message, 30, STEPWISE, "cell/message.mem")
    `SIGNED(factor_right, 17, STEPWISE, "cell/factor_right.mem")
    `SIGNED(factor_below, 17, STEPWISE, "cell/factor_below.mem")
    `SIGNED(sum_right_l, 31, STEPWISE, "cell/sum_right_l.mem")
    `SIGNED(sum_right_wl, 31, STEPWISE, "cell/sum_right_wl.mem")
    `SIGNED(sum_right_wt, 31, STEPWISE, "cell/sum_right_wt.mem")
    `SIGNED(sum_right_b, 31, STEPWISE, "cell/sum_right_b.mem")
    `SIGNED(sum_below_l, 31, STEPWISE, "cell/sum_below_l.mem")
    `SIGNED(sum_below_wl, 31, STEPWISE, "cell/sum_below_wl.mem")
    `SIGNED(sum_below_wt, 31, STEPWISE, "cell/sum_below_wt.mem")
    `SIGNED(sum_below_b, 31, STEPWISE, "cell/sum_below_b.mem")
    `SIGNED(l, 30, CELLWISE, "cell/l.mem")
    `SIGNED(wl, 30, CELLWISE, "cell/wl.mem")
    `SIGNED(wt, 30, CELLWISE, "cell/wt.mem")
    `SIGNED(b, 30, CELLWISE, "cell/b.mem")
    `NATURAL(gain, 3, CELLWISE, "cell/gain.mem")
    `NATURAL(lag, 3, CELLWISE, "cell/lag.mem")
    `NATURAL(fine, 3, CELLWISE, "cell/fine.mem")
    `NATURAL(c, 17, CELLWISE, "cell/c.mem")
    `NATURAL(da, 17, CELLWISE, "cell/da.mem")
    `SIGNED(wl_operand, 17, CELLWISE, "cell/wl_operand.mem")
    `SIGNED(wt_operand, 17, CELLWISE, "cell/wt_operand.mem")
    `SIGNED(b_operand, 19, CELLWISE, "cell/b_operand.mem")
    `SIGNED(kl, 17, CELLWISE, "cell/kl.mem")
    `SIGNED(kt, 17, CELLWISE, "cell/kt.mem")
    `NATURAL(c_right, 17, CELLWISE, "cell/c_right.mem")
    `SIGNED(k_right, 17, CELLWISE, "cell/k_right.mem")
    `SIGNED(w_right, 17, CELLWISE, "cell/w_right.mem")
    `NATURAL(c_below, 17, CELLWISE, "cell/c_below.mem")
    `SIGNED(k_below, 17, CELLWISE, "cell/k_below.mem")
    `SIGNED(w_below, 17, CELLWISE, "cell/w_below.mem")
    `NATURAL(lost_right, 6, CELLWISE, "cell/lost_right.mem")
    `NATURAL(lost_below, 6, CELLWISE, "cell/lost_below.mem")
    `NATURAL(lost, 6, CELLWISE, "cell/lost.mem")
    `NATURAL(exponent, 6, CELLWISE, "cell/exponent.mem")
    `SIGNED(gradient_l, 31, CELLWISE, "cell/gradient_l.mem")
    `SIGNED(gradient_wl, 31, CELLWISE, "cell/gradient_wl.mem")
    `SIGNED(gradient_wt, 31, CELLWISE, "cell/gradient_wt.mem")
    `SIGNED(gradient_b, 31, CELLWISE, "cell/gradient_b.mem")
    `SIGNED(l_after, 30, CELLWISE, "cell/l_after.mem")
    `SIGNED(wl_after, 30, CELLWISE, "cell/wl_after.mem")
    `SIGNED(wt_after, 30, CELLWISE, "cell/wt_after.mem")
    `SIGNED(b_after, 30, CELLWISE, "cell/b_after.mem")
    `NATURAL(multiplier_l, 15, IMAGES, "cell/multiplier_l.mem")
    `NATURAL(multiplier_wl, 15, IMAGES, "cell/multiplier_wl.mem")
    `NATURAL(multiplier_wt, 15, IMAGES, "cell/multiplier_wt.mem")
    `NATURAL(multiplier_b, 15, IMAGES, "cell/multiplier_b.mem")
    `NATURAL(shift_l, 6, IMAGES, "cell/shift_l.mem")
    `NATURAL(shift_wl, 6, IMAGES, "cell/shift_wl.mem")
    `NATURAL(shift_wt, 6, IMAGES, "cell/shift_wt.mem")
    `NATURAL(shift_b, 6, IMAGES, "cell/shift_b.mem")
    `SIGNED(lowest_l, 30, IMAGES, "cell/lowest_l.mem")
    `SIGNED(lowest_wl, 30, IMAGES, "cell/lowest_wl.mem")
    `SIGNED(lowest_wt, 30, IMAGES, "cell/lowest_wt.mem")
    `SIGNED(lowest_b, 30, IMAGES, "cell/lowest_b.mem")
    `SIGNED(highest_l, 30, IMAGES, "cell/highest_l.mem")
    `SIGNED(highest_wl, 30, IMAGES, "cell/highest_wl.mem")
    `SIGNED(highest_wt, 30, IMAGES, "cell/highest_wt.mem")
    `SIGNED(highest_b, 30, IMAGES, "cell/highest_b.mem")

    reg clk = 1'b0;
    always #1 clk = !clk;
    integer clocks = 0;
    always @(posedge clk) clocks = clocks + 1;

    integer turn, image, place, step, i, at, n, stepping;
    reg clear = 1'b0, start = 1'b0, write = 1'b0;
    reg [2:0] operation = 3'd0;
    reg [1:0] write_kind = 2'd0;
    reg signed [29:0] write_value = 30'd0;
    wire busy;
    wire [1:0] kind;
    wire [9:0] address;
    wire [15:0] c_entry, da_entry;
    rom #(.FILE("tables/c.mem"), .ENTRIES(321)) c_table (.clk(clk), .address(address), .entry(c_entry));
    rom #(.FILE("tables/da.mem"), .ENTRIES(321)) da_table (.clk(clk), .address(address), .entry(da_entry));
`ifdef PORTS_ONLY  // a netlist: its words have the length with which it was made, and nothing within has a name
    learning_cell dut (
`else
    learning_cell #(
        .MANTISSA(MANTISSA), .Y_BITS(Y_BITS), .TRACE_BITS(TRACE_BITS), .CROSS_BITS(CROSS_BITS),
        .MESSAGE_BITS(MESSAGE_BITS), .WEIGHT_BITS(WEIGHT_BITS), .MASTER_BITS(MASTER_BITS), .UPDATE_BITS(UPDATE_BITS),
        .ROUNDING(ROUNDING)
    ) dut (
`endif
        .clk(clk), .clear(clear), .clear_peak(clear), .learning(1'b1), .start(start), .operation(operation),
        .busy(busy), .gain(gain[i]), .lag(lag[i]), .left(left[at]), .top(top[at]), .y(),
        .message_right(message_right[at]), .message_below(message_below[at]), .factor_right(factor_right[at]),
        .factor_below(factor_below[at]), .lost_right(lost_right[i]), .lost_below(lost_below[i]), .c_right(c_right[i]),
        .c_below(c_below[i]), .k_right(k_right[i]), .k_below(k_below[i]), .w_right(w_right[i]), .w_below(w_below[i]),
        .message(), .factor(), .lost(), .c(), .kl(), .kt(), .wl(), .wt(), .write(write), .write_kind(write_kind),
        .write_value(write_value), .rule_kind(kind),
        .multiplier(kind == 0 ? multiplier_l[image] : kind == 1 ? multiplier_wl[image] : kind == 2 ?
            multiplier_wt[image] : multiplier_b[image]),
        .shift(kind == 0 ? shift_l[image] : kind == 1 ? shift_wl[image] : kind == 2 ? shift_wt[image] :
            shift_b[image]),
        .lowest(kind == 0 ? lowest_l[image] : kind == 1 ? lowest_wl[image] : kind == 2 ? lowest_wt[image] :
            lowest_b[image]),
        .highest(kind == 0 ? highest_l[image] : kind == 1 ? highest_wl[image] : kind == 2 ? highest_wt[image] :
            highest_b[image]),
        .table_address(address), .c_entry(c_entry), .da_entry(da_entry)
    );

    // `name` fills 14 characters
    task check(input [14*8-1:0] name, input signed [31:0] got, input signed [31:0] expected);
        if (got !== expected) begin
            $display("FAIL learning_cell_tb: signal %0s image %0d cell %0d step %0d: got %0d, expected %0d", name,
                image, place, step, got, expected);
            $finish;
            #1;
        end
    endtask

    integer waiting = 0;  // for what never ends
    always @(posedge clk) begin
        waiting = busy === 1'b0 ? 0 : waiting + 1;
        if (waiting > 10000) check("busy", 1, 0);
    end

    task run(input [2:0] what);
        begin
            operation = what;
            start = 1'b1;
            @(negedge clk) start = 1'b0;
            while (busy) @(negedge clk);
        end
    endtask

    task set(input [1:0] which, input signed [29:0] value);
        begin
            write = 1'b1;
            write_kind = which;
            write_value = value;
            @(negedge clk) write = 1'b0;
        end
    endtask

    initial begin
        n = 0;
        stepping = 0;
        i = 0;
        at = 0;
        image = 0;
        @(negedge clk);
        for (turn = 0; turn < IMAGES * CELLS; turn = turn + 1) begin
`ifdef PORTS_ONLY  // cell by cell, which keeps its parameters: how they are updated shows in the next image
            image = turn % IMAGES;
            place = turn / IMAGES;
`else
            image = turn / CELLS;
            place = turn % CELLS;
`endif
            i = image * CELLS + place;
            if (turn % 10 == 0) begin
                $display("%0d of %0d", turn, IMAGES * CELLS);
                $fflush;
            end
            at = i * STEPS;
            step = -1;  // before the first
`ifdef PORTS_ONLY
            if (image == 0)
`endif
            begin
                set(0, l[i]);
                set(1, wl[i]);
                set(2, wt[i]);
                set(3, b[i]);
            end
            run(DERIVE);
            check("c", dut.c, c[i]);
            check("wl_operand", dut.wl, wl_operand[i]);
            check("wt_operand", dut.wt, wt_operand[i]);
            check("kl", dut.kl, kl[i]);
            check("kt", dut.kt, kt[i]);
`ifndef PORTS_ONLY
            check("da", dut.da, da[i]);
            check("b_operand", dut.b, b_operand[i]);
            check("fine", dut.fine, fine[i]);
`endif
            clear = 1'b1;
            @(negedge clk) clear = 1'b0;
            for (step = 0; step < STEPS; step = step + 1) begin
                at = i * STEPS + step;
                stepping = stepping - clocks;
                run(FORWARD);
                run(MESSAGE);
                run(LEARN);
                stepping = stepping + clocks;
`ifndef PORTS_ONLY
                check("el", dut.ahead.el, el[at]);
                check("et", dut.ahead.et, et[at]);
`endif
                check("y", dut.y, y[at]);
`ifndef PORTS_ONLY
                check("d", dut.d, d[at]);
                check("eta", dut.eta, eta[at]);
`endif
                check("message", dut.message, message[at]);
`ifndef PORTS_ONLY
                check("cross_right_l", accumulator(0), cross_right_l[at]);
                check("cross_right_wl", accumulator(1), cross_right_wl[at]);
                check("cross_right_wt", accumulator(2), cross_right_wt[at]);
                check("cross_right_b", accumulator(3), cross_right_b[at]);
                check("cross_below_l", accumulator(4), cross_below_l[at]);
                check("cross_below_wl", accumulator(5), cross_below_wl[at]);
                check("cross_below_wt", accumulator(6), cross_below_wt[at]);
                check("cross_below_b", accumulator(7), cross_below_b[at]);
                check("sum_right_l", dut.sums[0], sum_right_l[at]);
                check("sum_right_wl", dut.sums[1], sum_right_wl[at]);
                check("sum_right_wt", dut.sums[2], sum_right_wt[at]);
                check("sum_right_b", dut.sums[3], sum_right_b[at]);
                check("sum_below_l", dut.sums[4], sum_below_l[at]);
                check("sum_below_wl", dut.sums[5], sum_below_wl[at]);
                check("sum_below_wt", dut.sums[6], sum_below_wt[at]);
                check("sum_below_b", dut.sums[7], sum_below_b[at]);
`endif
                n = n + 1;
            end
            check("lost", dut.lost, lost[i]);
            run(FINISH);
`ifndef PORTS_ONLY
            check("exponent", dut.exponent, exponent[i]);
            check("gradient_l", dut.gradient[0], gradient_l[i]);
            check("gradient_wl", dut.gradient[1], gradient_wl[i]);
            check("gradient_wt", dut.gradient[2], gradient_wt[i]);
            check("gradient_b", dut.gradient[3], gradient_b[i]);
`endif
            run(UPDATE);
`ifndef PORTS_ONLY
            check("l_after", master(0), l_after[i]);
            check("wl_after", master(1), wl_after[i]);
            check("wt_after", master(2), wt_after[i]);
            check("b_after", master(3), b_after[i]);
`endif
        end
        $display("PASS learning_cell_tb: %0d cell-steps, %0d updates, %0d clocks for forward, message and learn", n,
            IMAGES * CELLS, stepping / n);
        $finish;
    end

`ifndef PORTS_ONLY
    // What is stored, as the vectors have it

    function signed [29:0] master(input [1:0] which);
        master = which == 0 ? dut.l : $signed(dut.masters[which]) <<< dut.MASTER_CUT;
    endfunction

    function signed [30:0] accumulator(input [2:0] which);
        reg signed [36:0] x;
        begin
            x = $signed(dut.traces[which]);
            if (CROSS_BITS < 25)
                x = ((x <<< (29 - CROSS_BITS)) >>> (which[1:0] == 0 ? 3'd4 - dut.fine : 3'd0)) + 16384;
            accumulator = x[30:0];
        end
    endfunction
`endif
endmodule
