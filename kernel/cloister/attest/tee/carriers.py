"""How carriers narrower than 64 bytes hold the binding value, and evidence that may not bring its own trust.

The binding has 48 bytes and is zero-padded to 64 as report data; nonces of TPMs may be too short for the padding and
carry the 48 bytes, a GPU's nonce has 32 (design: SHA-256 of ``gpu`` and the binding).
"""

from __future__ import annotations

import hashlib

import msgspec

from cloister.attest.binding import BINDING_BYTES, REPORT_DATA_BYTES
from cloister.attest.evidence import Claims, Evidence
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import Examined, conclude


def value_of(report_data: bytes) -> bytes:
    """Return the 48-byte binding that 64 bytes of report data are made of; b"" if they are made of something else."""
    value, padding = report_data[:BINDING_BYTES], report_data[BINDING_BYTES:]
    return value if len(report_data) == REPORT_DATA_BYTES and not any(padding) else b""


def gpu_nonce(report_data: bytes) -> bytes:
    """Return the 32-byte nonce that a GPU is asked to report for this exchange; b"" where there is none."""
    value = value_of(report_data)
    return hashlib.sha256(b"gpu" + value).digest() if value else b""


def conclude_carried(examined: Examined, report_data: bytes, *carried: bytes) -> Claims:
    """Return the claims of evidence whose nonce must be one of ``carried``: the spellings of ``report_data``.

    The claims name the report data themselves, so that whoever compares sees one spelling.

    Raises:
        RejectedError: ``evidence.binding``, or the verdict is not ``verified``.
    """
    if examined.report_data in {spelling.hex() for spelling in carried if spelling}:
        examined = msgspec.structs.replace(examined, report_data=report_data.hex())
    return conclude(examined, report_data)


def refuse_own_keys(evidence: Evidence, name: str) -> None:
    """Refuse evidence that brings the keys it is to be verified with; only the relying party may name those.

    Endorsements that a vendor signed may come from anyone. A key set or a platform key that nothing signs is trust
    itself: accepted from the evidence it would make every forgery genuine.

    Raises:
        RejectedError: ``evidence.unanchored``.
    """
    if name in evidence.endorsements:
        raise rejected("evidence.unanchored", f"the evidence brings its own {name}: anybody could have signed it")
