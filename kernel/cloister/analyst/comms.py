"""Comms the proxy owns: the page asks, this machine answers; the enclave never learns their ids.

Target ``cloister.status`` (docs/protocol.md section 8). What a page may say is in ``page``, what it is told in
``standing``, what it can ask for in ``asks``; here is only who is listening. Nothing a page can send spends budget.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from cloister.analyst import page
from cloister.analyst.asks import Asks
from cloister.analyst.front import Front
from cloister.analyst.messages import EMPTY, Request
from cloister.analyst.standing import Standing
from cloister.errors import CloisterError

STATUS_TARGET = page.TARGET
MAX_OPEN = 64
_MAX_ID = 256


class _Said(msgspec.Struct, frozen=True):
    """A comm message as far as it is read before its size is known to be allowed."""

    comm_id: str = ""
    target_name: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


_said = msgspec.json.Decoder(_Said)


class OwnComms:
    """The open comms of the proxy by id.

    Args:
        front: Where messages go.
        standing: What pages are told.
        asks: What pages can ask for.
        looked: Called when a page was opened or asked for news.
    """

    def __init__(self, front: Front, standing: Standing, asks: Asks, looked: Callable[[], None]) -> None:
        self._front = front
        self._standing = standing
        self._asks = asks
        self._looked = looked
        self._open: dict[str, str] = {}

    def __contains__(self, comm_id: object) -> bool:
        return comm_id in self._open

    def listing(self) -> dict[str, dict[str, str]]:
        """Return the open comms as in a ``comm_info_reply``."""
        return {key: {"target_name": target} for key, target in self._open.items()}

    def owns(self, request: Request) -> bool:
        """Tell whether a comm message of the page is for the proxy: by its id, without reading the rest."""
        return bool(self._open) and _read(request).comm_id in self._open

    def opened(self, request: Request) -> None:
        """Serve a ``comm_open`` for a ``cloister.*`` target; unknown targets and too many are closed at once."""
        said = _read(request)
        known = said.comm_id in self._open
        proper = said.target_name == STATUS_TARGET and 0 < len(said.comm_id) <= _MAX_ID
        if not proper or (len(self._open) >= MAX_OPEN and not known):
            closing = {"comm_id": str(request.content().get("comm_id"))[:_MAX_ID], "data": {}}
            self._front.publish("comm_close", closing, request.message.header)
            return
        self._open[said.comm_id] = said.target_name
        for message in self._standing.all():
            self._send(said.comm_id, message, parent=request.message.header)
        self._looked()

    def said(self, request: Request) -> None:
        """Serve a ``comm_msg`` or ``comm_close`` on one of our comms; a wrong message is answered with an error."""
        said = _read(request)
        if request.header.msg_type == "comm_close":
            self._open.pop(said.comm_id, None)
            return
        answer = partial(self._send, said.comm_id, parent=request.message.header)
        raw = bytes(said.data)
        try:
            ask = page.read_ask(raw)
            if isinstance(ask, page.NotebookAsk) or ask["type"] != "refresh":
                self._asks.take(ask, answer)
            else:
                answer(self._standing.status())
                self._looked()
        except CloisterError as error:
            answer(page.error_message(page.ask_id(raw), error))

    def push(self) -> None:
        """Tell every open comm what is new."""
        for message in self._standing.news():
            for comm_id in self._open:
                self._send(comm_id, message)

    def _send(self, comm_id: str, message: page.Message, *, parent: bytes = EMPTY) -> None:
        # An answer may come after its comm was closed.
        if comm_id in self._open:
            self._front.publish("comm_msg", {"comm_id": comm_id, "data": message}, parent)


def _read(request: Request) -> _Said:
    try:
        return _said.decode(request.message.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Said()
