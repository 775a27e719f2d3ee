"""The one framing of Cloister: a kind and a few byte parts, length-prefixed.

``u32 length | u8 kind | u16 count | count x (u32 length, bytes)``, big endian; ``length`` counts what
follows it. The same frames travel inside the attested channel, on the pipes between the enclave's
processes and on the link to the vault. Decoding is sans-io: feed bytes, take frames.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import NamedTuple

from cloister.errors import MalformedError

MAX_FRAME = 256 * 2**20
MAX_PARTS = 4096
_HEAD = struct.Struct(">IBH")
_PART = struct.Struct(">I")


class Kind(enum.IntEnum):
    """What a frame carries. Jupyter channels carry the parts of one ZMQ message without its signature."""

    OPEN = 0  # JSON: the first frame of a session (see attest/channel.py)
    SHELL = 1
    CONTROL = 2
    STDIN = 3
    IOPUB = 4
    EVENT = 5  # JSON from the agent: kernel state, receipts, admissions, verdict changes
    REQUEST = 6  # link: [context JSON, request JSON] towards the vault
    REPLY = 7  # link: [routing JSON, reply JSON] from the vault
    BROKER = 8  # relay: opaque signed broker messages
    PING = 9
    KERNEL_INFO = 10  # reserved


class Frame(NamedTuple):
    """One decoded frame."""

    kind: int
    parts: tuple[bytes, ...]


def encode(kind: int, *parts: bytes) -> bytes:
    """Return the bytes of one frame.

    Raises:
        MalformedError: Too many parts, or more than ``MAX_FRAME`` bytes.
    """
    size = 3 + sum(4 + len(part) for part in parts)
    if len(parts) > MAX_PARTS or size > MAX_FRAME:
        raise MalformedError("frame.size", f"a frame of {size} bytes exceeds the limit")
    out = bytearray(_HEAD.pack(size, kind, len(parts)))
    for part in parts:
        out += _PART.pack(len(part))
        out += part
    return bytes(out)


def decode(data: bytes) -> Frame:
    """Return the frame that fills ``data`` exactly.

    Raises:
        MalformedError: Truncated, oversized, or inner lengths that do not add up.
    """
    decoder = Decoder()
    frames = list(decoder.feed(data))
    if len(frames) != 1 or decoder.pending:
        raise MalformedError("frame.shape", "expected exactly one whole frame")
    return frames[0]


class Decoder:
    """Incremental frame decoder for a byte stream."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit

    @property
    def pending(self) -> int:
        """Bytes received that do not make a whole frame yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add bytes; yield every frame that is complete.

        Raises:
            MalformedError: A frame announces more than the limit or is inconsistent.
        """
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            size, kind, count = _HEAD.unpack_from(self._buffer)
            if size > self._limit or size < 3 or count > MAX_PARTS:
                raise MalformedError("frame.size", f"a frame announces {size} bytes in {count} parts")
            if len(self._buffer) < 4 + size:
                return
            body = bytes(self._buffer[_HEAD.size : 4 + size])
            del self._buffer[: 4 + size]
            yield Frame(kind, _split(body, count))


def _split(body: bytes, count: int) -> tuple[bytes, ...]:
    parts: list[bytes] = []
    at = 0
    for _ in range(count):
        if at + 4 > len(body):
            raise MalformedError("frame.shape", "a part runs past the frame")
        (length,) = _PART.unpack_from(body, at)
        at += 4
        if at + length > len(body):
            raise MalformedError("frame.shape", "a part runs past the frame")
        parts.append(body[at : at + length])
        at += length
    if at != len(body):
        raise MalformedError("frame.shape", "bytes after the last part")
    return tuple(parts)
