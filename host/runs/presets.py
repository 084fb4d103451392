"""Presets: where training starts and how fast it goes, for every graph and rule the best recipe that was found.

Those of the small world, the skip lines and the lattice's exact rule were chosen on a validation split, the last
10,000 of MNIST's training images; critical, the forest's and the diagonal network's come from earlier float trials. The
article's is the article's.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise


def q12(value: float) -> int:
    """The Q12 integer nearest to value."""
    return round(value * 4096)


Spread = tuple[float, float]  # mean and standard deviation


def spread(w: Spread, flipped: float, v: Spread, l: Spread, b: Spread = (0, 0)) -> tuple[int, ...]:  # noqa: E741
    """INIT_FIELDS of fixedpoint.network, Q12. w: wL or W, `flipped` of them with a minus; v: wT or V; l: range."""
    return tuple(map(q12, (*w, flipped, *v, *l, *b)))


def within(l: Spread, w: float, b: float = 8) -> tuple[tuple[int, int], ...]:  # noqa: E741
    """Lowest and highest l, w, b, Q12."""
    return (q12(l[0]), q12(l[1])), (q12(-w), q12(w)), (q12(-b), q12(b))


@dataclass(frozen=True)
class Preset:
    """Where training starts and how fast it goes; see fixedpoint.network for the integers' formats.

    rates: of wL and wT, or W, for runs of so many training steps; between them it is interpolated, as short runs need
    higher ones. rate_l, rate_b, rate_v: of l, b and V as multiples of it, decimal numbers.
    """

    about: str
    init: tuple[int, ...]
    bounds: tuple[tuple[int, int], ...]
    rates: tuple[tuple[int, float], ...]
    rate_l: str
    rate_b: str
    rate_v: str = "0"
    decay: bool = True  # linearly to zero over the run; else constant
    scale: int = 4112  # x = pixel * scale / 64 * 2**gain, Q14
    gain: int = 0
    cool: int = 0  # logits are divided by 2**cool before the softmax
    graph: str = "lattice"  # one of GRAPHS, and RULES, of fixedpoint.build
    rule: str = "snap1"
    units: int = 0  # of a diagonal network
    longest: int | None = None  # if there is another recipe for longer runs: training steps
    share: int = 0  # of the edges that a small world rewires, Q12

    def rate(self, steps: int) -> str:
        """For a run of so many training steps: three digits, log-log between the rates that are known."""
        known = sorted(self.rates)
        if steps <= known[0][0] or len(known) == 1:
            return decimal(known[0][1])
        for (short, high), (long, low) in pairwise(known):
            if steps < long:
                part = math.log(steps / short) / math.log(long / short)
                return decimal(high * (low / high) ** part)
        return decimal(known[-1][1])


def decimal(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{float(f'{value:.3g}'):.9f}".rstrip("0").rstrip(".")


SIGNS = spread((0.55, 0.2), 0.5, (0.97, 0.02), (-2, 0))  # wL of both signs, wT near 1: messages reach the upper rows
LINES = spread((0.7, 0.1), 0.5, (0.97, 0.02), (-2, 0))
TREES = spread((0.8, 0.4), 0, (0.8, 0.4), (0, 1))
SHORT, LONG = 5_000, 600_000  # training steps: the bundled digits once, MNIST ten times

CRITICAL = Preset(
    about="wT near 1, so that messages reach the upper rows, wL of both signs, |w| <= 1.5, rate falling to zero",
    init=SIGNS,
    bounds=within((-2, 2), 1.5),
    rates=((SHORT, 0.03), (LONG, 0.004)),
    rate_l="4",
    rate_b="0.02",
)
SMALL_WORLD = replace(
    CRITICAL,
    about="critical with as many edges between rows rewired as can be, input gain 2",
    graph="small-world",
    share=4096,
    gain=1,
    rates=((SHORT, 0.035), (LONG, 0.008)),
)
SKIP = replace(
    CRITICAL,
    about="residual lines over four rows, wL nearer to 0.7, input gain 2, logits halved",
    graph="skip",
    init=LINES,
    gain=1,
    cool=1,
    rates=((SHORT, 0.04), (LONG, 0.004)),
)
FOREST = Preset(
    about="w ~ N(0.8, 0.4^2), input gain 3, logits halved",
    init=TREES,
    bounds=within((-3, 5), 3),
    rates=((SHORT, 0.12), (LONG, 0.08)),
    rate_l="2.5",
    rate_b="0.04",
    scale=3084,
    gain=2,
    cool=1,
    graph="forest",
)
EXACT = ((SHORT, 0.012), (LONG, 0.004))  # its messages carry the future, and are larger

PRESETS = {
    "article": Preset(
        about="the article's: w ~ N(0, 1/2), l ~ U(0, ln 20), b ~ N(0, 0.05^2), input gain 10, constant rate",
        init=spread((0, 0.70710678), 0, (0, 0.70710678), (0, 2.99573227), (0, 0.05)),
        bounds=within((-4, 6), 8),
        rates=((LONG, 0.01),),
        rate_l="4",
        rate_b="0.05",
        decay=False,
        scale=2570,
        gain=4,
    ),
    "critical": CRITICAL,
    "small-world-short": replace(
        SMALL_WORLD,
        about="small-world for runs of up to 50,000 steps: logits halved, a higher rate",
        rates=((SHORT, 0.06), (LONG, 0.014)),
        cool=1,
        longest=50_000,
    ),
    "small-world": SMALL_WORLD,
    "skip": SKIP,
    "forest": FOREST,
    "diagonal": Preset(
        about="W ~ 1.1 N(0, 1/28), V ~ 4 N(0, 1/28), input gain 1.3",
        init=spread((0, 0.2079), 0, (0, 0.7559), (-0.5, 1.8)),
        bounds=within((-4, 6), 8),
        rates=((SHORT, 0.05), (LONG, 0.02)),
        rate_l="0.4",
        rate_b="0.3",
        rate_v="0.1",
        scale=2673,
        gain=1,
        graph="diagonal",
        units=28,
    ),
    "exact": replace(
        CRITICAL, about="critical with the exact gradient, input gain 2", rule="exact", rates=EXACT, gain=1
    ),
    "small-world-exact": replace(
        SMALL_WORLD, about="small-world with the exact gradient, input gain 1", rule="exact", rates=EXACT, gain=0
    ),
    "skip-exact": replace(
        SKIP, about="skip with the exact gradient", rule="exact", rates=((SHORT, 0.016), (LONG, 0.004))
    ),
    "forest-exact": replace(FOREST, about="forest with the exact gradient", rule="exact", rates=((LONG, 0.08),)),
}


def recipe(graph: str | None, rule: str | None, steps: int) -> str:
    """The preset that a graph and a rule have, in a run of so many steps, if none is named; the article's is nobody's.

    None: the usual ones. The usual graph is the small world, where SnAP-1 learns best and soonest of all lattices.
    """
    graph, rule = graph or "small-world", rule or "snap1"
    rule = "snap1" if graph == "diagonal" else rule  # where the two are one
    return next(
        name
        for name, preset in PRESETS.items()
        if name != "article"
        and (preset.graph, preset.rule) == (graph, rule)
        and (preset.longest is None or steps <= preset.longest)
    )
