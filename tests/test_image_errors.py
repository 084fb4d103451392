"""tools.image: --verify sees every change, and what it does not make or install it refuses in one line."""

import json
import os
import pty
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from image_tool import ROOT, run_tool

from firmware import wire
from host.base.cli import UserError
from host.board import install
from host.board.link import Link
from host.board.serialport import SerialTransport
from tools import image

pytest.importorskip("littlefs", reason="no littlefs-python here: pip install littlefs-python")


# --verify


def test_verify_passes(pico: Path) -> None:
    done = run_tool("--verify", pico)
    assert (done.returncode, done.stderr) == (0, "") and "every file" in done.stdout


@pytest.fixture
def changed(pico: Path, tmp_path: Path) -> Path:
    """A copy of the image, to be tampered with."""
    return Path(shutil.copytree(pico, tmp_path / "changed"))


def test_verify_names_a_changed_file(changed: Path) -> None:
    with (changed / "firmware/wire.mpy").open("r+b") as file:
        file.seek(100)
        byte = file.read(1)[0]
        file.seek(100)
        file.write(bytes([byte ^ 1]))
    done = run_tool("--verify", changed)
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert "firmware/wire.mpy" in done.stderr and "changed after it was made" in done.stderr
    done = run_tool("--verify", changed, "--json")
    assert done.returncode == 1 and "firmware/wire.mpy" in json.loads(done.stdout)["problem"]


def test_no_byte_can_be_changed_unnoticed(pico: Path, changed: Path) -> None:
    """Several bytes of every file, one at a time; compared with the fresh image that verify() would make."""
    for path in sorted(path for path in changed.rglob("*") if path.is_file()):
        name, data = path.relative_to(changed).as_posix(), path.read_bytes()
        for at in sorted({0, len(data) // 7, len(data) // 3, len(data) // 2, len(data) - 1}):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            problem = image.difference(changed, pico)
            assert problem and name in problem, (name, at, problem)
        path.write_bytes(data[:-1])
        assert (image.difference(changed, pico) or "").startswith(name)
        path.unlink()
        assert re.match(f"{name} (is missing|is damaged)", image.difference(changed, pico) or "")
        path.write_bytes(data)
        assert image.difference(changed, pico) is None
    # Python prefers a .py file to the .mpy file beside it: nothing may be added
    (changed / "fixedpoint/kernels.py").touch()
    assert image.difference(changed, pico) == "fixedpoint/kernels.py does not belong to the image"


def test_verify_looks_into_the_uf2(pico: Path, changed: Path) -> None:
    """A UF2 file with another module in it, and one that goes elsewhere: well-formed both."""
    place, data = image.unpack((pico / "shoreline-pico.uf2").read_bytes())
    files = image.contents(data)
    other = {**files, "firmware/wire.mpy": files["firmware/wire.mpy"][:-1] + b"?"}
    (changed / "shoreline-pico.uf2").write_bytes(image.uf2(image.littlefs(other, place.size), place))
    assert "shoreline-pico.uf2" in (problem := image.difference(changed, pico) or "") and "firmware/wire.mpy" in problem
    (changed / "shoreline-pico.uf2").write_bytes(image.uf2(data, place._replace(base=place.base + 4096)))
    assert "0x100a1000" in (image.difference(changed, pico) or "")


@pytest.mark.parametrize("key, value", [("march", "armv7m"), ("board", "pico_w"), ("march", "z80"), ("march", []),
                                        ("files", {}), ("files", []), ("files", {"main.py": 1})])  # fmt: skip
def test_verify_does_not_believe_the_manifest(key: str, value: Any, changed: Path) -> None:
    manifest = json.loads((changed / "manifest.json").read_text())
    (changed / "manifest.json").write_text(json.dumps({**manifest, key: value}))
    assert (image.verify(changed) or "").startswith("manifest.json")


@pytest.mark.parametrize("source", ["fixedpoint/kernels.py", "firmware/device.py"])
def test_verify_names_a_source_that_differs(
    source: str, pico: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it compiles to the same bytes: the manifest names the sources."""
    for package in install.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    monkeypatch.setattr(install, "ROOT", tmp_path)
    assert image.verify(pico) is None
    with (tmp_path / source).open("a") as file:
        file.write("# nothing\n")
    problem = image.verify(pico) or ""
    assert problem.startswith(source.replace(".py", ".mpy")) and f"another {source}" in problem


# Errors


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--board", "pic", "--out", "x"], ["pico", "--board"]),
        (["--arch", "z80", "--out", "x"], ["armv6m", "--arch"]),
        (["--out", "x"], ["--board", "--list"]),
        (["--arch", "armv6m"], ["--out", "--install", "--verify"]),
        (["--board", "pico", "--arch", "armv6m", "--out", "x"], ["not allowed with"]),
        (["--verify", "tests"], ["no image"]),
        (["--verify", "tests", "--arch", "armv6m"], ["--arch"]),
        (["--out", "tests", "--arch", "armv6m"], ["exists already", "--out"]),
        (["--out", "/dev/null/x", "--arch", "armv6m"], ["cannot write", "--out"]),
        (["--install", "/dev/nothing"], ["no port", "/dev/nothing"]),
    ],
)
def test_errors_name_the_way_out(arguments: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["image", *arguments])
    with pytest.raises(UserError) as caught:
        image.main()
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not (ROOT / "x").exists()


def test_error_is_one_line() -> None:
    done = run_tool("--board", "pic", "--out", "x")
    assert (done.returncode, done.stdout) == (2, "") and len(done.stderr.splitlines()) == 1, done.stderr


def test_board_without_a_uf2_loader_gets_no_uf2(tmp_path: Path) -> None:
    done = run_tool("--board", "esp32", "--out", tmp_path / "out")
    assert done.returncode == 0 and "no UF2 file for esp32" in done.stderr
    assert not list(tmp_path.rglob("*.uf2")) and (tmp_path / "out/firmware/main.mpy").is_file()
    listed = json.loads(run_tool("--list", "--json").stdout)["boards"]
    assert {b["board"] for b in listed if not b["uf2"]} == {"esp32", "esp32s2", "esp32s3", "esp32c3", "pyboard"}


RP2040_SAYS: dict[str, Any] = {"name": "micropython", "version": [1, 23, 0], "mpy": 4 << 10 | 0x306, "machine": "Pico",
                               "free": 1 << 20, "block": 4096, "files": {}, "ours": True}  # fmt: skip


@pytest.mark.parametrize(
    "says, words",
    [
        ({"name": "circuitpython"}, "circuitpython, not MicroPython.*1.23"),
        ({"version": [1, 22, 2]}, "1.22.2; put 1.23 or later"),
        ({"mpy": 9 << 10 | 0x306}, "runs xtensa code.*another board"),
        ({"mpy": 15 << 10 | 0x306}, "unknown code"),
    ],
)
def test_boards_that_cannot_run_it(says: dict[str, Any], words: str) -> None:
    assert install.Board(**RP2040_SAYS).march == "armv6m"
    with pytest.raises(UserError, match=words):
        _ = install.Board(**{**RP2040_SAYS, **says}).march


@pytest.mark.parametrize(
    "says, words",
    [
        ({"mpy": 4 << 10 | 0x206}, r"version 6\.2, and mpy-cross makes 6\.3"),
        ({"free": 8192}, r"needs \d+ KB .* where 8 KB"),
        ({"ours": False, "files": {"main.py": 9, "main.old.py": 9}}, "main.old.py"),
    ],
)
def test_nothing_is_copied_to_a_board_that_cannot_take_it(says: dict[str, Any], words: str, pico: Path) -> None:
    manifest = json.loads((pico / "manifest.json").read_text())
    with pytest.raises(UserError, match=words):
        install.copy("nowhere", install.Board(**{**RP2040_SAYS, **says}), pico, manifest)


@pytest.mark.parametrize(
    "output, words",
    [
        ("/usr/bin/python3: No module named mpremote\n", "pip install mpremote"),
        ("mpremote: failed to access PORT (it may be in use by another program)\n", "busy or gone"),
        ("b''\nmpremote: could not enter raw repl\n", "no MicroPython prompt.*reset button"),
        ("mpremote: cp: ... OSError: [Errno 28] ENOSPC\n", "full; delete"),
        ("serial.serialutil.SerialException: device reports readiness ... device disconnected", "went away"),
        ("Traceback\nRuntimeError: xyz\n", "xyz; try again"),
        ("", "no reason"),
    ],
)
def test_what_mpremote_says_becomes_one_line(output: str, words: str) -> None:
    line = install.explain("PORT", output)
    assert re.search(words, line) and "\n" not in line


def test_garbled_answer() -> None:
    with pytest.raises(UserError, match=r"garbled.*try again"):
        install.answer('@{"name": "micro\n')


def test_what_ends_the_firmware_is_a_comment_at_a_prompt() -> None:
    frame = Link().frame(bytes([wire.EXIT]))
    assert frame[2:3] == b"#" and not set(frame) & set(b"\x01\x03\x04\x05\r\n")


def test_port_without_micropython(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    monkeypatch.setattr(install, "PROMPT", 0.1)
    monkeypatch.setattr(install, "ASK", 1.0)
    with pytest.raises(UserError, match=r"no MicroPython prompt.*reset button.*1.23"):
        install.install(os.ttyname(slave))
    holder = SerialTransport(os.ttyname(slave))
    with pytest.raises(UserError, match="busy"):
        install.install(os.ttyname(slave))
    holder.close()
    os.close(slave)
    os.close(master)
