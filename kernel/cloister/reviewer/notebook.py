"""Reading a notebook as data: code cells, their outputs, and the proxy's chips among them. Nothing is executed."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from cloister.receipt import saving
from cloister.receipt.chip import METADATA_KEY, RELEASE_MIME
from cloister.receipt.facts import ReleaseFacts

_COMMAND = "%cloister"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
MARKED = ("text/html", "text/markdown", "text/latex")
_READ = frozenset({"text/plain", *MARKED})
_ACTIVE = re.compile(
    r"<(script|img|svg|canvas|iframe|object|embed|input|textarea|video)\b|\bcontent\s*:|!\[", re.IGNORECASE
)
_MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class CodeCell(NamedTuple):
    """One code cell: its place among all cells, its text and its outputs."""

    place: int
    source: str
    outputs: tuple[dict[str, Any], ...]

    @property
    def reaches_enclave(self) -> bool:
        """Whether running the cell sends code: empty cells and ``%cloister`` lines do not."""
        return bool(self.source.strip()) and not self.is_line

    @property
    def is_line(self) -> bool:
        """Whether the cell is a ``%cloister`` line, which the proxy answers."""
        lines = [line.strip() for line in self.source.splitlines()]
        statements = [line for line in lines if line and not line.startswith("#")]
        return len(statements) == 1 and statements[0].split()[0] == _COMMAND


class Chip(NamedTuple):
    """A release chip found in an output; ``releases`` is ``None`` if its facts cannot be read."""

    cell: int
    data: dict[str, Any]
    metadata: dict[str, Any]
    releases: tuple[ReleaseFacts, ...] | None


class Printed(NamedTuple):
    """One ordinary output: its plain text, the text of its markup, whether it is a figure, and types nobody reads."""

    plain: str
    markup: str
    figure: bool
    unread: tuple[str, ...] = ()


def code_cells(notebook: dict[str, Any]) -> tuple[CodeCell, ...]:
    """Return the code cells in order; anything malformed reads as empty."""
    found = []
    cells = notebook.get("cells")
    for index, cell in enumerate(cells if isinstance(cells, list) else ()):
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        listed = cell.get("outputs")
        outputs = tuple(item for item in listed if isinstance(item, dict)) if isinstance(listed, list) else ()
        found.append(CodeCell(index, joined(cell.get("source")), outputs))
    return tuple(found)


def chips(cell: CodeCell) -> Iterator[Chip]:
    """Yield every output that is a release chip, or looks like one."""
    for output in cell.outputs:
        if not is_chip(output):
            continue
        data, metadata = _dict(output.get("data")), _dict(output.get("metadata"))
        try:
            # Of another kind of output a page shows other fields than those that are compared.
            displayed = output.get("output_type") == "display_data"
            listed = _dict(metadata.get(METADATA_KEY)).get("releases") if displayed else None
            releases = msgspec.convert(listed, type=tuple[ReleaseFacts, ...])
        except (msgspec.ValidationError, RecursionError):
            releases = None
        # Files store long texts as lists of lines; both spellings are one text.
        joined_data = {name: joined(value) if name.startswith("text/") else value for name, value in data.items()}
        yield Chip(cell.place, joined_data, metadata, releases or None)


def named(cell: CodeCell) -> frozenset[str]:
    """Return the digests of the receipts a cell's chips name."""
    return frozenset(said.receipt for found in chips(cell) for said in found.releases or ())


def printed(cell: CodeCell) -> Iterator[Printed]:
    """Yield what the outputs of a cell show, without chips.

    Every place is read that any kind of output shows text from, whatever kind it claims to be.
    """
    for output in cell.outputs:
        if is_chip(output) or saving.is_own(output):
            continue
        data = _dict(output.get("data"))
        traceback = output.get("traceback")
        lines = traceback if isinstance(traceback, list) else [traceback]
        texts = [output.get("text"), data.get("text/plain"), output.get("evalue"), *lines]
        plain = _COLOURS.sub("", "\n".join(map(joined, texts)))
        marked = " ".join(joined(data.get(name)) for name in MARKED)
        other = tuple(sorted(name for name in data if name not in _READ and not name.startswith("image/")))
        # What shows numbers otherwise than as text.
        figure = any(name.startswith("image/") for name in data) or bool(_ACTIVE.search(marked))
        yield Printed(plain, without_tags(marked), figure, other)


def without_tags(marked: str) -> str:
    """Return the text of some HTML."""
    return html.unescape(_MARKUP.sub(" ", marked))


def is_chip(output: dict[str, Any]) -> bool:
    """Tell whether an output is a release chip, or says so."""
    data, metadata = _dict(output.get("data")), _dict(output.get("metadata"))
    return RELEASE_MIME in data or "releases" in _dict(metadata.get(METADATA_KEY))


def joined(value: Any) -> str:
    """Return a multi-line string of nbformat, whichever way it is stored; like a page, join what is no text as well."""
    if isinstance(value, list):
        return "".join(item if isinstance(item, str) else _spelt(item) for item in value)
    return value if isinstance(value, str) else ""


def _spelt(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        return ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
