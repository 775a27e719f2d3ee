"""Files of the provider: private, and written whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import importlib
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cloister.errors import TrustError

_CHANGES = threading.Lock()


def private_directory(path: Path) -> Path:
    """Return the directory, created for its owner only."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` with mode 0600: after a crash either the old or the new file is there.

    A crash in between can leave a copy beside it; ``clear_leftovers`` overwrites those.
    """
    temporary = _beside(path, data)
    try:
        temporary.replace(path)
    except OSError:
        _discard(temporary)
        raise


def replace_secret(path: Path, data: bytes) -> None:
    """Write ``data`` as ``write_private`` does, and overwrite what was there before where it lies (POSIX)."""
    with contextlib.ExitStack() as held:
        old = held.enter_context(path.open("r+b")) if os.name == "posix" and path.exists() else None
        write_private(path, data)
        if old is not None:
            _zero(old)


def clear_leftovers(path: Path) -> int:
    """Overwrite and remove what writes of ``path`` left beside it when they were cut short; return how many.

    Only while nobody writes it: a temporary file of a write that goes on would be taken away too.
    """
    found = sorted(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))
    for one in found:
        overwrite(one)
    return len(found)


def _beside(path: Path, data: bytes) -> Path:
    """Write a temporary file beside ``path``, on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    except OSError:
        _discard(temporary)
        raise
    return temporary


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        overwrite(path)
    path.unlink(missing_ok=True)


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
    path.chmod(0o600)
    with path.open("r+b") as out:
        _zero(out)
    path.unlink()


def _zero(file: BinaryIO) -> None:
    file.seek(0)
    file.write(bytes(os.fstat(file.fileno()).st_size))
    file.flush()
    os.fsync(file.fileno())


def create_private(path: Path, data: bytes) -> None:
    """Write ``data`` with mode 0600 where there is no file yet; of two who do so at once, one is refused.

    Raises:
        FileExistsError: There is one.
    """
    temporary = _beside(path, data)
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
