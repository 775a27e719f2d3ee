"""Outputs that read like the proxy's own and are none: a chip without its type, a rehearsal in other words.

A release chip is rendered again from its receipt (``shown``). What only looks like one has no receipt to be held
against, so its looks are the offence: the words with which a chip begins, and the types that only a proxy uses.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from cloister.receipt import rehearsal, saving
from cloister.receipt.chip import METADATA_KEY
from cloister.receipt.rehearsal import REHEARSAL_MIME, RehearsalFacts
from cloister.reviewer.findings import Findings
from cloister.reviewer.notebook import MARKED, CodeCell, is_chip, joined, without_tags

_RESERVED = "application/vnd.cloister"
_CLAIM = re.compile(r"\s*Cloister\s*:\s*released\b", re.IGNORECASE)
_MORE = re.compile(r"\n?\.\.\. \d+ more")
_LISTED = 6


def check_imitations(cells: tuple[CodeCell, ...], findings: Findings) -> None:
    """Fail what imitates a chip, and name what is known to be no result."""
    for cell in cells:
        if any(map(_imitates, cell.outputs)):
            text = "an output reads like a chip of the proxy and is none"
            findings.add(9, "fail", "chip.imitation", text, cell=cell.place)
        elif any(map(_has_rehearsal, cell.outputs)):
            text = "the cell was rehearsed on mock data: what it shows is invented"
            findings.add(9, "note", "chip.rehearsal", text, cell=cell.place)
        elif any(map(saving.is_own, cell.outputs)):
            text = "the file has no outputs of this cell: the contract's tier rules keep them out of files"
            findings.add(9, "note", "output.left-out", text, cell=cell.place)
    lines = [str(cell.place) for cell in cells if cell.is_line and cell.outputs]
    if lines:
        some = ", ".join(lines[:_LISTED]) + (", ..." if len(lines) > _LISTED else "")
        text = f"cells {some}: answers to %cloister lines are the word of the author's machine; nobody signed them"
        findings.add(13, "note", "line.unsigned", text)


def _imitates(output: dict[str, Any]) -> bool:
    if is_chip(output):
        return False
    if _has_rehearsal(output):
        return not _is_rehearsal(output)
    data = _dict(output.get("data"))
    if any(name.strip().lower().startswith(_RESERVED) for name in data):
        return True
    texts = [joined(output.get("text")), joined(data.get("text/plain"))]
    texts += [without_tags(joined(data.get(name))) for name in MARKED]
    return any(_CLAIM.match(text) for text in texts)


def _has_rehearsal(output: dict[str, Any]) -> bool:
    return REHEARSAL_MIME in _dict(output.get("data")) or "rehearsals" in _place(output)


def _is_rehearsal(output: dict[str, Any]) -> bool:
    """Tell whether a rehearsal chip is what its facts say, in every type it can be shown as."""
    try:
        facts = msgspec.convert(_place(output).get("rehearsals"), type=tuple[RehearsalFacts, ...])
    except (msgspec.ValidationError, RecursionError):
        return False
    data, _ = rehearsal.display(facts)
    told = {
        name: _MORE.sub("", joined(value)) if name.startswith("text/") else value
        for name, value in _dict(output.get("data")).items()
    }
    return output.get("output_type") == "display_data" and told == data


def _place(output: dict[str, Any]) -> dict[str, Any]:
    return _dict(_dict(output.get("metadata")).get(METADATA_KEY))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
