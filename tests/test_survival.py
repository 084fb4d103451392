"""What survives of a study: how far a line may go before accuracy falls, by the mean and by its interval."""

from typing import Any

import pytest
from small_study import result, results

from host.pictures.survival import LIMIT, as_json, lines, survivors


def bits(*drops: tuple[float, float, float | None], seeds: int = 4) -> list[dict[str, Any]]:
    """Conditions of one line: bits, drop, and the upper end of its interval."""
    found = []
    for level, drop, high in drops:
        x = result("message", "floor", level, "bits", "lattice", f"message bits={level:g} rounding=floor", 0, seeds)
        found.append({**x, "drop": drop, "drop_low": 2 * drop - (high or 0), "drop_high": high})
    return found


def only(found: list[dict[str, Any]]) -> Any:
    (survivor,) = survivors(found)
    return survivor


def test_fewest_bits_are_the_last_before_accuracy_falls():
    found = only(bits((2, 0.4, 0.5), (4, 0.03, 0.04), (6, 0.019, 0.025), (8, 0.001, 0.01), (12, 0.0, 0.001)))
    assert (found.kind, found.level, found.fails_at, found.drop) == ("fewest", 6, 4, 0.019)
    assert (found.sure, found.sure_level) == (False, 8), "the interval of 6 bits reaches beyond the limit"


def test_accuracy_falls_for_certain_where_the_whole_interval_is_above_zero():
    assert only(bits((2, 0.4, 0.5), (4, 0.03, 0.04), (6, 0.019, 0.05))).falls_at == 4
    assert only(bits((2, 0.4, 0.9), (4, 0.01, 0.02))).falls_at is None


def test_a_drop_of_exactly_the_limit_does_not_survive():
    assert only(bits((4, LIMIT, 0.03), (6, 0.0, 0.001))).level == 6


def test_levels_beyond_one_that_failed_do_not_count():
    """A lucky one at few bits is luck."""
    found = only(bits((2, 0.0, 0.001), (4, 0.1, 0.2), (6, 0.0, 0.001)))
    assert (found.level, found.fails_at, found.last) == (6, 4, False)


def test_a_line_that_survives_to_its_end_says_so():
    found = only(bits((2, 0.0, 0.001), (4, 0.0, 0.001)))
    assert (found.level, found.last, found.fails_at) == (2, True, None)


def test_a_line_that_never_survives_has_no_level():
    found = only(bits((2, 0.4, 0.5), (12, 0.05, 0.06)))
    assert (found.level, found.drop, found.sure, found.sure_level, found.fails_at) == (None, None, False, None, 12)


def test_order_in_the_file_does_not_matter():
    found = bits((2, 0.4, 0.5), (6, 0.01, 0.011), (4, 0.03, 0.04))
    assert only(found) == only(found[::-1])
    assert [x["level"] for x in lines(found[::-1])[0].results] == [2, 4, 6]


def test_results_that_are_still_to_come_end_a_line_and_are_told():
    found = bits((2, 0.4, 0.5), (6, 0.01, 0.011))
    late = result("message", "floor", 4, "bits", "lattice", "message bits=4 rounding=floor", 0, seeds=0)
    survivor = only([*found, late])
    assert (survivor.level, survivor.fails_at, survivor.complete) == (6, 4, False)
    assert only(found).complete


def test_one_seed_has_no_interval_and_nothing_is_sure():
    found = only(bits((4, 0.1, None), (6, 0.0, None), seeds=1))
    assert (found.level, found.sure, found.sure_level, found.n) == (6, False, None, 1)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("message bits={} rounding=floor", "fewest"),
        ("message block={}", "fewest"),
        ("message limit={}", "fewest"),
        ("message noise={}", "largest"),
        ("message bits=24 noise={}", "largest"),  # as many bits at every level
    ],
)
def test_what_is_harsh_follows_from_what_is_done(text, kind):
    found = [result("f", "s", x, "x", "lattice", text.format(x), 0) for x in (2, 4)]
    assert only(found).kind == kind


def test_both_sides_of_nought_are_gone_through_apart():
    found = [x for x in survivors(results()) if x.figure == "asymmetric gain"]
    assert [x.kind for x in found] == ["largest below 0", "largest above 0"]
    assert [x.fails_at for x in found] == [-0.03, 0.03]


def test_undisturbed_networks_are_no_lines_of_their_own():
    assert "undisturbed" not in {line.series for line in lines(results())}
    graphs = [result("graphs", graph, 0, "graph", graph, "", 0) for graph in ("lattice", "small-world")]
    assert len(lines(graphs)) == 2 and survivors(graphs) == []


def test_a_study_survives_as_it_was_made_up():
    found = {(x["figure"], x["series"], x["graph"]): x["level"] for x in as_json(results())}
    for graph in ("lattice", "small-world"):
        assert found["message", "floor", graph] == 12
        assert found["message", "nearest", graph] == 6
        assert found["noise", graph, graph] == 0.1
