"""Files that are never half written, and files that belong to one process."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def aside_of(path: Path) -> Path:
    """Where write_atomically() writes first."""
    return path.with_name(path.name + ".new")


def write_atomically(path: Path, write: Callable[[Any], Any]) -> None:
    """Let write(file) fill a new file, then put it in the place of `path`: never half a file, whatever happens."""
    aside = aside_of(path)
    try:
        with open(aside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def made(path: Path, exist_ok: bool) -> Iterator[None]:
    """Make a directory with its parents; if what follows fails, none of them that is new stays behind."""
    new = [place for place in (path, *path.parents) if not place.exists()]
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
        yield
    except FileExistsError:  # another process was faster: what is there now is not ours
        raise
    except BaseException:
        for place in new:
            with contextlib.suppress(OSError):  # not one that somebody has put something into
                place.rmdir()
        raise


def copy_sources(source: Path, target: Path) -> None:
    """Copy a directory of sources into another, which may be there.

    What is copied can be written and removed, though a checkout that is not its user's cannot: not so with
    shutil.copytree. Raises the system's OSError; copytree's has no number, by which a full disk would be known.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_dir():
            if path.name != "__pycache__":
                copy_sources(path, target / path.name)
        else:
            shutil.copyfile(path, target / path.name)


def lock(file: Any) -> bool:
    """Lock a file for this process; return False if another process has it. It is let go when the file is closed."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)  # else this file system has no locks
    return True
