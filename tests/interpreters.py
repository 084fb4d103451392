"""The MicroPythons of the lanes, and this Python; a test that needs one which is not here is skipped, and says why."""

import sys

import pytest

from host import lanes
from host.cli import UserError


def interpreter(arch: str) -> list[str]:
    """The command that runs the MicroPython of this lane, or, as `cpython`, this Python."""
    if arch == "cpython":
        return [sys.executable]
    try:
        return lanes.command(arch)
    except UserError as error:
        pytest.skip(str(error))
