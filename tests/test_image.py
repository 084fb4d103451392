"""The firmware image: what is in it, that a board can start from it, and that what is in it runs."""

import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from image_tool import ROOT
from interpreters import interpreter

from firmware import selftest, wire
from host.board import install, micropythons
from host.data import dataset
from tools import image

pytest.importorskip("littlefs", reason="no littlefs-python here: pip install littlefs-python")


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
    for march in install.CHIPS:  # the kernels do: test_micropythons
        micropythons.compile_file(ROOT / "firmware/codec.py", tmp_path / f"{march}.mpy", "viper", march)
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
