"""Connections before a session: how many there may be, and which one gives way for another.

A connection costs a descriptor before a word is said on it. Strangers have so many together; when there are too many,
the oldest of whoever holds most of them is closed. Whoever is introduced as an analyst (``attest.introduction``) leaves
the crowd, for a few places of her own; whoever has a session is counted by that. Before a session nobody says much:
what is answered by itself (pings) and never read would wait in our memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from websockets.asyncio.server import ServerConnection

from cloister.wire.address import network

MOST_STRANGERS = 128
MOST_OF_ANALYST = 16
# The WebSocket's head, introduction, hello and opening are less than a third of it.
MOST_BYTES = 64 * 1024


class Doors:
    """The connections of one agent that have no session."""

    def __init__(self, strangers: int = MOST_STRANGERS, of_analyst: int = MOST_OF_ANALYST) -> None:
        self._most, self._of_analyst = strangers, of_analyst
        self._strangers: dict[ServerConnection, str] = {}
        self._analysts: dict[ServerConnection, str] = {}

    def connection(self) -> type[ServerConnection]:
        """Return the class of connections that are looked after here, for ``serve(create_connection=...)``."""
        return type("Connection", (Guarded,), {"doors": self})

    def arrived(self, one: ServerConnection) -> None:
        """Take up a connection; close another one if there are too many."""
        self._strangers[one] = address_of(one)
        if len(self._strangers) > self._most:
            many = Counter(self._strangers.values())
            # In the order of arrival: the first of them is the oldest.
            _close(self._strangers, max(self._strangers, key=lambda each: many[self._strangers[each]]))

    def introduced(self, one: ServerConnection, analyst: str) -> None:
        """Give a connection one of the analyst's own places; her oldest is closed if she has too many."""
        # It may have been closed just before.
        if self._strangers.pop(one, None) is None:
            return
        self._analysts[one] = analyst
        hers = [each for each, did in self._analysts.items() if did == analyst]
        if len(hers) > self._of_analyst:
            _close(self._analysts, hers[0])

    def watch(self, one: ServerConnection) -> bool:
        """Whether a connection has no session yet."""
        return one in self._strangers or one in self._analysts

    def left(self, one: ServerConnection) -> None:
        """Forget a connection that has a session, or is gone."""
        self._strangers.pop(one, None)
        self._analysts.pop(one, None)


class Guarded(ServerConnection):
    """A connection that tells its doors when it comes and goes."""

    doors: Doors
    said = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take up the connection."""
        super().connection_made(transport)
        self.doors.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Take what was said, or close the connection of who says too much before there is a session."""
        if self.doors.watch(self):
            self.said += len(data)
            if self.said > MOST_BYTES:
                self.transport.abort()
                return
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.doors.left(self)
        super().connection_lost(exc)


def address_of(socket: ServerConnection) -> str:
    """Return what the host of a connection can be told by."""
    peer = socket.remote_address
    return network(str(peer[0])) if peer else ""


def _close(places: dict[ServerConnection, str], one: ServerConnection) -> None:
    del places[one]
    one.transport.abort()
