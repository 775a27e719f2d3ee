"""The provider's keys: did keys, the data keys of capsules, and their release to an admitted vault.

Everything secret lies in files of mode 0600 on the provider's machine. A data key leaves it only HPKE-sealed to the
key that fresh, appraised evidence vouches for, with all the circumstances in the HPKE info.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from cloister.attest.encoding import b64, unb64
from cloister.contract import coverage
from cloister.contract.capsule import KEY_BYTES
from cloister.contract.capsule_keys import TableKeys, encode_sent, group_key, table_secret
from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.errors import MalformedError, UnavailableError
from cloister.provider import files
from cloister.wire.identity import SigningKey

# RFC 9180 with X25519, HKDF-SHA256 and ChaCha20-Poly1305 (docs/protocol.md section 5).
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


class KeyedTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a capsule: its card, the digest of that as signed, and the columns of each column group."""

    card: Card
    digest: str
    groups: tuple[tuple[str, ...], ...]


class DataKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key of one capsule (base64), and what the capsule holds."""

    manifest: str
    key: str
    tables: tuple[KeyedTable, ...]
    version: Literal[2] = 2

    def raw(self) -> bytes:
        """Return the 32 bytes of the key."""
        return unb64(self.key, size=KEY_BYTES)

    def table(self, name: str) -> KeyedTable | None:
        """Return what is known of a table of the capsule."""
        return next((one for one in self.tables if one.card.name == name), None)

    def secret(self, table: str) -> bytes:
        """Return the secret of a table (``contract.capsule_keys``)."""
        return table_secret(self.raw(), table)

    def covered(self, contract: Contract) -> bytes:
        """Return what a vault of this contract is given: keys of the column groups it covers, and no others."""
        named = {terms.name for terms in contract.tables if terms.manifest == self.manifest}
        sent = {}
        for one in self.tables:
            if (name := one.card.name) in named:
                columns = coverage.covered(contract, one.card)
                keys = {
                    number: group_key(self.raw(), name, number)
                    for number, group in enumerate(one.groups)
                    if not columns.isdisjoint(group)
                }
                sent[name] = TableKeys(self.secret(name), keys)
        return encode_sent(sent)


class _Former(msgspec.Struct, frozen=True):
    """What a data key was before capsules had column keys."""

    manifest: str
    table: str
    grade: str
    key: str


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


class DataKeys:
    """Data keys by manifest digest, one private file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, key: DataKey) -> None:
        """Keep a data key."""
        files.private_directory(self._directory)
        files.write_private(self._path(key.manifest), msgspec.json.encode(key))

    def get(self, manifest: str) -> DataKey | None:
        """Return the key of a capsule, if this broker holds it.

        Raises:
            TrustError: ``file.permissions``.
            MalformedError: ``keys.file``.
        """
        path = self._path(manifest)
        if not path.exists():
            return None
        body = files.read_private(path)
        try:
            key = msgspec.json.decode(body, type=DataKey)
        except msgspec.MsgspecError as error:
            raise _unreadable(path, body) from error
        if key.manifest != manifest:
            raise MalformedError("keys.file", f"{path} holds the key of another capsule")
        return key

    def wipe(self, manifest: str) -> bool:
        """Forget the key of a capsule; return whether there was one. The capsule can then never be opened here."""
        path = self._path(manifest)
        if not path.exists():
            return False
        files.overwrite(path)
        return True

    def _path(self, manifest: str) -> Path:
        name = manifest.removeprefix("sha256:")
        if len(name) != 64 or set(name) - set("0123456789abcdef"):
            raise MalformedError("keys.digest", "a capsule is named by the digest of its manifest")
        return self._directory / f"{name}.key"


def _unreadable(path: Path, body: bytes) -> MalformedError:
    try:
        former = msgspec.json.decode(body, type=_Former)
    except msgspec.MsgspecError:
        return MalformedError("keys.file", f"{path} is not a data key")
    return MalformedError(
        "keys.version",
        f"the key of {former.table} is of an earlier version, whose keys open all of a capsule or nothing",
        next_step="seal the table again, and sign a contract that pins the new manifest",
    )


def seal_to_vault(key: bytes, hpke_public: str, info: bytes) -> str:
    """Return keys of a capsule sealed to a vault's HPKE public key (base64), as base64.

    Args:
        key: What the vault is given (``DataKey.covered``).
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
