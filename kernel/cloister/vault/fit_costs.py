"""What a fit costs beyond reading its rows: time and memory, from plan and card alone.

Times per row and step as measured (docs/benchmarks.md), on one core and rounded up; the programs' own work is plain
Python between the steps.
"""

from __future__ import annotations

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.learning import planned_fit
from cloister.plan.learning.encoding import Encoding
from cloister.plan.learning.queries import Form, GradientForm, GramForm, NearestForm
from cloister.plan.typing import Schema

MAX_BYTES = 2**31
_BYTES_PER_VALUE = 6  # 2 as kept, 4 more while the columns are put together
_NS_PER_SQUARE = 0.2
_NS_PER_COLUMN = 5.0
_NS_PER_NUMBER = 2.5
_NS_PER_LABEL = 8.0
_NS_PER_LINK = 40.0
_NS_PER_OPERATION = 100.0


def learning_ms(plan: a.Fit, schema: Schema) -> float:
    """Return the predicted time of a fit's steps in milliseconds.

    Raises:
        PlanError: ``plan.cost``: the encoded rows would not fit into memory.
    """
    found = planned_fit(plan, schema)
    values = schema.limit * (len(found.coded.blocks) + 1)
    if values * _BYTES_PER_VALUE > MAX_BYTES:
        raise PlanError(
            "plan.cost",
            f"the fit would hold {values:,} values in memory on a table of the declared size",
            clause=f"a fit holds at most {MAX_BYTES // _BYTES_PER_VALUE:,} values",
            next_step="use fewer features, or a part of the units (split)",
        )
    rows = sum(_row_ns(step.form, found.coded) for step in found.steps) * schema.limit
    between = sum(_operations(step.form, found.coded) for step in found.steps) * _NS_PER_OPERATION
    return (rows + between) / 1e6


def _row_ns(form: Form, coded: Encoding) -> float:
    """Return the nanoseconds a row takes in a step."""
    blocks = [(block, _NS_PER_LABEL if block.labels else _NS_PER_NUMBER) for block in coded.blocks]
    score = sum(cost for _, cost in blocks)
    match form:
        case GramForm():
            return _NS_PER_SQUARE * coded.width**2 + _NS_PER_COLUMN * coded.width
        case GradientForm():
            added = sum(
                cost for block, cost in blocks if block.start < form.stop and form.first < block.start + block.width
            )
            return form.outputs * (score + added + _NS_PER_LINK)
        case NearestForm():
            return form.clusters * (2 * score + _NS_PER_LINK)


def _operations(form: Form, coded: Encoding) -> float:
    """Return the operations a program takes after a step: a factorisation after a Gram, a solution after a gradient."""
    match form:
        case GramForm():
            return coded.width**3 / 6 + coded.width**2
        case GradientForm():
            return form.outputs * (form.stop - form.first) ** 2
        case NearestForm():
            return form.clusters * coded.width
