"""Files of the provider: private, and written whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cloister.errors import TrustError


def private_directory(path: Path) -> Path:
    """Return the directory, created for its owner only."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` with mode 0600: after a crash either the old or the new file is there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def create_private(path: Path, data: bytes) -> None:
    """Write ``data`` with mode 0600 where there is no file yet; of two who do so at once, one is refused.

    Raises:
        FileExistsError: There is one.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    write_private(temporary, data)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()


def read_private(path: Path) -> bytes:
    """Return the bytes of a secret file.

    Raises:
        TrustError: ``file.permissions``: somebody other than the owner may read it (POSIX only).
    """
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise TrustError("file.permissions", f"{path} can be read by others", next_step=f"chmod 600 {path}")
    return path.read_bytes()


def append_private(path: Path, data: bytes) -> None:
    """Append ``data`` to a file of mode 0600, on disk when this returns."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "ab") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
