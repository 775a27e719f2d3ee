"""The reader of DER: what certificates may make it do before anybody has looked at a signature."""

from __future__ import annotations

import pytest

from cloister.attest.evidence import RejectedError
from cloister.attest.tee.der import MAX_OID, Der


def oid(value: bytes) -> bytes:
    size = len(value).to_bytes(4, "big").lstrip(b"\0")
    return b"\x06" + (size if len(value) < 0x80 else bytes([0x80 | len(size)]) + size) + value


def test_an_object_identifier_is_short() -> None:
    """A longer arc is shifted and printed in quadratic time, and beyond 4300 digits Python refuses to print it."""
    longest = Der(oid(b"\x2a" + b"\x81" * (MAX_OID - 2) + b"\x01")).oid()
    assert longest.startswith("1.2.")
    for size in (MAX_OID + 1, 4096, 100_000):
        with pytest.raises(RejectedError) as caught:
            Der(oid(b"\x2a" + b"\x81" * (size - 2) + b"\x01")).oid()
        assert caught.value.code == "evidence.malformed"
