"""The integer engine: formats, tables, kernels, lattice. Imports nothing that MicroPython lacks."""
