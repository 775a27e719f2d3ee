"""Framed pipes: the two descriptors of a vault, read and written without any socket call."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from cloister.wire import frames

_CHUNK = 1 << 16


class Pipe:
    """One descriptor that carries frames. Writing is safe from any thread; one thread reads."""

    def __init__(self, descriptor: int, limit: int) -> None:
        """Wrap ``descriptor``; incoming frames above ``limit`` bytes are malformed."""
        self._descriptor = descriptor
        self._decoder = frames.Decoder(limit)
        self._ready: list[frames.Frame] = []
        self._writing = threading.Lock()

    def send(self, kind: int, *parts: bytes) -> None:
        """Write one frame.

        Raises:
            OSError: The other end is gone.
        """
        data = memoryview(frames.encode(kind, *parts))
        with self._writing:
            while data:
                data = data[os.write(self._descriptor, data) :]

    def __iter__(self) -> Iterator[frames.Frame]:
        """Yield frames until the other end closes.

        Raises:
            MalformedError: The bytes are not frames; the stream cannot be resumed.
        """
        while True:
            yield from self._take()
            try:
                data = os.read(self._descriptor, _CHUNK)
            except ConnectionResetError:
                return
            if not data:
                return
            self._ready.extend(self._decoder.feed(data))

    def _take(self) -> Iterator[frames.Frame]:
        while self._ready:
            yield self._ready.pop(0)
