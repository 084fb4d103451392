"""What every command has in common: one-line errors, exit codes, Ctrl-C."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_OK = 0
EXIT_USER_ERROR = 2  # bad input: one line on stderr names the cause and the way out
EXIT_INTERRUPTED = 130  # Ctrl-C, after everything has been saved


class UserError(Exception):
    """Bad input or a refused action; str() is one line that names the cause and the way out."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UserErrors, and whose help keeps the lines of the description."""

    def __init__(self, prog: str, description: str | None) -> None:
        super().__init__(prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


class Interrupt:
    """Within this context the first Ctrl-C (or SIGTERM) only sets `requested`; a second one interrupts at once."""

    requested = False

    def __enter__(self) -> "Interrupt":
        self.old = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _note(self, *_: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def run(main: Callable[[], int | None]) -> None:
    """Run a command's main() and leave the process with its exit code; never show a traceback for a UserError."""
    try:
        code = main() or EXIT_OK
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our stdout (head, less) left first
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    sys.exit(code)
