"""An AWS and an Arm platform of our own: attestation documents and CCA tokens, one knob for each lie."""

from __future__ import annotations

import functools
import hashlib
from datetime import datetime, timedelta
from typing import Any

import cbor2
import vendor_pki as pki
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloister.attest.tee import cca, nitro
from cloister.attest.tee.examined import Examined, Roots

BINDING = bytes(range(48)) + bytes(16)
ES384 = {1: -35}
LEAF = (pki.NOW - timedelta(minutes=1), pki.NOW + timedelta(hours=3))


def sign1(
    payload: bytes,
    key: ec.EllipticCurvePrivateKey,
    *,
    protected: Any = ES384,
    unprotected: Any = None,
    tag: bool = False,
) -> bytes:
    """Return a COSE_Sign1 with ECDSA P-384 whatever its headers say."""
    header = cbor2.dumps(protected)
    signature = pki.raw_signature(key, cbor2.dumps(["Signature1", header, b"", payload]))
    parts = [header, {} if unprotected is None else unprotected, payload, signature]
    return cbor2.dumps(cbor2.CBORTag(18, parts) if tag else parts)


@functools.cache
def aws_root() -> pki.Authority:
    return pki.issue("aws.nitro-enclaves", pki.p384("aws root"), authority=True)


@functools.cache
def aws_zone() -> pki.Authority:
    return pki.issue("zone", pki.p384("aws zone"), aws_root(), authority=True, path_length=0)


def aws_roots() -> Roots:
    return (aws_root().own,)


def payload(
    *,
    leaf: pki.Authority | None = None,
    at: datetime = pki.NOW,
    bundle: list[bytes] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return the fields of a document; ``changes`` replace fields (None removes optional ones)."""
    leaf = leaf or pki.issue("enclave", pki.p384("enclave"), aws_zone(), validity=LEAF)
    return {
        "module_id": "i-0-enc1",
        "digest": "SHA384",
        "timestamp": int(at.timestamp() * 1000),
        "pcrs": {index: bytes([index + 1]) * 48 for index in range(16)},
        "certificate": leaf.der,
        "cabundle": [aws_root().der, aws_zone().der] if bundle is None else bundle,
        "public_key": None,
        "user_data": None,
        "nonce": BINDING,
        **changes,
    }


def document(fields: dict[str, Any] | None = None, *, key: str = "enclave", **cose: Any) -> bytes:
    return sign1(cbor2.dumps(payload() if fields is None else fields), pki.p384(key), **cose)


def examine_nitro(blob: bytes, roots: Roots | None = None, now: datetime = pki.NOW) -> Examined:
    return nitro.examine(blob, {}, aws_roots() if roots is None else roots, now)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def cose_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    raw = point(key)
    return cbor2.dumps({1: 2, -1: 2, -2: raw[1:49], -3: raw[49:]})


def iak() -> bytes:
    return pki.p384("iak").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def realm(**changes: Any) -> dict[Any, Any]:
    """Return a realm's claims; ``changes`` are written ``c44238=...``."""
    claims = {
        10: BINDING, 44235: bytes(64), 44236: "sha-256", 44237: point(pki.p384("rak")), 44238: b"\1" * 32,
        44239: [bytes(32)] * 4, 44240: "sha-256",
    }  # fmt: skip
    return claims | {int(name[1:]): value for name, value in changes.items()}


def platform(realm_key: bytes, **changes: Any) -> dict[Any, Any]:
    part = {1: "BL", 2: bytes(32), 4: "1.0", 5: bytes(32), 6: "sha-256"}
    claims = {
        265: "http://arm.com/CCA-SSD/1.0.0", 10: hashlib.sha256(realm_key).digest(), 2396: bytes(32), 256: b"\1" * 33,
        2401: b"\1", 2395: 0x3003, 2402: "sha-256", 2399: [part],
    }  # fmt: skip
    return claims | {int(name[1:]): value for name, value in changes.items()}


def token(
    realm_claims: dict[Any, Any] | None = None,
    platform_claims: dict[Any, Any] | None = None,
    *,
    platform_key: str = "iak",
    realm_key: str = "rak",
    tag: int = 399,
) -> bytes:
    inner = realm() if realm_claims is None else realm_claims
    outer = platform(inner[44237]) if platform_claims is None else platform_claims
    both = {
        44234: sign1(cbor2.dumps(outer), pki.p384(platform_key), tag=True),
        44241: sign1(cbor2.dumps(inner), pki.p384(realm_key), tag=True),
    }
    return cbor2.dumps(cbor2.CBORTag(tag, both))


def examine_cca(blob: bytes, key: bytes | None = None) -> Examined:
    return cca.examine(blob, {cca.ENDORSEMENT: iak() if key is None else key}, (), pki.NOW)
