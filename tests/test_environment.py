"""Where there is no home, no cache, nothing to write to: a program goes on, or ends in one line with the way out.

As `docker run -u 12345` has it. Some tests change into another user, which takes root.
"""

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.base import cache
from host.base.cli import UserError
from host.board import micropythons
from host.engine.lanes import COMPILING

ROOT = Path(__file__).resolve().parent.parent
STRANGER = 12345
SMALL = ("--rows", "10", "--limit", "30", "--test-limit", "10", "--epochs", "1", "--no-report")


# Places for the cache


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No variable names a cache, and the user has no home; returns the place for temporary files."""
    for name in ("SHORELINE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_cache_of_a_user_without_a_home_is_a_directory_of_his_own(nowhere: Path) -> None:
    path = cache.cache_dir()
    assert path.parent == nowhere and path.is_dir() and path.stat().st_mode & 0o777 == 0o700
    assert cache.cache_dir() == path
    assert not micropythons.available("i386")


def test_home_that_cannot_be_written_is_none(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = nowhere / "home"
    home.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)
    assert cache.cache_dir() == home / ".cache/shoreline"
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != home and access(path, mode))
    assert cache.cache_dir().parent == nowhere
    monkeypatch.setattr(Path, "home", lambda: Path("/proc/nonexistent"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cache.cache_dir().parent == nowhere
    (home / ".cache/shoreline").mkdir(parents=True)  # filled by somebody else: it can be read
    monkeypatch.setattr(Path, "home", lambda: home)
    assert cache.cache_dir() == home / ".cache/shoreline"


def test_cache_that_another_user_has_laid_out_is_not_trusted(nowhere: Path) -> None:
    path = cache.cache_dir()
    path.rmdir()
    path.symlink_to(nowhere)
    with pytest.raises(UserError, match=r"not yours.*XDG_CACHE_HOME"):
        cache.cache_dir()
    path.unlink()
    path.touch()
    with pytest.raises(UserError, match=r"not yours.*XDG_CACHE_HOME"):
        cache.cache_dir()
    if os.getuid() == 0:
        path.unlink()
        path.mkdir()
        os.chown(path, STRANGER, STRANGER)
        with pytest.raises(UserError, match=r"not yours.*XDG_CACHE_HOME"):
            cache.cache_dir()


# Compiled kernels


def test_kernels_are_compiled_where_nothing_can_be_written(tmp_path: Path) -> None:
    """No cache, no temporary file: a learner and the checking mode need no place on disk."""
    nothing = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "SHORELINE_CACHE", "TMPDIR"), str(tmp_path / "file/missing"))
    (tmp_path / "file").touch()
    program = """
from fixedpoint.lattice import Lattice
from host.engine.learners import LaneLearner, executor
LaneLearner(Lattice(2, 2, 3))
for name in ("llvm", "checked"):
    Lattice(2, 2, 3, **executor(name)).train(bytes(6), 1)
"""
    environment = {**os.environ, **nothing, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run([sys.executable, "-c", program], **options)  # type: ignore[call-overload]
    assert (done.returncode, set(done.stderr.splitlines()) - {COMPILING}) == (0, set())  # it may take its time
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# A user whom the machine does not know


Way = tuple[list[str], dict]  # what begins the command, and options for subprocess
BY_PYTHON: Way = [], {"user": STRANGER, "group": STRANGER, "extra_groups": []}
# Python or the checkout may lie in root's own home: then with the right to read everything, and to write nothing.
BY_SETPRIV: Way = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"], {}
BY_SETPRIV[0].extend(("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"))


@functools.cache
def stranger() -> Way:
    """How to be another user. Skips the test if there is no way to be one."""
    if not hasattr(os, "getuid") or os.getuid() != 0:
        pytest.skip("only root can become another user")
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import llvmlite, host.base.cli"
    for prefix, options in (BY_PYTHON, BY_SETPRIV):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            argv = [*prefix, sys.executable, "-c", program]
            subprocess.run(argv, capture_output=True, cwd="/", check=True, **options)
            return prefix, options
    pytest.skip("another user may not use this Python, or this checkout")


def run_as_stranger(directory: Path, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a directory of root's, without a home."""
    prefix, user = stranger()
    options = {"cwd": directory, "capture_output": True, "text": True, "timeout": 300, **user}
    directory.chmod(0o755)
    known = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    path = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([*prefix, sys.executable, *argv], env=known | path | environment, **options)  # type: ignore[call-overload]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may look into, with one in it that everybody may write to."""
    stranger()
    with tempfile.TemporaryDirectory() as name:  # pytest's own are for their user alone
        (Path(name) / "open").mkdir()
        (Path(name) / "open").chmod(0o1777)
        yield Path(name)


def test_stranger_trains(place: Path) -> None:
    """Both in a directory that is not his: a run needs a --run-dir, and says so."""
    done = run_as_stranger(place, "-m", "host.simulate", "--json", *SMALL, TMPDIR=str(place / "open"))
    assert (done.returncode, done.stdout) == (2, "") and "--run-dir" in done.stderr.splitlines()[-1]
    for number, command in enumerate(("host.simulate", "host.stream")):
        argv = ("-m", command, "--json", "--run-dir", str(place / "open" / str(number)), *SMALL)
        done = run_as_stranger(place, *argv, TMPDIR=str(place / "open"))
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        assert json.loads(done.stdout)["steps"] == 30
    assert not (place / "~").exists()


COMMANDS = {
    "stream": ("host.stream", "--run-dir", "RUN", *SMALL),
    "sim": ("host.sim",),
    "mutate": ("tools.mutate", "--only", "crc"),
    "soak": ("tools.soak", "--faults", "5"),
    "soak through a pty": ("tools.soak", "--pty"),
}


@pytest.mark.parametrize("argv", COMMANDS.values(), ids=COMMANDS)
def test_stranger_without_a_place_for_temporary_files(place: Path, argv: tuple[str, ...]) -> None:
    words = [str(place / "open/run") if word == "RUN" else word for word in argv]
    names_the_place(run_as_stranger(place, "-m", *words, TMPDIR=str(place)), place)


@pytest.mark.parametrize("argv", COMMANDS.values(), ids=COMMANDS)
def test_missing_place_for_temporary_files(tmp_path: Path, argv: tuple[str, ...]) -> None:
    words = [str(tmp_path / "run") if word == "RUN" else word for word in argv]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "missing")}
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run([sys.executable, "-m", *words], **options)  # type: ignore[call-overload]
    names_the_place(done, tmp_path / "missing")


def names_the_place(done: subprocess.CompletedProcess[str], directory: Path) -> None:
    """The command has ended in one line that names the directory, and what it may be replaced with."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and str(directory) in last and "TMPDIR" in last
    assert "Traceback" not in done.stderr


# MicroPythons


def test_cache_that_cannot_be_written_names_the_variable_for_all(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "file")}
    argv = [sys.executable, "-m", "host.micropythons", "--arch", "i386", "--archive", "http://127.0.0.1:9/debian"]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    if "no apt-get" in done.stderr:
        pytest.skip("no apt-get here")
    assert done.returncode == 2 and "XDG_CACHE_HOME" in done.stderr.splitlines()[-1]


def test_cache_that_fills_up_is_no_fault_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """apt-get says it among its own errors; the next suite is not tried, and nobody sent to look at the network."""
    monkeypatch.setattr(micropythons.shutil, "which", lambda name, **options: name)
    asked = []

    def unpack(package: str, arch: str, source: str, work: Path, root: Path) -> None:
        asked.append(source)
        raise UserError("E: Failed to fetch Translation-en Error writing to file - write (28: No space left on device)")

    monkeypatch.setattr(micropythons, "_unpack", unpack)
    with pytest.raises(UserError, match=r"cannot use the cache .*No space left.*XDG_CACHE_HOME"):
        micropythons._fetch("micropython", "i386", tmp_path / "i386", ("a", "b"), "http://a.example", lambda root: None)
    assert len(asked) == 1 and list(tmp_path.iterdir()) == []


def test_two_processes_do_not_fetch_the_same_micropython_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second finds what the first has fetched meanwhile."""
    monkeypatch.setattr(micropythons.shutil, "which", lambda name, **options: name)
    fetched = []

    def unpack(package: str, arch: str, source: str, work: Path, root: Path) -> None:
        fetched.append(source)
        root.mkdir()

    monkeypatch.setattr(micropythons, "_unpack", unpack)
    for _ in range(2):
        micropythons._fetch("micropython", "i386", tmp_path / "i386", ("sid",), "http://a.example", lambda root: None)
    assert fetched == ["http://a.example sid"] and [path.name for path in tmp_path.iterdir()] == ["i386"]


def test_compiler_output_is_whole_or_an_error(tmp_path: Path) -> None:
    """mpy-cross calls half a file on a full disk a success."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with pytest.raises(OSError, match="No space left"):
        micropythons.compile_file(ROOT / "fixedpoint/kernels.py", Path("/dev/full"))
