"""Google Compute Engine vTPM attestations: quotes in one to three PCR banks, event log, attestation key certificate.

Format: google/go-tpm-tools, proto/attest.proto and proto/tpm.proto (message Attestation). The signatures, the PCRs, the
event log and, if there is one, the certificate's key are checked; the certificate's chain is Google's own and not
packaged here, so the verdict is ``unanchored`` and never becomes claims. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from cloister.attest.evidence import Claims, Evidence
from cloister.attest.tee import carriers, protobuf, signatures, tcg_log, tpm, tpm_structures, x509
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import Examined, Roots, blob_of, check_size

TEE = "gcp-vtpm"
FORMAT = "go-tpm-tools attest.proto binary"
MAX_EVIDENCE = 1 << 20
# Fields of Attestation, Quote, PCRs and a PCR's map entry.
_AK, _QUOTES, _EVENT_LOG, _AK_CERT = 1, 2, 3, 6
_QUOTE, _SIGNATURE, _PCRS = 1, 2, 3
_BANK, _VALUES = 1, 2
_KEY, _VALUE = 1, 2


def verify(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Refuse: nothing packaged here ties the key to Google.

    Raises:
        RejectedError: Always; ``evidence.unanchored`` if all else holds.
    """
    blob = blob_of(evidence, TEE, (FORMAT,), MAX_EVIDENCE)
    examined = examine(blob, endorsements, (), now)
    return carriers.conclude_carried(examined, binding, binding, carriers.value_of(binding))


def examine(blob: bytes, _endorsements: Mapping[str, bytes], _roots: Roots, _now: datetime) -> Examined:
    """Return what an attestation says.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    # 1. Size and fields.
    check_size(blob, MAX_EVIDENCE)
    found = protobuf.fields(blob)
    public = protobuf.message(found, _AK)
    key = tpm_structures.attestation_key(public)
    # 2. Every quote is signed by the one key, over the PCRs beside it, with one nonce; no bank twice.
    quotes = [_quote(data, key) for data in protobuf.messages(found, _QUOTES)]
    pcrs: dict[int, dict[int, bytes]] = {}
    launch: dict[str, str] = {}
    for quote, values in quotes:
        if set(values) & set(pcrs) or quote.extra_data != quotes[0][0].extra_data:
            raise rejected("evidence.claims", "two quotes of one bank, or with different nonces")
        pcrs |= values
        launch |= tpm_structures.quoted(quote, values)
    if not quotes:
        raise rejected("evidence.malformed", "an attestation without a quote")
    # 3. The event log, if there is one, leads to these PCRs; the certificate, if there is one, is of this key.
    details: dict[str, Any] = {**tpm.quote_details(quotes[0][0])}
    if log := protobuf.message(found, _EVENT_LOG):
        details["event_log"] = tcg_log.check(log, pcrs)
    if certificate := protobuf.message(found, _AK_CERT):
        details["ak_certificate_sha256"] = _certificate(certificate, key)
    return Examined(
        tee=TEE,
        format=FORMAT,
        verdict="unanchored",
        debug=False,
        report_data=quotes[0][0].extra_data.hex(),
        launch=launch,
        signer=f"ak:{hashlib.sha256(public).hexdigest()}",
        details=details,
        warnings=("the attestation key's certificate was not followed to a root",),
    )


def _quote(data: bytes, key: rsa.RSAPublicKey) -> tuple[tpm_structures.Quote, dict[int, dict[int, bytes]]]:
    found = protobuf.fields(data)
    held = protobuf.fields(protobuf.message(found, _PCRS))
    bank = protobuf.number(held, _BANK)
    values: dict[int, bytes] = {}
    for entry in map(protobuf.fields, protobuf.messages(held, _VALUES)):
        number = protobuf.number(entry, _KEY)
        if number in values or number >= tpm_structures.PCRS:
            raise rejected("evidence.malformed", "a PCR given twice, or that no TPM has")
        values[number] = protobuf.message(entry, _VALUE)
    pcrs = {bank: values}
    signed = tpm_structures.signature(protobuf.message(found, _SIGNATURE))
    quote = tpm_structures.check_quote(protobuf.message(found, _QUOTE), signed, key, pcrs)
    selected = {(name, number) for name, numbers in quote.selected for number in numbers}
    if selected != {(bank, number) for number in values}:
        raise rejected("evidence.claims", "PCR values that the quote leaves out")
    return quote, pcrs


def _certificate(data: bytes, key: rsa.RSAPublicKey) -> str:
    """Return the fingerprint of the attestation key's certificate, which must be of this key."""
    certified = signatures.rsa_key(x509.parse(data).spki)
    if certified.public_numbers() != key.public_numbers():
        raise rejected("evidence.key", "the certificate is of another key than the one that signed")
    return hashlib.sha256(data).hexdigest()
