"""Framed pipes between the agent and its children: one socketpair each, read and written by the event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

from cloister.errors import UnavailableError
from cloister.wire import frames

_CHUNK = 1 << 18


class Pipe:
    """The agent's end of a socketpair. Create with ``Pipe.open``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int) -> None:
        self._reader = reader
        self._writer = writer
        self._limit = limit

    @classmethod
    async def open(cls, limit: int = frames.MAX_FRAME) -> tuple[Pipe, socket.socket]:
        """Return a pipe and the socket for the child (close it here once the child has it)."""
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(reader, writer, limit), theirs

    async def send(self, kind: int, *parts: bytes) -> None:
        """Write one frame; waits while the child does not read.

        Raises:
            UnavailableError: The child is gone.
        """
        try:
            self._writer.write(frames.encode(kind, *parts))
            await self._writer.drain()
        except (ConnectionError, RuntimeError) as error:
            raise UnavailableError("pipe.closed", "the process at the other end has ended") from error

    async def frames(self) -> AsyncIterator[frames.Frame]:
        """Yield frames until the child closes its end.

        Raises:
            MalformedError: The child sent something that is no frame, or one above this pipe's limit.
        """
        decoder = frames.Decoder(self._limit)
        while True:
            try:
                data = await self._reader.read(_CHUNK)
            except ConnectionError:
                return
            if not data:
                return
            for frame in decoder.feed(data):
                yield frame

    async def line(self, limit: int) -> bytes:
        """Return the first line the child writes, for pipes that carry one report; empty if it ends without one."""
        data = b""
        while b"\n" not in data and len(data) < limit:
            more = await self._reader.read(limit)
            if not more:
                break
            data += more
        return data.partition(b"\n")[0]

    def close(self) -> None:
        """Close this end; the child sees end of file."""
        self._writer.close()
