"""Standard streams that may be full or closed: progress may get lost, work and results may not.

stdout is for results: what it does not take is an error, which comes after everything has been saved. stderr is for
all else: what it does not take is lost, and nobody minds.
"""

import contextlib
import io
import os
import sys
from typing import Any


class Undelivered(Exception):
    """stdout does not take a result; str() says why. No OSError, or argparse would keep it to itself."""

    way_out = "give it another place, and try again"  # unless somebody between knows better


class Strict(io.FileIO):
    """stdout: what cannot be written raises Undelivered, or BrokenPipeError if its reader has left; both only once."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # The interpreter would try again at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise Undelivered(error.strerror) from error


class Lossy(io.FileIO):
    """stderr: what cannot be written is lost."""

    def write(self, data: Any, /) -> int:
        with contextlib.suppress(OSError):
            return super().write(data) or len(data)
        return len(data)


def secure() -> None:
    """Make stdout strict and stderr lossy, and keep files that are opened later out of a closed one's place."""
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(spare, True)
    os.close(spare)
    if sys.stdout is not None and sys.stdout is sys.__stdout__:  # else somebody has put something else in its place
        sys.stdout = _text(Strict(1, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(Lossy(2, "w", closefd=False), sys.stderr)


def _text(raw: io.FileIO, old: Any) -> io.TextIOWrapper:
    """A file for text, with the old one's ways. There is no old one if it was closed."""
    encoding, errors = getattr(old, "encoding", "utf-8"), getattr(old, "errors", "backslashreplace")
    lines = getattr(old, "line_buffering", True) or getattr(old, "write_through", True)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=lines)


def deliver() -> None:
    """Have stdout take all that was printed. Raises Undelivered, BrokenPipeError."""
    if sys.stdout is None:
        raise Undelivered("it is closed")
    sys.stdout.flush()
