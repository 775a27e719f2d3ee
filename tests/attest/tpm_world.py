"""A TPM of our own: quotes, event logs, and the documents of Azure and Google around them."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Any

import amd_world as amd
import vendor_pki as pki
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloister.attest.tee import azure_vtpm, gcp_vtpm, tpm
from cloister.attest.tee.examined import Examined

NONCE = bytes(range(48))
PCRS = [bytes([number]) * 32 for number in range(24)]
ALL = b"\xff\xff\xff"


def sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def message(
    pcrs: list[bytes] = PCRS, *, nonce: bytes = NONCE, magic: int = 0xFF544347, kind: int = 0x8018, bitmap: bytes = ALL,
    bank: int = 0x000B, tail: bytes = b"", banks: int = 1,
) -> bytes:  # fmt: skip
    """Return a TPMS_ATTEST; each argument is one thing it may say."""
    chosen = [pcr for number, pcr in enumerate(pcrs) if int.from_bytes(bitmap, "little") >> number & 1]
    digest = hashlib.sha256(b"".join(chosen)).digest()
    head = struct.pack(">IH", magic, kind) + sized(bytes(34)) + sized(nonce)
    clock = struct.pack(">QIIBQ", 1, 2, 3, 1, 4)
    return head + clock + struct.pack(">IHB", banks, bank, len(bitmap)) + bitmap + sized(digest) + tail


def sign(data: bytes, key: str = "ak") -> bytes:
    return pki.rsa2048(key).sign(data, padding.PKCS1v15(), SHA256())


def tpmt_signature(signature: bytes, scheme: int = 0x0014, digest: int = 0x000B) -> bytes:
    return struct.pack(">HH", scheme, digest) + sized(signature)


def tpmt_public(
    key: str = "ak", *, attributes: int = 0x00050072, kind: int = 1, scheme: int = 0x0014, bits: int = 2048
) -> bytes:
    modulus = pki.rsa2048(key).public_key().public_numbers().n.to_bytes(256, "big")
    head = struct.pack(">HHI", kind, 0x000B, attributes) + sized(b"")
    return head + struct.pack(">HHHHI", 0x0010, scheme, 0x000B, bits, 0) + sized(modulus)


def spki(key: str = "ak") -> bytes:
    return pki.rsa2048(key).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def trustee(quoted: bytes | None = None, *, pcrs: list[bytes] = PCRS, key: str = "ak", **fields: Any) -> bytes:
    """Return the evidence of a TPM alone."""
    quoted = message() if quoted is None else quoted
    quote = {
        "message": base64.b64encode(quoted).decode(),
        "pcrs": [pcr.hex() for pcr in pcrs],
        "signature": base64.b64encode(tpmt_signature(sign(quoted, key))).decode(),
    } | fields
    return json.dumps({"ak_public": base64.b64encode(spki()).decode(), "tpm_quote": quote}).encode()


def examine_tpm(blob: bytes) -> Examined:
    return tpm.examine(blob, {}, (), pki.NOW)


def url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def runtime(key: str = "ak", **changes: Any) -> bytes:
    numbers = pki.rsa2048(key).public_key().public_numbers()
    ak = {
        "kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB",
        "n": url(numbers.n.to_bytes(256, "big")).rstrip("="),
    }  # fmt: skip
    document = {"keys": [ak], "vm-configuration": {"secure-boot": True}, "user-data": "00" * 64} | changes
    return json.dumps(document).encode()


def hcl(
    data: bytes | None = None, *, hardware: bytes | None = None, magic: bytes = b"HCLA", kind: int = 2, digest: int = 1,
    request: int = 2, size: int | None = None, reserved: bytes = bytes(16), tail: bytes = bytes(8),
) -> bytes:  # fmt: skip
    """Return the paravisor's report over runtime data; each argument is one thing it may say."""
    data = runtime() if data is None else data
    hardware = amd.report(report_data=hashlib.sha256(data).digest() + bytes(32)) if hardware is None else hardware
    body = struct.pack("<IIIII", 20 + len(data), 1, kind, digest, len(data)) + data
    total = 32 + len(hardware) + len(body) if size is None else size
    return magic + struct.pack("<III", 1, total, request) + reserved + hardware + body + tail


def azure(
    report: bytes | None = None, quoted: bytes | None = None, *, pcrs: list[bytes] = PCRS, key: str = "ak",
    version: int = 1, vcek: bytes | None = None, **fields: Any,
) -> bytes:  # fmt: skip
    quoted = message() if quoted is None else quoted
    quote = {"message": quoted.hex(), "pcrs": [pcr.hex() for pcr in pcrs], "signature": sign(quoted, key).hex()}
    document = {
        "version": version, "hcl_report": url(hcl() if report is None else report), "tpm_quote": quote,
        "vcek": url(amd.vek() if vcek is None else vcek),
    }  # fmt: skip
    return json.dumps(document | fields).encode()


def examine_azure(blob: bytes) -> Examined:
    return azure_vtpm.examine_snp(blob, {}, amd.roots(), pki.NOW)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def event(pcr: int, data: bytes, *, kind: int = 1) -> bytes:
    return struct.pack("<III", pcr, kind, 1) + struct.pack("<H", 0x000B) + hashlib.sha256(data).digest() + struct.pack(
        "<I", len(data)
    ) + data  # fmt: skip


def event_log(*events: bytes) -> bytes:
    body = b"Spec ID Event03\0" + bytes(8) + struct.pack("<IHHB", 1, 0x000B, 32, 0)
    return struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", len(body)) + body + b"".join(events)


def replayed(*data: bytes) -> bytes:
    value = bytes(32)
    for each in data:
        value = hashlib.sha256(value + hashlib.sha256(each).digest()).digest()
    return value


def gce_quote(quoted: bytes | None = None, *, pcrs: list[bytes] = PCRS, key: str = "ak", bank: int = 0x000B) -> bytes:
    quoted = message(pcrs) if quoted is None else quoted
    entries = b"".join(field(2, field(1, number) + field(2, pcr)) for number, pcr in enumerate(pcrs))
    return field(1, quoted) + field(2, tpmt_signature(sign(quoted, key))) + field(3, field(1, bank) + entries)


def gce(*quotes: bytes, public: bytes | None = None, log: bytes = b"", certificate: bytes = b"") -> bytes:
    out = field(1, tpmt_public() if public is None else public)
    out += b"".join(field(2, quote) for quote in quotes or (gce_quote(),))
    return out + (field(3, log) if log else b"") + (field(6, certificate) if certificate else b"")


def examine_gce(blob: bytes) -> Examined:
    return gcp_vtpm.examine(blob, {}, (), pki.NOW)
