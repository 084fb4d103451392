"""The pages of python -m host.report in a headless Chromium: they run, move, fit a phone, and have two lights."""

import re
from pathlib import Path

import pytest
from browser import DARK, PHONE, dom, looks, needs_chromium, on_a_phone
from report_pages import page_of, study_page

pytestmark = needs_chromium

STILL = "--force-prefers-reduced-motion"
WATCH = (
    "<script>addEventListener('load', () => setTimeout(() => { document.body.dataset.requests ="
    " performance.getEntriesByType('resource').length; }, 500));</script>"
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page for each kind of thing that is on one."""
    place = tmp_path_factory.mktemp("pages")
    found = {graph: page_of(place / graph, graph=graph) for graph in ("lattice", "diagonal")}
    return {**found, "study": study_page(place / "study")}


def frame(text: str) -> int:
    """Where the animation stands."""
    found = re.search(r"data-frame=\"(\d+)\"", text)
    assert found, "the page has no animation"
    return int(found[1])


@pytest.mark.parametrize("kind", ["lattice", "diagonal", "study"])
def test_page_says_nothing_on_the_console_and_asks_for_nothing(pages, kind, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(pages[kind].read_text().replace("</body>", f"{WATCH}</body>"))
    text, console = dom(page, tmp_path / "profile")
    assert console == []
    assert 'data-requests="0"' in text


@pytest.mark.parametrize("kind", ["lattice", "diagonal"])
def test_animation_goes_on_by_itself_and_says_where_it_is(pages, kind, tmp_path):
    begun, _ = dom(pages[kind], tmp_path / "one", wait=600)
    later, _ = dom(pages[kind], tmp_path / "two", wait=1800)
    assert 0 < frame(begun) < frame(later)
    assert re.search(rf"step {frame(later) + 1} of \d+|messages reach|the label says", later)


def test_animation_comes_to_the_messages_and_begins_again(pages, tmp_path):
    first = re.search(r"aria-label=\"step\" max=\"(\d+)\"", dom(pages["diagonal"], tmp_path / "a", wait=300)[0])
    assert first
    last = int(first[1])
    text, _ = dom(pages["diagonal"], tmp_path / "b", wait=180 * last + 500)
    assert frame(text) == last and "messages reach every trace" in text
    text, _ = dom(pages["diagonal"], tmp_path / "c", wait=180 * (last + 12))
    assert frame(text) < last


def test_animation_stands_still_for_those_who_want_less_motion(pages, tmp_path):
    frames = {frame(dom(pages["lattice"], tmp_path / str(wait), STILL, wait=wait)[0]) for wait in (600, 1800)}
    assert len(frames) == 1


@pytest.mark.parametrize("kind", ["lattice", "diagonal", "study"])
def test_page_fits_a_phone(pages, kind, tmp_path):
    assert on_a_phone(pages[kind], tmp_path) == (PHONE, PHONE)


@pytest.mark.parametrize("kind", ["lattice", "study"])
def test_page_is_light_or_dark_as_its_reader_is(pages, kind, tmp_path):
    light, dark = looks(pages[kind], tmp_path), looks(pages[kind], tmp_path, DARK)
    assert light.mean() > 0.8 and dark.mean() < 0.3
    assert light.min() < 0.3 and dark.max() > 0.7, "there is something to read in both"


def test_a_page_that_is_wrong_is_noticed(pages, tmp_path):
    """Errors, requests and width are seen by what the tests above look with."""
    broken = tmp_path / "broken.html"
    wide = "<div style='width:900px'>.</div><img src='https://example.org/picture.png'><script>missing()</script>"
    broken.write_text(pages["study"].read_text().replace("</body>", f"{wide}{WATCH}</body>"))
    text, console = dom(broken, tmp_path / "profile")
    assert any("missing is not defined" in line for line in console)
    assert 'data-requests="1"' in text
    assert on_a_phone(broken, tmp_path)[0] > PHONE
