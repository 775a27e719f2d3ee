"""Weights as integers: what a query carries and a model holds."""

from __future__ import annotations

import math

from cloister.plan.learning.queries import MAX_WEIGHT, WEIGHT_SCALE

MOST = MAX_WEIGHT / WEIGHT_SCALE


def limited(value: float) -> float:
    """Return a weight within the limits of a query."""
    return min(max(value, -MOST), MOST)


def whole(value: float) -> int:
    """Return a weight in multiples of 1 / ``WEIGHT_SCALE``, rounded half up."""
    return math.floor(limited(value) * WEIGHT_SCALE + 0.5)
