"""Scores: every kind of model as affine functions (of Gaussians: also squares) of the encoded columns.

The same exact numbers predict on a handle, where scores are expressions of the plan, on a DataFrame, where they are
NumPy, and in an ONNX graph.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import numpy as np

from cloister.plan import algebra as a
from cloister.plan.rounding import to_step
from cloister.sandbox import literals, terms
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.encoding import on_handle, steps
from cloister.sandbox.learn.features import Feature, columns
from cloister.sandbox.terms import Term

Rule = Literal["number", "log odds", "classes", "nearest", "components", "points"]
_CHAIN = 64
_CLOSE = 1e-4
_MOST_POINTS = 2**55
COARSE = 2**16
"""Values of a number whose square an expression takes; a finer one is rounded to that many."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """One affine function per output, and the rule that makes a prediction of them.

    ``number`` and ``points``: the one score is the prediction; ``log odds``: of the second class; ``classes``: the
    label of the largest score, the first of equal ones, probabilities by softmax; ``nearest``: the same without
    probabilities; ``components``: all scores are.
    """

    rule: Rule
    labels: tuple[str, ...]
    offsets: tuple[Fraction, ...]
    weights: tuple[tuple[Fraction, ...], ...]
    squares: tuple[tuple[Fraction, ...], ...] = ()

    def on_array(self, encoded: np.ndarray) -> np.ndarray:
        """Return the scores of encoded rows: rows by outputs; NaN where a column is."""
        found: np.ndarray = encoded @ _floats(self.weights).T + _floats((self.offsets,))
        if self.squares:
            found += (encoded**2) @ _floats(self.squares).T
        return found

    def on_handle(self, frame: Frame, features: Sequence[Feature]) -> list[Term]:
        """Return the scores as expressions of the features of a handle.

        A number in bins, and a column that is a cut, is a step function: the weight of its lowest bin, and at each edge
        the difference of two.

        Raises:
            PlanError: A feature is not there or of another kind.
        """
        if self.squares:
            return self.on_terms(list(on_handle(frame, tuple(features)).values()))
        offsets, weights = list(self.offsets), [list[Fraction]() for _ in self.offsets]
        encoded: list[Term] = []
        known: list[list[Term]] = [[] for _ in self.offsets]
        start = 0
        for feature in features:
            stop = start + sum(1 for _ in columns((feature,)))
            term = frame._columns[frame._need(feature.name)]
            stepped = steps(frame, feature)
            encoded += list(on_handle(frame, (feature,)).values()) if stepped is None else stepped.conditions
            for place, row in enumerate(self.weights):
                own = row[start:stop]
                if stepped is not None:
                    # The reference of a category has no column: its value is 0.
                    own = (Fraction(0), *own) if feature.kind == "category" else own
                    first, bins = own[0], stepped.values
                    offsets[place] += first
                    # Beyond the bins there is the value of a missing one, which has none of them.
                    own = (*(high - low for low, high in pairwise(own[:bins])), *(one - first for one in own[bins:]))
                weights[place] += own
                if feature.fill is None and term.grid.nullable and (stepped is not None or not any(own)):
                    # A missing number reaches no edge, and what weighs nothing is left out of the sum.
                    gone = terms.is_null(term if stepped is None else stepped.number)
                    known[place].append(terms.negation(gone))
            start = stop
        made = dataclasses.replace(self, offsets=tuple(offsets), weights=tuple(map(tuple, weights)))
        return [
            terms.only(score, functools.reduce(terms.every, conditions)) if conditions else score
            for score, conditions in zip(made.on_terms(encoded), known, strict=True)
        ]

    def on_terms(self, encoded: Sequence[Term]) -> list[Term]:
        """Return the scores as expressions of encoded columns."""
        if self.squares:
            encoded = [_coarse(term) for term in encoded]
        found = []
        for place, (offset, weights) in enumerate(zip(self.offsets, self.weights, strict=True)):
            parts = [terms.literal(offset, None)]
            parts += [terms.scale(term, weight) for term, weight in zip(encoded, weights, strict=True) if weight]
            for term, weight in zip(encoded, self.squares[place] if self.squares else (), strict=bool(self.squares)):
                if weight:
                    parts.append(terms.scale(terms.arithmetic("mul", term, term), weight))
            found.append(_total(parts))
        return found


def _total(parts: Sequence[Term]) -> Term:
    """Return the sum; of many, of halves, for a plan is nested at most 160 deep."""
    if len(parts) > _CHAIN:
        middle = len(parts) // 2
        return terms.arithmetic("add", _total(parts[:middle]), _total(parts[middle:]))
    return functools.reduce(lambda total, part: terms.arithmetic("add", total, part), parts)


def scores_of(document: k.Document) -> Scores:
    """Return the scores of a model."""
    match document:
        case k.LinearRegression():
            values = tuple(Fraction(line.value) for line in document.coefficients)
            return Scores("number", (document.target.name,), (Fraction(document.intercept.value),), (values,))
        case k.LogisticRegression() | k.Additive():
            label = document.classes.labels[1]
            return Scores("log odds", (label,), (Fraction(document.intercept.value),), (_values(document.weights),))
        case k.MultinomialLogistic():
            return Scores(
                "classes",
                document.classes.labels,
                tuple(Fraction(output.intercept.value) for output in document.outputs),
                tuple(_values(output.weights) for output in document.outputs),
            )
        case k.GaussianNB():
            return _gaussian(document)
        case k.CategoricalNB():
            return Scores(
                "classes",
                document.classes.labels,
                tuple(Fraction(output.log_prior) for output in document.outputs),
                tuple(_values(output.weights) for output in document.outputs),
            )
        case k.KMeans():
            return _nearest(document)
        case k.PCA():
            return _components(document)
        case k.Scorecard():
            points = tuple(Fraction(line.points) for line in document.points)
            return Scores("points", ("points",), (Fraction(document.offset),), (points,))


def _gaussian(document: k.GaussianNB) -> Scores:
    """Log p(class) - sum (x - m)^2 / 2v + constants, multiplied out."""
    flags = [column.role != "value" or column.feature.kind == "condition" for column in columns(document.features)]
    offsets, weights, squares = [], [], []
    for output in document.outputs:
        means, variances = _values(output.means), _values(output.variances)
        offset = Fraction(output.constant)
        linear, curved = [], []
        for mean, variance, flag in zip(means, variances, flags, strict=True):
            offset -= mean**2 / (2 * variance)
            square = -1 / (2 * variance)
            # The square of 0 or 1 is itself.
            linear.append(mean / variance + (square if flag else 0))
            curved.append(Fraction(0) if flag else square)
        offsets.append(offset)
        weights.append(tuple(linear))
        squares.append(tuple(curved))
    return _short("classes", document.classes.labels, document, offsets=offsets, weights=weights, squares=squares)


def _nearest(document: k.KMeans) -> Scores:
    """Less the squared distance, without the square of the row itself, which all centres share."""
    scales = [Fraction(scale) ** 2 for scale in document.scales]
    offsets, weights = [], []
    for centre in document.centres:
        values = _values(centre.weights)
        offsets.append(-sum((value**2 / scale for value, scale in zip(values, scales, strict=True)), Fraction(0)))
        weights.append(tuple(2 * value / scale for value, scale in zip(values, scales, strict=True)))
    return _short(
        "nearest", tuple(centre.label for centre in document.centres), document, offsets=offsets, weights=weights
    )


def _components(document: k.PCA) -> Scores:
    centre = _values(document.centre)
    offsets, weights = [], []
    for component in document.components:
        each = [
            value / Fraction(scale) for value, scale in zip(_values(component.weights), document.scales, strict=True)
        ]
        offsets.append(-sum((value * middle for value, middle in zip(each, centre, strict=True)), Fraction(0)))
        weights.append(tuple(each))
    labels = tuple(f"component {number}" for number in range(1, len(offsets) + 1))
    return _short("components", labels, document, offsets=offsets, weights=weights)


def _short(
    rule: Rule,
    labels: tuple[str, ...],
    document: k.Document,
    *,
    offsets: Sequence[Fraction],
    weights: Sequence[tuple[Fraction, ...]],
    squares: Sequence[tuple[Fraction, ...]] = (),
) -> Scores:
    """Return scores that are multiples of one step, so that an expression of them stays exact.

    The step is so small that rounding moves no score by more than ``_CLOSE`` for each column, unless scores would then
    need more than 2^55 points.
    """
    encoded = list(columns(document.features))
    fine = [column.step * (_stride(column.step, column.feature) if squares else 1) for column in encoded]
    steps = [Fraction(1), *fine]
    reaches = [1.0, *(float(column.reach) for column in encoded)]
    if squares:
        steps += [step**2 for step in fine]
        reaches += [float(column.reach) ** 2 for column in encoded]
    size = len(encoded) + 1
    made = [
        [offset, *weight, *(squares[place] if squares else ())]
        for place, (offset, weight) in enumerate(zip(offsets, weights, strict=True))
    ]
    largest = max(sum(abs(float(value)) * reach for value, reach in zip(row, reaches, strict=True)) for row in made)
    points = max(reach / float(step) for reach, step in zip(reaches, steps, strict=True))
    # One step for all outputs: they are compared.
    wanted = max(_CLOSE / max(points, 1.0), 2 * (largest + 1) / _MOST_POINTS)
    rounded = [to_step(row, wanted, steps, [0.0] * len(row)) for row in made]
    return Scores(
        rule,
        labels,
        tuple(row[0] for row in rounded),
        tuple(tuple(row[1:size]) for row in rounded),
        tuple(tuple(row[size:]) for row in rounded) if squares else (),
    )


def _stride(step: Fraction, feature: Feature) -> int:
    """Return how many steps of a number make one of at most ``COARSE``; 1 for what is no number."""
    if feature.kind != "number":
        return 1
    return -(-int((Fraction(feature.high) - Fraction(feature.low)) / step) // COARSE) or 1


def _coarse(term: Term) -> Term:
    grid = term.grid
    stride = -(-(grid.hi - grid.lo) // COARSE) if grid.kind == "number" else 1
    if stride <= 1:
        return term
    return terms.node(a.Round(term.scalar, literals.text_of(grid.step * stride), "even"), term)


def _values(weights: Sequence[k.Weight]) -> tuple[Fraction, ...]:
    return tuple(Fraction(weight.value) for weight in weights)


def _floats(rows: Sequence[Sequence[Fraction]]) -> np.ndarray:
    return np.array([[float(value) for value in row] for row in rows])
