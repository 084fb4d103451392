"""Pieces of the page: figures with their legends and captions, tables, facts, notes."""

from collections.abc import Sequence
from html import escape

from host.pictures.style import Key, Picture


def card(picture: Picture) -> str:
    """A figure with title, panels, legend and caption."""
    kind = " class='wide'" if len(picture.panels) > 1 else ""
    ink = " inked" if picture.inked else ""
    legend = f"<ul class='legend'>{''.join(map(key, picture.keys))}</ul>" if picture.keys else ""
    least = 150 if min(panel.width for panel in picture.panels) < 3 else 420
    return (
        f"<figure{kind} id='{picture.name}'><h3>{escape(picture.title)}</h3>"
        f"<div class='panels{ink}' style='--least:{least}px'>{''.join(picture.svgs())}</div>{legend}"
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def key(entry: Key) -> str:
    """A line of a legend."""
    dash = f" stroke-dasharray='{entry.dash}'" if entry.dash else ""
    line = f"<path d='M1 5H25' stroke='var(--{entry.colour})' stroke-width='{entry.width}'{dash}/>"
    return f"<li><svg viewBox='0 0 26 10' aria-hidden='true'>{line}</svg>{escape(entry.label)}</li>"


def table(head: Sequence[str], rows: Sequence[Sequence[object]], texts: int = 1) -> str:
    """A table; its first `texts` columns are texts, the others numbers."""

    def line(tag: str, cells: Sequence[object]) -> str:
        kinds = ["" if k >= texts else " class='text long'" if len(str(x)) > 24 else " class='text'"
                 for k, x in enumerate(cells)]  # fmt: skip
        return "".join(f"<{tag}{kind}>{escape(str(x))}</{tag}>" for kind, x in zip(kinds, cells, strict=True))

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f"<div class='scroll'><table><thead><tr>{line('th', head)}</tr></thead><tbody>{body}</tbody></table></div>"


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Values with their names, side by side."""
    found = "".join(f"<li><b>{escape(value)}</b><span>{escape(name)}</span></li>" for name, value in pairs)
    return f"<ul class='facts'>{found}</ul>"


def note(text: str) -> str:
    """Something that is not as one would expect."""
    return f"<p class='note'>{escape(text)}</p>"
