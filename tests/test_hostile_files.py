"""Files of a run that can be read but say what cannot be: --resume and --evaluate name the field, in one plain line."""

import json
from pathlib import Path

import numpy as np
import pytest

from host import simulate, stream
from host.base import cli
from host.data.dataset import load
from host.runs import config
from host.runs.checkpoint import digest
from host.runs.config import Config, configure
from host.runs.presets import PRESETS

SMALL = ("--rows", 6, "--limit", 30, "--test-limit", 10, "--epochs", 2)
WRONG = [  # a field, with a value that it cannot have
    ("preset", "x"),
    ("preset", "\x1b[2Jx\n"),
    ("preset", ["critical"]),
    ("rows", 65),
    ("rows", 0),
    ("cols", 0),
    ("cols", True),
    ("steps", "a"),
    ("steps", 1024),
    ("seed", -5),
    ("seed", "q"),
    ("seed", 10**30),
    ("seed", 1.0),
    ("epochs", -1),
    ("epochs", 10**8),  # times the images: more steps than a board counts
    ("images", 0),
    ("test_images", 2**40),
    ("data", "\x1b[2J"),
    ("pixel_bits", 3),
    ("pixel_bits", [8]),
    ("arithmetic", "zz"),
    ("init", "x"),
    ("init", [1]),
    ("init", [0, 32767, 0, 0, 0, 0, 0, 0, 0]),  # a master beyond int32
    ("init", [[[0]]] * 9),
    ("bounds", [[1, 2]]),
    ("bounds", [[-2, 2], [2, -2], [0, 1]]),
    ("bounds", [[30000, 32000], [0, 1], [0, 1]]),  # beyond the tables of c(l)
    ("bounds", 5),
    ("rate", "abc"),
    ("rate", "1e400"),
    ("rate", "50"),  # more than the integers can say
    ("rate_l", "-1"),
    ("rate_b", 4),
    ("decay", 1),
    ("scale", 10**9),
    ("scale", 0),
    ("gain", -5),
    ("graph", "x"),
    ("graph", ["lattice"]),
    ("rule", "bptt"),
    ("units", 257),
    ("units", 3),  # a lattice has none
    ("share", 4097),
    ("wiring_seed", -1),
    ("cool", 5),
    ("rate_v", "-1"),
    ("disturb", "y noise=0.10"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is complete."""
    path = tmp_path_factory.mktemp("done") / "r"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["command", *map(str, SMALL), "--run-dir", str(path)])
        simulate.main()
    return path


@pytest.fixture
def spoilt(run, tmp_path):
    """spoilt(...) has a copy of the run in r, of which config.json or the checkpoint says something else."""

    def make(config: dict | None = None, checkpoint: dict | None = None) -> None:
        (tmp_path / "r").mkdir()
        found = json.loads((run / "config.json").read_text())
        (tmp_path / "r/config.json").write_text(json.dumps(found | (config or {})))
        (tmp_path / "r/epochs.jsonl").write_bytes((run / "epochs.jsonl").read_bytes())
        with np.load(run / "checkpoint.npz") as file:
            params, about = file["params"], json.loads(str(file["about"]))
        inner = (checkpoint or {}).get("config", {})
        about |= (checkpoint or {}) | {"config": {**about["config"], **inner}}
        about["digest"] = digest(params, about["step"]) if isinstance(about["step"], int) else ""
        np.savez(tmp_path / "r/checkpoint.npz", params=params, about=np.array(json.dumps(about)))

    return make


def assert_damaged(answer: tuple[int, str, str], what: str, field: str) -> None:
    code, out, err = answer
    assert (code, out) == (2, ""), err
    assert err == f"error: {what} is damaged ({field} cannot be right); restore it, or start anew elsewhere\n"


@pytest.mark.parametrize("field, value", WRONG, ids=lambda x: ascii(x)[:20])
def test_checkpoint_with_a_wrong_configuration_names_the_field(answer, spoilt, field, value):
    """Before a board is started: both commands read it in the same way."""
    spoilt(checkpoint={"config": {field: value}})
    for main in (simulate.main, stream.main):
        found = answer(main, "--evaluate", "r/checkpoint.npz", "--test-limit", 5)
        assert_damaged(found, "checkpoint r/checkpoint.npz", field)


@pytest.mark.parametrize("field, value", WRONG, ids=lambda x: ascii(x)[:20])
def test_run_with_a_wrong_configuration_names_the_field_and_no_option(answer, spoilt, field, value):
    spoilt(config={field: value})
    assert_damaged(answer(simulate.main, "--run-dir", "r", "--resume"), "r/config.json", field)


@pytest.mark.parametrize("field, value", [("rows", 29), ("cols", 9), ("steps", 27)])
def test_sizes_that_do_not_fit_the_runs_own_data_are_damage(answer, spoilt, field, value):
    spoilt(config={field: value})
    assert_damaged(answer(simulate.main, "--run-dir", "r", "--resume"), "r/config.json", field)


@pytest.mark.parametrize(
    "source, said",
    [
        (5, "is damaged (source cannot be right)"),
        ("a" * 5000, "is damaged (source cannot be right)"),
        ("a\0b", "is damaged (source cannot be right)"),
        ("a" * 4000, "File name too long; check the path"),
        ("/\x1b[2J", r"/\x1b[2J does not exist"),
    ],
    ids=lambda x: ascii(x)[:20],
)
def test_a_wrong_source_is_shown_plainly(answer, spoilt, source, said):
    spoilt(config={"source": source})
    code, out, err = answer(simulate.main, "--run-dir", "r", "--resume")
    assert (code, out) == (2, "")
    assert said in err and err.endswith(("elsewhere\n", "; name its data with --data\n"))
    assert err.count("\n") == 1 and err[:-1].isprintable() and len(err) < 1000


@pytest.mark.parametrize("images", [6000, 10**6])
def test_more_images_than_there_are_is_about_the_data_and_no_option(answer, spoilt, images):
    spoilt(config={"images": images})
    err = answer(simulate.main, "--run-dir", "r", "--resume")[2]
    assert err == (
        f"error: the run in r needs {images} training and 10 test images, and there are 5000 and 1000; name its data"
        " with --data\n"
    )


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("step", True, "step"),
        ("step", 61, "step"),
        ("correct", 31, "correct"),
        ("correct", -1, "correct"),
        ("seconds", float("nan"), "seconds"),
        ("seconds", float("inf"), "seconds"),
        ("epochs", [], "epochs"),
        ("epochs", {}, "epochs"),
    ],
)
def test_checkpoint_with_a_wrong_position_names_it(answer, spoilt, field, value, said):
    spoilt(checkpoint={field: value})
    for options in (("--evaluate", "r/checkpoint.npz"), ("--run-dir", "r", "--resume")):
        assert_damaged(answer(simulate.main, *options), "checkpoint r/checkpoint.npz", said)


@pytest.mark.parametrize(
    "field, value",
    [
        ("digest", "\x1b[2J"),
        ("test_accuracy", float("nan")),
        ("train_accuracy", 1.5),
        ("images_per_second", float("inf")),
        ("epoch", 3),
        ("step", 0),
    ],
)
def test_checkpoint_with_a_wrong_epoch_prints_none_of_it(answer, spoilt, run, field, value):
    epochs = [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]
    epochs[-1][field] = value
    spoilt(checkpoint={"epochs": epochs})
    assert_damaged(answer(simulate.main, "--run-dir", "r", "--resume"), "checkpoint r/checkpoint.npz", "an epoch")


def test_every_field_is_looked_at():
    assert {field for field, _ in WRONG} == config.FITS.keys()


@pytest.mark.parametrize("preset", PRESETS)
def test_what_configure_makes_is_right(preset):
    made = configure(load(), preset, 2**31 - 1, 10)
    assert Config.from_dict(made.as_dict()) == made


@pytest.mark.parametrize(
    "text, plain",
    [
        ("caf\u00e9", "caf\u00e9"),
        ("a\x1b[2J\nb", r"a\x1b[2J\nb"),
        ("\udc80", r"\udc80"),
        ("x" * 80, "x" * 80),
        ("x" * 50 + "y" * 50, "x" * 38 + "..." + "y" * 38),
    ],
)
def test_foreign_text_is_shown_plainly(text, plain):
    assert cli.shown(text) == plain
