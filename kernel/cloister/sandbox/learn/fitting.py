"""From a released Gram to a fitted model: solve, turn back into the analyst's units, round, write down."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np

from cloister.sandbox import literals, ridge
from cloister.sandbox.gram import Gram
from cloister.sandbox.learn import kinds as k
from cloister.sandbox.learn import origin, remarks
from cloister.sandbox.learn.features import Feature, Missing, columns
from cloister.sandbox.learn.rounding import round_off
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term


@dataclasses.dataclass(frozen=True)
class Made:
    """What a model is made from: rows, features, target, and the choices of the analyst."""

    rows: Rows
    features: tuple[Feature, ...]
    target: tuple[str, Term]
    alpha: float | None
    missing: Missing


def fit(gram: Gram, made: Made) -> k.LinearRegression:
    """Return the ridge regression a released Gram of ``(features..., target)`` holds."""
    solved = ridge.solve(gram.matrix.to_numpy(), gram.stderr, made.alpha)
    rows = made.rows
    offsets, scales = gram.offsets.to_numpy(), gram.scales.to_numpy()
    # Scaled coefficients become natural ones by a linear map: its first row gives the intercept.
    turn = np.diag([scales[-1], *(scales[-1] / scales[:-1])])
    turn[0, 1:] = -turn.diagonal()[1:] * offsets[:-1]
    natural = turn @ solved.beta
    natural[0] += offsets[-1]
    noise = _errors(turn @ solved.noise @ turn.T)
    # Rows of one unit may all say the same, so they count once: this bounds the error from above.
    sampling = _errors(turn @ solved.sampling @ turn.T) * math.sqrt(origin.rows_per_unit(rows))
    encoded = list(columns(made.features))
    steps = [Fraction(1), *(column.step for column in encoded)]
    reaches = [1.0, *(float(column.reach) for column in encoded)]
    exact = round_off(natural.tolist(), noise.tolist(), steps, reaches)
    names = ["intercept", *(column.name for column in encoded)]
    lines = [
        k.Coefficient(name, literals.text_of(value), repr(float(error)), repr(float(spread)))
        for name, value, error, spread in zip(names, exact, noise, sampling, strict=True)
    ]
    grid = made.target[1].grid
    low, high = (literals.text_of(point * grid.step) for point in (grid.lo, grid.hi))
    return k.LinearRegression(
        **origin.head(
            "LinearRegression",
            rows,
            made.features,
            gram.fact,
            missing=made.missing,
            parameters={"alpha": float(solved.alpha)},
            noise=gram.stderr,
            noisy="every entry of the Gram",
        ),
        target=k.Target(made.target[0], low, high),
        intercept=lines[0],
        coefficients=tuple(lines[1:]),
        reliable=solved.reliable,
        notes=remarks.of_matrix(names[1:], gram.matrix.to_numpy(), gram.stderr, made.target[0]),
        metrics=k.Metrics(
            n=repr(max(gram.n, 0.0)),
            n_stderr=repr(gram.stderr),
            r2=repr(solved.r2),
            r2_stderr=repr(solved.r2_stderr),
            residual=repr(float(solved.residual * scales[-1])),
            margin=repr(solved.margin),
        ),
    )


def _errors(covariance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(np.diag(covariance), 0.0))
