"""Weights as integers: what a query carries and a model holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cloister.plan.learning.encoding import Encoding
from cloister.plan.learning.queries import MAX_WEIGHT, WEIGHT_SCALE

MOST = MAX_WEIGHT / WEIGHT_SCALE


def limited(value: float) -> float:
    """Return a weight within the limits of a query."""
    return min(max(value, -MOST), MOST)


def squared(value: float) -> float:
    """Return the square of a number as a product, which IEEE 754 rounds: a power is up to the C library."""
    return value * value


def whole(value: float) -> int:
    """Return a weight in multiples of 1 / ``WEIGHT_SCALE``, rounded half up."""
    return math.floor(limited(value) * WEIGHT_SCALE + 0.5)


def wholes(weights: Sequence[Sequence[float]]) -> tuple[tuple[int, ...], ...]:
    """Return weights of every output as integers."""
    return tuple(tuple(whole(value) for value in row) for row in weights)


def centre(row: list[float], counts: Sequence[float], coded: Encoding) -> None:
    """Move the mean of every block of labels to the constant: predictions stay, weights can be read."""
    for block in coded.blocks:
        if not block.labels:
            continue
        columns = range(block.start, block.start + block.width)
        mean = math.fsum(row[at] * counts[at] for at in columns) / math.fsum(counts[at] for at in columns)
        for at in columns:
            row[at] = limited(row[at] - mean)
        row[0] = limited(row[0] + mean)
