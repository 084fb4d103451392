"""A terminal, as far as progress needs one: what it shows of what is written to it, on a pseudo-terminal."""

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import termios
from typing import Self

CODE = re.compile(r"\x1b\[([\d;?]*)([A-Za-z])|([^\x1b])")


class Terminal:
    """Has a pseudo-terminal, `slave`; shown() is what stands there. Lines fold, and fold anew if the width changes."""

    def __init__(self, columns: int, lines: int = 24):
        self.master, self.slave = pty.openpty()
        self.rows: list[list] = [["", False]]  # text, and whether it goes on in the next one
        self.row = self.column = 0
        self.said = self.rest = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.resize(columns, lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.master)
        os.close(self.slave)

    def resize(self, columns: int, lines: int = 24) -> None:
        """Take this size, as a window that is dragged."""
        self.read()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.columns, whole, rows, row = columns, "", [], 0
        for number, (text, goes_on) in enumerate(self.rows):
            whole += text
            if not goes_on:
                parts = [whole[at : at + columns] for at in range(0, len(whole), columns)] or [""]
                rows += [[part, at < len(parts) - 1] for at, part in enumerate(parts)]
                whole = ""
            if number == self.row:  # the cursor stands at the end of what is written
                row = len(rows) - 1
        self.rows, self.row = rows, row
        self.column = len(rows[row][0])

    def read(self, wait: float = 0) -> None:
        """Show what has been written; if that is nothing, wait so many seconds for it."""
        while select.select([self.master], [], [], wait)[0]:
            self.write(self.decoder.decode(os.read(self.master, 1 << 16)))
            wait = 0

    def write(self, text: str) -> None:
        """Show a text."""
        self.said += text
        text = self.rest + text
        end = re.search(r"\x1b[^A-Za-z]*$", text)  # half a code
        text, self.rest = (text[: end.start()], end[0]) if end else (text, "")
        for given, kind, character in CODE.findall(text):
            if character == "\r":
                self.column = 0
            elif character == "\n":
                self._down()
            elif character:
                if self.column == self.columns:
                    self.rows[self.row][1] = True
                    self._down()
                    self.column = 0
                was = self.rows[self.row][0].ljust(self.column)
                self.rows[self.row][0] = was[: self.column] + character + was[self.column + 1 :]
                self.column += 1
            elif kind == "A":
                self.row = max(self.row - int(given or 1), 0)
            elif kind == "K":
                assert given == "2"
                self.rows[self.row] = ["", False]
            else:
                assert kind == "m", f"nobody needs {given}{kind}"

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append(["", False])

    @property
    def plain(self) -> str:
        """All that was said, without codes."""
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self.said)

    def shown(self) -> list[str]:
        """The lines with something in them."""
        self.read()
        return [text.rstrip() for text, _ in self.rows if text.strip()]
