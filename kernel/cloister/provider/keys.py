"""The provider's keys: did keys, and the release of a capsule's keys to an admitted vault (``data_keys``).

Everything secret lies in files of mode 0600 on the provider's machine. A data key leaves it only HPKE-sealed to the
key that fresh, appraised evidence vouches for, with all the circumstances in the HPKE info.
"""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from cloister.attest.encoding import b64, unb64
from cloister.errors import MalformedError, UnavailableError
from cloister.provider import files
from cloister.wire.identity import SigningKey

# RFC 9180 with X25519, HKDF-SHA256 and ChaCha20-Poly1305 (docs/protocol.md section 5).
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def create_identity(path: Path) -> SigningKey:
    """Return the did key stored at ``path``, generated on first use.

    Raises:
        TrustError: ``file.permissions``.
        MalformedError: ``keys.file``.
    """
    if not path.exists():
        files.private_directory(path.parent)
        files.write_private(path, base64.b64encode(SigningKey.generate().private_bytes()))
    return load_identity(path)


def load_identity(path: Path) -> SigningKey:
    """Return the did key stored at ``path``.

    Raises:
        UnavailableError: ``keys.missing``.
        TrustError: ``file.permissions``.
        MalformedError: ``keys.file``.
    """
    if not path.exists():
        raise UnavailableError(
            "keys.missing",
            f"there is no key at {path}",
            next_step="`cloister identity FILE` makes a party's key, `cloister broker init HOME` a broker's",
        )
    text = files.read_private(path).decode("ascii", errors="replace")
    return SigningKey.from_bytes(unb64(text, size=32, code="keys.file"))


def seal_to_vault(key: bytes, hpke_public: str, info: bytes) -> str:
    """Return keys of a capsule sealed to a vault's HPKE public key (base64), as base64.

    Args:
        key: What the vault is given (``data_keys.DataKey.covered``).
        hpke_public: The X25519 public key the evidence vouches for.
        info: ``contract.capsule_keys.data_key_info``.

    Raises:
        MalformedError: Not an X25519 public key.
    """
    public = X25519PublicKey.from_public_bytes(unb64(hpke_public, size=32, code="keys.hpke"))
    try:
        return b64(_SUITE.encrypt(key, public, info=info))
    except ValueError as error:
        raise MalformedError("keys.hpke", "not a usable X25519 public key") from error
