// A cell that learns by SnAP-1 (article, eq. 3 to 9): forward_cell.v, eleven eligibility traces, message, gradient, SGD
// step.
//
// Two multipliers: that of the forward half, and one for all the rest. What a cell is told to do, and in how many
// clocks:
//
//   FORWARD  8   left, top -> y, d, el, et; in the learning sweep, beside it, eta
//   MESSAGE  6   messages of the descendants -> message = m d; peak
//   LEARN   20   for l, wL, wT, b: what it does to y, the cross traces through both descendants, the gradient's sums
//   FINISH       sums times w of the descendants, added under one exponent -> gradient
//   UPDATE       master <- master - rate gradient, within bounds
//   DERIVE   7   masters -> operands
//
// FINISH and UPDATE, once an image, shift bit by bit by what the data say: some 120 and 60 clocks.
//
// Side 0 is the right descendant, which hears this cell on its left input, side 1 the one below, on its top input. A
// descendant that is not there has c = w = k = 0. Kinds: 0 l, 1 wL, 2 wT, 3 b.
// Formats: masters Q26; c, da Q15; wl, wt, k, w Q12; b Q14; y, d Q14; message Q22; eta Q(26 + fine); cross traces Q29,
// of l Q(25 + fine); each accumulator with half an LSB of what is read of it. fixedpoint/README.md says why.
module learning_cell #(
    parameter MANTISSA = 11,  // bits of a message as a factor of the gradient: 16 - bit_length(steps)
    parameter Y_BITS = 14,  // fraction bits, as in the study: of outputs,
    parameter TRACE_BITS = 29,  // el, et, eta,
    parameter CROSS_BITS = 29,  // cross traces,
    parameter MESSAGE_BITS = 22,  // messages,
    parameter WEIGHT_BITS = 14,  // weights as operands (wl and wt have 12 at the most),
    parameter MASTER_BITS = 26,  // the parameters themselves
    parameter UPDATE_BITS = 26,  // and the steps that they make
    parameter ROUNDING = 1  // see round.v
) (
    input clk,
    input clear,  // a sweep begins: filters and traces forget
    input clear_peak,  // an image begins
    input learning,  // this is the learning sweep
    input start,
    input [2:0] operation,
    output busy,
    output done,  // in its last clock

    input [2:0] gain,
    input [2:0] lag,
    input signed [15:0] left,
    input signed [15:0] top,
    output signed [15:0] y,

    // messages in, by side, with what belongs to the cell that sends them
    input signed [29:0] message_right,
    input signed [29:0] message_below,
    input signed [16:0] factor_right,
    input signed [16:0] factor_below,
    input [5:0] lost_right,
    input [5:0] lost_below,
    input [16:0] c_right,
    input [16:0] c_below,
    input signed [16:0] k_right,
    input signed [16:0] k_below,
    input signed [16:0] w_right,
    input signed [16:0] w_below,
    // message out
    output reg signed [29:0] message,
    output signed [16:0] factor,  // the message, rounded to MANTISSA bits of the sweep's largest
    output [5:0] lost,  // by so many bits
    output reg [16:0] c,
    output reg signed [16:0] kl,
    output reg signed [16:0] kt,
    output reg signed [16:0] wl,
    output reg signed [16:0] wt,

    // parameters: written from outside, and the rule that moves them (of the kind that is asked for)
    input write,
    input [1:0] write_kind,
    input signed [29:0] write_value,
    output [1:0] rule_kind,
    input [14:0] multiplier,
    input [5:0] shift,
    input signed [29:0] lowest,
    input signed [29:0] highest,
    // tables of c and da, read with one clock's delay: a network's cells share them
    output [9:0] table_address,
    input [15:0] c_entry,
    input [15:0] da_entry
);
    localparam [2:0] FORWARD = 0, MESSAGE = 1, LEARN = 2, FINISH = 3, UPDATE = 4, DERIVE = 5;
    localparam signed [30:0] HALF = 31'sd16384;

    // Which clock of which operation it is

    reg [2:0] op;
    reg [2:0] phase;  // of FORWARD, MESSAGE, DERIVE: their clocks
    reg [1:0] kind;  // of the others: the parameter whose turn it is, and the part of what is done for it
    reg [2:0] part;
    reg [5:0] remaining;  // shifts to come; a part that shifts ends when there are none
    reg running;
    wire shifting = (op == FINISH && (part == 3'd2 || part > 3'd4) || op == UPDATE && (part == 3'd2 || part == 3'd3))
        && remaining != 6'd0;
    reg [2:0] last;  // phase or part
    always @*
        case (op)
            FORWARD: last = 3'd7;
            MESSAGE: last = 3'd5;
            LEARN, UPDATE: last = 3'd4;
            default: last = 3'd6;
        endcase
    wire by_kind = op == LEARN || op == FINISH || op == UPDATE;
    assign busy = running;
    assign done = running && (by_kind ? kind == 2'd3 && part == last && !shifting : phase == last);
    always @(posedge clk)
        if (start) begin
            running <= 1'b1;
            op <= operation;
            phase <= 3'd0;
            kind <= 2'd0;
            part <= 3'd0;
        end else if (clear) running <= 1'b0;
        else if (running) begin
            running <= !done;
            phase <= phase + 3'd1;
            if (by_kind && !shifting) begin
                part <= part == last ? 3'd0 : part + 3'd1;
                if (part == last) kind <= kind + 2'd1;
            end
        end

    // Forward

    reg [16:0] da;
    reg signed [18:0] b;
    wire [14:0] d;
    wire signed [15:0] el_read, et_read;
    wire signed [16:0] change;
    forward_cell #(.Y_BITS(Y_BITS), .TRACE_BITS(TRACE_BITS), .ROUNDING(ROUNDING)) ahead (
        .clk(clk), .clear(clear), .start(start && operation == FORWARD), .c(c), .wl(wl), .wt(wt), .b(b), .gain(gain),
        .lag(lag), .left(left), .top(top), .y(y), .d(d), .el_read(el_read), .et_read(et_read), .change(change), .busy(),
        .done()
    );

    // The multiplier of learning; what it multiplies is chosen at the end

    reg signed [17:0] p, q;
    wire signed [35:0] product = p * q;
    reg signed [35:0] sum;  // of products
    reg signed [30:0] scratch;

    // eta <- eta - c eta + da (s_old - u). Small weights leave room for up to 4 bits more, `fine`

    wire [16:0] room = (wl[16] ? -wl : wl) + ((wt[16] ? -wt : wt) >> lag);
    wire [2:0] fine = room <= 4096 ? 3'd4 : room <= 8192 ? 3'd3 : room <= 16384 ? 3'd2 : room <= 32768 ? 3'd1 : 3'd0;
    wire signed [35:0] u_less_s = scratch + ((product >>> lag) >>> 1);  // 14 bits more than read, without `fine`
    wire signed [26:0] finer = $signed(u_less_s[35:9]) <<< fine;
    wire signed [17:0] moved_drive = $signed(finer[22:5]) + $signed({1'b0, finer[4]});  // to nearest

    localparam ETA_WORD = TRACE_BITS < 26 ? TRACE_BITS + 5 : 31;  // see kept.v
    localparam signed [ETA_WORD-1:0] ETA_START = TRACE_BITS < 26 ? 0 : HALF;
    reg signed [ETA_WORD-1:0] eta_stored;
    wire signed [ETA_WORD-1:0] eta_word;
    wire signed [30:0] eta;
    wire signed [15:0] eta_read = eta >>> 15;
    wire signed [31:0] eta_moved = eta - product - sum;
    kept #(.KEPT(TRACE_BITS), .Q(26), .ROUNDING(ROUNDING)) self_trace (
        .fine(fine), .moved(eta_moved), .word(eta_word), .stored(eta_stored), .value(eta)
    );
    always @(posedge clk)
        if (clear) eta_stored <= ETA_START;
        else if (running && op == FORWARD && learning && phase == 3'd3) eta_stored <= eta_word;

    // Cross traces through both descendants, and the gradient's sums

    wire side = part > 3'd2;
    wire [2:0] place = {side, kind};
    reg fresh;  // the sweep has made no cross trace yet
    always @(posedge clk)
        if (clear) fresh <= 1'b1;
        else if (done && op == LEARN) fresh <= 1'b0;

    localparam CROSS_WORD = CROSS_BITS < 25 ? CROSS_BITS + 5 : 31;
    localparam signed [CROSS_WORD-1:0] CROSS_START = CROSS_BITS < 25 ? 0 : HALF;
    reg signed [16:0] f;  // what the parameter does to y: Q14, of l Q(10 + fine)
    reg signed [CROSS_WORD-1:0] traces[0:7];
    wire signed [CROSS_WORD-1:0] stored = fresh && (part == 3'd1 || part == 3'd3) ? CROSS_START : traces[place];
    wire signed [CROSS_WORD-1:0] word;
    wire signed [30:0] trace;
    wire signed [15:0] cross_read = trace >>> 15;
    wire signed [31:0] cross_moved = trace + product;
    kept #(.KEPT(CROSS_BITS), .ROUNDING(ROUNDING)) cross_trace (
        .fine(kind == 2'd0 ? fine : 3'd4), .moved(cross_moved), .word(word), .stored(stored), .value(trace)
    );
    always @(posedge clk) if (running && op == LEARN && (part == 3'd1 || part == 3'd3)) traces[place] <= word;

    reg signed [30:0] sums[0:7];
    wire signed [30:0] total = sums[place];
    wire signed [30:0] so_far = fresh ? 31'sd0 : total;
    always @(posedge clk)
        if (running && op == LEARN && (part == 3'd2 || part == 3'd4)) sums[place] <= so_far + product;

    // Message: m = kR lam_right + kB lam_below in two halves, saturated at 64.0 (Q20); lam = m d in two halves

    wire signed [29:0] heard = phase[0] ? message_below : message_right;
    wire beyond = sum[35:26] != {10{sum[35]}};
    wire signed [26:0] m = beyond ? {sum[35], {26{!sum[35]}}} : sum[26:0];
    wire signed [29:0] exact_message = scratch + product;
    wire signed [29:0] short_message;
    round #(.IN(30), .DROP(22 - MESSAGE_BITS), .MODE(ROUNDING)) wires (.x(exact_message), .y(short_message));

    // The largest message of a sweep, as bits: it says how coarse a factor of the gradient the messages must be

    reg [29:0] peak;
    always @(posedge clk)
        if (clear_peak) peak <= 30'd0;
        else if (running && op == MESSAGE && phase == 3'd5)
            peak <= peak | (short_message[29] ? -short_message : short_message);
    block_factor #(.MANTISSA(MANTISSA)) outgoing (.peak(peak), .message(message), .lost(lost), .factor(factor));

    // Gradient: both sides under the larger of their exponents

    wire [5:0] shared = lost_right > lost_below ? lost_right : lost_below;
    reg signed [30:0] gradient[0:3];
    wire signed [30:0] gradient_now = gradient[kind];
    reg [5:0] exponent;

    // Step: rate = multiplier 2**-shift; to the right, to nearest, or to the left as far as there is room

    // Bounds are multiples of 2**-12, of l just below one: so that it can be at a bound, a master is kept with 12
    // fraction bits at least, and l with all.
    localparam MASTER_CUT = MASTER_BITS < 12 ? 14 : MASTER_BITS < 26 ? 26 - MASTER_BITS : 0;
    reg signed [29:0] l;
    reg signed [29-MASTER_CUT:0] masters[1:3];
    assign rule_kind = kind;
    wire signed [7:0] right = $signed({2'b00, shift}) - 8'sd9 - $signed({2'b00, exponent})
        - (kind == 2'd0 ? 8'sd4 : 8'sd0) - (kind == 2'd3 ? 8'sd0 : $signed({5'd0, gain}))
        + (kind == 2'd2 ? $signed({5'd0, lag}) : 8'sd0);
    wire [7:0] left_shifts = -right;
    wire signed [35:0] room_mask = scratch;  // of a step to be shifted left: 2**k - 1, the largest with room
    wire no_room = |((sum[35] ? ~sum : sum) & ~room_mask) || sum[35] && (sum & room_mask) == 36'sd0;
    wire signed [31:0] exact_step = sum[31:0];
    wire signed [31:0] short_step;
    round #(.IN(32), .DROP(26 - UPDATE_BITS), .MODE(ROUNDING)) steps (.x(exact_step), .y(short_step));
    reg [1:0] kind_of_derive;
    always @*
        case (phase)
            3'd4: kind_of_derive = 2'd1;
            3'd5: kind_of_derive = 2'd2;
            3'd6: kind_of_derive = 2'd3;
            default: kind_of_derive = 2'd0;
        endcase
    wire [1:0] which = op == DERIVE ? kind_of_derive : kind;
    wire signed [29:0] master = which == 2'd0 ? l : masters[which] <<< MASTER_CUT;
    wire signed [32:0] stepped = master - short_step;
    wire signed [32:0] short_master;
    round #(.IN(33), .DROP(26 - MASTER_BITS), .MODE(ROUNDING)) parameters (.x(stepped), .y(short_master));
    wire signed [29:0] bounded = short_master < lowest ? lowest : short_master > highest ? highest : short_master[29:0];
    always @(posedge clk)
        if (write) begin
            if (write_kind == 2'd0) l <= write_value;
            else masters[write_kind] <= write_value >>> MASTER_CUT;
        end else if (running && op == UPDATE && part == 3'd4) begin
            if (kind == 2'd0) l <= bounded;
            else masters[kind] <= bounded >>> MASTER_CUT;
        end

    // Operands: tables at steps of 1/32 from l = -4 on, interpolated at 12 bits, nearest

    wire [30:0] from_first = {master[29], master} + 31'd268435456;
    assign table_address = {1'b0, from_first[29:21]} + (phase == 3'd0 ? 10'd0 : 10'd1);
    reg [15:0] c_low, da_low;
    wire signed [17:0] between = (product + 36'sd2048) >>> 12;
    wire signed [16:0] exact_w = (master + 30'sd8192) >>> 14;
    wire signed [18:0] exact_b = (master + 30'sd2048) >>> 12;
    wire signed [16:0] short_w;
    wire signed [18:0] short_b;
    round #(.IN(17), .DROP(12 - WEIGHT_BITS), .MODE(ROUNDING)) weights (.x(exact_w), .y(short_w));
    round #(.IN(19), .DROP(14 - WEIGHT_BITS), .MODE(ROUNDING)) biases (.x(exact_b), .y(short_b));

    always @* begin
        p = 18'sd0;
        q = 18'sd0;
        case (op)
            FORWARD:
            case (phase)
                3'd0: begin
                    p = wl;
                    q = change;
                end
                3'd1: begin
                    p = wt;
                    q = change;
                end
                3'd2: begin
                    p = $signed({1'b0, da});
                    q = scratch[17:0];
                end
                default: begin
                    p = $signed({1'b0, c});
                    q = eta_read;
                end
            endcase
            MESSAGE:
            case (phase)
                3'd0, 3'd1: begin
                    p = phase[0] ? k_below : k_right;
                    q = $signed({4'd0, heard[13:0]});
                end
                3'd2, 3'd3: begin
                    p = phase[0] ? k_below : k_right;
                    q = heard >>> 14;
                end
                3'd4: begin
                    p = $signed({3'd0, d});
                    q = $signed({6'd0, m[11:0]});
                end
                default: begin
                    p = $signed({3'd0, d});
                    q = m >>> 12;
                end
            endcase
            LEARN:
            case (part)
                3'd0: begin
                    p = $signed({3'd0, d});
                    case (kind)
                        2'd0: q = eta_read;
                        2'd1: q = el_read;
                        2'd2: q = et_read;
                        default: q = 18'sd16384;
                    endcase
                end
                3'd1, 3'd3: begin
                    p = $signed({1'b0, side ? c_below : c_right});
                    q = f - cross_read;
                end
                default: begin
                    p = side ? factor_below : factor_right;
                    q = cross_read;
                end
            endcase
            FINISH: begin
                p = side ? w_below : w_right;
                q = part == 3'd0 || part == 3'd3 ? $signed({3'd0, total[14:0]}) : total >>> 15;
            end
            UPDATE: begin
                p = $signed({3'd0, multiplier});
                q = part == 3'd0 ? $signed({3'd0, gradient_now[14:0]}) : gradient_now >>> 15;
            end
            default:
            case (phase)
                3'd2: begin
                    p = $signed({2'd0, c_entry}) - $signed({2'd0, c_low});
                    q = $signed({6'd0, master[20:9]});
                end
                3'd3: begin
                    p = $signed({2'd0, da_entry}) - $signed({2'd0, da_low});
                    q = $signed({6'd0, master[20:9]});
                end
                default: begin
                    p = $signed({1'b0, c});
                    q = phase == 3'd5 ? wl : wt;
                end
            endcase
        endcase
    end

    always @(posedge clk)
        if (running)
            case (op)
                FORWARD:
                case (phase)
                    3'd0: scratch <= product >>> 1;
                    3'd1: scratch <= moved_drive;
                    3'd2: sum <= product;
                    default: ;
                endcase
                MESSAGE:
                case (phase)
                    3'd0: sum <= product;
                    3'd2: sum <= ((sum + 36'sd8192) >>> 14) + product;
                    3'd1, 3'd3: sum <= sum + product;
                    3'd4: scratch <= (product + 36'sd2048) >>> 12;
                    default: message <= short_message;
                endcase
                LEARN: if (part == 3'd0) f <= kind == 2'd0 ? (product + 36'sd16384) >>> 15 : product >>> 14;
                FINISH:
                case (part)
                    3'd0, 3'd3: sum <= product;
                    3'd1, 3'd4: begin
                        sum <= (sum >>> 15) + product;
                        remaining <= 6'd1 + shared - (side ? lost_below : lost_right);
                        exponent <= shared;
                    end
                    default:
                    if (shifting) begin
                        sum <= sum >>> 1;
                        remaining <= remaining - 6'd1;
                    end else if (part == 3'd2) scratch <= sum;
                    else if (part == 3'd5) begin
                        sum <= sum + scratch;
                        remaining <= kind == 2'd0 ? fine : 6'd0;
                    end else gradient[kind] <= sum;
                endcase
                UPDATE:
                case (part)
                    3'd0: sum <= product;
                    3'd1: begin
                        sum <= (sum >>> 15) + product;
                        remaining <= right > 0 ? right - 8'sd1 : left_shifts;
                        scratch <= 31'sd536870911;
                    end
                    3'd2:
                    if (shifting) begin
                        if (right > 0) sum <= sum >>> 1;
                        else scratch <= scratch >>> 1;
                        remaining <= remaining - 6'd1;
                    end else if (right > 0) sum <= (sum + 36'sd1) >>> 1;
                    else begin
                        if (no_room) sum <= sum[35] && room_mask[0] ? ~room_mask | 36'sd1 : room_mask;
                        remaining <= left_shifts;
                    end
                    3'd3:
                    if (shifting) begin
                        sum <= sum <<< 1;
                        remaining <= remaining - 6'd1;
                    end
                    default: ;
                endcase
                default:
                case (phase)
                    3'd1: begin
                        c_low <= c_entry;
                        da_low <= da_entry;
                    end
                    3'd2: c <= $signed({1'b0, c_low}) + between;
                    3'd3: da <= $signed({1'b0, da_low}) + between;
                    3'd4: wl <= short_w;
                    3'd5: begin
                        wt <= short_w;
                        kl <= (product + 36'sd16384) >>> 15;
                    end
                    3'd6: begin
                        b <= short_b;
                        kt <= (product + 36'sd16384) >>> 15;
                    end
                    default: ;
                endcase
            endcase
endmodule
