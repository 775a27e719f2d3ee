"""Signed documents as typed values: strict decoding of canonical JSON, and hashes over named fields."""

from __future__ import annotations

import hashlib
import struct
from typing import TypeVar

import msgspec

from cloister.errors import MalformedError
from cloister.wire import canonical

MAX_DOCUMENT = 16 * 2**20
T = TypeVar("T")


def decode(body: bytes, kind: type[T]) -> T:
    """Return the value of canonical JSON ``body``.

    Raises:
        MalformedError: Too long, not of this schema, or not in its one canonical spelling (so that a digest
            of the bytes is a digest of the meaning).
    """
    if len(body) > MAX_DOCUMENT:
        raise MalformedError("document.size", f"a document of {len(body)} bytes exceeds the limit")
    try:
        value = msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("document.schema", f"not a {kind.__name__}: {error}") from error
    if canonical.encode(value) != body:
        raise MalformedError("document.canonical", f"this {kind.__name__} is not in canonical form")
    return value


def hash_fields(*fields: str | bytes, algorithm: str = "sha256") -> bytes:
    """Return the hash of the fields, each preceded by its u32 big-endian length."""
    state = hashlib.new(algorithm)
    for field in fields:
        data = field.encode() if isinstance(field, str) else field
        state.update(struct.pack(">I", len(data)) + data)
    return state.digest()
