"""The page: one HTML file that needs nothing else, of any number of runs and studies."""

import importlib.util
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from host.base.cli import UserError
from host.base.files import write_atomically
from host.pictures.naming import GRAPHS, plural
from host.pictures.sources import Found, find

HERE = Path(__file__).parent
INSTALL = "pip install matplotlib (or shoreline with its extra [report])"
GROUND = ("#f4f6f7", "#0f1418")  # behind the figures


def available() -> bool:
    """Whether there is what draws."""
    return importlib.util.find_spec("matplotlib") is not None


def write_report(paths: Sequence[Path], out: Path, data: str | None = None, figures: Path | None = None) -> None:
    """Write the page about the runs and studies at these paths, and files of its figures into `figures`.

    data: where the runs' data are, if not where they were. Raises UserError for what cannot be read or written.
    """
    if not available():
        raise UserError(f"figures need matplotlib, which is not installed; {INSTALL}")
    from host.pictures.chapters import chapters

    found = find(paths)
    try:
        if figures:
            figures.mkdir(parents=True, exist_ok=True)
        content = html(found, "".join(chapters(found, data, figures)))
        write_atomically(out, lambda file: file.write(content.encode()))
    except OSError as error:
        raise UserError(f"cannot write {error.filename or out} ({error.strerror}); name another place") from error


def html(found: Found, body: str) -> str:
    """The whole page."""
    from host.pictures.style import variables

    title, lead = heading(found)
    way = "class='way'" in body
    light, dark = (f"{variables(of)}--ground:{GROUND[of]};" for of in (False, True))
    css = f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}.inked image{{filter:invert(1)}}}}"
    script = f"<script>{(HERE / 'way.js').read_text()}</script>" if way else ""
    if len(found.studies) == 1 and not found.runs:  # the page's title says it
        body = re.sub("<h2>.*?</h2>", "", body, count=1)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta name='color-scheme' content='light dark'><link rel='icon' href='data:,'>"
        f"<title>{escape(title)}</title><style>{css}{(HERE / 'page.css').read_text()}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1><p class='soft'>{escape(lead)}</p></header>\n<main>{body}</main>\n"
        f"<footer>{FOOTER}</footer>{script}</body></html>\n"
    )


FOOTER = (
    "Made by <code>python -m host.report</code> of Shoreline: a lattice of leaky integrators that learns online, in"
    " integers, on a microcontroller. The page needs no network."
)


def heading(found: Found) -> tuple[str, str]:
    """The page's title, and a line under it."""
    parts = [study.name for study in found.studies]
    groups = found.groups()
    if groups:
        parts += [GRAPHS[graph] for graph in dict.fromkeys(group[0].config.graph for group in groups)]
    what = [plural(len(found.studies), "study").replace("studys", "studies")] if found.studies else []
    if found.runs:
        what.append(plural(len(found.runs), "run"))
    kind = "Study" if found.studies and not found.runs else "Shoreline" if found.studies else "Run"
    if kind == "Run" and len(found.runs) > 1:
        kind = "Runs"
    return f"{kind}: {', '.join(parts)}", f"{' and '.join(what)} of Shoreline, as found in the files."
