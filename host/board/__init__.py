"""Boards: the link to one, the board as a learner, simulated ones, their MicroPythons, and the firmware's way there."""
