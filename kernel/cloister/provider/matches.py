"""Counts of the exit *match*: how many targets were asked under a clause, and how often each of them.

A target is known to a broker by its tag only: a keyed hash under a secret of the contract's vaults (vault/targets.py).
The counts are written in the transaction that charges, and they are what the entries of the log say: ``recount`` makes
them again from the entries alone, so a restored database, or one from before there were matches, counts the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec
import sqlalchemy as sa

from cloister.contract.exits import MatchTerms
from cloister.provider import schema
from cloister.receipt.ledger import Entry, Matched

TOO_MANY = "limit.match"
TOO_OFTEN = "limit.target"
_AT_ONCE = 500


class Asked(msgspec.Struct, frozen=True):
    """The targets of one entry: under which clause of which contract, and the tag of each, as often as it is asked."""

    contract: str
    clause: int
    tags: tuple[str, ...]


def asked(entry: Entry) -> Asked | None:
    """Return the targets of an entry, if it is one of a match."""
    if entry.exits is None or entry.exits.name != "match":
        return None
    return Asked(entry.contract, entry.exits.clause, entry.exits.targets)


def matched(db: sa.Connection, contract: str) -> tuple[Matched, ...]:
    """Return what was asked under each clause of a contract so far."""
    return tuple(Matched(*row) for row in db.execute(schema.SELECT_MATCHED, {"k_contract": contract}))


def book(db: sa.Connection, asked: Asked, terms: MatchTerms) -> str:
    """Count the targets of one entry, all of them, or none and return why they may not be asked."""
    before, after = _of_clause(db, asked), _after(db, asked)
    if not asked.tags or before.targets + len(asked.tags) > terms.per_contract:
        return TOO_MANY
    if max(times for times, _ in after.values()) > terms.per_target:
        return TOO_OFTEN
    _write(db, asked, before, after)
    return ""


def recount(db: sa.Connection) -> None:
    """Bring the counts back to what the logs say, should they say anything else."""
    entries = (msgspec.json.decode(body, type=Entry) for body in db.scalars(schema.SELECT_EXITS).all())
    every = [one for one in map(asked, entries) if one is not None]
    counts: dict[tuple[str, int], Counter[str]] = {}
    for one in every:
        counts.setdefault((one.contract, one.clause), Counter()).update(one.tags)
    if not _counted(db, counts):
        _rebuild(db, every)


def _counted(db: sa.Connection, counts: Mapping[tuple[str, int], Counter[str]]) -> bool:
    """Return whether the tables hold these counts, every one of them, and no other."""
    by_clause = {(*clause, tags.total(), max(tags.values(), default=0)) for clause, tags in counts.items()}
    by_target = {(*clause, tag, times) for clause, tags in counts.items() for tag, times in tags.items()}
    return by_clause == {tuple(row) for row in db.execute(schema.SELECT_ALL_MATCHED)} and by_target == {
        tuple(row) for row in db.execute(schema.SELECT_ALL_TARGETS)
    }


def _rebuild(db: sa.Connection, every: Iterable[Asked]) -> None:
    db.execute(sa.delete(schema.matched))
    db.execute(sa.delete(schema.targets))
    for one in every:
        _write(db, one, _of_clause(db, one), _after(db, one))


def _write(db: sa.Connection, asked: Asked, before: Matched, after: Mapping[str, tuple[int, bool]]) -> None:
    scope = {"contract": asked.contract, "clause": asked.clause}
    bound = {f"k_{name}": value for name, value in scope.items()}
    most = max(before.most, *(times for times, _ in after.values()))
    values = {"targets": before.targets + len(asked.tags), "most": most}
    if db.execute(schema.UPDATE_MATCHED, {**bound, **values}).rowcount == 0:
        db.execute(schema.INSERT[schema.matched], {**scope, **values})
    if known := [{**bound, "k_tag": tag, "times": times} for tag, (times, old) in after.items() if old]:
        db.execute(schema.UPDATE_TARGET, known)
    if new := [(*scope.values(), tag, times) for tag, (times, old) in after.items() if not old]:
        schema.insert_targets(db, new)


def _of_clause(db: sa.Connection, asked: Asked) -> Matched:
    found = (one for one in matched(db, asked.contract) if one.clause == asked.clause)
    return next(found, Matched(asked.clause))


def _after(db: sa.Connection, asked: Asked) -> Mapping[str, tuple[int, bool]]:
    """Return how often each target will have been asked with this entry, and whether it was asked before."""
    scope = {"k_contract": asked.contract, "k_clause": asked.clause}
    more = Counter(asked.tags)
    known: dict[str, int] = {}
    for tags in _chunks(sorted(more)):
        known.update((row.tag, row.times) for row in db.execute(schema.SELECT_TARGETS, {**scope, "k_tags": tags}))
    return {tag: (known.get(tag, 0) + times, tag in known) for tag, times in more.items()}


def _chunks(tags: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(tags), _AT_ONCE):
        yield tags[at : at + _AT_ONCE]
