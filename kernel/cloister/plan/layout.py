"""Layout: what integers a release consists of, and in which order.

A release is a table of integers: one row per cell of the closed keys (row-major over the keys' public values), one
column per component. Vault, notebook and reviewer derive the same layout from plan and cards.

Components: ``count`` (rows, or rows where a term is not null), ``sum`` (on a grid that contains 0), ``centred`` (a sum
on the grid centred at the midpoint of the term's range, for means) and ``gram`` (the upper triangle of ``sum z z'``,
``z`` rounded to multiples of 2^-12). Measures of the same term share one count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import Grid, fit
from cloister.plan.numbers import iso
from cloister.plan.rules import number
from cloister.plan.typing import Schema, infer, key, scalar, token

MAX_CELLS = 100_000
MAX_INTEGERS = 500_000
GRAM_SCALE = 2**12
_MEAN_SHARE = Fraction(2, 3)

Label = bool | int | float | str


class Key(msgspec.Struct, frozen=True):
    """A grouping key with its public values: ``labels[i]`` stands for grid integer ``grid.lo + i``."""

    name: str
    grid: Grid
    labels: tuple[Label, ...]


class Component(msgspec.Struct, frozen=True):
    """A block of ``width`` integers per cell with one noise level.

    A row adds integers within ``lo..hi`` to it; an integer ``n`` stands for ``n * step`` in the measure's unit (for
    ``centred``: the sum of ``value - offset``). ``weight`` is its part of the price; all weights add up to 1.
    """

    role: Literal["count", "sum", "centred", "gram"]
    measure: str
    terms: tuple[a.Scalar, ...]
    grids: tuple[Grid, ...]
    step: Fraction
    offset: Fraction
    lo: int
    hi: int
    weight: Fraction
    width: int = 1


class MeasureLayout(msgspec.Struct, frozen=True):
    """A measure and the positions of its components (mean: centred sum, then count)."""

    name: str
    kind: Literal["count", "sum", "mean", "gram"]
    components: tuple[int, ...]


class Layout(msgspec.Struct, frozen=True):
    """Keys, components and measures of a release; ``cells * width`` integers in all."""

    keys: tuple[Key, ...]
    components: tuple[Component, ...]
    measures: tuple[MeasureLayout, ...]
    cells: int
    width: int


def layout(plan: a.Plan, cards: Mapping[str, Card]) -> Layout:
    """Return the layout of ``plan``.

    Raises:
        PlanError: The plan does not type-check, a key is not closed, or the release would be too large.
    """
    schema = infer(plan.source, cards)
    keys = tuple(_key(name, schema) for name in plan.keys)
    builder = _Builder(schema, Fraction(1, len(plan.measures)))
    measures = tuple(builder.add(measure) for measure in plan.measures)
    components = tuple(builder.components.values())
    cells = math.prod(len(found.labels) for found in keys)
    width = sum(component.width for component in components)
    if cells > MAX_CELLS or cells * width > MAX_INTEGERS:
        raise PlanError(
            "plan.cells",
            f"the release would have {cells} cells of {width} integers",
            clause=f"a release has at most {MAX_CELLS} cells and {MAX_INTEGERS} integers",
            next_step="use fewer keys, or coarser bins",
        )
    return Layout(keys, components, measures, cells, width)


class _Builder:
    """Collects components; equal ones are shared, and their weights add up."""

    def __init__(self, schema: Schema, share: Fraction) -> None:
        self.schema = schema
        self.share = share
        self.components: dict[tuple[str, ...], Component] = {}

    def add(self, measure: a.Measure) -> MeasureLayout:
        match measure:
            case a.Count():
                return MeasureLayout(measure.name, "count", (self._count(measure.name, measure.of, self.share),))
            case a.Sum():
                return MeasureLayout(measure.name, "sum", (self._sum(measure),))
            case a.Mean():
                centred = self._centred(measure)
                count = self._count(measure.name, measure.of, self.share * (1 - _MEAN_SHARE))
                return MeasureLayout(measure.name, "mean", (centred, count))
            case a.Gram():
                return MeasureLayout(measure.name, "gram", (self._gram(measure),))

    def _count(self, name: str, term: a.Scalar | None, weight: Fraction) -> int:
        if term is not None:
            grid = _usable(scalar(term, self.schema))
            if grid.nullable:
                part = Component("count", name, (term,), (grid,), Fraction(1), Fraction(0), 0, 1, weight)
                return self._put(("count", token(term, self.schema)), part)
        return self._put(("count", ""), Component("count", name, (), (), Fraction(1), Fraction(0), 0, 1, weight))

    def _sum(self, measure: a.Sum) -> int:
        grid = self._number(measure.of, "sum")
        part = Component(
            "sum", measure.name, (measure.of,), (grid,), grid.step, Fraction(0), grid.lo, grid.hi, self.share
        )
        return self._put(("sum", token(measure.of, self.schema)), part)

    def _centred(self, measure: a.Mean) -> int:
        grid = self._number(measure.of, "mean")
        reach = grid.hi - grid.lo
        part = Component(
            "centred",
            measure.name,
            (measure.of,),
            (grid,),
            grid.step / 2,
            Fraction(grid.lo + grid.hi, 2) * grid.step,
            -reach,
            reach,
            self.share * _MEAN_SHARE,
        )
        return self._put(("centred", token(measure.of, self.schema)), part)

    def _gram(self, measure: a.Gram) -> int:
        grids = tuple(self._number(term, "Gram") for term in measure.of)
        for grid in grids:
            # The rounding to multiples of 2^-12 multiplies the range by 4 * 2^12 on the way.
            fit(Grid("number", 0, 4 * GRAM_SCALE * (grid.hi - grid.lo)))
        dimension = len(grids) + 1
        part = Component(
            "gram",
            measure.name,
            measure.of,
            grids,
            Fraction(1, GRAM_SCALE**2),
            Fraction(0),
            -(GRAM_SCALE**2),
            GRAM_SCALE**2,
            self.share,
            dimension * (dimension + 1) // 2,
        )
        return self._put(("gram", *(token(term, self.schema) for term in measure.of)), part)

    def _number(self, term: a.Scalar, what: str) -> Grid:
        grid = _usable(scalar(term, self.schema))
        if grid.kind == "date":
            raise PlanError(
                "plan.types", f"a {what} of dates has no meaning", next_step="subtract a date to get days",
                nearest=("column - date",),
            )  # fmt: skip
        return number(grid, f"a {what}")

    def _put(self, name: tuple[str, ...], part: Component) -> int:
        known = self.components.get(name)
        if known is not None:
            part = msgspec.structs.replace(known, weight=known.weight + part.weight)
        self.components[name] = part
        return list(self.components).index(name)


def _usable(grid: Grid) -> Grid:
    if grid.kind != "opaque":
        return grid
    names = ", ".join(sorted(column for _, column in grid.uses))
    raise PlanError(
        "plan.bounds",
        f"{names} has no declared bounds or domain, so what one unit can add to a release is unknown",
        clause="every measure needs bounds that can be derived from the data card",
        next_step="measure a column with declared bounds; count rows with count()",
    )


def _key(name: str, schema: Schema) -> Key:
    grid = key(name, schema)
    labels: tuple[Label, ...]
    if grid.kind == "category":
        labels = grid.domain
    elif grid.kind == "bool":
        grid = msgspec.structs.replace(grid, lo=0, hi=1)
        labels = (False, True)
    elif grid.kind == "date":
        labels = tuple(iso(day) for day in range(grid.lo, grid.hi + 1))
    else:
        values = [point * grid.step for point in range(grid.lo, grid.hi + 1)]
        labels = tuple(int(value) if value.denominator == 1 else float(value) for value in values)
    return Key(name, grid, labels)
