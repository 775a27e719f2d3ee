"""A model in the units of its features: exact, so that every party writes the same numbers.

A column of a number is ``z = (x - middle) / half``, its bounds scaled to [-1, 1]; a column of a label is 1 or 0.
"""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec

from cloister.plan.learning.encoding import SCALE, Encoding
from cloister.plan.learning.program import Centres, Linear, Model


class Affine(msgspec.Struct, frozen=True):
    """A score: ``intercept`` plus the sum of ``weights`` times columns (a number, or 1 where the label occurs).

    ``errors`` are the standard errors from the noise, that of the intercept first; empty if they are not known.
    """

    intercept: Fraction
    weights: tuple[Fraction, ...]
    errors: tuple[float, ...] = ()


def halves(coded: Encoding) -> list[tuple[Fraction, Fraction]]:
    """Return middle and half range of every column but the first; of a label 0 and 1."""
    found: list[tuple[Fraction, Fraction]] = []
    for block in coded.blocks:
        if block.labels:
            found += [(Fraction(0), Fraction(1))] * block.width
        else:
            low, high = block.grid.lo * block.grid.step, block.grid.hi * block.grid.step
            found.append(((low + high) / 2, (high - low) / 2))
    return found


def scores(model: Linear, coded: Encoding) -> tuple[Affine, ...]:
    """Return the scores of a linear model. A feature with one value has no weight.

    The error of an intercept is that of the weights combined as if they were independent.
    """
    ends = halves(coded)
    found = []
    for place, row in enumerate(model.weights):
        intercept = Fraction(row[0], model.scale)
        weights = []
        for value, (middle, half) in zip(row[1:], ends, strict=True):
            weight = Fraction(value, model.scale) / half if half else Fraction(0)
            intercept -= weight * middle
            weights.append(weight)
        found.append(Affine(intercept, tuple(weights), _errors(model, place, ends)))
    return tuple(found)


def _errors(model: Linear, place: int, ends: list[tuple[Fraction, Fraction]]) -> tuple[float, ...]:
    if not model.errors:
        return ()
    first, *rest = model.errors[place]
    scaled = [error / float(half) if half else 0.0 for error, (_, half) in zip(rest, ends, strict=True)]
    squared = first * first
    for error, (middle, _) in zip(scaled, ends, strict=True):
        squared += (error * float(middle)) * (error * float(middle))
    return (math.sqrt(squared), *scaled)


def centres(model: Centres, coded: Encoding) -> tuple[tuple[Fraction, ...], ...]:
    """Return the centres; a label's column is the share of the rows that have it."""
    ends = halves(coded)
    return tuple(
        tuple(middle + half * Fraction(value, SCALE) for value, (middle, half) in zip(row, ends, strict=True))
        for row in model.centres
    )


def numbers(model: Model, coded: Encoding) -> list[float]:
    """Return every number of a model that a notebook may show: as released, and in the units of the features."""
    if isinstance(model, Centres):
        return [*(float(value) for row in centres(model, coded) for value in row), *model.sizes]
    found = [value / model.scale for row in model.weights for value in row]
    found += [error for row in model.errors for error in row]
    for score in scores(model, coded):
        found += [float(score.intercept), *map(float, score.weights), *score.errors]
    return found
