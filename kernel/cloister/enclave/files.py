"""Files in and out of a sandbox's folder: what ``%cloister put`` and ``%cloister get`` do on this side.

The folder belongs to notebook code, which may replace anything in it at any moment. So nothing here follows a link,
every step starts from a descriptor and not from a path, only regular files of the sandbox itself are read, and a size
is what was read, not what was announced. What comes out was already the sandbox's: released values and its own work.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from cloister.errors import CloisterError, MalformedError, RefusedError, UnavailableError
from cloister.wire import canonical
from cloister.wire.filenames import MAX_FILE, check_name

QUOTA = 256 * 2**20
_CHUNK = 2**20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO must not make the agent wait for a writer that never comes.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class SandboxFiles:
    """The files of one sandbox.

    Args:
        root: The session's own folder, which only the agent can change.
        inside: The way from there to where notebook code works; every step may have been tampered with.
        quota: Bytes that may be put in during the session's life.
    """

    def __init__(self, root: Path, inside: tuple[str, ...], *, quota: int = QUOTA) -> None:
        self._root = root
        self._inside = inside
        self._left = quota

    def put(self, name: str, data: bytes, sha256: str) -> None:
        """Write a file, whole or not at all; an earlier one of that name is replaced.

        Raises:
            MalformedError: ``file.name``, or ``file.digest``: these are not the bytes that were announced.
            RefusedError: ``file.size``, ``file.quota``, ``file.kind``.
            UnavailableError: ``file.write``: the folder is gone or cannot be written.
        """
        check_name(name)
        if len(data) > MAX_FILE:
            raise _too_large(name)
        if canonical.digest_bytes(data) != sha256:
            raise MalformedError("file.digest", "the file that arrived is not the file that was announced")
        if len(data) > self._left:
            raise RefusedError(
                "file.quota", "more was put into this notebook than a session may hold", next_step="restart the kernel"
            )
        with _told("file.write", f"{name} cannot be written into the sandbox's folder"), self._folder() as folder:
            _write(folder, name, data)
        self._left -= len(data)

    def get(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            MalformedError: ``file.name``.
            RefusedError: ``file.missing``, ``file.kind``, ``file.size``.
            UnavailableError: ``file.read``: the folder is gone.
        """
        check_name(name)
        with _told("file.read", f"{name} cannot be read from the sandbox's folder"), self._folder() as folder:
            return _read(folder, name)

    @contextlib.contextmanager
    def _folder(self) -> Iterator[int]:
        handle = os.open(self._root, _FOLDER)
        try:
            for step in self._inside:
                below = os.open(step, _FOLDER, dir_fd=handle)
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)


def _write(folder: int, name: str, data: bytes) -> None:
    owner = os.fstat(folder)
    temporary = f".put-{secrets.token_hex(8)}"
    handle = os.open(temporary, _WRITE, 0o600, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            if owner.st_uid != os.geteuid():
                # By descriptor: whatever the sandbox does with the name meanwhile, this is the file we made.
                os.fchown(out.fileno(), owner.st_uid, owner.st_gid)
        # A link of that name is replaced, not followed; a folder of that name is an error.
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def _read(folder: int, name: str) -> bytes:
    handle = os.open(name, _READ, dir_fd=folder)
    try:
        found = os.fstat(handle)
        # A second name could be a link to what the agent may read and the sandbox may not.
        own = found.st_uid == os.fstat(folder).st_uid and found.st_nlink == 1
        if not stat.S_ISREG(found.st_mode) or not own:
            raise _no_file()
        data = bytearray()
        while len(data) <= MAX_FILE and (chunk := os.read(handle, _CHUNK)):
            data += chunk
    finally:
        os.close(handle)
    if len(data) > MAX_FILE:
        raise _too_large(name)
    return bytes(data)


@contextlib.contextmanager
def _told(code: str, reason: str) -> Iterator[None]:
    """Turn what the system says into a coded error; its text could hold paths of the enclave's machine."""
    try:
        yield
    except CloisterError:
        raise
    except FileNotFoundError as error:
        raise RefusedError(
            "file.missing",
            "the sandbox's folder holds no file of that name",
            next_step="write it in a cell first, such as plt.savefig('plot.png'); names are plain, without folders",
        ) from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise _no_file() from error
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link stands where a file or folder should be
            raise _no_file() from error
        raise UnavailableError(code, reason, next_step="choose another name") from error


def _no_file() -> RefusedError:
    return RefusedError(
        "file.kind",
        "what has that name is no ordinary file of the sandbox with one name",
        next_step="copy it to an ordinary file first",
    )


def _too_large(name: str) -> RefusedError:
    return RefusedError(
        "file.size", f"{name} has more than {MAX_FILE // 2**20} MiB", next_step="split it, or make it smaller"
    )
