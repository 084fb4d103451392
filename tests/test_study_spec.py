"""Studies as texts: what a spec may say, what it says when it may not, and the grid that it stands for."""

import copy
import math

import numpy as np
import pytest
from small_run import noise, refused

from host.data import dataset
from host.data.dataset import Dataset
from host.runs.config import WIDEST
from host.studies.grid import UNDISTURBED, Condition, expanded, id_of, name_of
from host.studies.spec import Spec, filled, named, thinned

DATA = noise(60, 30, 6, 5)
SWEEP = {
    "figure": "message",
    "series": "{rounding}",
    "x": "bits",
    "disturb": "message bits={level} rounding={rounding}",
    "levels": [4, 6, 8, 10],
    "over": {"rounding": ["floor", "zero"]},
    "graph": "lattice",
}
GOOD = {
    "name": "good",
    "about": "a study",
    "images": 40,
    "epochs": 2,
    "test_images": 20,
    "seeds": "1-3",
    "quick": {"images": 20, "seeds": "2", "thin": 2},
    "sweep": [SWEEP],
}


def spec(*sweeps: dict, quick: bool = False, **top: object) -> Spec:
    return Spec.of(
        {**copy.deepcopy(GOOD), "sweep": [{**SWEEP, **sweep} for sweep in sweeps or ({},)], **top}, "F", quick
    )


def grid(*sweeps: dict, data: Dataset = DATA, quick: bool = False, **top: object) -> list[Condition]:
    return expanded(spec(*sweeps, quick=quick, **top), data)[0]


# --- the grid


def test_every_combination_is_there_once_and_its_baseline_first():
    found = grid(
        {"over": {"rounding": ["floor", "zero"], "graph": ["lattice", "forest"]}, "series": "{graph} {rounding}"}
    )
    assert len(found) == 2 + 2 * 2 * 4
    assert [x.graph for x in found if x.series == UNDISTURBED] == ["lattice", "forest"]
    ids = [x.id for x in found]
    assert len(set(ids)) == len(ids)
    for number, condition in enumerate(found):
        assert condition.baseline in ids[: number + 1]
        baseline = found[ids.index(condition.baseline)]
        assert (baseline.graph, baseline.preset, baseline.disturb) == (condition.graph, condition.preset, "")
    assert [x.level for x in found if x.series == "forest zero"] == [4, 6, 8, 10]
    assert {x.disturb for x in found if x.series == "forest zero"} == {
        f"message bits={bits} rounding=zero" for bits in (4, 6, 8, 10)
    }


def test_a_level_that_does_nothing_is_the_baseline():
    found = grid({"disturb": "cross leak={level}", "levels": [0, 0.1], "over": {}, "series": "s"})
    assert [(x.level, x.disturb) for x in found] == [(0, ""), (0.1, "cross leak=0.1")]
    assert found[0].id == found[0].baseline == found[1].baseline


def test_a_run_is_named_by_its_configuration_and_a_condition_by_all_but_the_seed():
    conditions = grid()
    one = conditions[1].config
    other = expanded(spec(seeds="7"), DATA)[0][1].config
    assert name_of(one) != name_of(other) and id_of(one) == id_of(other) == conditions[1].id
    assert len(name_of(one)) == 12 and name_of(one) == name_of(expanded(spec(), DATA)[0][1].config)


def test_sweeps_that_share_conditions_share_their_runs():
    found = grid({"levels": [4, 6]}, {"levels": [6, 8], "figure": "again"})
    ids = [x.id for x in found if x.series == "zero"]
    assert len(ids) == 4 and len(set(ids)) == 3


def test_the_author_s_knobs_are_written_as_he_counts_them():
    found = grid(
        {
            "disturb": "incoming positive={1-level} negative={ 1 + level }",
            "levels": [0.02, 0.1],
            "over": {},
            "series": "s",
        }
    )
    assert [x.disturb for x in found if x.disturb] == [
        "incoming positive=0.98 negative=1.02", "incoming positive=0.9 negative=1.1"
    ]  # fmt: skip


def test_tau_is_where_all_time_constants_start_and_l_may_be_anything():
    found = grid({"disturb": "", "tau": "{level}", "levels": [0.1, 5, 200], "over": {}, "series": "s"})
    for condition, tau in zip(found, (0.1, 5, 200), strict=True):
        assert condition.config.bounds[0] == WIDEST[0]
        network = condition.config.network()
        starts = np.array(network.w).reshape(-1, 4)[:, 0] / 2**26
        assert np.allclose(np.exp(starts), tau, rtol=1e-3) and condition.baseline == condition.id
    refused(lambda: grid({"tau": 1000}), "[[sweep]] 1 (message): tau 1000: choose 0.0183 to 403 steps")


def test_settings_of_a_sweep_reach_the_network():
    found = grid({"graph": "small-world", "share": 0.5, "wiring_seed": 3, "rows": 4, "images": 10, "epochs": 3})
    config = found[0].config
    assert (config.share, config.wiring_seed, config.rows, config.images, config.epochs) == (2048, 3, 4, 10, 3)
    swept = grid(
        {"graph": "small-world", "share": "{level}", "levels": [0.25, 1], "disturb": "", "over": {}, "series": "s"}
    )
    assert [x.config.share for x in swept] == [1024, 4096]


def test_quick_is_less_of_everything():
    found = grid({"images": 30, "epochs": 5}, quick=True)
    assert [x.level for x in found if x.series == "floor"] == [4, 8, 10]
    assert {(x.images, x.epochs) for x in found} == {(20, 2)}
    assert spec(quick=True).seeds == [2] and spec().seeds == [1, 2, 3]
    refused(lambda: Spec.of({k: v for k, v in GOOD.items() if k != "quick"}, "F", True), "F has no [quick] table")


@pytest.mark.parametrize("step, kept", [(1, [1, 2, 3, 4, 5]), (2, [1, 3, 5]), (3, [1, 4, 5]), (9, [1, 5])])
def test_thinned(step, kept):
    assert thinned([1, 2, 3, 4, 5], step) == kept


def test_data_with_too_few_images_are_taken_whole_and_it_is_said():
    conditions, notes = expanded(spec(images=1000), DATA)
    assert conditions[0].images == 60
    assert notes == ["good asks for 1000 training images, and noise has 60: all are taken"]


# --- what is refused


def without(key: str, table: dict) -> dict:
    return {k: v for k, v in table.items() if k != key}


@pytest.mark.parametrize(
    "found, parts",
    [
        (without("about", GOOD), ("the study has no about; add it",)),
        ({**GOOD, "imags": 3}, ("the study has 'imags', which means nothing", "images")),
        ({**GOOD, "images": "many"}, ("images of the study is 'many'; it must be a whole number from 1",)),
        ({**GOOD, "images": True}, ("images of the study is True",)),
        ({**GOOD, "epochs": 0}, ("epochs of the study is 0",)),
        ({**GOOD, "name": "../x"}, ("name '../x' has no place in a path",)),
        ({**GOOD, "seeds": "3-1"}, ("F: seeds 3-1: 3-1 goes backwards",)),
        ({**GOOD, "sweep": []}, ("sweep of the study is []; it must be one [[sweep]] at least",)),
        ({**GOOD, "quick": {"images": 0}}, ("images of [quick] is 0",)),
        ({**GOOD, "quick": {"levels": "ends"}}, ("[quick] has 'levels', which means nothing", "thin")),
        ({**GOOD, "quick": 3}, ("quick of the study is 3; it must be a table",)),
        ({**GOOD, "sweep": [SWEEP, without("x", SWEEP)]}, ("[[sweep]] 2 has no x; add it",)),
        ({**GOOD, "sweep": [{**SWEEP, "disturbed": ""}]}, ("[[sweep]] 1 has 'disturbed', which means nothing",)),
        ({**GOOD, "sweep": [{**SWEEP, "levels": [1, 1]}]}, ("levels of [[sweep]] 1 is [1, 1]", "different values")),
        ({**GOOD, "sweep": [{**SWEEP, "levels": []}]}, ("levels of [[sweep]] 1 is []",)),
        ({**GOOD, "sweep": [{**SWEEP, "levels": ["a"]}]}, ("levels of [[sweep]] 1", "each a number")),
        ({**GOOD, "sweep": [{**SWEEP, "over": {"level": [1]}}]}, ("over of [[sweep]] 1", "but not level")),
        ({**GOOD, "sweep": [{**SWEEP, "over": {"graph": "lattice"}}]}, ("over of [[sweep]] 1", "a list of values")),
        ({**GOOD, "sweep": [{**SWEEP, "rows": [3]}]}, ("rows of [[sweep]] 1 is [3]",)),
    ],
)  # fmt: skip
def test_what_a_spec_may_not_say_is_named_with_its_table_and_key(found, parts):
    refused(lambda: Spec.of(found, "F"), *parts)


@pytest.mark.parametrize(
    "sweep, said",
    [
        ({"graph": "torus"}, "graph torus: choose one of lattice, forest"),
        ({"rule": "backprop"}, "rule backprop: choose one of snap1, exact"),
        ({"preset": "best"}, "there is no preset best"),
        ({"disturb": "massage bits={level}"}, "'massage' is no signal"),
        ({"disturb": "message bits={levels}"}, "disturb has {levels}, which stands for nothing; there are"),
        ({"disturb": "message bits={2-level}"}, "disturb has {2-level}, which stands for nothing"),
        ({"disturb": "message bits={1-rounding}"}, "disturb has {1-rounding}, which stands for nothing"),
        ({"series": "{colour}"}, "series has {colour}"),
        ({"levels": [0.5]}, "message: bits=0.5 is no whole number"),
        ({"rows": 99}, "--rows 99: choose 1 to 5"),
        ({"rows": 2.5}, "rows 2.5: choose a whole number"),
        ({"rows": "few"}, "rows few: choose a number"),
        ({"graph": "small-world", "share": 2}, "share 2: choose a number from 0 to 1"),
        ({"units": 3}, "--units counts for nothing with --graph lattice"),
        ({"graph": "diagonal", "disturb": "cross bits={level}"}, "this network has no cross"),
        ({"series": "s"}, "has a second condition at 4 of series s; name what differs"),
    ],
)  # fmt: skip
def test_what_no_network_can_be_is_named_with_its_sweep(sweep, said):
    refused(lambda: grid({}, {"figure": "second", **sweep}), "F: [[sweep]] 2 (second)", said)


def test_files_that_are_no_specs(tmp_path):
    (tmp_path / "x.toml").write_text("name = ")
    refused(lambda: Spec.read(str(tmp_path / "x.toml")), "x.toml is no TOML (")
    (tmp_path / "y.toml").write_bytes(b"name = '\xff'")
    refused(lambda: Spec.read(str(tmp_path / "y.toml")), "y.toml is no TOML (")
    refused(lambda: Spec.read("nonesuch"), "nonesuch is no study", "article, bits, graphs, mismatch, noise, tau")
    refused(lambda: Spec.read(str(tmp_path)), "cannot be read as the file of one (Is a directory)")


def test_numbers_are_filled_in_without_exponents_and_digits_of_chance():
    assert filled("{level} {1-level} {1+level}", {"level": 0.1}, "") == "0.1 0.9 1.1"
    assert filled("{level}|{1+level}", {"level": -0.02}, "") == "-0.02|0.98"
    assert filled("{level}", {"level": 0.00001}, "") == "0.00001"


# --- what is shipped


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("name", named())
def test_shipped_studies_are_grids_whose_networks_can_be_disturbed_so(name, quick):
    shipped = Spec.read(name, quick)
    conditions, _ = expanded(shipped, dataset.load_bundled())
    assert shipped.name == name and len(conditions) >= 9
    assert quick or len(shipped.seeds) >= 8
    assert all(math.isfinite(x.level) for x in conditions)


def test_the_article_s_study_has_its_knobs_at_its_values():
    found, _ = expanded(Spec.read("article"), dataset.load_bundled())
    for preset in ("article", "critical"):
        mine = {x.disturb for x in found if x.preset == preset}
        assert mine == {
            "",
            *(f"cross leak={x}" for x in ("0.01", "0.02", "0.05", "0.1", "0.15", "0.2")),
            *(f"incoming gain={x}" for x in ("0.98", "0.95", "0.9", "0.8")),
            *(f"incoming positive={1 - x:.3g} negative={1 + x:.3g}" for x in (0.02, 0.05, 0.1, 0.2, -0.02, -0.05, -0.1, -0.2)),
            *(f"cross gain={x}" for x in ("0.9", "0.95", "0.98", "1.02", "1.05", "1.1")),
            *(f"cross noise={x}" for x in ("0.01", "0.05", "0.1", "0.2", "0.5", "1")),
            *(f"incoming noise={x}" for x in ("0.01", "0.05", "0.1", "0.2", "0.5", "1")),
            *(f"incoming noise={x}; cross noise={x}" for x in ("0.01", "0.05", "0.1", "0.2", "0.5", "1")),
        }  # fmt: skip
    assert {(x.images, x.epochs, x.graph) for x in found} == {(5000, 5, "lattice")}  # all that is bundled
