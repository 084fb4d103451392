"""Disturbed networks as a whole: the engine where nothing is disturbed, the same in every executor, resumed exactly."""

import ast

import pytest
from disturbed_bench import KINDS, in_lanes, noise_images, params_of, small

from host.base.cli import UserError
from host.engine.dialect import Kernel
from host.engine.distort import STEP
from host.engine.disturbed import check, disturb, names, sites_of
from host.engine.lanes import Lanes
from host.engine.passes import passes_of
from host.engine.sites import MAY
from host.engine.walk import Walk
from host.runs.disturbance import RANGES, SIGNALS, Clause, parse

# Values of every key that do nothing, though their code is there.
NEUTRAL = {
    "limit": "12", "gain": "0.99999", "positive": "0.99999", "negative": "0.99999", "scatter": "0.000000001",
    "mismatch": "0.000001", "offset": "0.000000001", "stuck": "0.000001", "noise": "0.000000001", "leak": "0.00001",
    "block": "31",
}  # fmt: skip
LEAST = {("cross", "noise")}  # the least that can be written is half an LSB of b's 29-bit accumulators
signals = pytest.mark.parametrize("signal", SIGNALS)
kinds = pytest.mark.parametrize("kind", KINDS)


def allowed(kind: str, signal: str) -> list[str]:
    """Keys of a signal of such a network that are numbers; none: it has no such signal."""
    base, found = passes_of(small(kind, 1)), []
    for key in RANGES.keys() - {"value"}:
        try:
            check((Clause(signal, **{key: 5}),), base)
        except UserError:
            continue
        found.append(key)
    return found


def size(kernel: Kernel) -> int:
    """How many expressions and statements a kernel has."""
    return sum(1 for statement in kernel.body for _ in ast.walk(statement))


@kinds
def test_no_text_is_the_network_itself(kind):
    network = small(kind, 3)
    assert disturb(network, "", 3) is network and not hasattr(network, "passes") and not hasattr(network, "noise")
    assert passes_of(disturb(small(kind, 3), "y noise=0", 3)) is passes_of(network)


def neutral(kind: str, signal: str) -> list[str]:
    """Keys of a signal of such a network that can be given a value which does nothing."""
    return [key for key in allowed(kind, signal) if key in NEUTRAL and (signal, key) not in LEAST]


@pytest.mark.parametrize("kind, signal", [(k, signal) for k in KINDS for signal in SIGNALS if neutral(k, signal)])
def test_what_disturbs_by_nothing_leaves_every_bit_as_it_was(kind, signal):
    keys = neutral(kind, signal)
    text = " ".join([signal, *(f"{key}={NEUTRAL[key]}" for key in keys)])
    plain, disturbed = small(kind, 5), small(kind, 5, text)
    called = names(passes_of(plain))
    where = {site.kernel for site in sites_of(parse(text)[0], called)} or {"backward", "exact"} & called
    before, after = (passes_of(network).program.kernels for network in (plain, disturbed))
    assert all(size(after[kernel]) > size(before[kernel]) for kernel in where)
    images, labels = noise_images(10, 1)
    assert in_lanes([plain], images, labels) == in_lanes([disturbed], images, labels)


# Texts that have, together, every key of every signal, all roundings and overflows; of each kind of network its own.
CLAUSES = (
    "y bits=9 rounding=floor limit=-1 overflow=wrap; message block=6 rounding=stochastic noise=0.05 positive=0.97; "
    "incoming noise=0.1 bits=9 limit=0; state bits=12 rounding=zero limit=-1; self bits=11 leak=0.1 rounding=zero; "
    "cross bits=10 rounding=floor scatter=0.1 offset=0.01; gradient bits=14 rounding=stochastic; coefficient bits=5 "
    "rounding=zero mismatch=0.1; weight bits=6 rounding=stochastic limit=0; master bits=12 rounding=stochastic; "
    "update bits=20 rounding=floor limit=-9",
    "y noise=0.02 mismatch=0.1 offset=0.05 stuck=0.1 value=0.5; message gain=0.9 negative=1.2 scatter=0.2 mismatch=0.2 "
    "stuck=0.1 value=0.001 offset=0.0001; incoming gain=1.1 positive=0.9 negative=0.95 scatter=0.1 mismatch=0.1 "
    "offset=0.001 stuck=0.1; state noise=0.05 leak=0.05; self noise=0.1 limit=-1; cross noise=0.2 leak=0.1 gain=0.9 "
    "mismatch=0.1 stuck=0.1 value=0.1; gradient block=7 rounding=zero; coefficient noise=0.05 scatter=0.1 stuck=0.1 "
    "value=0.3; weight noise=0.02 mismatch=0.1 offset=0.01 stuck=0.1 value=0.5; master noise=0.0001; update noise=0.01",
    "y gain=1.2 positive=0.9 negative=1.1 scatter=0.1 bits=8 rounding=stochastic; message bits=9 rounding=zero limit=0 "
    "overflow=wrap; incoming bits=10 rounding=floor limit=-2 overflow=wrap; state bits=8 limit=-2 overflow=wrap; "
    "self bits=9 rounding=floor limit=-2 overflow=wrap; cross bits=9 limit=-2 overflow=wrap positive=1.1 negative=0.9 "
    "rounding=stochastic; gradient block=9 rounding=floor; coefficient gain=0.9 positive=0.9 negative=0.7 offset=0.05 "
    "limit=-1 overflow=wrap; weight gain=1.1 positive=0.9 negative=0.8 scatter=0.1 bits=5 rounding=floor limit=1 "
    "overflow=wrap; master bits=9 limit=0 rounding=zero overflow=wrap; update bits=15 limit=-8 overflow=wrap",
)  # fmt: skip


def fitting(text: str, kind: str) -> str:
    """What of a text can be done to such a network."""
    clauses = []
    for clause in parse(text):
        if not allowed(kind, clause.signal):
            continue
        keys = {*allowed(kind, clause.signal), "rounding", "overflow", "value"} & {*MAY[clause.signal]}
        kept = [f"{key}={value}" for key, value in clause.given.items() if key in keys]
        if any(word.split("=")[0] in RANGES for word in kept):
            clauses.append(" ".join([clause.signal, *kept]))
    return "; ".join(clauses)


@kinds
def test_the_texts_below_have_every_key_of_every_signal(kind):
    found = [clause for text in CLAUSES for clause in parse(fitting(text, kind))]
    for signal in SIGNALS:
        given = {key for clause in found if clause.signal == signal for key in clause.given}
        assert {*allowed(kind, signal)} <= given, signal
    for key, values in (("rounding", 4), ("overflow", 2)):
        assert len({getattr(clause, key) for clause in found}) == values


@pytest.mark.parametrize("text", CLAUSES, ids=range(len(CLAUSES)))
@pytest.mark.parametrize("kind", ["small-world", "exact", "diagonal"])
def test_python_and_llvm_alone_and_side_by_side_end_in_the_same_bits(kind, text):
    text, seeds = fitting(text, kind), range(11, 19)
    images, labels = noise_images(2, 8)
    networks = [small(kind, seed, text) for seed in seeds]
    together = in_lanes(networks, images, labels)
    assert len({tuple(params) for params in together}) == len(seeds)
    assert in_lanes(networks[:1], images[:, :1], labels[:, :1]) == together[:1]
    for lane in (0, 3, 7):
        walk = Walk(networks[lane])
        for image, label in zip(images[:, lane], labels[:, lane].tolist(), strict=True):
            walk.train(image.tobytes(), label)
        assert walk.arrays["w"].tolist() == together[lane]


@pytest.mark.parametrize("kind", ["small-world", "diagonal"])
def test_what_a_lane_ends_with_does_not_depend_on_its_neighbours(kind):
    """A kernel's `continue` for silent cells is taken by all lanes or none: here its silence is disturbed."""
    text = fitting(CLAUSES[1], kind)
    images, labels = noise_images(4, 8)
    networks = [small(kind, seed, text) for seed in range(8)]
    images[:, 3], labels[:, 3] = 0, 0
    before = in_lanes(networks, images, labels)
    others = [small(kind, 100 + seed if seed != 5 else 5, text) for seed in range(8)]
    changed = images[::-1].copy()
    changed[:, 5] = images[:, 5]
    after = in_lanes(others, changed, labels)
    assert after[5] == before[5] and after[4] != before[4]


@kinds
@pytest.mark.parametrize("text", CLAUSES, ids=range(len(CLAUSES)))
def test_a_run_goes_on_from_any_step_bit_for_bit(kind, text):
    """Whatever was classified in between, and with everything but parameters and step lost."""
    text = fitting(text, kind)
    images, labels = noise_images(30, 1)
    at_once = in_lanes([small(kind, 4, text)], images, labels)
    first = Lanes([small(kind, 4, text)])
    first.learn(images[:13], labels[:13])
    found = first.classify(images[:5, 0])
    then = Lanes([small(kind, 4, text)])
    then.load(0, first.arrays["w"][:, 0].copy(), 13)
    assert (then.classify(images[:5, 0]) == found).all()
    then.learn(images[13:], labels[13:])
    assert params_of(then) == at_once
    assert then.arrays["noise"][STEP, 0] == 30


def test_another_seed_has_other_noise_and_other_flaws_from_the_same_start():
    images, labels = noise_images(3, 1)
    for text in ("y noise=0.01", "y mismatch=0.01", "y bits=6 rounding=stochastic", "y scatter=0.01"):
        ends = []
        for seed in (1, 2):
            network = small("lattice", 7)
            ends.append(in_lanes([disturb(network, text, seed)], images, labels))
        assert ends[0] != ends[1], text


def test_the_same_disturbance_written_in_another_way_is_the_same_noise():
    images, labels = noise_images(3, 1)
    texts = ("message bits=6 rounding=stochastic; y noise=0.01", "y noise=0.010 ;  message rounding=stochastic bits=6")
    assert len({str(in_lanes([small("lattice", 1, text)], images, labels)) for text in texts}) == 1


# --- what is refused


@pytest.mark.parametrize(
    "kind, text, reason",
    [
        ("diagonal", "cross noise=0.1", "this network has no cross; choose one of coefficient, master, message, self"),
        ("diagonal", "state noise=0.1", "no state"),
        ("diagonal", "incoming noise=0.1", "no incoming"),
        ("diagonal", "gradient bits=3", "no gradient"),
        ("exact", "cross bits=3", "no cross; choose one of coefficient, incoming"),
        ("diagonal", "message block=4", "block is not done to message here"),
        ("lattice", "y leak=0.1", "leak is not done to y here; choose of bits, rounding"),
        ("lattice", "incoming block=4", "block is not done to incoming"),
        ("lattice", "gradient noise=0.1", "noise is not done to gradient here; choose of bits, rounding, block"),
        ("lattice", "master gain=0.5", "gain is not done to master"),
        ("lattice", "state mismatch=0.5", "mismatch is not done to state"),
    ],
)
def test_what_is_not_done_to_a_network_is_refused(kind, text, reason):
    with pytest.raises(UserError) as caught:
        small(kind, 1, text)
    assert reason in str(caught.value) and "\n" not in str(caught.value)
