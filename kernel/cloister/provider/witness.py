"""How far the event log had come, kept beside the database: a broker that finds it further back was restored.

Two slots, written in turn without waiting for the disk: a crash of the process loses nothing, a crash of the machine at
most lets the file lag behind, which is allowed. The database behind the file is not: an older copy was put in its
place, or the disk has lost what it had confirmed. It does not help against somebody who puts back both; for that there
are checkpoints elsewhere (``anchors``).
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from pathlib import Path
from typing import NamedTuple

_SLOT = struct.Struct(">Q32s")
_SUM = 16
_BYTES = _SLOT.size + _SUM


class Seen(NamedTuple):
    """Size and root of the event log as last noted."""

    size: int
    root: bytes


class Witness:
    """The file; made by the first note."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def note(self, size: int, root: bytes) -> None:
        """Keep a size and root; never a smaller size than is kept already."""
        with self._lock:
            flags = os.O_RDWR | os.O_CREAT
            handle = os.open(self.path, flags, 0o600)
            try:
                best = max(_slots(os.pread(handle, 2 * _BYTES, 0)), default=Seen(0, b""))
                if size > best.size:
                    os.pwrite(handle, _slot(size, root), size % 2 * _BYTES)
            finally:
                os.close(handle)

    def seen(self) -> Seen | None:
        """Return what was noted last; None if nothing was, and size -1 if the file is damaged."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        found = _slots(data)
        return max(found) if found else (Seen(-1, b"") if data else None)

    def reset(self, size: int, root: bytes) -> None:
        """Begin anew, after a recovery: whole or not at all."""
        temporary = self.path.with_name(self.path.name + ".new")
        with self._lock:
            temporary.write_bytes(bytes(size % 2 * _BYTES) + _slot(size, root))
            temporary.chmod(0o600)
            temporary.replace(self.path)


def _slot(size: int, root: bytes) -> bytes:
    body = _SLOT.pack(size, root)
    return body + hashlib.sha256(body).digest()[:_SUM]


def _slots(data: bytes) -> list[Seen]:
    found = []
    for at in (0, _BYTES):
        part = data[at : at + _BYTES]
        if len(part) == _BYTES and hashlib.sha256(part[: _SLOT.size]).digest()[:_SUM] == part[_SLOT.size :]:
            found.append(Seen(*_SLOT.unpack(part[: _SLOT.size])))
    return found
