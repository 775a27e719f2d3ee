"""Which score of a model says how likely a row is positive: a column that rises with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from cloister.errors import PlanError
from cloister.sandbox import terms
from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn.classifier import Classifier
from cloister.sandbox.learn.document import number
from cloister.sandbox.learn.scorecard import Scorecard

FORM = "evaluate(model, visits, visits.smoker, share=0.05)"


def score_of(model: Any, X: Frame, y: Column, pos_label: Any = None) -> tuple[Column, bool]:  # noqa: N803
    """Return a model's score of being positive as a column, and whether it is one of log odds.

    Of a classifier of two classes the log odds (a shorter expression than the probability), else the probability, else
    the decision or the prediction. Of a scorecard the points, turned so that more of them mean the event.

    Raises:
        PlanError: ``api.learn.model``: it predicts nothing of a handle. ``api.metrics.target``: it predicts several
            labels, and which of them is positive was not said.
    """
    inner = getattr(model, "model", model)
    if isinstance(inner, Classifier):
        place = _class_of(inner, y, pos_label)
        if len(inner.classes_) == 2:
            found = model.decision_function(X)
            return (found if place == 1 else -found), True
        shown = model.predict_proba(X)
        return shown[list(shown)[place]], False
    negative = _is_negative(y, pos_label)
    if isinstance(inner, Scorecard):
        points = model.predict(X)
        made = inner.document
        by_label = pos_label is not None and not made.classes.condition
        event = pos_label == made.classes.labels[1] if by_label else not negative
        return (points if (number(made.pdo) < 0) == event else -points), False
    for name in ("predict_proba", "decision_function", "predict"):
        method = getattr(model, name, None)
        found = method(X) if callable(method) else None
        if isinstance(found, Frame):
            # Of a condition False comes first.
            names = list(found)
            wanted = [label for label in names if str(pos_label) in {label, label.rpartition("=")[2]}]
            found = found[wanted[0] if pos_label is not None and wanted else names[0 if negative else -1]]
        elif isinstance(found, Column):
            if name == "predict" and _of_rate(model):
                found = Column(found._rows, terms.clip(found._term, 0, 1), found.name)
            if negative:
                found = 1 - found if name == "predict_proba" or _of_rate(model) else -found
        if isinstance(found, Column):
            return found, False
    raise PlanError(
        "api.learn.model",
        f"a {type(model).__name__} does not predict a column of a handle",
        nearest=(FORM,),
        next_step="evaluate models of cloister.learn; any other score: metrics.roc_auc(y, score)",
    )


def _class_of(model: Classifier[Any], y: Column, pos_label: Any) -> int:
    """Return the place of the class that is positive.

    Raises:
        PlanError: ``api.metrics.target``.
    """
    labels = list(model.classes_)
    if all(isinstance(label, bool | np.bool_) for label in labels):
        return 0 if _is_negative(y, pos_label) else 1
    if pos_label in labels:
        return labels.index(pos_label)
    raise PlanError(
        "api.metrics.target",
        f"the model tells {', '.join(map(str, labels[:6]))} apart, and "
        + (f"{pos_label!r} is none of them" if pos_label is not None else "which of them is positive was not said"),
        nearest=(f"evaluate(model, X, visits.{model.document.classes.name}, pos_label={labels[-1]!r})",),
    )


def _is_negative(y: Column, pos_label: Any) -> bool:
    """Return whether the rows asked for are those where a condition does not hold."""
    grid = y._term.grid
    condition = grid.kind == "bool" or (grid.kind == "number" and grid.points == 2)
    return condition and pos_label is not None and not isinstance(pos_label, str) and not pos_label


def _of_rate(model: Any) -> bool:
    """Whether a model of numbers was fitted on a condition: it predicts a probability, and may leave [0, 1]."""
    target = getattr(getattr(getattr(model, "model", model), "document", None), "target", None)
    return (getattr(target, "low", None), getattr(target, "high", None)) == ("0", "1")
