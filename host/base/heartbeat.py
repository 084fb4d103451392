"""Signs of life on stderr while something takes its time."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

EVERY = 5.0  # seconds


def say(text: str) -> None:
    """A line on stderr, at once. A stderr that cannot be written to is no reason to stop."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def heartbeat(text: Callable[[], str], every: float | None = None) -> Iterator[None]:
    """Within, say text() every so many seconds (None: EVERY)."""
    ending = threading.Event()

    def beat() -> None:
        while not ending.wait(every or EVERY):
            say(text())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
