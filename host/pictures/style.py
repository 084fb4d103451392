"""How figures look: one palette in two lights, one hand of type, and panels that are read on a phone.

matplotlib draws with the light colours; in the SVG each of them becomes a variable that the page, or the file's own
style, sets for light and dark. The result depends on nothing but what is drawn: no dates, no random names.
"""

import html
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from host.base.files import write_atomically
from host.pictures.naming import raised

# In light and in dark. Series are told apart by those who see no red or no green, too (after Okabe and Ito).
COLOURS = {
    "ink": ("#1d2730", "#e7eaed"),
    "soft": ("#5c6872", "#a2adb6"),
    "grid": ("#dde2e6", "#333c45"),
    "paper": ("#fefefe", "#171d23"),
    "blue": ("#0b6fb4", "#5ab0ee"),
    "red": ("#d0540a", "#f58a4b"),
    "green": ("#0a8f6c", "#3fcaa4"),
    "pink": ("#b9568f", "#e59ac6"),
    "amber": ("#b07c00", "#e8bb4a"),
    "violet": ("#6a55b5", "#ab9df0"),
    "slate": ("#47525c", "#c3ccd4"),
}
SERIES = ("blue", "red", "green", "pink", "amber", "violet", "slate")
DIVERGING = ("#0b6fb4", "#7fb6dc", "#f1efe9", "#eda77a", "#c44a06")  # of maps; they carry their own scale

WIDTH, HEIGHT = 4.6, 3.0  # of a panel, in inches of 72 pixels: on a phone's width the type keeps its size
RC: dict[Any, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.family": ["DejaVu Sans"],  # what matplotlib brings along; the page puts its own in its place
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "savefig.dpi": 144,
} | {f"{part}.color": COLOURS[of][0] for part, of in (
    ("text", "ink"), ("xtick", "soft"), ("ytick", "soft"), ("grid", "grid"))
} | {"axes.labelcolor": COLOURS["soft"][0], "axes.edgecolor": COLOURS["soft"][0], "axes.titlecolor": COLOURS["ink"][0],
}  # fmt: skip

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def colour(name: str) -> str:
    """The colour of this name, as matplotlib takes it."""
    return COLOURS[name][0]


def variables(dark: bool) -> str:
    """The palette as CSS."""
    return "".join(f"--{name}:{pair[dark]};" for name, pair in COLOURS.items())


@dataclass(frozen=True)
class Key:
    """A line of a legend."""

    label: str
    colour: str
    dash: str = ""  # of SVG, "" for a whole line
    width: float = 2.5


@dataclass(frozen=True)
class Panel:
    """A part of a picture with axes of its own."""

    draw: Callable[[Axes], None]
    title: str = ""
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True)
class Picture:
    """A figure of a page: panels that share a legend, what they show, and the same for those who cannot see it."""

    name: str  # of its files
    title: str
    caption: str
    alt: str
    panels: Sequence[Panel]
    keys: Sequence[Key] = ()
    inked: bool = False  # its images are black, and turn white in the dark
    columns: int = 0  # of its panels in a file; 0: as many as suit

    def svgs(self) -> list[str]:
        """Every panel by itself, to stand in a page: it needs no namespaces there."""
        found = [self._svg([panel], f"{self.name}-{k}", False) for k, panel in enumerate(self.panels)]
        return [re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg) for svg in found]

    def save(self, directory: Path) -> list[Path]:
        """Write all of it as one SVG and as one PNG."""
        svg = self._svg(self.panels, self.name, True)
        style = (
            f"<style>svg{{{variables(False)}background:var(--paper)}}text{{font-family:{SANS}!important}}"
            f"@media(prefers-color-scheme:dark){{svg{{{variables(True)}}}"
            f"{'image{filter:invert(1)}' if self.inked else ''}}}</style>"
        )
        svg = svg.replace(">", f">{style}", 1)
        stream = io.BytesIO()
        with matplotlib.rc_context({**RC, "savefig.facecolor": colour("paper")}):
            figure(self.panels, self.title, self.keys, self.columns).savefig(
                stream, format="png", metadata={"Software": None}
            )
        paths = [directory / f"{self.name}{ending}" for ending in (".svg", ".png")]
        for path, content in zip(paths, (svg.encode(), stream.getvalue()), strict=True):
            write_atomically(path, lambda file, content=content: file.write(content))  # type: ignore[misc]
        return paths

    def _svg(self, panels: Sequence[Panel], name: str, alone: bool) -> str:
        stream = io.StringIO()
        with matplotlib.rc_context({**RC, "svg.hashsalt": name}):
            made = figure(panels, self.title if alone else "", self.keys if alone else (), self.columns)
            made.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        alt = self.alt if alone or not panels[0].title else f"{self.alt} ({panels[0].title})"
        return tidy(stream.getvalue(), alt)


def figure(panels: Sequence[Panel], title: str, keys: Sequence[Key], columns: int) -> Figure:
    """The panels on one sheet, with title and legend if there are any."""
    columns = min(len(panels), columns or (3 if len(panels) != 4 else 2))
    rows = math.ceil(len(panels) / columns)
    width, height = panels[0].width * columns, panels[0].height * rows
    lines = math.ceil(len(keys) / max(1, round(width / 1.7)))
    made = Figure(figsize=(width, height + 0.22 * lines + (0.3 if title else 0)), layout="constrained")
    axes = made.subplots(rows, columns, squeeze=False).ravel()
    for place, panel in zip(axes, panels, strict=False):
        panel.draw(place)
        if panel.title:
            place.set_title(panel.title)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    if title:
        made.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    if keys:
        lines2d = [
            Line2D([], [], color=colour(key.colour), linewidth=key.width * 0.8, linestyle="--" if key.dash else "-")
            for key in keys
        ]
        labels = [key.label for key in keys]
        made.legend(lines2d, labels, loc="outside lower left", ncols=max(1, round(width / 1.7)), frameon=False)
    return made


def tidy(svg: str, alt: str) -> str:
    """The svg element alone, with its alt text, the palette's variables, and no more names and digits than it needs."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    used = set(re.findall(r"#([A-Za-z][\w.-]*)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r'="[^"]*"', lambda found: re.sub(r"\d+\.\d{3,}", _short, found[0]), svg)
    for name, (light, _) in COLOURS.items():
        svg = svg.replace(light, f"var(--{name},{light})")
    svg = re.sub(r"\n\s*", "\n", svg)
    attributes = f'<svg role="img" aria-label="{html.escape(alt)}" '
    return svg.replace("<svg ", attributes, 1).replace('version="1.1"', "", 1)


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def power(base: int) -> Callable[[float, Any], str]:
    """What writes the ticks of a logarithmic axis: a power of this base, in plain type."""

    def written(value: float, _: Any) -> str:
        exponent = round(math.log(value, base))
        return f"{base}{exponent}" if exponent == 1 else f"{base}{raised(exponent)}"

    return written
