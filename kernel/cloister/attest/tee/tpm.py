"""Quotes of a TPM alone: the signature, the PCR values and the nonce hold, and nobody vouches for the key.

Evidence: JSON ``{ak_public, tpm_quote: {message, pcrs, signature}}`` as CoCo Trustee's attester writes it (base64 of
SubjectPublicKeyInfo, TPMS_ATTEST and TPMT_SIGNATURE; 24 SHA-256 values in hex). The verdict is ``unanchored``: whether
the key lives in a TPM, and in whose, is for somebody else to prove, so this never becomes claims. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

import msgspec

from cloister.attest.encoding import unb64
from cloister.attest.evidence import Claims, Evidence
from cloister.attest.tee import carriers, signatures, tpm_structures
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import Examined, Roots, blob_of, check_size
from cloister.errors import MalformedError

TEE = "tpm"
FORMAT = "trustee tpm evidence JSON"
MAX_EVIDENCE = 32 * 1024
SHA256_BANK = 0x000B
_MAX_FIELD = 4096
_Document = TypeVar("_Document")


class Quoted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quote with what it is over: message and signature encoded as the format says, PCRs 0 to 23 in hex."""

    message: str
    pcrs: list[str]
    signature: str


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The evidence of a TPM alone."""

    ak_public: str
    tpm_quote: Quoted


def verify(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Refuse: a quote whose key nobody vouches for is no ground for trust.

    Raises:
        RejectedError: Always; ``evidence.unanchored`` if all else holds.
    """
    blob = blob_of(evidence, TEE, (FORMAT,), MAX_EVIDENCE)
    return carriers.conclude_carried(examine(blob, endorsements, (), now), binding, binding, carriers.value_of(binding))


def examine(blob: bytes, _endorsements: Mapping[str, bytes], _roots: Roots, _now: datetime) -> Examined:
    """Return what a quote says.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    # 1. Size and structure.
    check_size(blob, MAX_EVIDENCE)
    document = decode(blob, Document)
    spki = base64_bytes(document.ak_public)
    pcrs = {SHA256_BANK: pcr_values(document.tpm_quote.pcrs)}
    # 2. The key signed the quote, and the quote is over these PCRs.
    key = signatures.rsa_key(spki)
    signed = tpm_structures.signature(base64_bytes(document.tpm_quote.signature))
    quote = tpm_structures.check_quote(base64_bytes(document.tpm_quote.message), signed, key, pcrs)
    return Examined(
        tee=TEE,
        format=FORMAT,
        verdict="unanchored",
        debug=False,
        report_data=quote.extra_data.hex(),
        launch=tpm_structures.quoted(quote, pcrs),
        signer=f"ak:{hashlib.sha256(spki).hexdigest()}",
        details=quote_details(quote),
        warnings=("nothing says whose key signed this quote",),
    )


def decode(blob: bytes, kind: type[_Document]) -> _Document:
    """Return JSON evidence of a closed schema.

    Raises:
        RejectedError: ``evidence.malformed``.
    """
    try:
        return msgspec.json.decode(blob, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise rejected("evidence.malformed", "not the JSON of this format") from error


def base64_bytes(text: str) -> bytes:
    """Return the bytes of a field in standard base64."""
    try:
        return unb64(text, limit=_MAX_FIELD)
    except MalformedError as error:
        raise rejected("evidence.malformed", error.reason) from error


def pcr_values(texts: list[str]) -> dict[int, bytes]:
    """Return the 24 PCRs of the SHA-256 bank by number."""
    if len(texts) != tpm_structures.PCRS:
        raise rejected("evidence.malformed", f"{len(texts)} PCRs where a TPM has {tpm_structures.PCRS}")
    return {number: hex_bytes(text, 32) for number, text in enumerate(texts)}


def hex_bytes(text: str, size: int | None = None) -> bytes:
    """Return the bytes of lower-case hex, one spelling per value."""
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise rejected("evidence.malformed", "a field that is not hex") from error
    if data.hex() != text or (size is not None and len(data) != size):
        raise rejected("evidence.malformed", "a field that is not lower-case hex of the right length")
    return data


def quote_details(quote: tpm_structures.Quote) -> dict[str, object]:
    """Return what a quote says beside its PCRs."""
    return {
        "extra_data": quote.extra_data.hex(),
        "reset_count": quote.reset_count,
        "restart_count": quote.restart_count,
        "firmware_version": f"{quote.firmware_version:016x}",
    }
