"""Costs: how much work a plan is at most, from plan and card alone; what is too much is refused.

Every relation counts with the rows that reach it, not with those of all tables: what is done with each of twenty
tables grows with their number, not with its square.
"""

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
MAX_HELD = 64
MAX_HELD_BYTES = 2**35
_BYTES_PER_VALUE = 8
# Of matching a row with a table that is held by unit or key, against ordering or holding the row.
_MATCHED_ROWS = 8
# Of telling distinct values apart (50 to 250 ns a row), against the same.
_DISTINCT_ROWS = 2
_LETTERS_PER_OPERATION = 32
_TEXT_OPERATIONS = dict.fromkeys(get_args(TextNode), MAX_TEXT // _LETTERS_PER_OPERATION)


class Cost(msgspec.Struct, frozen=True):
    """Work bounds from plan and card alone: rows, what is done with them, and the integers that leave.

    ``rows`` are those of all tables and what alignments make more. ``row_operations`` are operations on single rows,
    ``sorted_rows`` the rows of every pass that orders, holds or matches rows, ``products`` the products of rows that
    are summed (Gram). ``operations``, ``sorts`` and ``tables`` are sizes of the query: how many there are of each.
    ``learning_ms`` is the time the steps of a fit take, ``tables`` are what an engine plans to read, public rows
    included, and ``literals`` the values of these.
    """

    rows: int
    row_operations: int
    sorted_rows: int
    integers: int
    products: int = 0
    operations: int = 0
    sorts: int = 0
    learning_ms: float = 0.0
    tables: int = 1
    literals: int = 0


def cost_of(plan: a.Plan, frame: Layout, relation: Typed, cards: Mapping[str, Card]) -> Cost:
    """Return the cost of a plan.

    Raises:
        PlanError: ``plan.cost``.
    """
    width = sum(part.width for part in frame.components if part.role == "gram")
    sorts = held = sorted_rows = held_bytes = 0
    # An engine may move a filter below what derived its columns, and then computes them again at every mention: filters
    # count with all their columns written out. Nullable keys, also those per unit, and nullable terms of a fit are
    # filters: rows without a value are left out. Keys that cannot be null are grouped by, and computed once.
    written_out: dict[str, int] = {}
    nodes = relation.every()
    # The most rows a relation is computed on: an engine may move what is above an alignment below it.
    at: dict[int, int] = {}
    steps: list[tuple[int, int]] = []
    for found in nodes:
        most = max(found.schema.limit, _scanned(found, cards), *(at[id(source)] for source in found.sources), 0)
        at[id(found)] = most
        known = written_out if isinstance(found.node, a.Filter) else {}
        operations = sum(_nodes(term, known) for term in _terms(found.node))
        if isinstance(found.node, a.Derive):
            written_out |= {name: _nodes(expression, written_out) for name, expression in found.node.columns}
        if isinstance(found.node, a.PerUnit):
            operations += sum(1 + written_out.get(name, 0) for name in found.node.by)
        if found.sources:
            operations += sum(_branches(term, found.sources[0].schema)[1] for term in _terms(found.node))
        steps.append((operations, most))
        passes = _sorts(found)
        sorts, held = sorts + passes, held + isinstance(found.node, a.Align | a.PerUnit | a.Lookup)
        sorted_rows += _matched(found, cards) + passes * _below(found)
        held_bytes += _BYTES_PER_VALUE * _held_values(found, cards)
    last = len(frame.components)
    known = written_out if isinstance(plan, a.Fit) else {}
    last += sum(_nodes(term, known) + _branches(term, relation.schema)[1] for term in asked(plan))
    last += sum(1 + (written_out.get(name, 0) if relation.schema.grid(name).nullable else 0) for name in plan.keys)
    steps.append((last, at[id(relation)]))
    told_apart = at[id(relation)] * sum(part.role == "units" for part in frame.components)
    sorted_rows += _share(told_apart, _DISTINCT_ROWS)
    held_bytes += 2 * _BYTES_PER_VALUE * told_apart
    operations, row_operations = sum(count for count, _ in steps), sum(count * rows for count, rows in steps)
    if operations > MAX_OPERATIONS or width > MAX_PRODUCTS or sorts > MAX_SORTS or held > MAX_HELD:
        raise PlanError(
            "plan.cost",
            "the plan is too large to be computed in one query",
            next_step="use shorter expressions, fewer clips inside clips, fewer caps, alignments or smaller Grams",
        )
    if held_bytes > MAX_HELD_BYTES:
        raise PlanError(
            "plan.cost",
            "the plan would hold too much in memory on a table of the declared size",
            clause=f"what is ordered, matched or grouped by unit takes at most {MAX_HELD_BYTES // 2**30} GiB",
            next_step="leave out columns before caps and alignments, or ask about a part of the units (split)",
        )
    rows, products = sum(_scanned(found, cards) for found in nodes), width * at[id(relation)]
    if row_operations + rows + products + 40 * sorted_rows > MAX_ROW_OPERATIONS:
        raise PlanError(
            "plan.cost",
            "the plan would take too long on a table of the declared size",
            next_step="use fewer measures or shorter expressions, or ask in several releases",
        )
    learning = 0.0 if frame.fitted is None else learning_ms(frame.fitted, relation.schema.limit)
    draws = _draws(frame, relation.schema)
    looked = [found.node.rows for found in nodes if isinstance(found.node, a.Lookup)]
    public = [rows_of.rows for rows_of in looked if isinstance(rows_of, a.PublicRows)]
    return Cost(
        rows,
        row_operations + rows,
        sorted_rows,
        draws,
        products,
        operations,
        sorts,
        learning,
        len(relation.schema.tables) + len(public),
        sum(len(row) for written in public for row in written),
    )


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
    """Return how many times a relation orders all its rows."""
    width = 1 + len(found.schema.columns) // 100
    match found.node:
        case a.Cap():
            # Every column takes part in the order.
            return (1 if found.node.groups is None else 4) * width
        case a.Window():
            return width * len(found.node.functions)
        case a.Split():
            return 2
        case _:
            return 0


def _matched(found: Typed, cards: Mapping[str, Card]) -> int:
    """Return the rows a relation holds by unit or key, or matches.

    Each side of an alignment is held once; rows that were aligned before only look up the next table, like those of a
    look-up.
    """
    match found.node:
        case a.PerUnit() as node:
            distinct = sum(measure.kind == "distinct" for measure in node.measures)
            return _below(found) + _share(distinct * _below(found), _DISTINCT_ROWS)
        case a.Lookup() as node:
            return _share(_below(found), _MATCHED_ROWS) + _looked_up(node, cards)
        case a.Align():
            left, right = found.sources
            rows = left.schema.limit
            rows = _share(rows, _MATCHED_ROWS) if isinstance(left.node, a.Align) else rows
            return rows + right.schema.limit + _scanned(found, cards)
        case _:
            return 0


def _held_values(found: Typed, cards: Mapping[str, Card]) -> int:
    """Return the values a relation keeps in memory at most: of rows that are ordered, grouped by unit or matched."""
    match found.node:
        case a.PerUnit() as node:
            # Each value of a distinct measure is kept beside its unit.
            wide = 1 + len(found.schema.columns) + 2 * sum(measure.kind == "distinct" for measure in node.measures)
            return wide * _below(found)
        case a.Lookup() as node:
            return (len(node.keys) + len(node.columns)) * _looked_up(node, cards)
        case a.Align():
            # What was aligned before streams past the next table.
            left, right = found.sources
            held = (right,) if isinstance(left.node, a.Align) else (left, right)
            return sum((1 + len(source.schema.columns)) * source.schema.limit for source in held)
        case a.Cap() | a.Window() | a.Split():
            return (1 + len(found.schema.columns)) * _below(found)
        case _:
            return 0


def _looked_up(node: a.Lookup, cards: Mapping[str, Card]) -> int:
    """Return how many rows a look-up looks in."""
    return len(node.rows.rows) if isinstance(node.rows, a.PublicRows) else cards[node.rows.table].row_limit


def _share(rows: int, parts: int) -> int:
    """Return one of so many parts of rows, rounded up."""
    return -(-rows // parts)


def _below(found: Typed) -> int:
    """Return the most rows of the (first) source of a relation."""
    return found.sources[0].schema.limit if found.sources else 0


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
