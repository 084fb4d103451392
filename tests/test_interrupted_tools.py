"""Tools that are interrupted: they end at once, in one line, and leave neither files nor processes behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from host.board import micropythons
from host.data import dataset
from host.runs.config import configure
from tools import bench
from tools.cost import x64
from tools.cost.job import Job

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60  # that a busy machine may take for what takes one
DEFAULT = "import runpy, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"


def start(tmp: Path, tool: str, *args: str) -> subprocess.Popen[str]:
    """A tool in a process group of its own, with its temporary files in `tmp`."""
    # What `python -m` does: the package sees "-m" in argv[0], the module its own path.
    code = DEFAULT + f"sys.argv = {['-m', *args]!r}\nrunpy.run_module({tool!r}, run_name='__main__', alter_sys=True)"
    environment = os.environ | {"TMPDIR": str(tmp), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=environment, cwd=ROOT, start_new_session=True)  # fmt: skip


def within(tmp: Path) -> list[str]:
    """The command lines of processes that were started with their temporary files in `tmp`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={tmp}".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def wait(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


MOMENTS = {
    "while it copies": lambda tmp: any(tmp.glob("shoreline-mutate-*/fixedpoint")),
    "while tests run": lambda tmp: sum("pytest" in line for line in within(tmp)) >= 2,
}


@pytest.mark.parametrize("signals", [1, 2], ids=["one signal", "another one meanwhile"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_mutate_ends_soon_and_leaves_nothing(tmp_path: Path, moment: str, signals: int) -> None:
    process = start(tmp_path, "tools.mutate", "--only", "crc", "--jobs", "2")
    try:
        wait(lambda: MOMENTS[moment](tmp_path))
        process.send_signal(signal.SIGINT)
        if signals == 2:
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode in (130, -signal.SIGINT)[:signals]  # a second one may come after the last word
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
    wait(lambda: not within(tmp_path))


@pytest.mark.skipif(not micropythons.available("x64"), reason="no MicroPython on this machine")
def test_ctrl_c_at_a_terminal_does_not_reach_the_micropythons_of_bench() -> None:
    """They would say so themselves, in several lines."""
    data = dataset.load()
    config = configure(data, "critical", seed=1, epochs=1)
    with bench.micropython("x64", "bytecode", config, data, 1) as found:
        assert os.getpgid(found.process.pid) != os.getpgrp()
        assert found.train(1)[1]


@pytest.mark.skipif(not shutil.which("valgrind") or not micropythons.available("x64"), reason="nothing to run")
def test_a_valgrind_that_is_killed_leaves_no_pipes_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the options that tools.cost gives it."""
    found: list[list[str]] = []

    def execute(argv: list[str], environment: dict[str, str] | None = None, stdin: bytes = b"") -> bytes:
        found.append(argv)
        return b""

    monkeypatch.setattr(x64, "execute", execute)
    work, tmp = tmp_path / "work", tmp_path / "tmp"
    work.mkdir()
    tmp.mkdir()
    x64.count_x64(Job(work, 1))
    valgrind = [found[0][0], *(part for part in found[0][1:] if part.startswith("--"))]
    argv = [*valgrind, "sh", "-c", "echo it runs; exec sleep 60"]
    with subprocess.Popen(argv, env=os.environ | {"TMPDIR": str(tmp)}, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"it runs\n"  # type: ignore[union-attr]
        process.kill()
    assert list(tmp.iterdir()) == []
