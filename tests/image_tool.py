"""python -m tools.image as a program of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tools.image", *map(str, arguments)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
