"""The order in which the cells of a graph are computed together: by level = t + depth.

A cell needs its sources at the same step and its own past, so all cells of a level can be computed at once. In order
of depth, those whose step t is one of 0 .. T-1 are a slice. Arrays by level hold at [level, p] what the p-th cell in
that order does at t = level - depth(p), and 0 where that is no step.
"""

from typing import NamedTuple

import numpy as np

from host.reference.graph import Graph

Array = np.ndarray


class Level(NamedTuple):
    """The cells at work in a level."""

    number: int
    places: slice
    sources: Array  # (2, k) where their left and top sources are in a flat array (levels, rows) by level
    listeners: Array  # (2, k) where those on their left and top port are in a flat array (levels, n + 1); else 0 there


class Levels:
    """A graph's cells in order of depth.

    order      (n,) the graph's cell at each place; rank is its inverse
    depth      (n,) of the cell at each place
    listeners  (2, n) the place that listens on its left, on its top port; n where there is none
    """

    def __init__(self, graph: Graph):
        n = graph.cells
        self.order = np.argsort(graph.depth[:n], kind="stable")
        self.rank = np.argsort(self.order)
        self.depth = graph.depth[self.order]
        place = np.append(self.rank, np.arange(n, graph.rows))
        sources = np.stack([graph.left, graph.top])[:, self.order]
        listeners = graph.listeners[:, self.order]
        self.listeners = np.where(listeners < 0, n, place[listeners])
        self._rows, self._columns = graph.rows, n + 1
        self._to_source = (graph.depth[sources] - self.depth) * self._rows + place[sources]
        later = np.where(listeners < 0, 0, graph.depth[listeners] - self.depth)
        self._to_listener = later * self._columns + self.listeners
        self._schedules: dict[int, list[Level]] = {}

    def schedule(self, steps: int) -> list[Level]:
        """The levels of T steps in order of time; the first is number 1, as the inputs of step 0 are there in 0."""
        if steps not in self._schedules:
            self._schedules[steps] = [self._level(number, steps) for number in range(1, steps + int(self.depth[-1]))]
        return self._schedules[steps]

    def _level(self, number: int, steps: int) -> Level:
        first, end = np.searchsorted(self.depth, (number - steps, number), side="right").tolist()
        places = slice(first, end)
        return Level(
            number,
            places,
            self._to_source[:, places] + number * self._rows,
            self._to_listener[:, places] + number * self._columns,
        )
