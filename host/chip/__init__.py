"""The chip's order: all cells stepped together, one time step after the other, on unbounded integers."""
