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
from typing import Literal

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import LIMIT, Uses
from cloister.plan.layout import Layout, layout
from cloister.plan.typing import Schema, chain, scalar, step, table_schema
from cloister.vault.costs import Cost, cost_of, terms
from cloister.vault.norms import Bound, bound, reach

Operation = Literal["aggregate", "model"]


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
        if reach(part) * card.row_limit > LIMIT:
            raise PlanError(
                "plan.range",
                f"the total of {part.measure!r} could leave the range of exact 64-bit sums",
                clause="values are never silently cut off",
                next_step="clip the term to a narrower range, or use fewer decimal places",
            )
    uses = schema.uses.union(*(schema.grid(name).uses for name in plan.keys))
    uses = uses.union(*(scalar(term, schema).uses for measure in plan.measures for term in terms(measure)))
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
        bounds=tuple(bound(part, rows, per_cell) for part in frame.components),
        uses=uses,
        tier=max((_tier(card, name) for _, name in uses), default=1),
        operations=frozenset(operations),
        cost=cost_of(plan, frame, card, cards),
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


def _tier(card: Card, name: str) -> int:
    column = card.column(name)
    return 5 if column is None else column.tier
