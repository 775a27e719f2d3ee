"""Capsules: the signed manifest of sealed tables, and the checks before any byte of them is parsed.

A capsule is a directory of Parquet parts, one per (table, column group of equal rights, range of rows). Every part is
uniformly AES-GCM encrypted by Parquet modular encryption under its own random key, with an additional
authenticated data (AAD) prefix that is not stored in the file. The manifest is signed by the provider and pins
size and SHA-256 of every part; its ``sealed`` section holds the part keys, those of each (table, column group) in a box
of their own (``capsule_keys``), so that whoever may use one group is given nothing of the others. Ciphertext moved,
swapped, cut or edited fails one of these, in order: signature, pinned digest, key unwrapping, size and SHA-256,
algorithm, AAD.

Reading, once :func:`open_part` returned: ``pyarrow.parquet.read_table(BytesIO(ciphertext), decryption_properties=
create_decryption_properties(opened.key, aad_prefix=opened.aad))``. Inside, every column has a fixed width and no
Parquet nulls, so that the size of a part (and of every page in it) depends on the card alone: a column ``c`` is stored
as its values, and as ``c?``, a bool that says whether the value is there. Where ``c?`` is false the value is filler
and means null. ``int`` is int64, ``decimal`` float64, ``date`` date32, ``bool`` bool, ``string`` UTF-8 in fixed-size
binary, filled with NUL at the end. Rows of the groups of one range are aligned; the rows that fill up the size class
have every ``c?`` false, so their unit key is null and they drop out like any row without a key.

Version 1 had one table and one box of keys for all of it; such capsules are refused (``capsule.version``).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Literal, NamedTuple

import msgspec

from cloister.contract.card import Card
from cloister.contract.lineage import PublishedQuality, Treatment
from cloister.errors import MalformedError, SignatureError, TrustError
from cloister.wire import canonical, documents, envelope, identity

MANIFEST_TYPE = "application/vnd.cloister.manifest.v2+json"
CARD_TYPE = "application/vnd.cloister.card.v1+json"
KEY_BYTES = 32
PRESENT = "?"  # suffix of the column that says whether a value is there
_FORMER_TYPES = frozenset({"application/vnd.cloister.manifest.v1+json"})

# The tail of an encrypted Parquet file: thrift FileCryptoMetaData, encrypted footer, u32 length, "PARE". The
# first bytes say AES_GCM_V1 with an 8-byte file id, the two after the id that the AAD prefix is not stored.
_MAGIC = b"PARE"
_AES_GCM_V1 = bytes.fromhex("1c1c2808")
_PREFIX_NOT_STORED = bytes.fromhex("11000000")


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One encrypted file: table, column group, range, padded rows, ciphertext size and SHA-256 (hex).

    ``commitment`` is HMAC-SHA256 (hex) of the plaintext under the secret salt of its group: the provider can
    later prove what was sealed, and nobody can test a guess of the data against it.
    """

    path: str
    table: str
    group: int
    range: int
    columns: tuple[str, ...]
    tier: int
    rows: int
    bytes: int
    sha256: str
    commitment: str


class SealedTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of a capsule: its name, the digest of its card, and the padded size class that the card declares.

    ``check`` lets a vault see that a table's secret is the one it was sealed with (``capsule_keys.check_secret``).
    ``deidentified`` are the steps done before sealing, ``quality`` the figures that the provider chose to publish (read
    them with ``told``, which checks whose they are); these two are written only where there are any.
    """

    name: str
    card: str
    rows: int
    check: str = ""
    deidentified: tuple[Treatment, ...] | msgspec.UnsetType = msgspec.UNSET
    quality: PublishedQuality | msgspec.UnsetType = msgspec.UNSET


class KeyBox(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of the parts of one column group, sealed under the key of that group (base64)."""

    table: str
    group: int
    box: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a capsule is: its random id, tables, lineage, parts and the boxes of part keys.

    ``lineage`` lists the manifest digests its tables were derived from (empty for sources). Rows are size classes,
    never the actual size. ``deidentified`` and ``quality`` are what earlier versions said of the one table of a capsule
    with a recipe or published figures; now each table says it of itself.
    """

    capsule: str
    provider: str
    lineage: tuple[str, ...]
    tables: tuple[SealedTable, ...]
    parts: tuple[Part, ...]
    sealed: tuple[KeyBox, ...]
    version: Literal[2] = 2
    deidentified: tuple[Treatment, ...] | msgspec.UnsetType = msgspec.UNSET
    quality: PublishedQuality | msgspec.UnsetType = msgspec.UNSET

    def table(self, name: str) -> SealedTable:
        """Return what is said of a table.

        Raises:
            TrustError: ``capsule.card``: it is not in the capsule.
        """
        found = next((one for one in self.tables if one.name == name), None)
        if found is None:
            raise TrustError("capsule.card", "the capsule does not hold this table", clause="tables.card")
        return found

    def parts_of(self, table: str) -> tuple[Part, ...]:
        """Return the parts of a table."""
        return tuple(part for part in self.parts if part.table == table)

    def groups_of(self, table: str) -> dict[int, tuple[str, ...]]:
        """Return the columns of a table's column groups, by group."""
        return {part.group: part.columns for part in self.parts if part.table == table and part.range == 0}


class PartKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in a box: base64 key by part path, and the salt of the commitments of the group."""

    keys: dict[str, str]
    salt: str


class OpenedPart(NamedTuple):
    """What the Parquet reader needs: the part's AES key and its AAD prefix."""

    key: bytes
    aad: bytes


def part_path(table: int, group: int, span: int) -> str:
    """Return the file name of a part: positions of the table in the manifest, of its column group and of its range."""
    return f"part-{table}-{group}-{span}.parquet"


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
        TrustError: ``capsule.manifest``: not the manifest the contract pins, or of another provider;
            ``capsule.version``: of an earlier format.
        MalformedError: Not canonical, or parts that do not make one table.
    """
    if document.payloadType in _FORMER_TYPES:
        raise TrustError(
            "capsule.version",
            "the capsule was sealed by an earlier version, whose keys open all of it or nothing",
            clause="tables.manifest",
            next_step="the provider seals the table again, and the parties sign a contract that pins the new manifest",
        )
    body = envelope.open_envelope(document, MANIFEST_TYPE, provider_did)
    if pinned and canonical.digest_bytes(body) != pinned:
        raise TrustError("capsule.manifest", "not the manifest the contract pins", clause="tables.manifest")
    manifest = documents.decode(body, Manifest)
    if manifest.provider != provider_did:
        raise SignatureError("capsule.provider", "the manifest names another provider than its signer")
    _check_layout(manifest)
    return manifest


def check_card(manifest: Manifest, card: Card, card_digest: str) -> None:
    """Check that the capsule holds the table of this card, with each of its columns exactly once per range.

    Raises:
        TrustError: ``capsule.card``.
    """
    sealed = sorted(name for columns in manifest.groups_of(card.name).values() for name in columns)
    declared = sorted(column.name for column in card.columns)
    if manifest.table(card.name).card != card_digest or sealed != declared:
        raise TrustError("capsule.card", "the capsule was sealed under another card", clause="tables.card")


def part_aad(manifest: Manifest, part: Part) -> bytes:
    """Return the AAD prefix of a part: H(capsule id, card digest, table, column group, part)."""
    card = manifest.table(part.table).card
    return documents.hash_fields(
        "cloister/part/v2", manifest.capsule, card, part.table, str(part.group), str(part.range)
    )


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
    """Every table is a whole of its own, every (table, group) has one box of keys, no two parts share a file."""
    names = [table.name for table in manifest.tables]
    groups = sorted({(part.table, part.group) for part in manifest.parts})
    if (
        not names
        or len(names) != len(set(names))
        or {part.table for part in manifest.parts} != set(names)
        or len({part.path for part in manifest.parts}) != len(manifest.parts)
        or sorted((box.table, box.group) for box in manifest.sealed) != groups
        or not all(_is_whole(at, table, manifest.parts_of(table.name)) for at, table in enumerate(manifest.tables))
    ):
        raise MalformedError("capsule.layout", "the parts of the manifest do not make whole, aligned tables")


def _is_whole(at: int, table: SealedTable, parts: Iterable[Part]) -> bool:
    """Whether parts form a full grid: the same groups in every range, rows adding up to ``rows``, plain file names."""
    parts = tuple(parts)
    ranges = sorted({part.range for part in parts})
    groups = {part.group: part.columns for part in parts if part.range == 0}
    columns = [name for names in groups.values() for name in names]
    rows = {part.range: part.rows for part in parts}
    cells = {(part.range, part.group) for part in parts}
    return (
        ranges == list(range(len(ranges)))
        and len(cells) == len(parts) == len(ranges) * len(groups)
        and len(columns) == len(set(columns))
        and all(groups.get(part.group) == part.columns and rows[part.range] == part.rows for part in parts)
        and all(part.rows > 0 and part.path == part_path(at, part.group, part.range) for part in parts)
        and sum(rows.values()) == table.rows
    )
