"""Programs: what a plan asks of the rows, if it is more than aggregates: the operation *model* of a contract.

The registry of algorithms (``contract/algorithms.py``) says which algorithms ask which program.
"""

from __future__ import annotations

from typing import Literal

from cloister.plan import algebra as a

Program = Literal["gram", "logistic", "additive", "kmeans"]
WORDS: dict[Program, str] = {
    "gram": "a Gram matrix",
    "logistic": "the gradients of a logistic regression",
    "additive": "the histograms of an additive model",
    "kmeans": "the sums of clusters",
}


def program_of(plan: a.Plan) -> Program | None:
    """Return the program of a plan; None where it is aggregates."""
    if isinstance(plan, a.Fit):
        return _of_learner(plan.learner)
    return "gram" if any(isinstance(measure, a.Gram) for measure in plan.measures) else None


def _of_learner(learner: a.Learner) -> Program:
    match learner:
        case a.Logistic():
            return "logistic"
        case a.Additive():
            return "additive"
        case a.KMeans():
            return "kmeans"
