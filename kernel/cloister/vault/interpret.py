"""Reference interpreter: what a plan means, in plain Python, one row at a time.

It follows the wording of ``plan/algebra`` with exact fractions, dates and texts instead of grid integers, shares no
code with the compiler, and must agree with the engine to the last integer. It is slow and used by tests only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from cloister.contract.card import Card
from cloister.plan import algebra as a
from cloister.plan.layout import layout
from cloister.plan.typing import Typed, typed
from cloister.vault.interpret_measures import Found, totals
from cloister.vault.interpret_relations import Row, apply
from cloister.vault.interpret_scalars import index_of


def interpret(plan: a.Plan, cards: Mapping[str, Card], tables: Mapping[str, Sequence[Row]]) -> list[int]:
    """Return the exact integers of a release in layout order; ``tables`` are the stored rows by table name."""
    relation = typed(plan.source, cards)
    frame = layout(plan, cards)
    cells = {cell: index for index, cell in enumerate(product(*(range(len(key.labels)) for key in frame.keys)))}
    found: list[list[Found]] = [[] for _ in cells]
    for row in rows_of(relation, tables):
        codes = [index_of(row.values[key.name], key.grid) for key in frame.keys]
        if any(code is None for code in codes):
            continue
        cell = cells[tuple(int(code or 0) - key.grid.lo for code, key in zip(codes, frame.keys, strict=True))]
        found[cell].append((row.unit, row.values, row.flags))
    return [number for rows in found for part in frame.components for number in totals(part, rows)]


def rows_of(relation: Typed, tables: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Return the rows of a relation."""
    if isinstance(relation.node, a.Table):
        return list(tables[relation.node.name])
    parts = [rows_of(source, tables) for source in relation.sources]
    return apply(relation, parts, tables)
