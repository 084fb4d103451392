"""Where what was downloaded is kept for the next time."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from host.base.cli import UserError


def cache_dir(directory: str | Path | None = None) -> Path:
    """The cache: `directory`, else $SHORELINE_CACHE, else shoreline/ in $XDG_CACHE_HOME or ~/.cache.

    Where there is no home, or none to write to (an unknown user in a container), a directory of the user's own beside
    the temporary files. Raises UserError if that is another user's, and nothing there can be trusted.
    """
    if chosen := directory or os.environ.get("SHORELINE_CACHE"):
        return Path(chosen).absolute()
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen).absolute() / "shoreline"
    with contextlib.suppress(RuntimeError):  # no home, and no user of that number to have one
        usual = Path.home().absolute() / ".cache/shoreline"
        existing = next(path for path in (usual, *usual.parents) if os.path.exists(path))  # False if it may not look
        if existing == usual or os.access(existing, os.W_OK | os.X_OK):
            return usual
    return _makeshift()


def _makeshift() -> Path:
    """A cache for a user without a home."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        path = Path(tempfile.gettempdir()).absolute() / f"shoreline-cache-{user}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as error:
        raise UserError(f"no place for a cache ({error}); name one with XDG_CACHE_HOME") from error
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != user):
        raise UserError(f"{path} is not yours; name a place for the cache with XDG_CACHE_HOME")
    return path
