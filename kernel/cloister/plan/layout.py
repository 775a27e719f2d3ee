"""Layout: what integers a release consists of, and in which order.

A release is a table of integers: one row per cell of the closed keys (row-major over the keys' public values), one
column per component. Vault, notebook and reviewer derive the same layout from plan and cards; ``components`` says what
each measure is made of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.components import GRAM_SCALE, MOMENT_SCALE, Builder, Component, MeasureLayout
from cloister.plan.grid import Grid
from cloister.plan.learning import PlannedFit, planned_fit
from cloister.plan.learning.program import Planned
from cloister.plan.numbers import days, iso, rational, text_of
from cloister.plan.typing import Schema, infer, key, scalar
from cloister.wire import canonical

__all__ = ["GRAM_SCALE", "MOMENT_SCALE", "Component", "Key", "Label", "Layout", "MeasureLayout", "layout"]

MAX_CELLS = 100_000
MAX_INTEGERS = 500_000
MAX_SCORES = 2_000_000
MAX_FOUND = 1_000
MAX_LABEL = 256

Label = bool | int | float | str


class Key(msgspec.Struct, frozen=True):
    """A grouping key with its public values: ``labels[i]`` stands for grid integer ``grid.lo + i``."""

    name: str
    grid: Grid
    labels: tuple[Label, ...]


class Layout(msgspec.Struct, frozen=True):
    """Keys, components and measures of a release; ``cells * width`` integers in all.

    ``found``: the cells are not known beforehand: they are those of at most ``cells`` values of the keys that are
    released themselves (``ThresholdKeys``); the keys have no labels. ``fitted`` is what a fit does.
    """

    keys: tuple[Key, ...]
    components: tuple[Component, ...]
    measures: tuple[MeasureLayout, ...]
    cells: int
    width: int
    found: bool = False
    fitted: PlannedFit | None = None

    @property
    def draws(self) -> int:
        """How much work the noise is, counted in integers that get one draw."""
        return self.cells * sum(part.draws for part in self.components)


def layout(plan: a.Plan, cards: Mapping[str, Card]) -> Layout:
    """Return the layout of ``plan``.

    Raises:
        PlanError: The plan does not type-check, a key is not closed, or the release would be too large.
    """
    schema = infer(plan.source, cards)
    if isinstance(plan, a.ThresholdKeys):
        return _found(plan, schema, cards)
    if isinstance(plan, a.Fit):
        return _steps(plan, schema)
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


def counted(plan: a.Plan, cards: Mapping[str, Card]) -> a.Relation:
    """Return the rows a release is taken of: of keys, one per unit and value, at most ``groups`` a unit."""
    if not isinstance(plan, a.ThresholdKeys):
        return plan.source
    schema, source = infer(plan.source, cards), plan.source
    nullable = [a.Not(a.IsNull(a.Col(name))) for name in plan.keys if schema.grid(name).nullable]
    if nullable:
        source = a.Filter(source, a.And(tuple(nullable)))
    return a.Cap(source, 1, plan.keys, plan.groups)


def _found(plan: a.ThresholdKeys, schema: Schema, cards: Mapping[str, Card]) -> Layout:
    keys = tuple(Key(name, schema.grid(name), ()) for name in plan.keys)
    for found in keys:
        if found.grid.kind == "opaque":
            raise PlanError(
                "plan.key",
                f"{found.name!r} can identify a unit, and nothing else",
                next_step="ask for the values of a text, a category, a number with bounds or a date",
            )
    components, measures = Builder(schema, plan.measures, cards).build()
    return Layout(keys, components, measures, MAX_FOUND, 1, found=True)


def _steps(plan: a.Fit, schema: Schema) -> Layout:
    """One component per step of the learner: its integers are the transcript."""
    found = planned_fit(plan, schema)
    grids = tuple(scalar(term, schema) for term in plan.terms)
    components = tuple(step_component(step, plan.terms, grids) for step in found.steps)
    return Layout((), components, (), 1, sum(part.width for part in components), fitted=found)


def step_component(step: Planned, terms: tuple[a.Scalar, ...], grids: tuple[Grid, ...]) -> Component:
    """Return a step of a learner as a block of integers of one cell."""
    far, one = step.reach.largest, Fraction(1)
    return Component(
        "step", step.name, terms, grids, one, Fraction(0), -far, far, step.share, step.reach.width,
        squared=step.reach.squared,
    )  # fmt: skip


def label_of(code: bool | int | str, grid: Grid) -> str:
    """Return a released value of a key as text: what a receipt holds."""
    match grid.kind:
        case "text":
            return str(code)
        case "category":
            return grid.domain[int(code)]
        case "bool":
            return "true" if code else "false"
        case "date":
            return iso(int(code))
        case _:
            return text_of(int(code) * grid.step)


def label_bytes(grid: Grid) -> int:
    """Return the most bytes a released value of a key has as JSON text."""
    if grid.kind == "text":
        return 6 * MAX_LABEL + 2
    ends = range(len(grid.domain)) if grid.kind == "category" else (grid.lo, grid.hi, grid.lo + 1, grid.hi - 1)
    longest = max(len(canonical.encode(label_of(code, grid))) for code in ends if grid.lo <= code <= grid.hi)
    return max(longest, 7 + 2 * len(str(grid.step)) + len(str(max(abs(grid.lo), abs(grid.hi)))))


def label_value(text: str, grid: Grid) -> Label:
    """Return what the text of a released value stands for.

    Raises:
        PlanError: The text is no value of the key.
    """
    if grid.kind in ("bool", "category") and text not in (grid.domain or ("false", "true")):
        raise PlanError("plan.key", "a released value is none that the key can have")
    match grid.kind:
        case "bool":
            return text == "true"
        case "number":
            value = rational(text)
            return int(value) if value.denominator == 1 else float(value)
        case "date":
            return iso(days(text))
        case _:
            return text


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
