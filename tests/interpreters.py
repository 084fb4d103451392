"""MicroPythons, and this Python; a test that needs one which is not here is skipped, and says why."""

import sys

import pytest

from host.base.cli import UserError
from host.board import micropythons


def interpreter(arch: str) -> list[str]:
    """The command that runs this MicroPython, or, as `cpython`, this Python."""
    if arch == "cpython":
        return [sys.executable]
    try:
        return micropythons.command(arch)
    except UserError as error:
        pytest.skip(str(error))
