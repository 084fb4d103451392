"""Simulated boards that are killed, stopped, end, or refuse; and Ctrl-C meanwhile."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from firmware import wire
from host import stream
from host.base import cli
from host.board import sim
from host.board.link import Link
from host.board.serialport import SerialTransport
from host.runs.checkpoint import Checkpoint

pytestmark = pytest.mark.skipif(sim.best_architecture() != "x64", reason="no MicroPython on this machine")

ROOT = Path(__file__).resolve().parent.parent
RUN = ("--rows", "10", "--limit", "40", "--test-limit", "12")
SECONDS = 60  # that a busy machine may take for what takes one


@pytest.fixture
def command(answer) -> Callable[..., tuple[int, str, str]]:
    """command(...) is host.stream in this process, in an empty directory: exit code, stdout, stderr."""
    return partial(answer, stream.main)


@pytest.fixture
def host(tmp_path) -> Iterator[Callable[..., "Host"]]:
    """host(...) starts host.stream in a process of its own, which is ended with the test."""
    hosts: list[Host] = []

    def start(*args: object) -> Host:
        hosts.append(Host(tmp_path, *args))
        return hosts[-1]

    yield start
    for each in hosts:
        each.process.terminate()  # twice at once interrupts; its simulated board goes with it
        try:
            each.process.wait(10)
        except subprocess.TimeoutExpired:
            each.process.kill()
        each.thread.join(SECONDS)


class Host:
    """host.stream in a process of its own, and what it says."""

    def __init__(self, cwd: Path, *args: object):
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        code += "from host import stream; from host.base import cli; cli.run(stream.main)"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "--run-dir", "run", *map(str, args)],
            cwd=cwd,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self.said: list[str] = []
        self.news = threading.Condition()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        for line in self.process.stderr:  # type: ignore[union-attr]
            with self.news:
                self.said.append(line)
                self.news.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Until it has said this."""
        with self.news:
            enough = self.news.wait_for(lambda: sum(text in line for line in self.said) >= times, SECONDS)
        assert enough, self.said

    def board(self) -> int:
        """The process of its simulated board."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    arguments = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if parent == self.process.pid and b"heapsize=" in arguments:
                    return int(entry.name)
            time.sleep(0.01)
        raise AssertionError(self.said)

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        self.process.wait(SECONDS)
        self.thread.join(SECONDS)
        return self.process.returncode, self.process.stdout.read(), "".join(self.said)  # type: ignore[union-attr]


LONG = ("--rows", "10", "--limit", "400", "--test-limit", "12", "--epochs", "50")


def learns(run: Path, epochs: int) -> None:
    """Wait for so many epochs of a run."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if (run / "epochs.jsonl").exists() and (run / "epochs.jsonl").read_text().count("\n") >= epochs:
            return
        time.sleep(0.02)
    raise AssertionError("it does not learn")


def test_a_simulated_board_that_is_killed_is_started_again_and_the_run_ends_the_same(host, tmp_path) -> None:
    options = ("--rows", "10", "--limit", "200", "--test-limit", "12", "--epochs", "3", "--no-report")
    child = host("--twin", "--json", *options)
    for epoch in (1, 2):  # their ends
        learns(tmp_path / "run", epoch)
        os.kill(child.board(), signal.SIGKILL)
        child.wait_for("process was killed (signal 9); started again", epoch)
    code, out, err = child.end()
    assert code == 0, err
    found = json.loads(out)
    assert found["twin_checks"] == 600 and found["reconnects"] >= 1
    done = subprocess.run(
        [sys.executable, "-m", "host.simulate", "--json", "--run-dir", "golden", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    wanted = json.loads(done.stdout)
    assert (found["digest"], found["test_accuracy"]) == (wanted["digest"], wanted["test_accuracy"])


def test_a_simulated_board_that_is_killed_again_and_again_is_given_up_in_one_line(host, tmp_path) -> None:
    child = host(*LONG)
    learns(tmp_path / "run", 1)
    for deaths in range(1, sim.DEATHS + 1):
        os.kill(child.board(), signal.SIGKILL)
        if deaths < sim.DEATHS:
            child.wait_for("started again", deaths)
    code, _, err = child.end()
    assert code == cli.EXIT_USER_ERROR, err
    assert re.search(r"error: the simulated board's process was killed \(signal 9\), 3 times in", err.splitlines()[-1])
    assert "--install" not in err and "plugged" not in err


@pytest.mark.parametrize("after", [0.0, 2.5], ids=["at once", "after a while"])
def test_ctrl_c_while_a_board_does_not_answer_leaves_within_a_second_and_says_where_to_go_on(
    host, tmp_path, after: float
) -> None:
    child = host(*LONG)
    learns(tmp_path / "run", 1)
    os.kill(child.board(), signal.SIGSTOP)
    time.sleep(after)
    begun = time.monotonic()
    child.process.send_signal(signal.SIGINT)
    code, _, err = child.end()
    took = time.monotonic() - begun
    assert code == cli.EXIT_INTERRUPTED, err
    assert took < 5, took  # less than one second on a machine that is not busy; 9 s and more before
    saved = Checkpoint.read(tmp_path / "run" / "checkpoint.npz").step
    assert re.search(rf"^saved run/checkpoint.npz at step {saved}[,;].* with: .* --run-dir run --resume$", err, re.M)
    assert err.endswith("left without the board\ninterrupted\n")


def test_a_run_that_is_finished_is_resumed_without_a_board_and_says_its_result_again(command, tmp_path) -> None:
    first = command("--json", "--run-dir", tmp_path / "run", *RUN)
    again = command("--json", "--run-dir", tmp_path / "run", *RUN, "--resume")
    assert (first[0], again[0]) == (0, 0), again[2]
    first, again = json.loads(first[1]), json.loads(again[1])
    assert again["digest"] == first["digest"] and again["steps"] == 40


def test_a_simulated_board_whose_program_ends_says_so_and_is_no_port_to_install_on(monkeypatch, command) -> None:
    monkeypatch.setattr(sim, "MAIN", "import time\ntime.sleep(0.2)\nimport sensor\n")
    code, _, err = command(*RUN)
    assert code == cli.EXIT_USER_ERROR
    last = err.splitlines()[-1]
    assert "the simulated board does not run any more" in last and "ImportError" in last and "--install" not in last


def test_a_board_that_refuses_leaves_no_run_directory_behind(monkeypatch, command, tmp_path) -> None:
    monkeypatch.setattr(sim, "MAIN", "import firmware.main\nfirmware.main.main(golden=1)\n")
    for named in ([], ["--run-dir", tmp_path / "run"]):
        code, _, err = command(*RUN, *named)
        assert list(tmp_path.iterdir()) == []
        assert code == cli.EXIT_USER_ERROR and "self-test failed" in err.splitlines()[-1]


def test_any_simulated_board_that_is_killed_is_started_again_on_its_flash() -> None:
    said: list[str] = []
    with sim.SimBoard("x64", say=said.append) as found:
        pid = found.process.pid
        (found.flash / "kept").touch()
        os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + SECONDS
        while not said and time.monotonic() < until:
            time.sleep(0.01)
        transport = SerialTransport(found.port)
        assert Link(transport).attach().flags & wire.FLAG_ATTACHED
        transport.close()
        assert found.process.pid != pid and found.trouble == "" and (found.flash / "kept").exists()
    assert len(said) == 1


@pytest.mark.parametrize("most", [1, 2])
def test_a_machine_without_room_for_another_terminal_is_an_error_in_one_line(monkeypatch, most: int) -> None:
    real, calls = pty.openpty, []

    def full() -> tuple[int, int]:
        calls.append(1)
        if len(calls) == most:
            raise OSError(28, "No space left on device")
        return real()

    monkeypatch.setattr(pty, "openpty", full)
    with pytest.raises(cli.UserError, match=r"cannot start the simulated board.*end other programs"):
        sim.SimBoard("x64")
    assert len(calls) == most


def test_a_flash_that_cannot_be_a_directory_is_an_error_in_one_line(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(cli.UserError, match="cannot write the simulated board's flash"):
        sim.SimBoard("x64", tmp_path / "file")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_flash_that_fills_up_is_an_error_that_says_so(tmp_path) -> None:
    (tmp_path / "firmware").mkdir()
    (tmp_path / "firmware/wire.py").symlink_to("/dev/full")
    with pytest.raises(cli.UserError, match=r"cannot write the simulated board's flash \(No space left on device\)"):
        sim.SimBoard("cpython", tmp_path)
