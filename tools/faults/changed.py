"""Names of the programs' modules that mean something else for a time: clocks, files, the length of a segment."""

import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import host.board.learner
import host.runs.config
import host.runs.run

SEGMENT = 6  # images between two learning rates


@contextmanager
def changed(module: types.ModuleType, **values: object) -> Iterator[None]:
    """Within, these names of a module mean something else."""
    before = {name: vars(module)[name] for name in values if name in vars(module)}
    vars(module).update(values)
    try:
        yield
    finally:
        for name in values:
            del vars(module)[name]
        vars(module).update(before)


@contextmanager
def segments() -> Iterator[None]:
    """Within, learning rates change every SEGMENT images: so often that a board that misses a change is found out."""
    with ExitStack() as stack:
        for module in (host.runs.config, host.runs.run, host.board.learner):
            stack.enter_context(changed(module, SEGMENT=SEGMENT))
        yield
