"""python -m host.dataset --show, and options that do not go together."""

import json

import numpy as np
import pytest
from idx_files import FILES, SET, TRAIN_IMAGES, command, refused, write

from host.data.dataset import load, picture
from host.dataset import main


def test_show_command_summarises_the_bundled_digits(capsys):
    main(["--show"])
    out = capsys.readouterr().out
    assert "28 x 28" in out and load().digest in out and "CC BY-SA 3.0" in out
    assert f"train: 5000 images, per class {[500] * 10}" in out and f"test: 1000 images, per class {[100] * 10}" in out


def test_show_command_draws_an_image_of_a_directory(tmp_path, capsys):
    main(["--show", "--data", str(write(tmp_path, FILES)), "--index", "11"])
    out = capsys.readouterr().out
    assert "4 x 3" in out and "per class [2, 2, 1, 1, 1, 1, 1, 1, 1, 1]" in out
    assert out.rstrip("\n").endswith("\n".join(["training image 11, label 1", *picture(SET[TRAIN_IMAGES][11])]))


def test_show_command_as_json_has_all_the_text_has(tmp_path, capsys):
    main(["--show", "--data", str(write(tmp_path / "mine", FILES)), "--index", "0", "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "name": "mine",
        "digest": load(tmp_path / "mine").digest,
        "provenance": "",
        "rows": 4,
        "cols": 3,
        "train": {"count": 12, "per_class": [2, 2, 1, 1, 1, 1, 1, 1, 1, 1]},
        "test": {"count": 5, "per_class": [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]},
        "image": {"index": 0, "label": 0, "picture": picture(SET[TRAIN_IMAGES][0])},
    }


@pytest.mark.parametrize("index", [-1, 5000])
def test_show_command_refuses_an_index_that_is_not_there(index):
    refused(lambda: main(["--show", "--index", str(index)]), f"--index {index}: choose 0 to 4999")


def test_show_command_exits_2_with_one_error_line_for_bad_data(tmp_path):
    done = command("host.dataset", "--show", "--data", tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--show", "--fetch", "x"],
        ["--show", "--mirror", "x"],
        ["--fetch", "x", "--data", "y"],
        ["--fetch", "x", "--index", "0"],
    ],
)
def test_options_that_do_not_go_together_are_refused(args):
    refused(lambda: main(args), *[arg for arg in args if arg.startswith("--")])


def test_picture_shows_dark_to_bright_with_two_characters_per_pixel():
    image = np.array([[0, 128, 255], [255, 0, 0]], np.uint8)
    assert picture(image) == ["  ++@@", "@@"]


@pytest.mark.parametrize("name", ["host.dataset", "tools.make_digits"])
def test_commands_have_help(name):
    done = command(name, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: python -m {name} ") and "--data" in done.stdout
