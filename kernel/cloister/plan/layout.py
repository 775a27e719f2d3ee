"""Layout: what integers a release consists of, and in which order.

A release is a table of integers: one row per cell of the closed keys (row-major over the keys' public values), one
column per component. Vault, notebook and reviewer derive the same layout from plan and cards; ``components`` says what
each measure is made of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.components import GRAM_SCALE, MOMENT_SCALE, Builder, Component, MeasureLayout
from cloister.plan.grid import Grid
from cloister.plan.numbers import iso
from cloister.plan.typing import Schema, infer, key

__all__ = ["GRAM_SCALE", "MOMENT_SCALE", "Component", "Key", "Label", "Layout", "MeasureLayout", "layout"]

MAX_CELLS = 100_000
MAX_INTEGERS = 500_000
MAX_SCORES = 2_000_000

Label = bool | int | float | str


class Key(msgspec.Struct, frozen=True):
    """A grouping key with its public values: ``labels[i]`` stands for grid integer ``grid.lo + i``."""

    name: str
    grid: Grid
    labels: tuple[Label, ...]


class Layout(msgspec.Struct, frozen=True):
    """Keys, components and measures of a release; ``cells * width`` integers in all."""

    keys: tuple[Key, ...]
    components: tuple[Component, ...]
    measures: tuple[MeasureLayout, ...]
    cells: int
    width: int

    @property
    def draws(self) -> int:
        """How much work the noise is, counted in integers that get one draw."""
        return self.cells * sum(part.draws for part in self.components)


def layout(plan: a.VectorSum, cards: Mapping[str, Card]) -> Layout:
    """Return the layout of ``plan``.

    Raises:
        PlanError: The plan does not type-check, a key is not closed, or the release would be too large.
    """
    schema = infer(plan.source, cards)
    keys = tuple(_key(name, schema) for name in plan.keys)
    components, measures = Builder(schema, plan.measures, cards).build()
    cells = math.prod(len(found.labels) for found in keys)
    width = sum(component.width for component in components)
    scores = cells * sum(part.candidates * part.width for part in components)
    if cells > MAX_CELLS or cells * width > MAX_INTEGERS or scores > MAX_SCORES:
        raise PlanError(
            "plan.cells",
            f"the release would have {cells} cells of {width} integers",
            clause=f"a release has at most {MAX_CELLS} cells, {MAX_INTEGERS} integers and {MAX_SCORES} candidates",
            next_step="use fewer keys, coarser bins, or fewer quantiles at once",
        )
    return Layout(keys, components, measures, cells, width)


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
