"""Golden vectors of small networks, made by the command."""

import subprocess
import sys
from pathlib import Path

SHORT = "; ".join(
    f"{signal} bits={bits} rounding=zero"
    for signal, bits in {"y": 8, "state": 10, "self": 10, "cross": 9, "message": 12, "weight": 7, "master": 16,
                         "update": 18}.items()
)  # fmt: skip


def made(out: Path, *options: str) -> Path:
    """Vectors of a lattice of 2 x 2 cells, in this directory."""
    argv = [sys.executable, "-m", "tools.vectors", "--out", out, "--graph", "lattice", "--rows", "2", "--cols", "2"]
    done = subprocess.run([*argv, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out
