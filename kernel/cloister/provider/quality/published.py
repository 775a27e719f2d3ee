"""What a provider publishes of a quality report: chosen scores, rounded down, and a commitment to the whole report.

Every figure read off data is a disclosure outside the privacy guarantee: it is exact, and it is charged to nobody. So
nothing is published unless it is named, numerators and denominators never are (they would tell the number of rows), and
the commitment is to a report that holds a random salt.

From measuring to sealing the figures travel in a file of the provider's (``Measured``), bound to the card and the very
table they were computed from; sealing checks that, and binds them to the sealed parts (``contract/told.py``).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import msgspec
import pyarrow as pa

from cloister.contract.card import Card
from cloister.contract.lineage import PublishedQuality
from cloister.errors import MalformedError, RefusedError
from cloister.provider import files, tables
from cloister.provider.quality.measures import QualityReport
from cloister.wire import canonical


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of one table on their way to its capsule.

    ``card`` is the digest of the card; ``data`` HMAC-SHA256 (hex) of the table as that card has it sealed, under a
    random ``salt`` (hex). Salt and ``data`` stay with the provider: only ``quality`` goes into a manifest.
    """

    table: str
    card: str
    data: str
    salt: str
    quality: PublishedQuality


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tables: tuple[Measured, ...]


def encode(report: QualityReport) -> bytes:
    """Return the bytes of a report that a commitment is to."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def of_report(report: QualityReport, dimensions: list[str]) -> PublishedQuality:
    """Return what is published of a report: the scores of these dimensions.

    Raises:
        RefusedError: ``quality.publish``: a dimension that was not measured, or none.
    """
    figures = {}
    for score in report.scores:
        if score.dimension in dimensions and score.worst is not None:
            # Down, so that nobody is promised more than there is.
            hundredths = int(Fraction(score.worst.good, score.worst.total) * 100)
            figures[score.dimension] = f"{hundredths // 100}.{hundredths % 100:02d}"
    if missing := sorted(set(dimensions) - set(figures)):
        raise RefusedError(
            "quality.publish", f"{missing[0]} was not measured", next_step="publish what the report has a score for"
        )
    return PublishedQuality(dict(sorted(figures.items())), canonical.digest_bytes(encode(report)), report.as_of)


def measured(quality: PublishedQuality, card: Card, table: pa.Table) -> Measured:
    """Return figures bound to the card and the table (as it was read, or as a recipe made it) that they are of.

    Raises:
        RefusedError, MalformedError: It cannot be sealed under this card; see ``tables.prepare``.
    """
    salt = secrets.token_bytes(32)
    data = _fingerprint(tables.prepare(card, table)[0], salt)
    return Measured(card.name, canonical.digest(card), data, salt.hex(), quality)


def check_card(found: Measured, card: Card) -> None:
    """Check that figures were measured against this card.

    Raises:
        RefusedError: ``quality.card``.
    """
    if (found.table, found.card) != (card.name, canonical.digest(card)):
        raise RefusedError(
            "quality.card", f"the figures are of {found.table} under another card than the one that is sealed",
            clause="quality", next_step=f"measure {card.name} again: cloister quality --card CARD --publish ...",
        )  # fmt: skip


def of_table(found: Measured, card: Card, conformed: pa.Table) -> PublishedQuality:
    """Return the figures after a check that they were measured on this table, which ``tables.prepare`` returned.

    Raises:
        RefusedError: ``quality.card``, ``quality.data``.
    """
    check_card(found, card)
    if not hmac.compare_digest(_fingerprint(conformed, bytes.fromhex(found.salt)), found.data):
        raise RefusedError(
            "quality.data", f"the figures were measured on other data than {card.name} has now",
            clause="quality", next_step="measure what you seal: the same file, and the same recipe if there is one",
        )  # fmt: skip
    return found.quality


def write(path: Path, found: Iterable[Measured]) -> None:
    """Write figures for ``cloister seal --quality`` (mode 0600)."""
    files.write_private(path, canonical.encode(_File(tuple(found))))


def read(paths: Iterable[Path]) -> dict[str, Measured]:
    """Return figures from files, by table.

    Raises:
        MalformedError: ``quality.file``.
        RefusedError: ``quality.table``: two files hold figures of one table.
    """
    found: dict[str, Measured] = {}
    for path in paths:
        for one in _read(path):
            if one.table in found:
                raise RefusedError("quality.table", f"two figures of {one.table}", next_step="name one file per table")
            found[one.table] = one
    return found


def _read(path: Path) -> tuple[Measured, ...]:
    try:
        held = msgspec.json.decode(path.read_bytes(), type=_File).tables
        for one in held:
            bytes.fromhex(one.salt)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise MalformedError(
            "quality.file", f"{path} holds no figures to publish: {error}",
            next_step="`cloister quality --publish validity --published FILE` writes one",
        ) from error  # fmt: skip
    return held


def _fingerprint(conformed: pa.Table, salt: bytes) -> str:
    """HMAC of the values that are sealed, whatever the file they were read from and the chunks they came in."""
    return hmac.new(
        salt, tables.plain_bytes(tables.fixed_width(conformed, conformed.num_rows)), hashlib.sha256
    ).hexdigest()
