"""The few HTML pieces every rich display is made of; every text is escaped here and nowhere else."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_GREY = "color:var(--jp-ui-font-color2,#666)"
_TIER_COLOURS = {1: "#5a8f5a", 2: "#4a7fb0", 3: "#b8860b", 4: "#c0592b", 5: "#a3243b"}
_HATCH = "repeating-linear-gradient(45deg,#ddd,#ddd 4px,#f4f4f4 4px,#f4f4f4 8px)"


def text(value: object) -> str:
    """Return a text with HTML's special characters escaped."""
    return html.escape(str(value))


def badge(label: str, colour: str) -> str:
    """Return a small coloured label."""
    style = f"background:{colour};color:#fff;border-radius:3px;padding:0 5px;font-size:85%;white-space:nowrap"
    return f'<span style="{style}">{text(label)}</span>'


def tier(number: int) -> str:
    """Return the badge of a data tier (1 public .. 5 most sensitive)."""
    return badge(f"tier {number}", _TIER_COLOURS.get(number, "#666"))


def mock() -> str:
    """Return the hatched badge every mock output carries."""
    style = f"background:{_HATCH};color:#333;border:1px solid #bbb;border-radius:3px;padding:0 5px;font-size:85%"
    return f'<span style="{style}">mock: invented values</span>'


def teaching(label: str) -> str:
    """Return the badge every output of a lesson carries: which defence, and that it protects nobody."""
    return badge(f"teaching: {label}", "#a3243b")


def mark(mode: str, assurance: str) -> str:
    """Return the badge of a mode whose values are not what a contract protects; nothing for a confidential kernel."""
    return mock() if mode == "mock" else teaching(assurance) if mode == "teaching" else ""


def note(value: str) -> str:
    """Return a line of small grey text."""
    return f'<div style="{_GREY};font-size:90%">{text(value)}</div>'


def paragraph(*pieces: str) -> str:
    """Return ready HTML pieces as one line."""
    return f"<div>{' '.join(piece for piece in pieces if piece)}</div>"


def strong(value: object) -> str:
    """Return emphasised text."""
    return f"<b>{text(value)}</b>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are ready HTML, headings are text."""
    cells = "".join(f'<th style="text-align:left">{text(name)}</th>' for name in head)
    lines = "".join(
        "<tr>" + "".join(f'<td style="text-align:left;vertical-align:top">{cell}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def bar(used: float, colour: str = "#3b6ea5") -> str:
    """Return a bar that is ``used`` (0..1) full."""
    width = f"{100 * min(max(used, 0.0), 1.0):.1f}%"
    return (
        '<div style="background:var(--jp-layout-color3,#ddd);width:160px;height:10px;border-radius:3px">'
        f'<div style="background:{colour};width:{width};height:10px;border-radius:3px"></div></div>'
    )


def whisker(low: float, value: float, high: float) -> str:
    """Return a line from ``low`` to ``high`` with a mark at ``value``, on an axis from -1 to 1 whose middle is zero."""
    left, mark, right = (50 * (1 + min(max(place, -1.0), 1.0)) for place in (low, value, high))
    axis = "position:absolute;left:50%;top:0;width:1px;height:12px;background:var(--jp-layout-color3,#bbb)"
    line = f"position:absolute;left:{left:.1f}%;width:{right - left:.1f}%;top:5px;height:2px;background:#3b6ea5"
    dot = f"position:absolute;left:calc({mark:.1f}% - 3px);top:3px;width:6px;height:6px;background:#3b6ea5"
    pieces = "".join(f'<div style="{style}"></div>' for style in (axis, line, dot))
    return f'<div style="position:relative;width:160px;height:12px">{pieces}</div>'


def block(*pieces: str) -> str:
    """Return ready pieces as one display."""
    return '<div class="cloister">' + "".join(pieces) + "</div>"
