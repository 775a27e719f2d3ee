"""The words after ``%cloister`` for the Tab key. The sandbox does not know these lines, so the proxy completes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloister.analyst.commands import FORMS, MAGIC, parse

_MOST = 200


def complete(code: str, cursor: int, folder: Path) -> dict[str, Any] | None:
    """Return the ``complete_reply`` for a cell that is a ``%cloister`` line; ``None`` for any other cell.

    Args:
        code: The cell.
        cursor: Where the cursor stands, in characters.
        folder: The notebook's folder, whose files ``put`` takes.
    """
    cursor = min(max(cursor, 0), len(code))
    line = code[:cursor].rpartition("\n")[2].lstrip()
    if parse(code) is None or not line.startswith(MAGIC + " "):
        return None
    words = line.split(" ")
    begun = words[-1]
    known = _names() if len([word for word in words[:-1] if word]) == 1 else _arguments(words, folder)
    matches = [name for name in known if name.startswith(begun)]
    return {
        "status": "ok",
        "matches": matches[:_MOST],
        "cursor_start": cursor - len(begun),
        "cursor_end": cursor,
        "metadata": {},
    }


def _names() -> list[str]:
    return list(FORMS)


def _arguments(words: list[str], folder: Path) -> list[str]:
    given = [word for word in words[:-1] if word]
    name = given[1].lower()
    form = FORMS.get(name)
    if form is None:
        return []
    flags = [flag for flag in form.flags if flag not in given]
    return flags + (_files(folder) if name == "put" and len(given) == 2 else [])


def _files(folder: Path) -> list[str]:
    """Return names that need no quotation marks; hidden files are not offered."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError:
        return []
    return [name for name in names if not name.startswith(".") and not set(name) & set(" '\"")]
