"""What the last mock run of each cell would have cost: kept by the digest of the cell's code, for each contract.

    <CLOISTER_HOME>/rehearsals/<contract digest>.json   {"version": 1, "cells": {code digest: [Rehearsal, ...]}}

No values are kept, only names of releases and prices. The file outlives the mock kernel, because the price is shown
where the notebook is promoted to a confidential one. It is a convenience: a file that cannot be read or written costs
the estimate (``?``) and nothing else, and of two kernels that write in the same instant one is remembered.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from cloister.errors import CloisterError
from cloister.receipt import code
from cloister.receipt.rehearsal import Rehearsal

MAX_CELLS = 2000
MAX_RELEASES = 256
MAX_KEPT = 20_000
MAX_FILE = 16 * 2**20
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_ENDED = ("ok", "error")

log = logging.getLogger(__name__)


Cell = tuple[Rehearsal, ...]
"""The releases of one cell, each once, in the order asked."""


class _File(msgspec.Struct):
    cells: dict[str, Cell]
    version: int = 1


class Rehearsals:
    """Follows the cells of a mock kernel and keeps what they asked.

    Args:
        path: Returns the file; it may fail while the contract is not known, and then nothing outlives the kernel.
    """

    def __init__(self, path: Callable[[], Path]) -> None:
        self._path = path
        self._running: OrderedDict[str, tuple[str, dict[str, Rehearsal]]] = OrderedDict()
        self._cells: dict[str, Cell] = {}

    def began(self, msg_id: str, source: str) -> None:
        """Note that a cell is on its way to the kernel."""
        self._running[msg_id] = (code.exact(source), {})
        if len(self._running) > MAX_CELLS:
            self._running.popitem(last=False)

    def heard(self, msg_id: str, rehearsal: Rehearsal) -> bool:
        """Note a mock release of a cell and return True; one that no cell of a mock kernel caused is not noted."""
        asked = self._running.get(msg_id)
        # One too many is kept, to tell a cell that asked for more than is kept from one that did not.
        if asked is not None and len(asked[1]) <= MAX_RELEASES:
            asked[1].setdefault(rehearsal.release, rehearsal)
        return asked is not None

    def ended(self, msg_id: str, status: str) -> None:
        """Keep what a cell asked, unless it was stopped or never ran: then nobody knows what it would ask.

        Nor does anybody of one that asked for more than is kept: a part of its price would be a wrong price.
        """
        digest, asked = self._running.pop(msg_id, ("", {}))
        if digest and status in _ENDED:
            self._keep(digest, tuple(asked.values()) if len(asked) <= MAX_RELEASES else None)

    def cells(self) -> Mapping[str, Cell]:
        """Return the releases of every rehearsed cell by the digest of its code."""
        return {**self._read(), **self._cells}

    def _keep(self, digest: str, cell: Cell | None) -> None:
        known = self._read()
        # In this kernel's memory too: the file may be impossible to write.
        self._cells = _newest(self._cells, digest, cell)
        if known.get(digest) != cell:
            self._write(_newest(known, digest, cell))

    def _read(self) -> dict[str, Cell]:
        try:
            path = self._path()
            if path.stat().st_size > MAX_FILE:
                return {}
            return msgspec.json.decode(path.read_bytes(), type=_File).cells
        except (CloisterError, FileNotFoundError):
            return {}
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            log.warning("the rehearsals cannot be read, so the estimate starts anew: %s", error)
            return {}

    def _write(self, cells: dict[str, Cell]) -> None:
        try:
            path = self._path()
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as out:
                out.write(msgspec.json.encode(_File(cells)))
            temporary.replace(path)
        except CloisterError:
            return  # no contract, no file
        except OSError as error:
            log.warning("the rehearsals cannot be kept: %s", error)


def rehearsals_path(home: Path, contract_digest: str) -> Path:
    """Return the file of one contract (a digest of the trust store, so its form is sure)."""
    found = _DIGEST.fullmatch(contract_digest)
    return home / "rehearsals" / f"{found[1] if found else 'unknown'}.json"


def _newest(cells: dict[str, Cell], digest: str, cell: Cell | None) -> dict[str, Cell]:
    """Return ``cells`` with this one last, or without it; of too many the oldest leave."""
    kept = {name: found for name, found in cells.items() if name != digest}
    if cell is not None:
        kept[digest] = cell
    releases = sum(map(len, kept.values()))
    for name in list(kept):
        if len(kept) <= MAX_CELLS and releases <= MAX_KEPT:
            break
        releases -= len(kept.pop(name))
    return kept
