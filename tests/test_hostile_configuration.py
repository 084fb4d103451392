"""Whatever configuration OPEN names: it is refused, or it works within the engine's formats."""

from typing import Any

import pytest
from bare_board import Board
from frames import BOUNDS, INIT, NETWORKS, golden, open_body, rates_body, result, rows_body, state
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware import wire

BAD: list[tuple[str, Any]] = [
    *[("rows", x) for x in (0, 65, 128, 255)],
    *[("cols", x) for x in (0, 65, 128, 255)],
    *[("steps", x) for x in (0, 257, 1023, 1024, 65535)],  # rows from 256 on have no number on the wire
    *[("scale", x) for x in (0, 4113, 65535)],
    *[("gain", x) for x in (5, 255)],
    *[("bits", x) for x in (0, 2, 3, 5, 7, 16, 255)],
    *[("bounds", (*BOUNDS[: 2 * k], 5, 4, *BOUNDS[2 * k + 2 :])) for k in range(3)],
    ("bounds", (-32768, -16385, *BOUNDS[2:])),  # below the tables' domain
    ("bounds", (24576, 32767, *BOUNDS[2:])),  # above it
    *[("init", (*INIT[:k], 32767, *INIT[k + 1 :])) for k in (1, 4, 8)],  # beyond 32 bits
    *[("init", (*INIT[:k], -32768, *INIT[k + 1 :])) for k in (1, 4, 8)],
]


BAD_NETWORKS: list[tuple[str, dict[str, int]]] = [
    *[("lattice", {"graph": x}) for x in (5, 255)],
    *[(name, {"rule": x}) for name in NETWORKS for x in (2, 255)],
    *[(name, {"cool": x}) for name in NETWORKS for x in (5, 255)],
    *[("small world", {"share": x}) for x in (4097, 65535)],
    *[("diagonal", {"units": x}) for x in (0, 257, 65535)],
    *[("diagonal", {"gain": 5}), ("diagonal", {"steps": 257})],
    # Before anything of that size is laid out: a tree over no inputs has no end.
    *[(name, {size: x}) for name in NETWORKS for size in ("rows", "cols") for x in (0, 65, 255)],
    # What counts for nothing is 0, so that there is one OPEN for each network.
    *[(name, {"units": 1}) for name in NETWORKS if name != "diagonal"],
    *[(name, {field: 1}) for name in NETWORKS if "world" not in name for field in ("share", "wiring_seed")],
]


def refused_and_nothing_else(**changes: Any) -> None:
    board = Board()
    board.attach()
    assert board.refused(open_body(**changes))[0] == wire.BAD_CONFIG
    board.begin(1)
    assert board.digest() == golden(1)[0]


@pytest.mark.parametrize("field, value", BAD)
def test_each_bad_field_is_refused(field: str, value: Any) -> None:
    refused_and_nothing_else(**{field: value})


@pytest.mark.parametrize("name, changes", BAD_NETWORKS, ids=str)
def test_each_network_that_there_is_not_is_refused(name: str, changes: dict[str, int]) -> None:
    refused_and_nothing_else(**{**NETWORKS[name], **changes})


edges16 = st.sampled_from((-32768, -16385, -16384, -1, 0, 1, 16383, 24575, 24576, 32767)) | st.integers(-32768, 32767)
any32 = st.integers(0, 2**32 - 1)


def ordered(bounds: tuple[int, ...]) -> tuple[int, ...]:
    """No lowest value above its highest, and l within the tables' domain."""
    low, high, *others = (x for k in range(0, 6, 2) for x in sorted(bounds[k : k + 2]))
    return (min(low, 24575), max(high, -16384), *others)


GOOD = {
    "rows": st.integers(1, 12),
    "cols": st.integers(1, 12),
    "steps": st.integers(1, 12),
    "scale": st.sampled_from((1, 2570, 4112)),
    "gain": st.integers(0, 4),
    "bits": st.sampled_from((1, 4, 8)),
    "session": any32,
    "seed": any32,
    "init": st.tuples(*[st.integers(-16000, 16000)] * 9),
    "bounds": st.tuples(*[edges16] * 6).map(ordered),
    "flags": st.integers(0, 255),
    "conversation": any32,
}
WILD = GOOD | {
    "rows": st.integers(0, 12) | st.integers(0, 255),
    "cols": st.integers(0, 12) | st.integers(0, 255),
    "steps": st.integers(0, 12) | st.integers(0, 65535),
    "scale": st.sampled_from((0, 1, 2570, 4112, 4113, 65535)),
    "gain": st.integers(0, 5),
    "bits": st.sampled_from((0, 1, 4, 8, 9)),
    "init": st.tuples(*[edges16] * 9),
    "bounds": st.tuples(*[edges16] * 6),
    "graph": st.integers(0, 6),
    "rule": st.integers(0, 3),
    "cool": st.integers(0, 5),
    "units": st.integers(0, 5),
}
good = st.tuples(st.fixed_dictionaries(GOOD), st.sampled_from(list(NETWORKS.values()))).map(lambda two: two[0] | two[1])
configurations = good | st.fixed_dictionaries(WILD)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configurations, st.binary(min_size=8, max_size=8))
def test_any_configuration_is_refused_or_works(numbers: dict[str, Any], noise: bytes) -> None:
    """Whatever OPEN says: refused, or trained with the steepest rates without leaving the formats."""
    if numbers["rows"] <= 64 and numbers["cols"] <= 64 and numbers["steps"] <= 256:
        while numbers["rows"] * numbers["cols"] * numbers["steps"] > 600:  # a large one would take its time, no more
            numbers = {**numbers, "rows": (numbers["rows"] + 1) // 2, "steps": (numbers["steps"] + 1) // 2}
    board = Board()
    board.attach()
    board.key = numbers["session"] ^ numbers["conversation"]
    answer = board.ask(open_body(**numbers))
    if answer[0] == wire.REFUSED:
        assert answer[1] == wire.BAD_CONFIG
        assert board.device.lattice is None
    else:
        rows, cols, steps, bits = (numbers[name] for name in ("rows", "cols", "steps", "bits"))
        assert state(answer)[0] == 0
        board.ask(rates_body(0, ((32767, 14),) * 4))
        count = (rows * bits + 7) // 8
        for step in range(2):
            for row in range(steps):
                data = (noise * count)[row : row + count].ljust(count, b"\xff")
                answer = board.ask(rows_body(wire.TRAIN, step, row, 1, step % cols, data))
            assert result(answer)[0] == step + 1
        made = board.device.lattice
        low, high = made.rule[2::4], made.rule[3::4]
        assert all(low[made.group(i)] <= w <= high[made.group(i)] for i, w in enumerate(made.w))
        assert -(4 << 26) <= low[0] <= high[0] < 6 << 26
    board.open(flags=wire.FLAG_REPLACE)
    board.ask(rates_body(0))
    board.train()
    assert board.digest() == golden(1)[0]
