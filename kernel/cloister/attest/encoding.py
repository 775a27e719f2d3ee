"""Strict base64 for byte fields in JSON: one spelling per value, so that nothing signed can be re-spelled."""

from __future__ import annotations

import base64
import binascii

from cloister.errors import MalformedError


def b64(data: bytes) -> str:
    """Return standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def unb64(text: str, *, size: int | None = None, limit: int = 1 << 20, code: str = "base64.invalid") -> bytes:
    """Return the bytes of canonical base64 ``text``.

    Raises:
        MalformedError: Not base64, a second spelling of the same bytes, too long, or not ``size`` bytes.
    """
    if len(text) > limit:
        raise MalformedError(code, f"a base64 field of {len(text)} characters exceeds {limit}")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(code, "not base64") from error
    # Unused trailing bits decode silently; only the spelling an encoder would write is accepted.
    if b64(data) != text:
        raise MalformedError(code, "not canonical base64")
    if size is not None and len(data) != size:
        raise MalformedError(code, f"expected {size} bytes, got {len(data)}")
    return data
