"""Models that leave: fitted from releases, shown with their errors, exported as data.

Everything else of scikit-learn's vocabulary is refused with the nearest form.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from cloister.errors import PlanError
from cloister.sandbox.learn.additive import AdditiveClassifier
from cloister.sandbox.learn.categorical import CategoricalNB
from cloister.sandbox.learn.contributions import contribution
from cloister.sandbox.learn.gaussian import GaussianNB
from cloister.sandbox.learn.kmeans import KMeans
from cloister.sandbox.learn.linear import LinearRegression
from cloister.sandbox.learn.loading import load
from cloister.sandbox.learn.logistic import LogisticRegression
from cloister.sandbox.learn.pca import PCA
from cloister.sandbox.learn.scorecard import Scorecard

__all__ = [
    "PCA",
    "AdditiveClassifier",
    "CategoricalNB",
    "GaussianNB",
    "KMeans",
    "LinearRegression",
    "LogisticRegression",
    "Pipeline",
    "Scorecard",
    "contribution",
    "cross_validate",
    "evaluate",
    "load",
    "make_pipeline",
    "metrics",
    "model_selection",
    "preprocessing",
    "roc_auc",
    "search",
    "train_test_split",
]

_FROM_ROOMS = {
    "evaluate": "metrics",
    "roc_auc": "metrics",
    "cross_validate": "model_selection",
    "search": "model_selection",
    "train_test_split": "model_selection",
    "Pipeline": "preprocessing",
    "make_pipeline": "preprocessing",
}

_NEAREST = (
    'LinearRegression().fit(visits[["age", "region"]], visits.cost)',
    'LinearRegression().fit(visits[["age"]], visits.region == "north")  # the probability of a condition',
    'GaussianNB().fit(visits[["age", "cost"]], visits.smoker)',
)


def refused(name: str) -> PlanError:
    """Return the refusal of a learner that is not in this version."""
    return PlanError(
        "api.learn",
        f"{name} is not in this version of cloister.learn",
        nearest=_NEAREST,
        next_step="docs/analyst-api.md lists what works today",
    )


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    if name in _FROM_ROOMS:
        return getattr(importlib.import_module(f"{__name__}.{_FROM_ROOMS[name]}"), name)
    if importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    raise refused(name)


def __dir__() -> list[str]:
    return __all__
