"""What a cell showed in the file against what it showed in the replay: exactly, but for two things nobody can repeat.

Those are the time at which somebody looked at a budget (``as of ...``) and addresses in memory. Streams are compared as
wholes, because stdout, stderr and displays reach a front end on their own schedules.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import Any, Literal, NamedTuple

from cloister.replay.figures import DRAWN_MIME
from cloister.reviewer.notebook import CodeCell, joined

State = Literal["same", "differs", "not compared", "not run"]
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
_VARYING = (
    (re.compile(r"as of \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "as of TIME"),
    (re.compile(r"0x[0-9a-f]{6,16}"), "0xADDRESS"),
)
_BACKSPACE = re.compile(r"[^\n]\x08")
_LINES, _WIDTH, _DIFFABLE = 12, 160, 2_000


class Compared(NamedTuple):
    """The state of a cell, why, and a small diff if it differs."""

    state: State
    reason: str = ""
    diff: tuple[str, ...] = ()


def compare(saved: CodeCell, ran: tuple[dict[str, Any], ...], stopped: str) -> Compared:
    """Return how the outputs of a replayed cell stand to those in the file."""
    if stopped:
        return Compared("not run", stopped)
    if saved.source.strip() and not saved.reaches_enclave:
        return Compared("not compared", "the proxy answers this line, about the kernel it runs in")
    before, after = _shown(saved.outputs), _shown(ran)
    if before == after:
        widget = any(WIDGET_MIME in (output.get("data") or {}) for output in ran)
        return Compared("not compared", "a widget's state is not in the notebook") if widget else Compared("same")
    names = sorted({name for name in before.keys() | after.keys() if before.get(name) != after.get(name)})
    lines: list[str] = []
    readable = [name for name in names if not name.endswith("html")] or names
    for name in readable:
        lines += _diff(before.get(name, ""), after.get(name, ""))
    return Compared("differs", ", ".join(_plain(name) for name in names), tuple(lines[:_LINES]))


def _shown(outputs: tuple[dict[str, Any], ...]) -> dict[str, str]:
    """Return what outputs show as texts by place and type, in a spelling that does not depend on who stored them."""
    found: dict[str, str] = {}
    place = 0
    for output in outputs:
        kind = output.get("output_type")
        if kind == "stream":
            name = f"stream {output.get('name')}"
            found[name] = found.get(name, "") + joined(output.get("text"))
            continue
        place += 1
        if kind == "error":
            found[f"{place} error"] = f"{output.get('ename')}: {output.get('evalue')}"
        data = output.get("data")
        for mime, value in (data if isinstance(data, dict) else {}).items():
            if mime not in (DRAWN_MIME, WIDGET_MIME):
                text = joined(value) if isinstance(value, str | list) else json.dumps(value, sort_keys=True)
                found[f"{place} {mime}"] = text
        metadata = output.get("metadata")
        if isinstance(metadata, dict) and "cloister" in metadata:
            found[f"{place} receipt facts"] = json.dumps(metadata["cloister"], sort_keys=True, indent=1)
    return {name: _steady(text) for name, text in found.items()}


def _steady(text: str) -> str:
    # What a terminal would show: a carriage return writes over the line, a backspace over a character.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    text = _BACKSPACE.sub("", "\n".join(lines)).strip("\n")
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def _diff(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines()[:_DIFFABLE], after.splitlines()[:_DIFFABLE], lineterm="", n=0)
    return [line[:_WIDTH] for line in lines if not line.startswith(("---", "+++", "@@"))]


def _plain(name: str) -> str:
    return name.partition(" ")[2] if name[0].isdigit() else name
