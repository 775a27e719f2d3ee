"""Identities: Ed25519 keys named by ``did:key``, and signatures with a domain.

Every signature covers ``domain || 0x00 || message``; a signature made for one purpose is worthless for
another. Source of the naming: W3C did:key v0.9 (multicodec 0xed01, multibase base58btc).
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cloister.errors import MalformedError, SignatureError

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ED25519_PUB = b"\xed\x01"


class SigningKey:
    """A private Ed25519 key that signs within a domain."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.did = did_from_public(self.public_bytes)

    @classmethod
    def generate(cls) -> SigningKey:
        """Return a fresh key from the operating system's generator."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, raw: bytes) -> SigningKey:
        """Return the key of a 32-byte seed."""
        return cls(Ed25519PrivateKey.from_private_bytes(raw))

    @property
    def public_bytes(self) -> bytes:
        """The 32-byte public key."""
        return self._private.public_key().public_bytes_raw()

    def private_bytes(self) -> bytes:
        """The 32-byte seed, for the owner's key file only."""
        return self._private.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message`` under ``domain``."""
        return self._private.sign(_scoped(domain, message))


def verify(did: str, domain: str, message: bytes, signature: bytes) -> None:
    """Check a signature.

    Raises:
        SignatureError: The signature is not by ``did`` over ``message`` under ``domain``.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_from_did(did)).verify(signature, _scoped(domain, message))
    except (InvalidSignature, ValueError) as error:
        raise SignatureError("signature.invalid", f"not signed by {did}") from error


def did_from_public(public: bytes) -> str:
    """Return ``did:key:z...`` of a 32-byte Ed25519 public key."""
    number = int.from_bytes(_ED25519_PUB + public, "big")
    digits = ""
    while number:
        number, rest = divmod(number, 58)
        digits = _ALPHABET[rest] + digits
    return "did:key:z" + digits


def public_from_did(did: str) -> bytes:
    """Return the 32-byte public key named by an Ed25519 ``did:key``.

    Raises:
        MalformedError: Not a did:key of an Ed25519 key in its one canonical spelling.
    """
    prefix = "did:key:z"
    digits = did.removeprefix(prefix)
    if digits == did or len(digits) > 64 or any(c not in _ALPHABET for c in digits):
        raise MalformedError("identity.did", "not an Ed25519 did:key")
    number = 0
    for char in digits:
        number = number * 58 + _ALPHABET.index(char)
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if len(raw) != 34 or not raw.startswith(_ED25519_PUB) or did_from_public(raw[2:]) != did:
        raise MalformedError("identity.did", "not an Ed25519 did:key")
    return raw[2:]


def _scoped(domain: str, message: bytes) -> bytes:
    return domain.encode("ascii") + b"\x00" + message
