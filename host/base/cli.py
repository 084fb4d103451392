"""What every command has in common: how it ends, its exit codes, its signals, and options that say what is wrong.

A command's main() returns (exit code 0, or its own), or raises:

- UserError: one line on stderr names the cause and the way out; exit code 2. So with a system's error (a full disk),
  and with a stdout that does not take the result: whatever was to be saved has been saved then.
- KeyboardInterrupt, for Ctrl-C, SIGTERM or SIGHUP: exit code 130, 143 or 129, after everything has been saved.

stdout carries the result and nothing else. A reader of it that leaves first (head) is no error. All else goes to
stderr, which may be full or closed: then it is lost, and the work goes on.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from host.base import streams

EXIT_OK = 0
EXIT_USER_ERROR = 2  # bad input: one line on stderr names the cause and the way out
EXIT_SIGNAL = 128  # + the signal's number
EXIT_INTERRUPTED = EXIT_SIGNAL + signal.SIGINT  # Ctrl-C, after everything has been saved

SIGNALS = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]


LONGEST = 800  # characters of an error; its beginning names the cause, its end the way out


def shown(text: object, longest: int = 80) -> str:
    """Foreign text for a terminal: what is not printable escaped, of what is too long the middle left out."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    half = longest // 2 - 2
    return plain if len(plain) <= longest else f"{plain[:half]}...{plain[-half:]}"


class UserError(Exception):
    """Bad input or a refused action; str() is one line that names the cause and the way out."""


@contextlib.contextmanager
def handling(handler: Callable[[int, object], None]) -> Iterator[None]:
    """SIGNALS go to this handler meanwhile, but for those that are ignored: nohup and background shells want that.

    Only in the main thread: no signal comes to others.
    """
    mine = threading.current_thread() is threading.main_thread()
    old = {number: signal.getsignal(number) for number in SIGNALS if mine}
    caught = {number: was for number, was in old.items() if was not in (signal.SIG_IGN, None)}
    for number in caught:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, was in caught.items():
            signal.signal(number, was)


class Interrupt:
    """Within this context the first Ctrl-C, SIGTERM or SIGHUP only sets `requested`; a second one interrupts."""

    requested = False
    last = signal.SIGINT  # of the process: the signal that came last

    def __enter__(self) -> "Interrupt":
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(handling(self._note))
        return self

    def __exit__(self, *exc: object) -> None:
        self.stack.close()

    def _note(self, number: int, frame: object) -> None:
        if self.requested:
            interrupt(number, frame)
        Interrupt.last = signal.Signals(number)
        self.requested = True


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within, a first signal waits for the end: a compiler's callbacks swallow an exception that strikes in them."""
    with Interrupt() as status:
        yield
    if status.requested:
        raise KeyboardInterrupt


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Threads and processes that are begun within hear nothing of Ctrl-C or the end of a terminal, nor do theirs.

    A terminal tells all its processes, and this one, which heeds it, tells the others in its own time. Here a signal
    waits for the end.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def interrupt(number: int, frame: object) -> NoReturn:
    """As a handler: interrupt at once."""
    Interrupt.last = signal.Signals(number)
    raise KeyboardInterrupt


def _leave(number: int, frame: object) -> NoReturn:
    """As a handler: end the process where it stands."""
    os._exit(EXIT_SIGNAL + number)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command's main() and leave the process as this file's docstring says."""
    streams.secure()
    Interrupt.last = signal.SIGINT
    with handling(interrupt):
        ended = _ending(main)
        for number in SIGNALS:  # nothing is left that another signal could save, or should undo
            if signal.getsignal(number) is interrupt:
                signal.signal(number, _leave)
        told = _ending(streams.deliver)
        code, last_words = ended if any(ended) else told
        if last_words:
            print(last_words, file=sys.stderr)
    sys.exit(code)


def _ending(main: Callable[[], int | None]) -> tuple[int, str]:
    """Call main(); return the exit code, and the last line for stderr."""
    try:
        try:
            return main() or EXIT_OK, ""
        except SystemExit as left:  # --help
            return int(left.code or EXIT_OK), ""
    except streams.Undelivered as error:
        return EXIT_USER_ERROR, f"error: stdout does not take the result ({error}); {error.way_out}"
    except UserError as error:
        return EXIT_USER_ERROR, f"error: {shown(' '.join(str(error).split()), LONGEST)}"
    except KeyboardInterrupt:
        how = "interrupted" if Interrupt.last == signal.SIGINT else f"ended by {Interrupt.last.name}"
        return EXIT_SIGNAL + Interrupt.last, how
    except BrokenPipeError:  # the reader of our stdout (head, less) left first
        return EXIT_OK, ""
    except OSError as error:
        where = f" ({shown(error.filename, 300)})" if error.filename else ""
        return EXIT_USER_ERROR, f"error: the system says: {error.strerror or error}{where}; mend that, and try again"


def within(option: str, value: int, lowest: int, highest: int, why: str = "") -> int:
    """The value, if it lies in this range. Raises UserError: the one text that says what an option may be."""
    if not lowest <= value <= highest:
        raise UserError(f"{option} {value}: choose {lowest} to {highest}{why and f' ({why})'}")
    return value


def _number(option: str, lowest: int, highest: int) -> Callable[[str], int]:
    """What reads this option's value, a whole number in this range."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise UserError(f"{option} {text}: choose a whole number from {lowest} to {highest}") from error
        return within(option, value, lowest, highest)

    return read


@dataclass(frozen=True)
class Case:
    """A way to call a command in which some options count for nothing."""

    name: str  # as its user knows it
    holds: Callable[[argparse.Namespace], bool]
    way_out: str = "leave one of the two out"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UserErrors, and whose help keeps the lines of the description.

    What an option may be, and when it counts for nothing, stands where it is added.
    """

    def __init__(self, prog: str, description: str | None, **keywords: Any) -> None:
        super().__init__(
            prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **keywords
        )
        self.useless: dict[str, tuple[str, tuple[Case, ...]]] = {}
        self.defaults: dict[str, Any] = {}

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")

    def option(
        self,
        flag: str,
        default: Any = None,
        lowest: int | None = None,
        highest: int = 2**31 - 1,
        useless: tuple[Case, ...] = (),
        **keywords: Any,
    ) -> None:
        """Add an option. useless: to give it then is an error.

        lowest, highest: a whole number in this range. type=int: a whole number, in a range that is not known yet, or
        one of `choices`. Other values are texts, or of another type that is made of one, and never empty.
        """
        kind, choices = keywords.pop("type", str), keywords.get("choices")

        def number(text: str) -> int:
            try:
                value = int(text)
            except ValueError as error:
                what = f"one of {', '.join(map(str, choices))}" if choices else "a whole number"
                bounds = "" if lowest is None else f" from {lowest} to {highest}"
                raise UserError(f"{flag} {shown(text)}: choose {what}{bounds}") from error
            return value if lowest is None else within(flag, value, lowest, highest)

        def filled(text: str) -> Any:
            if not text:
                raise UserError(f"{flag} is empty; give it a value, or leave it out")
            return kind(text)

        if "action" not in keywords:
            keywords["type"] = number if kind is int or lowest is not None else filled
        dest = self.add_argument(flag, default=None, **keywords).dest
        self.useless[dest] = flag, useless
        self.defaults[dest] = False if keywords.get("action") == "store_true" else default

    def parse_args(self, *args: Any) -> argparse.Namespace:  # type: ignore[override]
        """As usual; `given` holds the names of the options that were given, and None is what has no default."""
        found: argparse.Namespace = super().parse_args(*args)
        found.given = {dest for dest in self.useless if getattr(found, dest) is not None}
        for dest in self.useless:  # in the order of the help
            flag, cases = self.useless[dest]
            for case in cases:
                if dest in found.given and case.holds(found):
                    raise UserError(f"{flag} counts for nothing with {case.name}; {case.way_out}")
        vars(found).update({dest: self.defaults[dest] for dest in self.useless if dest not in found.given})
        return found
