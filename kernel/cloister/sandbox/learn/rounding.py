"""Rounding: numbers of a model as short exact rationals, so that a plan can hold them and every machine agrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

FINER = 100
MAX_POINTS = 2**40


def round_off(
    values: Sequence[float], errors: Sequence[float], steps: Sequence[Fraction], reaches: Sequence[float]
) -> list[Fraction]:
    """Return the coefficients as exact rationals with few digits, so that a plan can hold them.

    All predictions become multiples of one public step q: a coefficient is rounded to a multiple of q over the step of
    its column, with q (1, 2 or 5 times a power of ten) at most a hundredth of the smallest standard error times step.
    What is lost is under 1 % of a standard error. If the predictions would need more than 2^40 points, q grows.
    """
    wanted = min(error * float(step) for error, step in zip(errors, steps, strict=True)) / FINER
    return to_step(values, wanted, steps, reaches)


def to_step(
    values: Sequence[float | Fraction], wanted: float, steps: Sequence[Fraction], reaches: Sequence[float]
) -> list[Fraction]:
    """Return coefficients whose sum of products with columns on ``steps`` is a multiple of one step near ``wanted``."""
    size = sum(abs(float(value)) * reach for value, reach in zip(values, reaches, strict=True)) + 1
    step = round_number(max(wanted, 2 * size / MAX_POINTS))
    return [round(Fraction(value) * own / step) * step / own for value, own in zip(values, steps, strict=True)]


def round_number(value: float) -> Fraction:
    """Return the largest of 1, 2, 5 times a power of ten that is at most ``value``."""
    power = Fraction(10) ** math.floor(math.log10(value))
    return max((power * factor for factor in (1, 2, 5) if float(power * factor) <= value), default=power)


def near(value: float, error: float) -> Fraction:
    """Return a number rounded to a short decimal, at a hundredth of its error or twelve digits, whichever is finer."""
    fine = max(min(error / FINER if error > 0 else math.inf, abs(value) * 1e-12 or 1e-12), 1e-30)
    step = round_number(fine)
    return round(Fraction(value) / step) * step
