"""A strict reader of one level of Protocol Buffers' wire format: varints and byte fields, in any order.

Source: protobuf.dev/programming-guides/encoding. Fixed-width fields and groups are refused: the messages read here
have none.
"""

from __future__ import annotations

from cloister.attest.tee.bytes import Cursor
from cloister.attest.tee.codes import rejected

MAX_FIELDS = 1024
_VARINT, _LENGTH = 0, 2
Value = int | bytes


def fields(data: bytes) -> dict[int, list[Value]]:
    """Return the values of each field number, in order.

    Raises:
        RejectedError: ``evidence.truncated`` or ``evidence.malformed``.
    """
    cursor = Cursor(data)
    found: dict[int, list[Value]] = {}
    count = 0
    while cursor.remaining:
        count += 1
        key = _varint(cursor)
        number, kind = key >> 3, key & 7
        if count > MAX_FIELDS or not 0 < number < 1 << 29 or kind not in (_VARINT, _LENGTH):
            raise rejected("evidence.malformed", "a message of too many fields, or with one of a kind not known")
        value = _varint(cursor) if kind == _VARINT else cursor.take(_varint(cursor))
        found.setdefault(number, []).append(value)
    return found


def number(found: dict[int, list[Value]], field: int) -> int:
    """Return the only value of a number field (0 where it is left out, which is how the format writes 0)."""
    values = found.get(field, [0])
    if len(values) != 1 or not isinstance(values[0], int):
        raise rejected("evidence.malformed", f"field {field} is not one number")
    return values[0]


def message(found: dict[int, list[Value]], field: int) -> bytes:
    """Return the only value of a byte field (empty where it is left out)."""
    values = messages(found, field)
    if len(values) > 1:
        raise rejected("evidence.malformed", f"field {field} stands there twice")
    return values[0] if values else b""


def messages(found: dict[int, list[Value]], field: int) -> list[bytes]:
    """Return the values of a repeated byte field."""
    values = [value for value in found.get(field, []) if isinstance(value, bytes)]
    if len(values) != len(found.get(field, [])):
        raise rejected("evidence.malformed", f"field {field} is not made of bytes")
    return values


def _varint(cursor: Cursor) -> int:
    value = shift = 0
    while True:
        byte = cursor.u8()
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise rejected("evidence.malformed", "a number of more than 64 bits")
    # One spelling per number: no empty last group, and 64 bits at most.
    if (shift and byte == 0) or value >> 64:
        raise rejected("evidence.malformed", "a number that is not in its shortest form")
    return value
