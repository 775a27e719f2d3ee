"""What the schema of a model document cannot say: numbers are numbers, and every one belongs to an encoded column."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from cloister.errors import MalformedError, PlanError
from cloister.plan.numbers import rational
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.features import Feature, columns

MAX_ENCODED = 1_024
MAX_CLASSES = 1_000
_LEVELLED = ("levels", "bins", "flag")
CONDITION = ("false", "true")


def check(document: k.Document) -> None:
    """Check a document.

    Raises:
        MalformedError: ``model.malformed``.
    """
    try:
        for feature in document.features:
            _check_feature(feature)
        for part in _parts(document):
            _check_numbers(part)
        _check_kind(document)
    except PlanError as error:
        raise malformed(error.reason) from error
    expected = [column.name for column in itertools.islice(columns(document.features), MAX_ENCODED + 1)]
    if not 1 <= len(set(expected)) == len(expected) <= MAX_ENCODED:
        raise malformed(f"a model has 1 to {MAX_ENCODED} encoded columns of different names")
    for block in blocks(document):
        if list(block) != expected:
            raise malformed("the coefficients are not those of the features")


def blocks(document: k.Document) -> Iterator[Sequence[str]]:
    """Yield the names of every row of numbers that has one number for each encoded column."""
    match document:
        case k.LinearRegression():
            yield [line.name for line in document.coefficients]
        case k.LogisticRegression() | k.Additive():
            yield _names(document.weights)
        case k.MultinomialLogistic() | k.CategoricalNB():
            yield from (_names(output.weights) for output in document.outputs)
        case k.GaussianNB():
            for output in document.outputs:
                yield from (_names(output.means), _names(output.variances))
        case k.KMeans():
            yield from (_names(centre.weights) for centre in document.centres)
        case k.PCA():
            yield _names(document.centre)
            yield from (_names(component.weights) for component in document.components)
        case k.Scorecard():
            yield [line.name for line in document.points]


def _names(weights: Sequence[k.Weight]) -> list[str]:
    return [weight.name for weight in weights]


def _check_feature(feature: Feature) -> None:
    if not rational(feature.low) < rational(feature.high) or not rational(feature.step) > 0:
        raise malformed(f"the bounds of {feature.name!r} are reversed")
    category = feature.kind in {"category", "levels"}
    if category != (len(feature.levels) >= 2) or len(set(feature.levels)) < len(feature.levels):
        raise malformed(f"the levels of {feature.name!r} do not fit its kind")
    edges = [rational(edge) for edge in feature.edges]
    ascending = all(low < high for low, high in itertools.pairwise(edges))
    if (feature.kind == "bins") != (len(edges) >= 3) or not ascending:
        raise malformed(f"the edges of {feature.name!r} do not fit its kind")
    if feature.fill is not None and feature.kind in {"number", "condition", "flag"}:
        rational(feature.fill)


def _check_numbers(part: Any) -> None:
    match part:
        case k.Coefficient():
            rational(part.value)
            _error(part.stderr)
            _error(part.sampling)
        case k.Weight():
            rational(part.value)
            if part.stderr:
                _error(part.stderr)
        case k.Target():
            if not rational(part.low) < rational(part.high):
                raise malformed("the bounds of the target are reversed")
        case k.Classes():
            _check_classes(part)
        case k.Paid() | k.Privacy():
            rational(part.rho)
            _finite(part.epsilon, part.delta, *([part.noise] if isinstance(part, k.Privacy) else []))
        case k.Metrics():
            _finite(*msgspec.structs.astuple(part))
        case k.GaussianClass():
            rational(part.log_prior)
            rational(part.constant)
            if not all(rational(weight.value) > 0 for weight in part.variances):
                raise malformed("a variance is not above zero")
        case k.CategoricalClass():
            rational(part.log_prior)
        case k.Component():
            _finite(part.share)


def _check_classes(classes: k.Classes) -> None:
    labels = classes.labels
    if not 2 <= len(set(labels)) == len(labels) <= MAX_CLASSES or (classes.condition and labels != CONDITION):
        raise malformed("the classes are not at least two different labels")


def _check_kind(document: k.Document) -> None:
    match document:
        case k.LinearRegression():
            _check_alpha(document)
        case k.LogisticRegression() | k.Additive() | k.Scorecard():
            if len(document.classes.labels) != 2:
                raise malformed(f"a model of kind {type(document).__name__} has two classes")
        case k.MultinomialLogistic() | k.GaussianNB() | k.CategoricalNB():
            if tuple(output.label for output in document.outputs) != document.classes.labels:
                raise malformed("there is not one score for each class")
        case k.KMeans() | k.PCA():
            expected = sum(1 for _ in itertools.islice(columns(document.features), MAX_ENCODED + 1))
            if len(document.scales) != expected or not all(rational(scale) > 0 for scale in document.scales):
                raise malformed("there is not one scale above zero for each encoded column")
            found = document.centres if isinstance(document, k.KMeans) else document.components
            if not 1 <= len(found) <= MAX_CLASSES:
                raise malformed(f"a model has 1 to {MAX_CLASSES} centres or components")
            if isinstance(document, k.KMeans):
                # Predictions are these numbers.
                labels = [centre.label for centre in document.centres]
                if labels != [str(place) for place in range(len(labels))]:
                    raise malformed("centres are numbered from 0 on")
    if isinstance(document, k.Additive | k.CategoricalNB | k.Scorecard) and any(
        feature.kind not in (*_LEVELLED, "category", "condition") for feature in document.features
    ):
        raise malformed("a number cannot be a feature of this kind of model")
    if isinstance(document, k.CategoricalNB):
        _check_alpha(document)
    if isinstance(document, k.Scorecard):
        for text in (document.base, document.odds, document.pdo, document.rounding):
            rational(text)
        if not (rational(document.odds) > 0 and rational(document.pdo) != 0):
            raise malformed("odds are above zero, and points to double them are not zero")


def _check_alpha(document: k.LinearRegression | k.CategoricalNB) -> None:
    text = document.training.parameters.get("alpha", "")
    _finite(text)
    if float(text) < 0:
        raise malformed("alpha is below zero")


def _parts(value: Any) -> Iterator[Any]:
    """Yield every struct of a document."""
    if isinstance(value, msgspec.Struct):
        yield value
        for field in value.__struct_fields__:
            yield from _parts(getattr(value, field))
    elif isinstance(value, tuple):
        for item in value:
            yield from _parts(item)


def _finite(*texts: str) -> None:
    for text in texts:
        try:
            known = math.isfinite(float(text))
        except ValueError:
            known = False
        if not known:
            raise malformed(f"{text[:40]!r} is not a finite number")


def _error(text: str) -> None:
    _finite(text)
    if float(text) < 0:
        raise malformed("a standard error is below zero")


def malformed(why: str) -> MalformedError:
    """Return the refusal of something that is not a model document."""
    return MalformedError(
        "model.malformed",
        f"this is not a Cloister model: {why}",
        next_step="ask its author to write it again with model.save(path)",
    )
