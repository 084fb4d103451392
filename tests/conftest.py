"""What tests in several files start from."""

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from image_tool import run_tool
from scripted_line import ROW, SIZE, Script, intact

from tools.faults.episode import Episode
from tools.faults.golden import small
from tools.faults.world import World


@pytest.fixture(scope="module", autouse=True)
def settled() -> None:
    """What earlier modules have made is not looked at again by gc.collect(), which a board calls with every OPEN.

    Compilers and arrays of all tests together would make each such call as long as a whole test (0.1 s and more).
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., Episode]]:
    """stage(decide, ...) makes an Episode on a scripted line, and lets the test live in its world."""
    with ExitStack() as stack:

        def make(decide: Callable = intact, images: int = 14, largest: int = ROW, **options: object) -> Episode:
            world = World(1, small(1, images, 4, SIZE), **options)  # type: ignore[arg-type]
            world.injector = Script(world, decide)
            stack.enter_context(world.entered())
            return Episode(world, tmp_path, largest=largest)

        yield make


@pytest.fixture(scope="session")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image for a Pico, made by the command."""
    out = tmp_path_factory.mktemp("images") / "pico"
    done = run_tool("--board", "pico", "--out", out, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert json.loads(done.stdout) == json.loads((out / "manifest.json").read_text())
    return out
