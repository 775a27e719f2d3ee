"""The table of certificates that a hypervisor hands to an SNP guest (GHCB, extended guest request)."""

from __future__ import annotations

import uuid

_ENTRY = 24
_MAX_ENTRIES = 32
_VCEK = uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd")
_VLEK = uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")


def endorsement(table: bytes) -> bytes:
    """Return the certificate (DER) of the key that signs reports: VLEK or VCEK, or nothing if there is none.

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
    return found.get(_VLEK, found.get(_VCEK, b""))
