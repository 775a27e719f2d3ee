"""Azure confidential VMs: a vTPM's quote whose key the paravisor's report, an SNP report or TDX quote, vouches for.

Evidence: JSON ``{version, hcl_report, tpm_quote, vcek | td_quote}`` as CoCo Trustee's attester writes it. The paravisor
(HCL) puts the vTPM's attestation key into JSON runtime data, whose SHA-256 is the hardware report's data; the guest's
nonce is in the quote. Layout of the HCL report: Microsoft, "Guest attestation design of confidential VMs". For TDX the
HCL report holds a local TDREPORT that nobody outside the machine can check: it is not looked at, the TD quote is. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from cloister.attest import roots as packaged
from cloister.attest.evidence import Claims, Evidence
from cloister.attest.tee import carriers, snp, tdx, tpm, tpm_structures
from cloister.attest.tee.bytes import Cursor
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import Examined, Roots, blob_of, check_size

TEE_SNP, TEE_TDX = "azure-vtpm-snp", "azure-vtpm-tdx"
FORMAT = "trustee az evidence JSON (HCL report + TPM quote + VCEK|TD quote)"
MAX_EVIDENCE = 64 * 1024
_MAX_FIELD = 32 * 1024
_MAX_HCL = 16 * 1024
_SNP, _TDX = 2, 4
_SHA256 = 1
_HEADER_BYTES, _HARDWARE_BYTES, _RUNTIME_HEADER_BYTES = 32, 1184, 20
_AK = "HCLAkPub"


class SnpDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence of an SNP machine: the VCEK's certificate travels with it."""

    version: int
    hcl_report: str
    tpm_quote: tpm.Quoted
    vcek: str


class TdxDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence of a TDX machine: the TD's quote travels with it."""

    version: int
    hcl_report: str
    tpm_quote: tpm.Quoted
    td_quote: str


class JsonWebKey(msgspec.Struct, frozen=True):
    """A public key of the runtime data."""

    kid: str
    kty: str
    key_ops: list[str] = []
    e: str = ""
    n: str = ""


class Runtime(msgspec.Struct, frozen=True, rename={"vm_configuration": "vm-configuration", "user_data": "user-data"}):
    """The JSON that the hardware report's data is the hash of; Azure adds fields over time."""

    keys: list[JsonWebKey]
    vm_configuration: dict[str, bool | int | str] = {}
    user_data: str = ""


class HclReport(NamedTuple):
    """The paravisor's report: the hardware's own report (SNP) and the runtime data with the kind of hardware."""

    kind: int
    hardware: bytes
    runtime: bytes


def verify_snp(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Return the claims of an SNP machine whose vTPM quoted over ``binding``.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    blob = blob_of(evidence, TEE_SNP, (FORMAT,), MAX_EVIDENCE)
    roots = tuple(root for vendor in snp.VENDORS for root in packaged.of(vendor))
    examined = examine_snp(blob, endorsements, roots, now)
    return carriers.conclude_carried(examined, binding, binding, carriers.value_of(binding))


def verify_tdx(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Return the claims of a TDX machine whose vTPM quoted over ``binding``.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    blob = blob_of(evidence, TEE_TDX, (FORMAT,), MAX_EVIDENCE)
    examined = examine_tdx(blob, endorsements, packaged.of(tdx.VENDOR), now)
    return carriers.conclude_carried(examined, binding, binding, carriers.value_of(binding))


def examine_snp(blob: bytes, _endorsements: Mapping[str, bytes], roots: Roots, now: datetime) -> Examined:
    """Return what the evidence of an SNP machine says; ``roots`` are AMD's.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    check_size(blob, MAX_EVIDENCE)
    document = tpm.decode(blob, SnpDocument)
    report = _hcl(document.version, document.hcl_report, _SNP)
    hardware = snp.examine(report.hardware, {snp.ENDORSEMENT: _base64url(document.vcek)}, roots, now)
    return _combine(TEE_SNP, hardware, report, document.tpm_quote)


def examine_tdx(blob: bytes, endorsements: Mapping[str, bytes], roots: Roots, now: datetime) -> Examined:
    """Return what the evidence of a TDX machine says; ``endorsements`` and ``roots`` are Intel's, as for a TDX quote.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    check_size(blob, MAX_EVIDENCE)
    document = tpm.decode(blob, TdxDocument)
    report = _hcl(document.version, document.hcl_report, _TDX)
    hardware = tdx.examine(_base64url(document.td_quote), endorsements, roots, now)
    return _combine(TEE_TDX, hardware, report, document.tpm_quote)


def td_quote(blob: bytes) -> bytes:
    """Return the TD quote in the evidence of a TDX machine, unchecked.

    Raises:
        RejectedError: ``evidence.malformed`` or ``evidence.oversize``.
    """
    check_size(blob, MAX_EVIDENCE)
    return _base64url(tpm.decode(blob, TdxDocument).td_quote)


def _combine(tee: str, hardware: Examined, report: HclReport, quoted: tpm.Quoted) -> Examined:
    # 1. The hardware's report is over these runtime data: their SHA-256, padded to 64 bytes.
    if hardware.report_data != hashlib.sha256(report.runtime).hexdigest().ljust(128, "0"):
        raise rejected("evidence.key", "the hardware report vouches for other runtime data")
    # 2. The runtime data name one attestation key, and it signed the quote over these PCRs.
    runtime = _runtime(report.runtime)
    pcrs = {tpm.SHA256_BANK: tpm.pcr_values(quoted.pcrs)}
    signed = tpm_structures.Signature(tpm.SHA256_BANK, tpm.hex_bytes(quoted.signature))
    quote = tpm_structures.check_quote(tpm.hex_bytes(quoted.message), signed, _attestation_key(runtime), pcrs)
    # 3. The verdict is the hardware's; the nonce of the exchange is the quote's.
    return msgspec.structs.replace(
        hardware,
        tee=tee,
        format=FORMAT,
        report_data=quote.extra_data.hex(),
        launch={**hardware.launch, **tpm_structures.quoted(quote, pcrs)},
        details={
            **hardware.details,
            "quote": tpm.quote_details(quote),
            "vm": runtime.vm_configuration,
            "user_data": runtime.user_data.lower(),
        },
    )


def _hcl(version: int, text: str, kind: int) -> HclReport:
    """Return the paravisor's report of one kind of hardware."""
    if version not in (1, 2):
        raise rejected("evidence.format", f"Azure evidence of version {version}")
    data = _base64url(text)
    check_size(data, _MAX_HCL)
    cursor = Cursor(data)
    if cursor.take(4) != b"HCLA" or cursor.u32() not in (1, 2):
        raise rejected("evidence.format", "not a paravisor's report of version 1 or 2")
    report_size, request = cursor.u32(), cursor.u32()
    cursor.zeros(_HEADER_BYTES - cursor.position, "status and reserved bytes of the paravisor's report")
    hardware = cursor.take(_HARDWARE_BYTES)
    size, layout, found, digest, length = (cursor.u32() for _ in range(5))
    runtime = cursor.take(length)
    if (request, layout, digest) != (2, 1, _SHA256) or found != kind:
        raise rejected("evidence.format", "a paravisor's report of other hardware, or with another hash")
    if size != _RUNTIME_HEADER_BYTES + length or report_size != cursor.position:
        raise rejected("evidence.malformed", "the lengths in the paravisor's report contradict each other")
    cursor.zeros(cursor.remaining, "the bytes after the paravisor's report")
    return HclReport(found, hardware, runtime)


def _runtime(data: bytes) -> Runtime:
    runtime = tpm.decode(data, Runtime)
    if len(runtime.user_data) > 128:
        raise rejected("evidence.malformed", "user data of more than 64 bytes")
    return runtime


def _attestation_key(runtime: Runtime) -> rsa.RSAPublicKey:
    found = [key for key in runtime.keys if key.kid == _AK]
    if len(found) != 1 or found[0].kty != "RSA" or found[0].key_ops != ["sign"]:
        raise rejected("evidence.key", "the runtime data do not name one RSA attestation key")
    numbers = (int.from_bytes(_base64url(text), "big") for text in (found[0].n, found[0].e))
    return tpm_structures.rsa_key(*numbers)


def _base64url(text: str) -> bytes:
    """Return the bytes of base64url, with padding or without, in the one spelling an encoder writes."""
    if len(text) > _MAX_FIELD:
        raise rejected("evidence.oversize", f"a field of {len(text)} characters")
    bare = text.rstrip("=")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise rejected("evidence.malformed", "a field that is not base64url") from error
    written = base64.urlsafe_b64encode(data).decode()
    if text not in (written, written.rstrip("=")):
        raise rejected("evidence.malformed", "a field that is not canonical base64url")
    return data
