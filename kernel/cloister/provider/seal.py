"""Sealing: from tables in the clear to a capsule, on the provider's machine.

1. The data are brought into the column types of the card; what the card does not declare is left out.
   A recipe, if there is one, de-identifies them first (:mod:`cloister.provider.deidentify.run`).
2. They are checked against the card; the findings are for the provider only (:class:`Report`).
3. Rows are filled up to the declared size class and cut into ranges; columns of equal rights are grouped.
4. Each (table, group, range) becomes one Parquet file under its own random key (docs/protocol.md section 7).
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

from cloister.contract import capsule, capsule_keys, lint, signing
from cloister.contract.card import Card, Column
from cloister.contract.lineage import PublishedQuality
from cloister.errors import ContractError, RefusedError
from cloister.provider import hashed_keys, readers, tables
from cloister.provider.deidentify import run as deidentify
from cloister.provider.parents import MANIFEST_FILE, Parent, card_file, check_rights
from cloister.provider.tables import Report
from cloister.wire import canonical, identity

RANGE_ROWS = 1 << 18


class SealedCard(NamedTuple):
    """A table of a capsule: its card and the digest of it as signed, what the check found, and the column groups."""

    card: Card
    digest: str
    report: Report
    groups: tuple[tuple[str, ...], ...]


class Sealed(NamedTuple):
    """A capsule on disk: its digest, the data key that opens it, its tables, and what the recipe's check found."""

    directory: Path
    manifest_digest: str
    data_key: bytes
    tables: tuple[SealedCard, ...]
    anonymity: deidentify.AnonymityReport | None = None

    @property
    def card_digest(self) -> str:
        """The digest of the card of the (first) table."""
        return self.tables[0].digest

    @property
    def report(self) -> Report:
        """What the check of the (first) table found."""
        return self.tables[0].report


def seal(
    card: Card,
    data: Any,
    out_dir: str | Path,
    provider_key: identity.SigningKey,
    *,
    parents: Sequence[Parent] = (),
    salt: hashed_keys.Salt | None = None,
    apart: Sequence[Sequence[str]] = (),
    recipe: deidentify.Recipe | None = None,
    quality: PublishedQuality | None = None,
) -> Sealed:
    """Seal a table under its card; see ``seal_tables``."""
    return seal_tables(
        [(card, data)], out_dir, provider_key, parents=parents, salt=salt, apart=apart, recipe=recipe, quality=quality
    )


def seal_tables(
    tables_in: Sequence[tuple[Card, Any]],
    out_dir: str | Path,
    provider_key: identity.SigningKey,
    *,
    parents: Sequence[Parent] = (),
    salt: hashed_keys.Salt | None = None,
    apart: Sequence[Sequence[str]] = (),
    recipe: deidentify.Recipe | None = None,
    quality: PublishedQuality | None = None,
) -> Sealed:
    """Seal tables of one provider into one capsule, each under its card.

    Args:
        tables_in: Cards, which must lint without errors, each with its data: a pandas DataFrame, a PyArrow table, the
            path of a CSV or Parquet file, or a database (``readers.read``).
        out_dir: The capsule's directory; it must not exist yet.
        provider_key: Signs cards and manifest.
        parents: The capsules these tables were derived from; the manifest names them.
        salt: The salt of hashed keys, if the cards say that keys are hashed.
        apart: Sets of columns that get groups, and so keys, of their own, whatever their tier.
        recipe: How to de-identify a single table first; the manifest says how, without the secret.
        quality: Figures of a single table's quality that the provider publishes, in the manifest.

    Raises:
        ContractError: A card has errors, or allows more than the parents' cards together (``seal.rights``).
        RefusedError: ``seal.exists``, ``seal.column``, ``seal.rows`` (more rows than the size class), ``seal.salt``
            (keys are to be hashed and there is no salt, or the other way round, or another one), ``seal.table`` (no
            table, two of one name, or a recipe or figures for several); ``recipe.*``.
        MalformedError: ``seal.format``, ``seal.source``, ``seal.type``: the data cannot be read as the card says.
    """
    names = [card.name for card, _ in tables_in]
    if not names or len(names) != len(set(names)):
        raise RefusedError("seal.table", "a capsule holds tables of different names", next_step="name each card once")
    if len(names) > 1 and (recipe is not None or quality is not None):
        raise RefusedError(
            "seal.table", "a recipe and published figures are of one table", next_step="seal it into its own capsule"
        )
    for card, _ in tables_in:
        for finding in lint.errors_of(lint.card_findings(card)):
            raise ContractError(finding.code, finding.text, clause=finding.clause, next_step=finding.advice)
        check_rights(card, parents)
        hashed_keys.check_salt(card, salt)
    _check_apart([card for card, _ in tables_in], apart)
    out = Path(out_dir)
    if out.exists():
        raise RefusedError("seal.exists", f"{out} exists already", next_step="seal into a new directory")
    groups = [column_groups(card, apart) for card, _ in tables_in]
    steps: Any = msgspec.UNSET
    anonymity = None
    if recipe is not None:
        [(card, data)] = tables_in
        deidentify.check(card, recipe)
        treated = deidentify.run(card, readers.read(data, card), recipe)
        tables_in, steps, anonymity = [(card, treated.table)], treated.steps or msgspec.UNSET, treated.report
    work = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    work.mkdir(parents=True, mode=0o700)
    try:
        signed = [signing.seal_card(card, provider_key) for card, _ in tables_in]
        digests = [signing.payload_digest(document) for document in signed]
        data_key = secrets.token_bytes(capsule.KEY_BYTES)
        manifest = capsule.Manifest(
            capsule=secrets.token_hex(16),
            provider=provider_key.did,
            lineage=tuple(dict.fromkeys(parent.manifest for parent in parents)),
            tables=tuple(
                capsule.SealedTable(card.name, digest, card.row_limit)
                for (card, _), digest in zip(tables_in, digests, strict=True)
            ),
            parts=(),
            sealed=(),
            deidentified=steps,
            quality=quality or msgspec.UNSET,
        )
        reports: list[Report] = []
        parts: list[capsule.Part] = []
        keys: dict[tuple[str, int], capsule.PartKeys] = {}
        for at, (card, data) in enumerate(tables_in):
            table, report = tables.prepare(card, readers.read(data, card))
            if salt is not None:
                table = hashed_keys.hash_keys(card, table, salt)
            reports.append(report)
            for box, part, key, group_salt in _write_parts(manifest, at, card, groups[at], table, work=work):
                parts.append(part)
                found = keys.setdefault(box, capsule.PartKeys({}, _b64(group_salt)))
                found.keys[part.path] = _b64(key)
        whole = msgspec.structs.replace(manifest, parts=tuple(parts))
        document = capsule.seal_manifest(capsule_keys.seal_keys(data_key, whole, keys), provider_key)
        for at, card_document in enumerate(signed):
            _write(work / card_file(at), canonical.encode(card_document))
        _write(work / MANIFEST_FILE, canonical.encode(document))
        _sync(work)
        work.rename(out)
        _sync(out.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    cards = [card for card, _ in tables_in]
    sealed = tuple(map(SealedCard, cards, digests, reports, groups))
    return Sealed(out, signing.payload_digest(document), data_key, sealed, anonymity)


def column_groups(card: Card, apart: Sequence[Sequence[str]] = ()) -> tuple[tuple[str, ...], ...]:
    """Return the columns of equal rights together: the key first, then tier by tier; sets named ``apart`` separately.

    Whatever is used of a table, its key is; so key columns are one group, and no contract needs another group for them.
    """

    def rights(column: Column) -> tuple[int, ...]:
        if column.name in card.key:
            return (0,)
        own = next((number for number, names in enumerate(apart, 1) if column.name in names), 0)
        return (1, column.tier, own)

    found: dict[tuple[int, ...], list[str]] = {}
    for column in card.columns:
        found.setdefault(rights(column), []).append(column.name)
    return tuple(tuple(found[key]) for key in sorted(found))


def _check_apart(cards: Sequence[Card], apart: Sequence[Sequence[str]]) -> None:
    """Refuse sets that would not be kept: a column that nobody set apart shares its key with others of its tier."""
    named = [name for names in apart for name in names]
    columns = {column.name for card in cards for column in card.columns if column.name not in card.key}
    if wrong := sorted({name for name in named if name not in columns or named.count(name) > 1}):
        raise RefusedError(
            "seal.column",
            f"set apart, but no column beside the key, or named twice: {', '.join(wrong)}",
            clause="apart",
            next_step="name columns of the card, each in one set",
        )


def _write_parts(
    manifest: capsule.Manifest, at: int, card: Card, groups: Sequence[tuple[str, ...]], table: pa.Table, *, work: Path
) -> Iterator[tuple[tuple[str, int], capsule.Part, bytes, bytes]]:
    """Write the parts of a table; yield (table, group), part, its key, and the salt of the group's commitments."""
    salts = [secrets.token_bytes(capsule.KEY_BYTES) for _ in groups]
    for part, plain in _pieces(card, at, groups, table):
        key = secrets.token_bytes(capsule.KEY_BYTES)
        data = _encrypt(plain, key, capsule.part_aad(manifest, part))
        _write(work / part.path, data)
        commitment = hmac.new(salts[part.group], _plain_bytes(plain), hashlib.sha256).hexdigest()
        yield (card.name, part.group), capsule.sized(part, data, commitment=commitment), key, salts[part.group]


def _pieces(
    card: Card, at: int, groups: Sequence[tuple[str, ...]], table: pa.Table
) -> Iterator[tuple[capsule.Part, pa.Table]]:
    """Yield every (column group, range) with its rows filled up to the size class."""
    tiers = {column.name: column.tier for column in card.columns}
    for span, start in enumerate(range(0, card.row_limit, RANGE_ROWS)):
        rows = min(RANGE_ROWS, card.row_limit - start)
        for group, columns in enumerate(groups):
            piece = tables.fixed_width(table.select(columns).slice(start, rows), rows)
            path, tier = capsule.part_path(at, group, span), max(tiers[name] for name in columns)
            yield capsule.Part(path, card.name, group, span, columns, tier, rows, 0, "", ""), piece


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


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


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
