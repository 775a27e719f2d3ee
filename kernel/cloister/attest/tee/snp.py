"""AMD SEV-SNP attestation reports, versions 2 and 3, signed by a VCEK or VLEK of Milan, Genoa or Turin.

Format: AMD 56860, "SEV Secure Nested Paging Firmware ABI Specification", table ATTESTATION_REPORT. The caller provides
the certificate of the key (endorsement ``vek``, DER); ASK, ASVK and ARK are packaged. Revocation (AMD's CRL) is not
looked at, and the result says so. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.hashes import SHA384

from cloister.attest import roots as packaged
from cloister.attest.evidence import Claims, Evidence
from cloister.attest.tee import signatures, vek
from cloister.attest.tee.bytes import Cursor
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import Examined, Roots, blob_of, check_size, conclude
from cloister.attest.tee.vek import Vek

TEE = "snp"
FORMATS = ("snp_report_v2", "snp_report_v3")
VENDORS = ("amd-milan", "amd-genoa", "amd-turin")
ENDORSEMENT = "vek"
REPORT_BYTES = 1184
SIGNED_BYTES = 0x2A0
_ECDSA_P384_SHA384 = 1
_SIGNING_KEYS = {0: "VCEK", 1: "VLEK"}
# Bits of the guest policy.
_MIGRATION_AGENT, _DEBUG = 1 << 18, 1 << 19
# CPUID family 0x19 and 0x1A: the products of their models (extended model in the upper four bits).
_FAMILIES = {
    0x19: {0x0: "Milan", 0x1: "Genoa", 0xA: "Genoa"},
    0x1A: {0x0: "Turin", 0x1: "Turin"},
}


class Report(NamedTuple):
    """The fields of a report, as the ABI names them; byte fields as bytes, TCB versions as their eight bytes."""

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    sig_algo: int
    current_tcb: bytes
    platform_info: int
    key_info: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid: tuple[int, int, int]
    chip_id: bytes
    committed_tcb: bytes
    launch_tcb: bytes
    signature: bytes

    @property
    def debug(self) -> bool:
        """The host may read and write the guest's memory."""
        return bool(self.policy & _DEBUG)

    @property
    def signing_key(self) -> str:
        """VCEK, VLEK, or "" (none, or a value the ABI reserves)."""
        return _SIGNING_KEYS.get(self.key_info >> 2 & 7, "")


def verify(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Return the claims of a report over ``binding`` (64 bytes of report data).

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    blob = blob_of(evidence, TEE, FORMATS, REPORT_BYTES)
    roots = tuple(root for vendor in VENDORS for root in packaged.of(vendor))
    examined = examine(blob, endorsements, roots, now)
    if examined.format != evidence.format:
        raise rejected("evidence.format", f"{examined.format} announced as {evidence.format}")
    return conclude(examined, binding)


def examine(blob: bytes, endorsements: Mapping[str, bytes], roots: Roots, now: datetime) -> Examined:
    """Return what a report says; the endorsement ``vek`` is the DER certificate of the key that signed it.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    # 1. Size, version, algorithm: one layout, one curve.
    report = parse(blob)
    if report.sig_algo != _ECDSA_P384_SHA384:
        raise rejected("evidence.algorithm", "a report not signed with ECDSA P-384 and SHA-384")
    # 2. The certificate of the key leads to the root of its product, and is valid now.
    if ENDORSEMENT not in endorsements:
        raise rejected("endorsements.missing", "the certificate of the key that signed the report (VCEK or VLEK)")
    key = vek.check(endorsements[ENDORSEMENT], roots, now)
    # 3. It is the certificate of this report: same kind of key, product, security versions and chip.
    _matches(report, key)
    # 4. The report is signed with that key; the rest of the signature area, which nobody signed, is zero.
    signatures.ecdsa(key.key, report.signature, blob[:SIGNED_BYTES], SHA384(), signatures.P384)
    return Examined(
        tee=TEE,
        format=f"snp_report_v{report.version}",
        verdict="verified",
        debug=report.debug,
        report_data=report.report_data.hex(),
        launch={"measurement": report.measurement.hex(), "host_data": report.host_data.hex()},
        signer=f"chip:{report.chip_id.hex()}" if key.kind == "VCEK" else f"operator:{key.operator}",
        tcb=vek.tcb_parts(report.reported_tcb, key.product),
        details={
            **_details(report),
            "product": key.product,
            "operator": key.operator,
            "tcb_committed": vek.tcb_parts(report.committed_tcb, key.product),
            "tcb_launch": vek.tcb_parts(report.launch_tcb, key.product),
        },
        warnings=_warnings(report),
        not_before=key.window.not_before,
        not_after=key.window.not_after,
    )


def parse(blob: bytes) -> Report:
    """Return the fields of a report.

    Raises:
        RejectedError: ``evidence.oversize``, ``evidence.truncated``, ``evidence.format`` or ``evidence.malformed``.
    """
    check_size(blob, REPORT_BYTES)
    cursor = Cursor(blob)
    version = cursor.u32()
    if version not in (2, 3):
        raise rejected("evidence.format", f"an SEV-SNP report of version {version}")
    guest_svn, policy = cursor.u32(), cursor.u64()
    family_id, image_id = cursor.take(16), cursor.take(16)
    vmpl, sig_algo, current_tcb = cursor.u32(), cursor.u32(), cursor.take(8)
    platform_info, key_info, _reserved = cursor.u64(), cursor.u32(), cursor.u32()
    # A bit that means something tomorrow is not ignored today.
    if policy >> 32 or platform_info >> 32:
        raise rejected("evidence.malformed", "reserved bits of the guest's policy or the platform's state are set")
    report_data, measurement, host_data = cursor.take(64), cursor.take(48), cursor.take(32)
    id_key_digest, author_key_digest = cursor.take(48), cursor.take(48)
    report_id, report_id_ma, reported_tcb = cursor.take(32), cursor.take(32), cursor.take(8)
    family, model, stepping = cursor.take(3)
    cursor.take(21)
    chip_id, committed_tcb, _versions, launch_tcb = cursor.take(64), cursor.take(8), cursor.take(8), cursor.take(8)
    cursor.take(SIGNED_BYTES - cursor.position)
    signature = _number(cursor) + _number(cursor)
    cursor.zeros(REPORT_BYTES - cursor.position, "the reserved bytes of the signature")
    return Report(
        version, guest_svn, policy, family_id, image_id, vmpl, sig_algo, current_tcb, platform_info, key_info,
        report_data, measurement, host_data, id_key_digest, author_key_digest, report_id, report_id_ma, reported_tcb,
        (family, model, stepping), chip_id, committed_tcb, launch_tcb, signature,
    )  # fmt: skip


def product_named(report: Report) -> str:
    """Return the product that the processor of a report says it is, in lower case; "" before version 3."""
    family, model, _ = report.cpuid
    return _FAMILIES.get(family, {}).get(model >> 4, "").lower() if report.version >= 3 else ""


def _number(cursor: Cursor) -> bytes:
    """Return one of r and s, 72 bytes little-endian, as the 48 bytes big-endian that a P-384 number has."""
    number = cursor.take(48)[::-1]
    cursor.zeros(24, "the upper bytes of a signature's number")
    return number


def _matches(report: Report, key: Vek) -> None:
    if report.signing_key != key.kind:
        raise rejected("evidence.key", f"signed with {report.signing_key or 'no key'}; the certificate is a {key.kind}")
    if report.version >= 3:
        family, model, _ = report.cpuid
        if _FAMILIES.get(family, {}).get(model >> 4) != key.product:
            raise rejected("tcb.chip", f"the report is of another processor than {key.product}")
    if report.reported_tcb != key.tcb:
        raise rejected("tcb.mismatch", "the certificate is for other security versions than the report's")
    # Turin's identifier is shorter than its field; a firmware that masks it reports zeros, which match no VCEK.
    if key.kind == "VCEK" and report.chip_id != key.hardware_id.ljust(64, b"\0"):
        raise rejected("tcb.chip", "the certificate is of another chip than the report's")


def _details(report: Report) -> dict[str, Any]:
    fields = report._asdict()
    del fields["signature"]
    readable = {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}
    return {
        **readable,
        "cpuid": list(report.cpuid),
        "debug": report.debug,
        "signing_key": report.signing_key,
        "migration_agent": bool(report.policy & _MIGRATION_AGENT),
        "author_key_en": report.key_info & 1,
        "mask_chip_key": report.key_info >> 1 & 1,
    }


def _warnings(report: Report) -> tuple[str, ...]:
    found = ["revocation: unchecked (AMD's list of revoked certificates was not looked at)"]
    if report.vmpl:
        found.append(f"the report was asked for at VMPL {report.vmpl}: more privileged code runs in the guest")
    if report.policy & _MIGRATION_AGENT:
        found.append("the guest's policy admits a migration agent")
    return tuple(found)
