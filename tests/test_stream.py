"""python -m host.stream through a real pseudo-terminal to the real firmware in a real MicroPython: what it computes,
what it survives, and what it says about everything that can be wrong with a port or a board."""

import contextlib
import json
import os
import pty
import signal
import sys
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import serial
from pty_board import Board, compiled, meanwhile, process

from firmware import wire
from host import simulate, stream
from host.base import cli
from host.board import link, serialport
from host.board.sim import best_architecture
from host.data.dataset import load
from host.runs.checkpoint import Checkpoint
from host.runs.config import configure
from tools import soak

pytestmark = pytest.mark.skipif(best_architecture() != "x64", reason="no MicroPython on this machine")

SMALL = ("--rows", "10", "--limit", "40", "--test-limit", "12")
FRAMES = 2  # of one such image


@pytest.fixture
def train(answer) -> Callable[..., dict]:
    """train(...) is a run of host.stream that ends well; returns its result."""

    def call(*args: object) -> dict:
        code, out, err = answer(stream.main, "--json", *args)
        assert code == 0, err
        return json.loads(out) | {"stderr": err}

    return call


@pytest.fixture
def refused(answer, monkeypatch) -> Callable[..., str]:
    """refused(...) is one that ends with an error; returns its line."""
    monkeypatch.setattr(link, "PATIENCE", 1.3)

    def call(*args: object) -> str:
        code, out, err = answer(stream.main, *args)
        assert code == cli.EXIT_USER_ERROR, err
        assert "Traceback (most recent call last):\n" not in err
        assert out == ""
        last = err.splitlines()[-1]
        assert last.startswith("error: ")
        return last

    return call


@pytest.fixture
def golden(answer, tmp_path) -> Callable[..., dict]:
    """golden(...) is the same run by host.simulate."""

    def call(*args: object) -> dict:
        options = {"--epochs": 1} | dict(zip(args[::2], args[1::2], strict=True))
        flat = [x for pair in options.items() for x in pair]
        code, out, err = answer(simulate.main, "--json", "--run-dir", tmp_path / "golden", *flat)
        assert code == 0, err
        return json.loads(out)

    return call


@pytest.fixture
def board(monkeypatch) -> Iterator[Callable[..., Board]]:
    """board(...) makes a Board."""

    def copy(arch: str, sources: object, out: Path) -> None:
        import shutil

        shutil.copytree(compiled(), out, dirs_exist_ok=True)

    with contextlib.ExitStack() as stack:
        compiled()
        monkeypatch.setattr("host.board.sim.micropythons.compile_tree", copy)
        yield lambda *args, **keywords: stack.enter_context(Board(*args, **keywords))


# What it computes


@pytest.mark.parametrize("bits", [8, 4, 1])
def test_a_run_on_the_board_ends_in_the_same_parameters_as_host_simulate(train, golden, tmp_path, bits) -> None:
    options = ("--limit", 30, "--test-limit", 8, "--pixel-bits", bits)
    found = train("--twin", "--run-dir", tmp_path / "run", *options)
    wanted = golden(*options)
    for key in ("digest", "train_accuracy", "test_accuracy", "steps"):
        assert found[key] == wanted[key]
    params = [Checkpoint.read(tmp_path / name / "checkpoint.npz").params for name in ("run", "golden")]
    assert np.array_equal(*params)
    assert found["twin_checks"] == 30
    assert (found["retransmitted_frames"], found["timeouts"], found["reconnects"]) == (0, 0, 0)
    assert "epoch   1" in found["stderr"]
    kept = json.loads((tmp_path / "run/link.json").read_text())
    assert kept.items() <= found.items() and kept["bytes_per_image"] > 0
    fields = {"retransmitted_frames", "timeouts", "reconnects", "board_waiting_share", "board_ms_per_step"}
    assert fields | {"board_free_heap"} <= kept.keys()


def test_evaluate_finds_the_accuracy_that_host_simulate_finds_whatever_the_preset(
    answer, golden, board, tmp_path
) -> None:
    options = (*SMALL, "--preset", "article")
    golden(*options)
    checkpoint = tmp_path / "golden" / "checkpoint.npz"
    wanted = answer(simulate.main, "--json", "--evaluate", checkpoint, "--test-limit", 12)
    port = board().port
    found = answer(stream.main, "--json", "--evaluate", checkpoint, "--test-limit", 12, "--port", port)
    assert json.loads(found[1]) == json.loads(wanted[1])


def test_fewer_rows_and_more_columns_than_the_images_have(train, golden, board, tmp_path) -> None:
    options = (*SMALL, "--cols", 12)
    assert train("--port", board().port, "--run-dir", tmp_path / "r", *options)["digest"] == golden(*options)["digest"]


FLIPPED = """
from fixedpoint import lattice
learn = lattice.Lattice.learn
def flipped(self, label):
    found = learn(self, label)
    if self.step == 7 and self.rows == 10:  # not in the self-test
        self.w[5] ^= 1
    return found
lattice.Lattice.learn = flipped
import firmware.main
firmware.main.main()
"""


def test_a_twin_notices_one_flipped_bit_names_the_image_and_keeps_both_states(refused, board, tmp_path) -> None:
    run = tmp_path / "run"
    error = refused("--port", board(FLIPPED).port, "--twin", "--run-dir", run, *SMALL)
    config = configure(load().limited(40, 12), "critical", 1, 1, 10)
    assert f"the board differs from its twin, first at step 6 (training image {config.order(0)[6]})" in error
    assert str(run / "twin-mismatch.npz") in error
    with np.load(run / "twin-mismatch.npz") as kept:
        assert np.flatnonzero(kept["board"] != kept["twin"]).tolist() == [5]
        assert kept["step"] == 6


def test_without_a_twin_the_same_board_is_not_noticed(train, golden, board, tmp_path) -> None:
    found = train("--port", board(FLIPPED).port, "--run-dir", tmp_path / "run", *SMALL)
    assert found["digest"] != golden(*SMALL)["digest"]


# What it survives


def test_a_reset_and_an_unplugged_cable_in_the_midst_of_a_run(train, golden, board, tmp_path) -> None:
    port = board()

    def disturb() -> None:
        port.wait_for(wire.TRAIN, 10 * FRAMES)
        port.reset()
        port.wait_for(wire.TRAIN, 30 * FRAMES)
        port.unplug()
        time.sleep(1.2)
        port.plug()

    options = (*SMALL, "--epochs", 2)
    with meanwhile(disturb):
        found = train("--port", port.port, "--twin", "--run-dir", tmp_path / "run", *options)
    wanted = golden(*options)
    for key in ("digest", "train_accuracy", "test_accuracy"):
        assert found[key] == wanted[key]
    assert found["reconnects"] == 2
    assert found["twin_checks"] == 80
    assert found["stderr"].count("is the board plugged in?") == 1  # said once, not twice a second


def test_a_board_that_was_reset_goes_on_from_its_own_checkpoint(train, golden, board, tmp_path) -> None:
    port = board()
    with meanwhile(lambda: (port.wait_for(wire.TRAIN, 60 * FRAMES), port.reset())):
        found = train("--port", port.port, "--run-dir", tmp_path / "run", *SMALL, "--epochs", 2)
    assert found["digest"] == golden(*SMALL, "--epochs", 2)["digest"]
    assert port.frames[wire.TRAIN] < (80 + 40) * FRAMES  # not from the start
    assert wire.WRITE not in port.frames


@pytest.mark.parametrize("kind, moment", [(wire.TRAIN, 20 * FRAMES), (wire.TEST, 4)], ids=["training", "testing"])
def test_ctrl_c_saves_and_resume_ends_in_the_same_parameters(
    train, golden, board, tmp_path, kind: int, moment: int
) -> None:
    port = board()
    options = ("--port", port.port, "--run-dir", tmp_path / "run", *SMALL, "--limit", "120", "--test-limit", "200")
    with process(*options, cwd=tmp_path) as child:
        port.wait_for(kind, moment)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=20)
    assert child.returncode == cli.EXIT_INTERRUPTED
    assert "Traceback" not in said and f"saved {tmp_path / 'run' / 'checkpoint.npz'} at step" in said
    step = Checkpoint.read(tmp_path / "run" / "checkpoint.npz").step
    assert 0 < step < 120 if kind == wire.TRAIN else step == 120
    found = train(*options, "--resume", "--twin")
    assert found["twin_checks"] == 120 - step
    wanted = golden(*SMALL, "--limit", "120", "--test-limit", "200")
    assert (found["digest"], found["train_accuracy"]) == (wanted["digest"], wanted["train_accuracy"])


def test_a_killed_host_and_resume_end_in_the_same_parameters(train, golden, board, tmp_path) -> None:
    port = board()
    options = ("--port", port.port, "--run-dir", tmp_path / "run", *SMALL, "--epochs", 3)
    with process(*options, cwd=tmp_path) as child:
        port.wait_for(wire.TRAIN, 60 * FRAMES)
        child.kill()
        child.wait()
    assert Checkpoint.read(tmp_path / "run" / "checkpoint.npz").step == 40  # the first epoch's
    found, wanted = train(*options, "--resume"), golden(*SMALL, "--epochs", 3)
    assert (found["digest"], found["train_accuracy"]) == (wanted["digest"], wanted["train_accuracy"])


def test_ctrl_c_is_heard_while_the_board_is_gone(board, tmp_path) -> None:
    port = board()
    with process("--port", port.port, "--run-dir", tmp_path / "run", *SMALL, "--epochs", 9, cwd=tmp_path) as child:
        port.wait_for(wire.TRAIN, 20)
        port.unplug()
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=10)
    assert child.returncode == cli.EXIT_INTERRUPTED
    assert "--resume goes on" in said and "Traceback" not in said


def test_the_other_machine_goes_on_with_a_run_that_this_one_began(answer, train, golden, board, tmp_path) -> None:
    """A checkpoint of the host is enough: another board takes it up."""
    first, second = board(), board()
    run = ("--run-dir", tmp_path / "run", *SMALL, "--epochs", 2)
    with process("--port", first.port, *run, cwd=tmp_path) as child:
        first.wait_for(wire.TRAIN, 50 * FRAMES)
        child.send_signal(signal.SIGINT)
        child.wait(20)
    found = train("--port", second.port, "--resume", *run)
    assert found["digest"] == golden(*SMALL, "--epochs", 2)["digest"]
    assert wire.COMMIT in second.frames


def test_exit_gives_the_prompt_back(train, board, tmp_path) -> None:
    port = board(options=("-i",))
    train("--port", port.port, "--run-dir", tmp_path / "run", "--exit", *SMALL)
    with serial.Serial(port.port, timeout=1) as line:
        found = b""
        while b">>> " not in found:
            line.write(b"\r\n")
            found = line.read_until(b">>> ")
        line.write(b"print(6 * 7)\r\n")
        assert b"42" in line.read_until(b"42")


def test_after_a_run_the_board_listens_to_ctrl_c_again(train, board, tmp_path) -> None:
    port = board()
    train("--port", port.port, "--run-dir", tmp_path / "run", *SMALL)
    with serial.Serial(port.port, timeout=3) as line:
        parts = [line.read_until(b"\0") for _ in range(6)]
    assert any(part[1:2] == bytes([wire.HELLO]) for part in parts)


@pytest.mark.slow
def test_a_short_soak_through_a_pty(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["soak", "--pty", "--faults", "80", "--json"])
    assert soak.main() == 0
    done = json.loads(capsys.readouterr().out)
    assert done["faults"] >= 80
    assert done["failed"] is None


# What is wrong with the directory


def test_a_run_directory_of_another_run_is_left_alone(refused, train, board, tmp_path) -> None:
    port = ("--port", board().port)
    train(*port, "--run-dir", tmp_path / "run", *SMALL)
    before = (tmp_path / "run" / "checkpoint.npz").read_bytes()
    assert "add --resume" in refused(*port, "--run-dir", tmp_path / "run", *SMALL)
    assert "was begun with --seed 1" in refused(*port, "--run-dir", tmp_path / "run", *SMALL, "--seed", 2, "--resume")
    assert "add --run-dir" in refused(*port, "--resume", *SMALL)
    assert (tmp_path / "run" / "checkpoint.npz").read_bytes() == before


# What is wrong with the port


def test_no_such_port(refused) -> None:
    error = refused("--port", "/dev/shoreline-none", *SMALL)
    assert "no port /dev/shoreline-none" in error and "plugged in" in error


def test_a_port_that_another_program_has_open(refused, board) -> None:
    port = board().port
    with serial.Serial(port, exclusive=True):
        error = refused("--port", port, *SMALL)
    assert "is busy: another program has it open" in error and "close that" in error


def test_a_port_without_permission_names_the_group(refused, board, monkeypatch) -> None:
    import grp

    def denied(*args: object, **keywords: object) -> None:
        raise serial.SerialException(13, f"could not open port {args[0]}: [Errno 13] Permission denied: '{args[0]}'")

    port = board().port
    monkeypatch.setattr(serial, "serial_for_url", denied)
    monkeypatch.setattr(grp, "getgrgid", lambda number: SimpleNamespace(gr_name=f"group-{number}"))
    error = refused("--port", port, *SMALL)
    assert f"usermod -aG group-{os.stat(port).st_gid} $USER" in error


def test_a_file_is_no_port(refused, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    assert "is no serial port" in refused("--port", tmp_path / "file", *SMALL)


@pytest.mark.parametrize(
    "url, error", [("nonsense://here", "no port that pyserial knows"), ("socket://127.0.0.1:1", "is the other end up?")]
)
def test_urls_that_lead_nowhere(refused, url, error) -> None:
    assert error in refused("--port", url, *SMALL)


def usb(device: str, vid: int | None = 0x2E8A) -> SimpleNamespace:
    """A port as pyserial lists it."""
    return SimpleNamespace(device=device, description="Board in FS mode", vid=vid)


def test_auto_without_a_usb_port(refused, monkeypatch) -> None:
    monkeypatch.setattr(serialport.list_ports, "comports", lambda: [usb("/dev/ttyS0", None)])
    error = refused("--port", "auto", *SMALL)
    assert "no USB serial port found" in error and "--port" in error and "ttyS0" not in error


def test_auto_with_several_usb_ports_lists_them(refused, monkeypatch) -> None:
    monkeypatch.setattr(serialport.list_ports, "comports", lambda: [usb("/dev/ttyACM0"), usb("/dev/ttyACM1")])
    error = refused("--port", "auto", *SMALL)
    assert "2 USB serial ports" in error and "/dev/ttyACM0" in error and "/dev/ttyACM1 (Board in FS mode)" in error


def test_auto_takes_the_only_usb_port(train, golden, board, monkeypatch, tmp_path) -> None:
    ports = [usb("/dev/ttyS0", None), usb(board().port)]
    monkeypatch.setattr(serialport.list_ports, "comports", lambda: ports)
    assert train("--port", "auto", "--run-dir", tmp_path / "r", *SMALL)["digest"] == golden(*SMALL)["digest"]


def test_options_that_do_not_exist(refused) -> None:
    assert "--baud" in refused("--baud", "fast")
    assert "--help" in refused("--nonsense")


# What is wrong with the board


def test_a_board_at_its_prompt(refused, board) -> None:
    error = refused("--port", board("").port, *SMALL)
    assert "at its MicroPython prompt" in error and "--install" in error


def test_a_board_that_says_nothing(refused) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    try:
        error = refused("--port", os.ttyname(slave), *SMALL)
    finally:
        os.close(master)
        os.close(slave)
    assert "no firmware answered" in error and "--install" in error


def test_a_board_with_another_version_of_the_wire(refused, board) -> None:
    main = "from firmware import wire\nwire.VERSION = 9\nimport firmware.main\nfirmware.main.main()\n"
    error = refused("--port", board(main).port, *SMALL)
    assert f"version 9 of the wire, this host {wire.VERSION}" in error and "--install" in error


def test_a_board_that_computes_wrongly_is_not_trained(refused, board) -> None:
    port = board("import firmware.main\nfirmware.main.main(golden=1)\n")
    error = refused("--port", port.port, *SMALL)
    assert "self-test failed" in error and "another MicroPython release" in error
    assert wire.TRAIN not in port.frames


def test_a_board_that_holds_another_run(refused, train, golden, board, tmp_path) -> None:
    port = ("--port", board().port)
    train(*port, "--run-dir", tmp_path / "first", *SMALL)
    error = refused(*port, "--run-dir", tmp_path / "second", *SMALL, "--seed", 2)
    assert "holds another run" in error and "step 40" in error and "--replace" in error
    found = train(*port, "--run-dir", tmp_path / "third", *SMALL, "--seed", 2, "--replace")
    assert found["digest"] == golden(*SMALL, "--seed", 2)["digest"]


STOPS = """
from fixedpoint import lattice
learn = lattice.Lattice.learn
def stops(self, label):
    if self.step == 9:
        raise {error}
    return learn(self, label)
lattice.Lattice.learn = stops
import firmware.main
firmware.main.main()
"""


def test_a_traceback_in_the_midst_of_a_run_is_shown(refused, board) -> None:
    error = refused("--port", board(STOPS.format(error="ValueError('out of luck')")).port, *SMALL)
    assert "the board's program has stopped with: Traceback" in error and "ValueError: out of luck" in error


def test_a_prompt_in_the_midst_of_a_run_is_recognised(refused, board) -> None:
    error = refused("--port", board(STOPS.format(error="SystemExit"), options=("-i",)).port, *SMALL)
    assert "at its MicroPython prompt" in error and "reset the board" in error


def test_a_program_without_the_firmware_that_ends_with_a_traceback(refused, board) -> None:
    error = refused("--port", board("import time\ntime.sleep(.3)\nimport sensor\n", options=("-i",)).port, *SMALL)
    assert "ImportError" in error
