"""Reference interpreter of measures: what one row adds to the components of a release."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from itertools import combinations_with_replacement

from cloister.plan.grid import Grid
from cloister.plan.layout import GRAM_SCALE, Component
from cloister.vault.interpret_scalars import Value, evaluate, number, whole


def contribution(part: Component, values: Mapping[str, Value]) -> list[int]:
    """Return what one row adds to a component."""
    found = [evaluate(term, values) for term in part.terms]
    if any(value is None for value in found):
        return [0] * part.width
    if part.role == "count":
        return [1]
    numbers = [Fraction(number(value)) for value in found]
    if part.role == "gram":
        scaled = [GRAM_SCALE, *(_scaled(x, grid) for x, grid in zip(numbers, part.grids, strict=True))]
        return [x * y for x, y in combinations_with_replacement(scaled, 2)]
    return [whole((numbers[0] - part.offset) / part.step)]


def _scaled(value: Fraction, grid: Grid) -> int:
    half = (grid.hi - grid.lo) * grid.step / 2
    if half == 0:
        return 0
    middle = (grid.lo + grid.hi) * grid.step / 2
    return math.floor(GRAM_SCALE * (value - middle) / half + Fraction(1, 2))
