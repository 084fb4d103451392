"""host.runs.display and the Gauge on it: what a terminal of any size and kind shows, and what is left in the end."""

import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from terminal import Terminal

from host import stream
from host.base import cli
from host.board.link import Statistics
from host.board.sim import best_architecture
from host.runs import output
from host.runs.display import Display, drawable

ROOT = Path(__file__).resolve().parent.parent
BODY = [[("a plot", "cyan")], [("beside ", ""), ("a picture", "bold")], [("x" * 58, "")]]


@pytest.fixture
def opened(monkeypatch) -> Callable[..., Terminal]:
    """opened(columns, ...) puts stderr on a new Terminal."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)

    def terminal(columns: int, lines: int = 24, encoding: str = "utf-8") -> Terminal:
        made = Terminal(columns, lines)
        file = open(made.slave, "w", encoding=encoding, errors="replace", closefd=False)  # noqa: SIM115 (its test's)
        monkeypatch.setattr(sys, "stderr", file)
        return made

    return terminal


def gauge(at: int = 50, *, opens: float = 0.0) -> output.Gauge:
    """A Gauge that shows a text, a bar and BODY."""
    made = output.Gauge(lambda columns, lines: BODY)
    made.told = opens
    made.show(1.0, lambda: f"image {at}/100", at, 100)
    return made


def test_what_is_drawn_is_drawn_over_and_nothing_is_left_of_it(opened):
    with opened(80) as terminal, gauge() as shown:
        first = terminal.shown()
        assert first[0].startswith("image 50/100 |███") and first[0].endswith("|") and len(first[0]) == 79
        assert first[1:] == ["a plot", "beside a picture", "x" * 58]
        shown.show(2.0, lambda: "image 60/100", 60, 100)
        assert terminal.shown()[0].count("█") > first[0].count("█") and terminal.shown()[1:] == first[1:]
        output.say("an epoch")
        assert terminal.shown()[0] == "an epoch" and terminal.shown()[2:] == first[1:]
        shown.__exit__()
        output.say("the end")
        assert terminal.shown() == ["an epoch", "the end"]


def test_long_lines_above_are_said_whole(opened):
    """A path or a command may be copied from there."""
    with opened(60) as terminal, gauge():
        output.say("[bold]" + "y" * 100)
        assert "".join(terminal.shown()[:2]) == "[bold]" + "y" * 100
        assert terminal.shown()[3:] == ["a plot", "beside a picture", "x" * 58]


@pytest.mark.parametrize("columns", [59, 40, 20, 7])
@pytest.mark.parametrize("then", ["drawn", "said", "closed"])
def test_a_terminal_that_becomes_narrower_keeps_nothing_of_what_it_folds(opened, columns, then):
    with opened(80) as terminal:
        output.say("before")
        with gauge() as shown:
            terminal.resize(columns)
            if then == "said":
                output.say("above")
            if then != "closed":
                shown.show(2.0, lambda: "now", 60, 100)
                assert terminal.shown()[0] == "before" and terminal.shown()[-1].startswith("now")
                terminal.resize(80)
                shown.show(3.0, lambda: "wide", 60, 100)
                assert [line[:4] for line in terminal.shown()[-4:]] == ["wide", "a pl", "besi", "xxxx"]
        assert terminal.shown() == ["before", *(["above"] if then == "said" else [])]


@pytest.mark.parametrize("columns, lines, room", [(60, 12, True), (59, 12, False), (60, 11, False), (2, 2, False)])
def test_a_small_terminal_gets_the_bar_alone(opened, columns, lines, room):
    with opened(columns, lines) as terminal, gauge():
        assert terminal.shown()[0] == ("image 50/100 |" if columns > 20 else "i")[:columns] + terminal.shown()[0][14:]
        assert len(terminal.shown()) == (4 if room else 1)


def test_a_terminal_without_unicode_gets_a_bar_in_ascii(opened):
    with opened(80, encoding="ascii") as terminal, gauge():
        (line,) = terminal.shown()
        assert "####" in line and "?" not in line


def test_no_color_is_respected(opened, monkeypatch):
    with opened(80) as terminal, gauge():
        assert "\x1b[36m" in (terminal.shown(), terminal.said)[1]
    monkeypatch.setenv("NO_COLOR", "1")
    with opened(80) as terminal, gauge():
        assert "beside a picture" in terminal.shown() and "\x1b[36m" not in terminal.said


def test_the_cursor_is_never_hidden(opened):
    """The Terminal knows no code for that. Who is killed could not bring it back."""
    with opened(80) as terminal, gauge():
        assert terminal.shown() and "?25" not in terminal.said


@pytest.mark.parametrize("kind, drawn", [("xterm", True), ("dumb", False), ("unknown", False)])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(opened, monkeypatch, kind, drawn):
    with opened(80) as terminal:
        monkeypatch.setenv("TERM", kind)
        assert drawable() == drawn
        gauge(opens=-output.EVERY).__exit__()
        assert terminal.shown() == ([] if drawn else ["image 50/100"])


@pytest.mark.parametrize("columns, lines, drawn", [(80, 24, True), (0, 0, False)])
def test_a_terminal_of_unknown_size_gets_lines(opened, columns, lines, drawn):
    """A serial console says 0 x 0, where a bar would never be seen."""
    with opened(80) as terminal:
        fcntl.ioctl(terminal.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        assert drawable() == drawn


def test_it_is_drawn_five_times_a_second_at_most(opened, monkeypatch):
    assert output.REDRAW >= 0.2
    draws = []
    monkeypatch.setattr(Display, "draw", lambda display, lines: draws.append(lines))
    with opened(80), output.Gauge() as shown:
        shown.told = 0.0
        for clock in range(1000):
            shown.show(clock / 1000, lambda: "", 1, 2)
    assert len(draws) == 4


def test_a_terminal_that_has_gone_stops_nothing(opened):
    terminal = opened(80)
    with terminal, gauge():
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (as Lossy is then)
        output.say("nobody hears it")


# --- commands on a terminal


def on_terminal(terminal: Terminal, cwd: Path, code: str, *options: object, of: str = "simulate") -> subprocess.Popen:
    """host.simulate (or stream) on it, with some code before."""
    program = f"from host import {of}\nfrom host.base import cli\nfrom host.runs import output\n{code}\n"
    argv = [sys.executable, "-c", f"{program}cli.run({of}.main)", *map(str, options)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "NO_COLOR": "1"}
    return subprocess.Popen(argv, cwd=cwd, stdout=subprocess.PIPE, stderr=terminal.slave, env=environment, text=True)


def ended(run: subprocess.Popen, terminal: Terminal) -> str:
    """Show all that the command says, to its end; return its stdout."""
    while run.poll() is None:
        terminal.read(0.05)
    with run.stdout:
        return run.stdout.read()


SMALL = ("--rows", 8, "--limit", 200, "--test-limit", 20, "--epochs", 2, "--run-dir", "r", "--no-report")


def test_a_run_shows_its_curve_its_last_image_and_leaves_its_epochs(tmp_path):
    with Terminal(80) as terminal:
        run = on_terminal(terminal, tmp_path, "simulate.CHUNK['llvm'] = 4; output.REDRAW = 1e-6", *SMALL)
        out = ended(run, terminal)
        assert run.returncode == 0 and out.startswith("Trained by host.simulate")
        assert [line[:11] for line in terminal.shown()[-2:]] == ["epoch   1  ", "epoch   2  "]
        assert not any("█" in line for line in terminal.shown())
        for text in ("epoch 1/2  right 0.", "epoch 2/2  right 0.", "epoch 2/2  testing 20/20  right 0.",
                     "█ training  ● test 0.", ": right", ": taken for "):  # fmt: skip
            assert text in terminal.plain


@pytest.mark.parametrize("seeds", [(), ("--seeds", "1-2")], ids=["one run", "seeds"])
def test_ctrl_c_leaves_a_clean_screen(tmp_path, seeds):
    options = (*SMALL, "--epochs", 10_000, *seeds)
    with Terminal(120) as terminal:
        run = on_terminal(terminal, tmp_path, "", *options)
        drawn = re.compile(r"● test 0\.|seed 2 +epoch \d+/10000  test 0\.")
        while not ("epoch   1  train 0." in terminal.plain and drawn.search(terminal.plain)):
            terminal.read(0.05)
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        ended(run, terminal)
        assert run.returncode == cli.EXIT_INTERRUPTED
        begin, *epochs, saved, interrupted = terminal.shown()[1:]
        assert begin.startswith("llvm") and saved.startswith("saved ") and interrupted == "interrupted"
        assert epochs and all(re.match(r"epoch +\d+  train 0", line) for line in epochs)


@pytest.mark.skipif(best_architecture() != "x64", reason="no MicroPython on this machine")
def test_a_run_on_a_board_shows_its_link_too(tmp_path):
    with Terminal(80) as terminal:
        options = (*SMALL, "--limit", 40, "--epochs", 1)
        run = on_terminal(terminal, tmp_path, "output.REDRAW = 1e-6", *options, of="stream")
        ended(run, terminal)
        assert run.returncode == 0 and not any("link" in line for line in terminal.shown())
        assert re.search(r"\nlink   resent 0  time-outs 0  reconnects 0  \d+ bytes an image", terminal.plain)
        assert re.search(r"\nboard  computes \d+% of the time, \d+\.\d ms an image", terminal.plain)


def test_what_a_link_has_done_is_counted():
    statistics = Statistics(bytes_out=5000, retransmitted=3, timeouts=2, resets=1, images=10, computing=1.5)
    link = SimpleNamespace(statistics=statistics, clock=lambda: 103.0, pace=0.16)
    assert stream.seen(SimpleNamespace(link=link), 100.0) == [
        "link   resent 3  time-outs 2  reconnects 1  500 bytes an image",
        "board  computes 50% of the time, 160.0 ms an image",
    ]
    link.statistics = Statistics()
    assert stream.seen(SimpleNamespace(link=link), 100.0) == []
