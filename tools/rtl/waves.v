// Beside a bench: all signals of the simulation into the file of +waves=FILE (VCD, for GTKWave and the like).
module waves;
    reg [8*1000-1:0] file;
    initial if ($value$plusargs("waves=%s", file)) begin
        $dumpfile(file);
        $dumpvars;
    end
endmodule
