"""A board whose flash is full keeps no checkpoint of its own; the run goes on with the host's, which says so once."""

import json
import struct
from functools import partial
from zlib import crc32

import pytest
from scripted_board import Answers, Line, hello, small, state

from firmware import wire
from host import stream
from host.base import cli
from host.board import sim
from host.board.learner import BoardLearner
from host.board.link import Link

RUN = ("--rows", "10", "--limit", "40", "--test-limit", "12", "--epochs", "2", "--json")
FULL = """
import os
from firmware import storage

def save(*arguments):
    raise OSError(28)

storage.save = save
import firmware.main
firmware.main.main()
"""


def test_parameters_that_were_read_are_returned_though_the_board_cannot_save_them() -> None:
    config, data = small()
    words = 4 * config.rows * config.cols
    said: list[str] = []

    def answers(kind: int, n: int) -> Answers:
        if kind == wire.ATTACH:
            return [(0.01, hello())]
        if kind == wire.OPEN:
            return [(0.01, state())]
        tag = line.last[1]
        if kind == wire.READ:
            _, _, first, count = struct.unpack(wire.READ_FORMAT, line.last)
            return [(0.01, struct.pack(wire.READ_FORMAT, wire.WORDS, tag, first, count) + bytes(4 * count))]
        if kind == wire.QUERY:
            return [(0.01, struct.pack(wire.STATE_FORMAT, wire.STATE, tag, 0, crc32(bytes(4 * words + 4)), 0))]
        return [(0.01, struct.pack(wire.REFUSED_FORMAT, wire.REFUSED, wire.STORAGE, 1, 0, 28))]

    line = Line(answers)
    learner = BoardLearner(config, data, lambda: line, say=said.append, link=Link(line, line.clock))
    for times in (1, 2):
        try:
            assert learner.params().size == words
        except cli.UserError as error:
            pytest.fail(f"nothing is saved: {error}")
        assert learner.known[1] == 0 and learner.known[0] is not None
        assert len(line.times(wire.CHECKPOINT)) == times, "there may be room by now"
    assert len(said) == 1 and "error 28, No space left on device" in said[0] and line.room in said[0]


@pytest.mark.skipif(sim.best_architecture() != "x64", reason="no MicroPython on this machine")
def test_a_simulated_board_with_a_full_flash_trains_to_the_end_and_tmpdir_is_named(
    answer, monkeypatch, tmp_path
) -> None:
    command = partial(answer, stream.main)
    golden = json.loads(command(*RUN, "--run-dir", tmp_path / "golden")[1])
    monkeypatch.setattr(sim, "MAIN", FULL)
    code, out, err = command(*RUN, "--run-dir", tmp_path / "run")
    assert code == 0, err
    assert json.loads(out)["digest"] == golden["digest"]
    lines = [line for line in err.splitlines() if "checkpoint" in line]
    assert len(lines) == 1 and "TMPDIR" in lines[0] and "No space left" in lines[0]
    assert (tmp_path / "run" / "checkpoint.npz").exists()
