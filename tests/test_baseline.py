"""The command that trains baselines: what it prints, holds out and refuses."""

import json

import numpy as np
import pytest

from host import baseline
from host.data import dataset


@pytest.mark.parametrize("model, parameters", [("linear", 7850), ("pooled", 1110), ("adam", 1120)])
def test_result_is_one_object_with_every_epoch_of_every_seed(answer, model, parameters):
    argv = (model, "--limit", "64", "--test-limit", "50", "--epochs", "2", "--seeds", "2-3", "--json")
    code, out, err = answer(baseline.main, *argv)
    found = json.loads(out)
    assert code == 0 and "seed 3, epoch 2 of 2" in err
    assert {key: found[key] for key in ("model", "parameters", "images", "test_images", "epochs", "tested_on")} == {
        "model": model,
        "parameters": parameters,
        "images": 64,
        "test_images": 50,
        "epochs": 2,
        "tested_on": "test images",
    }
    assert [run["seed"] for run in found["runs"]] == [2, 3] and {len(run["accuracies"]) for run in found["runs"]} == {2}
    last = [run["accuracies"][-1] for run in found["runs"]]
    assert found["mean"] == pytest.approx(np.mean(last), abs=1e-5)
    assert found["sd"] == pytest.approx(np.std(last, ddof=1), abs=1e-5)
    assert (found["lowest"], found["highest"]) == (min(last), max(last))


def test_a_seed_repeats_itself_and_others_differ(answer):
    argv = ("adam", "--limit", "40", "--test-limit", "200", "--epochs", "1", "--json")
    first, again, all_three = (json.loads(answer(baseline.main, *argv, "--seeds", s)[1]) for s in ("2", "2", "1-3"))
    assert first == again and all_three["runs"][1] == first["runs"][0] and first["sd"] is None
    assert len({run["accuracies"][0] for run in all_three["runs"]}) > 1


def test_linear_models_learn_the_digits(answer):
    for model in ("linear", "pooled"):
        code, out, _ = answer(baseline.main, model, "--epochs", "2")
        assert code == 0 and out.splitlines()[-1].startswith("mean 0.8") and out.endswith("on 1000 test images\n")


def test_held_out_images_are_tested_on_and_not_trained_on():
    data = dataset.load()
    part = baseline.without_last(data, 1000)
    assert len(part.train_images) == len(data.train_images) - 1000
    np.testing.assert_array_equal(np.concatenate([part.train_images, part.test_images]), data.train_images)
    np.testing.assert_array_equal(np.concatenate([part.train_labels, part.test_labels]), data.train_labels)


def test_result_says_that_images_were_held_out(answer):
    argv = ("pooled", "--hold-out", "100", "--limit", "60", "--epochs", "1", "--json")
    found = json.loads(answer(baseline.main, *argv)[1])
    assert (found["tested_on"], found["test_images"], found["images"]) == ("held-out training images", 100, 60)


@pytest.mark.parametrize(
    "argv, parts",
    [
        (("pooled", "--seeds", "8-1"), ("--seeds 8-1",)),
        (("pooled", "--seeds", "x"), ("--seeds x", "1-8")),
        (("pooled", "--hold-out", "5000"), ("--hold-out 5000", "1 to 4999")),
        (("pooled", "--hold-out", "0"), ("--hold-out 0",)),
        (("pooled", "--epochs", "0"), ("--epochs 0",)),
        (("quadratic",), ("quadratic", "linear")),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(answer, argv, parts):
    code, out, err = answer(baseline.main, *argv)
    assert code == 2 and out == "" and err.count("\n") == 1
    assert all(part in err for part in parts), err


def test_images_too_small_to_be_pooled_are_refused(answer, monkeypatch):
    tiny = dataset.load().limited(20, 20)
    tiny = dataset.Dataset(
        "tiny", tiny.train_images[:, :9], tiny.train_labels, tiny.test_images[:, :9], tiny.test_labels
    )
    monkeypatch.setattr(dataset, "load", lambda data: tiny)
    code, _, err = answer(baseline.main, "pooled")
    assert code == 2 and "9 x 28" in err and "choose linear" in err
    assert answer(baseline.main, "linear", "--epochs", "1")[0] == 0
