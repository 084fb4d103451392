"""Graphs as data: sources before listeners, one listener per port, and what each graph is said to be."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixedpoint import wiring
from fixedpoint.build import build
from fixedpoint.lattice import BELOW, CELL, GAIN, LAG, LEFT, RIGHT, TOP
from fixedpoint.network import Random

sizes = st.integers(1, 12)
shares = st.integers(0, wiring.ONE)


def graphs(rows: int, cols: int, share: int, seed: int) -> dict[str, tuple]:
    return {
        "lattice": wiring.lattice(rows, cols),
        "small world": wiring.small_world(rows, cols, share, Random(seed)),
        "skip": wiring.skip(rows, cols),
        "forest": wiring.forest(rows, cols),
    }


@given(sizes, sizes, shares, st.integers(0, 1000))
def test_sources_come_first_and_have_one_listener_per_port(rows, cols, share, seed):
    for left, top, ends in graphs(rows, cols, share, seed).values():
        n = len(left)
        assert len(top) == n and len(ends) == cols == len(set(ends))
        for port in (left, top):
            assert all(source < p or source >= n for p, source in enumerate(port))
            cells = [source for source in port if 0 <= source < n]
            assert len(cells) == len(set(cells))
            assert all(wiring.NONE <= source < n + rows for source in port)
        assert not set(ends) & {
            source for source in top if source >= 0
        }  # a readout hears on top, and nobody else there


@given(sizes, sizes, shares, st.integers(0, 1000))
def test_every_input_enters_a_lattice_once_and_a_forest_once_per_tree(rows, cols, share, seed):
    for name, (left, top, _) in graphs(rows, cols, share, seed).items():
        heard = Counter(source - len(left) for port in (left, top) for source in port if source >= len(left))
        assert heard == dict.fromkeys(range(rows), cols if name == "forest" else 1)


@given(st.integers(2, 12), sizes, shares, st.integers(0, 1000))
def test_a_small_world_has_the_edges_of_the_lattice_with_their_sources_swapped(rows, cols, share, seed):
    left, top, ends = wiring.lattice(rows, cols)
    new = wiring.small_world(rows, cols, share, Random(seed))
    assert new[0] == left and new[2] == ends
    assert sorted(new[1]) == sorted(top)
    assert new[1] == top or (share > 0 and cols > 1)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_a_share_is_kept_on_average(share: float) -> None:
    """Over 40 wirings of 270 edges the mean is off by 0.01 at most; a single one is off by 0.1 at most."""
    _, top, _ = wiring.lattice(28, 10)
    found = []
    for seed in range(40):
        _, new, _ = wiring.small_world(28, 10, round(share * wiring.ONE), Random(seed))
        found.append(sum(a != b for a, b in zip(top, new, strict=True)) / 270)
    assert all(abs(x - share) < 0.1 for x in found)
    assert abs(sum(found) / 40 - share) < 0.02


def test_another_seed_is_another_small_world() -> None:
    assert wiring.small_world(28, 10, 4096, Random(1)) == wiring.small_world(28, 10, 4096, Random(1))
    assert wiring.small_world(28, 10, 4096, Random(1)) != wiring.small_world(28, 10, 4096, Random(2))


def test_skip_lines_of_28_by_10() -> None:
    left, top, ends = wiring.skip(28, 10)
    plain, plain_top, plain_ends = wiring.lattice(28, 10)
    assert (top, ends) == (plain_top, plain_ends)
    for p in range(280):
        i, j = divmod(p, 10)
        if j == 0 or i % 4 != 3:
            assert left[p] == plain[p]
        else:
            assert left[p] == (wiring.NONE if i == 3 else (i - 4) * 10 + j - 1)


def test_a_forest_of_28_inputs_is_ten_trees_of_28_cells() -> None:
    """Levels of 14, 7, 4, 2 and 1: the design's budget of 1,120 parameters."""
    left, top, ends = wiring.forest(28, 10)
    assert len(left) == 280 and ends == [28 * q + 27 for q in range(10)]
    depth = {}
    for p in range(280):
        sources = [s for s in (left[p], top[p]) if s != wiring.NONE]
        depth[p] = 1 + max(depth.get(s, 0) for s in sources)
        assert p // 28 == min(s for s in sources) // 28 or min(sources) >= 280
    assert Counter(depth[p] for p in range(28)) == {1: 14, 2: 7, 3: 4, 4: 2, 5: 1}
    assert [p for p in range(28) if top[p] == wiring.NONE] == [24]  # of 7 cells one goes up alone


@pytest.mark.parametrize("graph", [0, 1, 2, 3])
def test_records_say_who_hears_whom(graph: int) -> None:
    network = build(graph, 0, 6, 4, 3, 4112, 2, 0, 0, *((wiring.ONE, 3) if graph == 2 else (0, 0)))
    n, m = network.cells, network.m
    null = n + 4
    for p in range(n):
        for port, listener in ((LEFT, RIGHT), (TOP, BELOW)):
            source = m[p * CELL + port]
            if source < n:
                assert m[source * CELL + listener] == p
            heard = m[p * CELL + listener]
            assert heard == null or m[heard * CELL + port] == p
        left, top = m[p * CELL + LEFT] > null, m[p * CELL + TOP] > null
        assert m[p * CELL + GAIN] == (2 if left or top else 0)
        assert m[p * CELL + GAIN] - m[p * CELL + LAG] == (2 if top else 0)
        assert left or not top or graph != 1  # no cell has an input on top only: its left one would get the gain, too
