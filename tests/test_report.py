"""python -m host.report: what is on its pages, of which files they are made, and what it refuses."""

import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_pages import DIGITS, page_of, trained
from small_run import noise
from small_study import BUDGET, result, results, write_study

from host import report
from host.pictures import page
from host.pictures.page import write_report

FIGURES = {"learning-curves", "confusion", "misread", "messages", "traces", "formats", "maps"}


@pytest.fixture(scope="module")
def lattice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about one run of a lattice."""
    return page_of(tmp_path_factory.mktemp("lattice"))


class Outline(HTMLParser):
    """The figures of a page by id, with their parts, and every picture's text for those who do not see it."""

    def __init__(self, text: str):
        super().__init__()
        self.figures: list[dict[str, int]] = []
        self.silent: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "figure":
            self.figures.append({"h3": 0, "figcaption": 0, "svg": 0})
        if self.figures and tag in self.figures[-1] and "aria-hidden" not in given:
            self.figures[-1][tag] += 1
        pictured = tag in ("svg", "canvas", "img") and "aria-hidden" not in given
        if pictured and len(given.get("aria-label") or given.get("alt") or "") < 20:
            self.silent.append(self.get_starttag_text() or tag)


def ids(text: str) -> set[str]:
    return set(re.findall(r"<figure[^>]* id='([^']+)'", text))


def test_page_of_a_run_has_all_its_pictures_each_with_a_title_and_a_caption(lattice):
    text = lattice.read_text()
    assert ids(text) == FIGURES
    drawn = [figure for figure in Outline(text).figures if figure["svg"]]
    assert len(drawn) == len(FIGURES)
    assert all(figure["h3"] == figure["figcaption"] == 1 for figure in drawn)


def test_every_picture_has_a_text_for_those_who_do_not_see_it(lattice, tmp_path):
    write_report([write_study(tmp_path / "study", results())], tmp_path / "study.html")
    for path in (lattice, tmp_path / "study.html"):
        silent = Outline(path.read_text()).silent
        assert [tag for tag in silent if tag != "<canvas>"] == [], "small pictures on buttons have the button's text"


def test_page_needs_nothing_but_itself(lattice):
    text = lattice.read_text()
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert not re.search(r"<(link|script|img|iframe)[^>]* (src|href)=(?!'data:)", text)
    assert len(text.encode()) < 5_000_000


def test_page_is_the_same_each_time(lattice, tmp_path):
    write_report([lattice.parent / "run"], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == lattice.read_text()


def test_command_says_where_the_page_is_and_writes_every_figure(lattice, answer):
    code, out, err = answer(report.main, lattice.parent / "run", "--figures", "drawn/figures")
    assert (code, err) == (0, "")
    assert "report.html" in out and Path("report.html").read_text() == lattice.read_text()
    names = {path.name for path in Path("drawn/figures").iterdir()}
    assert names == {f"{name}{end}" for name in FIGURES | {"way"} for end in (".svg", ".png")}
    for path in Path("drawn/figures").glob("*.svg"):
        text = path.read_text()
        assert text.startswith("<svg ") and "prefers-color-scheme:dark" in text and len(text) < 150_000
        assert "<dc:date>" not in text and "Matplotlib v" not in text


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"graph": "forest"}, set()),
        ({"graph": "diagonal"}, {"traces"}),  # its traces move in the animation
        ({"graph": "skip", "rule": "exact"}, {"traces"}),  # the exact rule has none
    ],
)
def test_every_graph_has_its_pictures(tmp_path, options, missing):
    text = page_of(tmp_path, **options).read_text()
    assert ids(text) == FIGURES - missing
    assert "class='way'" in text and 'type="application/json"' not in text.split("<div class='way'")[0]


def test_readings_are_those_of_the_run(lattice):
    """The confusion matrix has as many right ones as the run's own test found."""
    accuracy = json.loads((lattice.parent / "run" / "epochs.jsonl").read_text().splitlines()[-1])["test_accuracy"]
    assert f"{len(DIGITS.test_labels)} images, {accuracy:.4f} of them right" in lattice.read_text()


def test_readings_of_a_disturbed_run_are_disturbed_and_the_page_says_so(tmp_path):
    path = page_of(tmp_path, disturb="y bits=1")
    accuracy = json.loads((tmp_path / "run" / "epochs.jsonl").read_text().splitlines()[-1])["test_accuracy"]
    text = path.read_text()
    assert f"{accuracy:.4f} of them right" in text and "The run is disturbed (y bits=1)" in text


def test_run_whose_data_are_gone_has_what_needs_none(tmp_path):
    source = str(tmp_path / "gone")
    text = page_of(tmp_path, source=source).read_text()
    assert ids(text) == {"learning-curves", "maps"}
    assert "No test images" in text and "linear classifier" not in text, "whether these are digits is not known"


def test_data_are_found_where_the_user_says(tmp_path, answer):
    data = noise(train=30, test=12, steps=6, width=5)
    np.savez(
        tmp_path / "mine.npz",
        **{
            "train_x": data.train_images, "train_y": data.train_labels,
            "test_x": data.test_images, "test_y": data.test_labels,
        },
    )  # fmt: skip
    trained(tmp_path / "run", data=data, source=str(tmp_path / "elsewhere.npz"))
    code, _, err = answer(report.main, tmp_path / "run", "--data", tmp_path / "mine.npz", "--out", "page.html")
    assert (code, err) == (0, "")
    text = Path("page.html").read_text()
    assert {"confusion", "formats"} <= ids(text) and "One sequence’s way" in text
    assert "misread" not in ids(text) and "linear classifier" not in text, "these are for digits"


def test_run_that_has_just_begun_has_a_page(tmp_path):
    write_report([trained(tmp_path / "run", until=0)], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert ids(text) == set()
    assert "No epoch has ended yet" in text and "No checkpoint has been written yet" in text
    assert "run at step 0 of 120" in text


def test_running_run_is_shown_as_far_as_it_is(tmp_path):
    write_report([trained(tmp_path / "run", until=80)], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert ids(text) == FIGURES and "run at step 80 of 120" in text and "after 80 training steps" in text


def test_seeds_are_one_group_and_other_networks_are_told_apart(tmp_path):
    for seed in (1, 2):
        trained(tmp_path / "many" / f"seed-{seed}", seed=seed)
    write_report([tmp_path / "many", trained(tmp_path / "forest", graph="forest")], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "All 3 runs" in text and "3 runs: a thin line each" in text
    assert {"lattice-snap1-maps", "forest-snap1-maps"} <= ids(text) and text.count("class='way'") == 2
    assert "Of the run with seed 1," in text


def test_run_in_float_has_curves_and_maps(tmp_path, answer):
    from host import simulate

    args = ("--engine", "float", "--limit", 5, "--test-limit", 5, "--epochs", 1, "--run-dir", "run")
    assert answer(simulate.main, *args)[0] == 0
    write_report([Path("run")], Path("page.html"))
    assert ids(Path("page.html").read_text()) == {"learning-curves", "maps"}


def test_counters_of_the_line_to_a_board_are_shown(lattice, tmp_path):
    run = trained(tmp_path / "run")
    (run / "link.json").write_text(json.dumps({"bytes_per_image": 425, "timeouts": 3, "board_waiting_share": 0.625}))
    write_report([run], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<b>425</b>" in text and "<b>3</b><span>time-outs" in text and "62.5%" in text
    assert "time-outs" not in lattice.read_text()


def test_study_has_a_picture_for_each_figure_and_says_what_survives(tmp_path):
    write_report([write_study(tmp_path / "study", results(), waiting=3)], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert ids(text) == {"small-message", "small-noise", "small-asymmetric-gain"}
    assert "3 runs still to come" in text and "What survives" in text and f"All {len(results())} conditions" in text
    message = text[text.index("id='small-message'") :].split("</figure>")[0]
    assert message.count("<svg role") == 2, "a panel for each graph, where there are several lines on it"
    noise = text[text.index("id='small-noise'") :].split("</figure>")[0]
    assert noise.count("<svg role") == 1, "and one for all where a graph is a line"


def test_study_without_results_so_far_has_a_page(tmp_path):
    found = [result("message", "floor", x, "bits", "lattice", f"message bits={x}", 0, seeds=0) for x in (2, 4)]
    write_report([write_study(tmp_path / "study", found, waiting=8)], tmp_path / "page.html")
    assert "8 runs still to come" in (tmp_path / "page.html").read_text()


def test_study_of_graphs_shows_what_they_cost(tmp_path):
    found = [result("graphs", graph, 0, "graph", graph, "", 0) for graph in ("lattice", "small-world")]
    study = write_study(tmp_path / "study", found)
    for x in found:
        trained(study / "runs" / f"{x['id']}-1", until=0, graph=x["graph"])
    write_report([study], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert ids(text) == {"small-graphs", "small-graphs-cost"} and "What survives" not in text
    assert ">0.525</text>" in text and ">0.725</text>" in text, "coordinates are rounded, what is written is not"
    assert re.search(r"lattice: 0\.525 at 1\d\.\d million; small-world: 0\.725 at 1\d\.\d million", text)


def test_json_has_runs_and_what_survives_and_makes_no_page(lattice, tmp_path, answer):
    study = write_study(tmp_path / "study", results(), waiting=3)
    code, out, _ = answer(report.main, study, lattice.parent / "run", "--json")
    found = json.loads(out)
    assert code == 0 and not Path("report.html").exists()
    (run,), (told,) = found["trained"], found["studies"]
    assert run["complete"] and run["config"]["graph"] == "lattice" and len(run["epochs"]) == 2
    assert (told["study"], told["waiting"], told["limit"]) == ("small", 3, 0.02)
    assert {"figure": "message", "series": "floor", "level": 12, "kind": "fewest"}.items() <= told["survives"][
        0
    ].items()


def test_without_matplotlib_the_command_says_what_to_install(lattice, tmp_path, answer, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not page.available()
    code, out, err = answer(report.main, lattice.parent / "run")
    assert (code, out) == (2, "") and "pip install matplotlib" in err and not Path("report.html").exists()
    assert answer(report.main, write_study(tmp_path / "study", results()), "--json")[0] == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("nothing", None, "holds neither a run nor a study"),
        ("study.json", json.dumps(BUDGET), "has no results.json yet"),
        ("study.json", "{", "is damaged"),
        ("study.json", "[]", "is damaged"),
        ("config.json", "{}", "is damaged"),
    ],
)
def test_what_is_no_run_and_no_study_is_refused(tmp_path, answer, name, content, says):
    place = tmp_path / "place"
    place.mkdir()
    if content is not None:
        (place / name).write_text(content)
    code, out, err = answer(report.main, place)
    assert (code, out) == (2, "") and says in err and err.count("\n") == 1


def test_a_page_that_cannot_be_written_is_an_error_of_a_line(lattice, answer):
    code, _, err = answer(report.main, lattice.parent / "run", "--out", "nowhere/page.html")
    assert code == 2 and "name another place" in err and err.count("\n") == 1
