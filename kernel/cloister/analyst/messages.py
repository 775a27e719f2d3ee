"""Jupyter messages as the proxy sees them: a parsed header, everything else opaque bytes.

The parts of one message are ``ident*, "<IDS|MSG>", [signature,] header, parent, metadata, content, buffer*``.
Inside the channel the signature is absent. Replies made by the proxy quote the request's header byte for byte.
Source: jupyter-client documentation, "Messaging in Jupyter", wire protocol.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from cloister.errors import MalformedError
from cloister.wire.frames import Kind

DELIMITER = b"<IDS|MSG>"
PROTOCOL_VERSION = "5.3"
EMPTY = b"{}"


class Header(msgspec.Struct, frozen=True):
    """The header fields the proxy acts on; unknown fields are ignored here and relayed untouched."""

    msg_id: str
    msg_type: str
    session: str = ""
    subshell_id: str | None = None


class Message(NamedTuple):
    """One message without its signature; ``header`` .. ``content`` are JSON bytes as received."""

    idents: tuple[bytes, ...]
    header: bytes
    parent: bytes
    metadata: bytes
    content: bytes
    buffers: tuple[bytes, ...] = ()

    def parts(self) -> tuple[bytes, ...]:
        """Return the parts as they travel in a channel frame."""
        return (*self.idents, DELIMITER, self.header, self.parent, self.metadata, self.content, *self.buffers)

    @property
    def size(self) -> int:
        """Bytes in all parts."""
        return sum(map(len, self.parts()))


class Request(NamedTuple):
    """A message from outside together with its channel and parsed header."""

    channel: Kind
    message: Message
    header: Header

    @property
    def reply_type(self) -> str:
        """The type a reply to this request has."""
        return self.header.msg_type.removesuffix("_request") + "_reply"

    @property
    def wants_reply(self) -> bool:
        """Whether the protocol promises a reply (comm messages and ``input_reply`` get none)."""
        return self.header.msg_type.endswith("_request")

    def content(self) -> dict[str, Any]:
        """Return the parsed content; an unreadable one counts as empty."""
        try:
            return decode_object(self.message.content)
        except MalformedError:
            return {}


def split(parts: Sequence[bytes]) -> Message:
    """Return the message in unsigned ``parts``.

    Raises:
        MalformedError: No delimiter, or fewer than four parts after it.
    """
    at = find_delimiter(parts)
    body = parts[at + 1 :]
    if len(body) < 4:
        raise MalformedError("message.shape", "a message has four parts after the delimiter")
    return Message(tuple(parts[:at]), body[0], body[1], body[2], body[3], tuple(body[4:]))


def find_delimiter(parts: Sequence[bytes]) -> int:
    """Return the index of the delimiter.

    Raises:
        MalformedError: There is none.
    """
    for at, part in enumerate(parts):
        if part == DELIMITER:
            return at
    raise MalformedError("message.shape", "no delimiter in a message")


_header_decoder = msgspec.json.Decoder(Header)


def parse_header(raw: bytes) -> Header:
    """Return the parsed header.

    Raises:
        MalformedError: Not a header.
    """
    try:
        return _header_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("message.header", "not a Jupyter header") from error


def decode_object(raw: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        MalformedError: Not JSON, or not an object.
    """
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("message.json", "not JSON") from error
    if not isinstance(value, dict):
        raise MalformedError("message.json", "not a JSON object")
    return value


class Composer:
    """Makes the proxy's own messages; one Jupyter session id per proxy."""

    def __init__(self) -> None:
        self.session = uuid.uuid4().hex
        self._count = 0

    def compose(
        self,
        msg_type: str,
        content: dict[str, Any],
        *,
        parent: bytes = EMPTY,
        idents: tuple[bytes, ...] = (),
        metadata: dict[str, Any] | None = None,
    ) -> Message:
        """Return a new message; ``parent`` is the raw header it answers."""
        self._count += 1
        header = {
            "msg_id": f"{self.session}_{self._count}",
            "msg_type": msg_type,
            "username": "cloister",
            "session": self.session,
            "date": datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z"),
            "version": PROTOCOL_VERSION,
        }
        return Message(
            idents,
            msgspec.json.encode(header),
            parent,
            msgspec.json.encode(metadata or {}),
            msgspec.json.encode(content),
        )
