"""That a clause reaches its signal in the whole network: what is found in the arrays when kernels have run."""

import ast
import inspect

import numpy as np
import pytest
from disturbed_bench import noise_images, small

from fixedpoint import diagonal_kernels, kernels
from fixedpoint.lattice import CELL
from host.engine.disturbed import disturb
from host.engine.passes import passes_of
from host.engine.sites import SITES, Site
from host.engine.walk import Walk
from host.runs.disturbance import SIGNALS

WHERE = {site: f"{site.signal}-{site.kernel}-{site.old}" for site in SITES}
FRACTION = {"lattice": 22, "small-world": 22, "forest": 22, "exact": 18}  # of messages


@pytest.mark.parametrize("site", SITES, ids=WHERE.get)
def test_every_site_is_one_statement_of_its_kernel(site: Site):
    """A kernel whose text has changed must not leave a signal undisturbed in silence."""
    found = []
    for module in (kernels, diagonal_kernels):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.FunctionDef) and node.name == site.kernel:
                found += [ast.unparse(x) for x in ast.walk(node) if isinstance(x, ast.Assign)]
    wanted = ast.unparse(ast.parse(site.old))
    several = {"eta = eta - x": 2}
    assert found.count(wanted) == several.get(wanted, 1) > site.which


def test_every_signal_but_the_gradient_has_sites():
    assert {site.signal for site in SITES} == SIGNALS.keys() - {"gradient"}


def trained(kind: str, text: str, images: int = 3, seed: int = 3) -> Walk:
    walk = Walk(small(kind, seed, text))
    pixels, labels = noise_images(images, 1)
    for image, label in zip(pixels[:, 0], labels[:, 0].tolist(), strict=True):
        walk.train(image.tobytes(), label)
    return walk


def answered(kind: str, text: str, seed: int = 3) -> Walk:
    """A network that has classified an image: h has its outputs."""
    walk = Walk(small(kind, seed, text))
    walk.predict(noise_images(1, 1)[0][0, 0].tobytes())
    return walk


def rows_of(walk: Walk) -> np.ndarray:
    """What is in h of all cells: outputs, or messages when the kernels have come back."""
    cells = walk.sizes["cells"]
    return np.array(walk.arrays["h"][: cells * walk.steps]).reshape(cells, walk.steps)


def field(walk: Walk, index: int) -> np.ndarray:
    """One field of the records of all cells."""
    return np.array(walk.arrays["m"][index : walk.sizes["cells"] * CELL : CELL])


@pytest.mark.parametrize("kind", FRACTION)
@pytest.mark.parametrize("how", ["floor", "nearest", "stochastic"])
def test_messages_of_three_bits_are_multiples_of_an_eighth(kind, how):
    found = rows_of(trained(kind, f"message gain=1.9 bits=3 rounding={how}"))
    assert (found % (1 << (FRACTION[kind] - 3)) == 0).all()
    if how == "floor":
        assert (found < 0).any()
    plain = rows_of(trained(kind, ""))
    assert (plain % (1 << (FRACTION[kind] - 3)) != 0).any()


@pytest.mark.parametrize("kind", FRACTION)
def test_messages_in_blocks_have_so_many_bits_of_their_rows_largest(kind):
    found = rows_of(trained(kind, "message block=5 rounding=nearest"))
    kept = [row for row in np.abs(found) if row.any()]
    assert kept
    for row in kept:
        used = np.bitwise_or.reduce(row).item()
        lowest = (used & -used).bit_length() - 1
        assert used.bit_length() - lowest <= 4  # and the sign


@pytest.mark.parametrize("kind", FRACTION)
def test_messages_end_at_the_limit(kind):
    top = 1 << (FRACTION[kind] - 6)
    found = rows_of(trained(kind, "message limit=-6"))
    assert found.max() == top - 1 or found.min() == -top
    assert found.max() < top and found.min() >= -top


@pytest.mark.parametrize("kind", FRACTION)
def test_outputs_have_the_bits_asked_for(kind):
    found = rows_of(answered(kind, "y bits=4 rounding=floor"))
    assert (found % (1 << 10) == 0).all() and len(set(found.ravel().tolist())) > 4
    # of the diagonal network the sum over time is what is kept
    walk = answered("diagonal", "y bits=4")
    assert all(x % (1 << 10) == 0 for x in walk.arrays["s"][-walk.sizes["units"] :])


def test_so_many_cells_are_stuck_and_only_they():
    found = rows_of(answered("lattice", "y stuck=0.25 value=0.5"))
    stuck = (found == 1 << 13).all(1)
    assert stuck.sum() == round(0.25 * len(found))


def test_a_units_mismatch_is_its_own():
    plain, found = answered("diagonal", "coefficient gain=0.99999"), answered("diagonal", "coefficient mismatch=0.2")
    unit, units = diagonal_kernels._UNIT, plain.sizes["units"]
    before, after = (np.array(walk.arrays["u"][0 : unit * units : unit]) for walk in (plain, found))
    factors = np.array(found.arrays["flaw"][::2]) / 16384
    assert np.abs(after - np.minimum(before * factors, 32768)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("kind", FRACTION)
def test_operands_are_disturbed_in_the_records_from_the_first_image_on(kind):
    """Of the first answer, before anything was learned: wL, wT in Q12, b in Q14; couplings are made of them."""
    walk = answered(kind, "weight bits=2")
    wl, wt, b = (field(walk, x) for x in (kernels._WL, kernels._WT, kernels._B))
    assert (wl % 1024 == 0).all() and (wt % 1024 == 0).all() and (b % 4096 == 0).all()
    c = field(walk, kernels._C)
    assert (field(walk, kernels._KL) == (c * wl + 16384) >> 15).all()
    masters = np.array(walk.arrays["w"]).reshape(-1, 4)
    assert np.abs(wl - masters[:, 1] / 2**14).max() <= 512 + 0.5


def test_operands_of_units_are_disturbed_from_the_first_image_on():
    walk = answered("diagonal", "weight bits=2")
    assert all(x % 1024 == 0 for x in walk.arrays["v"]) and any(walk.arrays["v"])


@pytest.mark.parametrize("kind", [*FRACTION, "diagonal"])
@pytest.mark.parametrize("how", ["nearest", "stochastic", "zero"])
def test_masters_are_multiples_of_their_lsb_at_the_start_and_ever_after(kind, how):
    """Where the bounds leave them: those are 8.0 less an LSB of the operand, and -4.0 to 6.0 less one of the master."""
    text = f"master bits=10 rounding={how}"
    assert all(x % (1 << 16) == 0 for x in small(kind, 3, text).w)
    w = np.array(trained(kind, text).arrays["w"])
    inside = (np.abs(w) < 32767 << 14) & (w < (6 << 26) - 1)
    assert (w[inside] % (1 << 16) == 0).all() and inside.mean() > 0.9
    assert (w != np.array(small(kind, 3, text).w)).any()


@pytest.mark.parametrize("kind", [*FRACTION, "diagonal"])
def test_steps_are_multiples_of_their_lsb(kind):
    before = np.array(small(kind, 3).w)
    step = np.array(trained(kind, "update bits=12 rounding=nearest", 1).arrays["w"]) - before
    assert (step % (1 << 14) == 0).all() and step.any()


def test_coefficients_are_never_below_their_least_nor_below_their_derivative():
    for kind in FRACTION:
        for text in ("coefficient gain=0", "coefficient limit=-1 overflow=wrap", "coefficient stuck=0.5 value=-1"):
            walk = answered(kind, text)
            c, da = field(walk, kernels._C), field(walk, kernels._DA)
            assert c.min() >= 1 and (da <= c).all()


@pytest.mark.parametrize("kind", ["lattice", "exact"])
def test_a_leak_of_everything_leaves_no_state(kind):
    """el, et before the last step's input are 0: what is there is c x of the last step."""
    walk = answered(kind, "state leak=1")
    c, left = field(walk, kernels._C), field(walk, kernels._LEFT)
    h = np.array(walk.arrays["h"]).reshape(-1, walk.steps)
    assert np.abs(field(walk, kernels._EL) - 16384 - c * h[left, -1]).max() <= 2**14


@pytest.mark.parametrize(
    "kind, text",
    [
        ("diagonal", "self leak=0.2"),
        ("diagonal", "self noise=0.2"),
        ("lattice", "self leak=0.2"),
        ("lattice", "cross leak=0.2"),
        ("lattice", "cross gain=0.8"),
        ("lattice", "incoming gain=0.8"),
        ("exact", "incoming gain=0.8"),
        ("exact", "self leak=0.2"),
        ("exact", "state leak=0.2"),
        ("lattice", "gradient bits=1"),
        ("lattice", "gradient block=2"),
        ("exact", "gradient block=2"),
        ("diagonal", "message noise=0.2"),
        ("diagonal", "message bits=2"),
        ("diagonal", "update noise=0.001"),
        ("lattice", "update noise=0.001"),
        ("diagonal", "master noise=0.001"),
    ],
)
def test_what_is_done_changes_what_is_learned(kind, text):
    assert trained(kind, text).arrays["w"] != trained(kind, "").arrays["w"]


@pytest.mark.parametrize("kind", ["lattice", "exact"])
def test_learning_signals_leave_the_answer_alone(kind):
    """Messages, traces and gradients are of no use to who only classifies."""
    network = small(kind, 3)
    pixels = noise_images(1, 1)[0][0, 0].tobytes()
    plain = Walk(network)
    plain.predict(pixels)
    disturbed = Walk(disturb(network, "message noise=1; incoming gain=0.5; self noise=0.5; gradient bits=3", 1))
    disturbed.predict(pixels)
    assert plain.arrays["z"] == disturbed.arrays["z"]
    assert passes_of(network) is disturbed.passes
