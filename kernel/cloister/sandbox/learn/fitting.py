"""From a released Gram to a fitted model: solve, turn back into the analyst's units, round, write down."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Literal

import msgspec
import numpy as np

from cloister.sandbox import literals, render, ridge
from cloister.sandbox.gram import Gram
from cloister.sandbox.learn import document as d
from cloister.sandbox.learn.features import Feature, Missing, columns
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term
from cloister.wire import canonical

_FINER = 100
_MAX_POINTS = 2**40


@dataclasses.dataclass(frozen=True)
class Made:
    """What a model is made from: rows, features, target, and the choices of the analyst."""

    rows: Rows
    features: tuple[Feature, ...]
    target: tuple[str, Term]
    alpha: float | None
    missing: Missing


def fit(gram: Gram, made: Made) -> d.Document:
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
    sampling = _errors(turn @ solved.sampling @ turn.T) * math.sqrt(rows_per_unit(rows))
    encoded = list(columns(made.features))
    steps = [Fraction(1), *(column.step for column in encoded)]
    reaches = [1.0, *(float(column.reach) for column in encoded)]
    exact = round_off(natural, noise, steps, reaches)
    names = ["intercept", *(column.name for column in encoded)]
    lines = [
        d.Coefficient(name, literals.text_of(value), repr(float(error)), repr(float(spread)))
        for name, value, error, spread in zip(names, exact, noise, sampling, strict=True)
    ]
    fact, about, grid = gram.fact, rows.session.about, made.target[1].grid
    used = [about.cards[name] for name in rows.tables]
    first, *others = (
        d.Paid(paid.population, str(paid.rho), repr(paid.epsilon), rows.session.delta(paid)) for paid in fact.accounts
    )
    low, high = (literals.text_of(point * grid.step) for point in (grid.lo, grid.hi))
    return d.Document(
        format="cloister.model",
        version=1,
        kind="LinearRegression",
        mode=msgspec.convert(fact.mode, Literal["confidential", "mock", "teaching"]),
        assurance=fact.assurance,
        target=d.Target(made.target[0], low, high),
        features=made.features,
        intercept=lines[0],
        coefficients=tuple(lines[1:]),
        reliable=solved.reliable,
        training=d.Training(
            table=", ".join(card.name for card in used),
            title=" and ".join(card.title for card in used),
            rows=render.rows_text(rows),
            unit=rows.card.unit,
            rows_per_unit=rows_per_unit(rows),
            purposes=tuple(about.contract.purposes),
            missing=made.missing,
            alpha=repr(float(solved.alpha)),
        ),
        metrics=d.Metrics(
            n=repr(max(gram.n, 0.0)),
            n_stderr=repr(gram.stderr),
            r2=repr(solved.r2),
            r2_stderr=repr(solved.r2_stderr),
            residual=repr(float(solved.residual * scales[-1])),
            margin=repr(solved.margin),
        ),
        privacy=d.Privacy(
            population=first.population,
            rho=first.rho,
            epsilon=first.epsilon,
            delta=first.delta,
            noise=repr(gram.stderr),
            others=tuple(others),
        ),
        provenance=d.Provenance(
            contract=about.contract_digest,
            plan=fact.plan_digest,
            release=fact.release,
            receipt=canonical.digest(fact.receipt) if fact.receipt else "",
        ),
    )


def rows_per_unit(rows: Rows) -> int:
    """Return how many rows of one unit there can be: what the cards declare, or a smaller cap."""
    return rows.schema.rows


def round_off(values: np.ndarray, errors: np.ndarray, steps: list[Fraction], reaches: list[float]) -> list[Fraction]:
    """Return the coefficients as exact rationals with few digits, so that a plan can hold them.

    All predictions become multiples of one public step q: a coefficient is rounded to a multiple of q over the step of
    its column, with q (1, 2 or 5 times a power of ten) at most a hundredth of the smallest standard error times step.
    What is lost is under 1 % of a standard error. If the predictions would need more than 2^40 points, q grows.
    """
    wanted = min(error * float(step) for error, step in zip(errors, steps, strict=True)) / _FINER
    size = sum(abs(value) * reach for value, reach in zip(values, reaches, strict=True)) + 1
    step = _round_number(max(wanted, 2 * size / _MAX_POINTS))
    return [round(Fraction(float(value)) * own / step) * step / own for value, own in zip(values, steps, strict=True)]


def _round_number(value: float) -> Fraction:
    """Return the largest of 1, 2, 5 times a power of ten that is at most ``value``."""
    power = Fraction(10) ** math.floor(math.log10(value))
    return max((power * factor for factor in (1, 2, 5) if float(power * factor) <= value), default=power)


def _errors(covariance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(np.diag(covariance), 0.0))
