"""Learning: the programs behind ``Fit``. Pure: vault, notebook, reviewer and replay run the same code.

``planned_fit`` is the door: plan and cards in; encoding, program and planned steps out. ``encoding.py`` says which
integers a row has, ``queries.py`` what may be asked of them and how far one row reaches, ``program.py`` what a program
is; then there is one module per learner.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from cloister.plan import algebra as a
from cloister.plan.learning import additive, kmeans, logistic
from cloister.plan.learning.encoding import Encoding, encoding_of
from cloister.plan.learning.program import Planned, Program, planned
from cloister.plan.typing import Schema


class PlannedFit(msgspec.Struct, frozen=True):
    """What a fit does, known before anything runs."""

    coded: Encoding
    program: Program
    steps: tuple[Planned, ...]


def planned_fit(plan: a.Fit, schema: Schema) -> PlannedFit:
    """Return the program of a fit on rows with ``schema`` (that of ``plan.source``).

    Raises:
        PlanError: Features, target or parameters do not fit, or the fit is too large.
    """
    coded = encoding_of(plan, schema)
    found = program_of(plan.learner, coded)
    return PlannedFit(coded, found, planned(found.steps, coded))


def program_of(learner: a.Learner, coded: Encoding) -> Program:
    """Return the program of a learner on rows of an encoding.

    Raises:
        PlanError: ``plan.learner``: the parameters of the learner are out of their range.
    """
    match learner:
        case a.Logistic():
            return logistic.program(learner, coded)
        case a.Additive():
            return additive.program(learner, coded)
        case a.KMeans():
            return kmeans.program(learner, coded)
        case _:
            assert_never(learner)
