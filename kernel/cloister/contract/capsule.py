"""Capsules: the signed manifest of a sealed table, and the checks before any byte of it is parsed.

A capsule is a directory of Parquet parts, one per (column group of equal tier, range of rows). Every part is
uniformly AES-GCM encrypted by Parquet modular encryption under its own random key, with an additional
authenticated data (AAD) prefix that is not stored in the file. The manifest is signed by the provider and pins
size and SHA-256 of every part; its ``sealed`` section holds the part keys under the capsule's data key, which
brokers release to an admitted vault. Ciphertext moved, swapped, cut or edited fails one of these, in order:
signature, pinned digest, key unwrapping, size and SHA-256, algorithm, AAD.

Reading, once :func:`open_part` returned: ``pyarrow.parquet.read_table(BytesIO(ciphertext), decryption_properties=
create_decryption_properties(opened.key, aad_prefix=opened.aad))``. Inside, every column has a fixed width and no
Parquet nulls, so that the size of a part (and of every page in it) depends on the card alone: a column ``c`` is stored
as its values, and as ``c?``, a bool that says whether the value is there. Where ``c?`` is false the value is filler
and means null. ``int`` is int64, ``decimal`` float64, ``date`` date32, ``bool`` bool, ``string`` UTF-8 in fixed-size
binary, filled with NUL at the end. Rows of the groups of one range are aligned; the rows that fill up the size class
have every ``c?`` false, so their unit key is null and they drop out like any row without a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloister.contract.card import Card
from cloister.contract.lineage import PublishedQuality, Treatment
from cloister.errors import MalformedError, SignatureError, TrustError
from cloister.wire import canonical, documents, envelope, identity

MANIFEST_TYPE = "application/vnd.cloister.manifest.v1+json"
CARD_TYPE = "application/vnd.cloister.card.v1+json"
KEY_BYTES = 32
PRESENT = "?"  # suffix of the column that says whether a value is there
_NONCE_BYTES = 12

# The tail of an encrypted Parquet file: thrift FileCryptoMetaData, encrypted footer, u32 length, "PARE". The
# first bytes say AES_GCM_V1 with an 8-byte file id, the two after the id that the AAD prefix is not stored.
_MAGIC = b"PARE"
_AES_GCM_V1 = bytes.fromhex("1c1c2808")
_PREFIX_NOT_STORED = bytes.fromhex("11000000")


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One encrypted file: column group, range, padded rows, ciphertext size and SHA-256 (hex).

    ``commitment`` is HMAC-SHA256 (hex) of the plaintext under the capsule's secret salt: the provider can
    later prove what was sealed, and nobody can test a guess of the data against it.
    """

    path: str
    group: int
    range: int
    columns: tuple[str, ...]
    tier: int
    rows: int
    bytes: int
    sha256: str
    commitment: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a capsule is: its random id, card, lineage, parts and the wrapped part keys.

    ``rows`` is the padded size class declared in the card (never the actual size); ``lineage`` lists the
    manifest digests this table was derived from (empty for a source); ``deidentified`` the steps done before sealing;
    ``quality`` the figures that the provider chose to publish. The last two are written only where there are any.
    """

    capsule: str
    table: str
    card: str
    provider: str
    lineage: tuple[str, ...]
    rows: int
    parts: tuple[Part, ...]
    sealed: str
    version: int = 1
    deidentified: tuple[Treatment, ...] | msgspec.UnsetType = msgspec.UNSET
    quality: PublishedQuality | msgspec.UnsetType = msgspec.UNSET


class PartKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sealed section once opened: base64 key by part path, and the salt of the commitments."""

    keys: dict[str, str]
    salt: str


class OpenedPart(NamedTuple):
    """What the Parquet reader needs: the part's AES key and its AAD prefix."""

    key: bytes
    aad: bytes


def with_parts(manifest: Manifest, parts: tuple[Part, ...]) -> Manifest:
    """Return the manifest of these parts (its wrapped keys no longer fit)."""
    return msgspec.structs.replace(manifest, parts=parts, sealed="")


def sized(part: Part, ciphertext: bytes, *, commitment: str) -> Part:
    """Return the part as its ciphertext makes it: size and SHA-256."""
    digest = hashlib.sha256(ciphertext).hexdigest()
    return msgspec.structs.replace(part, bytes=len(ciphertext), sha256=digest, commitment=commitment)


def seal_manifest(manifest: Manifest, key: identity.SigningKey) -> envelope.Envelope:
    """Return the manifest signed by its provider."""
    return envelope.seal(MANIFEST_TYPE, canonical.encode(manifest), key)


def open_manifest(document: envelope.Envelope, provider_did: str, *, pinned: str = "") -> Manifest:
    """Return a manifest after checking signer, pinned digest and inner consistency.

    Raises:
        SignatureError: Not signed by ``provider_did``.
        TrustError: ``capsule.manifest``: not the manifest the contract pins, or of another provider.
        MalformedError: Not canonical, or parts that do not make one table.
    """
    body = envelope.open_envelope(document, MANIFEST_TYPE, provider_did)
    if pinned and canonical.digest_bytes(body) != pinned:
        raise TrustError("capsule.manifest", "not the manifest the contract pins", clause="tables.manifest")
    manifest = documents.decode(body, Manifest)
    if manifest.provider != provider_did:
        raise SignatureError("capsule.provider", "the manifest names another provider than its signer")
    _check_layout(manifest)
    return manifest


def check_card(manifest: Manifest, card: Card, card_digest: str) -> None:
    """Check that the capsule is of this card and holds each of its columns exactly once per range.

    Raises:
        TrustError: ``capsule.card``.
    """
    sealed = sorted(name for part in manifest.parts if part.range == 0 for name in part.columns)
    declared = sorted(column.name for column in card.columns)
    if (manifest.card, manifest.table) != (card_digest, card.name) or sealed != declared:
        raise TrustError("capsule.card", "the capsule was sealed under another card", clause="tables.card")


def part_aad(manifest: Manifest, part: Part) -> bytes:
    """Return the AAD prefix of a part: H(capsule id, card digest, table, column group, part)."""
    return documents.hash_fields(
        "cloister/part/v1", manifest.capsule, manifest.card, manifest.table, str(part.group), str(part.range)
    )


def wrap_keys(data_key: bytes, manifest: Manifest, keys: PartKeys) -> Manifest:
    """Return the manifest with its sealed section: the part keys under the data key (AES-256-GCM)."""
    nonce = os.urandom(_NONCE_BYTES)
    box = AESGCM(data_key).encrypt(nonce, canonical.encode(keys), _wrapping_aad(manifest))
    return msgspec.structs.replace(manifest, sealed=base64.b64encode(nonce + box).decode("ascii"))


def unwrap_keys(data_key: bytes, manifest: Manifest) -> PartKeys:
    """Return the part keys.

    Raises:
        TrustError: ``capsule.key``: the data key is not of this capsule, or the section was altered.
    """
    try:
        box = base64.b64decode(manifest.sealed, validate=True)
        body = AESGCM(data_key).decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], _wrapping_aad(manifest))
    except (InvalidTag, ValueError, binascii.Error) as error:
        raise TrustError("capsule.key", "this data key does not open the capsule") from error
    return documents.decode(body, PartKeys)


def open_part(manifest: Manifest, part: Part, ciphertext: bytes, keys: PartKeys) -> OpenedPart:
    """Check a part's bytes before any parser sees them; return what the Parquet reader needs.

    Raises:
        TrustError: ``capsule.part``: other bytes than the provider signed, or another algorithm than uniform
            AES-GCM without stored AAD prefix; ``capsule.key``: no key for it.
    """
    if len(ciphertext) != part.bytes or hashlib.sha256(ciphertext).hexdigest() != part.sha256:
        raise TrustError("capsule.part", f"part {part.path} is not the one the provider sealed")
    _check_algorithm(part.path, ciphertext)
    try:
        key = base64.b64decode(keys.keys[part.path], validate=True)
    except (KeyError, ValueError) as error:
        raise TrustError("capsule.key", f"the capsule holds no key for part {part.path}") from error
    if len(key) != KEY_BYTES:
        raise TrustError("capsule.key", f"the key of part {part.path} has the wrong length")
    return OpenedPart(key, part_aad(manifest, part))


def data_key_info(*, contract: str, manifest: str, broker: str, vault_id: str, binding: bytes, epoch: int) -> bytes:
    """Return the HPKE info that ties a sealed data key to one contract, capsule, broker, vault and session.

    SHA-384 over the length-prefixed fields (docs/protocol.md section 5); ``binding`` are the raw 48 bytes.
    """
    return documents.hash_fields(
        "cloister/keys/v1", contract, manifest, broker, vault_id, binding, str(epoch), algorithm="sha384"
    )


def _check_algorithm(path: str, ciphertext: bytes) -> None:
    length = int.from_bytes(ciphertext[-8:-4], "little")
    head = ciphertext[-8 - length :][:16] if 16 <= length <= len(ciphertext) - 12 else b""
    if (
        not ciphertext.startswith(_MAGIC)
        or not ciphertext.endswith(_MAGIC)
        or head[:4] != _AES_GCM_V1
        or head[12:] != _PREFIX_NOT_STORED
    ):
        raise TrustError("capsule.part", f"part {path} is not uniformly AES-GCM encrypted")


def _check_layout(manifest: Manifest) -> None:
    """Parts form a full grid: the same groups in every range, rows adding up to ``rows``, plain file names."""
    ranges = sorted({part.range for part in manifest.parts})
    groups = {part.group: part.columns for part in manifest.parts if part.range == 0}
    columns = [name for names in groups.values() for name in names]
    rows = {part.range: part.rows for part in manifest.parts}
    cells = {(part.range, part.group) for part in manifest.parts}
    if (
        not manifest.parts
        or ranges != list(range(len(ranges)))
        or len(cells) != len(manifest.parts)
        or len(cells) != len(ranges) * len(groups)
        or len(columns) != len(set(columns))
        or len({part.path for part in manifest.parts}) != len(manifest.parts)
        or any(groups.get(part.group) != part.columns or rows[part.range] != part.rows for part in manifest.parts)
        or any(part.rows < 1 or part.path != f"part-{part.group}-{part.range}.parquet" for part in manifest.parts)
        or sum(rows.values()) != manifest.rows
    ):
        raise MalformedError("capsule.layout", "the parts of the manifest do not make one aligned table")


def _wrapping_aad(manifest: Manifest) -> bytes:
    # The keys are tied to the very ciphertexts they open, not only to the capsule's name.
    return documents.hash_fields(
        "cloister/part-keys/v1", manifest.capsule, manifest.card, manifest.table, canonical.digest(manifest.parts)
    )
