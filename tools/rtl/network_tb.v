// Trains the network on the images of level "network" (python -m tools.vectors) and holds everything against the
// vectors: logits, delta, y and message of every cell at every step, gradients, parameters after each update, and the
// digest. Runs in the vectors' directory. Prints PASS, or the first signal, image, cell and step that differ.
`timescale 1ns / 1ns
`define SIGNED(name, width, count, file) reg signed [width-1:0] name[0:count-1]; initial $readmemh(file, name);
`define NATURAL(name, width, count, file) reg [width-1:0] name[0:count-1]; initial $readmemh(file, name);
module network_tb;
    parameter IMAGES = 1, SCALE = 4112, GAIN = 0, COOL = 0;
    parameter Y_BITS = 14, TRACE_BITS = 29, CROSS_BITS = 29, MESSAGE_BITS = 22, WEIGHT_BITS = 14, MASTER_BITS = 26;
    parameter UPDATE_BITS = 26, ROUNDING = 1;
    localparam [1:0] DERIVE_ONLY = 0, CLASSIFY = 1, TRAIN = 2;
    `include "wiring.vh"

    `NATURAL(pixel, 8, IMAGES * STEPS * INPUTS, "network/pixel.mem")
    `NATURAL(label, 6, IMAGES, "network/label.mem")
    `NATURAL(prediction, 6, IMAGES, "network/prediction.mem")
    `NATURAL(digest, 32, IMAGES, "network/digest.mem")
    `NATURAL(step_after, 32, IMAGES, "network/step.mem")
    `SIGNED(logit, 29, IMAGES * OUTPUTS, "network/logit.mem")
    `SIGNED(delta, 30, IMAGES * OUTPUTS, "network/delta.mem")
    `SIGNED(y, 16, IMAGES * CELLS * STEPS, "network/y.mem")
    `SIGNED(message, 30, IMAGES * CELLS * STEPS, "network/message.mem")
    `NATURAL(exponent, 6, IMAGES * CELLS, "network/exponent.mem")
    `SIGNED(gradient_l, 31, IMAGES * CELLS, "network/gradient_l.mem")
    `SIGNED(gradient_wl, 31, IMAGES * CELLS, "network/gradient_wl.mem")
    `SIGNED(gradient_wt, 31, IMAGES * CELLS, "network/gradient_wt.mem")
    `SIGNED(gradient_b, 31, IMAGES * CELLS, "network/gradient_b.mem")
    `SIGNED(l_after, 30, IMAGES * CELLS, "network/l_after.mem")
    `SIGNED(wl_after, 30, IMAGES * CELLS, "network/wl_after.mem")
    `SIGNED(wt_after, 30, IMAGES * CELLS, "network/wt_after.mem")
    `SIGNED(b_after, 30, IMAGES * CELLS, "network/b_after.mem")
    `SIGNED(l, 30, CELLS, "network/l.mem")
    `SIGNED(wl, 30, CELLS, "network/wl.mem")
    `SIGNED(wt, 30, CELLS, "network/wt.mem")
    `SIGNED(b, 30, CELLS, "network/b.mem")
    `NATURAL(multiplier_l, 15, IMAGES, "network/multiplier_l.mem")
    `NATURAL(multiplier_wl, 15, IMAGES, "network/multiplier_wl.mem")
    `NATURAL(multiplier_wt, 15, IMAGES, "network/multiplier_wt.mem")
    `NATURAL(multiplier_b, 15, IMAGES, "network/multiplier_b.mem")
    `NATURAL(shift_l, 6, IMAGES, "network/shift_l.mem")
    `NATURAL(shift_wl, 6, IMAGES, "network/shift_wl.mem")
    `NATURAL(shift_wt, 6, IMAGES, "network/shift_wt.mem")
    `NATURAL(shift_b, 6, IMAGES, "network/shift_b.mem")
    `SIGNED(lowest_l, 30, IMAGES, "network/lowest_l.mem")
    `SIGNED(lowest_wl, 30, IMAGES, "network/lowest_wl.mem")
    `SIGNED(lowest_wt, 30, IMAGES, "network/lowest_wt.mem")
    `SIGNED(lowest_b, 30, IMAGES, "network/lowest_b.mem")
    `SIGNED(highest_l, 30, IMAGES, "network/highest_l.mem")
    `SIGNED(highest_wl, 30, IMAGES, "network/highest_wl.mem")
    `SIGNED(highest_wt, 30, IMAGES, "network/highest_wt.mem")
    `SIGNED(highest_b, 30, IMAGES, "network/highest_b.mem")

    reg clk = 1'b0;
    always #1 clk = !clk;
    integer clocks = 0;
    always @(posedge clk) clocks = clocks + 1;

    integer image, place, step, i, k;
    reg reset = 1'b1, start = 1'b0, pixel_write = 1'b0, master_write = 1'b0;
    reg [1:0] command, master_kind;
    reg [15:0] pixel_address, master_cell;
    reg [7:0] pixel_value;
    reg signed [29:0] master_value;
    wire busy, stepped;
    wire [1:0] sweep;
    wire [9:0] t;
    wire [5:0] best;
    network #(
        .Y_BITS(Y_BITS), .TRACE_BITS(TRACE_BITS), .CROSS_BITS(CROSS_BITS), .MESSAGE_BITS(MESSAGE_BITS),
        .WEIGHT_BITS(WEIGHT_BITS), .MASTER_BITS(MASTER_BITS), .UPDATE_BITS(UPDATE_BITS), .ROUNDING(ROUNDING)
    ) dut (
        .clk(clk), .reset(reset), .start(start), .command(command), .busy(busy), .pixel_write(pixel_write),
        .pixel_address(pixel_address), .pixel(pixel_value), .scale(SCALE[12:0]), .gain(GAIN[2:0]), .cool(COOL[2:0]),
        .label(label[image]), .best(best), .master_write(master_write), .master_cell(master_cell),
        .master_kind(master_kind), .master_value(master_value),
        .multipliers({multiplier_b[image], multiplier_wt[image], multiplier_wl[image], multiplier_l[image]}),
        .shifts({shift_b[image], shift_wt[image], shift_wl[image], shift_l[image]}),
        .lowest({lowest_b[image], lowest_wt[image], lowest_wl[image], lowest_l[image]}),
        .highest({highest_b[image], highest_wt[image], highest_wl[image], highest_l[image]}), .sweep(sweep), .t(t),
        .stepped(stepped)
    );

    // What lies in the cells

    wire [CELLS*31-1:0] gradients_l, gradients_wl, gradients_wt, gradients_b;
    wire [CELLS*30-1:0] masters_l, masters_wl, masters_wt, masters_b;
    wire [CELLS*6-1:0] exponents;
    genvar p;
    generate
        for (p = 0; p < CELLS; p = p + 1) begin : probe
            assign gradients_l[p*31+:31] = dut.at_place[p].one.gradient[0];
            assign gradients_wl[p*31+:31] = dut.at_place[p].one.gradient[1];
            assign gradients_wt[p*31+:31] = dut.at_place[p].one.gradient[2];
            assign gradients_b[p*31+:31] = dut.at_place[p].one.gradient[3];
            assign exponents[p*6+:6] = dut.at_place[p].one.exponent;
            assign masters_l[p*30+:30] = dut.at_place[p].one.l;
            assign masters_wl[p*30+:30] = dut.at_place[p].one.masters[1] << dut.at_place[p].one.MASTER_CUT;
            assign masters_wt[p*30+:30] = dut.at_place[p].one.masters[2] << dut.at_place[p].one.MASTER_CUT;
            assign masters_b[p*30+:30] = dut.at_place[p].one.masters[3] << dut.at_place[p].one.MASTER_CUT;
        end
    endgenerate

    task check(input [12*8-1:0] name, input signed [31:0] got, input signed [31:0] expected);
        if (got !== expected) begin
            $display("FAIL network_tb: signal %0s image %0d cell %0d step %0d: got %0d, expected %0d", name, image,
                place, step, got, expected);
            $finish;
            #1;
        end
    endtask

    integer waiting = 0;  // for what never ends
    always @(posedge clk) begin
        waiting = busy === 1'b0 ? 0 : waiting + 1;
        if (waiting > STEPS * (3 * INPUTS + 60 * (DEEPEST + HIGHEST) + 300) + 100 * (OUTPUTS + CELLS) + 10000) begin
            place = -1;
            check("busy", 1, 0);
        end
    end

    task run(input [1:0] what);
        begin
            command = what;
            start = 1'b1;
            @(negedge clk) start = 1'b0;
            while (busy) begin
                if (stepped) check_step;
                @(negedge clk);
            end
        end
    endtask

    task check_step;
        begin
            step = t;
            for (place = 0; place < CELLS; place = place + 1) begin
                i = (image * CELLS + place) * STEPS + step;
                check("y", $signed(dut.y[place*16+:16]), y[i]);
                if (sweep != 0) check("message", $signed(dut.message[place*30+:30]), message[i]);
            end
            if (sweep == 0 && t == STEPS - 1)
                for (place = 0; place < OUTPUTS; place = place + 1) begin
                    check("logit", $signed(dut.logits[place*25+:25]), logit[image*OUTPUTS+place]);
                    check("delta", $signed(dut.delta[place*30+:30]), delta[image*OUTPUTS+place]);
                end
        end
    endtask

    task set(input [15:0] cell_number, input [1:0] kind, input signed [29:0] value);
        begin
            master_write = 1'b1;
            master_cell = cell_number;
            master_kind = kind;
            master_value = value;
            @(negedge clk) master_write = 1'b0;
        end
    endtask

    // CRC-32 (polynomial EDB88320) of a word, its lowest byte first, going on from another

    function [31:0] crc(input [31:0] so_far, input [31:0] word);
        integer n;
        begin
            crc = ~so_far;
            for (n = 0; n < 32; n = n + 1) crc = (crc >> 1) ^ (crc[0] ^ word[n] ? 32'hedb88320 : 32'd0);
            crc = ~crc;
        end
    endfunction

    reg [31:0] found;
    initial begin
        image = 0;
        step = -1;
        @(negedge clk) reset = 1'b0;
        for (place = 0; place < CELLS; place = place + 1) begin
            set(place, 0, l[place]);
            set(place, 1, wl[place]);
            set(place, 2, wt[place]);
            set(place, 3, b[place]);
        end
        run(DERIVE_ONLY);
        clocks = 0;
        for (image = 0; image < IMAGES; image = image + 1) begin
            $display("%0d of %0d", image, IMAGES);
            $fflush;
            for (k = 0; k < STEPS * INPUTS; k = k + 1) begin
                pixel_write = 1'b1;
                pixel_address = k;
                pixel_value = pixel[image*STEPS*INPUTS+k];
                @(negedge clk);
            end
            pixel_write = 1'b0;
            if (image == 0) begin
                run(CLASSIFY);
                place = -1;
                check("classified", best, prediction[image]);
                clocks = 0;
            end else clocks = clocks - STEPS * INPUTS;
            run(TRAIN);
            step = STEPS;
            place = -1;
            check("prediction", best, prediction[image]);
            found = 32'd0;
            for (place = 0; place < CELLS; place = place + 1) begin
                i = image * CELLS + place;
                check("exponent", exponents[place*6+:6], exponent[i]);
                check("gradient_l", $signed(gradients_l[place*31+:31]), gradient_l[i]);
                check("gradient_wl", $signed(gradients_wl[place*31+:31]), gradient_wl[i]);
                check("gradient_wt", $signed(gradients_wt[place*31+:31]), gradient_wt[i]);
                check("gradient_b", $signed(gradients_b[place*31+:31]), gradient_b[i]);
                check("l_after", $signed(masters_l[place*30+:30]), l_after[i]);
                check("wl_after", $signed(masters_wl[place*30+:30]), wl_after[i]);
                check("wt_after", $signed(masters_wt[place*30+:30]), wt_after[i]);
                check("b_after", $signed(masters_b[place*30+:30]), b_after[i]);
                found = crc(found, $signed(masters_l[place*30+:30]));
                found = crc(found, $signed(masters_wl[place*30+:30]));
                found = crc(found, $signed(masters_wt[place*30+:30]));
                found = crc(found, $signed(masters_b[place*30+:30]));
            end
            place = -1;
            found = crc(found, step_after[image]);
            check("digest", found, digest[image]);
        end
        $display("PASS network_tb: %0d images, %0d cells, digest %h, %0d clocks for an image", IMAGES, CELLS, found,
            clocks / IMAGES);
        $finish;
    end
endmodule
