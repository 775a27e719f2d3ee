"""Step 7 and 8 of a fit: the learner's vector sums, each with noise before the next is asked.

The program sees noisy integers only (``plan/learning/program.py``), so a step is a function of what is released, and
the cost of all steps adds up (adaptive composition of zCDP). The query of a step is checked against the form it was
priced by before it touches a row. What leaves is the transcript; the model is post-processing.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloister.errors import FaultError
from cloister.plan import algebra as a
from cloister.plan.learning import planned_fit
from cloister.plan.learning.program import drive
from cloister.plan.learning.queries import Query, check_query
from cloister.vault.analyse import Analysis
from cloister.vault.engine import Engine, Exact
from cloister.vault.fit_rows import read
from cloister.vault.fit_sums import sums
from cloister.vault.noise import add_noise
from cloister.vault.price import Price
from cloister.vault.thresholds import Drawn


def execute(engine: Engine, analysis: Analysis, price: Price) -> Exact | Drawn:
    """Return the exact integers of an analysed and priced plan; of a fit, whose steps had their noise, what may leave.

    Raises:
        FaultError: Anything failed or ``engine.interrupt`` was called; constant code and text.
    """
    if isinstance(analysis.plan, a.Fit):
        return fit(engine, analysis, analysis.plan, price)
    return engine.run(analysis)


def fit(engine: Engine, analysis: Analysis, plan: a.Fit, price: Price) -> Drawn:
    """Return the transcript of a fit: the noisy integers of every step, one after the other.

    Raises:
        FaultError: As ``execute``.
    """
    # What was priced; an analysis of this plan always has it.
    found = analysis.layout.fitted or planned_fit(plan, analysis.typed.schema)
    engine.begin()
    rows = read(engine, analysis, found.coded)
    transcript: list[int] = []

    def answer(index: int, query: Query) -> Sequence[int]:
        step = found.steps[index]
        if query.form != step.form:
            raise FaultError("vault.engine", "the release could not be computed")
        check_query(query, found.coded)
        exact = sums(rows, query, found.coded, engine.check)
        if len(exact) != step.reach.width:
            raise FaultError("vault.engine", "the release could not be computed")
        noisy = add_noise(Exact(tuple(exact), (step.reach.width,)), (price.sigmas[index],))
        transcript.extend(noisy)
        return noisy

    drive(found.program, found.steps, price.sigmas, answer)
    return Drawn(transcript)
