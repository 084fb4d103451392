"""Lattices side by side under LLVM: each lane ends with the bits that the golden model ends with alone."""

from itertools import pairwise

import numpy as np
import pytest

from fixedpoint.build import build
from fixedpoint.lattice import Lattice
from host.data import dataset
from host.engine import dialect, llvm
from host.engine.lanes import Lanes, one_lattice
from host.engine.learners import executor
from host.engine.passes import SNAP1
from host.runs.config import Config, configure, prepare
from host.runs.presets import PRESETS


def golden(config: Config, data: dataset.Dataset, order: np.ndarray, name: str) -> tuple[Lattice, list[int]]:
    """One lattice alone, under another executor, and its predictions."""
    lattice = config.network(**executor(name))
    lattice.set_rates(config.rates(0))
    return lattice, [lattice.train(data.train_images[i].tobytes(), int(data.train_labels[i])) for i in order]


def compare(lanes: int, images: int, name: str, preset: str = "critical", rows: int = 28, cols: int = 10) -> None:
    """Digests, predictions and classes of lanes with seeds and orders of their own."""
    digits = dataset.load()
    configs = [configure(digits, preset, seed, 1, rows, cols) for seed in range(1, lanes + 1)]
    data = prepare(digits, configs[0])
    chance = np.random.default_rng(lanes)
    orders = np.stack([chance.permutation(len(data.train_images))[:images] for _ in configs], 1)
    side = Lanes([config.network() for config in configs])
    side.set_rates(configs[0].rates(0))
    cuts = [0, images // 3, images]  # in two calls
    found = np.concatenate([
        side.learn(data.train_images[orders[a:b]], data.train_labels[orders[a:b]])
        for a, b in pairwise(cuts)
    ])  # fmt: skip
    classes = side.classify(data.test_images[:20])
    for lane, config in enumerate(configs):
        alone, predictions = golden(config, data, orders[:, lane], name)
        assert side.lattice(lane).digest() == alone.digest()
        assert found[:, lane].tolist() == predictions
        assert classes[:, lane].tolist() == [alone.predict(image.tobytes()) for image in data.test_images[:20]]


@pytest.mark.parametrize("preset", ("article", "critical", "forest-exact", "diagonal"))
@pytest.mark.parametrize("lanes", [1, 3, pytest.param(4, marks=pytest.mark.slow), 8, 16])
def test_every_lane_is_the_lattice_alone(lanes: int, preset: str) -> None:
    """Three of four lanes, too; with `article`, cells that hear nothing in some lanes only."""
    compare(lanes, 60, "llvm", preset)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name not in ("article", "critical")])
@pytest.mark.parametrize("lanes", [1, 8])
def test_every_graph_and_rule_is_the_golden_models(lanes: int, preset: str) -> None:
    compare(lanes, 6, "llvm" if lanes > 1 else "python", preset)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_thousand_digits_of_every_graph_and_rule(preset: str) -> None:
    compare(8, 1000, "llvm", preset)


@pytest.mark.parametrize("rows, cols", [(9, 13), (28, 10), (1, 10)])
@pytest.mark.parametrize("lanes", [1, 8])
def test_every_size_is_the_golden_models(rows: int, cols: int, lanes: int) -> None:
    compare(lanes, 6, "python", rows=rows, cols=cols)


@pytest.mark.slow
@pytest.mark.parametrize("rows, cols", [(28, 10), (28, 16), (12, 10)])
@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_a_thousand_digits(rows: int, cols: int, lanes: int) -> None:
    compare(lanes, 1000, "llvm", rows=rows, cols=cols)


@pytest.mark.slow
@pytest.mark.parametrize("rows, cols", [(28, 10), (28, 16), (12, 10)])
def test_a_thousand_digits_of_the_golden_model(rows: int, cols: int) -> None:
    compare(1, 1000, "python", rows=rows, cols=cols)


def test_kernels_one_by_one_serve_a_lattice() -> None:
    digits = dataset.load()
    config = configure(digits, "critical", 1, 1)
    mine = config.network(kernels=one_lattice())
    mine.set_rates(config.rates(0))
    theirs, _ = golden(config, digits, np.arange(10), "python")
    for image, label in zip(digits.train_images[:10], digits.train_labels.tolist(), strict=False):
        mine.train(image.tobytes(), label)
    assert mine.digest() == theirs.digest()
    for name in ("h", "m", "z"):
        assert list(getattr(mine, name)) == list(getattr(theirs, name))


def test_what_differs_from_lane_to_lane_is_known() -> None:
    varying = {name: kernel.varying for name, kernel in SNAP1.program.kernels.items()}
    assert varying["feed"] == set() and varying["draw"] == {"high", "low", "total"}
    wired = {"p", "q", "gain", "left", "top", "own", "right", "below", "steps"}
    assert not wired & (varying["forward"] | varying["backward"])
    assert {"x", "el", "et", "y", "c", "wl"} <= varying["forward"]


WRAPS = """
def wraps(x: ptr32, n: int):
    v = x[0]
    for i in range(n):
        v = v * 3 + 1073741
    x[1] = v
    x[2] = (v << 3) >> 5
"""


@pytest.mark.parametrize("lanes", [1, 4, 8])
def test_numbers_wrap_as_registers_do(lanes: int) -> None:
    text = str(llvm.module(dialect.parse(WRAPS), lanes))
    native = llvm.Native(text, {"wraps": [llvm.ctypes.c_void_p, llvm.ctypes.c_int32]})
    x = np.zeros((3, lanes), np.int32)
    x[0] = np.arange(lanes) * 123456789
    native.functions["wraps"](x.ctypes.data, 50)
    for lane in range(lanes):
        v = int(x[0, lane])
        for _ in range(50):
            v = (v * 3 + 1073741 + 2**31) % 2**32 - 2**31
        assert x[1, lane] == v and x[2, lane] == ((v << 3) + 2**31) % 2**32 - 2**31 >> 5


def test_lattices_of_two_shapes_are_not_put_side_by_side() -> None:
    with pytest.raises(ValueError, match="of one shape"):
        Lanes([Lattice(3, 3, 4), Lattice(3, 4, 4)])
    with pytest.raises(ValueError, match="at most 16"):
        Lanes([Lattice(2, 2, 2)] * 17)


def test_networks_of_two_wirings_or_rules_are_not_put_side_by_side() -> None:
    """They are of one size, and the wiring is read once: the second would be trained as the first."""
    others = [build(2, 0, 6, 4, 3, 4112, 0, 0, 0, 4096, seed) for seed in (1, 2)]
    others += [Lattice(6, 4, 3), Lattice(6, 4, 3, exact=True), build(3, 0, 6, 4, 3, 4112, 0, 0, 0, 0, 0)]
    for k, one in enumerate(others):
        assert Lanes([one, one]).count == 2
        for other in others[:k]:
            with pytest.raises(ValueError, match="one graph and one rule"):
                Lanes([one, other])


@pytest.mark.parametrize("features, lanes", [("avx512f avx2", 16), ("avx2", 8), ("neon", 4), ("", 4)])
def test_best_lanes_fill_a_register(features: str, lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llvm.binding, "get_host_cpu_features", lambda: dict.fromkeys(features.split(), True))
    assert llvm.best_lanes() == lanes in llvm.LANES


def test_states_of_lanes_begin_with_a_cache_line() -> None:
    side = Lanes([Lattice(3, 3, 4)] * 3)
    assert {array.ctypes.data % 64 for array in side.arrays.values()} == {0}
