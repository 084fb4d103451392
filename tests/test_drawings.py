"""host.runs.drawings: the characters that a curve, an image and a roll of runs are made of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_run import CONFIG, DATA

from host.data.dataset import load
from host.engine.learners import FixedLearner
from host.runs.directory import RunDirectory
from host.runs.drawings import HEIGHT, PICTURE, WIDEST, Curve, Line, bar, picture, portrait, roll, scene, spark
from host.runs.run import Progress, Run
from host.runs.seeds import Member

WIDTH = 65  # of a plot: 60 columns beside its scale


def text(line: Line) -> str:
    return "".join(part for part, _ in line)


def progress(step: int, correct: float) -> Progress:
    """At this step of a run of CONFIG, with so many right in its epoch."""
    epoch = (step - 1) // 23
    return Progress(epoch + 1, 3, step - 23 * epoch, 23, correct, 12)


def epochs(*accuracies: tuple[float, float]) -> list[dict]:
    """Epochs of CONFIG with these training and test accuracies."""
    return [
        {"step": 23 * (number + 1), "train_accuracy": train, "test_accuracy": test}
        for number, (train, test) in enumerate(accuracies)
    ]


def plot(curve: Curve) -> tuple[float, list[int], list[tuple[int, int]]]:
    """The end of its scale, how many eighths of a line high each column is, and where (column, line from below) dots
    are."""
    first, *_ = lines = [text(line).ljust(WIDTH) for line in curve.lines(WIDTH)[:HEIGHT]]
    columns = [[line[5 + at] for line in reversed(lines)] for at in range(60)]
    dots = [(at, row) for at, column in enumerate(columns) for row, character in enumerate(column) if character == "●"]
    return float(first[:5]), [sum(" ▁▂▃▄▅▆▇█●".index(x) % 9 for x in column) for column in columns], dots


def test_a_curve_is_as_high_as_the_accuracy_and_goes_as_far_as_the_run():
    """23 of 69 steps are 20 of 60 columns."""
    curve = Curve(CONFIG, [])
    assert plot(curve)[1] == [0] * 60
    curve.take(progress(10, 5))
    curve.take(progress(23, 5 + 13 * 0.25))
    curve.take(progress(23, 5 + 13 * 0.25))  # while the test goes on
    top, heights, _ = plot(curve)
    assert top == 0.5 and heights[:8] == [56] * 8 and heights[9:20] == [28] * 11 and not any(heights[21:])
    curve.take(progress(46, 23 * 0.125))
    assert plot(curve)[1][21:40] == [14] * 19


def test_a_run_that_goes_on_has_the_curve_of_its_epochs():
    curve = Curve(CONFIG, epochs((0.5, 0.1), (0.25, 0.1)))
    curve.take(progress(60, 14 * 0.75))
    top, heights, _ = plot(curve)
    assert top == 0.75 and heights[21:39] == [round(56 / 3)] * 18 and heights[41:52] == [56] * 11
    assert heights[:18] == [round(56 * 2 / 3)] * 18


def test_tests_are_dots_at_the_end_of_their_epochs():
    told = epochs((0.1, 0.05))
    curve = Curve(CONFIG, told)
    told += epochs((0, 0), (0.1, 0.9))[1:]  # as a run adds them
    top, _, dots = plot(curve)
    assert top == 1.0 and dots == [(19, 0), (39, 6)]
    assert text(curve.lines(WIDTH)[-1]).endswith("● test 0.9000")


@pytest.mark.parametrize("train, test, top", [(0.2, 0.1, 0.25), (0.2, 0.26, 0.5), (0.7, 0, 0.75), (1.0, 1.0, 1.0)])
def test_a_scale_ends_above_all_that_it_shows(train, test, top):
    assert plot(Curve(CONFIG, epochs((train, test))))[0] == top


# --- images


def test_an_image_is_drawn_two_points_a_character():
    image = np.zeros((28, 28), np.uint8)
    image[:14, :14] = image[16:18, 26:] = 255  # points of 2 x 2 pixels
    assert picture(image) == ["█" * 7] * 3 + ["▀" * 7] + [" " * 13 + "▀"] + ["", ""]


def test_every_bundled_digit_fits_its_place_and_shows():
    for image in load().train_images[:200]:
        lines = picture(image)
        assert len(lines) == HEIGHT and max(map(len, lines)) <= PICTURE and sum(map(len, lines)) > 8


@pytest.mark.parametrize("shape", [(1, 8), (3, 64), (256, 64), (256, 8), (40, 3), (256, 1), (5, 7)])
@pytest.mark.parametrize("value", [0, 200])
def test_sequences_of_any_size_fit(shape, value):
    lines = picture(np.full(shape, value, np.uint8))
    assert 0 < len(lines) <= HEIGHT and max(map(len, lines)) <= PICTURE


def test_a_few_channels_are_drawn_over_time():
    ramp = np.repeat(np.arange(0, 256, 32), 5)
    up, down, full = picture(np.stack([ramp, ramp[::-1], np.full(40, 255)], 1).astype(np.uint8))
    assert "".join(dict.fromkeys(up)) == "▁▂▃▄▅▆▇█" and down == up[::-1] and full == "█" * 20


def test_sparks_are_as_high_as_their_values():
    assert spark([0, 0.25, 0.5, 0.74, 0.75], 0.75) == "▁▃▆██"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(CONFIG, DATA, FixedLearner(CONFIG.network()), RunDirectory(tmp_path / "r", CONFIG, False))


def test_what_was_said_of_an_image_stands_under_it(run):
    assert portrait(run) == []
    said = set()
    for _ in run.train(1):
        _, label, guess = run.last()
        *image, words = portrait(run)
        assert len(image) == HEIGHT and words == (
            [(f"{label}: right", "green")] if guess == label else [(f"{label}: taken for {guess}", "red")]
        )
        said.add(guess == label)
    assert said == {True, False}


def test_classes_have_their_names(run):
    run.data = replace(DATA, classes=("walk", "r\x1b[2J" + "u" * 90))
    found = [text(portrait(run)[-1]) for _ in run.train(1)]
    assert any(words.startswith("walk: ") for words in found)
    assert all(words.isprintable() and len(words) < 32 for words in found)


@pytest.mark.parametrize("columns", [59, 79, 99, 300])
def test_curve_and_image_stand_beside_each_other(run, columns):
    for _ in run.train(5):
        if run.step == 20:
            break
    lines = scene(Curve(CONFIG, run.epochs), run, columns)
    column = min(columns, WIDEST) - PICTURE
    assert len(lines) == HEIGHT + 1 and all(len(text(line)) <= min(columns, WIDEST) for line in lines)
    assert text(lines[-1])[column:] == text(portrait(run)[-1])


# --- bars, and runs with several seeds


@pytest.mark.parametrize("columns", [1, 10, 13, 14, 40, 79])
@pytest.mark.parametrize("plain", [False, True])
def test_a_bar_fills_its_place(columns, plain):
    for share in (0, 0.01, 0.5, 0.999, 1):
        line = text(bar("image 7", share, columns, plain))
        assert line.startswith("image 7") and (len(line) == columns or (line == "image 7" and columns < 14))
        full = "█▏▎▍▌▋▊▉#"
        if columns >= 14:
            found = sum(x in full for x in line)
            assert share * (columns - 10) - 1 <= found <= share * (columns - 10) + 1
            assert plain == line.isascii() or not found


def member(seed: int, *tests: float) -> Member:
    found = [{"test_accuracy": test} for test in tests]
    return Member(replace(CONFIG, seed=seed), Path(f"{seed}"), 0, found)


def test_a_roll_has_a_line_for_each_run():
    lines = [text(line) for line in roll([member(1), member(12, 0.5, 0.25)], 80, 9)]
    assert lines == ["seed 1    epoch 0/3", "seed 12   epoch 2/3  test 0.2500  best 0.5000  █▅"]


@pytest.mark.parametrize("lines", [1, 3, 9])
def test_a_roll_fits_its_place(lines):
    members = [member(seed, *[0.1 * seed] * 90) for seed in range(1, 10)]
    found = [text(line) for line in roll(members, 70, lines)]
    assert len(found) == min(lines, 9) and max(map(len, found)) <= 70
    assert (found[-1] == f"and {10 - lines} more") == (lines < 9)
