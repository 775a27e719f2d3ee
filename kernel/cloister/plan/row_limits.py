"""Row limits of a contract as a filter that plans begin with, and the check that they all do.

The filter stands directly on the table, so that no operator of the plan (caps, windows, alignments) sees another row.
It is part of the plan, hence of its digest, its price and the receipt: whoever reads the receipt sees which rows were
asked about. Loading comes before any plan: of a unit with more rows than its card declares, some of *all* its rows are
kept, so whether a row that is granted is among them may depend on rows that are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from cloister.contract import access
from cloister.contract.card import Card, Column
from cloister.contract.clauses import RowLimit
from cloister.contract.terms import Contract
from cloister.plan import algebra as a


def granted(contract: Contract, analyst: str, card: Card) -> tuple[a.Scalar, ...]:
    """Return the conditions on the rows that an analyst (a did) is granted of a table; none where all are."""
    found = access.of_analyst(contract, analyst, card.name)
    return () if found is None else conditions(found.rows, card)


def conditions(limits: Iterable[RowLimit], card: Card) -> tuple[a.Scalar, ...]:
    """Return the conditions that a row must meet, all of them; a column the card does not declare is met by none."""
    return tuple(term for limit in limits for term in _conditions(limit, card.column(limit.column)))


def table(contract: Contract, analyst: str, card: Card) -> a.Relation:
    """Return a table as far as its rows are granted to an analyst."""
    wanted = granted(contract, analyst, card)
    if not wanted:
        return a.Table(card.name)
    return a.Filter(a.Table(card.name), wanted[0] if len(wanted) == 1 else a.And(wanted))


def beyond(plan: Any, wanted: Mapping[str, tuple[a.Scalar, ...]]) -> str:
    """Return the first table that a plan reads outside the conditions ``wanted`` by table, or ``""``."""
    return next(_beyond(plan, (), {name: set(terms) for name, terms in wanted.items() if terms}), "")


def _beyond(node: Any, held: tuple[a.Scalar, ...], wanted: Mapping[str, set[a.Scalar]]) -> Iterator[str]:
    if isinstance(node, a.Table):
        if not wanted.get(node.name, set()) <= set(held):
            yield node.name
    elif isinstance(node, a.Filter):
        terms = node.where.terms if isinstance(node.where, a.And) else (node.where,)
        yield from _beyond(node.source, terms, wanted)
        yield from _beyond(node.where, (), wanted)
    elif isinstance(node, a.Reference) and wanted.get(node.table):
        yield node.table
    elif isinstance(node, msgspec.Struct):
        for field in node.__struct_fields__:
            yield from _beyond(getattr(node, field), (), wanted)
    elif isinstance(node, tuple):
        for item in node:
            yield from _beyond(item, (), wanted)


def _conditions(limit: RowLimit, column: Column | None) -> Iterator[a.Scalar]:
    if column is None:
        yield a.Boolean(False)
        return
    term = a.Col(column.name)
    if limit.values and column.type == "bool":
        # Not ``Not``, which is true of a missing value.
        yield a.Compare("eq", term, a.Boolean(limit.values == ("true",)))
    elif limit.values:
        yield a.IsIn(term, tuple(_literal(value, column) for value in limit.values))
    if limit.low:
        yield a.Compare("ge", term, _literal(limit.low, column))
    if limit.high:
        yield a.Compare("le", term, _literal(limit.high, column))


def _literal(text: str, column: Column) -> a.Scalar:
    if column.type in {"int", "decimal"}:
        return a.Number(text)
    return a.Date(text) if column.type == "date" else a.Text(text)
