"""Reading a notebook as data: code cells, their outputs, and the proxy's chips among them. Nothing is executed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from cloister.receipt.chip import METADATA_KEY, RELEASE_MIME
from cloister.receipt.facts import ReleaseFacts

_COMMAND = "%cloister"


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
        data, metadata = _dict(output.get("data")), _dict(output.get("metadata"))
        facts = metadata.get(METADATA_KEY)
        if RELEASE_MIME not in data and not (isinstance(facts, dict) and "releases" in facts):
            continue
        try:
            releases = msgspec.convert(_dict(facts).get("releases"), type=tuple[ReleaseFacts, ...])
        except (msgspec.ValidationError, RecursionError):
            releases = None
        # Files store long texts as lists of lines; both spellings are one text.
        joined_data = {name: joined(value) if name.startswith("text/") else value for name, value in data.items()}
        yield Chip(cell.place, joined_data, metadata, releases or None)


def texts(cell: CodeCell) -> Iterator[str]:
    """Yield what the outputs of a cell print, without chips."""
    for output in cell.outputs:
        data, metadata = _dict(output.get("data")), _dict(output.get("metadata"))
        if RELEASE_MIME in data or METADATA_KEY in metadata:
            continue
        if "text" in output:
            yield joined(output["text"])
        elif "text/plain" in data:
            yield joined(data["text/plain"])


def joined(value: Any) -> str:
    """Return a multi-line string of nbformat, whichever way it is stored."""
    if isinstance(value, list):
        return "".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
