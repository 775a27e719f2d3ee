"""Analysis: how much one unit can change a release, per account, and what the plan needs. Nothing here sees data.

The plan is typed (``plan/typing.py``), its unit lineage followed (``lineage.py``), and every component of its layout
gets norms for each account it rests on (``norms.py``). A measure without derivable bounds is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan import reads
from cloister.plan.grid import LIMIT, Uses
from cloister.plan.layout import Layout, counted, layout
from cloister.plan.typing import NO_UNIT, Typed, typed
from cloister.vault.costs import Cost, cost_of
from cloister.vault.lineage import Influence, influences
from cloister.vault.norms import Bound, bound, reach

Operation = Literal["aggregate", "model"]


class Claim(msgspec.Struct, frozen=True):
    """What one unit of an account can change: how its rows change, and the norms of every component."""

    influence: Influence
    bounds: tuple[Bound, ...]


class Analysis(msgspec.Struct, frozen=True):
    """What a plan claims and needs: layout, norms per account and component, columns used, tier, operations and cost.

    ``tables`` names a table as often as the plan scans it. ``claims`` are by account (a population's name, or what the
    caller calls the account of a table).
    """

    plan: a.Plan
    cards: dict[str, Card]
    typed: Typed
    layout: Layout
    tables: tuple[str, ...]
    claims: dict[str, Claim]
    rows_per_cell: int
    uses: Uses
    tier: int
    operations: frozenset[Operation]
    cost: Cost

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The largest norms of every component over all accounts: what the noise is scaled to."""
        return tuple(
            Bound(*(max(getattr(found, field) for found in column) for field in Bound.__struct_fields__))
            for column in zip(*(claim.bounds for claim in self.claims.values()), strict=True)
        )


def analyse(plan: a.Plan, cards: Mapping[str, Card], accounts: Mapping[str, str] | None = None) -> Analysis:
    """Return the analysis of ``plan``.

    Args:
        plan: The plan.
        cards: Data cards by table name.
        accounts: The account of every table; by default its card's population.

    Raises:
        PlanError: The plan does not type-check, has no derivable bound, or costs too much.
    """
    frame, relation = layout(plan, cards), typed(counted(plan, cards), cards)
    schema = relation.schema
    if accounts is None:
        accounts = {name: card.population for name, card in cards.items() if card.unit != NO_UNIT}
    per_cell, groups = schema.rows_per_cell(plan.keys), schema.cells_per_unit(plan.keys)
    for part in frame.components:
        if reach(part) * schema.limit > LIMIT:
            raise PlanError(
                "plan.range",
                f"the total of {part.measure!r} could leave the range of exact 64-bit sums",
                clause="values are never silently cut off",
                next_step="clip the term to a narrower range, or use fewer decimal places",
            )
    uses = reads.uses(plan, schema)
    operations: set[Operation] = {"model" if isinstance(item, a.Gram) else "aggregate" for item in plan.measures}
    if isinstance(plan, a.Fit):
        operations = {"model"}
    return Analysis(
        plan=plan,
        cards={name: cards[name] for name in schema.tables},
        typed=relation,
        layout=frame,
        tables=schema.tables,
        claims={
            account: _claim(frame, found, per_cell, groups)
            for account, found in sorted(influences(relation, accounts).items())
        },
        rows_per_cell=per_cell,
        uses=uses,
        tier=max((_tier(cards[table], name) for table, name in uses), default=1),
        operations=frozenset(operations),
        cost=cost_of(plan, frame, relation, cards),
    )


def _claim(frame: Layout, found: Influence, per_cell: int, groups: int) -> Claim:
    rows, cells = found.rows, None if frame.found else frame.cells
    per_cell = min(per_cell, rows)
    return Claim(
        found,
        tuple(bound(part, rows, per_cell, found.mode, cells=cells, groups=groups) for part in frame.components),
    )


def _tier(card: Card, name: str) -> int:
    column = card.column(name)
    return 5 if column is None else column.tier
