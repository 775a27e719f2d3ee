"""Ends the proxy when the process that started it is gone: nobody is left to ask, and a sandbox must not linger.

POSIX: an orphan gets another parent. Windows: Jupyter hands down the parent's process handle in
``JPY_PARENT_PID``. Source: ``ipykernel.parentpoller``.
"""

from __future__ import annotations

import asyncio
import os
import sys

_POLL_S = 1.0


async def parent_gone() -> None:
    """Return when the parent process has ended; never returns when there is no parent to watch."""
    if sys.platform == "win32":
        handle = int(os.environ.get("JPY_PARENT_PID") or 0)
        while not handle or not _signalled(handle):  # noqa: ASYNC110 (no event tells it)
            await asyncio.sleep(_POLL_S)
        return
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 (no event tells it)
        await asyncio.sleep(_POLL_S)


if sys.platform == "win32":
    import ctypes

    def _signalled(handle: int) -> bool:
        """Tell whether a process handle is signalled (the process ended)."""
        return ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == 0
