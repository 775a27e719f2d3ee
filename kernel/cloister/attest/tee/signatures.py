"""Signature checks: the algorithm is the caller's, never the message's; every failure is one refusal.

``code`` is the reason code of a wrong signature.
"""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from cloister.attest.tee.codes import rejected

P256: ec.EllipticCurve = ec.SECP256R1()
P384: ec.EllipticCurve = ec.SECP384R1()
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 4096


def ec_point(point: bytes, curve: ec.EllipticCurve, area: str = "evidence") -> ec.EllipticCurvePublicKey:
    """Return the key of raw coordinates ``x || y``, which must lie on the curve."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + point)
    except ValueError as error:
        raise rejected(f"{area}.malformed", "a public key that is no point of its curve") from error


def ec_key(spki: bytes, area: str = "evidence") -> ec.EllipticCurvePublicKey:
    """Return the elliptic-curve key of a DER SubjectPublicKeyInfo; raises as ``public_key`` does."""
    key: ec.EllipticCurvePublicKey = public_key(spki, ec.EllipticCurvePublicKey, area)
    return key


def rsa_key(spki: bytes, area: str = "evidence") -> rsa.RSAPublicKey:
    """Return the RSA key, of 2048 to 4096 bits, of a DER SubjectPublicKeyInfo; raises as ``public_key`` does."""
    key: rsa.RSAPublicKey = public_key(spki, rsa.RSAPublicKey, area)
    return key


def public_key(spki: bytes, kind: Any, area: str = "evidence") -> Any:
    """Return the key of a DER SubjectPublicKeyInfo, which must be of class ``kind``.

    Raises:
        RejectedError: ``<area>.malformed``, or ``evidence.algorithm``: a key of another kind or size.
    """
    try:
        key = load_der_public_key(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise rejected(f"{area}.malformed", "a public key that cannot be read") from error
    if not isinstance(key, kind):
        raise rejected("evidence.algorithm", "a public key of another algorithm")
    if isinstance(key, rsa.RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise rejected("evidence.algorithm", f"an RSA key of {key.key_size} bits")
    return key


def ecdsa(
    key: ec.EllipticCurvePublicKey,
    signature: bytes,
    message: bytes,
    digest: HashAlgorithm,
    curve: ec.EllipticCurve,
    *,
    code: str = "evidence.signature",
) -> None:
    """Check a raw ECDSA signature ``r || s`` (big-endian, each as long as the curve's field).

    Raises:
        RejectedError: ``code``, or ``evidence.algorithm`` (the key is on another curve).
    """
    width = (curve.key_size + 7) // 8
    if len(signature) != 2 * width:
        raise rejected(code, f"a signature of {len(signature)} bytes where {2 * width} must stand")
    r, s = (int.from_bytes(part, "big") for part in (signature[:width], signature[width:]))
    ecdsa_der(key, encode_dss_signature(r, s), message, digest, curve, code=code)


def ecdsa_der(
    key: ec.EllipticCurvePublicKey,
    signature: bytes,
    message: bytes,
    digest: HashAlgorithm,
    curve: ec.EllipticCurve,
    *,
    code: str = "evidence.signature",
) -> None:
    """Check a DER-encoded ECDSA signature."""
    if key.curve.name != curve.name:
        raise rejected("evidence.algorithm", f"a key on {key.curve.name} where {curve.name} must be")
    try:
        key.verify(signature, message, ec.ECDSA(digest))
    except (InvalidSignature, ValueError) as error:
        raise rejected(code, "a signature is wrong") from error


def rsa_pss(
    key: rsa.RSAPublicKey,
    signature: bytes,
    message: bytes,
    digest: HashAlgorithm,
    code: str = "evidence.signature",
) -> None:
    """Check an RSASSA-PSS signature: MGF1 and salt length of the same digest."""
    scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
    try:
        key.verify(signature, message, scheme, digest)
    except (InvalidSignature, ValueError) as error:
        raise rejected(code, "a signature is wrong") from error


def rsa_pkcs1(
    key: rsa.RSAPublicKey,
    signature: bytes,
    message: bytes,
    digest: HashAlgorithm,
    code: str = "evidence.signature",
) -> None:
    """Check an RSASSA-PKCS1-v1_5 signature."""
    try:
        key.verify(signature, message, padding.PKCS1v15(), digest)
    except (InvalidSignature, ValueError) as error:
        raise rejected(code, "a signature is wrong") from error


HASHES: dict[str, HashAlgorithm] = {"sha256": SHA256(), "sha384": SHA384(), "sha512": SHA512()}
