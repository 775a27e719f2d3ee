"""Frames on their way to one proxy."""

from __future__ import annotations

import asyncio
from collections import deque

from cloister.wire.frames import Frame

OUTBOX_BYTES = 64 * 2**20


class Outbox:
    """Frames on their way to the proxy: bounded, in order, waiting while nobody is connected."""

    def __init__(self, limit: int = OUTBOX_BYTES) -> None:
        self._frames: deque[Frame] = deque()
        self._size = 0
        self._limit = limit
        self._changed = asyncio.Condition()
        self._finished = False

    async def put(self, kind: int, *parts: bytes) -> None:
        """Append a frame; waits while the outbox is full, so a slow reader slows the kernel and loses nothing."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._size < self._limit or self._finished)
            self._frames.append(Frame(kind, parts))
            self._size += sum(map(len, parts))
            self._changed.notify_all()

    async def finish(self) -> None:
        """Say that nothing more will come."""
        async with self._changed:
            self._finished = True
            self._changed.notify_all()

    async def get(self) -> Frame | None:
        """Return the oldest frame, waiting for one; None when the last has been taken."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._frames) or self._finished)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._size -= sum(map(len, frame.parts))
            self._changed.notify_all()
            return frame
