"""The release chip: the display a proxy adds to a cell that released something. Static, escaped, recomputable.

The typed body is constant and the facts sit in the output's metadata under ``cloister``; a front end that does not
know the type falls back to HTML or text. Since it is a pure function of the facts, a reviewer renders it again and
compares every byte.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from cloister.receipt.facts import ReleaseFacts

RELEASE_MIME = "application/vnd.cloister.release.v1+json"
BODY = {"version": 1}
_FREE, _EXCLUDED = "no privacy budget", "the formal guarantee excludes it"
NO_BUDGET = f"{_FREE}: {_EXCLUDED}"
METADATA_KEY = "cloister"
State = Literal["confidential", "simulated", "seeded"]

_WORDS: dict[State, str] = {
    "confidential": "released",
    "simulated": "released, Simulated enclave",
    "seeded": "seeded: no privacy",
}
_FRAME = "display:inline-block;padding:4px 10px;margin:2px 0;border-radius:6px;font-size:90%;border:1px "
_HATCHED = "repeating-linear-gradient(45deg,transparent 0 6px,rgba(178,106,0,.10) 6px 12px)"
_STYLE: dict[State, str] = {
    "confidential": _FRAME + "solid #2e7d32",
    "simulated": f"{_FRAME}dashed #b26a00;background:{_HATCHED}",
    "seeded": f"{_FRAME}dashed #b00020;background:{_HATCHED}",
}


def display(releases: Sequence[ReleaseFacts]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return data and metadata of the ``display_data`` for the releases of one cell."""
    now = state(releases)
    data = {"text/plain": _text(releases, now), "text/html": _html(releases, now), RELEASE_MIME: dict(BODY)}
    return data, {METADATA_KEY: {"state": now, "releases": [msgspec.to_builtins(item) for item in releases]}}


def state(releases: Sequence[ReleaseFacts]) -> State:
    """Return how much the releases of one cell may claim: that of the weakest."""
    if any(item.seeded for item in releases):
        return "seeded"
    return "simulated" if any(item.assurance == "simulated" for item in releases) else "confidential"


def _text(releases: Sequence[ReleaseFacts], now: State) -> str:
    lines = [f"Cloister: {_WORDS[now]}"]
    for item in releases:
        lines.append(f"  {item.question}")
        lines += [f"    {line}" for line in _table(item)]
        lines += [f"  {note}" for note in _notes(item)]
        lines.append(f"  {_footer(item)}")
    return "\n".join(lines)


def _html(releases: Sequence[ReleaseFacts], now: State) -> str:
    blocks = [f"<strong>Cloister</strong>: {html.escape(_WORDS[now])}"]
    for item in releases:
        rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in _cells(item))
        blocks.append(f"<div>{html.escape(item.question)}</div><table>{rows}</table>")
        blocks += [f"<div>{html.escape(note)}</div>" for note in _notes(item)]
        blocks.append(f"<small>{html.escape(_footer(item))}</small>")
    return f'<div style="{_STYLE[now]}">{"".join(blocks)}</div>'


def _notes(item: ReleaseFacts) -> tuple[str, ...]:
    return () if isinstance(item.notes, msgspec.UnsetType) else item.notes


def _cell(text: str) -> str:
    return f'<td style="text-align:left">{html.escape(text)}</td>'


def _cells(item: ReleaseFacts) -> list[list[str]]:
    header = [[*item.keys, *item.measures]] if item.keys or len(item.measures) > 1 else []
    body = [[*row.cell, *map(_value, row.values, row.errors, row.unreliable)] for row in item.rows]
    more = [[f"... {item.cells - len(item.rows)} more"]] if item.rows and item.cells > len(item.rows) else []
    return header + body + more


def _value(value: str, error: str, unreliable: bool) -> str:
    return f"{value} ± {error}" + (" (unreliable: too few rows)" if unreliable else "")


def _table(item: ReleaseFacts) -> list[str]:
    cells = _cells(item)
    columns = max(map(len, cells), default=0)
    widths = [max((len(row[at]) for row in cells if at < len(row)), default=0) for at in range(columns)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False)).rstrip() for row in cells]


def _footer(item: ReleaseFacts) -> str:
    signed = f"receipt {item.receipt.removeprefix('sha256:')[:12]}"
    if not item.costs:
        again = ", recalled" if item.recalled else ""
        return f"{_FREE}{again}: {_EXCLUDED} · {signed}"
    price = "; ".join(f"{cost.share} of {cost.population} (epsilon {cost.epsilon})" for cost in item.costs)
    cost = f"no charge, recalled; paid earlier: {price}" if item.recalled else f"cost {price}"
    return f"{cost} · ± is the standard error of the privacy noise · {signed}"
