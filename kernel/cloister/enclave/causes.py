"""What the agent knows about why a plan was sent: the session's transcript and the message being served.

The transcript is a hash chain over every message that carries code into the kernel. The cause of a plan is the oldest
shell message the kernel has not finished; it is finished when the kernel publishes ``status: idle`` for it. The kernel
may lie about that: it can only make its own plans look like background work, or like the cell that is running anyway.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec

from cloister.errors import RefusedError
from cloister.plan.link import Cause
from cloister.receipt import code
from cloister.wire import canonical

DELIMITER = b"<IDS|MSG>"
_INTROSPECTION = frozenset({"complete_request", "inspect_request"})
_COMMS = frozenset({"comm_open", "comm_msg", "comm_close"})
_WIDGET_CONTROL = "jupyter.widget.control"
_MAX_OUTSTANDING = 10_000


class Header(msgspec.Struct, frozen=True):
    """The fields of a Jupyter header that the agent reads."""

    msg_id: str = ""
    msg_type: str = ""
    subshell_id: str | None = None


class Message(NamedTuple):
    """The parts of a Jupyter message behind the delimiter, still encoded."""

    header: bytes
    parent: bytes
    content: bytes


class _Served(NamedTuple):
    kind: str
    subshell: str | None
    cause: Cause
    transcript: str
    source: str


def split(parts: tuple[bytes, ...]) -> Message | None:
    """Return header, parent and content of one message's frames, or None if they are no Jupyter message."""
    try:
        at = parts.index(DELIMITER)
        return Message(parts[at + 1], parts[at + 2], parts[at + 4])
    except (ValueError, IndexError):
        return None


def read_header(data: bytes) -> Header:
    """Return the header in ``data``; an unreadable one is empty (the kernel will not serve it either)."""
    try:
        return msgspec.json.decode(data, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Header()


class Causes:
    """Follows one session's messages; ``transcript`` is the digest over all code sent so far."""

    def __init__(self, session: str) -> None:
        self.transcript = code.transcript_start(session)
        self._outstanding: OrderedDict[str, _Served] = OrderedDict()
        self._quiet_comms: set[str] = set()

    @property
    def ambiguous(self) -> bool:
        """Whether more than one message is unfinished, so that a late ``idle`` could mislead."""
        return len(self._outstanding) > 1

    def sent(self, parts: tuple[bytes, ...], *, shell: bool) -> None:
        """Note a message on its way to the kernel (``shell``: on the shell channel, so it will be served there)."""
        message = split(parts)
        if message is None:
            return
        header = read_header(message.header)
        content = _content(message.content)
        cause = self._record(header, content, message.content)
        if shell and header.msg_id and len(self._outstanding) < _MAX_OUTSTANDING:
            source = str(content.get("code", "")) if cause.kind == "cell" else ""
            served = _Served(header.msg_type, header.subshell_id, cause, self.transcript, source)
            self._outstanding[header.msg_id] = served

    def put(self, name: str, sha256: str) -> None:
        """Note a file that was put into the sandbox: code behind it may read it."""
        self.transcript = code.transcript_add(self.transcript, "put", code.put_code(name, sha256))

    def idle(self, message_id: str) -> None:
        """Note that the kernel says it has finished a message."""
        self._outstanding.pop(message_id, None)

    def current(self) -> tuple[Cause, str]:
        """Return why a plan that arrives now was sent, and the transcript up to that message.

        Cells that are queued behind the running one have been sent, but have not run: they are not part of it.

        Raises:
            RefusedError: ``link.introspection``: the kernel is completing or inspecting, which must never spend.
        """
        served = [s for s in self._outstanding.values() if s.subshell is None][:1]
        served += [s for s in self._outstanding.values() if s.subshell is not None]
        if not served:
            return Cause("background"), self.transcript
        first = served[0]
        if first.kind in _INTROSPECTION:
            raise RefusedError(
                "link.introspection",
                "completing and inspecting never ask the vault",
                next_step="run the expression in a cell",
            )
        return first.cause, first.transcript

    def source_of(self, cause: Cause) -> str:
        """Return the text of the cell that is a cause, while the kernel serves it; ``""`` of anything else."""
        served = self._outstanding.get(cause.message)
        return served.source if served is not None and served.cause == cause else ""

    def _record(self, header: Header, content: dict[str, Any], raw: bytes) -> Cause:
        kind = header.msg_type
        if kind == "execute_request":
            source = str(content.get("code", ""))
            self._add(kind, source)
            if content.get("user_expressions"):
                self._add("user_expressions", _text(raw))
            return Cause("cell", header.msg_id, code.exact(source), code.normalised(source))
        if kind in _COMMS:
            if not self._is_quiet(kind, content):
                self._add(kind, _text(raw))
            return Cause("comm", header.msg_id)
        if kind in ("input_reply", "debug_request"):
            self._add(kind, _text(raw))
        return Cause("background")

    def _is_quiet(self, kind: str, content: dict[str, Any]) -> bool:
        # Lab asks every fresh kernel for its widgets' states; that carries nothing into the kernel.
        comm = str(content.get("comm_id", ""))
        if kind == "comm_open" and content.get("target_name") == _WIDGET_CONTROL and len(self._quiet_comms) < 64:
            self._quiet_comms.add(comm)
            return content.get("data") in ({}, None)
        return comm in self._quiet_comms and content.get("data") in ({"method": "request_states"}, {}, None)

    def _add(self, kind: str, text: str) -> None:
        self.transcript = code.transcript_add(self.transcript, kind, code.exact(text))


def finished(parts: tuple[bytes, ...]) -> str | None:
    """Return the id of the message that these IOPUB frames declare finished, if they do."""
    message = split(parts)
    if message is None or b'"status"' not in message.header or b'"idle"' not in message.content:
        return None
    if read_header(message.header).msg_type != "status" or _content(message.content).get("execution_state") != "idle":
        return None
    return read_header(message.parent).msg_id or None


def parent_of(parts: tuple[bytes, ...]) -> str:
    """Return the message id these frames answer or belong to."""
    message = split(parts)
    return read_header(message.parent).msg_id if message else ""


def control_request(message_id: str, kind: str) -> tuple[bytes, ...]:
    """Return the frames of a control message of the agent's own (used as a fence behind earlier output)."""
    header = {"msg_id": message_id, "msg_type": kind, "session": "agent", "username": "agent", "version": "5.3"}
    empty = b"{}"
    return (message_id.encode(), DELIMITER, canonical.encode({**header, "date": ""}), empty, empty, empty)


def _content(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
