"""Every tool takes its options the same way: what it does not know is one line, with the way to the help."""

import importlib
import sys
from pathlib import Path

import pytest

from host.base import cli
from tools import make_tables

TOOLS = ("host.baseline", "host.micropythons", "tools.bench", "tools.image", "tools.make_digits", "tools.make_tables",
         "tools.mutate", "tools.parity", "tools.soak")  # fmt: skip


@pytest.mark.parametrize("name", TOOLS)
def test_unknown_option_is_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--no-such-option"])
    with pytest.raises(SystemExit) as left:
        cli.run(importlib.import_module(name).main)
    out, err = capsys.readouterr()
    assert (left.value.code, out, err.count("\n")) == (cli.EXIT_USER_ERROR, "", 1)
    assert err.startswith("error: ") and f"see python -m {name} --help" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_tables_that_cannot_be_written_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_tables, "PATH", Path("/dev/full"))
    monkeypatch.setattr(sys, "argv", ["make_tables"])
    with pytest.raises(cli.UserError, match=r"cannot write /dev/full \(No space left"):
        make_tables.main()
