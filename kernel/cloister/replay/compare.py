"""What a cell showed in the file against what it showed in the replay: exactly, but for two things nobody can repeat.

Those are the time at which somebody looked at a budget (``as of ...``) and addresses in memory. Streams are compared as
wholes, because stdout, stderr and displays reach a front end on their own schedules.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import Any, Literal, NamedTuple

from cloister.receipt import saving
from cloister.replay.figures import DRAWN_MIME
from cloister.reviewer.notebook import CodeCell, joined

State = Literal["same", "differs", "not compared", "not run"]
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
_VARYING = (
    (re.compile(r"as of \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "as of TIME"),
    (re.compile(r"0x[0-9a-f]{6,16}"), "0xADDRESS"),
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# A traceback names files of the machine and of the process it arose on.
_PLACES = re.compile(r"(File |in )(?:[\w/.~<>+-]*/)?[\w<>.-]+\.py(?=[:,\" ]|$)|ipykernel_\d+/\d+\.py", re.MULTILINE)
_LINES, _WIDTH, _DIFFABLE = 12, 160, 2_000


class Compared(NamedTuple):
    """The state of a cell, why, and a small diff if it differs."""

    state: State
    reason: str = ""
    diff: tuple[str, ...] = ()


def compare(saved: CodeCell, ran: tuple[dict[str, Any], ...], stopped: str) -> Compared:
    """Return how the outputs of a replayed cell stand to those in the file."""
    if any(map(saving.is_own, saved.outputs)):
        return Compared("not compared", "the contract's tier rules keep its outputs out of files")
    if stopped:
        return Compared("not run", stopped)
    if saved.source.strip() and not saved.reaches_enclave:
        return Compared("not compared", "the proxy answers this line, about the kernel it runs in")
    before, after = _shown(saved.outputs), _shown(ran)
    if before == after:
        widget = any(name.endswith(WIDGET_MIME) for name in before)
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
    streams: dict[str, str] = {}
    place = 0
    for output in outputs:
        kind = output.get("output_type")
        if kind == "stream":
            name = f"stream {output.get('name')}"
            streams[name] = streams.get(name, "") + joined(output.get("text"))
            continue
        place += 1
        data = output.get("data")
        for mime, value in (data if isinstance(data, dict) else {}).items():
            if mime != DRAWN_MIME:
                found[f"{place} {mime}"] = _text(mime, value)
        # Behind the data, which may call themselves anything.
        if kind == "error":
            found[f"{place} error"] = _error(output)
        metadata = output.get("metadata")
        if isinstance(metadata, dict) and "cloister" in metadata:
            found[f"{place} receipt facts"] = _json(metadata["cloister"], indent=1)
    found |= {name: _terminal(text) for name, text in streams.items()}
    return {name: _steady(text) for name, text in found.items()}


def _text(mime: str, value: Any) -> str:
    if mime == WIDGET_MIME:
        return "a widget"  # its id is another one in every run; that there is one is compared
    # nbformat stores long texts as lists of lines, but a list in JSON is a list.
    is_json = mime == "application/json" or mime.endswith("+json")
    return joined(value) if isinstance(value, str | list) and not is_json else _json(value)


def _json(value: Any, *, indent: int | None = None) -> str:
    try:
        return json.dumps(value, sort_keys=True, indent=indent)
    except RecursionError:
        # No kernel of ours says anything that deep: it differs from whatever the replay shows.
        return "nested too deeply to be compared"


def _error(output: dict[str, Any]) -> str:
    """Return an error as front ends show it: they show the traceback, and not what stands beside it."""
    listed = output.get("traceback")
    lines = [joined(line) for line in listed] if isinstance(listed, list) else [joined(listed)]
    text = "\n".join([f"{output.get('ename')}: {output.get('evalue')}", *lines])
    return _PLACES.sub("FILE", _COLOURS.sub("", text))


def _terminal(text: str) -> str:
    """Return what a front end shows of a stream: backspaces take back, and what follows a carriage return covers."""
    kept: list[str] = []
    for character in text:
        if character != "\x08":
            kept.append(character)
        elif kept and kept[-1] != "\n":
            kept.pop()
    lines = []
    for line in "".join(kept).split("\n"):
        shown = ""
        for part in line.rstrip("\r").split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown)
    return "\n".join(lines)


def _steady(text: str) -> str:
    text = text.strip("\n")
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def _diff(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines()[:_DIFFABLE], after.splitlines()[:_DIFFABLE], lineterm="", n=0)
    return [line[:_WIDTH] for line in lines if not line.startswith(("---", "+++", "@@"))]


def _plain(name: str) -> str:
    return name.partition(" ")[2] if name[0].isdigit() else name
