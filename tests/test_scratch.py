"""Temporary directories: killed processes leave none behind for long, and nobody loses one that is in use."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.base import scratch
from host.base.cli import UserError
from host.base.files import copy_sources
from host.base.scratch import LOCK, Scratch
from tools import mutate

ROOT = Path(__file__).resolve().parent.parent
HOLD = "import time; from host.base.scratch import Scratch; s = Scratch('held'); print(s.path, flush=True)"
HOLD += "; time.sleep(99)"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TMPDIR, for this process and its children."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


@contextlib.contextmanager
def running(*argv: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python process, and the first line that it prints. It is killed in the end: SIGKILL."""
    command = [sys.executable, *argv]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_killed_simulated_board_leaves_nothing_behind_for_long(place: Path) -> None:
    command = ("-m", "host.sim", "--arch", "cpython")
    with running(*command) as (_, port):
        assert port
    [remains] = place.glob("shoreline-*")
    with running(*command) as (_, port):
        assert port
        [now] = place.glob("shoreline-*")
        assert now != remains


def test_a_killed_process_leaves_nothing_behind_for_long() -> None:
    with running("-c", HOLD) as (_, path), Scratch("mine") as mine:
        assert Path(path).is_dir(), "it is alive"
        with Scratch("other"):
            assert mine.is_dir(), "so are we"
    with Scratch("mine") as mine:
        assert sorted(mine.parent.iterdir()) == [mine]


def test_it_is_removed_in_the_end(place: Path) -> None:
    with Scratch("a") as path:
        (path / "b").mkdir()
        (path / "b" / "c").touch()
    assert list(place.iterdir()) == []
    held = Scratch("a")
    held.close()
    held.close()
    assert list(place.iterdir()) == []
    done = subprocess.run([sys.executable, "-c", HOLD.replace("99", "0")], cwd=ROOT, capture_output=True)
    assert done.returncode == 0 and list(place.iterdir()) == [], "without a close(), with the process"


def test_nothing_else_is_touched(place: Path, tmp_path: Path) -> None:
    """A checkout that somebody has called shoreline-something, a link, a file."""
    (place / "shoreline-checkout").mkdir()
    (place / "shoreline-checkout" / "work").touch()
    (place / "shoreline-file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / LOCK).touch()
    (place / "shoreline-link").symlink_to(tmp_path / "elsewhere")
    (place / "other").mkdir()
    (place / "other" / LOCK).touch()
    (place / "shoreline-dead").mkdir()
    (place / "shoreline-dead" / LOCK).touch()
    (place / "shoreline-trap").mkdir()
    (place / "shoreline-trap" / LOCK).symlink_to(tmp_path / "elsewhere" / LOCK)
    with Scratch("a") as path:
        left = {"shoreline-checkout", "shoreline-file", "shoreline-link", "other", "shoreline-trap", path.name}
        assert {entry.name for entry in place.iterdir()} == left
    assert (place / "shoreline-checkout" / "work").exists() and (tmp_path / "elsewhere" / LOCK).exists()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_another_users_directory_is_left_alone(place: Path) -> None:
    (place / "shoreline-theirs").mkdir()
    (place / "shoreline-theirs" / LOCK).touch()
    os.chown(place / "shoreline-theirs", 12345, 12345)
    with Scratch("a"):
        assert (place / "shoreline-theirs" / LOCK).exists()


def test_what_a_killed_sweep_left_is_swept_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is the last that goes: without it nobody would know that the rest is ours."""
    held = Scratch("a")
    (held.path / "code").mkdir()
    seen = []
    monkeypatch.setattr(shutil, "rmtree", lambda path, **options: seen.append(Path(path).name))
    held.close()
    assert seen == ["code", held.path.name]


CROWD = """
import os
from host.base.scratch import Scratch
for _ in range(60):
    with Scratch("crowd") as path:
        (path / "file").write_text("here")
        with Scratch("inner"):
            assert (path / "file").read_text() == "here"
    kept = Scratch("kept")
    path, held = kept.close.detach()[2]  # as if killed: nothing is removed, and the lock is let go
    os.close(held)
"""


def test_many_processes_sweep_at_once(place: Path) -> None:
    options = {"cwd": ROOT, "stderr": subprocess.PIPE, "text": True}
    crowd = [subprocess.Popen([sys.executable, "-c", CROWD], **options) for _ in range(4)]  # type: ignore[call-overload]
    for process in crowd:
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 0, errors
    with Scratch("last") as path:
        assert list(place.iterdir()) == [path]


def test_a_full_or_missing_tmpdir_is_one_line_that_names_it(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_free", lambda path: 65536)
    with pytest.raises(UserError, match=r"tmp \(64 KB are free there\).*TMPDIR"):
        Scratch("a")
    monkeypatch.undo()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere \(No such file or directory\).*TMPDIR"):
        Scratch("a")


def test_a_disk_that_fills_up_is_one_line_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"No space left.*TMPDIR"), Scratch("a"):
        monkeypatch.setattr(scratch, "_free", lambda path: 0)
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(place.iterdir()) == []
    monkeypatch.setattr(scratch, "_free", lambda path: 1 << 30)
    with pytest.raises(OSError), Scratch("a"):  # another disk is
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_fills_up_while_sources_are_copied_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"No space left.*TMPDIR"), Scratch("a") as path:
        monkeypatch.setattr(scratch, "_free", lambda path: 0)
        (path / "host/data").mkdir(parents=True)
        (path / "host/data/digits.npz").symlink_to("/dev/full")
        mutate.copy(path)


def test_what_is_copied_from_a_read_only_checkout_can_be_removed(tmp_path: Path) -> None:
    """By a user who may not write to it; root may do everything, so the modes are looked at."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").touch(0o444)
    for path in (tmp_path / "a/b", tmp_path / "a"):
        path.chmod(0o555)
    for _ in range(2):  # a flash that was kept gets them once more
        copy_sources(tmp_path / "a", tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").rglob("*") if path.stat().st_mode & 0o200] == ["b", "c"]


def test_one_at_a_time(place: Path) -> None:
    """alone(): the second waits, and says so."""
    script = """
import sys, time
from pathlib import Path
from host.base.scratch import alone
with alone(Path(sys.argv[1]), print):
    print("in", flush=True)
    sys.stdin.readline()
"""
    said: list[str] = []
    argv = [sys.executable, "-c", script, str(place)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout and process.stdout.readline() == "in\n"

        def say(text: str) -> None:
            said.append(text)
            process.stdin.close()

        begun = time.monotonic()
        with scratch.alone(place, say):
            assert process.wait(60) == 0 and time.monotonic() - begun < 60
    assert len(said) == 1 and "waiting" in said[0]


def test_a_second_signal_does_not_leave_half_a_directory_behind(place: Path) -> None:
    """It comes while the directory of a command that was interrupted is being removed."""
    code = (
        "import os, shutil, signal\n"
        "from host.base import cli\n"
        "from host.base.scratch import Scratch\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "rmtree = shutil.rmtree\n"
        "def struck(*args, **how):\n"
        "    shutil.rmtree = rmtree\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    rmtree(*args, **how)\n"
        "shutil.rmtree = struck\n"
        "def main():\n"
        "    with Scratch('test') as directory:\n"
        "        (directory / 'some').mkdir()\n"
        "        raise KeyboardInterrupt\n"
        "cli.run(main)"
    )
    environment = os.environ | {"TMPDIR": str(place)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert list(place.iterdir()) == []
