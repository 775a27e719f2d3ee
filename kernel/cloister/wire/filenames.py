"""Names and sizes of files that travel between the analyst's machine and a sandbox, as both ends check them."""

from __future__ import annotations

from cloister.errors import MalformedError
from cloister.wire.text import has_control

MAX_FILE = 16 * 2**20
MAX_NAME_BYTES = 255
# A colon leads to another drive on Windows, or to a hidden stream of the file.
_SEPARATORS = ("/", "\\", ":", "\x00")
# Hidden files, and what a command of the shell would take for an option.
_NOT_FIRST = (".", "-")


def check_name(name: str) -> str:
    """Return ``name`` if it is one plain file name: no folder, nothing hidden, nothing that acts on a display.

    Raises:
        MalformedError: ``file.name``.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    plain = not any(mark in name for mark in _SEPARATORS) and not has_control(name) and name == name.strip()
    if not plain or name.startswith(_NOT_FIRST) or not 0 < size <= MAX_NAME_BYTES:
        raise MalformedError(
            "file.name",
            "a file is named by one plain name: no folders, no colon, no leading dot or dash, no control characters",
            next_step="give a plain name as the second word, such as regions.csv",
        )
    return name
