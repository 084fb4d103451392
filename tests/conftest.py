"""What tests in several files start from."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from scripted_line import ROW, SIZE, Script, intact

from tools.faults.episode import Episode
from tools.faults.golden import small
from tools.faults.world import World


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
