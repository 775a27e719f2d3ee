"""Reads what a relying party keeps as a file of its own, the analyst and the broker alike."""

from __future__ import annotations

from pathlib import Path

from cloister.attest import endorsements
from cloister.attest.endorsements import Endorsements
from cloister.errors import UnavailableError


def read_endorsements(path: Path) -> Endorsements:
    """Return the endorsements in a file (``cloister endorse``); none where there is no file.

    Raises:
        UnavailableError: ``endorsements.file``: it is there and cannot be read.
        MalformedError: ``endorsements.bundle``.
    """
    try:
        return endorsements.parse(path.read_bytes())
    except FileNotFoundError:
        return Endorsements()
    except OSError as error:
        raise UnavailableError(
            "endorsements.file", f"{path} cannot be read", next_step="make it readable, or restore it from a backup"
        ) from error
