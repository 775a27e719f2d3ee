"""The keys of a capsule: one data key at the broker, from which a vault is given what its contract covers.

From the data key (32 random bytes, never handed out) are derived, one way (HKDF-SHA384, RFC 5869),

- the *secret of a table*, which every vault of a contract with that table gets: it keys the hashes of rows, the seals
  of deposited receipts and the names of exits, and opens no ciphertext;
- the *key of a column group*, which opens the box with the keys of that group's parts, and nothing else.

A vault that holds the keys of some groups can therefore compute none of the others.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cloister.contract.capsule import KEY_BYTES, KeyBox, Manifest, PartKeys
from cloister.errors import TrustError
from cloister.wire import canonical, documents

_NONCE_BYTES = 12


class TableKeys(NamedTuple):
    """What a vault holds of one table: its secret, and the keys of the column groups its contract covers."""

    secret: bytes
    groups: dict[int, bytes]


class _Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    secret: str
    groups: dict[str, str]


def table_secret(data_key: bytes, table: str) -> bytes:
    """Return the secret of a table of the capsule."""
    return _derived(data_key, "cloister/table-secret/v2", table)


def group_key(data_key: bytes, table: str, group: int) -> bytes:
    """Return the key of a column group."""
    return _derived(data_key, "cloister/group-key/v2", table, str(group))


def encode_sent(keys: Mapping[str, TableKeys]) -> bytes:
    """Return the keys of a capsule's tables as a broker seals them to a vault."""
    sent = {name: _Sent(_b64(one.secret), {str(n): _b64(key) for n, key in one.groups.items()})
            for name, one in keys.items()}  # fmt: skip
    return canonical.encode(sent)


def decode_sent(body: bytes) -> dict[str, TableKeys]:
    """Return the keys of a capsule's tables that a broker sealed to this vault.

    Raises:
        MalformedError: Not what a broker sends.
        TrustError: ``capsule.key``: a key of the wrong length.
    """
    found = documents.decode(body, dict[str, _Sent])
    try:
        return {
            name: TableKeys(_key(one.secret), {int(number): _key(key) for number, key in one.groups.items()})
            for name, one in found.items()
        }
    except ValueError as error:
        raise TrustError("capsule.key", "the broker sent keys of another form") from error


def seal_keys(data_key: bytes, manifest: Manifest, keys: Mapping[tuple[str, int], PartKeys]) -> Manifest:
    """Return the manifest with checks of the table secrets and the boxes of part keys, by table and group."""
    tables = tuple(
        msgspec.structs.replace(table, check=_check(table_secret(data_key, table.name), manifest, table.name))
        for table in manifest.tables
    )
    boxes = []
    for (table, group), part_keys in keys.items():
        nonce = os.urandom(_NONCE_BYTES)
        cipher = AESGCM(group_key(data_key, table, group))
        box = cipher.encrypt(nonce, canonical.encode(part_keys), _wrapping_aad(manifest, table, str(group)))
        boxes.append(KeyBox(table, group, _b64(nonce + box)))
    return msgspec.structs.replace(manifest, tables=tables, sealed=tuple(boxes))


def check_secret(secret: bytes, manifest: Manifest, table: str) -> None:
    """Check that a secret is the one this very table was sealed with.

    Raises:
        TrustError: ``capsule.key``.
    """
    if not hmac.compare_digest(_check(secret, manifest, table), manifest.table(table).check):
        raise _not_of_it()


def open_box(key: bytes, manifest: Manifest, table: str, group: int) -> PartKeys:
    """Return the part keys of a column group.

    Raises:
        TrustError: ``capsule.key``: the key is not of this group of this capsule, or the box was altered.
    """
    sealed = next((one.box for one in manifest.sealed if (one.table, one.group) == (table, group)), "")
    try:
        box = base64.b64decode(sealed, validate=True)
        aad = _wrapping_aad(manifest, table, str(group))
        body = AESGCM(key).decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], aad)
    except (InvalidTag, ValueError, binascii.Error) as error:
        raise _not_of_it() from error
    return documents.decode(body, PartKeys)


def data_key_info(*, contract: str, manifest: str, broker: str, vault_id: str, binding: bytes, epoch: int) -> bytes:
    """Return the HPKE info that ties sealed keys to one contract, capsule, broker, vault and session.

    SHA-384 over the length-prefixed fields (docs/protocol.md section 5); ``binding`` are the raw 48 bytes.
    """
    return documents.hash_fields(
        "cloister/keys/v2", contract, manifest, broker, vault_id, binding, str(epoch), algorithm="sha384"
    )


def _not_of_it() -> TrustError:
    return TrustError("capsule.key", "this key does not open the capsule")


def _derived(data_key: bytes, *fields: str) -> bytes:
    info = documents.hash_fields(*fields, algorithm="sha384")
    return HKDF(algorithm=hashes.SHA384(), length=KEY_BYTES, salt=None, info=info).derive(data_key)


def _check(secret: bytes, manifest: Manifest, table: str) -> str:
    return hmac.digest(secret, _wrapping_aad(manifest, table, "check"), "sha256").hex()


def _wrapping_aad(manifest: Manifest, table: str, group: str) -> bytes:
    # Keys are tied to the very ciphertexts they open, not only to the capsule's name.
    card, parts = manifest.table(table).card, canonical.digest(manifest.parts)
    return documents.hash_fields("cloister/part-keys/v2", manifest.capsule, card, table, group, parts)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _key(text: str) -> bytes:
    key = base64.b64decode(text, validate=True)
    if len(key) != KEY_BYTES:
        raise ValueError(len(key))
    return key
