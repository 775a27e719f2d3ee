"""Canonical JSON: one byte string per value, so that digests and signatures are stable.

The dialect is RFC 8785 (JCS) restricted to what Cloister signs: objects with string keys, arrays,
strings, booleans, null and integers of magnitude at most 2^53. Larger integers, fractions and raw sums
travel as decimal strings; binary floating point never appears (a sigma is written with ``float.hex``).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from cloister.errors import MalformedError

_SAFE_INTEGER = 2**53


def encode(value: Any) -> bytes:
    """Return the canonical bytes of ``value`` (msgspec structs are converted to builtins first).

    Raises:
        MalformedError: The value contains a float, an integer beyond 2^53 or an unsupported type.
    """
    # Bytes would quietly become base64 text: they stay bytes here and are refused below.
    builtins = msgspec.to_builtins(value, builtin_types=(bytes, bytearray, memoryview))
    _check(builtins)
    text = json.dumps(builtins, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    # The fast path: ASCII names sort alike by code point and by UTF-16 unit.
    return (text if text.isascii() else _dump(builtins)).encode()


def digest(value: Any) -> str:
    """Return ``sha256:<hex>`` of the canonical bytes of ``value``."""
    return digest_bytes(encode(value))


def digest_bytes(data: bytes) -> str:
    """Return ``sha256:<hex>`` of raw bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _dump(value: Any) -> str:
    if isinstance(value, dict):
        # RFC 8785 section 3.2.3 sorts member names by UTF-16 code units.
        items = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        return "{" + ",".join(f"{_dump(k)}:{_dump(v)}" for k, v in items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _check(value: Any) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise MalformedError("canonical.surrogate", "text holds a lone surrogate") from error
    elif isinstance(value, int):
        if abs(value) > _SAFE_INTEGER:
            raise MalformedError("canonical.integer", "integers beyond 2^53 travel as strings")
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise MalformedError("canonical.key", "object keys are strings")
            _check(key)
            _check(item)
    else:
        raise MalformedError("canonical.type", f"{type(value).__name__} has no canonical form")
