"""Files of the provider: private, and written whole or not at all."""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

from cloister.errors import TrustError

_CHANGES = threading.Lock()


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


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Hold the right to change a file that is read before it is written: of two changes at once none is lost.

    Also between processes (POSIX): a command and the broker that serves change the same files.
    """
    with _CHANGES:
        if os.name != "posix":
            yield
            return
        fcntl = importlib.import_module("fcntl")
        handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def overwrite(path: Path) -> None:
    """Overwrite a secret with zeros where it lies (a new file would leave the old bytes on the disk), and remove it."""
    with path.open("r+b") as out:
        out.write(bytes(path.stat().st_size))
        out.flush()
        os.fsync(out.fileno())
    path.unlink()


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
