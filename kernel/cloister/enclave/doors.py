"""Connections of callers who have proved nothing yet: how many there may be, and who gives way for another one.

A connection costs a descriptor before a word is said on it. When there are too many, the oldest of whoever holds most
of them is closed; those of admitted analysts (``prove``) are not among them.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from websockets.asyncio.server import ServerConnection

from cloister.wire.address import network

MOST_STRANGERS = 128


class Doors:
    """The unproven connections of one agent."""

    def __init__(self, most: int = MOST_STRANGERS) -> None:
        self._most = most
        self._strangers: dict[Guarded, str] = {}

    def connection(self) -> type[ServerConnection]:
        """Return the class of connections that are looked after here, for ``serve(create_connection=...)``."""
        return type("Connection", (Guarded,), {"doors": self})

    def prove(self, socket: ServerConnection) -> None:
        """Note that an admitted analyst is at the other end."""
        if isinstance(socket, Guarded):
            self._strangers.pop(socket, None)

    def left(self, one: Guarded) -> None:
        """Forget a connection."""
        self._strangers.pop(one, None)

    def arrived(self, one: Guarded) -> None:
        """Take up a connection; close another one if there are too many."""
        self._strangers[one] = address_of(one)
        if len(self._strangers) > self._most:
            many = Counter(self._strangers.values())
            # In the order of arrival: the first of them is the oldest.
            victim = max(self._strangers, key=lambda each: many[self._strangers[each]])
            del self._strangers[victim]
            victim.transport.abort()


class Guarded(ServerConnection):
    """A connection that tells its doors when it comes and goes."""

    doors: Doors

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take up the connection."""
        super().connection_made(transport)
        self.doors.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.doors.left(self)
        super().connection_lost(exc)


def address_of(socket: ServerConnection) -> str:
    """Return what the host of a connection can be told by."""
    peer = socket.remote_address
    return network(str(peer[0])) if peer else ""
