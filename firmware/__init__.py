"""The device program. Imports fixedpoint and MicroPython's own modules only."""
