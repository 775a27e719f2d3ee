"""Costs: how much work a plan is at most, from plan and card alone; what is too much is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import get_args

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import MAX_TEXT, Grid, merged_domain, moved_codes
from cloister.plan.layout import Layout
from cloister.plan.reads import asked
from cloister.plan.rules import children, combine
from cloister.plan.texts import TextNode
from cloister.plan.typing import Schema, Typed
from cloister.vault.fit_costs import learning_ms

MAX_ROW_OPERATIONS = 10**12
MAX_OPERATIONS = 5_000
MAX_PRODUCTS = 5_000
MAX_SORTS = 32
_LETTERS_PER_OPERATION = 32
_TEXT_OPERATIONS = dict.fromkeys(get_args(TextNode), MAX_TEXT // _LETTERS_PER_OPERATION)


class Cost(msgspec.Struct, frozen=True):
    """Work bounds from plan and card alone: rows, what is done with each, and the integers that leave.

    ``sorts`` counts passes that order all rows, ``products`` the sums of products (Gram) per row; ``learning_ms`` is
    the time the steps of a fit take.
    """

    rows: int
    operations_per_row: int
    sorts: int
    integers: int
    products: int = 0
    learning_ms: float = 0.0


def cost_of(plan: a.Plan, frame: Layout, relation: Typed, cards: Mapping[str, Card]) -> Cost:
    """Return the cost of a plan.

    Raises:
        PlanError: ``plan.cost``.
    """
    products = sum(part.width for part in frame.components if part.role == "gram")
    operations = len(frame.components)
    operations += sum(_nodes(term) for term in asked(plan))
    sorts = 0
    # An engine may move a filter (a nullable key is one) below what derived its columns, and then computes them again
    # at every mention: filters count with all their columns written out.
    written_out: dict[str, int] = {}
    nodes = relation.every()
    for found in nodes:
        known = written_out if isinstance(found.node, a.Filter) else {}
        operations += sum(_nodes(term, known) for term in _terms(found.node))
        if isinstance(found.node, a.Derive):
            written_out |= {name: _nodes(expression, written_out) for name, expression in found.node.columns}
        sorts += _sorts(found)
    operations += sum(1 + written_out.get(name, 0) for name in plan.keys)
    operations += sum(
        _branches(term, found.sources[0].schema)[1] for found in nodes if found.sources for term in _terms(found.node)
    )
    operations += sum(_branches(term, relation.schema)[1] for term in asked(plan))
    rows = sum(_scanned(found, cards) for found in nodes)
    if operations > MAX_OPERATIONS or products > MAX_PRODUCTS or sorts > MAX_SORTS:
        raise PlanError(
            "plan.cost",
            "the plan is too large to be computed in one query",
            next_step="use shorter expressions, fewer clips inside clips, fewer caps, alignments or smaller Grams",
        )
    if rows * (operations + products + 40 * sorts) > MAX_ROW_OPERATIONS:
        raise PlanError(
            "plan.cost",
            "the plan would take too long on a table of the declared size",
            next_step="use fewer measures or shorter expressions, or ask in several releases",
        )
    learning = learning_ms(plan, relation.schema) if isinstance(plan, a.Fit) else 0.0
    return Cost(rows, operations, sorts, _draws(frame, relation.schema), products, learning)


def _draws(frame: Layout, schema: Schema) -> int:
    """Return how many integers get noise; of values that are not known beforehand, one for each that can occur."""
    if not frame.found:
        return frame.draws
    return min(
        schema.limit, math.prod(schema.limit if key.grid.kind == "text" else key.grid.points for key in frame.keys)
    )


def _terms(node: a.Relation) -> tuple[a.Scalar, ...]:
    """Return the expressions a relation computes on its (first) source."""
    match node:
        case a.Filter():
            return (node.where,)
        case a.Derive():
            return tuple(term for _, term in node.columns)
        case a.PerUnit():
            return tuple(measure.of for measure in node.measures if measure.of is not None)
        case a.Window():
            return tuple(found.of for found in node.functions if not isinstance(found, a.RowNumber))
        case _:
            return ()


def _sorts(found: Typed) -> int:
    """Return how many times a relation orders, hashes or matches all its rows."""
    width = 1 + len(found.schema.columns) // 100
    match found.node:
        case a.Cap():
            # Every column takes part in the order.
            return (1 if found.node.groups is None else 4) * width
        case a.Window():
            return width * len(found.node.functions)
        case a.Align() | a.PerUnit():
            return 1
        case a.Split():
            return 2
        case _:
            return 0


def _scanned(found: Typed, cards: Mapping[str, Card]) -> int:
    """Return the rows a relation brings in: those of a table, and those an alignment makes more."""
    match found.node:
        case a.Table():
            return found.schema.limit
        case a.Align():
            return max(0, found.schema.limit - sum(source.schema.limit for source in found.sources))
        case a.Lookup():
            return cards[found.node.rows.table].row_limit if isinstance(found.node.rows, a.Reference) else 0
        case _:
            return 0


def _branches(node: a.Scalar, schema: Schema) -> tuple[Grid, int]:
    if isinstance(node, a.Col):
        return schema.grid(node.name), 0
    parts = [_branches(child, schema) for child in children(node)]
    grids, found = tuple(grid for grid, _ in parts), sum(count for _, count in parts)
    closed = all(grid.kind == "category" for grid in grids)
    if isinstance(node, TextNode):
        # A lookup over the domain, or the labels of the categories that are put together with free text.
        sizes = [len(grid.domain) for grid in grids if grid.kind == "category"]
        found += math.prod(sizes) if closed else sum(sizes)
    if isinstance(node, a.Case | a.Fill | a.Compare) and {grids[-1].kind, grids[-2].kind} == {"text", "category"}:
        found += sum(len(grid.domain) for grid in grids[-2:])
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
    if isinstance(node, a.Quotient):
        # As written out: limits and floors for divisors of both signs.
        return 8 + 5 * _nodes(node.left, columns) + 10 * _nodes(node.right, columns)
    inside = sum(_nodes(child, columns) for child in children(node))
    return _TEXT_OPERATIONS.get(type(node), 1) + _size(node) + inside * _mentions(node)


def _mentions(node: a.Scalar) -> int:
    """Return how often the SQL of a node repeats that of its term."""
    match node:
        case a.Clip():
            return 4
        case a.Cut():
            return len(node.edges)
        case a.Round(kind="even") | a.Curve() | a.Recode() | a.Parse():
            return 2
        case _:
            return 1


def _size(node: a.Scalar) -> int:
    """Return the work of a text scalar that its public arguments decide, in row operations."""
    match node:
        case a.Replace():
            # Every occurrence can grow; only then is the result cut.
            return MAX_TEXT * len(node.new) // (len(node.old) or 1) // _LETTERS_PER_OPERATION
        case a.Recode():
            return len(node.labels)
        case _:
            return 0
