"""A small Intel of our own: a PKI with Intel's names, quotes and collateral signed by it, one knob for each lie.

The real vectors show that genuine evidence passes; this world shows which single change makes it fail, with signatures
that are all in order but for the one under test.
"""

from __future__ import annotations

import functools
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from cloister.attest.tee import x509 as own
from cloister.attest.tee.examined import Examined
from cloister.attest.tee.formats import FORMATS

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LONG = (NOW - timedelta(days=100), NOW + timedelta(days=1000))
SHORT = (NOW - timedelta(days=10), NOW + timedelta(days=20))
FMSPC, PPID = bytes.fromhex("00906ed50000"), bytes(range(16))
SVNS = [5, 5, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]
TEE_SVN = bytes.fromhex("03000500000000000000000000000000")
PCE_SVN = 11
SEPT_VE_DISABLE = bytes.fromhex("0000001000000000")
QE_SIGNER = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
ROOT, PLATFORM, PCK, TCB = (
    f"Intel SGX {what}" for what in ("Root CA", "PCK Platform CA", "PCK Certificate", "TCB Signing")
)


@functools.cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return the key of a role, the same within a run."""
    return ec.generate_private_key(ec.SECP256R1())


def name_of(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Intel Corporation"),
        ]
    )


def tlv(tag: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    size = bytes([len(value)]) if len(value) < 0x80 else b"\x82" + len(value).to_bytes(2, "big")
    return bytes([tag]) + size + value


def oid(dotted: str) -> bytes:
    return tlv(6, x509.ObjectIdentifier(dotted).dotted_string and _oid_bytes(dotted))


def _oid_bytes(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    out = bytearray()
    for arc in (40 * first + second, *rest):
        seven = [arc & 0x7F]
        while arc := arc >> 7:
            seven.insert(0, arc & 0x7F | 0x80)
        out += bytes(seven)
    return bytes(out)


def integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


SGX = "1.2.840.113741.1.13.1"


def sgx_extension(fmspc: bytes, svns: list[int], pce_svn: int, pce_id: bytes = b"\0\0") -> bytes:
    tcb = [tlv(0x30, oid(f"{SGX}.2.{n}"), integer(svn)) for n, svn in enumerate(svns, 1)]
    tcb.append(tlv(0x30, oid(f"{SGX}.2.17"), integer(pce_svn)))
    tcb.append(tlv(0x30, oid(f"{SGX}.2.18"), tlv(4, bytes(svns))))
    return tlv(
        0x30,
        tlv(0x30, oid(f"{SGX}.1"), tlv(4, PPID)),
        tlv(0x30, oid(f"{SGX}.2"), tlv(0x30, *tcb)),
        tlv(0x30, oid(f"{SGX}.3"), tlv(4, pce_id)),
        tlv(0x30, oid(f"{SGX}.4"), tlv(4, fmspc)),
        tlv(0x30, oid(f"{SGX}.5"), tlv(0x0A, b"\x01")),
    )


def certify(
    common: str,
    issuer: str,
    *,
    ca: bool,
    serial: int,
    times: tuple[datetime, datetime] = LONG,
    extension: bytes | None = None,
    signer: str | None = None,
    path: int | None = None,
    critical: str | None = None,
) -> bytes:
    """Return a DER certificate; ``signer`` signs it if not ``issuer``'s own key."""
    usage = x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(common))
        .issuer_name(name_of(issuer))
        .public_key(key(common).public_key())
        .serial_number(serial)
        .not_valid_before(times[0])
        .not_valid_after(times[1])
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path), critical=True)
        .add_extension(usage, critical=True)
    )
    if extension is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(SGX), extension), False)
    if critical is not None:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(critical), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    return builder.sign(key(signer or issuer), SHA256()).public_bytes(Encoding.DER)


def revoke(issuer: str, serials: tuple[int, ...], times: tuple[datetime, datetime], signer: str | None = None) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name_of(issuer))
        .last_update(times[0])
        .next_update(times[1])
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(times[0]).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key(signer or issuer), SHA256()).public_bytes(Encoding.DER)


def raw_signature(signer: str, data: bytes) -> bytes:
    r, s = decode_dss_signature(key(signer).sign(data, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def point(common: str) -> bytes:
    return key(common).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def pem(*certificates: bytes) -> str:
    return "".join(own.to_pem(own.parse(each)) + "\n" for each in certificates)


def stamp(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def sgx_report(
    *, report_data: bytes, mr_signer: bytes = b"\x11" * 32, attributes: bytes = b"\x05" + bytes(15), product: int = 0,
    svn: int = 0, misc: bytes = bytes(4),
) -> bytes:  # fmt: skip
    return (
        bytes(16) + misc + bytes(12) + bytes(16) + attributes + b"\x22" * 32 + bytes(32) + mr_signer + bytes(32)
        + bytes(64) + struct.pack("<HHH", product, svn, 0) + bytes(42) + bytes(16) + report_data
    )  # fmt: skip


def td_report(
    *, report_data: bytes, svn: bytes = TEE_SVN, attributes: bytes = SEPT_VE_DISABLE, seam_signer: bytes = bytes(48),
    seam_attributes: bytes = bytes(8), extra: bool = False,
) -> bytes:  # fmt: skip
    body = (
        svn + b"\x33" * 48 + seam_signer + seam_attributes + attributes + bytes(8) + b"\x44" * 48 + bytes(48 * 3)
        + b"".join(bytes([n]) * 48 for n in range(4)) + report_data
    )  # fmt: skip
    return body + (svn + bytes(48) if extra else b"")


@dataclass
class IntelWorld:
    """One platform and its collateral. Change a field, then ask for ``quote`` and ``collateral``."""

    version: int = 4
    now: datetime = NOW
    report_data: bytes = b"r" * 64
    svns: list[int] = field(default_factory=lambda: list(SVNS))
    fmspc: bytes = FMSPC
    pce_svn: int = PCE_SVN
    td: dict[str, Any] = field(default_factory=dict)
    enclave: dict[str, Any] = field(default_factory=dict)
    qe: dict[str, Any] = field(default_factory=dict)
    qe_auth: bytes = bytes(range(32))
    certification: int = 5
    inner_tail: bytes = b""
    outer_tail: bytes = b""
    vouched_key: str = "attestation"
    pck_signer: str = PCK
    attestation_signer: str = "attestation"
    tail: bytes = b""
    chain: tuple[bytes, ...] | None = None
    info: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    info_signer: str = TCB
    identity_signer: str = TCB
    tcb_chain: tuple[bytes, ...] | None = None
    crl_chain: tuple[bytes, ...] | None = None
    revoked_platforms: tuple[int, ...] = ()
    revoked_authorities: tuple[int, ...] = ()
    crl_times: tuple[datetime, datetime] = SHORT
    crl_signer: str | None = None
    root_crl_signer: str | None = None
    pck_times: tuple[datetime, datetime] = LONG
    tcb_times: tuple[datetime, datetime] = LONG
    bundle: dict[str, str] = field(default_factory=dict)

    @property
    def tdx(self) -> bool:
        return self.version >= 4

    @functools.cached_property
    def root(self) -> bytes:
        return certify(ROOT, ROOT, ca=True, serial=1, path=1)

    @functools.cached_property
    def authority(self) -> bytes:
        return certify(PLATFORM, ROOT, ca=True, serial=2, path=0)

    @functools.cached_property
    def pck(self) -> bytes:
        extension = sgx_extension(self.fmspc, self.svns, self.pce_svn)
        return certify(PCK, PLATFORM, ca=False, serial=3, times=self.pck_times, extension=extension)

    @functools.cached_property
    def tcb_certificate(self) -> bytes:
        return certify(TCB, ROOT, ca=False, serial=4, times=self.tcb_times)

    @property
    def roots(self) -> tuple[own.Certificate, ...]:
        return (own.parse(self.root),)

    def quote(self) -> bytes:
        tee = 0x81 if self.tdx else 0
        header = struct.pack("<HHI4s", self.version, 2, tee, bytes(4))
        header += bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + bytes(20)
        if self.tdx:
            body = td_report(report_data=self.report_data, extra=self.version == 5, **self.td)
            kind = struct.pack("<HI", 3, len(body)) if self.version == 5 else b""
        else:
            body, kind = sgx_report(report_data=self.report_data, **self.enclave), b""
        signed = header + kind + body
        vouched = hashlib.sha256(point(self.vouched_key) + self.qe_auth).digest() + bytes(32)
        qe = {"mr_signer": QE_SIGNER, "attributes": b"\x11" + bytes(15), "product": 2, "svn": 4, **self.qe}
        qe_report = sgx_report(**{"report_data": vouched, **qe})
        chain = pem(*(self.chain or (self.pck, self.authority, self.root))).encode()
        certified = qe_report + raw_signature(self.pck_signer, qe_report)
        certified += (
            struct.pack("<H", len(self.qe_auth))
            + self.qe_auth
            + struct.pack("<HI", self.certification, len(chain))
            + chain
            + self.inner_tail
        )
        if self.version >= 4:
            certified = struct.pack("<HI", 6, len(certified)) + certified
        signature = raw_signature(self.attestation_signer, signed) + point("attestation") + certified + self.outer_tail
        return signed + struct.pack("<I", len(signature)) + signature + self.tail

    def tcb_info(self) -> dict[str, Any]:
        components = [{"svn": svn} for svn in SVNS]
        level = {"sgxtcbcomponents": components, "pcesvn": PCE_SVN}
        if self.tdx:
            level["tdxtcbcomponents"] = [{"svn": svn} for svn in TEE_SVN]
        found: dict[str, Any] = {
            "id": "TDX" if self.tdx else "SGX", "version": 3, "issueDate": stamp(SHORT[0]),
            "nextUpdate": stamp(SHORT[1]), "fmspc": FMSPC.hex().upper(), "pceId": "0000", "tcbType": 0,
            "tcbEvaluationDataNumber": 17,
            "tcbLevels": [{"tcb": level, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate"}],
        }  # fmt: skip
        if self.tdx:
            module = {"mrsigner": "0" * 96, "attributes": "0" * 16, "attributesMask": "F" * 16}
            found["tdxModule"] = module
            found["tdxModuleIdentities"] = [{**module, "id": "TDX_01", "tcbLevels": [
                {"tcb": {"isvsvn": 4}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate"},
                {"tcb": {"isvsvn": 2}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "OutOfDate",
                 "advisoryIDs": ["INTEL-SA-00002"]},
            ]}]  # fmt: skip
        return {**found, **self.info}

    def qe_identity(self) -> dict[str, Any]:
        found = {
            "id": "TD_QE" if self.tdx else "QE", "version": 2, "issueDate": stamp(SHORT[0]),
            "nextUpdate": stamp(SHORT[1]), "tcbEvaluationDataNumber": 18, "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF", "attributes": "11" + "0" * 30, "attributesMask": "FB" + "F" * 14 + "0" * 16,
            "mrsigner": QE_SIGNER.hex().upper(), "isvprodid": 2, "tcbLevels": [
                {"tcb": {"isvsvn": 4}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate"},
                {"tcb": {"isvsvn": 2}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "OutOfDate",
                 "advisoryIDs": ["INTEL-SA-00001"]},
            ],
        }  # fmt: skip
        return {**found, **self.identity}

    def collateral(self) -> bytes:
        info, identity = (json.dumps(each, separators=(",", ":")) for each in (self.tcb_info(), self.qe_identity()))
        tcb_chain = pem(*(self.tcb_chain or (self.tcb_certificate, self.root)))
        bundle = {
            "pck_crl_issuer_chain": pem(*(self.crl_chain or (self.authority, self.root))),
            "root_ca_crl": revoke(ROOT, self.revoked_authorities, self.crl_times, self.root_crl_signer).hex(),
            "pck_crl": revoke(PLATFORM, self.revoked_platforms, self.crl_times, self.crl_signer).hex(),
            "tcb_info_issuer_chain": tcb_chain,
            "tcb_info": info,
            "tcb_info_signature": raw_signature(self.info_signer, info.encode()).hex(),
            "qe_identity_issuer_chain": tcb_chain,
            "qe_identity": identity,
            "qe_identity_signature": raw_signature(self.identity_signer, identity.encode()).hex(),
        }
        return json.dumps({**bundle, **self.bundle}).encode()

    def examine(self, endorsements: Mapping[str, bytes] | None = None) -> Examined:
        name = ("tdx", f"tdx_quote_v{self.version}") if self.tdx else ("sgx", "sgx_quote_v3")
        given = {"collateral": self.collateral()} if endorsements is None else endorsements
        return FORMATS[name].examine(self.quote(), given, self.roots, self.now)
