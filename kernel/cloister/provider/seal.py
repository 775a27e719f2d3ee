"""Sealing: from a table in the clear to a capsule, on the provider's machine.

1. The data are brought into the column types of the card; what the card does not declare is left out.
   A recipe, if there is one, de-identifies them first (:mod:`cloister.provider.deidentify.run`).
2. They are checked against the card; the findings are for the provider only (:class:`Report`).
3. Rows are filled up to the declared size class and cut into ranges; columns are grouped by tier.
4. Each (group, range) becomes one Parquet file under its own random key (docs/protocol.md section 7).
5. The manifest is signed and everything appears at its place at once, or not at all.

The data key is returned, never written here: :mod:`cloister.provider.keys` keeps it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet.encryption import create_encryption_properties

from cloister.contract import capsule, lint, signing
from cloister.contract.card import Card
from cloister.contract.lineage import PublishedQuality
from cloister.errors import ContractError, RefusedError
from cloister.provider import hashed_keys, tables
from cloister.provider.deidentify import run as deidentify
from cloister.provider.parents import CARD_FILE, MANIFEST_FILE, Parent, check_rights
from cloister.provider.tables import Report
from cloister.wire import canonical, identity

RANGE_ROWS = 1 << 18


class Sealed(NamedTuple):
    """A capsule on disk: its digests, the data key that opens it, what the check and the recipe's found."""

    directory: Path
    card_digest: str
    manifest_digest: str
    data_key: bytes
    report: Report
    anonymity: deidentify.AnonymityReport | None = None


def seal(
    card: Card,
    data: Any,
    out_dir: str | Path,
    provider_key: identity.SigningKey,
    *,
    parents: Sequence[Parent] = (),
    salt: hashed_keys.Salt | None = None,
    recipe: deidentify.Recipe | None = None,
    quality: PublishedQuality | None = None,
) -> Sealed:
    """Seal a table under its card.

    Args:
        card: The card; it must lint without errors.
        data: A pandas DataFrame, a PyArrow table, or the path of a CSV or Parquet file.
        out_dir: The capsule's directory; it must not exist yet.
        provider_key: Signs card and manifest.
        parents: The capsules this table was derived from; the manifest names them.
        salt: The salt of hashed keys, if the card says that keys are hashed.
        recipe: How to de-identify the table first; the manifest says how, without the secret.
        quality: Figures of the data's quality that the provider publishes, in the manifest.

    Raises:
        ContractError: The card has errors, or allows more than the parents' cards together (``seal.rights``).
        RefusedError: ``seal.exists``, ``seal.column``, ``seal.rows`` (more rows than the size class), ``seal.salt``
            (keys are to be hashed and there is no salt, or the other way round, or another one); ``recipe.*``.
        MalformedError: ``seal.format``, ``seal.type``: the data cannot be read as the card says.
    """
    for finding in lint.errors_of(lint.card_findings(card)):
        raise ContractError(finding.code, finding.text, clause=finding.clause, next_step=finding.advice)
    check_rights(card, parents)
    hashed_keys.check_salt(card, salt)
    out = Path(out_dir)
    if out.exists():
        raise RefusedError("seal.exists", f"{out} exists already", next_step="seal into a new directory")
    if recipe is not None:
        deidentify.check(card, recipe)
    raw = tables.read(data, card)
    treated = deidentify.Deidentified(raw) if recipe is None else deidentify.run(card, raw, recipe)
    table, report = tables.prepare(card, treated.table)
    if salt is not None:
        table = hashed_keys.hash_keys(card, table, salt)
    work = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    work.mkdir(parents=True, mode=0o700)
    try:
        card_document = signing.seal_card(card, provider_key)
        card_digest = signing.payload_digest(card_document)
        data_key = secrets.token_bytes(capsule.KEY_BYTES)
        manifest = capsule.Manifest(
            capsule=secrets.token_hex(16),
            table=card.name,
            card=card_digest,
            provider=provider_key.did,
            lineage=tuple(parent.manifest for parent in parents),
            rows=card.row_limit,
            parts=(),
            sealed="",
            deidentified=treated.steps or msgspec.UNSET,
            quality=quality or msgspec.UNSET,
        )
        manifest = _write_parts(manifest, card, table, work, data_key)
        document = capsule.seal_manifest(manifest, provider_key)
        _write(work / CARD_FILE, canonical.encode(card_document))
        _write(work / MANIFEST_FILE, canonical.encode(document))
        _sync(work)
        work.rename(out)
        _sync(out.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Sealed(out, card_digest, signing.payload_digest(document), data_key, report, treated.report)


def _write_parts(
    manifest: capsule.Manifest, card: Card, table: pa.Table, work: Path, data_key: bytes
) -> capsule.Manifest:
    salt = secrets.token_bytes(capsule.KEY_BYTES)
    keys: dict[str, str] = {}
    parts = []
    for part, plain in _pieces(card, table):
        key = secrets.token_bytes(capsule.KEY_BYTES)
        data = _encrypt(plain, key, capsule.part_aad(manifest, part))
        _write(work / part.path, data)
        keys[part.path] = base64.b64encode(key).decode("ascii")
        parts.append(
            capsule.sized(part, data, commitment=hmac.new(salt, _plain_bytes(plain), hashlib.sha256).hexdigest())
        )
    sealed = capsule.PartKeys(keys, base64.b64encode(salt).decode("ascii"))
    return capsule.wrap_keys(data_key, capsule.with_parts(manifest, tuple(parts)), sealed)


def _pieces(card: Card, table: pa.Table) -> Iterator[tuple[capsule.Part, pa.Table]]:
    """Yield every (column group, range) with its rows filled up to the size class."""
    tiers = sorted({column.tier for column in card.columns})
    for span, start in enumerate(range(0, card.row_limit, RANGE_ROWS)):
        rows = min(RANGE_ROWS, card.row_limit - start)
        for group, tier in enumerate(tiers):
            columns = tuple(column.name for column in card.columns if column.tier == tier)
            piece = tables.fixed_width(table.select(columns).slice(start, rows), rows)
            path = f"part-{group}-{span}.parquet"
            yield capsule.Part(path, group, span, columns, tier, rows, 0, "", ""), piece


def _encrypt(table: pa.Table, key: bytes, aad: bytes) -> bytes:
    out = io.BytesIO()
    # No dictionary, statistics or compression: page sizes would otherwise tell about values.
    pq.write_table(
        table,
        out,
        row_group_size=max(table.num_rows, 1),
        compression="NONE",
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
        encryption_properties=create_encryption_properties(
            key, aad_prefix=aad, store_aad_prefix=False, encryption_algorithm="AES_GCM_V1"
        ),
    )
    return out.getvalue()


def _plain_bytes(table: pa.Table) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return out.getvalue()


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _sync(directory: Path) -> None:
    if os.name != "posix":
        return  # Windows has no handle of a directory to flush
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
