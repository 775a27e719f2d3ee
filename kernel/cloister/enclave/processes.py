"""Starting the enclave's processes: fixed commands, clean environments, only the descriptors that are named.

No child inherits a secret: environments are built from a short list, never copied; every descriptor but 0, 1, 2 and the
named ones is closed; the code a child imports is the package that was measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloister.enclave.measure import package_folder
from cloister.errors import UnavailableError

_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SYSTEMROOT")
_STOP_S = 2.0


class Child:
    """One started process; ``name`` is how errors and logs call it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Return the exit status once the process has ended (negative: killed by that signal)."""
        return await self._process.wait()

    async def stop(self, grace_s: float = _STOP_S) -> None:
        """End the process and all it started: politely, then not."""
        if self._process.returncode is None:
            self._signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), grace_s)
            except TimeoutError:
                self.kill()
                await self._process.wait()
        # Grandchildren share the process group and have no business outliving it.
        self._signal(signal.SIGKILL)

    def kill(self) -> None:
        """Kill the process and its group at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


async def start(
    name: str, arguments: Iterable[str], *, fds: Iterable[int], cwd: Path, env: Mapping[str, str], log: Path
) -> Child:
    """Start ``python -P ARGUMENTS`` in its own process group, with exactly the descriptors ``fds`` beside 0, 1, 2.

    Raises:
        UnavailableError: The process cannot be started.
    """
    try:
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                close_fds=True,
                pass_fds=tuple(fds),
                cwd=cwd,
                env=dict(env),
                start_new_session=True,
            )
    except OSError as error:
        raise UnavailableError(f"{name}.start", f"the {name} process cannot be started: {error.strerror}") from error
    return Child(name, process)


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of a child: locale and path, ``home`` for everything it may write, and ``more``."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    own = {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONPATH": str(package_folder().parent),
        "PYTHONUNBUFFERED": "1",
    }
    return {**kept, **own, **more}
