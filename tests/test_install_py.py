"""A board whose MicroPython takes no machine code gets the .py files, hears why, and trains."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from interpreters import interpreter
from prompt_board import BOOT, PromptBoard

from firmware import selftest
from host.board import install
from tools import image

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_bytes()
    for package in install.PACKAGES
    for path in (ROOT / package).glob("*.py")
}

# The same board with a MicroPython that says of itself what one without an emitter does.
NO_EMITTER = """
import sys as real
class Implementation(tuple):
    _machine = "board without an emitter"
    _mpy = real.implementation._mpy & 0x3FF
class Sys:
    implementation = Implementation(real.implementation)
    def __getattr__(self, name):
        return getattr(real, name)
real.modules["sys"] = Sys()
"""


class PlainBoard(PromptBoard):
    """A PromptBoard without machine code."""

    boot = NO_EMITTER + BOOT


def test_board_without_machine_code_gets_the_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way with the real mpremote; an .mpy file of an earlier firmware goes, other files stay."""
    interpreter("x64")
    before = {"firmware/wire.mpy": b"M\x06old", "data/mine.txt": b"keep me"}
    with PlainBoard(tmp_path, files=before) as board:
        result = install.install(board.port)
        said = [line for line in capsys.readouterr().err.splitlines() if ".py files" in line]
        assert len(said) == 1 and "slower" in said[0] and "machine code" in said[0]
        assert result["march"] == "py" and int(result["self_test"], 16) == selftest.GOLDEN
        files = board.files
        assert {name: files[name] for name in SOURCES} == SOURCES
        assert files.keys() == {*SOURCES, "main.py", "manifest.json", "data/mine.txt"}
        argv = [sys.executable, "-m", "host.stream", "--port", board.port, "--json", "--twin", "--rows", "8",
                "--limit", "5", "--test-limit", "5", "--run-dir", str(tmp_path / "run"), "--no-report"]  # fmt: skip
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and json.loads(done.stdout)["steps"] == 5, done.stderr
        assert install.install(board.port, say=lambda text: None)["march"] == "py", "once more, with it running"


def test_image_of_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["image", "--arch", "py", "--out", str(out)])
    assert image.main() == 0 and "bytes of sources in" in capsys.readouterr().out
    assert {name: (out / name).read_bytes() for name in SOURCES} == SOURCES
    assert not list(out.rglob("*.mpy")) and json.loads((out / "manifest.json").read_text())["mpy_cross"] is None
    assert image.verify(out) is None
    with (out / "firmware/wire.py").open("a") as file:
        file.write("#")
    assert (image.verify(out) or "").startswith("firmware/wire.py")


def test_sources_need_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.micropythons, "program", None)
    install.stage("py", tmp_path)
    assert (tmp_path / "fixedpoint/kernels.py").is_file()
