// Replays every cell's inputs on every image against the vectors of level "cell" (python -m tools.vectors).
// Runs in the vectors' directory. Prints PASS, or the first signal, image, cell and step that differ.
`timescale 1ns / 1ns
`define SIGNED(name, width, count) reg signed [width-1:0] name[0:count-1];
`define NATURAL(name, width, count) reg [width-1:0] name[0:count-1];
module forward_cell_tb;
    parameter IMAGES = 1, CELLS = 1, STEPS = 28;
    parameter Y_BITS = 14, TRACE_BITS = 29, ROUNDING = 1;
    localparam CELLWISE = IMAGES * CELLS, STEPWISE = CELLWISE * STEPS;

    `SIGNED(left, 16, STEPWISE)
    `SIGNED(top, 16, STEPWISE)
    `SIGNED(y, 16, STEPWISE)
    `NATURAL(d, 16, STEPWISE)
    `SIGNED(el, 31, STEPWISE)
    `SIGNED(et, 31, STEPWISE)
    `NATURAL(c, 17, CELLWISE)
    `SIGNED(wl_operand, 17, CELLWISE)
    `SIGNED(wt_operand, 17, CELLWISE)
    `SIGNED(b_operand, 19, CELLWISE)
    `NATURAL(gain, 3, CELLWISE)
    `NATURAL(lag, 3, CELLWISE)
    initial begin
        $readmemh("cell/left.mem", left);
        $readmemh("cell/top.mem", top);
        $readmemh("cell/y.mem", y);
        $readmemh("cell/d.mem", d);
        $readmemh("cell/el.mem", el);
        $readmemh("cell/et.mem", et);
        $readmemh("cell/c.mem", c);
        $readmemh("cell/wl_operand.mem", wl_operand);
        $readmemh("cell/wt_operand.mem", wt_operand);
        $readmemh("cell/b_operand.mem", b_operand);
        $readmemh("cell/gain.mem", gain);
        $readmemh("cell/lag.mem", lag);
    end

    reg clk = 1'b0;
    always #1 clk = !clk;

    integer image, place, step, i, at, clocks;
    reg clear = 1'b0, start = 1'b0;
    wire busy;
    wire signed [15:0] y_out;
    wire [14:0] d_out;
`ifdef PORTS_ONLY  // a netlist: its words have the length with which it was made, and nothing within has a name
    forward_cell dut (
`else
    forward_cell #(.Y_BITS(Y_BITS), .TRACE_BITS(TRACE_BITS), .ROUNDING(ROUNDING)) dut (
`endif
        .clk(clk), .clear(clear), .start(start), .c(c[i]), .wl(wl_operand[i]), .wt(wt_operand[i]), .b(b_operand[i]),
        .gain(gain[i]), .lag(lag[i]), .left(left[at]), .top(top[at]), .y(y_out), .d(d_out), .el_read(), .et_read(),
        .change(), .busy(busy), .done()
    );

    task check(input [4*8-1:0] name, input signed [31:0] got, input signed [31:0] expected);
        if (got !== expected) begin
            $display("FAIL forward_cell_tb: signal %0s image %0d cell %0d step %0d: got %0d, expected %0d", name, image,
                place, step, got, expected);
            $finish;
            #1;
        end
    endtask

    integer waiting = 0;  // for what never ends
    always @(posedge clk) begin
        waiting = busy === 1'b0 ? 0 : waiting + 1;
        if (waiting > 100) check("busy", 1, 0);
    end

    initial begin
        clocks = 0;
        i = 0;
        at = 0;
        @(negedge clk);
        for (image = 0; image < IMAGES; image = image + 1)
            for (place = 0; place < CELLS; place = place + 1) begin
                i = image * CELLS + place;
                clear = 1'b1;
                @(negedge clk) clear = 1'b0;
                for (step = 0; step < STEPS; step = step + 1) begin
                    at = i * STEPS + step;
                    start = 1'b1;
                    @(negedge clk) start = 1'b0;
                    while (busy) begin
                        clocks = clocks + 1;
                        @(negedge clk);
                    end
`ifndef PORTS_ONLY
                    check("el", dut.el, el[at]);
                    check("et", dut.et, et[at]);
`endif
                    check("y", y_out, y[at]);
                    check("d", d_out, d[at]);
                end
            end
        $display("PASS forward_cell_tb: %0d cell-steps, %0d clocks for each", STEPWISE, clocks / STEPWISE);
        $finish;
    end
endmodule
