"""Connections to a broker: how many there are, and how long one may be there without a request.

uvicorn limits neither how long a request's head takes nor who holds the connections, so that a few hundred silent ones
would keep everybody out. Here a connection has seconds to say what it wants, and when there are too many, one of
whoever has most of them is closed; those on which an admitted vault has asked (``prove``) come last.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from cloister.wire.address import network

HEAD_S = 10.0
"""How long a connection may take to send the head of a request, or what is left of a body that was refused."""
MOST = 768
_KEY = "cloister.connection"


class Connections:
    """The connections of one server; ``count`` is told of each that is closed here, and why."""

    def __init__(self, count: Callable[[str], None], *, most: int = MOST, head_s: float = HEAD_S) -> None:
        self.count, self.head_s = count, head_s
        self._most = most
        self._open: dict[_Guarded, None] = {}

    def protocol(self) -> type[asyncio.Protocol]:
        """Return the class of protocols for ``uvicorn.Config(http=...)``."""
        return type("Guarded", (_Guarded,), {"connections_": self})

    def arrived(self, one: _Guarded) -> None:
        """Take up a connection; close another one if there are too many."""
        self._open[one] = None
        if len(self._open) > self._most:
            many = Counter(each.network for each in self._open)
            # The oldest of whoever has most: they are in the order of their arrival.
            gone = max(self._open, key=lambda each: (not each.proven, many[each.network]))
            self.left(gone)
            self.count("pushed-out")
            gone.transport.abort()

    def left(self, one: _Guarded) -> None:
        """Forget a connection."""
        self._open.pop(one, None)


def prove(scope: Any) -> None:
    """Note that an admitted vault has asked on the connection of a request (an ASGI scope)."""
    if (one := scope.get(_KEY)) is not None:
        one.proven = True


class _Guarded(H11Protocol):
    connections_: Connections

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.proven = False
        self.network = ""
        self._timer: asyncio.TimerHandle | None = None
        inner = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await inner({**scope, _KEY: self}, receive, send)

        self.app = app

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.network = network(self.client[0]) if self.client else ""
        self._wait()
        self.connections_.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self.connections_.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        """Run the clock exactly while no request is being answered: its body has a time of its own."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.connections_.head_s, self._too_slow)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.connections_.count("slow")
        self.transport.abort()
