"""The pictures of the page, as SVG: bars with their numbers in a title each, in colours that differ in grey too."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

KINDS = {
    "as declared": "#3b76af",
    "not declared": "#9aa7b4",
    "out of bounds": "#d9822b",
    "unknown category": "#8e5ea2",
    "unreadable": "#b42318",
    "empty": "#e3e7eb",
}
_WIDTH, _ROW, _LABEL, _SHOWN = 900, 22, 190, 26
_HEIGHT, _BASE = 140, 20
_MOST_BARS = 240


def bar(ratio: float) -> str:
    """Return a thin bar filled to a share."""
    filled = f"<rect width='{ratio * 200:.1f}' height='6' fill='#3b76af'/>"
    empty = "<rect width='200' height='6' fill='#e3e7eb'/>"
    return f"<svg viewBox='0 0 200 6' role='img' aria-label='{ratio:.1%}'>{empty}{filled}</svg>"


def stacked(cells: Mapping[str, Mapping[str, int]]) -> str:
    """Return one bar per column, cut by what became of its rows; nothing where there are no rows."""
    bars = []
    for line, (name, counts) in enumerate(cells.items()):
        total, left, top = sum(counts.values()), float(_LABEL), line * _ROW
        bars.append(_text(_LABEL - 8, top + 15, _short(name), "end", name))
        for kind, many in counts.items():
            if not many or not total:
                continue
            # A single bad row in a million is seen too.
            width = max(many / total * (_WIDTH - _LABEL), 2.0)
            width = min(width, _WIDTH - left)
            title = f"<title>{escape(name)}: {kind}, {many:,} rows</title>"
            bars.append(
                f"<rect x='{left:.1f}' y='{top + 3}' width='{width:.1f}' height='16' "
                f"fill='{KINDS[kind]}'>{title}</rect>"
            )
            left += width
    return _svg(len(cells) * _ROW, bars, "What the columns hold") if cells else ""


def columns(counts: Mapping[str, int]) -> str:
    """Return upright bars with the first and last label below and the largest number above."""
    names, values = _thinned(counts)
    if not values or not max(values):
        return ""
    highest, step = max(values), (_WIDTH - 60) / len(values)
    bars = [_text(52, 14, f"{highest:,}", "end"), _text(52, _HEIGHT - _BASE, "0", "end")]
    for at, (name, many) in enumerate(zip(names, values, strict=True)):
        height = max(many / highest * (_HEIGHT - _BASE - 6), 1.0 if many else 0.0)
        bars.append(
            f"<rect x='{60 + at * step:.1f}' y='{_HEIGHT - _BASE - height:.1f}' width='{max(step - 1, 0.8):.1f}' "
            f"height='{height:.1f}' fill='#3b76af'><title>{escape(name)}: {many:,}</title></rect>"
        )
    bars.append(_text(60, _HEIGHT - 4, names[0], "start"))
    if len(names) > 1:
        bars.append(_text(_WIDTH, _HEIGHT - 4, names[-1], "end"))
    return _svg(_HEIGHT, bars, "Rows")


def _thinned(counts: Mapping[str, int]) -> tuple[list[str], list[int]]:
    """Neighbours are added up where there are more bars than a page has room for."""
    names, values = list(counts), list(counts.values())
    size = -(-len(names) // _MOST_BARS) or 1
    groups = range(0, len(names), size)
    return [names[at] for at in groups], [sum(values[at : at + size]) for at in groups]


def _svg(height: int, parts: list[str], label: str) -> str:
    drawn = "".join(parts)
    return f"<svg viewBox='0 0 {_WIDTH} {height}' role='img' aria-label='{label}' font-size='12'>{drawn}</svg>"


def _text(x: int, y: int, text: str, anchor: str, title: str = "") -> str:
    hint = f"<title>{escape(title)}</title>" if title else ""
    return f"<text x='{x}' y='{y}' text-anchor='{anchor}' fill='#57606a'>{escape(text)}{hint}</text>"


def _short(name: str) -> str:
    return name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…"
