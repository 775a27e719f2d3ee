"""The numbers of a model as a table: value, standard error and 95 % interval of the noise, one line per number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn.document import number
from cloister.sandbox.precision import NORMAL_95


class Line(NamedTuple):
    """A number of a model: its name, value and standard error (NaN: not known, or none)."""

    name: str
    value: float
    stderr: float


def table(document: k.Head, *, population: bool = False) -> pd.DataFrame:
    """Return the numbers of a model with errors and 95 % intervals.

    Args:
        document: The model.
        population: Add the sampling error, where it is known (``LinearRegression``).
    """
    lines = list(_lines(document, population=population))
    value = np.array([line.value for line in lines])
    error = np.array([line.stderr for line in lines])
    return pd.DataFrame(
        {
            "value": value,
            "stderr": error,
            "low": value - NORMAL_95 * error,
            "high": value + NORMAL_95 * error,
            "unreliable": not document.reliable,
        },
        index=pd.Index([line.name for line in lines], name="coefficient"),
    )


def _lines(document: k.Head, *, population: bool) -> Iterator[Line]:
    match document:
        case k.LinearRegression():
            for line in document.lines:
                error = math.hypot(float(line.stderr), float(line.sampling) * population)
                yield Line(line.name, number(line.value), error)
        case k.LogisticRegression() | k.Additive():
            yield _line(document.intercept)
            yield from map(_line, document.weights)
        case k.MultinomialLogistic():
            for output in document.outputs:
                yield _line(output.intercept, output.label)
                yield from (_line(weight, output.label) for weight in output.weights)
        case k.GaussianNB():
            for group in document.outputs:
                yield _line(group.n, group.label)
                yield from (_line(weight, group.label, "mean of ") for weight in group.means)
                yield from (_line(weight, group.label, "variance of ") for weight in group.variances)
        case k.CategoricalNB():
            for cell in document.outputs:
                yield _line(cell.n, cell.label)
                yield from (_line(weight, cell.label, "log P of ") for weight in cell.weights)
        case k.KMeans():
            for centre in document.centres:
                yield _line(centre.n, centre.label)
                yield from (_line(weight, centre.label) for weight in centre.weights)
        case k.PCA():
            for place, component in enumerate(document.components, 1):
                yield _line(component.variance, f"component {place}")
                yield from (_line(weight, f"component {place}") for weight in component.weights)
        case k.Scorecard():
            yield Line("everybody", float(document.offset), math.nan)
            yield from (Line(points.name, float(points.points), math.nan) for points in document.points)


def weights(found: Any) -> np.ndarray:
    """Return the values of weights."""
    return np.array([number(weight.value) for weight in found])


def errors(found: Any) -> np.ndarray:
    """Return the standard errors of weights; NaN where they are not known."""
    return np.array([float(weight.stderr or "nan") for weight in found])


def _line(weight: k.Weight, label: str = "", what: str = "") -> Line:
    name = f"{label}: {what}{weight.name}" if label else weight.name
    return Line(name, number(weight.value), float(weight.stderr or "nan"))
