// A table of the engine (fixedpoint/tables.py), read with one clock's delay, as block RAM has it.
module rom #(
    parameter FILE = "",
    parameter ENTRIES = 513,
    parameter WIDTH = 16
) (
    input clk,
    input [9:0] address,
    output reg [WIDTH-1:0] entry
);
    reg [WIDTH-1:0] entries[0:ENTRIES-1];
    initial $readmemh(FILE, entries);
    always @(posedge clk) entry <= entries[address];
endmodule
