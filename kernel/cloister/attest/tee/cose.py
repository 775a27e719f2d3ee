"""COSE_Sign1 (RFC 9052 section 4.2) with ECDSA (RFC 9053 section 2.1): the signatures of Nitro and Arm CCA.

The algorithm is the one that belongs to the curve of the key, and the *protected* header must name exactly that and
nothing else; whatever stands in the unprotected header is refused, so an attacker's ``kid``, ``x5chain`` or second
``alg`` never has a say.
"""

from __future__ import annotations

from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm

from cloister.attest.tee import cbor, signatures
from cloister.attest.tee.codes import rejected

TAG = 18
# By name of the curve: COSE algorithm, curve and hash.
_ALGORITHMS: dict[str, tuple[int, ec.EllipticCurve, HashAlgorithm]] = {
    "secp256r1": (-7, signatures.P256, SHA256()),
    "secp384r1": (-35, signatures.P384, SHA384()),
}


class Sign1(NamedTuple):
    """A COSE_Sign1 structure, not verified: protected header, payload and signature as bytes."""

    protected: bytes
    payload: bytes
    signature: bytes


def read(data: bytes, *, tagged: bool | None = None) -> Sign1:
    """Return the structure that ``data`` is; ``tagged`` requires tag 18, or its absence, or neither (None).

    Raises:
        RejectedError: ``evidence.malformed``, ``evidence.truncated`` or ``evidence.algorithm`` (unprotected header).
    """
    item = cbor.decode(data)
    has_tag = isinstance(item, cbor.Tag)
    if has_tag and item.number != TAG:
        raise rejected("evidence.malformed", f"CBOR tag {item.number} where COSE_Sign1 (18) belongs")
    if tagged is not None and tagged != has_tag:
        raise rejected("evidence.malformed", "COSE_Sign1 is tagged or untagged against its format")
    parts = item.value if has_tag else item
    if not (
        isinstance(parts, list)
        and len(parts) == 4
        and isinstance(parts[1], dict)
        and all(isinstance(parts[index], bytes) for index in (0, 2, 3))
    ):
        raise rejected("evidence.malformed", "not a COSE_Sign1 structure with its payload inside")
    if parts[1]:
        raise rejected("evidence.algorithm", "COSE_Sign1 with an unprotected header, which nobody signed")
    return Sign1(parts[0], parts[2], parts[3])


def verify(signed: Sign1, key: ec.EllipticCurvePublicKey) -> None:
    """Check the signature with ``key`` and the algorithm that belongs to its curve.

    Raises:
        RejectedError: ``evidence.algorithm`` (the header names another one) or ``evidence.signature``.
    """
    known = _ALGORITHMS.get(key.curve.name)
    if known is None:
        raise rejected("evidence.algorithm", f"no COSE algorithm is accepted for {key.curve.name}")
    algorithm, curve, digest = known
    if cbor.decode(signed.protected) != {1: algorithm}:
        raise rejected("evidence.algorithm", "the protected header is not the algorithm of the key's curve alone")
    signatures.ecdsa(key, signed.signature, to_be_signed(signed), digest, curve)


def to_be_signed(signed: Sign1) -> bytes:
    """Return Sig_structure ``["Signature1", protected, external_aad = h'', payload]`` (RFC 9052 section 4.4)."""
    parts = (cbor.encode_bytes(part) for part in (signed.protected, b"", signed.payload))
    return cbor.encode_head(4, 4) + cbor.encode_text("Signature1") + b"".join(parts)
