"""What disturbances cost: the command, and that it notices code which changes what it should not."""

import json

import pytest

from host.engine.disturbed import disturb
from tools import bench_disturbed


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(bench_disturbed, "IMAGES", 20)
    monkeypatch.setattr(bench_disturbed, "CLAUSES", ("message bits=4", "y noise=0.1"))


def test_every_clause_has_a_speed_in_units_of_the_undisturbed(short, answer):
    code, out, _ = answer(bench_disturbed.main, "--graph", "lattice", "--rounds", 1, "--json")
    found = json.loads(out)
    assert (code, found["mismatches"]) == (0, [])
    assert [x["disturb"] for x in found["disturbed"]] == ["message bits=4", "y noise=0.1"]
    for each in found["disturbed"]:
        assert each["speed"] == pytest.approx(each["images_per_second"] / found["undisturbed"], rel=0.01)


def test_code_that_should_do_nothing_and_does_something_is_an_error(short, answer, monkeypatch):
    def wrong(network, text, seed):
        return disturb(network, text.replace("0.000000001", "0.5"), seed)

    monkeypatch.setattr(bench_disturbed, "disturb", wrong)
    code, out, _ = answer(bench_disturbed.main, "--graph", "diagonal", "--rounds", 1)
    assert code == 1 and out.count("WRONG RESULT") == len([x for x in bench_disturbed.NEUTRAL if "0.000000001" in x])
