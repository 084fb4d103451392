"""The checking mode, and what it shows: no intermediate value leaves 31 bits, in training or at the extremes."""

import ast
import inspect
import sys
from array import array
from collections.abc import Callable, Iterator
from functools import cache
from types import FunctionType, ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernel_bench import assert_same_state

from fixedpoint import diagonal_kernels, kernels, tables, wiring
from fixedpoint.diagonal import Diagonal
from fixedpoint.lattice import BELOW, CELL, GAIN, KL, LAG, LEFT, WL, Lattice
from fixedpoint.network import L_HIGHEST, L_LOWEST, MAX_COOL, MAX_GAIN, MAX_STEPS, W_HIGHEST
from host import checked as command
from host.data import dataset
from host.engine import dialect
from host.engine.checked import BOUND, checked_kernels, mode, ranges, report, reset, seen
from host.engine.learners import FixedLearner, executor
from host.runs.config import SEGMENT, configure
from host.runs.presets import PRESETS

MODULES = (kernels, diagonal_kernels)
FUNCTIONS = {
    node: module
    for module in MODULES
    for node in ast.parse(inspect.getsource(module)).body
    if isinstance(node, ast.FunctionDef)
}
NAMES = {function.name for function in FUNCTIONS}
CONSTANTS = {module: dialect.parse(inspect.getsource(module)).constants for module in MODULES}
presets = pytest.mark.parametrize("preset", PRESETS)
FASTEST = ((32767, 14),) * 4  # rates of 2.0


@pytest.fixture(autouse=True)
def _fresh_ranges() -> Iterator[None]:
    reset()
    yield
    reset()


def trained(preset: str, images: int, engine: str = "checked") -> Lattice:
    """The lattice of a preset after so many digits."""
    data = dataset.load()
    config = configure(data, preset, 1, 1 + images // len(data.train_images))
    learner = FixedLearner(config.network(**executor(engine)))
    for start in range(0, images, SEGMENT):
        which = np.arange(start, min(start + SEGMENT, images)) % len(data.train_images)
        learner.set_rates(config, start)
        learner.train(data.train_images[which], data.train_labels[which])
    return learner.lattice


def used(kernel: str, target: str) -> tuple[int, int]:
    """The range of all signals of a kernel whose name begins so."""
    found = [r for name, r in ranges().items() if name.startswith(f"{kernel}.{target}")]
    return min(low for low, _ in found), max(high for _, high in found)


# --- the checking mode itself


@presets
def test_checked_kernels_compute_what_the_kernels_compute(preset):
    assert_same_state(trained(preset, 10), trained(preset, 10, "python"))


class Seen(int):
    """A number whose operators note their results by line of the kernels, but for those that only are an index."""

    notes: ClassVar[dict[tuple[str, int], list["Seen"]]] = {}

    @classmethod
    def here(cls, depth: int) -> list["Seen"]:
        """The notes of the line that so many frames up is at work."""
        frame = sys._getframe(depth)
        return cls.notes.setdefault((frame.f_code.co_name, frame.f_lineno), [])


def _operator(name: str) -> Callable[[int, int], int]:
    def method(a: int, b: int) -> int:
        found = Seen(getattr(int, name)(a, b))
        Seen.here(2).append(found)
        return found

    return method


for _name in ("add", "sub", "mul", "floordiv", "lshift", "rshift", "and", "or", "xor"):
    for _form in (f"__{_name}__", f"__r{_name}__"):
        setattr(Seen, _form, _operator(_form))


class Memory(list):
    """An array that notes what is loaded, and strikes out an index that was computed for it."""

    def __getitem__(self, i: int) -> int:
        notes = self.struck(i)
        notes.append(super().__getitem__(i))
        return notes[-1]

    def __setitem__(self, i: int, value: int) -> None:
        self.struck(i)
        super().__setitem__(i, Seen(value))

    @staticmethod
    def struck(i: int) -> list[Seen]:
        notes = Seen.here(3)
        if notes and notes[-1] is i:
            notes.pop()
        return notes


def in_python(name: str, module: ModuleType) -> Callable[..., None]:
    """A kernel in plain CPython, whose numbers are Seen."""
    original = getattr(module, name)
    names = {key: Seen(x) if type(x) is int else x for key, x in vars(module).items()}
    names["range"] = lambda *of: map(Seen, range(*of))
    constants = tuple(Seen(x) if type(x) is int else x for x in original.__code__.co_consts)
    function = FunctionType(original.__code__.replace(co_consts=constants), names)

    def call(*given: object) -> None:
        mine = [Seen(x) if isinstance(x, int) else Memory(map(Seen, x)) for x in given]
        function(*mine)
        for theirs, array_ in zip(given, mine, strict=True):
            if isinstance(theirs, array) and theirs.typecode == "i":
                theirs[:] = array("i", list(array_))

    return call


def test_ranges_are_those_of_plain_python():
    """Every line of every kernel: the extremes of its operations and loads, noted by numbers that note themselves."""
    Seen.notes.clear()
    chance = np.random.default_rng(1)
    images = [chance.integers(0, 256, 6 * 5, np.uint8).tobytes() for _ in range(3)]
    plain = SimpleNamespace(**{f.name: in_python(f.name, module) for f, module in FUNCTIONS.items()})
    for run in (plain, checked_kernels()):
        for network in (
            Lattice(6, 3, 5, gain=2, cool=1, kernels=run),
            Lattice(6, 3, 5, gain=2, cool=1, kernels=run, cells=18, wired=lambda: wiring.forest(6, 3), exact=True),
            Diagonal(6, 3, 5, gain=2, cool=1, kernels=run, units=4),
        ):
            network.set_rates(FASTEST)
            network.seed(3, PRESETS["article"].init)
            for label, image in enumerate(images):
                network.train(image, label)
    # Operations that are shift counts or dividends have a narrower bound, and no range; what is folded has none either.
    other = {(site.kernel, site.line) for site in mode().sites
             if isinstance(site.node, ast.BinOp) and site.rule.startswith(("a shift", "a dividend"))}  # fmt: skip
    other |= {(f.name, node.lineno) for f, module in FUNCTIONS.items() for node in ast.walk(f)
              if isinstance(node, ast.BinOp) and dialect.fold(node, CONSTANTS[module]) is not None}  # fmt: skip
    wanted = {at: (min(notes), max(notes)) for at, notes in Seen.notes.items() if notes and at not in other}
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for site, low, high in seen():
        if isinstance(site.node, ast.BinOp | ast.Subscript) and (site.kernel, site.line) not in other:
            old = found.get((site.kernel, site.line), (low, high))
            found[site.kernel, site.line] = min(low, old[0]), max(high, old[1])
    assert found == wanted and len(found) > 300 and len(other) < 20


def test_every_operation_and_every_load_of_every_kernel_is_watched():
    sites = {(site.kernel, site.line, ast.unparse(ast.parse(site.text))) for site in mode().sites}
    for function, module in FUNCTIONS.items():
        for node in ast.walk(function):
            load = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)
            if load or (isinstance(node, ast.BinOp) and dialect.fold(node, CONSTANTS[module]) is None):
                assert (function.name, node.lineno, ast.unparse(node)) in sites


def test_every_assignment_is_a_signal_with_the_range_it_had():
    lattice = trained("critical", 1)
    reset()
    lattice.predict(bytes(range(28)) * 28)
    h = np.array(lattice.h).reshape(-1, 28)
    y, x = h[: lattice.cells], h[lattice.inputs :]
    assert used("forward", "h[") == (y.min(), y.max())
    assert used("feed", "h[") == (x.min(), x.max()) == (0, 27 * 4112 >> 6)
    z = np.array(lattice.z[:10])
    assert used("readout", "z[") == (z.min(), z.max())
    assert not any(name.startswith("backward.") for name in ranges())
    text = report()
    assert f"{z.min():>12}{z.max():>12}" in text and "widest of forward: line " in text and "backward" not in text


def test_reset_forgets_all_ranges():
    trained("critical", 1)
    assert ranges()
    reset()
    assert not ranges()


def corrupt(field: int, value: int) -> Callable[[Lattice], None]:
    def change(lattice: Lattice) -> None:
        lattice.m[3 * CELL + field] = value  # cell (0, 3) of 3 x 4

    return change


def corrupt_parameter(lattice: Lattice) -> None:
    lattice.w[0] = L_HIGHEST + (1 << 26)


def corrupt_rule(lattice: Lattice) -> None:
    lattice.rule[4] = 1 << 17


@pytest.mark.parametrize(
    ("kernel", "rule", "change"),
    [
        ("forward", "a value of 31 bits", corrupt(WL, 1 << 26)),
        ("forward", r"a shift count of 0\.\.31", corrupt(GAIN, 40)),
        ("forward", "an index of h", corrupt(LEFT, 1 << 16)),
        ("forward", "an index of h", corrupt(LEFT, -1)),
        ("backward", "a value of 31 bits", corrupt(KL, 1 << 20)),
        ("backward", "an index of m", corrupt(BELOW, 1 << 16)),
        ("update", "a value of 31 bits", corrupt_rule),
        ("derive", "an index of c_table", corrupt_parameter),
    ],
)
def test_what_breaks_a_bound_raises_and_is_named(kernel, rule, change):
    lattice = Lattice(3, 4, 5, kernels=checked_kernels())
    lattice.seed(1, PRESETS["article"].init)
    lattice.train(bytes(range(100, 115)), 1)
    change(lattice)
    with pytest.raises(OverflowError, match=rf"^{kernel}, line \d+: .+ is -?\d+, not {rule}$"):
        lattice._derive() if kernel == "derive" else lattice.train(bytes(range(100, 115)), 1)


def test_a_division_by_zero_is_named():
    nothing = array("i", bytes(4 * len(tables.EXP)))
    with pytest.raises(OverflowError, match=r"^softmax, line \d+: s is 0, not a divisor above 0$"):
        checked_kernels().softmax(array("i", [0] * 4), nothing, 2, 0, 0)


def test_the_command_trains_and_prints_the_ranges(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["checked", "--preset", "article", "--limit", "20", "--epochs", "2"])
    assert command.main() == 0
    printed = capsys.readouterr().out
    assert "40 training steps, article, lattice, snap1, digest " in printed and "nothing left 31 bits" in printed
    run = {"draw", "derive", "feed", "forward", "readout", "softmax", "error", "backward", "update"}
    assert {name for name in NAMES if f"widest of {name}: line " in printed} == run


@pytest.mark.parametrize(
    ("options", "kernels_run"),
    [
        (("--graph", "forest", "--rule", "exact"),
         {"draw", "derive", "feed", "forward", "readout", "softmax", "error", "exact", "update"}),
        (("--graph", "diagonal", "--units", "5"),
         {"draw", "feed", "softmax", "derive_weights", "derive_units", "listen", "absorb", "logits", "teach", "adapt"}),
    ],
)  # fmt: skip
def test_the_command_watches_every_graph_and_rule(options, kernels_run, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["checked", *options, "--limit", "5"])
    assert command.main() == 0
    printed = capsys.readouterr().out
    assert {name for name in NAMES if f"widest of {name}: line " in printed} == kernels_run


# --- what it shows: training


@presets
def test_training_stays_within_31_bits(preset):
    trained(preset, 2000 if preset in ("article", "critical") else 800)
    # Far from the messages' saturation at 2**28.
    if PRESETS[preset].graph == "diagonal":
        assert max(map(abs, used("teach", "z["))) < 1 << 27
    else:
        rule = {"snap1": "backward", "exact": "exact"}[PRESETS[preset].rule]
        assert max(map(abs, used(rule, "h["))) < 1 << 27


@pytest.mark.slow
@presets
def test_long_training_stays_within_31_bits(preset):
    trained(preset, 50_000)


# --- what it shows: extremes

PATTERNS = {
    "black": lambda t, i: 0,
    "white": lambda t, i: 255,
    "rows": lambda t, i: 255 * (t & 1),
    "columns": lambda t, i: 255 * (i & 1),
    "checkers": lambda t, i: 255 * ((t + i) & 1),
    "flash": lambda t, i: 255 * (t == 0),
}
SIGNS = {
    "plus": lambda p, k: 1,
    "minus": lambda p, k: -1,
    "alternating": lambda p, k: -1 if (p + k) & 1 else 1,
    "opposed": lambda p, k: -1 if k == 2 else 1,
    "cancelling": lambda p, k: 0 if k == 3 else 1,  # no bias: black stays black, and all messages pass
}


def extreme(rows: int, cols: int, steps: int, gain: int, sign: str, log_tau: int) -> Lattice:
    """A lattice with all parameters at their bounds, that takes the largest steps there are."""
    lattice = Lattice(rows, cols, steps, gain=gain, kernels=checked_kernels())
    lattice.set_rates(FASTEST)
    values = [log_tau if k == 0 else SIGNS[sign](p, k) * W_HIGHEST for p in range(lattice.cells) for k in range(4)]
    lattice.load(values, 0)
    return lattice


def image(pattern: str, rows: int, steps: int) -> bytes:
    return bytes(PATTERNS[pattern](t, i) for t in range(steps) for i in range(rows))


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("log_tau", [L_LOWEST, 0, L_HIGHEST])
def test_parameters_at_their_bounds_stay_within_31_bits(sign, log_tau):
    for gain in (0, MAX_GAIN):
        lattice = extreme(28, 10, 28, gain, sign, log_tau)
        start = lattice.w.tolist()
        for k, pattern in enumerate(PATTERNS):
            lattice.load(start, 0)
            for label in (0, 9, k):
                lattice.train(image(pattern, 28, 28), label)


@pytest.mark.parametrize("steps", [1, 2, 31, 32, MAX_STEPS])
def test_the_largest_messages_and_sums_there_can_be_fill_30_bits_and_no_more(steps):
    """Black images leave y = 0 and d = 1, so that messages pass, times 8.0, up to where they saturate."""
    lattice = extreme(6, 2, steps, 0, "cancelling", L_LOWEST)
    for label in (0, 1):
        lattice.load(extreme(6, 2, steps, 0, "cancelling", L_LOWEST).w.tolist(), 0)
        lattice.train(image("black", 6, steps), label)
    low, high = used("backward", "h[")
    assert low <= -(63 << 22) and high >= 63 << 22  # +-64.0 is where they saturate
    low, high = used("backward", "g")
    full = steps / (1 << steps.bit_length())  # of 2**30
    assert low < -0.95 * full * BOUND and high > 0.95 * full * BOUND


at_bounds = st.sampled_from([-W_HIGHEST, W_HIGHEST, 1 - W_HIGHEST, -1, 0, 1 << 26])
log_taus = st.sampled_from([L_LOWEST, L_HIGHEST, 0]) | st.integers(L_LOWEST, L_HIGHEST)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 20), st.integers(0, MAX_GAIN), st.randoms(), st.data())
def test_any_parameters_and_pixels_stay_within_31_bits(rows, cols, steps, gain, random, data):
    lattice = Lattice(rows, cols, steps, gain=gain, kernels=checked_kernels())
    lattice.set_rates(FASTEST)
    cell = st.tuples(log_taus, at_bounds, at_bounds, at_bounds)
    cells = data.draw(st.lists(cell, min_size=rows * cols, max_size=rows * cols))
    lattice.load([v for cell in cells for v in cell], 0)
    for _ in range(2):
        pixels = bytes(random.choice((0, 255, random.randrange(256))) for _ in range(rows * steps))
        lattice.train(pixels, random.randrange(cols))


@settings(deadline=None)
@given(
    st.lists(st.integers(1 - (1 << 28), (1 << 28) - 1) | st.sampled_from([1 - (1 << 28), (1 << 28) - 1]), min_size=1,
             max_size=64),
    st.integers(0, 63), st.integers(0, MAX_COOL),
)  # fmt: skip
@example([1 - (1 << 28), (1 << 28) - 1], 0, 0)
@example([0] * 64, 0, MAX_COOL)
def test_any_logits_stay_within_31_bits(logits, label, cool):
    """Those of a diagonal network reach 2**14; those of cells, MAX_STEPS at the most."""
    outs = len(logits)
    z = array("i", [*logits, *[0] * outs])
    checked_kernels().softmax(z, tables.EXP, outs, label % outs, cool)
    for coarse in (0, kernels._COARSE):
        checked_kernels().error(array("i", [0] * (outs * CELL)), array("i", [0] * outs), z, 0, outs, 1, coarse)


@settings(deadline=None)
@given(
    st.lists(st.integers(-BOUND, BOUND - 1), min_size=4, max_size=4),
    st.integers(0, 27),  # of exact(); of backward() 23 at the most
    st.integers(0, MAX_GAIN),
    st.booleans(),
    st.sampled_from([0, 1, 32767]),
    st.integers(14, 40),
    st.sampled_from([-W_HIGHEST, 0, W_HIGHEST]),
)
def test_any_gradient_and_rate_stay_within_31_bits(gradient, exponent, gain, both, multiplier, shift, start):
    m, w = array("i", [0] * CELL), array("i", [max(start, L_LOWEST), start, start, start])
    m[GAIN], m[LAG], m[kernels._EXPONENT] = gain, 0 if both else gain, exponent
    m[kernels._GRADIENT : kernels._GRADIENT + 4] = array("i", gradient)
    rule = array("i", [multiplier, shift, L_LOWEST, L_HIGHEST, *[multiplier, shift, -W_HIGHEST, W_HIGHEST] * 3])
    checked_kernels().update(w, m, rule, 1)


# --- the bound on eta


@cache
def reachable() -> np.ndarray:
    """All pairs (c, da) that derive() can make of an l, as numbers, (2, n)."""
    k = np.arange(320 * 4096)
    pairs = []
    for table in (tables.C, tables.DA):
        t = np.array(table, np.int64)
        i = k >> 12
        pairs.append(t[i] + (((t[i + 1] - t[i]) * (k & 4095) + 2048) >> 12))
    both = np.unique(pairs[0] << 32 | pairs[1])  # as one number each: unique() of columns takes seconds
    return np.array([both >> 32, both & 0xFFFFFFFF]) / 2**15


def response(c: float, da: float, steps: int) -> np.ndarray:
    """eta after an impulse at the input, by its recursion."""
    e = eta = 0.0
    out = []
    for t in range(steps):
        eta -= c * eta + da * ((t == 0) - e)
        e += c * ((t == 0) - e)
        out.append(eta)
    return np.array(out)


def largest_eta(c: np.ndarray, da: np.ndarray) -> np.ndarray:
    """L1 norm of the response: the largest |eta| with inputs of at most 1.0 and a weight of 1.0.

    The response is -da at first, then da (1 - c)**(t - 1) (c t - 1 + c). It sums up to 0 (at a constant input s, the
    drive, does not depend on tau), and changes sign once: its L1 norm is twice its largest partial sum, the negative of
    which is da (n + 1) (1 - c)**n after step n, largest at n + 1 = -1 / log(1 - c).
    """
    with np.errstate(divide="ignore"):
        n = np.maximum(-1 / np.log1p(-np.minimum(c, 1 - 1e-12)) - 1, 0)
    around = [np.floor(n), np.floor(n) + 1]
    return 2 * da * np.max([(k + 1) * (1 - c) ** k for k in around], axis=0)


def test_formula_of_the_largest_eta_is_the_l1_norm_of_the_response():
    pairs = reachable()[:, ::997].T
    for c, da in pairs:
        exact = np.abs(response(c, da, int(40 / c) + 5)).sum()
        assert largest_eta(c, da) == pytest.approx(exact, rel=1e-6)


def test_eta_has_room_for_its_largest_value_at_every_l():
    # (|wL| + |wT|) 2**fine <= 16.0 (65536 as Q12 operands; wT >> gain rounds down: 2**fine <= 16 more), in Q11; in
    # LSB the integers differ from the exact recursion by 4 at most (test_backward.py). It has to fit 16 bits as a
    # factor of c and d, and its accumulator, 15 bits longer, 31.
    worst = largest_eta(*reachable()).max()
    assert worst == pytest.approx(2 / np.e, rel=0.005)  # exactly that at every l, but for the tables
    assert worst * (65536 + 16) / 4096 * 2048 + 4 < 12 * 2048 < 32767


def test_da_never_exceeds_c():
    """So the errors of eta's intake, which come with da and leave with c, are not amplified."""
    c, da = reachable()
    assert (da <= c).all()


def test_the_intake_of_eta_has_room():
    # da times the drive, 65536 + 16 + rounding in Q(11 + fine) at most for |x| <= 2.0
    assert max(tables.DA) * (65536 + 16 + 1) < BOUND
