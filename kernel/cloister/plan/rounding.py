"""Rounding: coefficients as short exact rationals, so that a plan can hold them and every party writes the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from cloister.plan.learning.encoding import Encoding
from cloister.plan.learning.natural import Affine

MAX_POINTS = 2**40
CLOSE = 1e-4
"""How far rounding the weights of a fit may move a score."""


def short(found: Sequence[Affine], coded: Encoding) -> list[list[Fraction]]:
    """Return scores (intercept, then a weight per encoded column) with few digits, as a notebook shows them."""
    steps, reaches = [Fraction(1)], [1.0]
    for block in coded.blocks:
        far = 1 if block.labels else max(abs(block.grid.lo), abs(block.grid.hi)) * block.grid.step
        steps += [Fraction(1) if block.labels else block.grid.step] * block.width
        reaches += [float(far)] * block.width
    finest = max(reach / float(step) for reach, step in zip(reaches, steps, strict=True))
    rows = [[score.intercept, *score.weights] for score in found]
    return [to_step(row, CLOSE / max(finest, 1.0), steps, reaches) for row in rows]


def to_step(
    values: Sequence[float | Fraction], wanted: float, steps: Sequence[Fraction], reaches: Sequence[float]
) -> list[Fraction]:
    """Return coefficients whose sum of products with columns on ``steps`` is a multiple of one step near ``wanted``."""
    size = math.fsum(abs(float(value)) * reach for value, reach in zip(values, reaches, strict=True)) + 1
    step = round_number(max(wanted, 2 * size / MAX_POINTS))
    return [round(Fraction(value) * own / step) * step / own for value, own in zip(values, steps, strict=True)]


def round_number(value: float) -> Fraction:
    """Return the largest of 1, 2, 5 times a power of ten that is at most ``value``, a number above zero."""
    exponent = math.floor(math.log10(value))
    # Where the C library's logarithm is off beside a power of ten, it is put right: the same number everywhere.
    while float(Fraction(10) ** (exponent + 1)) <= value:
        exponent += 1
    while float(Fraction(10) ** exponent) > value:
        exponent -= 1
    power = Fraction(10) ** exponent
    return max((power * factor for factor in (1, 2, 5) if float(power * factor) <= value), default=power)
