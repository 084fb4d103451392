"""Standard streams that may be full or closed: progress may get lost, work and results may not.

stdout is for results: what it does not take is an error, which comes after everything has been saved. stderr is for
all else: what it does not take is lost, and nobody minds.
"""

import contextlib
import errno
import io
import os
import sys


class Lossy(io.FileIO):
    """A file to write to that swallows what cannot be written."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Returns len(data), or less if the rest is still to come."""
        with contextlib.suppress(OSError):
            return super().write(data) or len(data)
        return len(data)


def secure() -> None:
    """Have stderr never raise, and keep files that are opened later from becoming a closed stdin, stdout or stderr."""
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(spare, True)
    os.close(spare)
    if sys.stderr is sys.__stderr__:  # else somebody has put something else in its place
        raw = io.BufferedWriter(Lossy(2, "w", closefd=False))
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"  # there is no sys.stderr if it was closed
        sys.stderr = io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True)


def deliver() -> None:
    """Have stdout take all that was printed. Raises OSError (BrokenPipeError if its reader has left)."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "it is closed")
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):  # else the interpreter would try again at its end, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
