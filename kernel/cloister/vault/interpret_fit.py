"""Reference interpreter of a learner's queries: what one row adds, in plain integers, row by row.

It follows the wording of ``plan/learning/queries.py`` and shares no code with ``fit_sums.py``; tests hold them equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from cloister.contract.card import Card
from cloister.plan import algebra as a
from cloister.plan.learning.encoding import SCALE, Block, Encoding, encoding_of
from cloister.plan.learning.link import residuals
from cloister.plan.learning.queries import LINK_STEPS, WEIGHT_SCALE, Gradient, Gram, Nearest, Query
from cloister.plan.typing import typed
from cloister.vault.interpret import rows_of
from cloister.vault.interpret_measures import scaled
from cloister.vault.interpret_relations import Row
from cloister.vault.interpret_scalars import Value, evaluate, index_of, number

Coded = tuple[int, tuple[int, ...], int]


def coded_rows(plan: a.Fit, cards: Mapping[str, Card], tables: Mapping[str, Sequence[Row]]) -> list[Coded]:
    """Return unit, encoded row and class of every row of a fit that has a value in all terms."""
    relation = typed(plan.source, cards)
    coded = encoding_of(plan, relation.schema)
    found = []
    for row in rows_of(relation, tables):
        values = [evaluate(term, row.values) for term in plan.terms]
        if any(value is None for value in values):
            continue
        label = 0 if coded.target_grid is None else index_of(values[-1], coded.target_grid)
        parts = [_block(value, block) for value, block in zip(values, coded.blocks, strict=False)]
        found.append((row.unit, (SCALE, *(item for part in parts for item in part)), int(label or 0)))
    return found


def _block(value: Value, block: Block) -> list[int]:
    if block.labels:
        return [SCALE * (label == value) for label in block.labels]
    return [scaled(Fraction(number(value)), block.grid, SCALE)]


def added(query: Query, row: tuple[int, ...], label: int) -> list[int]:
    """Return what one encoded row of a class adds to a query."""
    match query:
        case Gram():
            return [row[i] * row[j] for i in range(len(row)) for j in range(i, len(row))]
        case Gradient():
            return _gradient(query, row, label)
        case Nearest():
            distances = [sum((x - c) ** 2 for x, c in zip(row[1:], centre, strict=True)) for centre in query.centres]
            nearest = distances.index(min(distances))
            return [value * (index == nearest) for index in range(len(query.centres)) for value in row]


def _gradient(query: Gradient, row: tuple[int, ...], label: int) -> list[int]:
    form = query.form
    unit = Fraction(LINK_STEPS, SCALE * WEIGHT_SCALE)
    scores = [sum(w * x for w, x in zip(weights, row, strict=True)) * unit for weights in query.weights]
    found = residuals([math.floor(score + Fraction(1, 2)) for score in scores], label, form.clip)
    squared = sum(value * value for value in row)
    length = math.isqrt(squared - 1) + 1
    if form.cap and length > form.cap:
        found = [math.trunc(Fraction(value * form.cap, length)) for value in found]
    return [value * x for value in found for x in row[form.first : form.stop]]


def total(query: Query, rows: Sequence[Coded], coded: Encoding, width: int) -> list[int]:
    """Return the exact integers of a query over encoded rows."""
    found = [0] * width
    for _, row, label in rows:
        if len(row) != coded.width:
            raise ValueError("a row of another encoding")
        found = [value + more for value, more in zip(found, added(query, row, label), strict=True)]
    return found
