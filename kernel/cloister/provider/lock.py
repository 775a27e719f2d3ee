"""One broker process per directory: two would sign two histories of the same accounts."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

from cloister.errors import RefusedError


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold the directory's lock; the system lets go of it when the process ends, however it ends.

    Raises:
        RefusedError: ``broker.running``.
    """
    if os.name != "posix":  # the database's own lock still keeps two writers apart
        yield
        return
    fcntl = importlib.import_module("fcntl")
    handle = os.open(directory / "serving.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise RefusedError(
            "broker.running", f"a broker is running in {directory}", next_step="stop it first"
        ) from error
    try:
        yield
    finally:
        os.close(handle)
