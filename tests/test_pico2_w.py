"""The UF2 file for a Pico 2 W: littlefs where stock MicroPython, 1.25 and later, has it on that board."""

import struct
from pathlib import Path

import pytest

from host.board import install
from tools import image

pytest.importorskip("littlefs", reason="no littlefs-python here: pip install littlefs-python")

BASE, SIZE = 0x10180000, 2560 * 1024  # up to the end of 4 MB of flash
ABSOLUTE = 0xE48BFF57


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("images") / "pico2_w"
    image.build("armv7emsp", out, "pico2_w")
    return out


def test_every_page_of_its_file_system_is_written_and_nothing_else(built: Path) -> None:
    data = (built / "shoreline-pico2_w.uf2").read_bytes()
    headers = [struct.unpack_from("<8I", data, at) for at in range(0, len(data), 512)]
    assert [address for _, _, _, address, *_ in headers] == list(range(BASE, BASE + SIZE, 256))
    assert {family for *_, family in headers} == {ABSOLUTE}


def test_littlefs_reads_back_what_the_image_holds(built: Path) -> None:
    place, data = image.unpack((built / "shoreline-pico2_w.uf2").read_bytes())
    assert place == image.FileSystem(ABSOLUTE, BASE, SIZE)
    names = install.board_files(image.read_manifest((built / "manifest.json").read_bytes()))
    assert image.contents(data) == {name: (built / name).read_bytes() for name in names}
    assert image.verify(built) is None
