"""Reading a file that a person named on a command line."""

from __future__ import annotations

from pathlib import Path

from cloister.errors import MalformedError, UnavailableError

MAX_FILE = 8 << 20


def read_bytes(path: Path, limit: int = MAX_FILE) -> bytes:
    """Return a file of at most ``limit`` bytes.

    Raises:
        UnavailableError: ``file.missing``.
        MalformedError: ``file.size``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UnavailableError("file.missing", f"{path} cannot be read", next_step="check the path") from error
    if len(data) > limit:
        raise MalformedError("file.size", f"{path} is larger than {limit >> 20} MiB", next_step="check the path")
    return data
