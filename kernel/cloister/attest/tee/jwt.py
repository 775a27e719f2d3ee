"""JSON Web Tokens of one kind: RS256 (RFC 7515, 7518 section 3.3) under a given key set (RFC 7517).

The algorithm is ours. A header that names another one (``none``, HS256 with the public key as its secret), that brings
its own key (``jwk``, ``jku``, ``x5c``) or an extension (``crit``) is refused before anything is verified.
"""

from __future__ import annotations

import base64
import binascii

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256

from cloister.attest.tee import signatures, tpm_structures
from cloister.attest.tee.codes import rejected
from cloister.attest.tee.examined import check_size

MAX_TOKEN = 16 * 1024
MAX_KEYS = 64 * 1024
_ALGORITHM = "RS256"


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The header of a token: exactly these fields."""

    alg: str
    kid: str
    typ: str = "JWT"


class Key(msgspec.Struct, frozen=True):
    """A public key of a key set."""

    kid: str
    kty: str
    n: str = ""
    e: str = ""
    alg: str = _ALGORITHM
    use: str = "sig"


class KeySet(msgspec.Struct, frozen=True):
    """A key set (JWKS)."""

    keys: list[Key]


def payload(token: bytes, key_set: bytes) -> bytes:
    """Return the payload of a token after checking its signature with the key of ``key_set`` that it names.

    Raises:
        RejectedError: ``evidence.malformed``, ``evidence.algorithm``, ``evidence.key``, ``evidence.signature``, or
            ``endorsements.malformed`` (the key set).
    """
    check_size(token, MAX_TOKEN)
    parts = token.split(b".")
    if len(parts) != 3:
        raise rejected("evidence.malformed", "not a token of three parts")
    try:
        header = msgspec.json.decode(base64url(parts[0]), type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise rejected("evidence.algorithm", "a token whose header is not alg, kid and typ alone") from error
    if header.alg != _ALGORITHM or header.typ != "JWT":
        raise rejected("evidence.algorithm", "a token that is not a JWT signed with RS256")
    key = _key(header.kid, key_set)
    signatures.rsa_pkcs1(key, base64url(parts[2]), parts[0] + b"." + parts[1], SHA256())
    return base64url(parts[1])


def base64url(text: bytes, area: str = "evidence") -> bytes:
    """Return the bytes of unpadded base64url in the one spelling an encoder writes (RFC 7515 section 2).

    Raises:
        RejectedError: ``<area>.malformed``.
    """
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise rejected(f"{area}.malformed", "a part that is not base64url") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text:
        raise rejected(f"{area}.malformed", "a part that is not canonical base64url")
    return data


def _key(kid: str, key_set: bytes) -> rsa.RSAPublicKey:
    check_size(key_set, MAX_KEYS, "endorsements.oversize")
    try:
        keys = msgspec.json.decode(key_set, type=KeySet).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise rejected("endorsements.malformed", "not a key set (JWKS)") from error
    found = [key for key in keys if key.kid == kid]
    if len(found) != 1:
        raise rejected("evidence.key", f"the key set has {len(found)} keys of the name in the token")
    if (found[0].kty, found[0].alg, found[0].use) != ("RSA", _ALGORITHM, "sig"):
        raise rejected("evidence.algorithm", "the key of that name is not for RS256 signatures")
    numbers = [int.from_bytes(base64url(text.encode(), "endorsements"), "big") for text in (found[0].n, found[0].e)]
    return tpm_structures.rsa_key(*numbers)
