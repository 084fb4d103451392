"""What the manifest says of a signal's format: read by it alone, every one is what its text says, in float64."""

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from small_run import noise

from host.runs.config import Config, configure, prepare
from tools.vectors.cell import cell_level
from tools.vectors.network import network_level
from tools.vectors.signals import Signal
from tools.vectors.trial import Trial
from tools.vectors.unit import unit_level

DATA = noise(train=40)
HALF = 2.0**-15  # of an accumulator that is read in Q14
Array = np.ndarray
Read = Callable[[str], Array]


def trial_of(graph: str) -> Trial:
    config: Config = configure(DATA, None, 5, 1, graph=graph)
    ready = prepare(DATA, config)
    return Trial(config, ready.train_images[:3], ready.train_labels[:3])


def reader(trial: Trial) -> Read:
    """Of a level's signals, with the level's name before them: real numbers, by their formats alone."""
    levels = (unit_level if trial.diagonal else cell_level, network_level)
    found = {
        f"{t.level}/{name}": (s, t.values[name]) for of in levels for t in of(trial) for name, s in t.signals.items()
    }

    def read(name: str) -> Array:
        signal: Signal = found[name][0]
        values: Array = found[name][1]
        fraction = np.full(values.shape, float(signal.fraction))
        for sign, part in re.findall(r"([+-]?)(\w+)", signal.plus):
            more = found[f"{name.split('/')[0]}/{part}"][1]
            fraction += (-1 if sign else 1) * more.reshape(more.shape + (1,) * (values.ndim - more.ndim))
        return values / 2.0**fraction

    return read


def filtered(x: Array, c: Array) -> Array:
    """Over the last axis."""
    state, states = np.zeros_like(x[..., 0]), []
    for t in range(x.shape[-1]):
        state = state + c * (x[..., t] - state)
        states.append(state)
    return np.stack(states, -1)


def near(found: Array, wanted: Array) -> None:
    """The same but for rounding: no other power of two, no other sign."""
    assert np.abs(wanted).max() > 0
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.005 * np.abs(wanted).max())


@cache
def cells() -> Read:
    return reader(trial_of("small-world"))


def units_of_inputs(v: Read) -> tuple[Array, Array]:
    """2^gain and 2^(gain - lag), (images, cells)."""
    gain, lag = v("cell/gain"), v("cell/lag")
    assert gain.any() and lag.any()
    return 2**gain, 2 ** (gain - lag)


def of_parameters(v: Read) -> dict[str, tuple[Array, Array]]:
    """What l, wL, wT and b do to a cell's s, and the unit that signals have it in."""
    left, top = units_of_inputs(v)
    c = v("cell/c")
    el, et = (filtered(v(f"cell/{x}") * unit[..., None], c) for x, unit in (("left", left), ("top", top)))
    wl, wt = v("cell/wl")[..., None], v("cell/wt")[..., None]
    u = wl * v("cell/left") * left[..., None] + wt * v("cell/top") * top[..., None]
    s = wl * el + wt * et
    change = (v("cell/da") / c)[..., None] * (np.concatenate([0 * s[..., :1], s[..., :-1]], -1) - u)
    ones = np.ones_like(left)
    return {"l": (filtered(change, c), left), "wl": (el, left), "wt": (et, top), "b": (np.ones_like(s), ones)}


def test_filters_outputs_and_messages_of_a_cell_are_real_numbers_by_their_formats() -> None:
    v, of = cells(), of_parameters(cells())
    for name, group, half in (
        ("el", "wl", HALF),
        ("et", "wt", HALF),
        ("eta", "l", 2 ** -(12 + v("cell/fine")[..., None])),
    ):
        trace, unit = of[group]
        near((v(f"cell/{name}") - half) * unit[..., None], trace)
    s = v("cell/wl")[..., None] * of["wl"][0] + v("cell/wt")[..., None] * of["wt"][0]
    y = np.tanh(s + v("cell/b")[..., None])
    near(v("cell/y"), y)
    near(v("cell/d"), 1 - y * y)
    said = sum(v(f"cell/k_{side}")[..., None] * v(f"cell/message_{side}") for side in ("right", "below"))
    near(v("cell/message"), (1 - y * y) * said)
    cool = 2 ** trial_of("small-world").config.cool
    p = np.exp(v("network/logit") / cool)
    p /= p.sum(-1, keepdims=True)
    assert cool > 1
    near(v("network/delta"), (p - np.eye(p.shape[1])[v("network/label").astype(int)]) / cool)


@pytest.mark.parametrize("group", ["l", "wl", "wt", "b"])
def test_traces_sums_gradients_and_steps_of_a_cell_are_real_numbers_by_their_formats(group: str) -> None:
    v, total = cells(), np.zeros(())
    of, unit = of_parameters(v)[group]
    for side in ("right", "below"):
        cross = filtered(v("cell/d") * of, v(f"cell/c_{side}"))
        half = 2 ** -(11 + v("cell/fine")[..., None]) if group == "l" else HALF
        near((v(f"cell/cross_{side}_{group}") - half) * unit[..., None], cross)
        near(v(f"cell/factor_{side}"), v(f"cell/message_{side}"))
        sums = np.cumsum(v(f"cell/message_{side}") * cross, -1)
        near(v(f"cell/sum_{side}_{group}") * unit[..., None], sums)
        total = total + v(f"cell/w_{side}") * sums[..., -1]
    near(v(f"cell/gradient_{group}") * unit, total)
    near(v(f"network/gradient_{group}") * unit, total)
    rate = v(f"cell/multiplier_{group}") / 2 ** v(f"cell/shift_{group}")
    near(v(f"cell/{group}_after") - v(f"cell/{group}"), -rate[:, None] * total)


def test_traces_sums_and_steps_of_a_unit_are_real_numbers_by_their_formats() -> None:
    trial = trial_of("diagonal")
    v, unit = reader(trial), 2.0**trial.config.gain
    c, ratio = v("unit/c"), v("unit/ratio")
    x = np.moveaxis(v("unit/x"), 1, 2)[:, None] * unit  # images, 1, inputs, steps
    e = filtered(np.broadcast_to(x, (len(x), c.shape[1], *x.shape[2:])), c[..., None])
    near((np.moveaxis(v("unit/e"), 2, 3) - HALF) * unit, e)
    s = (v("unit/w")[..., None] * e).sum(2)
    near(v("unit/s"), s)
    eta = filtered((ratio / c)[..., None] * (np.concatenate([0 * s[..., :1], s[..., :-1]], -1) - s), c)
    near(v("unit/eta") - 2**-10, eta)
    y = np.tanh(s + v("unit/b")[..., None])
    d, m = 1 - y * y, v("unit/message")
    near(v("unit/d"), d)
    near(v("network/factor"), d)
    sums = {"l": (d * eta).sum(-1), "b": d.sum(-1), "v": y.sum(-1), "w": (d[:, :, None] * e).sum(-1) / unit}
    for group, found in sums.items():
        near(v(f"network/sum_{group}_complete"), found)
        if group != "v":
            step = v(f"unit/multiplier_{group}") / 2 ** v(f"unit/shift_{group}")
            whole = found * (m[..., None] * unit if group == "w" else m)
            near(v(f"unit/{group}_after") - v(f"unit/{group}"), -(step * whole.T).T)
