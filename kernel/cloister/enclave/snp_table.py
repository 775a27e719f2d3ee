"""The table of certificates that a hypervisor hands to an SNP guest (GHCB, extended guest request)."""

from __future__ import annotations

import uuid

_ENTRY = 24
_MAX_ENTRIES = 32
# KEY_INFO of a report: bits 4:2 say which key signed it (AMD 56860, ATTESTATION_REPORT).
_KEY_INFO = 0x48
_VCEK = uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd")
_VLEK = uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")


def endorsement(table: bytes, report: bytes) -> bytes:
    """Return the certificate (DER) of the key that signed ``report``, VCEK or VLEK; nothing if it is not there.

    The table comes from the host: it is searched, and what is found is for verifiers to judge. Broken tables hold none.
    """
    found: dict[uuid.UUID, bytes] = {}
    for index in range(min(len(table) // _ENTRY, _MAX_ENTRIES)):
        entry = table[index * _ENTRY : (index + 1) * _ENTRY]
        # The ABI writes GUIDs in their mixed-endian form and ends the table with zeros.
        name = uuid.UUID(bytes_le=entry[:16])
        if not name.int:
            break
        offset, length = (int.from_bytes(entry[at : at + 4], "little") for at in (16, 20))
        if offset + length > len(table):
            return b""
        found[name] = table[offset : offset + length]
    signed_by = {0: _VCEK, 1: _VLEK}.get(int.from_bytes(report[_KEY_INFO : _KEY_INFO + 4], "little") >> 2 & 7)
    return found.get(signed_by, b"") if signed_by else b""
