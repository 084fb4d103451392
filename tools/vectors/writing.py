"""Tables as files, the same bytes every time: .mem for $readmemh, CSV of decimals, one .npz a level, a manifest."""

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from host.base.cli import UserError
from host.base.files import write_atomically
from tools.vectors.signals import Signal, Table

MANIFEST = "manifest.json"
COMMAND = "python -m tools.vectors"
SINCE = (1980, 1, 1, 0, 0, 0)  # the time of all members of a zip
AWAY = "move it away, or give another --out"


def place(of: Table) -> str:
    """The directory of its .mem files: that of its level, and in it one of its own if names have a prefix."""
    return f"{of.level}/{of.prefix}" if of.prefix else of.level


def key(of: Table, name: str) -> str:
    """Of a signal in the level's .npz."""
    return f"{of.prefix}.{name}" if of.prefix else name


def form(signal: Signal) -> str:
    """The format in a few letters: s for a sign, then integer and fraction bits."""
    plus = f"+({signal.plus})" if signal.plus else ""
    return f"{'s' if signal.sign else 'u'}{signal.integer}.{signal.fraction}{plus}"


def mem(of: Table, name: str, file: BinaryIO) -> None:
    """Two's complement in hex, a word a line."""
    signal = of.signals[name]
    mask, digits = (1 << signal.width) - 1, -(-signal.width // 4)
    sizes = ", ".join(f"{part} {size}" for part, size in zip(of.index, of.shape, strict=True))
    head = f"// {of.name}: {name}, {signal.width} bits {form(signal)}; index {sizes}, the last fastest\n"
    file.write((head + "".join(f"{value & mask:0{digits}x}\n" for value in of.values[name].ravel().tolist())).encode())


def sheet(of: Table, file: BinaryIO) -> None:
    """CSV: index and signals in columns, decimals."""
    file.write((",".join((*of.index, *of.signals)) + "\n").encode())
    below = np.indices(of.shape[1:], sparse=True)
    for first in range(of.shape[0]):  # not all at once: as text it is ten times as long
        columns = [np.full(of.shape[1:], first), *(np.broadcast_to(part, of.shape[1:]) for part in below)]
        columns += [of.values[name][first] for name in of.signals]
        lines = zip(*(map(str, np.ravel(column).tolist()) for column in columns), strict=True)
        file.write("\n".join([*map(",".join, lines), ""]).encode())


def archive(tables: Sequence[Table], target: BinaryIO) -> None:
    """An .npz of all signals, int32, or int64 where that is too short. Stored: zlib is not the same everywhere."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as file:
        for of in tables:
            for name, signal in of.signals.items():
                member = zipfile.ZipInfo(f"{key(of, name)}.npy", SINCE)
                member.create_system, member.external_attr = 3, 0o644 << 16  # Windows would write others
                kind = np.dtype("<i4" if signal.width <= 31 + signal.sign else "<i8")
                one = io.BytesIO()
                npy.write_array(one, of.values[name].astype(kind), (1, 0), allow_pickle=False)
                file.writestr(member, one.getvalue())


def text(content: str, file: BinaryIO) -> None:
    file.write(content.encode())


@dataclass(frozen=True)
class Made:
    """What is to be written: what fills each file, by its path, and what the manifest says of the signals.

    Files are not there before they are written: all of them together are too much for a memory.
    """

    files: dict[str, Callable[[BinaryIO], None]]
    signals: list[dict[str, Any]]


def made(tables: Sequence[Table]) -> Made:
    """Raises UserError for a value that does not fit."""
    files: dict[str, Callable[[BinaryIO], None]] = {}
    signals = []
    for of in tables:
        of.check()
        csv, npz = f"{of.level}/{of.name}.csv", f"{of.level}/{of.level}.npz"
        files[csv] = partial(sheet, of)
        for name, signal in of.signals.items():
            file = f"{place(of)}/{name}.mem"
            if file in files:
                raise ValueError(f"{file} is there twice")
            files[file] = partial(mem, of, name)
            signals.append(
                {
                    "name": name, "table": of.name, "index": list(of.index), "shape": list(of.shape), "file": file,
                    "csv": csv, "npz": npz, "key": key(of, name), "sign": signal.sign,
                    "integer_bits": signal.integer, "fraction_bits": signal.fraction,
                    **({"fraction_plus": signal.plus} if signal.plus else {}), "width": signal.width,
                    "rounding": signal.rounding, "saturation": signal.saturation,
                    "count": of.values[name].size, "about": signal.about,
                }
            )  # fmt: skip
    for level in dict.fromkeys(of.level for of in tables):
        files[f"{level}/{level}.npz"] = partial(archive, [of for of in tables if of.level == level])
    return Made(files, signals)


def digest(sums: dict[str, str]) -> str:
    """SHA-256 over the names of files and their sums."""
    return hashlib.sha256("".join(f"{name} {found}\n" for name, found in sums.items()).encode()).hexdigest()


def former(out: Path) -> list[str]:
    """The files in this directory that a former run has made. Raises UserError if it holds what none has made."""
    path = out / MANIFEST
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return []
    try:
        found = json.loads(path.read_bytes())
        files = found["files"]
        if not str(found["command"]).startswith(COMMAND) or not all(_inside(name) for name in files):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{out} is there and was not made by this command, or only in part; {AWAY}") from error
    return list(files)


def _inside(name: object) -> bool:
    """Whether this can be the path of a file of ours."""
    parts = name.split("/") if isinstance(name, str) else []
    return len(parts) in (2, 3) and not any(part in ("", ".", "..") or "\\" in part for part in parts)


def check(out: Path, files: Iterable[str]) -> list[str]:
    """As former(). Raises UserError, too, for a file that stands where these are to go and is not of our making."""
    old = former(out)
    for name in files:
        if (out / name).exists() and name not in old:
            raise UserError(f"{out / name} is not of this command's making; {AWAY}")
    return old


def write(out: Path, what: Made, about: dict[str, Any]) -> dict[str, Any]:
    """Write all files, the manifest last, and remove those of a former run. Returns the manifest. Raises UserError.

    Whatever interrupts it leaves none of our files there: half of them are of no use, and no manifest would say so.
    """
    sums: dict[str, str] = {}
    old = check(out, what.files)
    try:
        with _nothing_if_broken_off(out, (*old, *what.files)):
            out.mkdir(parents=True, exist_ok=True)
            (out / MANIFEST).unlink(missing_ok=True)
            _remove(out, [name for name in old if name not in what.files])
            for name, fill in sorted(what.files.items()):
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                with (out / name).open("w+b") as file:
                    fill(file)
                    file.seek(0)
                    sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
            signals = [signal | {"sha256": sums[signal["file"]]} for signal in what.signals]
            manifest = about | {"digest": digest(sums), "signals": signals, "files": sums}
            write_atomically(out / MANIFEST, lambda file: text(json.dumps(manifest, indent=1) + "\n", file))
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); make room there, or give another --out") from error
    return manifest


@contextlib.contextmanager
def _nothing_if_broken_off(out: Path, files: Iterable[str]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            _remove(out, (MANIFEST, *files))
            out.rmdir()
        raise


def _remove(out: Path, files: Iterable[str]) -> None:
    """Remove these files, and directories that are empty then."""
    places = set()
    for name in files:
        path = out / name
        path.unlink(missing_ok=True)
        places |= {parent for parent in path.parents if parent != out and parent.is_relative_to(out)}
    for path in sorted(places, key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):  # not one that somebody has put something into
            path.rmdir()
