"""Every graph and rule on a simulated board, one after the other on the same one: trained with a twin, reset, saved and
resumed on either side, tested. What it comes to is the golden model's, to the bit."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from interpreters import interpreter

from firmware import wire
from host import simulate, stream
from host.board.learner import BoardLearner
from host.board.link import Link
from host.board.serialport import SerialTransport
from host.board.sim import SimBoard
from tools.faults.changed import segments
from tools.faults.golden import Golden, small
from tools.networks import NETWORKS

IMAGES, TESTS, BITS = 9, 4, (8, 4, 1)
NAMES = ["-".join(kind) for kind in NETWORKS]


def own(number: int) -> Golden:
    """A run of its own size for each graph and rule, with one of the pixel formats."""
    size = (3 + number, 2 + number % 4, 5 + number % 3)
    return small(number, IMAGES, TESTS, size, 1, BITS[number % 3], NETWORKS[number])


@pytest.fixture(scope="module", params=["x64", "i386", "armhf"])
def board(request: pytest.FixtureRequest) -> Iterator[SimBoard]:
    """One board, of 192 KB, for all of them."""
    interpreter(request.param)
    with SimBoard(request.param, heap="384k" if request.param == "x64" else "192k") as found:
        yield found


@contextlib.contextmanager
def talking(board: SimBoard, golden: Golden, twin: bool = True) -> Iterator[BoardLearner]:
    """A host with the board at hand."""
    link = Link(answer=0.3 if board.arch == "x64" else 1.0)
    learner = BoardLearner(
        golden.config, golden.data, lambda: SerialTransport(board.port), twin, replace=True, link=link
    )
    with segments():  # rates change within the few images, as the golden model's do
        try:
            yield learner
        finally:
            learner.leave(wire.CLOSE)


def trained(learner: BoardLearner, golden: Golden, count: int) -> None:
    """Train so many more images, and compare with the golden model."""
    first = learner.step
    which = golden.config.order(0)[first : first + count]
    labels = golden.data.train_labels[which]
    right = learner.train(golden.data.train_images[which], labels)
    assert right == sum(golden.predictions[first + i] == label for i, label in enumerate(labels))
    assert learner.digest() == f"{golden.digests[first + count]:08x}"


@pytest.mark.parametrize("number", range(len(NETWORKS)), ids=NAMES)
def test_a_board_that_has_had_another_network_trains_this_one(board: SimBoard, number: int) -> None:
    golden = own(number)
    with talking(board, golden) as learner:
        trained(learner, golden, 3)
        params = learner.params()  # of step 3; the board writes its checkpoint
        trained(learner, golden, 2)
        board.reset()
        trained(learner, golden, 1)
        assert learner.link.statistics.resets == 1 and learner.twin_checks == 6, "trained again, and compared once"
        before = learner.link.counters()["trained"]
        assert before == 3, "since its checkpoint of step 3"
    with talking(board, golden) as learner:  # another host, which has a checkpoint of its own, of an earlier step
        learner.load(params, 3)
        trained(learner, golden, IMAGES - 3)
        hits = learner.evaluate(golden.data.test_images, golden.data.test_labels)
        assert round(hits, 6) == golden.epochs[0]["test_accuracy"]
        final = learner.params()
        assert learner.digest() == golden.epochs[0]["digest"], "testing has changed nothing"
    board.reset()
    with talking(board, golden, twin=False) as learner:  # and one that finds the board's own checkpoint only
        learner.step = learner.target = IMAGES
        assert np.array_equal(learner.params(), final)
        assert learner.link.counters()["trained"] == 0, "nor was it given parameters"


@pytest.mark.parametrize(
    "graph, rule, options",
    [("diagonal", "snap1", ("--units", 5)), ("forest", "exact", ("--pixel-bits", 4)),
     pytest.param("small-world", "exact", ("--share", 0.5, "--wiring-seed", 7), marks=pytest.mark.slow)],
)  # fmt: skip
def test_the_commands_agree(answer, graph: str, rule: str, options: tuple, tmp_path: Path) -> None:
    """host.stream with a twin, host.simulate without a board, and a result that is printed again."""
    size = ("--graph", graph, "--rule", rule, *options, "--rows", 9, "--epochs", 1, "--limit", 30,
            "--test-limit", 10, "--json")  # fmt: skip
    interpreter("x64")
    found = []
    for main, more in ((stream.main, ("--twin", "--run-dir", tmp_path / "run")), (simulate.main, ())):
        code, out, err = answer(main, *size, *more)
        assert code == 0, err
        found.append(json.loads(out))
    assert found[0]["twin_checks"] == 30
    assert found[0]["digest"] == found[1]["digest"] and found[0]["test_accuracy"] == found[1]["test_accuracy"]
    code, out, err = answer(stream.main, "--run-dir", tmp_path / "run", "--resume", "--json")
    assert code == 0 and json.loads(out)["digest"] == found[0]["digest"], err


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["x64", "i386", "armhf"])
@pytest.mark.parametrize("graph, rule", NETWORKS, ids=NAMES)
def test_digits_in_full_size_with_a_twin(answer, arch: str, graph: str, rule: str) -> None:
    interpreter(arch)
    size = ("--limit", 60, "--test-limit", 20, "--pixel-bits", 4, "--sim-arch", arch, "--twin", "--json")
    code, out, err = answer(stream.main, "--graph", graph, "--rule", rule, *size)
    assert code == 0, err
    assert json.loads(out)["twin_checks"] == 60
