"""The way onto a board, and a MicroPython that computes wrongly.

The board is a MicroPython at its prompt behind a pseudo-terminal, with a littlefs of a Pico's size as its only file
system and with soft and hard resets; the real mpremote talks to it.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_tool import ROOT, run_tool
from interpreters import interpreter
from prompt_board import PromptBoard

from firmware import selftest, wire
from host.base.cli import UserError
from host.board import install, micropythons
from host.board.link import Link
from host.board.serialport import SerialTransport
from host.board.sim import SimBoard

pytest.importorskip("littlefs", reason="no littlefs-python here: pip install littlefs-python")


# The way onto a board


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[PromptBoard]:
    interpreter("x64")
    files = {"main.py": b"print('hello')\n", "fixedpoint/kernels.py": b"1 / 0\n", "data/mine.txt": b"keep me"}
    with PromptBoard(tmp_path, files=files) as board:
        yield board


def test_install_on_a_board(bare: PromptBoard) -> None:
    """The whole way with the real mpremote: a bare board, then the same board once more with the firmware running."""
    done = run_tool("--install", bare.port, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["march"] == "x64" and int(result["self_test"], 16) == selftest.GOLDEN
    files = bare.files
    manifest = json.loads(files["manifest.json"])
    for name, file in manifest["files"].items():
        assert install.sha256(files[name]) == file["sha256"]
    assert set(files) == {*manifest["files"], "manifest.json", "main.old.py", "data/mine.txt"}, "no kernels.py"
    assert files["main.old.py"] == b"print('hello')\n" and files["data/mine.txt"] == b"keep me"
    transport = SerialTransport(bare.port)
    hello = Link(transport).attach()  # from now on the firmware ignores Ctrl-C
    assert f"{hello.self_test:08x}" == result["self_test"] and not hello.flags & wire.FLAG_SELF_TEST_FAILED
    transport.close()
    again = install.install(bare.port, say=lambda text: None)
    assert again == result | {"free_heap": again["free_heap"]} and bare.files == files


def test_mip_installs_the_package(pico: Path, tmp_path: Path) -> None:
    interpreter("x64")
    with PromptBoard(tmp_path) as board:
        argv = [sys.executable, "-m", "mpremote", "connect", board.port, "mip", "install", "--target=/"]
        done = subprocess.run([*argv, str(pico / "package.json")], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        names = install.board_files(json.loads((pico / "manifest.json").read_text()))
        assert board.files == {name: (pico / name).read_bytes() for name in names}


def test_full_board_is_left_alone(tmp_path: Path) -> None:
    interpreter("x64")
    with PromptBoard(tmp_path, blocks=12, files={"main.py": b"1\n"}) as board:
        with pytest.raises(UserError, match=r"needs .* KB .* delete files"):
            install.install(board.port, say=lambda text: None)
        assert board.files == {"main.py": b"1\n"}


# A MicroPython that computes wrongly

WRONG = {
    "half an LSB less before each reading of an accumulator": (r"_HALF_C = const\(16384\)", "_HALF_C = const(16383)"),
    "floor instead of nearest in the update": (r"\(v >> \(e - 1\)\) \+ 1\) >> 1", "(v >> (e - 1))) >> 1"),
    "an index of the tables that is off by one": (r"tanh\[x \+ 1\]", "tanh[x]"),
}


def other_source(directory: Path, name: str, pattern: str, replacement: str) -> Path:
    """Copy the packages with one place in one source changed."""
    for package in install.PACKAGES:
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    text, count = re.subn(pattern, replacement, (directory / name).read_text())
    assert count == 1, f"{name} has changed: find another place for {pattern}"
    (directory / name).write_text(text)
    return directory


@pytest.mark.parametrize("wrong", WRONG)
def test_board_that_computes_wrongly_says_so_on_the_link(wrong: str, tmp_path: Path) -> None:
    """What a miscompiling MicroPython does is what other kernels do: the self-test fails, and the host hears of it."""
    interpreter("x64")
    sources = other_source(tmp_path, "fixedpoint/kernels.py", *WRONG[wrong])
    with SimBoard("x64") as board:
        micropythons.compile_tree("x64", [sources / "fixedpoint"], board.flash)
        board.reset()
        argv = [sys.executable, "-m", "host.stream", "--port", board.port, "--limit", "20", "--test-limit", "10",
                "--run-dir", str(tmp_path / "run")]  # fmt: skip
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and "self-test failed" in last and "another MicroPython release" in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name, pattern, replacement, words",
    [
        ("fixedpoint/kernels.py", *WRONG["an index of the tables that is off by one"], "self-test failed .*another"),
        ("firmware/main.py", "IDLE_MS = 10000", "IDLE_MS = 1 // 0", "has stopped with: .*ZeroDivisionError"),
    ],
)
def test_install_notices_a_firmware_that_does_not_run(
    name: str, pattern: str, replacement: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter("x64")
    (tmp_path / "flash").mkdir()
    monkeypatch.setattr(install, "ROOT", other_source(tmp_path, name, pattern, replacement))
    monkeypatch.setattr(install, "START", 1.5)
    with PromptBoard(tmp_path / "flash") as board, pytest.raises(UserError, match=words):
        install.install(board.port, say=lambda text: None)
