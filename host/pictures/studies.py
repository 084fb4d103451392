"""The pictures of a study: accuracy over what was varied, and over what it costs."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from host.pictures.curves import colours
from host.pictures.naming import GRAPHS
from host.pictures.sources import Study
from host.pictures.style import Key, Panel, Picture, colour
from host.pictures.survival import LIMIT, Line, Result, lines
from host.runs.output import HERTZ, board_seconds

DECADES = 20  # a level so many times the smallest asks for a logarithmic axis
COLUMNS = 50  # of a line below an axis
MARKERS = {"snap1": "o", "exact": "s"}
FEW = 1  # levels up to which a line is no line, but a dot among others


def figures(study: Study) -> Iterator[Picture]:
    """One for each figure of the study, and accuracy over cost if it compares networks."""
    found: dict[str, list[Line]] = {}
    for line in lines(study.results):
        found.setdefault(line.figure, []).append(line)
    plain = {result["id"]: result for result in study.results if result["mean"] is not None}
    for name, some in found.items():
        some = [line for line in some if any(result["mean"] is not None for result in line.results)]
        if not some:
            continue
        if all(len(line.results) <= FEW for line in some):
            yield _dots(study, name, some)
            yield from _costs(study, name, some)
        else:
            yield _lines(study, name, some, plain)


def slug(text: str) -> str:
    """A text as part of a file's name."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


class Scale:
    """Where levels lie on the x axis: as numbers, or on a logarithmic scale, 0 and negative ones included."""

    def __init__(self, levels: Sequence[float]):
        self.levels = sorted(set(levels))
        sizes = [abs(x) for x in self.levels if x]
        self.logarithmic = bool(sizes) and max(sizes) >= DECADES * min(sizes)
        self.least = min(sizes, default=1.0)

    def apply(self, axes: Axes) -> None:
        """Set the axis up, with a tick at each level that there is room for."""
        if self.logarithmic and self.levels[0] > 0:
            axes.set_xscale("log")
        elif self.logarithmic:
            axes.set_xscale("symlog", linthresh=self.least, linscale=0.6)
            if self.levels[0] == 0:
                axes.set_xlim(left=-self.least / 4)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(self.levels)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))
        if len(self.levels) > 8 or (self.levels[0] < 0 and len(self.levels) > 5):
            axes.tick_params(axis="x", labelrotation=45)


def _lines(study: Study, name: str, some: Sequence[Line], plain: dict[str, Result]) -> Picture:
    graphs = list(dict.fromkeys(line.graph for line in some))
    series = list(dict.fromkeys(line.series for line in some))
    crowded = any(sum(line.graph == graph for line in some) > 1 for graph in graphs)
    split = graphs if len(graphs) > 1 and crowded else [""]
    if not split[0]:  # then lines are told apart by their series, which may come once for each preset
        series = list(dict.fromkeys(_label(line, some) for line in some))
    of = dict(zip(series, colours(len(series)), strict=True))
    scale = Scale([result["level"] for line in some for result in line.results])
    means = [x["high"] or x["mean"] for line in some for x in line.results if x["mean"] is not None]
    bases = {x["baseline"] for line in some for x in line.results if x["baseline"] in plain and line.disturbed}
    top = min(1.0, max([*means, *(plain[base]["mean"] for base in bases)]) + 0.05)

    def panel(graph: str) -> Panel:
        own = [line for line in some if not graph or line.graph == graph]

        def draw(axes: Axes) -> None:
            heard: dict[str, set[str]] = {}
            for line in own:
                which = line.series if graph else _label(line, some)
                for base in {x["baseline"] for x in line.results if x["baseline"] in bases}:
                    heard.setdefault(base, set()).add(of[which])
                _draw(axes, line, of[which])
            for base, users in heard.items():
                _baseline(axes, plain[base]["mean"], users.pop() if len(users) == 1 and len(heard) > 1 else "slate")
            scale.apply(axes)
            axes.set_ylim(0, top)
            axes.set_xlabel(textwrap.fill(own[0].x, COLUMNS))
            axes.set_ylabel("test accuracy")

        return Panel(draw, GRAPHS.get(graph, graph) if graph else "", height=3.0)

    keys = [Key(GRAPHS.get(label, label), of[label]) for label in series]
    if bases:
        keys.append(Key(f"undisturbed, band {LIMIT:g}", "slate", "6 3", 1.5))
    few = [x["n"] for line in some for x in line.results if x["n"]]
    seeds = f"{min(few)} to {max(few)}" if min(few) < max(few) else str(max(few))
    best = "; ".join(f"{_label(line, some)} {_ends(line)}" for line in some)
    return Picture(
        f"{slug(study.name)}-{slug(name)}",
        name[:1].upper() + name[1:],
        f"Test accuracy over {some[0].x}: mean of {seeds} seeds and the mean’s 95 % confidence interval."
        + (" Dashed: undisturbed." if bases else ""),
        f"Test accuracy over {some[0].x}: {best}.",
        [panel(graph) for graph in split],
        keys,
    )


def _label(line: Line, some: Sequence[Line]) -> str:
    """A line's series, with what else tells it from others of that series."""
    same = [other for other in some if other.series == line.series]
    more = [key for key in ("graph", "rule", "preset") if len({getattr(other, key) for other in same}) > 1]
    return ", ".join([line.series, *(getattr(line, key) for key in more)])


def _ends(line: Line) -> str:
    known = [x for x in line.results if x["mean"] is not None]
    return f"{known[0]['mean']:.3f} at {known[0]['level']:g} to {known[-1]['mean']:.3f} at {known[-1]['level']:g}"


def _draw(axes: Axes, line: Line, of: str) -> None:
    known = [x for x in line.results if x["mean"] is not None]
    sure = [x for x in known if x["low"] is not None]
    levels = [x["level"] for x in known]
    if sure:
        low, high = ([x[key] for x in sure] for key in ("low", "high"))
        axes.fill_between([x["level"] for x in sure], low, high, color=colour(of), alpha=0.16, linewidth=0)
    axes.plot(levels, [x["mean"] for x in known], "o-", color=colour(of), ms=3.8)


def _baseline(axes: Axes, mean: float, of: str) -> None:
    axes.axhline(mean, color=colour(of), lw=1.2, dashes=[6, 3], zorder=1.5)
    axes.axhspan(mean - LIMIT, mean, color=colour(of), alpha=0.13, linewidth=0, zorder=1)


def _dots(study: Study, name: str, some: Sequence[Line]) -> Picture:
    """Networks side by side: every seed, mean and interval."""
    shown = [(line.series, x) for line in some for x in line.results if x["mean"] is not None]

    def draw(axes: Axes) -> None:
        for at, (_, x) in enumerate(shown):
            seeds = list(x["accuracies"].values())
            axes.plot(seeds, [at] * len(seeds), "o", color=colour("blue"), alpha=0.3, ms=4, markeredgewidth=0)
            if x["low"] is not None:
                axes.plot([x["low"], x["high"]], [at, at], color=colour("blue"), lw=3)
            axes.plot(x["mean"], at, "D", color=colour("blue"), ms=6)
            axes.text(0.995, at - 0.16, f"{x['mean']:.3f}", ha="right", va="bottom", fontsize=8.5)
        axes.set_yticks(range(len(shown)), [series for series, _ in shown])
        axes.set_ylim(len(shown) - 0.5, -0.6)
        axes.set_xlim(min([0.5, *(min(x["accuracies"].values()) for _, x in shown)]) - 0.03, 1)
        axes.set_xlabel("test accuracy")
        axes.tick_params(axis="y", length=0)

    said = "; ".join(f"{series} {x['mean']:.3f}" for series, x in shown)
    return Picture(
        f"{slug(study.name)}-{slug(name)}",
        name[:1].upper() + name[1:],
        "Test accuracy: every seed (dots), mean (diamond) and the mean’s 95 % confidence interval (bar).",
        f"Mean test accuracy: {said}.",
        [Panel(draw, height=0.9 + 0.36 * len(shown))],
    )


def _costs(study: Study, name: str, some: Sequence[Line]) -> Iterator[Picture]:
    """Accuracy over what a training image takes a board."""
    shown: list[tuple[str, Any, float]] = []
    for line in some:
        for x in line.results:
            config = study.config(x)
            if config and x["mean"] is not None:
                shown.append((line.series, x, board_seconds(config, True) * HERTZ / 1e6))
    if len(shown) < 2:
        return
    graphs = list(dict.fromkeys(x["graph"] for _, x, _ in shown))
    of = dict(zip(graphs, colours(len(graphs)), strict=True))

    def draw(axes: Axes) -> None:
        for _, x, cost in shown:
            if x["low"] is not None:
                axes.plot([cost, cost], [x["low"], x["high"]], color=colour(of[x["graph"]]), lw=3, alpha=0.5)
            axes.plot(cost, x["mean"], MARKERS[x["rule"]], color=colour(of[x["graph"]]), ms=7)
        axes.set_xlim(0, max(cost for _, _, cost in shown) * 1.08)
        axes.set_ylim(max(0, min(x["low"] or x["mean"] for _, x, _ in shown) - 0.05), 1)
        axes.set_xlabel("million cycles of an RP2040 per training image, modelled")
        axes.set_ylabel("test accuracy")

    said = "; ".join(f"{series}: {x['mean']:.3f} at {cost:.1f} million" for series, x, cost in shown)
    yield Picture(
        f"{slug(study.name)}-{slug(name)}-cost",
        "Accuracy against cycles",
        "Mean test accuracy (circles: SnAP-1; squares: the exact gradient) and its 95 % confidence interval over what"
        " a training image takes an RP2040: a model, the cycles of cells, steps and link as host.runs.output has them,"
        " not measured on a chip (python -m tools.cost counts them exactly).",
        f"Test accuracy over modelled cycles per training image: {said}.",
        [Panel(draw)],
        [Key(GRAPHS.get(graph, graph), of[graph], width=5) for graph in graphs],
    )
