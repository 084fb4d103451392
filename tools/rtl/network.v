// Cells that learn, wired as "wiring.vh" says (a lattice, forest, small world or skip lines: python -m tools.vectors
// writes it): nothing but wires between the cells. All step together; within a step y ripples from the inputs to the
// outputs, one wave of cells after the other, and messages ripple back.
//
// Per image three sweeps over its rows: 0 forward, for the logits, which softmax turns to delta; 1 messages, whose
// largest sets how many bits of them count as factors; 2 traces and gradients. Then one SGD step in all cells at once.
//
// wiring.vh has, of so many CELLS, INPUTS, OUTPUTS, STEPS: of each cell LEFT and TOP, whom it hears (a cell; CELLS + i,
// input i; NOBODY), RIGHT and BELOW, who hears it (a cell; CELLS + j, output j; NOBODY), DEPTH and HEIGHT, its wave on
// the way forward and back, as numbers of WAVE bits, GAINED and LAGGED, whether its inputs are scaled; and of each
// output its cell, END.
module network #(
    parameter Y_BITS = 14,  // word lengths: see learning_cell.v
    parameter TRACE_BITS = 29,
    parameter CROSS_BITS = 29,
    parameter MESSAGE_BITS = 22,
    parameter WEIGHT_BITS = 14,
    parameter MASTER_BITS = 26,
    parameter UPDATE_BITS = 26,
    parameter ROUNDING = 1
) (
    input clk,
    input reset,
    input start,
    input [1:0] command,  // DERIVE after parameters were written, CLASSIFY, TRAIN
    output busy,

    input pixel_write,
    input [15:0] pixel_address,  // row of the image times INPUTS, and pixel
    input [7:0] pixel,
    input [12:0] scale,  // of a pixel: x = pixel * scale / 64
    input [2:0] gain,  // binary exponent of the inputs
    input [2:0] cool,  // logits are divided by 2**cool before the softmax
    input [5:0] label,
    output [5:0] best,

    input master_write,
    input [15:0] master_cell,
    input [1:0] master_kind,
    input signed [29:0] master_value,
    // rate = multiplier * 2**-shift and bounds, of l, wL, wT, b, from the right
    input [59:0] multipliers,
    input [23:0] shifts,
    input [119:0] lowest,
    input [119:0] highest,

    output reg [1:0] sweep,
    output reg [9:0] t,
    output stepped  // in a step's last clock
);
    localparam [15:0] NOBODY = 16'hffff;
    `include "wiring.vh"
    localparam MANTISSA = 16 - $clog2(STEPS + 1);  // bits of a message as a factor
    localparam [1:0] DERIVE_ONLY = 0, TRAIN = 2;  // 1: CLASSIFY
    localparam [2:0] FORWARD = 0, MESSAGE = 1, LEARN = 2, FINISH = 3, UPDATE = 4, DERIVE = 5;  // learning_cell.v

    // The sequencer

    localparam [2:0] IDLE = 0, CLEAR = 1, LOAD = 2, START = 3, WAIT = 4, COUNT = 5, SOFTMAX = 6, NEXT = 7;
    reg [2:0] state;
    reg [1:0] task_now;
    reg [2:0] operation;
    reg [WAVE-1:0] wave;  // the cells whose turn it is
    reg [15:0] at;  // input that is loaded, cell that derives
    wire [CELLS-1:0] running, done;
    wire softmax_busy;
    wire softmax_start = state == COUNT && t == STEPS - 1;
    reg counted;  // all logits are there: softmax begins
    always @(posedge clk) counted <= softmax_start;
    assign busy = state != IDLE;
    assign stepped = state == NEXT;
    always @(posedge clk)
        if (reset) state <= IDLE;
        else
            case (state)
                IDLE:
                if (start) begin
                    task_now <= command;
                    sweep <= 2'd0;
                    t <= 10'd0;
                    at <= 16'd0;
                    operation <= DERIVE;
                    state <= command == DERIVE_ONLY ? START : CLEAR;
                end
                CLEAR: state <= LOAD;
                LOAD: begin
                    at <= at == INPUTS ? 16'd0 : at + 16'd1;
                    operation <= FORWARD;
                    wave <= 0;
                    if (at == INPUTS) state <= START;
                end
                START: state <= WAIT;
                WAIT:
                if ((running & ~done) == 0) begin
                    state <= START;
                    case (operation)
                        FORWARD:
                        if (wave != DEEPEST) wave <= wave + 1'b1;
                        else begin
                            wave <= 0;
                            if (sweep == 2'd0) state <= COUNT;
                            else operation <= MESSAGE;
                        end
                        MESSAGE:
                        if (wave != HIGHEST) wave <= wave + 1'b1;
                        else if (sweep == 2'd1) state <= NEXT;
                        else operation <= LEARN;
                        LEARN: state <= NEXT;
                        FINISH: operation <= UPDATE;
                        UPDATE: operation <= DERIVE;
                        default: begin
                            at <= at + 16'd1;
                            if (at == CELLS - 1) state <= IDLE;
                        end
                    endcase
                end
                COUNT: state <= t == STEPS - 1 ? SOFTMAX : NEXT;
                SOFTMAX: if (!counted && !softmax_busy) state <= task_now == TRAIN ? NEXT : IDLE;
                default: begin  // NEXT
                    state <= LOAD;
                    t <= t + 10'd1;
                    if (t == STEPS - 1) begin
                        t <= 10'd0;
                        sweep <= sweep + 2'd1;
                        state <= CLEAR;
                        if (sweep == 2'd2) begin
                            operation <= FINISH;
                            state <= START;
                        end
                    end
                end
            endcase

    // The image, and the inputs of this step: x = pixel * scale / 64, Q14, down

    reg [7:0] pixels[0:INPUTS*STEPS-1];
    reg [7:0] fetched;
    wire [20:0] scaled = fetched * scale;
    reg [INPUTS*16-1:0] inputs;
    always @(posedge clk) begin
        if (pixel_write) pixels[pixel_address] <= pixel;
        fetched <= pixels[t*INPUTS+at];
        if (state == LOAD && at != 16'd0) inputs[(at-16'd1)*16+:16] <= {1'b0, scaled[20:6]};
    end

    // The cells, and the wires between them, numbered in raster order

    wire [CELLS*16-1:0] y;
    wire [CELLS*30-1:0] message;
    wire [CELLS*17-1:0] factor, c, kl, kt, wl, wt;
    wire [CELLS*6-1:0] lost;
    wire [CELLS*10-1:0] table_address;
    wire [OUTPUTS*30-1:0] delta;
    wire [15:0] c_entry, da_entry;
    wire [9:0] address = table_address[at*10+:10];
    rom #(.FILE("tables/c.mem"), .ENTRIES(321)) c_table (.clk(clk), .address(address), .entry(c_entry));
    rom #(.FILE("tables/da.mem"), .ENTRIES(321)) da_table (.clk(clk), .address(address), .entry(da_entry));

    genvar p, j;
    generate
        for (p = 0; p < CELLS; p = p + 1) begin : at_place
            localparam [15:0] SOURCE = LEFT[p*16+:16], ABOVE = TOP[p*16+:16];
            localparam [15:0] FIRST = RIGHT[p*16+:16], SECOND = BELOW[p*16+:16];
            wire signed [15:0] left, top;
            wire [1:0] kind;
            wire signed [29:0] message_right, message_below;
            wire signed [16:0] factor_right, factor_below, k_right, k_below, w_right, w_below;
            wire [16:0] c_right, c_below;
            wire [5:0] lost_right, lost_below;
            if (SOURCE == NOBODY) begin : no_left
                assign left = 16'sd0;
            end else if (SOURCE >= CELLS) begin : from_input
                assign left = inputs[(SOURCE-CELLS)*16+:16];
            end else begin : from_left
                assign left = y[SOURCE*16+:16];
            end
            if (ABOVE == NOBODY) begin : no_top
                assign top = 16'sd0;
            end else if (ABOVE >= CELLS) begin : from_second_input
                assign top = inputs[(ABOVE-CELLS)*16+:16];
            end else begin : from_top
                assign top = y[ABOVE*16+:16];
            end
            if (FIRST == NOBODY) begin : to_nobody
                assign {message_right, factor_right, lost_right} = 53'd0;
                assign {c_right, k_right, w_right} = 51'd0;
            end else begin : to_right
                assign {message_right, factor_right, lost_right} =
                    {message[FIRST*30+:30], factor[FIRST*17+:17], lost[FIRST*6+:6]};
                assign {c_right, k_right, w_right} = {c[FIRST*17+:17], kl[FIRST*17+:17], wl[FIRST*17+:17]};
            end
            if (SECOND == NOBODY) begin : to_nobody_below
                assign {message_below, factor_below, lost_below} = 53'd0;
                assign {c_below, k_below, w_below} = 51'd0;
            end else if (SECOND >= CELLS) begin : to_output  // with c = w = 1, whose message is delta at every step
                assign message_below = delta[(SECOND-CELLS)*30+:30];
                block_factor #(.MANTISSA(MANTISSA)) readout (
                    .peak(message_below[29] ? -message_below : message_below), .message(message_below),
                    .lost(lost_below), .factor(factor_below)
                );
                assign {c_below, k_below, w_below} = {17'd32768, 17'd4096, 17'd4096};
            end else begin : to_below
                assign {message_below, factor_below, lost_below} =
                    {message[SECOND*30+:30], factor[SECOND*17+:17], lost[SECOND*6+:6]};
                assign {c_below, k_below, w_below} = {c[SECOND*17+:17], kt[SECOND*17+:17], wt[SECOND*17+:17]};
            end
            learning_cell #(
                .MANTISSA(MANTISSA), .Y_BITS(Y_BITS), .TRACE_BITS(TRACE_BITS), .CROSS_BITS(CROSS_BITS),
                .MESSAGE_BITS(MESSAGE_BITS), .WEIGHT_BITS(WEIGHT_BITS), .MASTER_BITS(MASTER_BITS),
                .UPDATE_BITS(UPDATE_BITS), .ROUNDING(ROUNDING)
            ) one (
                .clk(clk), .clear(reset || state == CLEAR), .clear_peak(state == CLEAR && sweep == 2'd0),
                .learning(sweep == 2'd2), .operation(operation), .busy(running[p]), .done(done[p]),
                .start(state == START && (operation == DERIVE ? at == p
                    : operation == FORWARD ? wave == DEPTH[p*WAVE+:WAVE]
                    : operation == MESSAGE ? wave == HEIGHT[p*WAVE+:WAVE] : 1'b1)),
                .gain(GAINED[p] ? gain : 3'd0), .lag(LAGGED[p] ? gain : 3'd0), .left(left), .top(top), .y(y[p*16+:16]),
                .message_right(message_right), .message_below(message_below), .factor_right(factor_right),
                .factor_below(factor_below), .lost_right(lost_right), .lost_below(lost_below), .c_right(c_right),
                .c_below(c_below), .k_right(k_right), .k_below(k_below), .w_right(w_right), .w_below(w_below),
                .message(message[p*30+:30]), .factor(factor[p*17+:17]), .lost(lost[p*6+:6]), .c(c[p*17+:17]),
                .kl(kl[p*17+:17]), .kt(kt[p*17+:17]), .wl(wl[p*17+:17]), .wt(wt[p*17+:17]),
                .write(master_write && master_cell == p), .write_kind(master_kind), .write_value(master_value),
                .rule_kind(kind), .multiplier(multipliers[kind*15+:15]), .shift(shifts[kind*6+:6]),
                .lowest(lowest[kind*30+:30]), .highest(highest[kind*30+:30]),
                .table_address(table_address[p*10+:10]), .c_entry(c_entry), .da_entry(da_entry)
            );
        end
    endgenerate

    // Logits: what each output's cell says, summed up over time

    reg [OUTPUTS*25-1:0] logits;
    generate
        for (j = 0; j < OUTPUTS; j = j + 1) begin : output_of
            wire signed [15:0] said = y[END[j*16+:16]*16+:16];
            wire signed [24:0] so_far = logits[j*25+:25];
            wire signed [24:0] with_it = so_far + said;
            always @(posedge clk)
                if (state == CLEAR && sweep == 2'd0) logits[j*25+:25] <= 25'd0;
                else if (state == COUNT) logits[j*25+:25] <= with_it;
        end
    endgenerate
    softmax #(.COLS(OUTPUTS)) errors (
        .clk(clk), .start(counted), .logits(logits), .label(label), .cool(cool), .delta(delta), .best(best),
        .busy(softmax_busy)
    );
endmodule
