"""What evidence says on its own, and the step from there to claims for one exchange."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from cloister.attest.binding import REPORT_DATA_BYTES
from cloister.attest.encoding import unb64
from cloister.attest.evidence import Claims, Evidence, RejectedError
from cloister.attest.tee.codes import VERDICTS, rejected
from cloister.attest.tee.x509 import Certificate
from cloister.errors import CloisterError

Roots = tuple[Certificate, ...]
"""Pinned certificates (``cloister.attest.roots``): trust ends there and nowhere else."""


class Examined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What evidence says on its own, before any binding is compared.

    ``verdict`` is one of ``codes.VERDICTS`` but ``rejected`` (that one is raised). ``report_data`` is the hex of what
    the carrier binds (64 bytes, or a nonce as long as the format has it). ``launch`` maps names of measurements to
    hex; ``signer`` names the hardware (``chip:...``) or the key. The status fields are the vendor's own words, None
    where the TEE has none. ``not_before`` and ``not_after`` are the window (both ends included) in which every
    certificate and endorsement looked at is valid, None without any. ``details`` holds JSON values.
    """

    tee: str
    format: str
    verdict: str
    debug: bool
    report_data: str
    launch: dict[str, str]
    signer: str
    tcb_status: str | None = None
    qe_status: str | None = None
    module_status: str | None = None
    advisories: tuple[str, ...] = ()
    tcb: dict[str, Any] = {}
    details: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()
    not_before: datetime | None = None
    not_after: datetime | None = None


class Examine(Protocol):
    """Examines one format: pure, and raises nothing but ``RejectedError`` with a code of ``codes.CODES``."""

    def __call__(self, blob: bytes, endorsements: Mapping[str, bytes], roots: Roots, now: datetime, /) -> Examined:
        """Return what the evidence says at time ``now`` (timezone-aware)."""


_REFUSED = {
    "endorsements_missing": "endorsements.missing",
    "unanchored": "evidence.unanchored",
    "references_missing": "references.missing",
}


def blob_of(evidence: Evidence, tee: str, formats: tuple[str, ...], limit: int) -> bytes:
    """Return the bytes of evidence for verifier ``tee``, at most ``limit`` of them.

    Raises:
        RejectedError: ``evidence.format``, ``evidence.oversize`` or ``evidence.malformed``.
    """
    if evidence.tee != tee or evidence.format not in formats:
        raise rejected("evidence.format", f"not {tee} evidence in one of the formats {', '.join(formats)}")
    if len(evidence.blob) > 4 * (limit // 3 + 1):
        raise rejected("evidence.oversize", f"evidence of this format has at most {limit} bytes")
    try:
        return unb64(evidence.blob, limit=4 * (limit // 3 + 1))
    except CloisterError as error:
        raise rejected("evidence.malformed", error.reason) from error


def check_size(blob: bytes, limit: int, code: str = "evidence.oversize") -> None:
    """Refuse input that no evidence (or endorsement) of its kind reaches, before anything is parsed."""
    if len(blob) > limit:
        raise rejected(code, f"{len(blob)} bytes; at most {limit} are looked at")


def conclude(examined: Examined, expected: bytes) -> Claims:
    """Return the claims of evidence made for this exchange: ``expected`` is what its carrier must bind, exactly.

    ``env_digest`` and ``contract`` stay empty: hardware reports neither by name. Both are hashed into the binding.

    Raises:
        RejectedError: ``evidence.binding``, or the verdict is not ``verified``.
    """
    if examined.verdict != "verified":
        code = _REFUSED.get(examined.verdict, "evidence.malformed")
        raise rejected(code, VERDICTS.get(examined.verdict, "an unknown verdict"))
    # Evidence without a nonce and an exchange without a binding must not agree on nothing, or on a part of it.
    if len(expected) != REPORT_DATA_BYTES or not hmac.compare_digest(
        examined.report_data.encode(), expected.hex().encode()
    ):
        raise RejectedError(
            "evidence.binding",
            "the evidence was made for another exchange (replayed, relayed, re-keyed, or meant for someone else)",
            next_step="connect again; if it repeats, somebody sits between you and the enclave",
        )
    platform: dict[str, Any] = {
        "tcb_status": examined.tcb_status,
        "qe_status": examined.qe_status,
        "module_status": examined.module_status,
        "advisories": list(examined.advisories),
        "tcb": examined.tcb,
        "details": examined.details,
    }
    return Claims(
        tee=examined.tee,
        assurance="hardware",
        debug=examined.debug,
        launch=examined.launch,
        env_digest="",
        contract="",
        report_data=examined.report_data,
        signer=examined.signer,
        runtime={},
        warnings=examined.warnings,
        platform=platform,
    )
