"""Files of the analyst that ``%cloister put`` reads and ``%cloister get`` writes: beside the notebook, nowhere else.

A notebook may come from somebody else, and running its cells must not be able to send any file of this machine into an
enclave, or to write just anywhere. So a file is one plain name in the notebook's folder; links are not followed; an
existing file is replaced only if the line says ``--force``. And nothing is written that Python would import: any other
notebook of that folder, in an ordinary kernel, takes a ``json.py`` that lies there for its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from cloister.errors import CloisterError, RefusedError, UnavailableError
from cloister.wire.filenames import MAX_FILE, check_name

_CHUNK = 2**20
_IMPORTED = (".py", ".pyc", ".pyw", ".pyd", ".so", ".dll", ".dylib", ".pth")
# What one system has and another lacks is left out there; a check of its own stands behind each.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def read(folder: Path, name: str) -> bytes:
    """Return the bytes of a file in ``folder``.

    Raises:
        MalformedError: ``file.name``: not one plain name.
        RefusedError: ``file.missing``, ``file.kind`` (a folder, a link, a device), ``file.size``.
        UnavailableError: ``file.read``: the system says no.
    """
    path = folder / check_name(name)
    with _told(name, "file.read", "cannot be read"):
        if path.is_symlink():
            raise _kind(name)
        handle = os.open(path, _READ)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _kind(name)
            data = bytearray()
            # The size is what was read: a file may grow meanwhile.
            while len(data) <= MAX_FILE and (chunk := os.read(handle, _CHUNK)):
                data += chunk
        finally:
            os.close(handle)
    if len(data) > MAX_FILE:
        raise RefusedError(
            "file.size", f"{name} has more than {MAX_FILE // 2**20} MiB", next_step="split it, or take a part of it"
        )
    return bytes(data)


def check_free(folder: Path, name: str) -> None:
    """Raise if ``name`` is taken: said before anything is asked for.

    Raises:
        MalformedError: ``file.name``.
        RefusedError: ``file.exists``, ``file.code``.
    """
    check_inert(name)
    if os.path.lexists(folder / check_name(name)):
        raise _exists(name)


def check_inert(name: str) -> None:
    """Raise if a file of this name would be run by whoever imports something in its folder.

    Raises:
        RefusedError: ``file.code``.
    """
    # Windows leaves out dots and blanks at the end.
    if name.lower().rstrip(". ").endswith(_IMPORTED):
        raise RefusedError(
            "file.code",
            f"{name} would be imported as code by other notebooks of this folder",
            next_step=f"give another name as the second word, such as {name}.txt",
        )


def write(folder: Path, name: str, data: bytes, *, force: bool) -> None:
    """Write a file into ``folder``, whole or not at all.

    Raises:
        MalformedError: ``file.name``.
        RefusedError: ``file.exists``: there is one, and ``force`` was not given; ``file.kind``: a folder has the name;
            ``file.code``: it would be imported.
        UnavailableError: ``file.write``: the system says no.
    """
    path = folder / check_name(name)
    check_inert(name)
    temporary = folder / f".{secrets.token_hex(8)}.cloister"
    with _told(name, "file.write", "cannot be written"):
        try:
            with os.fdopen(os.open(temporary, _CREATE, 0o666), "wb") as out:
                out.write(data)
            if force:
                temporary.replace(path)
            else:
                _name(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _name(temporary: Path, path: Path) -> None:
    """Give the file its name unless somebody has it; checking first and renaming then would leave a gap."""
    try:
        path.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without links: whole or not at all is given up, not overwriting is kept.
        with os.fdopen(os.open(path, _CREATE, 0o666), "wb") as out:
            out.write(temporary.read_bytes())


@contextlib.contextmanager
def _told(name: str, code: str, words: str) -> Iterator[None]:
    try:
        yield
    except CloisterError:
        raise
    except FileNotFoundError as error:
        raise RefusedError(
            "file.missing", f"there is no {name} in the notebook's folder", next_step="copy it beside the notebook"
        ) from error
    except FileExistsError as error:
        raise _exists(name) from error
    except IsADirectoryError as error:
        raise _kind(name) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _kind(name) from error
        raise UnavailableError(code, f"{name} {words}: {error.strerror}", next_step="check its rights") from error


def _kind(name: str) -> RefusedError:
    return RefusedError(
        "file.kind",
        f"{name} is no ordinary file: folders, links and devices are not touched",
        next_step="copy it to an ordinary file beside the notebook",
    )


def _exists(name: str) -> RefusedError:
    return RefusedError(
        "file.exists",
        f"{name} exists in the notebook's folder and is not replaced",
        next_step="give another name as the second word, or add --force",
    )
