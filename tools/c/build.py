"""Programs that are started: compilers, and what they made."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from host.base.cli import UserError


def execute(argv: Sequence[str], environment: dict[str, str] | None = None, stdin: bytes = b"") -> bytes:
    """Run a program and return what it prints. Raises UserError with its last words if it fails."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=600, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{Path(argv[0]).name} does not run: {error}") from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").splitlines()
        lines = [line for line in words if line.strip() and not line.startswith("==")]  # valgrind's
        raise UserError(f"{Path(argv[0]).name} failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return done.stdout


def compiler(reason: str) -> str:
    """This computer's C compiler. reason: what it is needed for. Raises UserError."""
    if found := shutil.which("cc") or shutil.which("gcc"):
        return found
    raise UserError(f"no C compiler for {reason}; install gcc")
