"""The agent's work folder, and those that killed agents left behind.

A folder belongs to an agent as long as that agent holds the lock on the file in it, which the system gives back when
the process ends, however it ends. Only folders with our name, our owner and such a free lock are removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

PREFIX = "cloister-"
LOCK = ".agent"
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class WorkFolder:
    """A locked work folder; ``remove`` it at the end."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def release(self) -> None:
        """Give the lock back and leave the folder: what the end of the process does."""
        os.close(self._lock)

    def remove(self) -> None:
        """Delete the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()


def open_work(parent: Path) -> WorkFolder:
    """Return a fresh, locked folder in ``parent``.

    Others may pass through it (sandboxes run as other users where possible and must reach their own folder), nobody
    else may list it.
    """
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    lock = os.open(path / LOCK, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    path.chmod(0o711)
    return WorkFolder(path, lock)


def remove_abandoned(parent: Path) -> None:
    """Delete the work folders in ``parent`` whose agents are gone; whatever is in doubt stays."""
    for path in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    found = path.lstat()
    # In a folder such as /tmp anybody may have made something of that name.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return
    lock = os.open(path / LOCK, _FLAGS)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
