"""A part of a terminal that is drawn again and again, below the lines that are said meanwhile."""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment, Segments
from rich.style import Style

from host.runs.drawings import Line


def drawable() -> bool:
    """Whether stderr is a terminal that can be drawn on: one of unknown size (a serial console) cannot."""
    try:
        known = sys.stderr.isatty() and min(os.get_terminal_size(sys.stderr.fileno())) > 1
    except (OSError, ValueError):
        return False
    return known and os.environ.get("TERM") not in ("dumb", "unknown")


class Visible(Console):
    """A Console that hides no cursor: a process that is killed could not bring it back."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class Display:
    """What is drawn on stderr, a terminal, until it is closed; nothing is left of it then."""

    shown: ClassVar["Display | None"] = None  # the one that there is

    def __init__(self) -> None:
        self.console = Visible(file=sys.stderr, force_terminal=True, force_interactive=True)
        self.live = Live(
            console=self.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self.widths: list[int] = []  # of the lines that are there

    def measure(self) -> tuple[int, int]:
        """Columns and lines that there are to draw on. What a narrower terminal has folded is found again."""
        with contextlib.suppress(OSError):  # it is gone: as it was
            columns, lines = os.get_terminal_size(sys.stderr.fileno())
            self.console.size = ConsoleDimensions(max(columns - 1, 1), lines)  # the last one makes some terminals fold
            folds = sum((width - 1) // max(columns, 1) for width in self.widths if width)
            up = (ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)
            if folds:
                self.console.control(Control(ControlType.CARRIAGE_RETURN, *up * folds))
            self.widths = []
        return self.console.size

    @property
    def plain(self) -> bool:
        """Whether it has ASCII characters only."""
        return not self.console.encoding.startswith("utf")

    def draw(self, lines: Sequence[Line]) -> None:
        """Draw these lines in the place of those that are there; call measure() first."""
        columns = self.console.width
        parts = []
        for line in lines:
            parts += [*(Segment(text, Style.parse(style)) for text, style in line), Segment.line()]
        self.widths = [min(sum(cell_len(text) for text, _ in line), columns) for line in lines]
        Display.shown = self
        self.live.start()
        self.live.update(Segments(parts[:-1]), refresh=True)

    def above(self, text: str) -> None:
        """A line above what is drawn."""
        widths = self.widths
        self.measure()
        self.console.out(text, highlight=False)
        self.widths = [min(width, self.console.width) for width in widths]

    def close(self) -> None:
        """Remove what is drawn."""
        Display.shown = None
        self.measure()
        self.live.stop()
