"""Temporary directories that leave no remains: what a killed process could not remove, the next one removes.

Each is called shoreline-... and holds a file that its process has locked. A lock ends with its process, however that
ends, so a directory whose lock can be had belongs to nobody any more.
"""

import contextlib
import errno
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from host.base import cli
from host.base.cli import UserError

if sys.platform != "win32":  # there nothing is locked, and so nothing is swept
    import fcntl

PREFIX = "shoreline-"
LOCK = ".shoreline-lock"  # a directory without such a file is somebody else's, whatever it is called
ROOM = 1 << 20  # bytes that must be free where a directory is made
FULL = (errno.ENOSPC, errno.EDQUOT)


class Scratch:
    """A new directory, `path`, that is removed by close(), at the end of a with statement, or with the process.

    what: a part of its name. parent: where (None: $TMPDIR, else the system's place). Raises UserError if there is no
    place for it, and instead of an OSError in the with statement if its disk is full; with a parent, OSError.
    """

    def __init__(self, what: str, parent: Path | None = None):
        self.parent, self.temporary = (parent or place()).absolute(), parent is None
        try:
            sweep(self.parent)
            self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{what}-", dir=self.parent))
            try:
                held = _hold(self.path)
            except OSError:
                shutil.rmtree(self.path, ignore_errors=True)
                raise
        except OSError as error:
            if not self.temporary:
                raise
            raise _refusal(self.parent, str(error.strerror)) from error
        self.close = weakref.finalize(self, _let_go, self.path, held)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: object, error: BaseException | None, *rest: object) -> None:
        full = self.temporary and isinstance(error, OSError) and error.errno in FULL and _free(self.path) < ROOM
        self.close()
        if full:
            raise _refusal(self.parent, os.strerror(errno.ENOSPC)) from error


def place() -> Path:
    """Where temporary files go: $TMPDIR, and nowhere else if that is set. Raises UserError if nothing can go there."""
    try:
        directory = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
        free = _free(directory)
    except OSError as error:  # no such directory, or tempfile knows of none that serves
        raise _refusal(Path(os.environ.get("TMPDIR") or "/tmp"), str(error.strerror)) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise _refusal(directory, os.strerror(errno.EACCES))
    if free < ROOM:
        raise _refusal(directory, f"{free >> 10} KB are free there")
    return directory


def sweep(parent: Path) -> None:
    """Remove the directories in `parent` that dead processes of this user have left. Never raises."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        for path in parent.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                _sweep(path)


def _sweep(path: Path) -> None:
    assert sys.platform != "win32"
    if path.is_symlink() or path.stat().st_uid != os.geteuid():
        return
    held = os.open(path / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails if it is in use, or being swept
        _remove(path)
    finally:
        os.close(held)


@contextlib.contextmanager
def alone(directory: Path, say: Callable[[str], object]) -> Iterator[None]:
    """Within, no other process that asks for the same is in this directory. Raises OSError if it cannot be opened."""
    if sys.platform == "win32":
        yield
        return
    held = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{directory}: another process is at work there; waiting for it")
                fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _hold(directory: Path) -> int | None:
    """Put a locked file into a directory; return its descriptor, or None where there are no locks.

    flock, not lockf: it keeps out this process, too, which may have several directories and sweeps for each of them.
    """
    if sys.platform == "win32":
        return None
    aside = directory / f"{LOCK}.new"  # nobody ever finds one under its name that is not locked
    held = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        aside.unlink()
        return None
    aside.rename(directory / LOCK)
    return held


def _let_go(path: Path, held: int | None) -> None:
    with cli.held():  # a second Ctrl-C does not leave half of it behind
        _remove(path)
    if held is not None:
        os.close(held)


def _remove(path: Path) -> None:
    """Remove a directory; the lock goes in the end, so that what is left if this is killed can be swept again."""
    with contextlib.suppress(OSError):
        for name in os.listdir(path):
            if name != LOCK:
                shutil.rmtree(path / name, ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)


def _free(directory: Path) -> int:
    """Bytes that may still be written there. Raises OSError."""
    usage: Any = shutil.disk_usage(directory)
    return usage.free if usage.total else ROOM  # some file systems do not tell


def _refusal(directory: Path, reason: str) -> UserError:
    return UserError(
        f"no temporary files can be written in {directory} ({reason}); make that possible, or name another place with"
        " TMPDIR"
    )
