"""The catalogue of what a broker has to offer: capsules with a publication state, shown to whom they are meant for.

An entry is a capsule with the signed cards of all its tables; a search finds tables and says of which capsule.

draft is on the provider's own machine; submitted -> published -> deprecated, and withdrawn from each. What somebody may
not see does not exist for him: not in results, not in counts, not in the words of a refusal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec
import sqlalchemy as sa

from cloister.contract import capsule, signing, told
from cloister.contract.card import Card
from cloister.errors import MalformedError, RefusedError, TrustError
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
    """A table of an entry as a search shows it: public facts of its card, and what the manifest tells of it.

    ``tier`` is the highest of its columns. ``figures`` are those of quality that its provider published, as of a day,
    after a check that they were computed from this very table; ``steps`` how it was de-identified before sealing.
    """

    manifest: str
    state: str
    name: str
    title: str
    description: str
    unit: str
    population: str
    purposes: tuple[str, ...]
    tier: int
    figures: dict[str, str] = {}
    as_of: str = ""
    steps: tuple[str, ...] = ()


class Offered(msgspec.Struct, frozen=True):
    """What an entry offers: the signed cards of all tables of a capsule, and its signed manifest.

    Entries of earlier versions hold one card and no manifest.
    """

    cards: tuple[Envelope, ...]
    capsule: Envelope | None = None


def submit(db: sa.Connection, manifest: str, offered: Offered, provider: str, *, visible: Iterable[str]) -> None:
    """Take up a capsule with all its cards; ``visible`` are the dids that may see it (``*``: any with a role).

    Raises:
        ContractError: ``card.*``: not signed by the provider.
        TrustError, SignatureError: ``capsule.*``: the manifest is another one, or figures in it are of another table.
        RefusedError: ``catalogue.state``: there is one already; ``catalogue.cards``: not the cards of its tables.
    """
    if offered.capsule is None:
        raise RefusedError("catalogue.cards", "an entry shows the signed manifest", next_step="send manifest.json too")
    opened = capsule.open_manifest(offered.capsule, provider, pinned=manifest)
    cards = [signing.open_card(document, provider) for document in offered.cards]
    if [card.name for card in cards] != [table.name for table in opened.tables]:
        raise RefusedError(
            "catalogue.cards", "not one card for each table of the capsule, in its order",
            nearest=tuple(table.name for table in opened.tables), next_step="send every card file that `seal` wrote",
        )  # fmt: skip
    for card, document in zip(cards, offered.cards, strict=True):
        capsule.check_card(opened, card, signing.payload_digest(document))
        told.quality(opened, card.name)
    _move_allowed(_state(db, manifest), "submitted")
    body, names = msgspec.json.encode(offered), " ".join(sorted(set(visible)))
    db.execute(sa.insert(_TABLE), {"manifest": manifest, "state": "submitted", "card": body, "visible": names})


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
    """Return the tables whose public words hold every word of ``text``, of the entries the asker may see."""
    words = text.casefold().split()
    found = []
    for row in db.execute(sa.select(_TABLE).order_by(_TABLE.c.manifest)):
        if not _sees(row, asker, all_states=all_states):
            continue
        for one in _listed(row, _offered(row), strict=False):
            said = " ".join([one.name, one.title, one.description, one.unit, one.population, *one.purposes]).casefold()
            if all(word in said for word in words):
                found.append(one)
    return found


def show(db: sa.Connection, manifest: str, asker: str, *, all_states: bool) -> tuple[list[Listed], Offered]:
    """Return all tables of one entry, their signed cards and the manifest.

    Raises:
        RefusedError: ``catalogue.unknown``: there is none, or none for this asker.
        TrustError: ``capsule.quality``: figures in its manifest are of another table.
    """
    row = db.execute(sa.select(_TABLE).where(_TABLE.c.manifest == manifest)).one_or_none()
    if row is None or not _sees(row, asker, all_states=all_states):
        raise _unknown()
    offered = _offered(row)
    return list(_listed(row, offered, strict=True)), offered


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


def _offered(row: sa.Row[tuple[str, str, bytes, str]]) -> Offered:
    try:
        held = msgspec.json.decode(row.card)
        return msgspec.convert(held if "cards" in held else {"cards": [held]}, type=Offered)
    except (msgspec.MsgspecError, TypeError) as error:
        raise _unreadable() from error


def _listed(row: sa.Row[tuple[str, str, bytes, str]], offered: Offered, *, strict: bool) -> Iterator[Listed]:
    """Yield the tables; figures that are of another table are refused, or left out where others must not suffer."""
    try:
        cards = [msgspec.json.decode(unverified_payload(document), type=Card) for document in offered.cards]
        body = None if offered.capsule is None else unverified_payload(offered.capsule)
        manifest = None if body is None else msgspec.json.decode(body, type=capsule.Manifest)
    except msgspec.MsgspecError as error:
        raise _unreadable() from error
    for card in cards:
        tier = max((column.tier for column in card.columns), default=1)
        words = (card.name, card.title, card.description, card.unit, card.population, card.purposes)
        one = Listed(row.manifest, row.state, *words, tier)
        try:
            yield one if manifest is None else _with_told(one, manifest)
        except TrustError:
            if strict:
                raise
            yield one


def _with_told(one: Listed, manifest: capsule.Manifest) -> Listed:
    steps = tuple(step.operator for step in told.treatments(manifest, one.name))
    quality = told.quality(manifest, one.name)
    if quality is None:
        return msgspec.structs.replace(one, steps=steps)
    figures = {str(name): share for name, share in quality.figures.items()}
    return msgspec.structs.replace(one, steps=steps, figures=figures, as_of=quality.as_of)


def _unreadable() -> MalformedError:
    return MalformedError("catalogue.card", "a card of the catalogue cannot be read")


def _unknown() -> RefusedError:
    return RefusedError("catalogue.unknown", "there is no such entry", next_step="catalogue.search shows what there is")
