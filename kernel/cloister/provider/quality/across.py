"""Consistency across the tables of a capsule: units of one that another does not have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from cloister.contract.card import Card
from cloister.errors import RefusedError
from cloister.provider.engine import Rows
from cloister.provider.quality.context import Context
from cloister.provider.quality.measures import Measure
from cloister.provider.quality.rules import Rules

_UNSCORED = "does not count: units_in in the rules says whether each should be there"


def measures(it: Context, beside: Sequence[tuple[Card, pa.Table]]) -> Iterator[Measure]:
    """Yield, for every other table about the same units, how many of this one's units it has.

    That a patient has no stay is normal, and that a stay has no patient is not: which of the two it is only the
    provider knows, so a measure counts towards the score if the rules say so (``units_in``).

    Raises:
        RefusedError: ``quality.reference``: the rules name a table that is not measured with this one, or about others.
    """
    about = [(card, table) for card, table in beside if _same_units(it.card, card)]
    if unknown := sorted(set(it.rules.units_in) - {card.name for card, _ in about}):
        raise RefusedError(
            "quality.reference",
            f"units_in names {unknown[0]}, which is not measured together with this table, or is of other units",
            clause="units_in", nearest=tuple(card.name for card, _ in about),
            next_step="measure both at once (--also CARD=DATA); their cards name one population, unit and normaliser",
        )  # fmt: skip
    for card, table in about:
        yield from _found_in(it, card, table)


def _same_units(mine: Card | None, other: Card) -> bool:
    if mine is None or mine.unit == "none":
        return False
    names = ("population", "unit", "normaliser")
    return len(mine.key) == len(other.key) and all(getattr(mine, name) == getattr(other, name) for name in names)


def _found_in(it: Context, card: Card, table: pa.Table) -> Iterator[Measure]:
    mine = it.unit()
    with Rows(table) as rows:
        other = Context(rows, tuple(table.column_names), card, None, Rules(), it.as_of, show_examples=False).unit()
        if mine is None or other is None or it.card is None:
            return  # a key column is missing: completeness says so
        known = rows.column(other)
    with it.rows.beside(known):
        units = f"SELECT {mine} AS u, min({it.spelling()}) AS v FROM t WHERE {mine} IS NOT NULL GROUP BY u"
        found = f"SELECT v, u IN (SELECT v FROM other) AS here FROM ({units})"
        total, good = it.rows.one(f"SELECT count(*), count(*) FILTER (here) FROM ({found})")
        scored = card.name in it.rules.units_in
        yield Measure(
            "consistency", f"units found in {card.name}", ", ".join(it.card.key), good, total, scored=scored,
            note="" if scored or good == total else _UNSCORED,
            examples=it.examples(f"SELECT v FROM ({found}) WHERE NOT here"),
        )  # fmt: skip
