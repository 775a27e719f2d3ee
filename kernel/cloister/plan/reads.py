"""What a plan reads: every column of every table that its answer depends on, wherever it stands."""

from __future__ import annotations

from collections.abc import Mapping

from cloister.contract.card import Card
from cloister.plan import algebra as a
from cloister.plan.grid import Uses
from cloister.plan.layout import counted
from cloister.plan.typing import Schema, infer, scalar


def uses(plan: a.Plan, schema: Schema) -> Uses:
    """Return every (table, column) that rows, keys and measures of a plan depend on; ``schema`` is its rows'."""
    found = schema.uses.union(*(schema.grid(name).uses for name in plan.keys))
    return found.union(*(scalar(term, schema).uses for term in asked(plan)))


def asked(plan: a.Plan) -> tuple[a.Scalar, ...]:
    """Return the expressions that what is released is made of."""
    if isinstance(plan, a.Fit):
        return plan.terms
    return tuple(term for measure in plan.measures for term in terms(measure))


def reads(plan: a.Plan, cards: Mapping[str, Card]) -> tuple[Uses, tuple[str, ...]]:
    """Return what a plan depends on, and its tables.

    Raises:
        PlanError: The plan does not type-check against the cards.
    """
    schema = infer(counted(plan, cards), cards)
    return uses(plan, schema), schema.tables


def terms(measure: a.Measure) -> tuple[a.Scalar, ...]:
    """Return the expressions a measure is taken of."""
    match measure:
        case a.Units() | a.Capped():
            return ()
        case a.Gram() | a.Covariance():
            return measure.of
        case a.Ratio():
            return (measure.of, measure.over)
        case _:
            return () if measure.of is None else (measure.of,)
