"""Requests the enclave has not finished, so that none stays unanswered when it is lost.

An entry leaves when its reply and its ``idle`` were seen. Comm messages get no reply, and some get no ``idle``
(those served while an asynchronous cell runs), so only the newest of them are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from cloister.analyst.messages import EMPTY, Request

_COMMS_KEPT = 1024


@dataclass
class Entry:
    """One forwarded request and how far it is."""

    request: Request
    busy: bool = False
    replied: bool = False
    idle: bool = False

    @property
    def is_cell(self) -> bool:
        """Whether this is an ``execute_request``."""
        return self.request.header.msg_type == "execute_request"


class Pending:
    """The forwarded requests by message id, oldest first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._comms: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, request: Request) -> None:
        """Remember a request that is on its way to the enclave."""
        key = request.header.msg_id
        self._entries[key] = Entry(request, replied=not request.wants_reply)
        if not request.wants_reply:
            self._comms[key] = None
            if len(self._comms) > _COMMS_KEPT:
                self._entries.pop(self._comms.popitem(last=False)[0], None)

    def status(self, msg_id: str, state: str) -> None:
        """Note a ``status`` of the sandbox for one request."""
        entry = self._entries.get(msg_id)
        if entry is None:
            return
        if state == "busy":
            entry.busy = True
        elif state == "idle":
            entry.idle = True
            self._drop_finished(msg_id, entry)

    def replied(self, msg_id: str) -> None:
        """Note that a request was answered."""
        entry = self._entries.get(msg_id)
        if entry is not None:
            entry.replied = True
            self._drop_finished(msg_id, entry)

    def header_of(self, msg_id: str) -> bytes:
        """Return the raw header of a pending request, or an empty one."""
        entry = self._entries.get(msg_id)
        return EMPTY if entry is None else entry.request.message.header

    def get(self, msg_id: str) -> Entry | None:
        """Return the entry of a pending request."""
        return self._entries.get(msg_id)

    def cells(self) -> set[str]:
        """Message ids of the cells that are queued or running."""
        return {key for key, entry in self._entries.items() if entry.is_cell}

    def running_cell(self) -> Request | None:
        """The cell the sandbox is busy with, if any."""
        for entry in self._entries.values():
            if entry.is_cell and entry.busy and not entry.idle:
                return entry.request
        return None

    def take(self, *, only_cells: bool = False) -> list[Entry]:
        """Return the entries, oldest first, and forget them."""
        taken = [entry for entry in self._entries.values() if entry.is_cell or not only_cells]
        for entry in taken:
            del self._entries[entry.request.header.msg_id]
            self._comms.pop(entry.request.header.msg_id, None)
        return taken

    def _drop_finished(self, msg_id: str, entry: Entry) -> None:
        if entry.replied and entry.idle:
            del self._entries[msg_id]
            self._comms.pop(msg_id, None)
