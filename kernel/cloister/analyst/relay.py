"""From inside: what the sandbox says, checked, signed and passed on.

Replies go to whoever asked, under the identity the request came from; a reply nobody waits for is dropped. Frames
that use reserved names are dropped and the notebook is told. At a cell's end come, in this order: a note about
dropped outputs, the chip (release or rehearsal), the sandbox's own ``idle``.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from cloister.analyst import chips, guard, own_replies
from cloister.analyst.comms import OwnComms
from cloister.analyst.events import Events
from cloister.analyst.front import Front
from cloister.analyst.live import LiveViews
from cloister.analyst.messages import Header, Message, Request, decode_object, parse_header, split
from cloister.analyst.pending import Pending
from cloister.analyst.unsaved import Marks
from cloister.errors import MalformedError, RefusedError
from cloister.wire.frames import Frame, Kind

_NOTED = 256
_PASSED_ON = 100_000
_T = TypeVar("_T")

log = logging.getLogger(__name__)


class _Parent(msgspec.Struct, frozen=True):
    msg_id: str = ""


class _Status(msgspec.Struct, frozen=True):
    execution_state: str = ""


class _Ended(msgspec.Struct, frozen=True):
    status: str = ""
    ename: str = ""
    execution_count: int | None = None


class Outcome(NamedTuple):
    """How a request ended: ``ok``, ``error``, ``aborted`` or ``interrupted``, and whether that stops the queue."""

    status: str = ""
    stops: bool = False


class Relay:
    """Passes frames of the sandbox to the front end.

    Args:
        marks: Marks what may not be saved.
        info: Returns the proxy's block about the enclave.
        on_reply: Called with the type of a reply, the message id it answers and how that ended.
    """

    def __init__(
        self,
        front: Front,
        pending: Pending,
        events: Events,
        comms: OwnComms,
        live: LiveViews,
        *,
        marks: Marks,
        info: Callable[[], dict[str, Any]],
        on_reply: Callable[[str, str, Outcome], None],
    ) -> None:
        self._front = front
        self._pending = pending
        self._events = events
        self._comms = comms
        self._live = live
        self._marks = marks
        self._own = guard.Owned(comms, live)
        self._info = info
        self._on_reply = on_reply
        self._noted: OrderedDict[bytes, None] = OrderedDict()
        self._passed_on: OrderedDict[str, None] = OrderedDict()
        self.execution_count = 0

    def passed_on(self, request: Request) -> None:
        """Note a request that the sandbox gets: it may answer to it, and to no other."""
        self._passed_on[request.header.msg_id] = None
        if len(self._passed_on) > _PASSED_ON:
            self._passed_on.popitem(last=False)

    def take(self, frame: Frame) -> None:
        """Pass one frame of a Jupyter channel on, or drop it."""
        try:
            message = split(frame.parts)
            header = parse_header(message.header)
            message = self._front.adopt(message)
            parent = _decode(_parent_decoder, message.parent).msg_id
            # A list of comms is made anew from what the sandbox may say.
            listed = frame.kind != Kind.IOPUB and header.msg_type == "comm_info_reply"
            reserved = None if listed else guard.reserved_name(header.msg_type, message, self._own)
            if frame.kind == Kind.IOPUB:
                self._iopub(header, message, parent, reserved)
            elif frame.kind == Kind.STDIN:
                # A front end writes the prompt and what was typed into the cell's outputs.
                self._show(Kind.STDIN, header, message)
            else:
                self._reply(header, message, parent, reserved)
        except MalformedError as error:
            # The sandbox is notebook code's own: it may send garbage without ending the session.
            log.warning("dropped a malformed frame of the sandbox: %s", error)

    def _iopub(self, header: Header, message: Message, parent: str, reserved: str | None) -> None:
        if header.msg_type == "iopub_welcome":
            return  # greets the bridge; the proxy greets its own subscribers
        if parent and parent not in self._passed_on:
            # Message ids of some clients can be guessed: this would appear under a line that the proxy answers.
            log.warning("dropped a %s of the sandbox under a request it never got", header.msg_type[:40])
            return
        if self._live.watching and header.msg_type == "comm_msg":
            content = decode_object(message.content)
            if self._live.is_control(content):
                self._control(message, content, reserved)
                return
        if reserved is not None:
            self._note_reserved(reserved, message.parent)
            return
        if header.msg_type in ("comm_open", "comm_close"):
            self._live.note(header.msg_type, decode_object(message.content))
        if header.msg_type != "status":
            self._show(Kind.IOPUB, header, message)
            return
        state = _decode(_status_decoder, message.content).execution_state
        if state == "idle":
            self._end_of_cell(parent, message.parent)
        self._front.relay(Kind.IOPUB, message, header.msg_type)
        self._pending.status(parent, state)
        if state == "idle":
            self.resume_busy()

    def _show(self, kind: Kind, header: Header, message: Message) -> None:
        if (marked := self._marks.put(header.msg_type, message)) is not None:
            self._front.relay(kind, marked, header.msg_type)

    def _control(self, message: Message, content: dict[str, Any], reserved: str | None) -> None:
        """Answer a page that asks for the states of all widgets: the sandbox's and ours.

        A sandbox that claims one of ours is not heard: the page gets ours alone.
        """
        if reserved is None:
            self._front.relay(Kind.IOPUB, self._live.merged(message, content), "comm_msg")
        else:
            self._note_reserved(reserved, message.parent)
            self._live.answer(str(content.get("comm_id")), message.parent)

    def resume_busy(self) -> None:
        """After somebody else's ``idle``, tell again that a cell is running: front ends show the last word."""
        running = self._pending.running_cell()
        if running is not None:
            self._front.status("busy", running.message.header)

    def _end_of_cell(self, msg_id: str, parent: bytes) -> None:
        self._front.report_dropped(parent)
        if facts := self._marks.shown(self._events.take_releases(msg_id)):
            self._front.publish("display_data", chips.display_data(facts), parent)
        if rehearsed := self._events.take_rehearsals(msg_id):
            self._front.publish("display_data", chips.rehearsed_data(rehearsed), parent)

    def _reply(self, header: Header, message: Message, parent: str, reserved: str | None) -> None:
        entry = self._pending.get(parent)
        if entry is None or entry.replied or header.msg_type != entry.request.reply_type:
            log.debug("dropped a %s nobody waits for", header.msg_type)
            return
        message = message._replace(idents=entry.request.message.idents)
        status = ""
        if reserved is not None:
            self._note_reserved(reserved, message.parent)
            self._front.reply(entry.request, own_replies.error_content(_reserved_error(reserved)))
        else:
            message, status = self._amended(header, message)
            self._front.relay(entry.request.channel, message, header.msg_type)
        self._pending.replied(parent)
        # As in ipykernel: a failed cell stops what is queued behind it, unless its client said to go on.
        failed = status in ("error", "interrupted")
        stops = failed and entry.request.content().get("stop_on_error", True) is not False
        self._on_reply(header.msg_type, parent, Outcome(status, stops))

    def _amended(self, header: Header, message: Message) -> tuple[Message, str]:
        if header.msg_type == "execute_reply":
            ended = _decode(_ended_decoder, message.content)
            if ended.execution_count is not None:
                self.execution_count = ended.execution_count
            status = "interrupted" if ended.ename == "KeyboardInterrupt" else ended.status
            return self._marks.without_texts(message), status
        if header.msg_type == "kernel_info_reply":
            content = own_replies.amend_kernel_info(decode_object(message.content), self._info())
            return message._replace(content=msgspec.json.encode(content)), ""
        if header.msg_type == "comm_info_reply":
            inner = decode_object(message.content).get("comms")
            kept = guard.comms_of_sandbox(inner if isinstance(inner, dict) else {}, self._own)
            content = {"status": "ok", "comms": {**kept, **self._comms.listing(), **self._live.listing()}}
            return message._replace(content=msgspec.json.encode(content)), ""
        return message, ""

    def _note_reserved(self, name: str, parent: bytes) -> None:
        """Tell the notebook once per cell; a cell that tries a thousand times fills no screen."""
        log.warning("dropped a frame of the sandbox that uses %s", name)
        if parent not in self._noted:
            self._noted[parent] = None
            if len(self._noted) > _NOTED:
                self._noted.popitem(last=False)
            self._front.notice(f"dropped output of the sandbox: {name} is reserved for the proxy", parent)


_parent_decoder = msgspec.json.Decoder(_Parent)
_status_decoder = msgspec.json.Decoder(_Status)
_ended_decoder = msgspec.json.Decoder(_Ended)


def _decode(decoder: msgspec.json.Decoder[_T], raw: bytes) -> _T:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("message.json", "not the JSON it should be") from error


def _reserved_error(name: str) -> RefusedError:
    return RefusedError("proxy.reserved", f"the sandbox's reply was dropped: {name} is reserved for the proxy")
