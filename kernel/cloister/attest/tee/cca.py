"""Arm CCA attestation tokens: a platform token and a realm token, each COSE_Sign1, bound by the realm's key.

Format: Arm DEN0137, "Realm Management Monitor specification", section A7.2 (CBOR tag 399 over a map of both tokens).
The platform token is signed by the platform's attestation key (IAK), which no vendor root certifies here: the relying
party names it (endorsement ``iak``, PEM). The vectors come from a software model and emulated keys, not from silicon.
Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from cloister.attest.evidence import Claims, Evidence
from cloister.attest.tee import carriers, cbor, cose, signatures
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import Examined, Roots, blob_of, check_size, conclude

TEE = "cca"
FORMAT = "cca_token_cbor399"
ENDORSEMENT = "iak"
MAX_TOKEN = 16 * 1024
MAX_KEY = 1024
_TAG, _PLATFORM, _REALM = 399, 44234, 44241
_NONCE, _PROFILE = 10, 265
# Realm claims.
_PERSONALISATION, _REALM_HASH, _KEY, _INITIAL, _EXTENSIBLE, _KEY_HASH = 44235, 44236, 44237, 44238, 44239, 44240
# Platform claims.
_INSTANCE, _LIFECYCLE, _IMPLEMENTATION, _COMPONENTS, _CONFIGURATION, _HASH = 256, 2395, 2396, 2399, 2401, 2402
_PLATFORM_PROFILES = ("http://arm.com/CCA-SSD/1.0.0", "tag:arm.com,2023:cca_platform#1.0.0")
_REALM_PROFILES = (None, "tag:arm.com,2023:realm#1.0.0")
_SECURED = range(0x3000, 0x3100)
_HASHES = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}
_MEASUREMENT_BYTES = (32, 48, 64)


class Realm(NamedTuple):
    """The realm token's claims: challenge (64 bytes), key, and the measurements with the name of their hash."""

    challenge: bytes
    personalisation: bytes
    key: bytes
    key_hash: str
    initial: bytes
    extensible: tuple[bytes, ...]
    hash: str


class Platform(NamedTuple):
    """The platform token's claims; ``nonce`` is the hash of the realm's key."""

    nonce: bytes
    instance: bytes
    implementation: bytes
    lifecycle: int
    components: tuple[dict[str, str], ...]


def verify(evidence: Evidence, binding: bytes, endorsements: Mapping[str, bytes], now: datetime) -> Claims:
    """Return the claims of a token whose challenge is ``binding``; only the relying party may name the IAK.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    carriers.refuse_own_keys(evidence, ENDORSEMENT)
    blob = blob_of(evidence, TEE, (FORMAT,), MAX_TOKEN)
    return conclude(examine(blob, endorsements, (), now), binding)


def examine(blob: bytes, endorsements: Mapping[str, bytes], _roots: Roots, _now: datetime) -> Examined:
    """Return what a token says; the endorsement ``iak`` is the platform's public key, which the caller trusts.

    Raises:
        RejectedError: A code of ``codes.CODES``.
    """
    # 1. Size, and the two tokens in their envelope.
    check_size(blob, MAX_TOKEN)
    signed_platform, signed_realm = _tokens(blob)
    realm, platform = parse_realm(signed_realm.payload), parse_platform(signed_platform.payload)
    # 2. The platform token is signed with the key that the relying party trusts.
    if ENDORSEMENT not in endorsements:
        raise rejected("endorsements.missing", "the platform's attestation key (IAK)")
    iak = _iak(endorsements[ENDORSEMENT])
    cose.verify(signed_platform, iak)
    # 3. The platform vouches for the realm's key by its hash, and that key signed the realm token.
    if hashlib.new(_HASHES[realm.key_hash], realm.key).digest() != platform.nonce:
        raise rejected("evidence.key", "the platform vouches for another realm key")
    cose.verify(signed_realm, _realm_key(realm.key))
    return Examined(
        tee=TEE,
        format=FORMAT,
        verdict="verified",
        debug=platform.lifecycle not in _SECURED,
        report_data=realm.challenge.hex(),
        launch={
            "rim": realm.initial.hex(),
            "rpv": realm.personalisation.hex(),
            **{f"rem{index}": value.hex() for index, value in enumerate(realm.extensible)},
        },
        signer=f"instance:{platform.instance.hex()}",
        details={
            "challenge": realm.challenge.hex(),
            "lifecycle": platform.lifecycle,
            "implementation": platform.implementation.hex(),
            "hash": realm.hash,
            "components": list(platform.components),
            "iak_sha256": hashlib.sha256(iak.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest(),
        },
        warnings=("the platform's key is the caller's own word: no vendor root certifies it here",),
    )


def parse_realm(payload: bytes) -> Realm:
    """Return the claims of a realm token.

    Raises:
        RejectedError: ``evidence.malformed``, ``evidence.truncated`` or ``evidence.algorithm``.
    """
    claims = _claims(payload, _REALM_PROFILES)
    extensible = claims.get(_EXTENSIBLE)
    if not isinstance(extensible, list) or len(extensible) != 4:
        raise rejected("evidence.malformed", "not four extensible measurements")
    return Realm(
        challenge=_bytes(claims, _NONCE, (64,)),
        personalisation=_bytes(claims, _PERSONALISATION, (64,)),
        key=_bytes(claims, _KEY, range(1, 256)),
        key_hash=_hash(claims, _KEY_HASH),
        initial=_bytes(claims, _INITIAL, _MEASUREMENT_BYTES),
        extensible=tuple(_bytes({0: value}, 0, _MEASUREMENT_BYTES) for value in extensible),
        hash=_hash(claims, _REALM_HASH),
    )


def parse_platform(payload: bytes) -> Platform:
    """Return the claims of a platform token.

    Raises:
        RejectedError: ``evidence.malformed``, ``evidence.truncated`` or ``evidence.algorithm``.
    """
    claims = _claims(payload, _PLATFORM_PROFILES)
    lifecycle, components = claims.get(_LIFECYCLE), claims.get(_COMPONENTS)
    if not isinstance(lifecycle, int) or isinstance(lifecycle, bool) or not 0 <= lifecycle <= 0xFFFF:
        raise rejected("evidence.malformed", "a life cycle that is no 16-bit number")
    if not isinstance(components, list) or not components:
        raise rejected("evidence.malformed", "a platform without software components")
    _hash(claims, _HASH)
    _bytes(claims, _CONFIGURATION, range(1, 1024))
    return Platform(
        nonce=_bytes(claims, _NONCE, _MEASUREMENT_BYTES),
        instance=_bytes(claims, _INSTANCE, (33,)),
        implementation=_bytes(claims, _IMPLEMENTATION, (32,)),
        lifecycle=lifecycle,
        components=tuple(map(_component, components)),
    )


def _tokens(blob: bytes) -> tuple[cose.Sign1, cose.Sign1]:
    item = cbor.decode(blob)
    if not isinstance(item, cbor.Tag) or item.number != _TAG or not isinstance(item.value, dict):
        raise rejected("evidence.format", "not a CCA token (CBOR tag 399)")
    if set(item.value) != {_PLATFORM, _REALM}:
        raise rejected("evidence.malformed", "a CCA token is one platform token and one realm token")
    tokens = [_bytes(item.value, name, range(1, MAX_TOKEN)) for name in (_PLATFORM, _REALM)]
    return cose.read(tokens[0], tagged=True), cose.read(tokens[1], tagged=True)


def _claims(payload: bytes, profiles: tuple[str | None, ...]) -> dict[Any, Any]:
    claims = cbor.decode(payload)
    if not isinstance(claims, dict):
        raise rejected("evidence.malformed", "claims that are no map")
    if claims.get(_PROFILE) not in profiles:
        raise rejected("evidence.format", "a token of a profile that is not known here")
    return claims


def _bytes(claims: Mapping[Any, Any], name: int, sizes: tuple[int, ...] | range) -> bytes:
    value = claims.get(name)
    if not isinstance(value, bytes) or len(value) not in sizes:
        raise rejected("evidence.malformed", f"claim {name} is not bytes of a right length")
    return value


def _hash(claims: Mapping[Any, Any], name: int) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or value not in _HASHES:
        raise rejected("evidence.algorithm", f"claim {name} names no hash that is accepted here")
    return value


def _component(value: Any) -> dict[str, str]:
    """Return type, version, measurement and signer of a software component (keys 1, 4, 2 and 5)."""
    if not isinstance(value, dict):
        raise rejected("evidence.malformed", "a software component that is no map")
    texts = {name: value.get(key, "") for name, key in (("type", 1), ("version", 4))}
    if not all(isinstance(text, str) for text in texts.values()):
        raise rejected("evidence.malformed", "a software component whose name or version is no text")
    digests = {name: _bytes(value, key, _MEASUREMENT_BYTES).hex() for name, key in (("measurement", 2), ("signer", 5))}
    return {**texts, **digests}


def _realm_key(data: bytes) -> ec.EllipticCurvePublicKey:
    """Return the realm's key: an uncompressed P-384 point (first releases) or a COSE_Key (RFC 9052 section 7)."""
    if len(data) == 97 and data[0] == 0x04:
        return signatures.ec_point(data[1:], signatures.P384)
    key = cbor.decode(data)
    if not isinstance(key, dict) or key.get(1) != 2 or key.get(-1) != 2:
        raise rejected("evidence.algorithm", "a realm key that is not on P-384")
    return signatures.ec_point(_bytes(key, -2, (48,)) + _bytes(key, -3, (48,)), signatures.P384)


def _iak(pem: bytes) -> ec.EllipticCurvePublicKey:
    check_size(pem, MAX_KEY, "endorsements.oversize")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise rejected("endorsements.malformed", "the platform's key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise rejected("evidence.algorithm", "the platform's key is of another algorithm")
    return key
