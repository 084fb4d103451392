"""The firmware image: what is in it, that it runs, that --verify sees every change, and the way onto a board.

The board of the last tests is a MicroPython at its prompt behind a pseudo-terminal, with a littlefs of a Pico's size as
its only file system and with soft and hard resets; the real mpremote talks to it.
"""

import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware import selftest, wire
from host import dataset, install, lanes
from host.cli import UserError
from host.link import Link
from host.serialport import SerialTransport
from host.sim import SimBoard
from tools import image

ROOT = Path(__file__).resolve().parent.parent
LITTLEFS = pytest.importorskip("littlefs", reason="no littlefs-python here: pip install littlefs-python")

# For a MicroPython: mounts the file system in a file as a board does, and names what is in it.
MOUNT = """
import os, sys, vfs
class Flash:
    def __init__(self, name):
        with open(name, "rb") as file:
            self.data = bytearray(file.read())
    def readblocks(self, block, buffer, offset=0):
        at = 4096 * block + offset
        buffer[:] = self.data[at : at + len(buffer)]
    def writeblocks(self, block, buffer, offset=0):
        at = 4096 * block + offset
        self.data[at : at + len(buffer)] = buffer
    def ioctl(self, op, argument):
        return {4: len(self.data) // 4096, 5: 4096}.get(op, 0)
flash = Flash(sys.argv[1])
vfs.mount(vfs.VfsLfs2(flash, progsize=256), "/image")
sys.argv[1] = "/image"
"""

# Every file's size and hash: what a board can read.
READ = """
import binascii, hashlib
def walk(folder):
    for entry in os.ilistdir(folder):
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            walk(path)
        else:
            with open(path, "rb") as file:
                data = file.read()
            print(path[len("/image/"):], len(data), binascii.hexlify(hashlib.sha256(data).digest()).decode())
walk("/image")
"""

# Checkpoints, as firmware.storage writes them, more than the erased blocks of a fresh image can hold.
WRITE = """
for i in range(300):
    with open("/image/shoreline.new", "wb") as file:
        file.write(bytes([i & 255]) * 4500)
    os.rename("/image/shoreline.new", "/image/shoreline.ckp")
vfs.umount("/image")
with open(sys.argv[2], "wb") as file:
    file.write(flash.data)
"""

# For any Python: trains with the engine in a directory, and prints digests.
TRAIN = """
import sys
sys.path.insert(0, sys.argv[1])
from firmware import selftest
from fixedpoint.lattice import Lattice
print(hex(selftest.run()))
lattice = Lattice(28, 10, 28)
lattice.seed(1, (3072, 819, 0, 3072, 819, -4932, 0, 0, 0))
lattice.set_rates(((20972, 19), (20972, 21), (16777, 25)))
with open(sys.argv[2], "rb") as file:
    while True:
        record = file.read(785)
        if not record:
            break
        print(lattice.train(record[:784], record[784]), hex(lattice.digest()))
"""


def interpreter(arch: str) -> list[str]:
    try:
        return lanes.command(arch)
    except UserError as error:
        pytest.skip(str(error))


def run_tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tools.image", *map(str, arguments)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image for a Pico, made by the command."""
    out = tmp_path_factory.mktemp("images") / "pico"
    done = run_tool("--board", "pico", "--out", out, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert json.loads(done.stdout) == json.loads((out / "manifest.json").read_text())
    return out


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three digits, each with its label."""
    path = tmp_path_factory.mktemp("digits") / "digits.bin"
    data = dataset.load()
    pairs = zip(data.train_images[:3], data.train_labels, strict=False)
    path.write_bytes(b"".join(pixels.tobytes() + bytes([label]) for pixels, label in pairs))
    return path


def execute(argv: list[str], script: str, *arguments: Path) -> list[str]:
    """Run a script in an interpreter and return what it prints."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(script)
        file.flush()
        done = subprocess.run([*argv, file.name, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def golden(digits: Path) -> list[str]:
    """What plain CPython computes from the sources."""
    lines = execute([sys.executable], TRAIN, ROOT, digits)
    assert len(lines) == 4 and int(lines[0], 16) == selftest.GOLDEN
    return lines


# What is in an image


def test_manifest_says_what_is_there(pico: Path) -> None:
    manifest = json.loads((pico / "manifest.json").read_text())
    assert manifest["march"] == "armv6m" and manifest["wire"] == wire.VERSION and manifest["mpy_cross"][0].isdigit()
    sources = {
        path.relative_to(ROOT).as_posix() for package in install.PACKAGES for path in ROOT.glob(f"{package}/*.py")
    }
    assert {file["source"] for file in manifest["files"].values() if "source" in file} == sources
    for name, file in manifest["files"].items():
        data = (pico / name).read_bytes()
        assert (file["size"], file["sha256"]) == (len(data), install.sha256(data))
        if "source" in file:
            assert file["source_sha256"] == install.sha256((ROOT / file["source"]).read_bytes())
            assert data[:2] == b"M\x06" and (data[2] >> 2 != 0) == (file["emit"] == "viper")
    assert (pico / "main.py").read_text().count("\n") == 3
    everything = {path.relative_to(pico).as_posix() for path in pico.rglob("*") if path.is_file()}
    assert everything == {*manifest["files"], "manifest.json", "package.json", "shoreline-pico.uf2"}
    assert not any(str(ROOT).encode() in path.read_bytes() for path in pico.rglob("*") if path.is_file())


def test_package_json_names_files_that_are_there(pico: Path) -> None:
    package = json.loads((pico / "package.json").read_text())
    assert package["version"] == json.loads((pico / "manifest.json").read_text())["firmware"]
    targets = [target for target, url in package["urls"] if (pico / url).is_file() and target == url]
    assert len(targets) == len(package["urls"]) and targets[-1] == "main.py"


@pytest.mark.parametrize("march", ["armv7emsp", "xtensawin", "rv32imc"])
def test_image_for_other_chips(march: str, tmp_path: Path) -> None:
    manifest = install.stage(march, tmp_path)
    for name in ("fixedpoint/kernels.mpy", "firmware/codec.mpy"):
        assert install.MACHINES[(tmp_path / name).read_bytes()[2] >> 2] == march == manifest["march"]


def test_codec_compiles_for_every_chip(tmp_path: Path) -> None:
    for march in install.CHIPS:  # the kernels do: test_lanes
        lanes.compile_file(ROOT / "firmware/codec.py", tmp_path / f"{march}.mpy", "viper", march)
        assert install.MACHINES[(tmp_path / f"{march}.mpy").read_bytes()[2] >> 2] == march


def test_pico_files_train_on_armhf(pico: Path, digits: Path, golden: list[str]) -> None:
    """Debian's armhf MicroPython runs the RP2040's own code: exactly the files that a Pico gets."""
    assert execute(interpreter("armhf"), TRAIN, pico, digits) == golden


@pytest.mark.parametrize("arch, march", [("i386", "x86"), ("x64", "x64")])
def test_staged_files_train(arch: str, march: str, tmp_path: Path, digits: Path, golden: list[str]) -> None:
    argv = interpreter(arch)
    install.stage(march, tmp_path)
    assert execute(argv, TRAIN, tmp_path, digits) == golden


# The UF2 file and its littlefs


def test_uf2_is_as_the_boot_rom_wants_it(pico: Path) -> None:
    data = (pico / "shoreline-pico.uf2").read_bytes()
    assert len(data) == 512 * 5632
    addresses = []
    for number in range(len(data) // 512):
        start0, start1, flags, address, size, block, blocks, family, *_, end = struct.unpack_from(
            "<8I476sI", data, 512 * number
        )
        # the RP2040's vd_write_block() ignores every block for which one of these does not hold
        assert (start0, start1, end) == (0x0A324655, 0x9E5D5157, 0x0AB16F30)
        assert flags == 0x2000 and family == 0xE48BFF56 and size == 256
        assert (block, blocks) == (number, len(data) // 512)
        addresses.append(address)
    # 1408 KB up to the end of 2 MB of flash, without a gap and from the start of a sector: erratum RP2040-E14
    assert addresses == list(range(0x100A0000, 0x10200000, 256))


@pytest.mark.parametrize("board", [name for name, board in image.BOARDS.items() if not isinstance(board.place, str)])
def test_file_system_ends_where_the_flash_ends(board: str) -> None:
    place = image.BOARDS[board].place
    assert isinstance(place, image.FileSystem)
    flash = 4 << 20 if board.startswith("pico2") else 2 << 20
    assert place.base + place.size == 0x10000000 + flash and place.base % 4096 == place.size % 4096 == 0
    assert image.unpack(image.uf2(bytes(8192), place)) == (place._replace(size=8192), bytes(8192))


@pytest.mark.parametrize("damage", ["short", "magic", "address", "family", "missing", "empty"])
def test_damaged_uf2_is_noticed(damage: str) -> None:
    place = image.FileSystem(image.RP2040, 0x100A0000, 2048)
    data = bytearray(image.uf2(bytes(range(256)) * 8, place))
    data[{"magic": 512 * 3 + 509, "address": 512 * 2 + 13, "family": 512 * 5 + 28}.get(damage, 512 * 4 + 50)] ^= 1
    if damage == "missing":
        del data[512:1024]
    with pytest.raises(ValueError):
        image.unpack({"short": bytes(data[:-1]), "empty": b""}.get(damage, bytes(data)))


@pytest.fixture(scope="module")
def flash(pico: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file system in the Pico's UF2 file."""
    path = tmp_path_factory.mktemp("flash") / "pico.lfs"
    path.write_bytes(image.unpack((pico / "shoreline-pico.uf2").read_bytes())[1])
    return path


def test_micropython_reads_the_file_system(pico: Path, flash: Path) -> None:
    """The x64 MicroPython mounts what is in the UF2 as _boot.py does on a board, and finds every file unharmed."""
    names = install.board_files(json.loads((pico / "manifest.json").read_text()))
    wanted = {f"{name} {len(data)} {install.sha256(data)}" for name in names if (data := (pico / name).read_bytes())}
    assert set(execute([*interpreter("x64"), "-X", "heapsize=8M"], MOUNT + READ, flash)) == wanted


def test_pico_file_system_trains_on_armhf(flash: Path, digits: Path, golden: list[str]) -> None:
    """From the UF2 file to digests: an ARM MicroPython mounts the file system and imports from it."""
    assert execute([*interpreter("armhf"), "-X", "heapsize=4M"], MOUNT + TRAIN, flash, digits) == golden


def test_x64_file_system_trains(tmp_path: Path, digits: Path, golden: list[str]) -> None:
    argv = [*interpreter("x64"), "-X", "heapsize=8M"]
    manifest = install.stage("x64", tmp_path)
    files = {name: (tmp_path / name).read_bytes() for name in install.board_files(manifest)}
    (tmp_path / "x64.lfs").write_bytes(image.littlefs(files, 848 * 1024))
    assert execute(argv, MOUNT + TRAIN, tmp_path / "x64.lfs", digits) == golden


def test_micropython_goes_on_writing_in_our_file_system(flash: Path, tmp_path: Path) -> None:
    """The board must be able to write its checkpoint there; and what it wrote is read by littlefs-python again."""
    execute([*interpreter("x64"), "-X", "heapsize=8M"], MOUNT + WRITE, flash, tmp_path / "after")
    before, after = image.contents(flash.read_bytes()), image.contents((tmp_path / "after").read_bytes())
    assert after == before | {"shoreline.ckp": bytes([299 & 255]) * 4500}


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
    frame = Link(None).frame(bytes([wire.EXIT]))  # type: ignore[arg-type]
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


# The way onto a board

BOOT = """
import os, sys, vfs
class Flash:
    def __init__(self, name):
        self.file = open(name, "r+b")
        self.blocks = os.stat(name)[6] // 4096
    def readblocks(self, block, buffer, offset=0):
        self.file.seek(4096 * block + offset)
        self.file.readinto(buffer)
    def writeblocks(self, block, buffer, offset=0):
        self.file.seek(4096 * block + offset)
        self.file.write(buffer)
        self.file.flush()
    def ioctl(self, op, argument):
        return {4: self.blocks, 5: 4096}.get(op, 0)
class Machine:
    def reset(self):
        sys.exit(42)
sys.modules["machine"] = Machine()
flash = Flash("flash.bin")
try:
    fs = vfs.VfsLfs2(flash, progsize=256)
except OSError:
    vfs.VfsLfs2.mkfs(flash, progsize=256)
    fs = vfs.VfsLfs2(flash, progsize=256)
vfs.umount("/")
vfs.mount(fs, "/")
os.chdir("/")
sys.path[:] = ["", ".frozen", "/lib"]
if sys.argv[1] == "main" and "main.py" in os.listdir():
    exec(open("main.py").read())
"""


class PromptBoard(SimBoard):
    """A board as it comes from the shop: MicroPython at its prompt, and a file system of `blocks` blocks.

    A process that ends is a reset: a hard one by machine.reset(), with main.py, else a soft one out of the raw REPL.
    """

    def __init__(self, flash: Path, blocks: int = 352, files: dict[str, bytes] | None = None):
        (flash / "flash.bin").write_bytes(image.littlefs(files, 4096 * blocks) if files else b"\xff" * 4096 * blocks)
        super().__init__("x64", flash)
        self.port = os.path.realpath(self.port)  # mpremote is quick with what it knows for a pseudo-terminal
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def _install(self, heap: str) -> list[str]:
        (self.flash / "boot.py").write_text(BOOT)
        return [*lanes.command("x64"), "-X", f"heapsize={heap}", "-i", "boot.py", "main"]

    def _watch(self) -> None:
        while self.running:
            if self.process and self.process.poll() is not None:
                hard = self.process.returncode == 42
                self.power_off()
                self.command[-1] = "main" if hard else "raw"
                if not hard:
                    os.write(self.outer, b"MPY: soft reboot\r\n")
                self.power_on()
                if not hard:
                    os.write(self.master, b"\x01")
            time.sleep(0.005)

    def close(self) -> None:
        self.running = False
        self.watcher.join()
        super().close()

    @property
    def files(self) -> dict[str, bytes]:
        """What is on its file system."""
        return image.contents((self.flash / "flash.bin").read_bytes())


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
    "an index of the tables that is off by one": (r"tanh\[i \+ 1\]", "tanh[i]"),
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
        lanes.compile_tree("x64", [sources / "fixedpoint"], board.flash)
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
