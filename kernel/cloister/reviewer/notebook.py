"""Reading a notebook as data: code cells, their outputs, and the proxy's chips among them. Nothing is executed."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from cloister.receipt.chip import METADATA_KEY, RELEASE_MIME
from cloister.receipt.facts import ReleaseFacts

_COMMAND = "%cloister"
_MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class CodeCell(NamedTuple):
    """One code cell: its place among all cells, its text and its outputs."""

    place: int
    source: str
    outputs: tuple[dict[str, Any], ...]

    @property
    def reaches_enclave(self) -> bool:
        """Whether running the cell sends code: empty cells and ``%cloister`` lines do not."""
        lines = [line.strip() for line in self.source.splitlines()]
        statements = [line for line in lines if line and not line.startswith("#")]
        command = len(statements) == 1 and statements[0].split()[0] == _COMMAND
        return bool(self.source.strip()) and not command


class Chip(NamedTuple):
    """A release chip found in an output; ``releases`` is ``None`` if its facts cannot be read."""

    cell: int
    data: dict[str, Any]
    metadata: dict[str, Any]
    releases: tuple[ReleaseFacts, ...] | None


class Printed(NamedTuple):
    """One ordinary output: its plain text, the text of its HTML, and whether it is a figure."""

    plain: str
    markup: str
    figure: bool


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
        if not _is_chip(output):
            continue
        data, metadata = _dict(output.get("data")), _dict(output.get("metadata"))
        try:
            listed = _dict(metadata.get(METADATA_KEY)).get("releases")
            releases = msgspec.convert(listed, type=tuple[ReleaseFacts, ...])
        except (msgspec.ValidationError, RecursionError):
            releases = None
        # Files store long texts as lists of lines; both spellings are one text.
        joined_data = {name: joined(value) if name.startswith("text/") else value for name, value in data.items()}
        yield Chip(cell.place, joined_data, metadata, releases or None)


def printed(cell: CodeCell) -> Iterator[Printed]:
    """Yield what the outputs of a cell show, without chips."""
    for output in cell.outputs:
        if _is_chip(output):
            continue
        data = _dict(output.get("data"))
        plain = joined(output.get("text", data.get("text/plain")))
        markup = joined(data.get("text/html")) + joined(data.get("text/markdown"))
        figure = any(name.startswith("image/") for name in data)
        # The text beside a figure only names its type.
        yield Printed("" if figure else plain, html.unescape(_MARKUP.sub(" ", markup)), figure)


def _is_chip(output: dict[str, Any]) -> bool:
    data, metadata = _dict(output.get("data")), _dict(output.get("metadata"))
    return RELEASE_MIME in data or "releases" in _dict(metadata.get(METADATA_KEY))


def joined(value: Any) -> str:
    """Return a multi-line string of nbformat, whichever way it is stored."""
    if isinstance(value, list):
        return "".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
