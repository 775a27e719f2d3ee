"""Sealing: from tables in the clear to a capsule, on the provider's machine.

1. The data are brought into the column types of the card; what the card does not declare is left out.
   A table's recipe, if it has one, de-identifies it first (:mod:`cloister.provider.deidentify.run`).
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
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet.encryption import create_encryption_properties

from cloister.contract import capsule, capsule_keys, lint, signing, told
from cloister.contract.card import Card, Column
from cloister.contract.lineage import PublishedQuality
from cloister.errors import ContractError, RefusedError
from cloister.provider import hashed_keys, readers, tables
from cloister.provider.deidentify import run as deidentify
from cloister.provider.deidentify import together
from cloister.provider.parents import MANIFEST_FILE, Parent, card_file, check_rights
from cloister.provider.quality import published
from cloister.provider.tables import Report
from cloister.wire import canonical, identity

RANGE_ROWS = 1 << 18


class SealedCard(NamedTuple):
    """A table of a capsule: its card and the digest of it as signed, what the check found, and the column groups.

    ``anonymity`` is what its recipe found of classes, if the recipe looked.
    """

    card: Card
    digest: str
    report: Report
    groups: tuple[tuple[str, ...], ...]
    anonymity: deidentify.AnonymityReport | None = None


class Sealed(NamedTuple):
    """A capsule on disk: its digest, the data key that opens it, and its tables."""

    directory: Path
    manifest_digest: str
    data_key: bytes
    tables: tuple[SealedCard, ...]

    @property
    def card_digest(self) -> str:
        """The digest of the card of the (first) table."""
        return self.tables[0].digest

    @property
    def report(self) -> Report:
        """What the check of the (first) table found."""
        return self.tables[0].report

    @property
    def anonymity(self) -> deidentify.AnonymityReport | None:
        """What the recipe of the (first) table found of classes."""
        return self.tables[0].anonymity


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
    quality: published.Measured | None = None,
) -> Sealed:
    """Seal a table under its card; see ``seal_tables``."""
    return seal_tables(
        [(card, data)], out_dir, provider_key, parents=parents, salt=salt, apart=apart,
        recipes={} if recipe is None else {card.name: recipe}, quality={} if quality is None else {card.name: quality},
    )  # fmt: skip


def seal_tables(
    tables_in: Sequence[tuple[Card, Any]],
    out_dir: str | Path,
    provider_key: identity.SigningKey,
    *,
    parents: Sequence[Parent] = (),
    salt: hashed_keys.Salt | None = None,
    apart: Sequence[Sequence[str]] = (),
    recipes: Mapping[str, deidentify.Recipe] = MappingProxyType({}),
    quality: Mapping[str, published.Measured] = MappingProxyType({}),
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
        recipes: How to de-identify tables first, by their names; the manifest says how, without the secrets.
        quality: Figures of tables' quality that the provider publishes, in the manifest, by their names.

    Raises:
        ContractError: A card has errors, or allows more than the parents' cards together (``seal.rights``).
        RefusedError: ``seal.exists``, ``seal.column``, ``seal.rows`` (more rows than the size class), ``seal.salt``
            (keys are to be hashed and there is no salt, or the other way round, or another one), ``seal.table`` (no
            table, two of one name, or a recipe or figures of none of them); ``recipe.*``; ``quality.card``,
            ``quality.data`` (figures of another card, or measured on other data).
        MalformedError: ``seal.format``, ``seal.source``, ``seal.type``: the data cannot be read as the card says.
    """
    _check_names([card.name for card, _ in tables_in], {*recipes, *quality})
    for card, _ in tables_in:
        for finding in lint.errors_of(lint.card_findings(card)):
            raise ContractError(finding.code, finding.text, clause=finding.clause, next_step=finding.advice)
        check_rights(card, parents)
        hashed_keys.check_salt(card, salt)
        if card.name in quality:
            published.check_card(quality[card.name], card)
    _check_apart([card for card, _ in tables_in], apart)
    out = Path(out_dir)
    if out.exists():
        raise RefusedError("seal.exists", f"{out} exists already", next_step="seal into a new directory")
    together.check_all([card for card, _ in tables_in], recipes)
    groups = [column_groups(card, apart) for card, _ in tables_in]
    treated = {
        card.name: deidentify.run(card, readers.read(data, card), recipes[card.name])
        for card, data in tables_in
        if card.name in recipes
    }
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
        )
        figures: dict[str, PublishedQuality] = {}
        reports: list[Report] = []
        parts: list[capsule.Part] = []
        keys: dict[tuple[str, int], capsule.PartKeys] = {}
        for at, (card, data) in enumerate(tables_in):
            found = treated.get(card.name)
            table, report = tables.prepare(card, readers.read(data, card) if found is None else found.table)
            if card.name in quality:
                figures[card.name] = published.of_table(quality[card.name], card, table)
            if salt is not None:
                table = hashed_keys.hash_keys(card, table, salt)
            reports.append(report)
            for box, part, key, group_salt in _write_parts(manifest, at, card, groups[at], table, work=work):
                parts.append(part)
                box_keys = keys.setdefault(box, capsule.PartKeys({}, _b64(group_salt)))
                box_keys.keys[part.path] = _b64(key)
        whole = _with_told(msgspec.structs.replace(manifest, parts=tuple(parts)), treated, figures)
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
    anonymity = [treated[card.name].report if card.name in treated else None for card in cards]
    sealed = tuple(map(SealedCard, cards, digests, reports, groups, anonymity))
    return Sealed(out, signing.payload_digest(document), data_key, sealed)


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


def _check_names(names: Sequence[str], told: Set[str]) -> None:
    if not names or len(names) != len(set(names)):
        raise RefusedError("seal.table", "a capsule holds tables of different names", next_step="name each card once")
    if unknown := sorted(told - set(names)):
        raise RefusedError(
            "seal.table", f"a recipe or figures for {unknown[0]}, which is not sealed here", nearest=tuple(names),
            next_step="name a table of this capsule, or leave it out",
        )  # fmt: skip


def _with_told(
    manifest: capsule.Manifest,
    treated: Mapping[str, deidentify.Deidentified],
    figures: Mapping[str, PublishedQuality],
) -> capsule.Manifest:
    """Return the manifest with what each table says of itself: how it was de-identified, and published figures."""
    said = []
    for table in manifest.tables:
        steps = treated[table.name].steps if table.name in treated else ()
        found = figures.get(table.name)
        quality = msgspec.UNSET if found is None else told.bound(found, manifest, table.name)
        said.append(msgspec.structs.replace(table, deidentified=steps or msgspec.UNSET, quality=quality))
    return msgspec.structs.replace(manifest, tables=tuple(said))


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
        commitment = hmac.new(salts[part.group], tables.plain_bytes(plain), hashlib.sha256).hexdigest()
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
