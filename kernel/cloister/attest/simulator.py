"""Verifier of ``simulator/v1``: evidence signed by a software key, for laptops, lessons and tests.

It walks the whole path of hardware evidence (signature, binding, measurement, debug flag) and proves nothing about
hardware: its claims always say ``assurance: simulated``, and appraisal always contraindicates them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from cloister.attest.encoding import unb64
from cloister.attest.evidence import Claims, Evidence, RejectedError
from cloister.errors import CloisterError
from cloister.wire import canonical, identity

TEE = "simulator"
FORMAT = "simulator/v1"
SIGNATURE_DOMAIN = "cloister/simulator/v1"
MAX_BLOB = 64 * 1024


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the simulated attester reports; ``report_data`` is hex of 64 bytes, digests are ``sha384:`` text."""

    report_data: str
    env_digest: str
    contract: str
    debug: bool
    launch: dict[str, str]
    runtime: dict[str, Any]


class SignedReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A report under the did:key of the install and its base64 signature (domain ``cloister/simulator/v1``)."""

    report: Report
    signer: str
    signature: str


def verify(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Return the claims of simulator evidence over ``binding`` (64 bytes of report data).

    ``endorsements`` and ``now`` are part of every verifier's signature; a software key has neither chain nor validity.

    Raises:
        RejectedError: ``evidence.malformed``, ``evidence.format``, ``evidence.signature`` or ``evidence.binding``.
    """
    del endorsements, now
    # 1. The format is the one this verifier knows, and nothing rides along.
    if evidence.tee != TEE or evidence.format != FORMAT or evidence.endorsements:
        raise RejectedError("evidence.format", f"not {FORMAT} evidence")
    # 2. Strict decoding: size, base64, schema, canonical spelling.
    signed = _decode(evidence.blob)
    # 3. The report is signed by the key it names.
    try:
        signature = unb64(signed.signature, size=64)
        identity.verify(signed.signer, SIGNATURE_DOMAIN, canonical.encode(signed.report), signature)
    except CloisterError as error:
        raise RejectedError("evidence.signature", "the simulator's signature is wrong") from error
    # 4. It was made for this exchange: nonce, keys, audience, role and contract are all in the binding.
    if signed.report.report_data != binding.hex():
        raise RejectedError(
            "evidence.binding",
            "the evidence was made for another exchange (replayed, relayed, re-keyed, or meant for someone else)",
            next_step="connect again; if it repeats, somebody sits between you and the enclave",
        )
    report = signed.report
    return Claims(
        tee=TEE,
        assurance="simulated",
        debug=report.debug,
        launch=report.launch,
        env_digest=report.env_digest,
        contract=report.contract,
        report_data=report.report_data,
        signer=signed.signer,
        runtime=report.runtime,
        warnings=("simulated: no hardware protects this enclave's memory",),
    )


def _decode(blob: str) -> SignedReport:
    try:
        data = unb64(blob, limit=MAX_BLOB)
        signed = msgspec.json.decode(data, type=SignedReport)
        if canonical.encode(signed) != data:
            raise RejectedError("evidence.malformed", "the evidence is not canonical JSON")
    except (CloisterError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, RejectedError):
            raise
        raise RejectedError("evidence.malformed", "the evidence cannot be decoded") from error
    return signed
