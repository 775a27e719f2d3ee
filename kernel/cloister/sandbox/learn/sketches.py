"""Sketches: a model of the shape a fit will have, with made-up numbers, so that its evaluation can be typed and priced.

Which features a model has, in which columns and for which classes is public: the card decides it, before anything is
asked. So whether a handle can be scored by it, and what that costs, is known before the fit is paid for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from cloister.plan.learning.encoding import MAX_COLUMNS
from cloister.sandbox import literals
from cloister.sandbox.column import Column
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import categorical, fit_terms, gaussian, targets
from cloister.sandbox.learn import features as enc
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.additive import AdditiveClassifier
from cloister.sandbox.learn.base import Model
from cloister.sandbox.learn.categorical import CategoricalNB
from cloister.sandbox.learn.features import Feature
from cloister.sandbox.learn.gaussian import GaussianNB
from cloister.sandbox.learn.linear import LinearRegression
from cloister.sandbox.learn.logistic import LogisticRegression

VALUE = "-1.23457"
"""As long as numbers of models are: none is 0, so none is left out."""
_NOTE = "made up: this model was not fitted"


def sketch(model: Any, X: Frame, y: Column) -> Model[Any] | None:  # noqa: N803 (scikit-learn's names)
    """Return a model that predicts with expressions as large as those of ``model`` will be once it is fitted.

    None: what such a model will look like is not known here.

    Raises:
        PlanError: As ``model.fit``: columns it cannot use.
    """
    document = _document(model, X, y)
    return None if document is None else type(model).from_document(document)


def _document(model: Any, X: Frame, y: Column) -> k.Head | None:  # noqa: N803
    checked = functools.partial(targets.checked, type(model).__name__, X, y, getattr(model, "missing", "refuse"))
    match model:
        case LinearRegression():
            return _linear(enc.describe(X, model.missing)[1], y)
        case GaussianNB():
            _, features, classes = checked(model.form, every=False, most=gaussian.MAX_FEATURES)
            return _gaussian(features, classes)
        case CategoricalNB():
            _, features, classes = checked(model.form, every=True, most=categorical.MAX_LEVELS)
            return _categorical(features, classes)
        case LogisticRegression():
            _, features, classes = checked(model.form, every=True, most=MAX_COLUMNS - 1)
            return _logistic(fit_terms.plain(features), classes)
        case AdditiveClassifier():
            rows, features, classes = checked(model.form, every=True, most=MAX_COLUMNS - 1)
            features = fit_terms.binned(Frame(rows, X._columns), features, model.bins)
            return k.Additive(**_head(features), classes=classes, n=_ROWS, intercept=_ROWS, weights=_weights(features))
        case _:
            return None


_ROWS = k.Weight("rows", "1", "1")


def _linear(features: tuple[Feature, ...], y: Column) -> k.LinearRegression:
    grid = y._term.grid
    low, high = (literals.text_of(point * grid.step) for point in (grid.lo, grid.hi))
    lines = tuple(k.Coefficient(weight.name, weight.value, "1", "1") for weight in _weights(features))
    return k.LinearRegression(
        **_head(features),
        target=k.Target(y.name or "target", low, high),
        intercept=k.Coefficient("intercept", VALUE, "1", "1"),
        coefficients=lines,
        metrics=k.Metrics("1", "1", "0", "1", "1", "1"),
    )


def _gaussian(features: tuple[Feature, ...], classes: k.Classes) -> k.GaussianNB:
    means = _weights(features)
    variances = tuple(k.Weight(weight.name, VALUE.lstrip("-"), "1") for weight in means)
    outputs = tuple(k.GaussianClass(label, _ROWS, VALUE, VALUE, means, variances) for label in classes.labels)
    return k.GaussianNB(**_head(features), classes=classes, outputs=outputs)


def _categorical(features: tuple[Feature, ...], classes: k.Classes) -> k.CategoricalNB:
    outputs = tuple(k.CategoricalClass(label, _ROWS, VALUE, _weights(features)) for label in classes.labels)
    return k.CategoricalNB(**_head(features), classes=classes, outputs=outputs)


def _logistic(features: tuple[Feature, ...], classes: k.Classes) -> k.LogisticRegression | k.MultinomialLogistic:
    head, first, weights = _head(features), k.Weight("intercept", VALUE, "1"), _weights(features)
    if len(classes.labels) == 2:
        return k.LogisticRegression(**head, classes=classes, n=_ROWS, intercept=first, weights=weights)
    outputs = tuple(k.Output(label, first, weights) for label in classes.labels)
    return k.MultinomialLogistic(**head, classes=classes, n=_ROWS, outputs=outputs)


def _weights(features: Sequence[Feature]) -> tuple[k.Weight, ...]:
    """Return a number for every column, each another than the one before: a step between equal ones would be none."""
    found = []
    for place, column in enumerate(enc.columns(tuple(features))):
        # In the unit of its column: scores stay within a few units, as log odds do.
        digits = max(0, math.ceil(math.log10(max(float(column.reach), 1.0))))
        value = VALUE if place % 2 else VALUE.lstrip("-")
        shown = literals.text_of(Fraction(value) / 10**digits)
        found.append(k.Weight(column.name, shown, "1"))
    return tuple(found)


def _head(features: tuple[Feature, ...]) -> dict[str, Any]:
    return {
        "mode": "mock",
        "assurance": "",
        "algorithm": k.Made("sketch", 0, ""),
        "features": features,
        "reliable": False,
        "notes": (_NOTE,),
        "training": k.Training("", "", "", "", 1, (), "refuse", {"alpha": "1"}),
        "privacy": k.Privacy("", "0", "0", "0", "0", ""),
        "provenance": k.Provenance("", "", "", ""),
    }
