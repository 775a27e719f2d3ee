"""``from cloister.learn import LinearRegression``: models on handles, in scikit-learn's words.

Loaded on first use from ``cloister.sandbox.learn``, so that other zones never carry it.
"""

from __future__ import annotations

import importlib
from typing import Any

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


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return getattr(importlib.import_module("cloister.sandbox.learn"), name)


def __dir__() -> list[str]:
    return __all__
