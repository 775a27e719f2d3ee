"""The capsules a table was derived from: what they allow together is the most its card may allow (G9)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from cloister.contract import capsule, rights, signing
from cloister.contract.card import Card
from cloister.errors import ContractError, MalformedError
from cloister.wire.envelope import Envelope, unverified_payload

MANIFEST_FILE = "manifest.json"
CARD_FILE = "card.json"


def card_file(table: int) -> str:
    """Return the file of the card of a capsule's n-th table, from 0."""
    return CARD_FILE if table == 0 else f"card-{table}.json"


class Parent(NamedTuple):
    """A capsule by its manifest's digest, its card, and which of its columns were used (``None``: perhaps all)."""

    manifest: str
    card: Card
    columns: tuple[str, ...] | None = None

    @property
    def rights(self) -> rights.Rights:
        """What it allows; its unit key, which only aligns rows, does not count."""
        names = [column.name for column in self.card.columns] if self.columns is None else self.columns
        return rights.of_table(self.card, [name for name in names if name not in self.card.key])


def read_parent(text: str) -> Parent:
    """Return the parent written as ``DIRECTORY`` or ``DIRECTORY=column,column``.

    One of several tables of a capsule is ``DIRECTORY#table``.

    Raises:
        MalformedError: ``seal.parent``: no capsule there, or no such column in it.
        SignatureError, TrustError: The provider of the manifest did not sign it, or the card is another one.
    """
    place, _, names = text.partition("=")
    place, _, wanted = place.partition("#")
    try:
        manifest = msgspec.json.decode((Path(place) / MANIFEST_FILE).read_bytes(), type=Envelope)
        read = msgspec.json.decode(unverified_payload(manifest), type=capsule.Manifest)
        did, held = read.provider, [table.name for table in read.tables]
        at = held.index(wanted) if wanted else 0
        card = msgspec.json.decode((Path(place) / card_file(at)).read_bytes(), type=Envelope)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise MalformedError(
            "seal.parent", f"{text.partition('=')[0]} is no capsule", next_step="name the directory that `seal` wrote"
        ) from error
    if len(held) > 1 and not wanted:
        raise MalformedError(
            "seal.parent", f"{place} holds several tables", next_step=f"name one: --from {place}#{held[0]}"
        )
    opened, declared = capsule.open_manifest(manifest, did), signing.open_card(card, did)
    capsule.check_card(opened, declared, signing.payload_digest(card))
    columns = tuple(name for name in names.split(",") if name)
    for name in columns:
        if declared.column(name) is None:
            raise MalformedError("seal.parent", f"{declared.name} has no column {name!r}", next_step="see its card")
    return Parent(signing.payload_digest(manifest), declared, columns or None)


def check_rights(card: Card, parents: Iterable[Parent]) -> None:
    """Check that a derived table's card allows no more than its parents' cards together.

    Raises:
        ContractError: ``seal.rights``.
    """
    whole = rights.meet(parent.rights for parent in parents)
    for clause, why in rights.excess(card, whole):
        raise ContractError(
            "seal.rights",
            f"{card.name}: {why}",
            clause=clause,
            next_step="declare no more than its parents allow, or name the columns that were used: --from DIR=a,b",
        )
