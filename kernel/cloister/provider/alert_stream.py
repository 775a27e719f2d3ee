"""``GET /v1/alerts``: the alerts in a broker's log from a position on, and those to come for who waits.

An operator shows the token that metrics need (``operators``); whoever has a role for it (docs/roles.md) a signed
request for the action ``alert.follow``, base64url in the header, once. The answer is signed by the broker.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from cloister.errors import MalformedError
from cloister.provider import operators, sentinel
from cloister.provider.broker import Broker
from cloister.provider.office import Office
from cloister.receipt import alerts
from cloister.wire import canonical
from cloister.wire.envelope import seal

SCHEME = "Cloister"
"""Authorization scheme of a signed request."""
MOST_WAIT_S = 25
MOST_WAITING = 64
"""How long an answer is held back until there is an alert, and for how many at once; others are answered at once."""
MOST_POSITION = 2**62
_LOOK_S = 0.2


class Stream:
    """The stream of one broker; without a ``watch`` nothing new comes, and nobody waits."""

    def __init__(self, broker: Broker, office: Office, watch: sentinel.Sentinel | None) -> None:
        self._broker, self._office, self._watch = broker, office, watch
        self._waiting = 0

    async def answer(self, request: Request) -> bytes:
        """Return the signed answer to a request.

        Raises:
            MalformedError, SignatureError, RefusedError: Who asks may not, or what is asked is nothing.
            UnavailableError: ``ledger.unavailable``.
        """
        name = await run_in_threadpool(self._admit, request.headers.get("authorization", ""))
        after = _number(request, "after", MOST_POSITION)
        found = await run_in_threadpool(self._page, after, name)
        wait = min(_number(request, "wait", 10**6), MOST_WAIT_S)
        if not found.alerts and self._watch is not None and self._waiting < MOST_WAITING:
            self._waiting += 1
            try:
                await self._news(self._watch, after, wait)
            finally:
                self._waiting -= 1
            found = await run_in_threadpool(self._page, after, name)
        document = seal(alerts.ALERTS_TYPE, canonical.encode(found), self._broker.key)
        return canonical.encode(document)

    async def _news(self, watch: sentinel.Sentinel, after: int, wait: int) -> None:
        end = time.monotonic() + wait
        while watch.newest < after and time.monotonic() < end:  # noqa: ASYNC110 (a thread moves it, not this loop)
            await asyncio.sleep(_LOOK_S)

    def _page(self, after: int, name: str) -> alerts.Raises:
        broker = self._broker
        asked = {"broker": broker.did, "now": broker.now(), "request": name}
        return sentinel.page(broker.accounts.database, broker.rules, after=after, **asked)

    def _admit(self, authorization: str) -> str:
        """Return the name of the signed request, or nothing for the operator."""
        kind, _, said = authorization.partition(" ")
        if kind.casefold() != SCHEME.casefold():
            operators.check(self._broker.home, None, server=None, authorization=authorization)
            return ""
        try:
            body = base64.b64decode(said.strip(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise MalformedError("office.request", "the signed request is not base64url") from error
        return self._office.reader(body, "alert.follow").request


def _number(request: Request, name: str, most: int) -> int:
    text = request.query_params.get(name, "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and int(text) <= most):
        raise MalformedError("alerts.query", f"{name} is a whole number up to {most:,}")
    return int(text)
