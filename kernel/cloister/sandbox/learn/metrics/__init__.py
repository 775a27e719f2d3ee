"""Evaluation of scores and predictions as charged releases: ``from cloister.learn import metrics``.

Every function takes columns of a handle (the target first, as in scikit-learn), ``epsilon=`` or ``share=``, and has
``.cost(...)``. Figures of a score come from one release of its counts per class in public bins, so all of them together
cost what one costs.
"""

from __future__ import annotations

from cloister.sandbox.learn.metrics.curves import (
    Curve,
    calibration_curve,
    ks_distribution,
    precision_recall_curve,
    roc_curve,
)
from cloister.sandbox.learn.metrics.importance import Importance, ablation_importance, drop_importance
from cloister.sandbox.learn.metrics.labels import accuracy, confusion_matrix
from cloister.sandbox.learn.metrics.regression import mean_absolute_error, mean_squared_error, r2
from cloister.sandbox.learn.metrics.report import Report, evaluate
from cloister.sandbox.learn.metrics.scores import average_precision, brier, gini, ks, log_loss, roc_auc
from cloister.sandbox.learn.metrics.stability import Psi

psi = Psi()

__all__ = [
    "Curve",
    "Importance",
    "Report",
    "ablation_importance",
    "accuracy",
    "average_precision",
    "brier",
    "calibration_curve",
    "confusion_matrix",
    "drop_importance",
    "evaluate",
    "gini",
    "ks",
    "ks_distribution",
    "log_loss",
    "mean_absolute_error",
    "mean_squared_error",
    "precision_recall_curve",
    "psi",
    "r2",
    "roc_auc",
    "roc_curve",
]
