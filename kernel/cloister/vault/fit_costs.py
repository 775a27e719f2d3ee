"""What a fit costs beyond reading its rows: time and memory, from plan and card alone.

Times per row and step as measured (docs/benchmarks.md), on one core and rounded up; the programs' own work is plain
Python between the steps.
"""

from __future__ import annotations

from collections import Counter

from cloister.errors import PlanError
from cloister.plan.learning import PlannedFit
from cloister.plan.learning.additive import AdditiveProgram
from cloister.plan.learning.encoding import Encoding
from cloister.plan.learning.kmeans import KMeansProgram
from cloister.plan.learning.logistic import LogisticProgram
from cloister.plan.learning.queries import Form, GradientForm, GramForm, NearestForm
from cloister.plan.learning.solving import MAX_ERRORS

MAX_BYTES = 2**31
_BYTES_PER_VALUE = 6  # 2 as kept, 4 more while the columns are put together
_NS_PER_SQUARE = 0.2
_NS_PER_COLUMN = 5.0
_NS_PER_NUMBER = 2.5
_NS_PER_LABEL = 8.0
_NS_PER_LINK = 40.0
_NS_PER_OPERATION = 100.0
# Factorisations of an indefinite metric, in whole ones.
_TRIES = 3
# Whatever its rows are, a step takes so long, and so much more for every block of labels and every number it asks with.
_NS_PER_STEP = 60_000.0
_NS_PER_BLOCK = 8_000.0
_NS_PER_ASKED = 400.0
# An additive model moves a weight by an exponential in decimals and a few roots.
_NS_PER_MOVE = 20_000.0
# Initial centres: a hash for every feature of a candidate, and the products of candidates and centres.
_NS_PER_DRAWN = 2_000.0
_NS_PER_PRODUCT = 50.0


def learning_ms(found: PlannedFit, limit: int) -> float:
    """Return the predicted time of a fit's steps in milliseconds, on at most ``limit`` rows.

    Raises:
        PlanError: ``plan.cost``: the encoded rows would not fit into memory.
    """
    values = limit * (len(found.coded.blocks) + 1)
    if values * _BYTES_PER_VALUE > MAX_BYTES:
        raise PlanError(
            "plan.cost",
            f"the fit would hold {values:,} values in memory on a table of the declared size",
            clause=f"a fit holds at most {MAX_BYTES // _BYTES_PER_VALUE:,} values",
            next_step="use fewer features, or a part of the units (split)",
        )
    work = 0.0
    # Steps of one form cost the same, and most programs have few forms.
    for form, count in Counter(step.form for step in found.steps).items():
        work += count * (_row_ns(form, found.coded) * limit + _step_ns(form, found))
    return (work + _start_ns(found)) / 1e6


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


def _step_ns(form: Form, found: PlannedFit) -> float:
    """Return the nanoseconds a step takes besides its rows: the query, and what the program does with the answer.

    That is a factorisation after a Gram, a solution after a gradient; an additive model moves each weight by itself.
    """
    coded = found.coded
    fixed = _NS_PER_STEP + _NS_PER_BLOCK * sum(bool(block.labels) for block in coded.blocks)
    match form:
        case GramForm():
            # A metric for every output is factored until it is definite: tries that fail end early.
            metrics = _TRIES * found.program.metrics if isinstance(found.program, LogisticProgram) else 1
            return fixed + _NS_PER_OPERATION * metrics * (coded.width**3 / 6 + coded.width**2)
        case GradientForm():
            fixed += _NS_PER_ASKED * form.outputs * coded.width
            columns = form.stop - form.first
            # A noisy gradient is solved for in the metric; the step is measured in it, and pulled by the prior.
            each = _NS_PER_MOVE if isinstance(found.program, AdditiveProgram) else 2 * _NS_PER_OPERATION * columns
            return fixed + each * form.outputs * columns
        case NearestForm():
            return fixed + (_NS_PER_ASKED + _NS_PER_OPERATION) * form.clusters * coded.width


def _start_ns(found: PlannedFit) -> float:
    """Return the nanoseconds a program takes before its first step (centres) or after its last (errors)."""
    program, coded = found.program, found.coded
    if isinstance(program, KMeansProgram):
        drawn, products = program.work
        return _NS_PER_DRAWN * drawn * len(coded.blocks) + _NS_PER_PRODUCT * (products + drawn) * coded.width
    if isinstance(program, LogisticProgram) and coded.width <= MAX_ERRORS:
        return _NS_PER_OPERATION * program.outputs * coded.width**3
    if isinstance(program, AdditiveProgram):
        return _NS_PER_MOVE * program.outputs * coded.width
    return 0.0
