"""What tests in several files start from: boards on a scripted line, commands in this process, signals that work."""

import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from image_tool import run_tool
from scripted_line import ROW, SIZE, Script, intact

from host.base import cli
from host.pictures import ending
from tools.faults.episode import Episode
from tools.faults.golden import small
from tools.faults.world import World

Answer = tuple[int, str, str]  # exit code, stdout, stderr


# Files that take longest, of few tests each: begun first, so that none of them is left alone at the end.
LONGEST = ("test_study.py", "test_sim_killed.py", "test_stream.py", "test_disturbed.py", "test_report_in_browser.py",
           "test_gradients.py", "test_report.py", "test_rtl_cells.py", "test_install.py")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: much of the time a test waits for a child process."""
    return min(6, (os.cpu_count() or 1) + 1)


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


@pytest.fixture(autouse=True)
def ctrl_c_works() -> Iterator[None]:
    """A shell that runs the tests in the background has SIGINT ignored; commands, and children, respect that."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.fixture(autouse=True)
def no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end without their page, which takes longer than a small run; tests of it put this back."""
    monkeypatch.setattr(ending, "available", lambda: False)


@pytest.fixture
def answer(monkeypatch, capsys, tmp_path) -> Callable[..., Answer]:
    """answer(main, ...) calls a command in this process, in a directory of its own."""
    monkeypatch.chdir(tmp_path)

    def call(main: Callable[..., int | None], *args: object) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["command", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            cli.run(main)
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return call
