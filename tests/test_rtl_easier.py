"""Arithmetic that is easier to build (tools/rtl/easier.py): the engine's with the named lines changed, and no more."""

import ast
import inspect
import json
import random
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fixedpoint import kernels
from fixedpoint.lattice import CELL, WL, WT, Lattice
from host.engine import dialect
from host.engine.checked import watched
from tools.rtl import easier
from tools.rtl.easier import LIMITED, VARIANTS, Changes, changed, fixed_exponent, fixed_fine
from tools.rtl.wild import loud, wild
from tools.vectors.trial import Trial

SOURCE = inspect.getsource(kernels)
SLOW = ((20000, 22),) * 4
LOUD: dict[str, Any] = {
    "rows": 1,
    "cols": 12,
    "steps": 28,
    "images": 1,
    "dark": 1.0,
    "start": loud,
}  # messages saturate


def plain(changes: Changes) -> types.ModuleType:
    """The kernels with these changes, as Python."""
    module = types.ModuleType("changed")
    exec(changed(SOURCE, changes), module.__dict__)
    return module


def near_1_5(rng: random.Random, group: int, diagonal: bool) -> int:
    """A master of a cell whose weights leave room for 2 bits more."""
    return rng.randrange(1 << 25) + (3 << 25 if group in (1, 2) else 0)


def trained(trial: Trial, run: Any, rates: Any = None) -> Lattice:
    """The network of a trial after its images, by these kernels; rates: instead of the trial's."""
    network: Lattice = trial.network()
    network.kernels = run
    for number, (image, label) in enumerate(zip(trial.images, trial.labels.tolist(), strict=True)):
        network.set_rates(rates or trial.config.rates(number))
        network.train(image.tobytes(), label)
    return network


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_a_program_in_which_backward_alone_differs(name: str) -> None:
    found, engine = (dialect.parse(text).kernels for text in (changed(SOURCE, VARIANTS[name]), SOURCE))
    bodies = [{kernel.name: [*map(ast.dump, kernel.body)] for kernel in side.values()} for side in (found, engine)]
    differ = [kernel for kernel, body in bodies[1].items() if bodies[0][kernel] != body]
    assert differ == ([] if name == "engine" else ["backward"])


def test_a_line_that_backward_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="'fine = y' is there 0 times"):
        changed(SOURCE, {"fine = y": "fine = 2"})


def test_a_format_for_all_cells_is_the_engines_where_all_cells_have_it() -> None:
    trial = wild(3, rows=2, cols=3, steps=5, images=3, start=near_1_5)
    networks = [trained(trial, run, SLOW) for run in (kernels, plain(fixed_fine(2)), plain(fixed_fine(0)))]
    engine, alike, other = (network.digest() for network in networks)
    of = networks[0].m
    assert all(8192 < abs(of[at + WL]) + abs(of[at + WT]) <= 16384 for at in range(0, 6 * CELL, CELL))
    assert engine == alike != other


def test_no_sum_leaves_31_bits_with_one_exponent_for_all() -> None:
    trained(wild(4, **LOUD), watched(dialect.parse(changed(SOURCE, VARIANTS["exponent=12"]))).kernels)


def test_without_saturation_one_does() -> None:
    text = changed(SOURCE, fixed_exponent(12)).replace(LIMITED, "")
    with pytest.raises(OverflowError, match="backward"):
        trained(wild(4, **LOUD), watched(dialect.parse(text)).kernels)


@pytest.mark.slow
def test_the_command_pairs_a_variant_with_the_engine(answer: Callable[..., Any]) -> None:
    code, out, _ = answer(easier.main, "--seeds", "1-2", "--variant", "exponent=12", "--json", "--graph", "forest")
    engine, variant = map(json.loads, out.splitlines())
    assert (code, engine["variant"], variant["variant"], engine["drop"]) == (0, "engine", "exponent=12", 0)
    assert variant["drop"] == pytest.approx(np.mean(engine["accuracies"]) - np.mean(variant["accuracies"]))
    assert engine["accuracies"] != variant["accuracies"]
    assert easier.line(variant).startswith(f"forest, exponent=12: {variant['mean']:.3f} +- ")
    assert easier.line(engine | {"interval": None}) == f"forest, engine: {engine['mean']:.3f}"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--graph", "forest", "--variant", "fine=2"), "weights of a forest may grow beyond 2.0; choose fine=0"),
        (("--variant", "fine=3"), "--variant"),
        (("--seeds", "2-1"), "--seeds 2-1"),
        (("--graph", "diagonal"), "--graph"),
    ],
)
def test_what_it_cannot_do_is_refused(answer: Callable[..., Any], options: tuple[str, ...], why: str) -> None:
    code, out, err = answer(easier.main, *options)
    assert (code, out, why in err) == (2, "", True), err
