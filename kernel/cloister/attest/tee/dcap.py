"""Intel DCAP quotes (ECDSA P-256), shared by SGX and TDX: signatures from the quote to Intel's root, then the TCB.

Layouts: Intel SGX ECDSA quote library reference, appendix A (version 3); Intel TDX DCAP quoting library, appendix A
(versions 4 and 5). What follows the quote in its buffer must be zero. Evidence is malleable all the same (an ECDSA
signature has two forms, PEM may end in zeros): never name evidence by the hash of its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256

from cloister.attest.tee import intel_collateral, intel_pck, intel_tcb, sgx_report, signatures, x509
from cloister.attest.tee.bytes import Cursor
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import check_size
from cloister.attest.tee.intel_pck import Platform
from cloister.attest.tee.intel_tcb import Judged, TdxTcb
from cloister.attest.tee.sgx_report import SgxReport
from cloister.attest.tee.x509 import Certificate, Window

MAX_QUOTE = 64 * 1024
COLLATERAL = "collateral"
HEADER = 48
SGX_TEE, TDX_TEE = 0x00, 0x81
_ECDSA_P256 = 2
_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_PCK_CHAIN, _QE_REPORT = 5, 6
_PCK_NAME = "Intel SGX PCK Certificate"
_AUTHORITIES = {"Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"}


class Header(msgspec.Struct, frozen=True):
    """Version and TEE type of a quote."""

    version: int
    tee_type: int


class Signatures(msgspec.Struct, frozen=True):
    """The signature part of a quote."""

    signature: bytes
    key: bytes
    qe_report: bytes
    qe_signature: bytes
    qe_auth: bytes
    chain: bytes


class Established(msgspec.Struct, frozen=True):
    """What a quote's signatures and collateral establish; ``tcb`` is None without collateral."""

    platform: Platform
    qe: SgxReport
    tcb: Judged | None
    window: Window

    @property
    def signer(self) -> str:
        """The platform's name: its PPID."""
        return f"ppid:{self.platform.ppid.hex()}"

    @property
    def details(self) -> dict[str, Any]:
        """What verdicts and policies may want to know of the platform."""
        found: dict[str, Any] = {
            "fmspc": self.platform.fmspc.hex(),
            "pce_id": self.platform.pce_id.hex(),
            "pce_svn": self.platform.pce_svn,
            "platform_cpu_svn": self.platform.cpu_svn.hex(),
            "sgx_type": self.platform.sgx_type,
            "qe_isv_svn": self.qe.isv_svn,
        }
        if self.tcb:
            found |= {
                "platform_status": self.tcb.platform_status,
                "tcb_date": self.tcb.date,
                "tcb_eval_num": self.tcb.evaluation,
            }
        return found


def open_quote(blob: bytes) -> tuple[Cursor, Header]:
    """Return a cursor behind the header of a quote, and the header.

    Raises:
        RejectedError: ``evidence.oversize``, ``evidence.truncated``, ``evidence.format`` or ``evidence.algorithm``.
    """
    check_size(blob, MAX_QUOTE)
    at = Cursor(blob)
    version, key_type = at.u16(), at.u16()
    # In version 3 the next four bytes are reserved; SGX has type 0, so both read alike.
    tee_type = at.u32()
    at.take(4)
    vendor = at.take(16)
    at.take(20)
    if version not in (3, 4, 5):
        raise rejected("evidence.format", f"no DCAP quote of version 3, 4 or 5 ({version})")
    if key_type != _ECDSA_P256:
        raise rejected("evidence.algorithm", f"attestation key type {key_type} where ECDSA on P-256 (2) must be")
    if vendor != _QE_VENDOR:
        raise rejected("evidence.format", "a quoting enclave of another vendor")
    return at, Header(version, tee_type)


def read_signatures(at: Cursor, header: Header) -> Signatures:
    """Return the signature part that follows the body; the cursor stands at the end of the quote afterwards.

    Raises:
        RejectedError: ``evidence.truncated``, ``evidence.malformed`` or ``evidence.format``.
    """
    part = at.sub(at.u32())
    signature, key = part.take(64), part.take(64)
    if header.version >= 4:
        if part.u16() != _QE_REPORT:
            raise rejected("evidence.format", "certification data that is no report of the quoting enclave")
        inner = part.sub(part.u32())
        part.end("the signature part")
        part = inner
    qe_report, qe_signature = part.take(sgx_report.SIZE), part.take(64)
    qe_auth = part.take(part.u16())
    if part.u16() != _PCK_CHAIN:
        raise rejected("evidence.format", "the quote does not carry its platform's certificate chain")
    chain = part.take(part.u32())
    part.end("the certification data")
    return Signatures(signature, key, qe_report, qe_signature, qe_auth, chain)


def establish(
    signed: bytes,
    found: Signatures,
    endorsements: Mapping[str, bytes],
    roots: tuple[Certificate, ...],
    now: datetime,
    *,
    tdx: TdxTcb | None,
) -> Established:
    """Check a quote from the bottom up: ``signed`` is its header and body; ``tdx`` a trust domain's versions.

    Raises:
        RejectedError: The first check that fails says why.
    """
    # 1. Who vouches: the platform's PCK certificate, issued under Intel's root.
    chain = x509.parse_pem(found.chain)
    window = x509.check_chain(chain, roots, now)
    names = [x509.common_name(each.subject) for each in chain]
    if len(chain) != 3 or names[0] != _PCK_NAME or names[1] not in _AUTHORITIES or chain[2] not in roots:
        raise rejected("evidence.chain", "not a PCK certificate under one of Intel's platform authorities")
    platform = intel_pck.platform_of(chain[0])
    # 2. The platform signed the report of its quoting enclave, and that report names the attestation key.
    pck_key = signatures.ec_key(chain[0].spki)
    signatures.ecdsa(pck_key, found.qe_signature, found.qe_report, SHA256(), signatures.P256)
    qe = sgx_report.parse(found.qe_report)
    if qe.report_data != hashlib.sha256(found.key + found.qe_auth).digest() + bytes(32):
        raise rejected("evidence.key", "the quoting enclave vouches for another attestation key")
    if qe.debug:
        raise rejected("qe.identity", "the quoting enclave was started for debugging")
    # 3. That key signed header and body.
    key = signatures.ec_point(found.key, signatures.P256)
    signatures.ecdsa(key, found.signature, signed, SHA256(), signatures.P256)
    # 4. Whether Intel stands by all of this today.
    collateral = endorsements.get(COLLATERAL)
    if collateral is None:
        return Established(platform, qe, None, window)
    checked = intel_collateral.check(collateral, chain, roots, now)
    judged = intel_tcb.judge(checked, platform, qe, tdx)
    return Established(platform, qe, judged, window.narrow(checked.window))


def platform_named(found: Signatures) -> Platform:
    """Return the platform that a quote's own certificate names, without any check: only to look something up.

    Raises:
        RejectedError: ``evidence.malformed`` and the like.
    """
    return intel_pck.platform_of(x509.parse_pem(found.chain)[0])


def check_padding(at: Cursor) -> None:
    """Refuse anything but zeros after the quote.

    Checked last: what the platform lacks is the better reason for who sees several.

    Raises:
        RejectedError: ``evidence.malformed``.
    """
    at.zeros(at.remaining, "bytes after the quote")
