"""Costs: how much work a plan is at most, from plan and card alone; what is too much is refused."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import Grid, merged_domain, moved_codes
from cloister.plan.layout import Layout
from cloister.plan.rules import children, combine
from cloister.plan.typing import Schema, chain, step, table_schema

MAX_ROW_OPERATIONS = 10**12
MAX_OPERATIONS = 5_000
MAX_PRODUCTS = 5_000
MAX_SORTS = 32


class Cost(msgspec.Struct, frozen=True):
    """Work bounds from plan and card alone: rows, what is done with each, and the integers that leave.

    ``sorts`` counts passes that order all rows, ``products`` the sums of products (Gram) per row.
    """

    rows: int
    operations_per_row: int
    sorts: int
    integers: int
    products: int = 0


def terms(measure: a.Measure) -> tuple[a.Scalar, ...]:
    """Return the expressions a measure is taken of."""
    if isinstance(measure, a.Gram):
        return measure.of
    return () if measure.of is None else (measure.of,)


def cost_of(plan: a.Plan, frame: Layout, card: Card, cards: Mapping[str, Card]) -> Cost:
    """Return the cost of a plan.

    Raises:
        PlanError: ``plan.cost``.
    """
    products = sum(part.width for part in frame.components if part.role == "gram")
    operations = len(frame.components)
    operations += sum(_nodes(term) for measure in plan.measures for term in terms(measure))
    sorts = 0
    # An engine may move a filter (a nullable key is one) below what derived its columns, and then computes them again
    # at every mention: filters count with all their columns written out.
    written_out: dict[str, int] = {}
    width = len(card.columns)
    for node in chain(plan.source):
        if isinstance(node, a.Filter):
            operations += _nodes(node.where, written_out)
        elif isinstance(node, a.Derive):
            operations += sum(_nodes(expression) for _, expression in node.columns)
            width += len(node.columns)
            written_out |= {name: _nodes(expression, written_out) for name, expression in node.columns}
        elif isinstance(node, a.Cap):
            # Every column takes part in the order.
            sorts += (1 if node.groups is None else 4) * (1 + width // 100)
    operations += sum(1 + written_out.get(name, 0) for name in plan.keys)
    operations += _recodings(plan, cards)
    rows = max(1, card.row_limit)
    if operations > MAX_OPERATIONS or products > MAX_PRODUCTS or sorts > MAX_SORTS:
        raise PlanError(
            "plan.cost",
            "the plan is too large to be computed in one query",
            next_step="use shorter expressions, fewer clips inside clips, fewer caps or smaller Grams",
        )
    if rows * (operations + products + 40 * sorts) > MAX_ROW_OPERATIONS:
        raise PlanError(
            "plan.cost",
            "the plan would take too long on a table of the declared size",
            next_step="use fewer measures or shorter expressions, or ask in several releases",
        )
    return Cost(rows, operations, sorts, frame.cells * frame.width, products)


def _recodings(plan: a.Plan, cards: Mapping[str, Card]) -> int:
    """Return how many codes of categories the plan translates one by one: each is a branch of the query."""
    first, *rest = chain(plan.source)
    schema, found = table_schema(first, cards), 0
    for node in rest:
        terms: tuple[a.Scalar, ...] = (node.where,) if isinstance(node, a.Filter) else ()
        if isinstance(node, a.Derive):
            terms = tuple(term for _, term in node.columns)
        found += sum(_branches(term, schema)[1] for term in terms)
        schema = step(node, schema)
    return found + sum(_branches(term, schema)[1] for measure in plan.measures for term in terms(measure))


def _branches(node: a.Scalar, schema: Schema) -> tuple[Grid, int]:
    if isinstance(node, a.Col):
        return schema.grid(node.name), 0
    parts = [_branches(child, schema) for child in children(node)]
    grids, found = tuple(grid for grid, _ in parts), sum(count for _, count in parts)
    if isinstance(node, a.Case | a.Fill | a.Compare) and grids[-1].kind == grids[-2].kind == "category":
        domain = merged_domain(grids[-2], grids[-1])
        if domain != grids[-1].domain:
            moved = moved_codes(grids[-1], domain)
            found += len(moved) if len({new - old for old, new in moved}) > 1 else 0
    return combine(node, grids), found


def _nodes(node: a.Scalar, columns: Mapping[str, int] = MappingProxyType({})) -> int:
    """Return the operations of an expression as compiled: clips and cuts repeat their term.

    ``columns`` says what a column costs, if it is more than reading it.
    """
    if isinstance(node, a.Col):
        return columns.get(node.name, 1)
    inside = sum(_nodes(child, columns) for child in children(node))
    if isinstance(node, a.Clip):
        return 1 + 4 * inside
    return 1 + inside * (len(node.edges) if isinstance(node, a.Cut) else 1)
