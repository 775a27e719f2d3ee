"""Rounding: numbers of a model as short exact rationals, so that a plan can hold them and every machine agrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from cloister.plan.rounding import round_number, to_step

FINER = 100


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


def near(value: float, error: float) -> Fraction:
    """Return a number rounded to a short decimal, at a hundredth of its error or twelve digits, whichever is finer."""
    fine = max(min(error / FINER if error > 0 else math.inf, abs(value) * 1e-12 or 1e-12), 1e-30)
    step = round_number(fine)
    return round(Fraction(value) / step) * step
