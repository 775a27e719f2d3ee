"""From a capsule on disk to one table in memory, every byte checked before a parser sees it.

1. The manifest: signed by the table's provider, of the digest the contract pins.
2. The card: the manifest was sealed under the pinned card, with each of its columns once.
3. The table's secret is the one it was sealed with; the boxes of the groups that the contract covers open.
4. Every part of these groups: size and SHA-256, uniform AES-GCM, then decryption under its own key and place (AAD).
5. Row alignment: the groups of a range have the same rows, in the columns and types the card says.

What the contract does not cover (``contract.coverage``) is not read, and is null in every row: the broker sends no key
for it. A failure says which rule was broken, never what was read.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.parquet.encryption import create_decryption_properties

from cloister.contract import capsule, capsule_keys
from cloister.contract.capsule import Manifest, OpenedPart, Part
from cloister.contract.capsule_keys import TableKeys
from cloister.contract.card import Card
from cloister.contract.terms import TableTerms
from cloister.errors import MalformedError, TrustError, UnavailableError
from cloister.wire.envelope import Envelope

MANIFEST_FILE = "manifest.json"
_MAX_MANIFEST = 16 * 2**20
_TYPES = {
    "bool": pa.types.is_boolean,
    "int": pa.types.is_int64,
    "decimal": pa.types.is_float64,
    "date": pa.types.is_date32,
    "string": pa.types.is_fixed_size_binary,
}
_NULLS = {
    "bool": pa.bool_(),
    "int": pa.int64(),
    "decimal": pa.float64(),
    "date": pa.date32(),
    "string": pa.string(),
}


def open_capsule(
    directory: Path, terms: TableTerms, provider_did: str, card: Card, keys: TableKeys, *, columns: frozenset[str]
) -> pa.Table:
    """Return the plaintext table: the card's columns in the card's order, padding rows all null.

    ``columns`` are those the contract covers; all others are null in every row.

    Raises:
        TrustError: Manifest, card, key or a part is not what provider and contract signed.
        UnavailableError: ``capsule.missing``: a file cannot be read.
    """
    manifest = _manifest(directory, terms, provider_did)  # 1
    capsule.check_card(manifest, card, terms.card)  # 2
    capsule_keys.check_secret(keys.secret, manifest, card.name)  # 3
    boxes = {}
    for group, held in manifest.groups_of(card.name).items():
        if not columns.isdisjoint(held):
            boxes[group] = capsule_keys.open_box(_group_key(keys, group), manifest, card.name, group)
    ranges: dict[int, list[pa.Table]] = {}
    rows: dict[int, int] = {}
    for part in manifest.parts_of(card.name):
        rows[part.range] = part.rows
        if part.group in boxes:
            ciphertext = _read(directory / part.path, part.bytes)
            opened = capsule.open_part(manifest, part, ciphertext, boxes[part.group])  # 4
            ranges.setdefault(part.range, []).append(_decrypt(part, ciphertext, opened, card))  # 5
    return pa.concat_tables([_side_by_side(ranges.get(span, []), card, columns, rows[span]) for span in sorted(rows)])


def check_secret(directory: Path, terms: TableTerms, provider_did: str, secret: bytes) -> None:
    """Check that a secret is the one its provider sealed the table with.

    Raises:
        TrustError: ``capsule.key``, or the manifest is not what provider and contract signed.
        UnavailableError: ``capsule.missing``: the manifest cannot be read.
    """
    capsule_keys.check_secret(secret, _manifest(directory, terms, provider_did), terms.name)


def _group_key(keys: TableKeys, group: int) -> bytes:
    if group not in keys.groups:
        raise TrustError(
            "capsule.key", "the broker sent no key for columns that the contract covers", clause="tables.manifest"
        )
    return keys.groups[group]


def _manifest(directory: Path, terms: TableTerms, provider_did: str) -> Manifest:
    body = _read(directory / MANIFEST_FILE, _MAX_MANIFEST)
    try:
        document = msgspec.json.decode(body, type=Envelope)
        return capsule.open_manifest(document, provider_did, pinned=terms.manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, MalformedError) as error:
        raise TrustError("capsule.manifest", "the manifest cannot be read", clause="tables.manifest") from error


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise UnavailableError(
            "capsule.missing",
            f"the file {path.name} of a capsule cannot be read",
            next_step="Tell the operator of the enclave: the capsule is incomplete or not where it should be.",
        ) from error


def _decrypt(part: Part, ciphertext: bytes, opened: OpenedPart, card: Card) -> pa.Table:
    try:
        properties = create_decryption_properties(opened.key, aad_prefix=opened.aad)
        # ParquetFile, not read_table: the latter imports datasets and pandas, half a second and more code here.
        table = pq.ParquetFile(BytesIO(ciphertext), decryption_properties=properties).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _broken(part) from error
    names = [text for name in part.columns for text in (name, name + capsule.PRESENT)]
    if table.num_rows != part.rows or table.column_names != names:
        raise _broken(part)
    return pa.table({name: _column(table, name, part, card) for name in part.columns})


def _column(table: pa.Table, name: str, part: Part, card: Card) -> pa.ChunkedArray:
    values, present = table.column(name), table.column(name + capsule.PRESENT)
    declared = card.column(name)
    if declared is None or not _TYPES[declared.type](values.type) or not pa.types.is_boolean(present.type):
        raise _broken(part)
    try:
        if declared.type == "string":
            text = values.cast(pa.binary()).cast(pa.string())
            values = pc.utf8_rtrim(text, characters="\0")
        return pc.if_else(present, values, pa.scalar(None, values.type))
    except pa.ArrowException as error:
        raise _broken(part) from error


def _side_by_side(groups: list[pa.Table], card: Card, columns: frozenset[str], rows: int) -> pa.Table:
    held = {name: group.column(name) for group in groups for name in group.column_names if name in columns}
    return pa.table({one.name: held.get(one.name, pa.nulls(rows, _NULLS[one.type])) for one in card.columns})


def _broken(part: Part) -> TrustError:
    return TrustError(
        "capsule.part", f"part {part.path} does not hold what the manifest says", clause="tables.manifest"
    )
