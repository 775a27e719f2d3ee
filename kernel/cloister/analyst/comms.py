"""Comms the proxy owns: the page asks, this machine answers; the enclave never learns their ids.

Target ``cloister.status``: on opening and on every change the proxy sends ``{"type": "status", ...}`` with its
block about the enclave. Nothing a page can send here spends budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloister.analyst.front import Front
from cloister.analyst.messages import EMPTY, Request

STATUS_TARGET = "cloister.status"
MAX_OPEN = 64


class OwnComms:
    """The open comms of the proxy by id."""

    def __init__(self, front: Front, info: Callable[[], dict[str, Any]]) -> None:
        self._front = front
        self._info = info
        self._open: dict[str, str] = {}

    def __contains__(self, comm_id: object) -> bool:
        return comm_id in self._open

    def listing(self) -> dict[str, dict[str, str]]:
        """Return the open comms as in a ``comm_info_reply``."""
        return {key: {"target_name": target} for key, target in self._open.items()}

    def opened(self, request: Request) -> None:
        """Serve a ``comm_open`` for a ``cloister.*`` target; unknown targets and too many are closed at once."""
        content = request.content()
        comm_id, target = str(content.get("comm_id")), str(content.get("target_name"))
        if target != STATUS_TARGET or len(self._open) >= MAX_OPEN:
            self._front.publish("comm_close", {"comm_id": comm_id, "data": {}}, request.message.header)
            return
        self._open[comm_id] = target
        self._send(comm_id, request.message.header)

    def said(self, request: Request) -> None:
        """Serve a ``comm_msg`` or ``comm_close`` on one of our comms."""
        comm_id = str(request.content().get("comm_id"))
        if request.header.msg_type == "comm_close":
            self._open.pop(comm_id, None)
        else:
            self._send(comm_id, request.message.header)

    def push(self) -> None:
        """Tell every open comm that something changed."""
        for comm_id in self._open:
            self._send(comm_id, EMPTY)

    def _send(self, comm_id: str, parent: bytes) -> None:
        content = {"comm_id": comm_id, "data": {"type": "status", **self._info()}}
        self._front.publish("comm_msg", content, parent)
