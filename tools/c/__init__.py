"""The engine as C: what is written around the kernels, and ways to build and run it here (tools.export_c)."""
