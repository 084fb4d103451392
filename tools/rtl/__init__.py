"""Cells, units and a network in Verilog; what runs them against vectors, breaks them, and counts what they cost."""
