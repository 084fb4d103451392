"""What a line to a board is, and how talking over it may end."""

from typing import Protocol

from host.base.cli import UserError


class LinkLost(Exception):
    """The board, or the line to it, is gone; str() says what was noticed."""


class BoardReset(LinkLost):
    """The board has started anew: whatever it did since its checkpoint must be done again."""


class NoFirmware(UserError):
    """This firmware does not run there, and waiting will not start it: a prompt, a traceback, another version."""


class Gone(KeyboardInterrupt):
    """Ctrl-C while the board does not answer: what it has done since the last checkpoint cannot be asked for."""


class Transport(Protocol):
    """A line to a board. room: how to make some on the board's file system, for people."""

    room: str

    def read(self, timeout: float) -> bytes:
        """Return what has arrived, or arrives within `timeout` seconds; nothing, perhaps, before. Raises LinkLost."""

    def write(self, data: bytes) -> None:
        """Send all of it. Raises LinkLost."""

    def close(self) -> None:
        """Let go of the line."""


class Unopened:
    """The Transport of a Link before its first."""

    room = ""

    def read(self, timeout: float) -> bytes:
        """As Transport.read."""
        raise LinkLost("the port is not open yet")

    def write(self, data: bytes) -> None:
        """As Transport.write."""
        raise LinkLost("the port is not open yet")

    def close(self) -> None:
        """There is nothing to let go of."""
