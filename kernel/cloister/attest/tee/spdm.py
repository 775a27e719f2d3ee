"""SPDM 1.1 GET_MEASUREMENTS as NVIDIA GPUs answer it: request and signed response, and NVIDIA's opaque data.

Format: DMTF DSP0274 1.1.0, tables 42 to 46; opaque fields as in NVIDIA/nvtrust (type and size, 16 bits each).
Integers are little-endian. The signature covers the request and the response up to the signature.
"""

from __future__ import annotations

from typing import NamedTuple

from cloister.attest.tee.bytes import Cursor
from cloister.attest.tee.codes import rejected

REQUEST_BYTES = 37
SIGNATURE_BYTES = 96
_VERSION, _GET, _MEASUREMENTS = 0x11, 0xE0, 0x60
_ALL_SIGNED = (0x01, 0xFF)
_DMTF = 1
_SHA384_BYTES = 48
_MAX_FIELDS = 64


class Measurements(NamedTuple):
    """What a GPU measured: nonces, SHA-384 values by SPDM index (from 1), opaque fields by type, signature."""

    nonce: bytes
    values: dict[int, bytes]
    opaque: dict[int, bytes]
    signed: bytes
    signature: bytes


def parse(data: bytes) -> Measurements:
    """Return the request and response in ``data``.

    Raises:
        RejectedError: ``evidence.format``, ``evidence.truncated`` or ``evidence.malformed``.
    """
    cursor = Cursor(data)
    # 1. The request asked for all measurements, signed, over a nonce.
    if (cursor.u8(), cursor.u8()) != (_VERSION, _GET) or (cursor.u8(), cursor.u8()) != _ALL_SIGNED:
        raise rejected("evidence.format", "not a request for all signed measurements (SPDM 1.1)")
    nonce = cursor.take(32)
    cursor.zeros(1, "the slot of the request")
    # 2. The response: blocks of measurements, the responder's nonce, opaque data, signature.
    if (cursor.u8(), cursor.u8()) != (_VERSION, _MEASUREMENTS):
        raise rejected("evidence.format", "not a response with measurements (SPDM 1.1)")
    cursor.u8()
    cursor.u8()
    count, length = cursor.u8(), int.from_bytes(cursor.take(3), "little")
    values = _blocks(cursor.sub(length), count)
    cursor.take(32)
    opaque = _opaque(cursor.sub(cursor.u16()))
    signed = data[: cursor.position]
    signature = cursor.take(SIGNATURE_BYTES)
    cursor.end("the signature")
    return Measurements(nonce, values, opaque, signed, signature)


def _blocks(cursor: Cursor, count: int) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    for _ in range(count):
        index, specification = cursor.u8(), cursor.u8()
        block = cursor.sub(cursor.u16())
        block.u8()
        value = block.take(block.u16())
        block.end("a measurement")
        if index == 0 or index in values or specification != _DMTF or len(value) != _SHA384_BYTES:
            raise rejected("evidence.malformed", "a measurement given twice, or not SHA-384 by DMTF's rules")
        values[index] = value
    cursor.end("the measurements")
    if not values:
        raise rejected("evidence.malformed", "a response without measurements")
    return values


def _opaque(cursor: Cursor) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    while cursor.remaining:
        kind = cursor.u16()
        if kind in fields or len(fields) == _MAX_FIELDS:
            raise rejected("evidence.malformed", "an opaque field given twice, or too many")
        fields[kind] = cursor.take(cursor.u16())
    return fields
