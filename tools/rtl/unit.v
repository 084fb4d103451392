// One unit of the diagonal network: y, its traces, the gradient's sums and the update, over one 18 x 18 multiplier.
//
// A unit hears INPUTS inputs x_i and its own past. Per step, with a = 1 - c and d = 1 - y^2 (article: eq. 1, 2; the
// integers are those of fixedpoint/diagonal_kernels.py):
//
//     e_i <- e_i + c (x_i - e_i)       s = sum of W_i e_i       y = tanh(s + b)
//     eta <- eta - c eta - ratio (s - s_old)                    ds/dl; ratio = (da/dl) / c
//
// and summed over time d e_i (for W_i), d eta (l), d (b), y (V, which stands at the outputs). Times M, the message that
// comes once per image, these are the gradient. The sum of d e_i takes d and e of the step before, so that one sweep
// over the inputs does; FINISH adds the last summand.
//
// Operations: one begins in a clock with `start` and `done` and is over when `done` is high again.
//
//     BEGIN    1 clock                 a new image: traces, sums and s are 0
//     DERIVE   15 clocks               l -> c, ratio; after the parameters were loaded (ADAPT ends with it)
//     STEP     3 INPUTS + 7 clocks     one image row: x of input `index` is read in the clock after index has come
//     FINISH   INPUTS clocks           no more rows come
//     ADAPT    (INPUTS + 2) (5 + bits a step is shifted by) clocks, and about 90: M and the rule of `group` -> W, l, b
//              and their operands, c, ratio
//
// A value v of format Qn stands for v / 2^n. Words may be shorter: *_BITS are the fraction bits that are left, as the
// clauses y, self, message, weight, master and update of --disturb have it, all with one ROUNDING: 0 down, 1 to
// nearest, 2 towards zero. As they stand here the unit is the engine, bit for bit.
module unit #(
    parameter INPUTS = 28,
    parameter STEPS = 28,
    parameter GAIN = 1,  // inputs are stored divided by 2^GAIN
    parameter Y_BITS = 14,
    parameter SELF_BITS = 29,  // of e; of eta 24 at the most
    parameter MESSAGE_BITS = 22,
    parameter WEIGHT_BITS = 12,
    parameter MASTER_BITS = 26,
    parameter UPDATE_BITS = 26,
    parameter ROUNDING = 1
) (
    input clk,
    input reset,
    // A parameter from outside, Q26, while nothing runs: W at its input's place, then l, then b.
    input load,
    input [6:0] place,
    input signed [29:0] value,

    input start,
    input [2:0] operation,
    output done,

    output reg [6:0] index,  // STEP: which input is wanted
    input signed [15:0] x,  // Q14
    input signed [29:0] message,  // ADAPT: M, Q22
    output reg [1:0] group,  // ADAPT: whose rule is wanted: 0 l, 1 W, 3 b
    input [14:0] multiplier,  // rate = multiplier * 2^-shift
    input [5:0] shift,  // 14 to 40
    input signed [29:0] lowest,  // bounds of the parameter, Q26
    input signed [29:0] highest,

    output signed [15:0] y,  // Q14
    output reg signed [25:0] sum_v  // Q14 sum of y over time: logits and V's gradient are made of it
);
    localparam BEGIN = 0, DERIVE = 1, STEP = 2, FINISH = 3, ADAPT = 4;
    localparam L = 0, W = 1, B = 3;
    // bit_length(STEPS) - 2: by so many bits d is shorter as a factor, or the sums would overflow
    localparam NARROW = $clog2(STEPS + 1) > 2 ? $clog2(STEPS + 1) - 2 : 0;

    // What is cut off. Bounds are multiples of 2^-12: a master is kept with 12 bits at least, so that it can be at one.
    localparam Y_CUT = Y_BITS < 14 ? 14 - Y_BITS : 0;
    localparam E_CUT = SELF_BITS < 29 ? 29 - SELF_BITS : 0;
    localparam ETA_CUT = SELF_BITS < 24 ? 24 - SELF_BITS : 0;
    localparam MESSAGE_CUT = MESSAGE_BITS < 22 ? 22 - MESSAGE_BITS : 0;
    localparam WEIGHT_CUT = WEIGHT_BITS < 12 ? 12 - WEIGHT_BITS : 0;
    localparam MASTER_CUT = MASTER_BITS < 26 ? 26 - MASTER_BITS : 0;
    localparam KEPT_CUT = MASTER_CUT < 14 ? MASTER_CUT : 14;
    localparam UPDATE_CUT = UPDATE_BITS < 26 ? 26 - UPDATE_BITS : 0;

    localparam
        IDLE = 0,
        SUM = 1, FILTER = 2, DRIVE = 3,  // STEP, for each input
        SETTLE = 4, DRIVE_HIGH = 5, DRIVE_LOW = 6, LEAK = 7, CURVE = 8, SQUARE = 9, GATHER = 10,  // STEP, then
        LAST = 11,  // FINISH, for each input
        TABLE = 12, NEXT = 13, SLOPE_C = 14, SLOPE_DA = 15, DIVIDE = 16,  // DERIVE
        GROUP = 17, SHORTEN = 18, RATE = 19, SHORTEN_RATE = 20, ROOM = 21,  // ADAPT, for each group
        HIGH = 22, LOW = 23, LIMIT = 24, SHIFT = 25, WRITE = 26;  // ADAPT, for each parameter
    reg [4:0] state;
    assign done = state == IDLE;

    // Memories, one word per input: read one clock after the address, written where `index` (or `place`) is.
    reg signed [29-KEPT_CUT:0] masters [0:INPUTS-1];  // Q26 W
    reg signed [16-WEIGHT_CUT:0] operands [0:INPUTS-1];  // Q12 W as a factor
    reg signed [30-E_CUT:0] traces [0:INPUTS-1];  // Q29 e, read as Q14 to nearest
    reg signed [30:0] sums [0:INPUTS-1];  // Q28 - NARROW sum of d e
    reg signed [29-KEPT_CUT:0] master_read;
    reg signed [16-WEIGHT_CUT:0] operand_read;
    reg signed [30-E_CUT:0] trace_read;
    reg signed [30:0] sum_read;
    wire last = index == INPUTS - 1;
    wire forth = state == DRIVE || state == LAST || state == WRITE && group == W;  // done with this input
    wire [6:0] next = !forth ? index : last ? 7'd0 : index + 7'd1;

    reg signed [29:0] l;  // Q26, all bits: its upper bound is no multiple of anything
    reg signed [29-KEPT_CUT:0] b;  // Q26
    reg signed [16:0] c;  // Q15, 0 < c <= 1.0
    reg [16:0] da;  // Q15 da/dl
    reg [10:0] ratio;  // Q10
    reg fresh;  // no row has come yet: whatever the memories hold counts as 0
    reg signed [18:0] s;  // Q14, saturated at 16.0
    reg signed [19:0] change;  // Q14 s - s_old
    reg signed [30-ETA_CUT:0] eta;  // Q24 ds/dl, read as Q9 to nearest
    reg signed [15-Y_CUT:0] y_kept;  // Q14
    reg [14:0] d;  // Q14 1 - y^2
    reg signed [30:0] sum_l;  // Q23 - NARROW sum of d eta
    reg [24:0] sum_b;  // Q14 sum of d
    reg signed [15:0] e_new;  // Q14 e_i of this step
    reg signed [30:0] total;  // Q20 sum of W e, from half an LSB of s on; then Q24 ratio (s - s_old)

    reg signed [30:0] factor;  // M; M times multiplier: first 15 bits of it, then 14, and an exponent
    reg [30:0] size;  // its magnitude, as it loses its last bits
    reg carry;  // the last of the bits lost: what is to be added for nearest
    reg signed [6:0] down;  // by how many bits a step is shifted right
    reg [5:0] count;  // shifts to do
    reg [28:0] most;  // a step that may be shifted left, Q26: below 8.0 when it has been
    reg signed [30:0] step;  // Q26 when it has been shifted
    reg moves;  // it was not 0 before

    reg [15:0] remainder;  // of the division
    reg [10:0] quotient;  // bits still to divide, and of the result
    wire [16:0] dividend = {remainder, quotient[10]};
    wire fits = dividend >= c;

    // Tables, at steps of 1/64 and 1/32 (fixedpoint/tables.py), linear between them.
    wire [13:0] tanh_read;
    wire [15:0] c_read, da_read;
    reg [13:0] tanh_low;
    wire signed [29:0] b_full = b <<< KEPT_CUT;
    wire signed [17:0] b_operand = (b_full + 30'sd2048) >>> 12;  // Q14
    wire signed [19:0] drive = s + b_operand;
    wire [19:0] magnitude = drive < 0 ? -drive : drive;
    wire [16:0] at_tanh = |magnitude[19:17] ? 17'h1ffff : magnitude[16:0];  // beyond 8.0 tanh is saturated
    wire [29:0] at_l = l + 30'sd268435456;  // l + 4.0
    wire [9:0] tanh_address = at_tanh[16:8] + (state != DRIVE_HIGH);
    wire [9:0] l_address = at_l[29:21] + (state != TABLE);
    rom #(.FILE("tables/tanh.mem"), .ENTRIES(513), .WIDTH(14)) of_tanh (
        .clk(clk), .address(tanh_address), .entry(tanh_read)
    );
    rom #(.FILE("tables/c.mem"), .ENTRIES(321)) of_c (.clk(clk), .address(l_address), .entry(c_read));
    rom #(.FILE("tables/da.mem"), .ENTRIES(321)) of_da (.clk(clk), .address(l_address), .entry(da_read));

    // Readings of the accumulators
    wire signed [30:0] e_full = trace_read <<< E_CUT;
    wire signed [15:0] e_value = fresh ? 16'sd0 : (e_full + 31'sd16384) >>> 15;
    wire signed [30:0] eta_full = eta <<< ETA_CUT;
    wire signed [15:0] eta_value = (eta_full + 31'sd16384) >>> 15;
    wire signed [15:0] d_factor = ({2'b0, d} + ((1 << NARROW) >> 1)) >> NARROW;  // Q14 - NARROW
    wire signed [30:0] sum_full = group == W ? sum_read : group == L ? sum_l : {6'b0, sum_b};

    // The multiplier
    reg signed [17:0] p, q;
    wire signed [35:0] product = p * q;
    always @* begin
        p = 0;
        q = 0;
        case (state)
            SUM, LAST: begin p = e_value; q = d_factor; end
            FILTER: begin p = x - e_value; q = c; end
            DRIVE: begin p = e_new; q = operand_read <<< WEIGHT_CUT; end
            DRIVE_HIGH: begin p = change >>> 10; q = {7'b0, ratio}; end
            DRIVE_LOW: begin p = {8'b0, change[9:0]}; q = {7'b0, ratio}; end
            LEAK: begin p = eta_value; q = c; end
            CURVE: begin p = {4'b0, tanh_read} - {4'b0, tanh_low}; q = {10'b0, at_tanh[7:0]}; end
            SQUARE: begin p = y; q = y; end
            GATHER: begin p = eta_value; q = d_factor; end
            SLOPE_C: begin p = {2'b0, c_read} - c; q = {6'b0, at_l[20:9]}; end
            SLOPE_DA: begin p = {2'b0, da_read} - {1'b0, da}; q = {6'b0, at_l[20:9]}; end
            RATE: begin p = factor[17:0] + carry; q = {3'b0, multiplier}; end
            HIGH: begin p = sum_full >>> 15; q = factor; end
            LOW: begin p = {3'b0, sum_full[14:0]}; q = factor; end
            default: ;
        endcase
    end

    // What becomes of it
    wire signed [30:0] sum_new = (fresh ? 31'sd0 : sum_read) + product;
    wire signed [31:0] e_next = (fresh ? 31'sd0 : e_full) + product;
    wire signed [31:0] eta_next = eta_full - total - product;
    wire signed [30:0] s_wide = total >>> (6 - GAIN);
    wire signed [18:0] s_next = s_wide > 262143 ? 262143 : s_wide < -262144 ? -262144 : s_wide;
    wire signed [16:0] y_size = $signed({3'b0, tanh_low}) + ((product + 128) >>> 8);
    wire signed [16:0] y_next = drive < 0 ? -y_size : y_size;
    wire signed [27:0] d_loss = (product + 8192) >>> 14;
    wire signed [16:0] c_more = (product + 2048) >>> 12;  // of c or da/dl
    wire [26:0] da_share = ({da + c_more, 10'b0}) + c[16:1];
    wire signed [31:0] e_round, eta_round, step_round, master_round;
    wire signed [16:0] y_round;
    wire signed [30:0] message_round;
    wire signed [17:0] operand;
    round #(.IN(32), .DROP(E_CUT), .MODE(ROUNDING)) of_e (.x(e_next), .y(e_round));
    round #(.IN(32), .DROP(ETA_CUT), .MODE(ROUNDING)) of_eta (.x(eta_next), .y(eta_round));
    round #(.IN(17), .DROP(Y_CUT), .MODE(ROUNDING)) of_y (.x(y_next), .y(y_round));
    round #(.IN(31), .DROP(MESSAGE_CUT), .MODE(ROUNDING)) of_message (.x({message[29], message}), .y(message_round));

    wire signed [31:0] step_whole = step + $signed({1'b0, carry});
    round #(.IN(32), .DROP(UPDATE_CUT), .MODE(ROUNDING)) of_step (.x(step_whole), .y(step_round));
    wire signed [29:0] held = group == W ? master_read <<< KEPT_CUT : group == L ? l : b_full;
    wire signed [31:0] moved = held - step_round;
    round #(.IN(32), .DROP(MASTER_CUT), .MODE(ROUNDING)) of_master (.x(moved), .y(master_round));
    wire signed [29:0] bounded =
        master_round < lowest ? lowest : master_round > highest ? highest : master_round[29:0];
    wire signed [29:0] master = load ? value : bounded;
    wire signed [17:0] operand_whole = (master + 30'sd8192) >>> 14;
    round #(.IN(18), .DROP(WEIGHT_CUT), .MODE(ROUNDING)) of_operand (.x(operand_whole), .y(operand));

    wire write = state == WRITE && moves;  // a step of 0 leaves a parameter as it is, be it rounded or not
    assign y = y_kept <<< Y_CUT;

    always @(posedge clk) begin
        master_read <= masters[next];
        operand_read <= operands[next];
        trace_read <= traces[next];
        sum_read <= sums[next];
        if (load ? place < INPUTS : write && group == W) begin
            masters[load ? place : index] <= master >>> KEPT_CUT;
            operands[load ? place : index] <= operand >>> WEIGHT_CUT;
        end
        if (state == FILTER) traces[index] <= e_round >>> E_CUT;
        if (state == SUM || state == LAST) sums[index] <= sum_new;
    end

    always @(posedge clk) begin
        index <= next;
        if (load ? place == INPUTS : write && group == L) l <= master;
        if (load ? place == INPUTS + 1 : write && group == B) b <= master >>> KEPT_CUT;
        case (state)
            IDLE: if (start) begin
                case (operation)
                    BEGIN: begin
                        fresh <= 1;
                        s <= 0;
                        eta <= 0;
                        d <= 0;
                        sum_l <= 0;
                        sum_b <= 0;
                        sum_v <= 0;
                    end
                    DERIVE: state <= TABLE;
                    STEP: state <= SUM;
                    FINISH: state <= LAST;
                    ADAPT: state <= GROUP;
                    default: ;
                endcase
                total <= (1 << (6 - GAIN)) >> 1;
                group <= W;
            end

            SUM: state <= FILTER;
            FILTER: begin
                e_new <= (e_round + 32'sd16384) >>> 15;
                state <= DRIVE;
            end
            DRIVE: begin
                total <= total + (product >>> 6);
                state <= last ? SETTLE : SUM;
            end
            SETTLE: begin
                s <= s_next;
                change <= s_next - s;
                state <= DRIVE_HIGH;
            end
            DRIVE_HIGH: begin
                total <= product <<< 10;
                state <= DRIVE_LOW;
            end
            DRIVE_LOW: begin
                total <= total + product;
                tanh_low <= tanh_read;
                state <= LEAK;
            end
            LEAK: begin
                eta <= eta_round >>> ETA_CUT;
                state <= CURVE;
            end
            CURVE: begin
                y_kept <= y_round >>> Y_CUT;
                state <= SQUARE;
            end
            SQUARE: begin
                d <= 15'd16384 - d_loss;
                state <= GATHER;
            end
            GATHER: begin
                sum_l <= sum_l + product;
                sum_b <= sum_b + d;
                sum_v <= sum_v + y;
                fresh <= 0;
                state <= IDLE;
            end

            LAST: if (last) state <= IDLE;

            TABLE: state <= NEXT;
            NEXT: begin
                c <= c_read;
                da <= da_read;
                state <= SLOPE_C;
            end
            SLOPE_C: begin
                c <= c + c_more;
                state <= SLOPE_DA;
            end
            SLOPE_DA: begin
                {remainder, quotient} <= da_share;
                count <= 11;
                state <= DIVIDE;
            end
            DIVIDE: begin
                remainder <= fits ? dividend - c : dividend;
                quotient <= {quotient[9:0], fits};
                count <= count - 1;
                if (count == 1) begin
                    ratio <= {quotient[9:0], fits};
                    state <= IDLE;
                end
            end

            GROUP: begin
                factor <= message_round;
                size <= message_round < 0 ? -message_round : message_round;
                carry <= 0;
                down <= $signed({1'b0, shift}) - 19 + (group == W ? 28 - NARROW - GAIN : group == L ? 23 - NARROW : 14);
                state <= SHORTEN;
            end
            SHORTEN, SHORTEN_RATE:
                if (state == SHORTEN ? size[30:15] != 0 : size[30:14] != 0) begin
                    size <= size >> 1;
                    factor <= factor >>> 1;
                    carry <= factor[0];
                    down <= down - 1;
                end else if (state == SHORTEN) state <= RATE;
                else begin
                    factor <= factor + $signed({1'b0, carry});
                    count <= down < 0 ? -down : 0;
                    most <= 29'h1fffffff;
                    state <= ROOM;
                end
            RATE: begin
                factor <= product;
                size <= product < 0 ? -product : product;
                carry <= 0;
                state <= SHORTEN_RATE;
            end
            ROOM:
                if (count != 0) begin
                    most <= most >> 1;
                    count <= count - 1;
                end else state <= HIGH;
            HIGH: begin
                step <= product;
                state <= LOW;
            end
            LOW: begin
                step <= step + (product >>> 15);
                state <= LIMIT;
            end
            LIMIT: begin
                moves <= step != 0;
                carry <= 0;
                count <= down < 0 ? -down : down;
                if (down <= 0 && step > $signed({1'b0, most})) step <= most;
                if (down <= 0 && step < -$signed({1'b0, most})) step <= -$signed({1'b0, most});
                state <= SHIFT;
            end
            SHIFT:
                if (count != 0) begin
                    step <= down < 0 ? step <<< 1 : step >>> 1;
                    carry <= down > 0 && step[0];
                    count <= count - 1;
                end else state <= WRITE;
            WRITE:
                if (group == W && !last) state <= HIGH;
                else begin
                    group <= group == W ? L : B;
                    state <= group == B ? TABLE : GROUP;
                end
            default: state <= IDLE;
        endcase
        if (reset) begin
            state <= IDLE;
            index <= 0;
        end
    end
endmodule
