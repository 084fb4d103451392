"""How large signals get: messages and traces over the network, and all signals beside what their formats hold."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from fixedpoint.diagonal import Diagonal
from host.engine import checked
from host.pictures.layout import layout
from host.pictures.signals import message_bits, traces, watch
from host.pictures.style import Key, Panel, Picture, colour, power

MESSAGE_LIMIT = {22: 64, 18: 1024}  # of messages with so many fraction bits
IMAGES = 24  # that are looked at
TRACES = {  # what they are called, and how they are drawn
    "eL": ("eL, trace of wL (input filtered)", "blue", ""),
    "eT": ("eT, trace of wT", "red", ""),
    "eta": ("η, trace of l", "green", ""),
    "cross eL": ("cross trace of wL", "blue", "5 3"),
    "cross eta": ("cross trace of l", "green", "5 3"),
    "cross b": ("cross trace of b", "pink", "5 3"),
}
# Signals as the kernels have them: name, the checking mode's name, log2 of the bound in LSB as fixedpoint/README.md
# derives it, and the format.
MOST = math.log2(11.82)
CELLS = (
    ("output y", "forward.h[i]", 14, "Q14"),
    ("filtered input eL", "forward.el", 29, "Q29"),
    ("logit z", "readout.z[j]", None, "Q14"),
    ("error δ", "error.h[row + t]", 22, "Q22"),
)
SNAP1 = (
    ("message λ", "backward.h[i]", 28, "Q22"),
    ("trace η of l", "backward.eta", 26 + MOST, "Q26 + fine"),
    ("cross trace of wL", "backward.rl", 29, "Q29"),
    ("cross trace of l", "backward.re", 25 + MOST, "Q25 + fine"),
    ("cross trace of b", "backward.rb", 29, "Q29"),
    ("gradient sum of wL", "backward.grl", 30, "Q36 − exponent"),
    ("gradient sum of b", "backward.grb", 30, "Q36 − exponent"),
    ("gradient of wL", "backward.m[i + _GRADIENT + 1]", 30, "31 bits, exponent"),
)
EXACT = (
    ("message ν", "exact.nu", 28, "Q18"),
    ("gradient sum of wL", "exact.gwl", 30, "Q32 − exponent"),
    ("gradient sum of l", "exact.gl", 30, "Q27 + fine − exponent"),
    ("gradient of wL", "exact.m[i + _GRADIENT + 1]", 30, "31 bits, exponent"),
)
UPDATED = (("parameter", "update.w[i]", 29, "Q26"),)
DIAGONAL = (
    ("trace e of W", "absorb.e[a]", 29, "Q29"),
    ("state s", "absorb.u[a + _S]", 18, "Q14"),
    ("trace η of l", "absorb.u[a + _ETA]", 29, "Q24"),
    ("sum of d e", "teach.s[a]", 30, "Q28 − narrow"),
    ("logit z", "logits.z[j]", 28, "Q14"),
    ("message M", "teach.z[2 * outs + k]", 28, "Q22"),
    ("parameter", "adapt.w[p]", 29, "Q26"),
)


def over_the_network(network: Any, graph: str, images: np.ndarray, labels: np.ndarray) -> list[Picture]:
    """Magnitudes of messages, and of traces of two-input cells, level by level."""
    where = layout(network, graph)
    levels = np.array(where.levels)
    some = range(min(IMAGES, len(images)))
    messages = np.stack([np.abs(watch(network, images[k], int(labels[k])).message) for k in some])
    if isinstance(network, Diagonal):
        units = messages[:, -network.units :, 0]
        return [_messages([units[:, k] for k in range(network.units)], "unit", network, len(some))]
    places = [levels == level for level in reversed(range(len(where.spans)))]
    axis = "level of the trees, leaves first" if graph == "forest" else "row of the lattice, readouts below the last"
    found = [_messages([messages[:, place].ravel() for place in places], axis, network, len(some))]
    if not network.exact:
        kept = [traces(network, images[k]) for k in some]
        typical = {
            name: [float(np.quantile(np.abs([x[name][..., place, :] for x in kept]), 0.95)) for place in places]
            for name in TRACES
        }
        found.append(_traces(typical, axis, len(some)))
    return found


def _messages(parts: Sequence[np.ndarray], axis: str, network: Any, images: int) -> Picture:
    bits = message_bits(network)
    limit, least = MESSAGE_LIMIT[bits], 2.0**-bits
    low, middle, high = (np.maximum([np.quantile(x, q) for x in parts], least / 2) for q in (0.05, 0.5, 0.95))
    most = np.maximum([x.max() for x in parts], least / 2)
    zero = [float((x == 0).mean()) for x in parts]

    def draw(axes: Axes) -> None:
        at = range(1, len(parts) + 1)
        axes.fill_between(at, low, high, color=colour("violet"), alpha=0.22, linewidth=0)
        axes.plot(at, middle, color=colour("violet"), lw=2.4)
        axes.plot(at, most, color=colour("violet"), lw=1.1)
        axes.axhline(limit, color=colour("red"), lw=1.3, dashes=[6, 3])
        axes.axhline(least, color=colour("slate"), lw=1.3, dashes=[2, 2])
        _logarithmic(axes, least / 4, limit * 4)
        axes.set_xlabel(axis)
        axes.set_ylabel("|message|")

    said = "ν (exact rule)" if bits == 18 else "M" if isinstance(network, Diagonal) else "λ"
    return Picture(
        "messages",
        "How large messages are",
        f"Messages {said} while {images} test images are read, all cells and steps. The format holds what lies between"
        f" the dashed lines: beyond ±{limit} it saturates, and less than 2{_up(-bits)} is nought"
        f" ({zero[0]:.0%} of the messages in the first, {zero[-1]:.0%} in the last).",
        f"Magnitude of messages on a log scale: the median goes from {middle[0]:.1e} at the first to {middle[-1]:.1e}"
        f" at the last; the largest is {most.max():.2g}, the format's limit {limit}.",
        [Panel(draw)],
        [
            Key("median", "violet"),
            Key("5 % to 95 %", "violet", width=7),
            Key("largest", "violet", width=1.2),
            Key(f"limit of the format, {limit}", "red", "6 3", 1.5),
            Key(f"its LSB, 2{_up(-bits)}", "slate", "2 2", 1.5),
        ],
    )


def _traces(typical: dict[str, list[float]], axis: str, images: int) -> Picture:
    least = 2.0**-14

    def draw(axes: Axes) -> None:
        for name, values in typical.items():
            _, of, dash = TRACES[name]
            style = {"dashes": [float(x) for x in dash.split()]} if dash else {}
            at = range(1, len(values) + 1)
            axes.plot(at, np.maximum(values, least / 2), color=colour(of), lw=1.6, **style)  # type: ignore[arg-type]
        axes.axhline(1, color=colour("red"), lw=1.3, dashes=[6, 3])
        axes.axhline(least, color=colour("slate"), lw=1.3, dashes=[2, 2])
        _logarithmic(axes, least / 4, 16)
        axes.set_xlabel(axis)
        axes.set_ylabel("|trace|, 95th percentile")

    ends = ", ".join(f"{TRACES[name][0]} {values[0]:.2g} to {values[-1]:.2g}" for name, values in typical.items())
    return Picture(
        "traces",
        "How large traces are",
        f"Eligibility traces while {images} test images are read: 19 of 20 values are smaller. Filtered inputs and"
        " their cross traces stay within 1.0 whatever the weights; they are read as Q14, η as Q11 and finer.",
        f"Magnitude of eligibility traces on a log scale, from the first to the last: {ends}.",
        [Panel(draw)],
        [
            *(Key(label, of, dash, 2) for label, of, dash in (TRACES[name] for name in typical)),
            Key("bound of eL, eT and their cross traces, 1.0", "red", "6 3", 1.5),
            Key("LSB as read, 2⁻¹⁴", "slate", "2 2", 1.5),
        ],
    )


def _up(exponent: int) -> str:
    return power(2)(2.0**exponent, None)[1:]


def _logarithmic(axes: Axes, low: float, high: float) -> None:
    axes.set_yscale("log", base=2)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(LogLocator(base=16, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(power(2)))
    axes.yaxis.set_minor_locator(LogLocator(base=2, subs=[], numticks=2))
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))


def formats(network: Any, images: np.ndarray, labels: np.ndarray) -> Picture:
    """Every signal's format: what it holds, what is proven, what is measured. network: with the checking kernels.

    It learns from the images on the way.
    """
    checked.reset()
    some = list(zip(images[:IMAGES], labels[:IMAGES].tolist(), strict=True))
    for image, label in some:
        network.train(image.tobytes(), label)
    found = checked.ranges()
    signals = []
    for name, site, bound, form in _signals(network):
        if site in found:
            most = max(-found[site][0], found[site][1])
            signals.append((name, form, bound or math.log2(network.steps) + 14, math.log2(max(most, 1))))

    def draw(axes: Axes) -> None:
        for at, (_, _, bound, measured) in enumerate(signals):
            axes.barh(at, bound, height=0.62, color=colour("blue"), alpha=0.18)
            axes.barh(at, measured, height=0.62, color=colour("blue"))
            axes.plot([bound, bound], [at - 0.4, at + 0.4], color=colour("red"), lw=2.2)
        axes.axvline(30, color=colour("slate"), lw=1.3, dashes=[2, 2])
        axes.set_yticks(range(len(signals)), [f"{name}  ({form})" for name, form, _, _ in signals])
        axes.set_ylim(len(signals) - 0.4, -0.6)
        axes.set_xlim(0, 31)
        axes.set_xticks(range(0, 31, 5))
        axes.set_xlabel("bits of the largest value, without its sign")
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)

    tightest = max(signals, key=lambda signal: signal[3] - signal[2])
    return Picture(
        "formats",
        "Formats: what is measured, what is proven",
        f"The largest value of each signal in {len(some)} training steps under the checking mode (full bars), the bound"
        " that fixedpoint/README.md derives for it (red), and the 30 bits beside the sign that a small int of the chip"
        f" has (dotted). Nearest to its bound is {tightest[0]}: {max(0.0, tightest[2] - tightest[3]):.1f} bits below.",
        "Bits that signals take, measured and bound: "
        + "; ".join(f"{name} {measured:.1f} of {bound:.1f}" for name, _, bound, measured in signals),
        [Panel(draw, height=0.9 + 0.235 * len(signals))],
        [
            Key("measured", "blue", width=7),
            Key("proven bound", "red", width=2.5),
            Key("a small int's 30 bits", "slate", "2 2", 1.5),
        ],
    )


def _signals(network: Any) -> Sequence[tuple[str, str, float | None, str]]:
    if isinstance(network, Diagonal):
        return DIAGONAL
    return (*CELLS, *(EXACT if network.exact else SNAP1), *UPDATED)
