"""host.sim as a command: what it may be asked for, and that its port is printed only once a board is alive there."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from firmware import wire
from host import sim
from host.base import cli
from host.board.link import Link
from host.board.serialport import SerialTransport
from host.board.sim import best_architecture

pytestmark = pytest.mark.skipif(best_architecture() != "x64", reason="no MicroPython on this machine")

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60  # that a busy machine may take for what takes one


@pytest.fixture
def command(answer, monkeypatch, tmp_path) -> Callable[..., tuple[int, str, str]]:
    """command(...) is host.sim in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return partial(answer, sim.main)


def refused(found: tuple[int, str, str], *words: str) -> None:
    """It has ended in one line with these words, and no port has been printed."""
    code, out, err = found
    assert (code, out) == (cli.EXIT_USER_ERROR, ""), err
    *_, last = err.splitlines()
    assert last.startswith("error: ") and all(word in last for word in words), last


@pytest.mark.parametrize("heap", ["xyz", "0", "-1", "5k", "999999999M", "1e3k", "2G", "١٦k"])
def test_a_heap_that_no_board_has_is_named(command, heap: str) -> None:
    refused(command(f"--heap={heap}"), f"--heap {heap}", "choose 16k to 1024M")


def test_a_heap_that_is_left_empty_is_named(command) -> None:
    refused(command("--heap="), "--heap is empty")


@pytest.mark.parametrize("baud", ["-1", "0", "fast", "1e3"])
def test_a_rate_that_no_line_has_is_named(command, baud: str) -> None:
    refused(command(f"--baud={baud}"), f"--baud {baud}: choose", " 1 to ")


def test_a_heap_of_an_interpreter_that_has_none_counts_for_nothing(command) -> None:
    refused(command("--arch", "cpython", "--heap", "1M"), "--heap counts for nothing with --arch cpython")


def test_a_heap_in_which_the_firmware_does_not_start_prints_no_port(command, tmp_path) -> None:
    refused(command("--heap", "48k"), "MemoryError", "a larger --heap may help")
    assert list(tmp_path.iterdir()) == []


def test_a_board_that_never_says_hello_prints_no_port(command, monkeypatch) -> None:
    monkeypatch.setattr("host.board.sim.MAIN", "import time\ntime.sleep(600)\n")
    monkeypatch.setattr(sim, "START", 0.5)
    refused(command(), "has not said HELLO")


def start(tmp: Path, **options: object) -> subprocess.Popen[str]:
    """host.sim in a process of its own."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "import sys; sys.argv = ['sim']\nfrom host import sim; from host.base import cli; cli.run(sim.main)"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, stderr=subprocess.PIPE,
                            **options)  # type: ignore[call-overload]  # fmt: skip


def test_the_board_at_the_port_that_is_printed_is_there_for_a_host(tmp_path) -> None:
    process = start(tmp_path, stdout=subprocess.PIPE)
    try:
        transport = SerialTransport(process.stdout.readline().strip())
        assert Link(transport).attach().flags & wire.FLAG_ATTACHED
        transport.close()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0 and len(err.splitlines()) == 1, err
    assert list(tmp_path.iterdir()) == []


def test_a_stdout_that_is_closed_ends_it_since_nobody_would_know_the_port(tmp_path) -> None:
    process = start(tmp_path, preexec_fn=lambda: os.close(1))
    try:
        _, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == cli.EXIT_USER_ERROR
    assert err.splitlines()[-1].startswith("error: stdout")
    assert list(tmp_path.iterdir()) == []
