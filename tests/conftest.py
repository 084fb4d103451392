"""What several test files need: commands called in this process, and signals that work."""

import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from host import cli

Answer = tuple[int, str, str]  # exit code, stdout, stderr


@pytest.fixture(autouse=True)
def ctrl_c_works() -> Iterator[None]:
    """A shell that runs the tests in the background has SIGINT ignored; commands, and children, respect that."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.fixture
def answer(monkeypatch, capsys, tmp_path) -> Callable[..., Answer]:
    """answer(main, ...) calls a command in this process, in a directory of its own."""
    monkeypatch.chdir(tmp_path)

    def call(main: Callable[..., int | None], *args: object) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["command", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            cli.run(main)
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return call
