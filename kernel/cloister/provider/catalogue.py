"""The catalogue of what a broker has to offer: signed cards with a publication state, shown to whom they are meant for.

draft is on the provider's own machine; submitted -> published -> deprecated, and withdrawn from each. What somebody may
not see does not exist for him: not in results, not in counts, not in the words of a refusal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
import sqlalchemy as sa

from cloister.contract import signing
from cloister.contract.card import Card
from cloister.errors import MalformedError, RefusedError
from cloister.provider import schema
from cloister.wire.envelope import Envelope, unverified_payload

State = Literal["submitted", "published", "deprecated", "withdrawn"]
MOVES: dict[str, frozenset[str]] = {
    "": frozenset({"submitted"}),
    "submitted": frozenset({"published", "withdrawn"}),
    "published": frozenset({"deprecated", "withdrawn"}),
    "deprecated": frozenset({"withdrawn"}),
    "withdrawn": frozenset(),
}
_OPS = {
    "catalogue.publish": "published",
    "catalogue.deprecate": "deprecated",
    "catalogue.withdraw": "withdrawn",
}
ANYBODY = "*"
_TABLE = schema.catalogue


class Listed(msgspec.Struct, frozen=True):
    """An entry as a search shows it: public facts of the card, and the highest tier of its columns."""

    manifest: str
    state: str
    name: str
    title: str
    description: str
    unit: str
    population: str
    purposes: tuple[str, ...]
    tier: int


def submit(db: sa.Connection, manifest: str, document: Envelope, provider: str, *, visible: Iterable[str]) -> None:
    """Take up a card that its provider has signed; ``visible`` are the dids that may see it (``*``: any with a role).

    Raises:
        ContractError: ``card.*``: not signed by the provider.
        RefusedError: ``catalogue.state``: there is one already.
    """
    signing.open_card(document, provider)
    _move_allowed(_state(db, manifest), "submitted")
    card, names = msgspec.json.encode(document), " ".join(sorted(set(visible)))
    db.execute(sa.insert(_TABLE), {"manifest": manifest, "state": "submitted", "card": card, "visible": names})


def move(db: sa.Connection, manifest: str, to: str) -> None:
    """Change the state of an entry.

    Raises:
        RefusedError: ``catalogue.unknown``, ``catalogue.state``.
    """
    state = _state(db, manifest)
    if not state:
        raise _unknown()
    _move_allowed(state, to)
    db.execute(sa.update(_TABLE).where(_TABLE.c.manifest == manifest).values(state=to))


def again(db: sa.Connection, moves: Iterable[tuple[str, str]]) -> None:
    """Do again what a log tells of entries; one that is not there, or went further, stays as it is."""
    for op, manifest in moves:
        to = _OPS.get(op, "")
        if to and to in MOVES.get(_state(db, manifest), frozenset()) and _state(db, manifest):
            move(db, manifest, to)


def search(db: sa.Connection, text: str, asker: str, *, all_states: bool) -> list[Listed]:
    """Return entries whose public words hold every word of ``text``, of those the asker may see."""
    words = text.casefold().split()
    found = []
    for row in db.execute(sa.select(_TABLE).order_by(_TABLE.c.manifest)):
        if not _sees(row, asker, all_states=all_states):
            continue
        one = _listed(row)
        said = " ".join([one.name, one.title, one.description, one.unit, one.population, *one.purposes]).casefold()
        if all(word in said for word in words):
            found.append(one)
    return found


def show(db: sa.Connection, manifest: str, asker: str, *, all_states: bool) -> tuple[Listed, Envelope]:
    """Return one entry and its signed card.

    Raises:
        RefusedError: ``catalogue.unknown``: there is none, or none for this asker.
    """
    row = db.execute(sa.select(_TABLE).where(_TABLE.c.manifest == manifest)).one_or_none()
    if row is None or not _sees(row, asker, all_states=all_states):
        raise _unknown()
    return _listed(row), msgspec.json.decode(row.card, type=Envelope)


def _sees(row: sa.Row[tuple[str, str, bytes, str]], asker: str, *, all_states: bool) -> bool:
    if all_states:
        return True
    return row.state in {"published", "deprecated"} and bool({ANYBODY, asker} & set(row.visible.split()))


def _state(db: sa.Connection, manifest: str) -> str:
    return db.scalar(sa.select(_TABLE.c.state).where(_TABLE.c.manifest == manifest)) or ""


def _move_allowed(before: str, after: str) -> None:
    if after not in MOVES[before]:
        raise RefusedError(
            "catalogue.state",
            f"an entry that is {before or 'not there'} cannot become {after}",
            clause="submitted, published, deprecated, withdrawn",
            next_step="submit it anew under another manifest" if before == "withdrawn" else "see catalogue.show",
        )


def _listed(row: sa.Row[tuple[str, str, bytes, str]]) -> Listed:
    document = msgspec.json.decode(row.card, type=Envelope)
    try:
        card = msgspec.json.decode(unverified_payload(document), type=Card)
    except msgspec.MsgspecError as error:
        raise MalformedError("catalogue.card", "a card of the catalogue cannot be read") from error
    tier = max((column.tier for column in card.columns), default=1)
    words = (card.name, card.title, card.description, card.unit, card.population, card.purposes)
    return Listed(row.manifest, row.state, *words, tier)


def _unknown() -> RefusedError:
    return RefusedError("catalogue.unknown", "there is no such entry", next_step="catalogue.search shows what there is")
