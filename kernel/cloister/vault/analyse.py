"""Analysis: how much one unit can change a release, and what the plan needs.

Neighbours differ in all rows of one unit, everything else fixed (add/remove). Storage gives at most ``rows_per_unit``
rows per unit; every relation of a single table keeps each row with its unit, and the rows of a unit depend on that
unit's rows only. So a unit contributes at most r rows, at most k of them to one cell of the keys, and each row at most
M to a component, which gives

    L1 = r M,   L2 = M sqrt(q k^2 + (r - q k)^2) with q = floor(r / k),   Linf = min(r, k) M

for a component of one integer; a block of T integers (Gram) has L1 and L2 times T and sqrt(T). Nothing here sees data.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import LIMIT, Grid, Uses, merged_domain, moved_codes
from cloister.plan.layout import Component, Layout, layout
from cloister.plan.rules import children, combine
from cloister.plan.typing import Schema, chain, scalar, step, table_schema

MAX_ROW_OPERATIONS = 10**12
MAX_OPERATIONS = 5_000
MAX_PRODUCTS = 5_000
MAX_SORTS = 32
Operation = Literal["aggregate", "model"]


class Bound(msgspec.Struct, frozen=True):
    """Norms of the change one unit can make to a component (all cells), in grid integers; L2 is squared."""

    l1: int
    linf: int
    l2_squared: int


class Cost(msgspec.Struct, frozen=True):
    """Work bounds from plan and card alone: rows, what is done with each, and the integers that leave.

    ``sorts`` counts passes that order all rows, ``products`` the sums of products (Gram) per row.
    """

    rows: int
    operations_per_row: int
    sorts: int
    integers: int
    products: int = 0


class Analysis(msgspec.Struct, frozen=True):
    """What a plan claims and needs: layout, norms per component, columns used, tier, operations and cost.

    ``tables`` names a table as often as the plan scans it.
    """

    plan: a.Plan
    cards: dict[str, Card]
    layout: Layout
    tables: tuple[str, ...]
    unit: str
    population: str
    rows_per_unit: int
    rows_per_cell: int
    bounds: tuple[Bound, ...]
    uses: Uses
    tier: int
    operations: frozenset[Operation]
    cost: Cost


def analyse(plan: a.Plan, cards: Mapping[str, Card]) -> Analysis:
    """Return the analysis of ``plan``.

    Raises:
        PlanError: The plan does not type-check, has no derivable bound, or costs too much.
    """
    frame = layout(plan, cards)
    lineage = _Lineage(plan, cards)
    schema, card = lineage.schema, lineage.schema.card
    rows, per_cell = lineage.rows, lineage.rows_per_cell(plan.keys)
    for part in frame.components:
        if _reach(part) * card.row_limit > LIMIT:
            raise PlanError(
                "plan.range",
                f"the total of {part.measure!r} could leave the range of exact 64-bit sums",
                clause="values are never silently cut off",
                next_step="clip the term to a narrower range, or use fewer decimal places",
            )
    uses = schema.uses.union(*(schema.grid(name).uses for name in plan.keys))
    uses = uses.union(*(scalar(term, schema).uses for measure in plan.measures for term in _terms(measure)))
    operations: set[Operation] = {"model" if isinstance(item, a.Gram) else "aggregate" for item in plan.measures}
    return Analysis(
        plan=plan,
        cards={schema.table: card},
        layout=frame,
        tables=(schema.table,),
        unit=card.unit,
        population=card.population,
        rows_per_unit=rows,
        rows_per_cell=per_cell,
        bounds=tuple(_bound(part, rows, per_cell) for part in frame.components),
        uses=uses,
        tier=max((_tier(card, name) for _, name in uses), default=1),
        operations=frozenset(operations),
        cost=_cost(plan, frame, card, cards),
    )


class _Lineage:
    """Follows the rows of a unit through the relation: how many there can be, in all and per value of a key."""

    def __init__(self, plan: a.Plan, cards: Mapping[str, Card]) -> None:
        first, *rest = chain(plan.source)
        self.schema = table_schema(first, cards)
        self.rows = max(1, self.schema.card.rows_per_unit)
        self.caps: list[tuple[frozenset[str], int]] = []
        for node in rest:
            self.schema = step(node, self.schema)
            if isinstance(node, a.Cap):
                self._cap(node, self.schema)

    def _cap(self, node: a.Cap, schema: Schema) -> None:
        # Null is a value of its own here, hence one group more than the grid has points.
        groups = 1
        for name in node.by:
            groups *= schema.grid(name).points + 1
        if node.groups is not None:
            groups = min(groups, node.groups)
        self.rows = min(self.rows, node.rows * groups)
        self.caps.append((frozenset(schema.tokens[name] for name in node.by), node.rows))

    def rows_per_cell(self, keys: tuple[str, ...]) -> int:
        """Return the most rows of one unit in one cell: a cap counts if every column it is by is still a key."""
        tokens = {self.schema.tokens[name] for name in keys}
        return min([self.rows, *(rows for by, rows in self.caps if by <= tokens)])


def _bound(part: Component, rows: int, per_cell: int) -> Bound:
    full, rest = divmod(rows, per_cell)
    reach = max(1, _reach(part))
    return Bound(
        l1=part.width * rows * reach,
        linf=min(rows, per_cell) * reach,
        l2_squared=part.width * reach**2 * (full * per_cell**2 + rest**2),
    )


def _reach(part: Component) -> int:
    return max(abs(part.lo), abs(part.hi))


def _terms(measure: a.Measure) -> tuple[a.Scalar, ...]:
    if isinstance(measure, a.Gram):
        return measure.of
    return () if measure.of is None else (measure.of,)


def _tier(card: Card, name: str) -> int:
    column = card.column(name)
    return 5 if column is None else column.tier


def _cost(plan: a.Plan, frame: Layout, card: Card, cards: Mapping[str, Card]) -> Cost:
    products = sum(part.width for part in frame.components if part.role == "gram")
    operations = len(frame.components)
    operations += sum(_nodes(term) for measure in plan.measures for term in _terms(measure))
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
    return found + sum(_branches(term, schema)[1] for measure in plan.measures for term in _terms(measure))


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
