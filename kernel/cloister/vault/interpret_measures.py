"""Reference interpreter of measures: what the rows of one cell add up to in the components of a release."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import combinations_with_replacement

from cloister.plan.grid import Grid
from cloister.plan.layout import GRAM_SCALE, MOMENT_SCALE, Component
from cloister.vault.interpret_scalars import Value, evaluate, index_of, number, whole

Found = tuple[int, Mapping[str, Value], Mapping[str, int]]


def totals(part: Component, rows: Iterable[Found]) -> list[int]:
    """Return a component's exact integers in one cell, from the unit, the values and the flags of each of its rows."""
    if part.role == "units":
        return [len({unit for unit, *_ in rows})]
    if part.role in ("clipped", "capped"):
        return [sum(_limited(part, values, flags) for _, values, flags in rows)]
    added = [contribution(part, values) for _, values, _ in rows]
    return [sum(column) for column in zip([0] * part.exact_width, *added, strict=True)]


def _limited(part: Component, values: Mapping[str, Value], flags: Mapping[str, int]) -> bool:
    present = all(evaluate(term, values) is not None for term in part.terms)
    return present and any(flags.get(table, 0) & mask for table, mask in part.flags)


def contribution(part: Component, values: Mapping[str, Value]) -> list[int]:
    """Return what one row adds to a component (for a quantile: to the number of rows at each candidate)."""
    found = [evaluate(term, values) for term in part.terms]
    if any(value is None for value in found):
        return [0] * part.exact_width
    if part.role == "count":
        return [1]
    if part.role == "quantile":
        place = Fraction(index_of(found[0], part.grids[0]) or 0) * part.grids[0].step
        nearest = math.floor((place - part.offset) / part.step + Fraction(1, 2))
        return [int(index == min(nearest, part.candidates - 1)) for index in range(part.candidates)]
    numbers = [Fraction(number(value)) for value in found]
    match part.role:
        case "gram":
            terms = [GRAM_SCALE, *(scaled(x, grid, GRAM_SCALE) for x, grid in zip(numbers, part.grids, strict=True))]
            return [x * y for x, y in combinations_with_replacement(terms, 2)]
        case "square":
            return [2 * _moment(numbers[0], part.grids[0]) ** 2 - part.hi]
        case "product":
            left, right = (_moment(x, grid) for x, grid in zip(numbers, part.grids, strict=True))
            return [left * right]
        case _:
            return [whole((numbers[0] - part.offset) / part.step)]


def _moment(value: Fraction, grid: Grid) -> int:
    reach = grid.hi - grid.lo
    return scaled(value, grid, reach if reach < MOMENT_SCALE else MOMENT_SCALE)


def scaled(value: Fraction, grid: Grid, scale: int) -> int:
    """Return a value scaled to [-1, 1] by its bounds, in multiples of 1 / ``scale``, rounded half up."""
    half = (grid.hi - grid.lo) * grid.step / 2
    if half == 0:
        return 0
    middle = (grid.lo + grid.hi) * grid.step / 2
    return math.floor(scale * (value - middle) / half + Fraction(1, 2))
