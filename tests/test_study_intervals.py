"""What is said of a few seeds: Student's t, means with their intervals, and drops paired by seed."""

import numpy as np
import pytest
from test_study_spec import DATA, spec

from host.studies.grid import expanded
from host.studies.intervals import interval, quantile, within
from host.studies.results import Results

# Two-sided 95 % points of Student's t, as every table has them.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228,
         15: 2.131, 20: 2.086, 29: 2.045, 60: 2.000, 120: 1.980}  # fmt: skip


@pytest.mark.parametrize("freedom, t", TABLE.items())
def test_quantiles_are_those_of_the_tables(freedom, t):
    assert quantile(freedom) == pytest.approx(t, abs=6e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 8, 50])
def test_probabilities_are_the_density_s_integral(freedom):
    for t in (0.3, 1.0, 2.5):
        x = np.linspace(-t, t, 200_001)
        shape = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
        angle = np.linspace(-np.pi / 2, np.pi / 2, 200_001)  # x = sqrt(freedom) tan(angle): the whole line
        whole = np.sqrt(freedom) * np.trapezoid(np.cos(angle) ** (freedom - 1), angle)
        assert within(t, freedom) == pytest.approx(np.trapezoid(shape, x) / whole, abs=1e-8)


def test_interval_of_a_mean():
    low, high = interval([0.5, 0.7, 0.9]) or (0, 0)
    half = 4.302653 * 0.2 / 3**0.5
    assert (low, high) == (pytest.approx(0.7 - half, abs=1e-6), pytest.approx(0.7 + half, abs=1e-6))
    assert interval([0.5]) is None and interval([]) is None


def results(accuracies: dict[str, dict[int, float]]) -> Results:
    """Of a study with one condition and its baseline. accuracies: of complete runs, by condition and seed."""
    one = spec({"levels": [4], "over": {}, "disturb": "message bits={level}", "series": "s"}, seeds="1-4")
    plain, disturbed = expanded(one, DATA)[0]
    names = {(x.id, seed): f"{x.id}{seed}" for x in (plain, disturbed) for seed in range(1, 5)}
    found = Results(one, [plain, disturbed], names)
    for condition, which in ((plain, "plain"), (disturbed, "disturbed")):
        for seed, accuracy in accuracies[which].items():
            epoch = {"test_accuracy": accuracy, "train_accuracy": 0.5, "digest": "0" * 8, "epoch": 2}
            found.epochs[names[condition.id, seed]] = epoch
    return found


def test_drops_are_paired_by_seed():
    """The seeds' scatter, ten times the drop's, is not in its interval; a seed that one side lacks is in neither."""
    found = results(
        {"plain": {1: 0.5, 2: 0.6, 3: 0.7, 4: 0.99}, "disturbed": {1: 0.49, 2: 0.58, 3: 0.67}}
    ).as_dict()["results"]  # fmt: skip
    plain, disturbed = found
    half = 4.302653 * 0.01 / 3**0.5
    assert (disturbed["n"], disturbed["drop"]) == (3, 0.02)
    assert disturbed["drop_low"] == pytest.approx(0.02 - half, abs=2e-6)
    assert disturbed["drop_high"] == pytest.approx(0.02 + half, abs=2e-6)
    assert disturbed["mean"] == 0.58 and disturbed["sd"] == 0.09
    assert disturbed["accuracies"] == {1: 0.49, 2: 0.58, 3: 0.67}
    assert (plain["drop"], plain["drop_low"], plain["drop_high"], plain["id"]) == (0, 0, 0, plain["baseline"])


def test_what_few_seeds_do_not_tell_is_none():
    plain, disturbed = results({"plain": {1: 0.5}, "disturbed": {}}).as_dict()["results"]
    assert (plain["n"], plain["mean"], plain["sd"], plain["low"], plain["drop_low"]) == (1, 0.5, None, None, None)
    assert [disturbed[key] for key in ("n", "mean", "sd", "high", "drop")] == [0, None, None, None, None]


def test_a_failure_counts_until_the_run_is_complete():
    found = results({"plain": {1: 0.5}, "disturbed": {2: 0.4}})
    run = found.names[found.conditions[1].id, 1]
    found.errors = {run: "no, really", found.names[found.conditions[1].id, 2]: "of earlier"}
    assert found.as_dict()["results"][1]["failed"] == 1
    lines = found.csv().splitlines()
    assert lines[0].startswith(
        "study,figure,series,x,level,graph,rule,preset,disturb,images,epochs,test_images,seed,status"
    )
    assert [line.split(",")[13] for line in lines[5:]] == ["failed", "complete", "waiting", "waiting"]
    assert lines[5].endswith(f',,,,{run},"no, really"') and lines[6].endswith(",")
