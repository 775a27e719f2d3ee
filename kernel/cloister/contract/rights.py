"""Rights: what may be done with a table, a release or a derived table, and what follows for what is made of several.

What is made of several things may be used as far as *all* of them allow (G9): rights form a meet-semilattice. Tiers and
grades go up to the stricter one, sets are intersected, the earliest end counts. A released value keeps the tier of the
columns that were used anywhere for it, filters and keys included: this version's contracts carry no approval to lower
it. ``None`` means that nothing is said, so nothing is limited.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Literal

import msgspec

from cloister.contract.card import Card
from cloister.contract.terms import Contract

Grade = Literal["demonstration", "production"]
_STRICTEST = 5


class Rights(msgspec.Struct, frozen=True):
    """What may be done with something; without arguments: everything.

    Attributes:
        tier: The sensitivity 1..5 it is to be handled by.
        grade: ``production`` if anything in it is.
        purposes: What it may be used for.
        operations: What may be computed from it.
        receivers: The dids of the analysts it may go to.
        share: Whether one analyst's releases of it are another's too.
        until: The end (RFC 3339 in UTC).
    """

    tier: int = 1
    grade: Grade = "demonstration"
    purposes: frozenset[str] | None = None
    operations: frozenset[str] | None = None
    receivers: frozenset[str] | None = None
    share: bool = True
    until: str | None = None

    def meet(self, other: Rights) -> Rights:
        """Return the most that both allow."""
        ends = [end for end in (self.until, other.until) if end is not None]
        return Rights(
            max(self.tier, other.tier),
            "production" if "production" in {self.grade, other.grade} else "demonstration",
            _both(self.purposes, other.purposes),
            _both(self.operations, other.operations),
            _both(self.receivers, other.receivers),
            self.share and other.share,
            min(ends, default=None),
        )

    def within(self, other: Rights) -> bool:
        """Return whether this allows no more than ``other``."""
        return self.meet(other) == self


EVERYTHING = Rights()


def meet(parts: Iterable[Rights]) -> Rights:
    """Return the most that all of them allow; of none: everything."""
    return reduce(Rights.meet, parts, EVERYTHING)


def of_table(card: Card, columns: Iterable[str] | None = None) -> Rights:
    """Return the rights in a table as its card declares them, as far as these columns are used (``None``: all).

    A column the card does not declare is as sensitive as can be.
    """
    names = [column.name for column in card.columns] if columns is None else list(columns)
    declared = [card.column(name) for name in names]
    tier = max((_STRICTEST if column is None else column.tier for column in declared), default=1)
    return Rights(tier, card.grade, frozenset(card.purposes))


def of_contract(contract: Contract) -> Rights:
    """Return what a contract allows of whatever is asked under it."""
    return Rights(
        purposes=frozenset(contract.purposes),
        operations=frozenset(contract.operations),
        receivers=frozenset(party.did for party in contract.parties if party.role == "analyst"),
        share=contract.share_releases,
        until=contract.not_after,
    )


def of_release(
    uses: Iterable[tuple[str, str]], tables: Iterable[str], cards: Mapping[str, Card], contract: Contract
) -> Rights:
    """Return the rights in a release: the meet of the contract and of every table it read.

    Args:
        uses: Every (table, column) the release depends on.
        tables: Every table, also one of which only rows were counted.
        cards: By table.
        contract: What it was asked under.
    """
    used = list(uses)
    read = dict.fromkeys([*tables, *(table for table, _ in used)])
    parts = (of_table(cards[name], [column for table, column in used if table == name]) for name in read)
    return meet([of_contract(contract), *parts])


def excess(card: Card, parents: Rights) -> Iterator[tuple[str, str]]:
    """Yield where a card of a derived table allows more than its parents: the clause, and why in words.

    Unit keys do not count, as they do not in plans.
    """
    for column in card.columns:
        if column.tier < parents.tier and column.name not in card.key:
            yield f"columns.{column.name}.tier", f"tier {column.tier} of what is made of tier {parents.tier}"
    if parents.grade == "production" != card.grade:
        yield "grade", f"{card.grade} of what is made of {parents.grade} data"
    for purpose in card.purposes:
        if parents.purposes is not None and purpose not in parents.purposes:
            yield "purposes", f"{purpose!r} is no purpose of what it is made of"


def _both(left: frozenset[str] | None, right: frozenset[str] | None) -> frozenset[str] | None:
    if left is None or right is None:
        return right if left is None else left
    return left & right
