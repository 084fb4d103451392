"""The firmware as an image for a board: compiled files, a manifest, and for some boards a UF2 file to drop on them.

  python -m tools.image --install /dev/ttyACM0       straight onto the board at a port (auto: the only USB port)
  python -m tools.image --board pico --out DIR       files for a Raspberry Pi Pico, and the UF2 file
  python -m tools.image --arch armv7emsp --out DIR   files for any board with this machine code (py: with none)
  python -m tools.image --verify DIR                 compile once more, and compare byte for byte
  python -m tools.image --board pico --out DIR --checkpoint runs/x/checkpoint.npz --program own.py
                                                     with what a run has learned, and a program that goes on with it

DIR then holds fixedpoint/, firmware/ and main.py, ready for `mpremote cp`; manifest.json with versions, sizes and
SHA-256 of every file and of its source; and package.json for `mpremote mip install` or mip on a board. --checkpoint
adds the model as model.shl; --program makes your program the image's main.py, in place of the one that serves a host.
"""

import ast
import contextlib
import json
import struct
import sys
from pathlib import Path
from typing import Any, NamedTuple

from host.base.cli import Case, Parser, UserError, run
from host.base.scratch import Scratch
from host.board.install import CHIPS, KINDS, MACHINES, MANIFEST, SOURCES, board_files, install, sha256, stage
from host.board.serialport import find_port
from tools import model

MODEL, PROGRAM = "model.shl", "main.py"  # files of the user's in an image
ABOUT_UF2 = """\
the UF2 file: copy it to the drive that the board becomes when it is plugged in with BOOTSEL pressed, after MicroPython
has been put on the board. It holds a littlefs file system and replaces the whole one that is there, files of your own
included. Its place and size are those of the stock builds of these boards, 1.23 and later (pico2_w: 1.25 and later):
MicroPython's MICROPY_HW_FLASH_STORAGE_BYTES in ports/rp2/boards/RPI_* (the file system ends where the flash ends;
ports/rp2/rp2_flash.c), with the parameters of ports/rp2/modules/_boot.py and extmod/vfs_lfsx.c. Builds of your own, and
boards of other makers, may differ: then use --install. Family ids are from pico-sdk's boot/uf2.h: rp2040 for the
RP2040, and for the RP2350 absolute, which its boot ROM accepts with a partition table and without one, whatever core it
runs.
"""

# What MicroPython mounts on an RP2: block size of the flash, progsize=256 by _boot.py, the others by vfs_lfsx.c.
LITTLEFS: dict[str, Any] = {
    "block_size": 4096,
    "read_size": 32,
    "prog_size": 256,
    "cache_size": 1024,
    "lookahead_size": 32,
    "block_cycles": 100,
    "disk_version": 0x00020001,
}

RP2040, ABSOLUTE = 0xE48BFF56, 0xE48BFF57
UF2_HEADER = "<8I"  # two magic numbers, flags, address, bytes, block, blocks, family
UF2_MAGIC = (0x0A324655, 0x9E5D5157, 0x0AB16F30)
UF2_FAMILY = 0x2000  # flag: a family id is there
UF2_PAGE = 256  # what the boot ROMs insist on


class FileSystem(NamedTuple):
    """A place in a board's flash, as its UF2 loader sees it."""

    family: int
    base: int
    size: int


class Board(NamedTuple):
    """What a board needs. place: where stock MicroPython has its file system, or why there is no UF2 file for it."""

    about: str
    march: str
    place: FileSystem | str


OTHER_PORT = "stock MicroPython has no UF2 loader there"
BOARDS = {
    "pico": Board("Raspberry Pi Pico", "armv6m", FileSystem(RP2040, 0x100A0000, 1408 * 1024)),
    "pico_w": Board("Raspberry Pi Pico W", "armv6m", FileSystem(RP2040, 0x1012C000, 848 * 1024)),
    "pico2": Board("Raspberry Pi Pico 2", "armv7emsp", FileSystem(ABSOLUTE, 0x10100000, 3072 * 1024)),
    "pico2_riscv": Board("Raspberry Pi Pico 2, RISC-V build", "rv32imc", FileSystem(ABSOLUTE, 0x10100000, 3072 * 1024)),
    "pico2_w": Board("Raspberry Pi Pico 2 W", "armv7emsp", FileSystem(ABSOLUTE, 0x10180000, 2560 * 1024)),
    "esp32": Board("ESP32", "xtensawin", OTHER_PORT),
    "esp32s2": Board("ESP32-S2", "xtensawin", OTHER_PORT),
    "esp32s3": Board("ESP32-S3", "xtensawin", OTHER_PORT),
    "esp32c3": Board("ESP32-C3", "rv32imc", OTHER_PORT),
    "pyboard": Board("pyboard (STM32F405)", "armv7emsp", OTHER_PORT),
}


def own_files(checkpoint: Path | None, rate: str | None, program: Path | None) -> dict[str, bytes]:
    """The user's files in an image, by name: a model, a program. Raises UserError for what is none."""
    found = {}
    if checkpoint:
        found[MODEL] = model.packed(model.read(checkpoint, rate))
    if program:
        try:
            found[PROGRAM] = program.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {program} ({error.strerror}); name a MicroPython program") from error
        try:
            ast.parse(found[PROGRAM], program.name)
        except (SyntaxError, ValueError) as error:
            raise UserError(f"{program} is no program: {error}; mend that") from error
    return found


def build(march: str, out: Path, board: str | None = None, own: dict[str, bytes] | None = None) -> dict[str, Any]:
    """Write an image into a directory that does not exist, or is empty; return its manifest. Raises UserError.

    own: the user's files in it, as own_files() has them.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already; delete it, or give another --out")
    place = BOARDS[board].place if board else None
    about: dict[str, Any] = {"board": board} if board else {}
    if isinstance(place, FileSystem):
        about["uf2"] = {"name": f"shoreline-{board}.uf2", **{k: f"{v:#x}" for k, v in place._asdict().items()}}
    if own:
        about["own"] = sorted(own)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with Scratch("image", out.parent) as work:  # beside it, to be renamed
            root = work / "image"
            root.mkdir()
            manifest = stage(march, root, about, own)
            names = board_files(manifest)
            package = {"urls": [[name, name] for name in names], "deps": [], "version": manifest["firmware"]}
            (root / "package.json").write_bytes((json.dumps(package, indent=1) + "\n").encode())
            if isinstance(place, FileSystem):
                image = littlefs({name: (root / name).read_bytes() for name in names}, place.size)
                (root / about["uf2"]["name"]).write_bytes(uf2(image, place))
            if out.exists():
                out.rmdir()
            root.rename(out)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error}); make room there, or give another --out") from error
    return manifest


def littlefs(files: dict[str, bytes], size: int) -> bytes:
    """A littlefs file system of `size` bytes with these files, as MicroPython would have made it. Raises UserError."""
    try:
        from littlefs import LittleFS
    except ImportError as error:
        raise UserError("no littlefs-python here; get it with: pip install littlefs-python") from error

    fs = LittleFS(mount=False, block_count=size // LITTLEFS["block_size"], **LITTLEFS)
    fs.format()
    fs.mount()
    for name, data in files.items():
        if "/" in name:
            fs.makedirs(name.rpartition("/")[0], exist_ok=True)
        with fs.open(name, "wb") as file:
            file.write(data)
    fs.unmount()
    return bytes(fs.context.buffer)


def contents(image: bytes) -> dict[str, bytes]:
    """The files in a littlefs file system. Raises ValueError if it is none."""
    from littlefs import LittleFS, LittleFSError

    found = {}
    try:
        fs = LittleFS(mount=False, block_count=len(image) // LITTLEFS["block_size"], **LITTLEFS)
        fs.context.buffer = bytearray(image)
        fs.mount()
        for folder, _, names in fs.walk("/"):
            for name in names:
                path = f"{folder}/{name}".lstrip("/")
                with fs.open(path, "rb") as file:
                    found[path] = file.read()
    except LittleFSError as error:
        raise ValueError(f"no littlefs: {error}") from error
    return found


def uf2(image: bytes, place: FileSystem) -> bytes:
    """A UF2 file that writes the whole image: whole sectors without a gap.

    The RP2040's boot ROM needs that (erratum E14). And what was in the flash before must not shine through: littlefs
    takes the newer one of two blocks, and an old file system's block may look newer than ours.
    """
    pages = [image[at : at + UF2_PAGE] for at in range(0, len(image), UF2_PAGE)]
    start, end = UF2_MAGIC[:2], UF2_MAGIC[2]
    return b"".join(
        struct.pack(UF2_HEADER, *start, UF2_FAMILY, place.base + i * UF2_PAGE, UF2_PAGE, i, len(pages), place.family)
        + page.ljust(476, b"\0")
        + struct.pack("<I", end)
        for i, page in enumerate(pages)
    )


def unpack(data: bytes) -> tuple[FileSystem, bytes]:
    """The image in a UF2 file, and where it goes. Raises ValueError if the file is not as uf2() makes it."""
    count, rest = divmod(len(data), 512)
    if not count or rest:
        raise ValueError(f"{len(data)} bytes are no UF2 file")
    base, family = struct.unpack_from("<I", data, 12)[0], struct.unpack_from("<I", data, 28)[0]
    pages = []
    for i in range(count):
        block = data[512 * i : 512 * i + 512]
        wanted = (*UF2_MAGIC[:2], UF2_FAMILY, base + i * UF2_PAGE, UF2_PAGE, i, count, family)
        if struct.unpack_from(UF2_HEADER, block) != wanted or struct.unpack_from("<I", block, 508)[0] != UF2_MAGIC[2]:
            raise ValueError(f"block {i} is out of order")
        pages.append(block[32 : 32 + UF2_PAGE])
    image = b"".join(pages)
    return FileSystem(family, base, len(image)), image


def verify(directory: Path) -> str | None:
    """Compile the repository's sources once more and compare; return what differs first, or None.

    Raises UserError if there is no image, or if the sources do not compile.
    """
    try:
        return _verify(directory, (directory / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{directory} holds no image; name a directory that --out has made") from error
    except OSError as error:
        raise UserError(f"cannot read {directory} ({error}); make that possible, or name another image") from error


def _verify(directory: Path, manifest_json: bytes) -> str | None:
    try:
        manifest = read_manifest(manifest_json)
    except ValueError as error:
        return str(error)
    with contextlib.suppress(OSError, LookupError):
        name = "fixedpoint/kernels.mpy"
        code = (directory / name).read_bytes()
        found = MACHINES[code[2] >> 2]
        if found != manifest["march"] and sha256(code) == manifest["files"][name]["sha256"]:
            return f"{MANIFEST} says {manifest['march']}, but {name} is {found} code"
    own = {name: (directory / name).read_bytes() for name in manifest["own"] if (directory / name).exists()}
    with Scratch("verify") as work:
        build(manifest["march"], work / "fresh", manifest.get("board"), own)
        problem = difference(directory, work / "fresh")
    if not problem and MODEL in own:
        model.read(directory / MODEL)
    return problem


def read_manifest(data: bytes) -> dict[str, Any]:
    """A manifest, with all that is relied on. Raises ValueError with what is wrong."""
    try:
        manifest: dict[str, Any] = json.loads(data)
        march, board = manifest["march"], manifest.get("board")
        own = manifest.setdefault("own", [])
        if march not in KINDS or board not in (None, *BOARDS) or not all(name in (MODEL, PROGRAM) for name in own):
            raise ValueError(f"march {march}, board {board}, own {own}")
        if not all(isinstance(file, dict) for file in manifest["files"].values()):
            raise ValueError("files")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{MANIFEST} is damaged ({type(error).__name__}: {error})") from error
    return manifest


def difference(directory: Path, fresh: Path) -> str | None:
    """What first differs between an image and one just made from the repository, or None."""
    theirs, ours = tree(directory), tree(fresh)
    manifest = read_manifest(ours[MANIFEST])
    try:
        said = read_manifest(theirs.get(MANIFEST, b""))
    except ValueError as error:
        return str(error)
    hint, compiler = "", manifest["mpy_cross"]
    if said.get("mpy_cross") != compiler:
        hint = f"; the image names mpy-cross {said.get('mpy_cross')}, and here is {compiler}"
    for name in said["own"]:
        if name not in theirs:
            return f"{name} is missing"
    for name, file in manifest["files"].items():
        claim, source = said["files"].get(name), file.get("source", "sources")
        if claim is None:
            return f"{MANIFEST} does not name {name}"
        if name not in theirs:
            return f"{name} is missing"
        same = theirs[name] == ours[name]
        if (name in manifest["own"] or not same) and sha256(theirs[name]) != claim.get("sha256"):
            return f"{name} is not what {MANIFEST} says: it was changed after it was made"
        if claim.get("source_sha256") != file.get("source_sha256"):
            return f"{name} was made from another {source} than the repository's, says {MANIFEST}"
        if not same:
            return f"{name} is not what the repository's {source} gives{hint}"
    for name in sorted(ours.keys() - manifest["files"].keys()):
        if name not in theirs:
            return f"{name} is missing"
        if theirs[name] != ours[name]:
            where = in_uf2(theirs[name], ours[name]) if name.endswith(".uf2") else ""
            return f"{name} is not what the repository's sources give{where}{hint}"
        if name.endswith(".uf2"):
            beside = {path: theirs[path] for path in board_files(manifest)}
            if contents(unpack(theirs[name])[1]) != beside:
                return f"{name} does not hold the files beside it"
    for name in sorted(theirs.keys() - ours.keys()):
        return f"{name} does not belong to the image"
    return None


def tree(directory: Path) -> dict[str, bytes]:
    """All files below a directory, by their path in it."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def in_uf2(theirs: bytes, ours: bytes) -> str:
    """Where in a UF2 file the difference is, for a message."""
    try:
        (there, image), (here, fresh) = unpack(theirs), unpack(ours)
        if there != here:
            return f": it goes to {there.base:#x}, {there.size} bytes, family {there.family:#x}"
        found, wanted = contents(image), contents(fresh)
    except ValueError as error:
        return f": {error}"
    names = [name for name in sorted(found.keys() | wanted.keys()) if found.get(name) != wanted.get(name)]
    return f": {names[0]} in it differs" if names else ": same files, laid out by another littlefs-python, perhaps"


def advice(out: Path, manifest: dict[str, Any]) -> list[str]:
    """How to get an image onto a board."""
    own = [name for name in manifest.get("own", []) if name != PROGRAM]
    paths = " ".join(str(out / name) for name in ("fixedpoint", "firmware", MANIFEST, *own, PROGRAM))
    lines = [
        "put it on a board with one of these:",
        f"  mpremote connect PORT fs cp -r {paths} : + reset",
        f"  mpremote connect PORT mip install --target=/ {out / 'package.json'} + reset    (mpremote 1.25 or later)",
    ]
    if "uf2" in manifest:
        lines.append(f"  copy {out / manifest['uf2']['name']} to the drive that the board is with BOOTSEL pressed; it")
        lines.append("  replaces all files on the board")
    return lines


def boards() -> list[dict[str, str | None]]:
    """The table of boards, for --list."""
    return [
        {
            "board": name,
            "about": board.about,
            "arch": board.march,
            "uf2": f"{board.place.size // 1024} KB at {board.place.base:#x}, family {board.place.family:#x}"
            if isinstance(board.place, FileSystem)
            else None,
            "no_uf2": None if isinstance(board.place, FileSystem) else board.place,
        }
        for name, board in BOARDS.items()
    ]


def main() -> int:
    parser = Parser("python -m tools.image", __doc__)
    parser.epilog = ABOUT_UF2
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, metavar="DIR", help="write an image into this new directory")
    action.add_argument("--install", metavar="PORT", help="put the firmware on the board at this port, with mpremote")
    action.add_argument("--verify", type=Path, metavar="DIR", help="prove that an image was made from this repository's"
                        " sources; exit code 1 and the name of the first file that differs if it was not")  # fmt: skip
    action.add_argument("--list", action="store_true", help="list the boards")
    elsewhere = (Case("--install, --verify and --list", lambda args: args.out is None),)
    parser.option("--checkpoint", type=Path, metavar="FILE", useless=elsewhere, help=f"a run's checkpoint.npz, or a"
                  f" model file: into the image as {MODEL}, for firmware.model.load()")  # fmt: skip
    alone = Case("no model", lambda args: args.checkpoint is None, "add --checkpoint")
    parser.option("--rate", metavar="NUMBER", useless=(*elsewhere, alone), help=f"with a checkpoint: {model.RATE}")
    parser.option("--program", type=Path, metavar="FILE", useless=elsewhere, help="a MicroPython program of yours: the"
                  " image's main.py (default: the firmware that serves a host)")  # fmt: skip
    machine = parser.add_mutually_exclusive_group()
    machine.add_argument("--board", choices=BOARDS, metavar="BOARD", help=f"one of {', '.join(BOARDS)}")
    machine.add_argument("--arch", choices=KINDS, metavar="ARCH", help=f"machine code: {', '.join(CHIPS)} (or x86,"
                         f" x64 for unix ports), or {SOURCES}: the .py files as they are, many times slower; --install"
                         " asks the board")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    args = parser.parse_args()
    march = BOARDS[args.board].march if args.board else args.arch

    if args.list:
        table = boards()
        text = [
            f"{b['board']:12} {b['arch']:10} {b['about']:34} {b['uf2'] or 'no UF2: ' + str(b['no_uf2'])}" for b in table
        ]
        result: dict[str, Any] = {"boards": table}
    elif args.install:
        result = install(find_port() if args.install == "auto" else args.install, march)
        text = [f"{key}: {value}" for key, value in result.items()]
    elif args.verify:
        if march:
            raise UserError("--verify takes board and machine from the image; leave --board and --arch out")
        problem = verify(args.verify)
        result = {"verified": problem is None, "problem": problem}
        if problem and not args.json:
            print(f"{args.verify}: {problem}", file=sys.stderr)
        text = [] if problem else [f"{args.verify}: every file is what sources or manifest give"]
    else:
        if not march:
            raise UserError("for which machine? Add --board or --arch; --list shows the boards")
        result = build(march, args.out, args.board, own_files(args.checkpoint, args.rate, args.program))
        sizes = {name: file["size"] for name, file in result["files"].items()}
        text = [f"{size:9,} {name}" for name, size in sizes.items()]
        text += [
            f"{sum(sizes.values()):9,} bytes of {'sources' if march == SOURCES else f'{march} code and bytecode'} in"
            f" {args.out}",
            *advice(args.out, result),
        ]
        if args.board and isinstance(why := BOARDS[args.board].place, str):
            print(f"no UF2 file for {args.board}: {why}", file=sys.stderr)
    if args.json:
        print(json.dumps(result))
    elif text:
        print("\n".join(text))
    return int(result.get("verified") is False)


if __name__ == "__main__":
    run(main)
