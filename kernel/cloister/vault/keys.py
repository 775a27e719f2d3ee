"""Keys of one vault process. They are born and die with it; nothing is written anywhere.

``vault_id`` (Ed25519) signs receipts and broker requests; ``vault_hpke`` (X25519) is what brokers seal data
keys to. Settled receipts are sealed under a key derived from the data keys, so any later vault that brokers
admit to the same data can open them and nobody else can.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cloister.errors import TrustError
from cloister.wire import documents
from cloister.wire.identity import SigningKey

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


class VaultKeys:
    """The two key pairs of a vault process."""

    def __init__(self) -> None:
        self.identity = SigningKey.generate()
        self._hpke = X25519PrivateKey.generate()

    @property
    def vault_id(self) -> str:
        """The did that receipts and requests are signed by."""
        return self.identity.did

    @property
    def hpke_public(self) -> str:
        """The HPKE public key, base64."""
        return base64.b64encode(self._hpke.public_key().public_bytes_raw()).decode("ascii")

    def open_data_key(self, sealed: bytes, info: bytes) -> bytes:
        """Return the keys of a capsule that a broker sealed to this vault (``contract.capsule_keys``).

        Raises:
            TrustError: Sealed for another vault, session, contract or capsule, or altered.
        """
        try:
            return _SUITE.decrypt(sealed, self._hpke, info=info)
        except (InvalidTag, ValueError) as error:
            raise TrustError("keys.rejected", "the broker's data key is not for this vault and session") from error


def load_secret(secret: bytes) -> bytes:
    """Return the key of a table's row hashes, from its secret; the same in every vault, or answers would change."""
    return HKDF(algorithm=hashes.SHA384(), length=32, salt=None, info=b"cloister/load/v1").derive(secret)


def exit_secret(secrets: Iterable[bytes], contract: str) -> bytes:
    """Return the 32 bytes from which everything secret about the exits over some tables is derived.

    It is the same in every vault that brokers admit to the data: what an exit is called, and the bytes it delivers,
    must survive a restart. Whoever holds all the data keys (the providers together) can compute it too.
    """
    material = documents.hash_fields(*secrets, algorithm="sha384")
    info = documents.hash_fields("cloister/exit/v1", contract, algorithm="sha384")
    return HKDF(algorithm=hashes.SHA384(), length=32, salt=None, info=info).derive(material)


def derived(secret: bytes, purpose: str, *fields: str | bytes) -> bytes:
    """Return 32 bytes derived from an exit secret for one purpose and these fields."""
    info = documents.hash_fields(purpose, *fields, algorithm="sha384")
    return HKDF(algorithm=hashes.SHA384(), length=32, salt=None, info=info).derive(secret)
