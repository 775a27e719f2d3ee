"""Lookups: the grids of the rows a lookup looks in, which stand in the plan or are a reference table of a provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import Grid, of_column
from cloister.plan.rules import LITERALS, literal, union
from cloister.plan.typing import NO_UNIT, card_of

MAX_LOOKUP_ROWS = 1000
Cards = Mapping[str, Card]


def lookup_grids(node: a.Lookup, cards: Cards) -> tuple[tuple[Grid, ...], tuple[Grid, ...]]:
    """Return the grids of a lookup's keys as its rows hold them, and of its new columns (not nullable yet).

    Raises:
        PlanError: Rows of unequal length, a key twice, or literals that do not fit together.
    """
    if isinstance(node.rows, a.Reference):
        return _reference(node.rows, cards)
    rows, width = node.rows.rows, len(node.keys) + len(node.columns)
    if not 1 <= len(rows) <= MAX_LOOKUP_ROWS or any(len(row) != width for row in rows):
        raise PlanError(
            "plan.lookup", f"a lookup has 1 to {MAX_LOOKUP_ROWS} rows of keys and values", next_step="fewer"
        )
    if not all(isinstance(value, LITERALS) for row in rows for value in row):
        raise PlanError("plan.literal", "a lookup holds literals only", next_step="write the values into the rows")
    grids = tuple(joined([literal(row[place]) for row in rows]) for place in range(width))  # type: ignore[arg-type]
    size = len(node.keys)
    if len({tuple(map(_value, row[:size])) for row in rows}) < len(rows):
        raise PlanError("plan.lookup", "a key stands twice in a lookup", next_step="give each key one row")
    return grids[:size], grids[size:]


def _value(node: a.Scalar) -> Any:
    """Return a literal key as it is compared: True and 1 are one key, and two rows of one key would multiply rows."""
    grid = literal(node)  # type: ignore[arg-type]
    return grid.domain if grid.kind == "category" else grid.lo * grid.step


def joined(grids: Sequence[Grid]) -> Grid:
    """Return a grid that holds the values of all.

    Raises:
        PlanError: They do not fit together.
    """
    found = grids[0]
    for grid in grids[1:]:
        found = union("a lookup", found, grid)
    return found


def _reference(node: a.Reference, cards: Cards) -> tuple[tuple[Grid, ...], tuple[Grid, ...]]:
    card = card_of(node.table, cards)
    if card.unit != NO_UNIT:
        raise PlanError(
            "plan.lookup",
            f"{node.table} belongs to a {card.unit}: it is not a reference table",
            clause="card.unit",
            next_step="align it on the unit key",
            nearest=("visits.merge(claims)",),
        )
    if tuple(node.keys) != tuple(card.key):
        raise PlanError(
            "plan.lookup",
            f"{node.table} is looked up by {', '.join(card.key)}",
            clause="card.key",
            next_step="look up by all its key columns, in their order",
        )

    def grid(name: str) -> Grid:
        column = card.column(name)
        if column is None:
            raise PlanError("plan.column", f"{node.table} has no column {name[:60]!r}", next_step="see its card")
        return of_column(node.table, column, is_key=False)

    return tuple(map(grid, node.keys)), tuple(map(grid, node.columns))
