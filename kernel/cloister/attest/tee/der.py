"""A reader of DER (X.690): definite lengths in their shortest form, low tags, nothing else.

Certificates are read with it and not with a library because AMD's VCEK certificates have serial number 0, which
RFC 5280 does not allow and which ``cryptography`` announces that it will refuse.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from cloister.attest.evidence import RejectedError
from cloister.attest.tee.codes import rejected

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, ENUMERATED = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A
# No object identifier of any certificate here is half as long; numbers of unlimited length take quadratic time.
MAX_OID = 64
UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET = 0x17, 0x18, 0x30, 0x31


class Node(NamedTuple):
    """One element: its tag byte, its value, and all of its bytes (what a signature covers)."""

    tag: int
    value: bytes
    raw: bytes


class Der:
    """Reads elements one after another; ``area`` (evidence or endorsements) is what a refusal is about."""

    def __init__(self, data: bytes, area: str = "evidence") -> None:
        self._data = data
        self._at = 0
        self.area = area

    def fail(self, reason: str) -> RejectedError:
        """Return the refusal of this structure."""
        return rejected(f"{self.area}.malformed", reason)

    @property
    def more(self) -> bool:
        """Whether elements are left."""
        return self._at < len(self._data)

    def peek(self) -> int | None:
        """Return the tag of the next element, None at the end."""
        return self._data[self._at] if self.more else None

    def next(self, tag: int | None = None) -> Node:
        """Return the next element, which must have ``tag`` if one is given.

        Raises:
            RejectedError: ``<area>.malformed``: it is not DER, or another element.
        """
        data, at = self._data, self._at
        if at + 2 > len(data):
            raise self.fail("a DER element is missing or cut off")
        found, length, start = data[at], data[at + 1], at + 2
        if found & 0x1F == 0x1F:
            raise self.fail("a DER tag of several bytes")
        if length >= 0x80:
            size = length & 0x7F
            start += size
            if not 1 <= size <= 4 or start > len(data):
                raise self.fail("a DER length that is indefinite, too long or cut off")
            length = int.from_bytes(data[at + 2 : start], "big")
            if length < 0x80 or length >> (8 * (size - 1)) == 0:
                raise self.fail("a DER length that is not in its shortest form")
        if length > len(data) - start:
            raise self.fail("a DER element is cut off")
        if tag is not None and found != tag:
            raise self.fail(f"DER tag {found:#04x} where {tag:#04x} must stand")
        self._at = start + length
        return Node(found, data[start : self._at], data[at : self._at])

    def enter(self, tag: int = SEQUENCE) -> Der:
        """Return a reader over the content of the next element."""
        return Der(self.next(tag).value, self.area)

    def end(self) -> None:
        """Refuse elements that follow the last one expected."""
        if self.more:
            raise self.fail("bytes follow the last DER element")

    def integer(self) -> int:
        """Return the next element, an INTEGER."""
        return self._number(self.next(INTEGER).value)

    def enumerated(self) -> int:
        """Return the next element, an ENUMERATED."""
        return self._number(self.next(ENUMERATED).value)

    def boolean(self) -> bool:
        """Return the next element, a BOOLEAN (DER: 00 or FF)."""
        value = self.next(BOOLEAN).value
        if value not in (b"\x00", b"\xff"):
            raise self.fail("a BOOLEAN that is neither 00 nor FF")
        return value == b"\xff"

    def bits(self) -> bytes:
        """Return the bytes of the next element, a BIT STRING of whole bytes."""
        value = self.next(BIT_STRING).value
        if not value or value[0] != 0:
            raise self.fail("a BIT STRING that is not made of whole bytes")
        return value[1:]

    def oid(self) -> str:
        """Return the next element, an OBJECT IDENTIFIER, in dotted form."""
        value = self.next(OID).value
        if not value or value[-1] & 0x80:
            raise self.fail("an OBJECT IDENTIFIER that is empty or cut off")
        if len(value) > MAX_OID:
            raise self.fail(f"an OBJECT IDENTIFIER of {len(value)} bytes")
        arcs: list[int] = []
        arc, fresh = 0, True
        for byte in value:
            if fresh and byte == 0x80:
                raise self.fail("an OBJECT IDENTIFIER that is not in its shortest form")
            arc, fresh = arc << 7 | byte & 0x7F, not byte & 0x80
            if fresh:
                arcs.append(arc)
                arc = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))

    def time(self) -> datetime:
        """Return the next element, a UTCTime or GeneralizedTime as RFC 5280 section 4.1.2.5 writes them."""
        node = self.next()
        text = node.value.decode("ascii", "replace")
        if node.tag == UTC_TIME and len(text) == 13:
            text = ("19" if text[:2] >= "50" else "20") + text
        elif node.tag != GENERALIZED_TIME:
            raise self.fail("no time where one must stand")
        if len(text) != 15 or text[-1] != "Z" or not (text[:-1].isascii() and text[:-1].isdigit()):
            raise self.fail("a time that is not written as YYYYMMDDHHMMSSZ")
        try:
            # strptime takes ten times as long, and a revocation list holds many times.
            month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
            return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC)
        except ValueError as error:
            raise self.fail("a time that does not exist") from error

    def _number(self, value: bytes) -> int:
        if not value or (len(value) > 1 and (value[0] == 0) == (value[1] < 0x80) and value[0] in (0, 0xFF)):
            raise self.fail("a number that is empty or not in its shortest form")
        return int.from_bytes(value, "big", signed=True)
