"""Measures in SQL: the sums a component is assembled from, and the component's integers from those sums."""

from __future__ import annotations

from collections.abc import Mapping

from cloister.plan.grid import Grid
from cloister.plan.layout import GRAM_SCALE, Component
from cloister.vault.relations_sql import Source
from cloister.vault.scalars_sql import Lowered, Parameters, lower, wide


def sums(part: Component, index: int, source: Source, bind: Parameters, inner: list[str]) -> list[str]:
    """Return the aggregates a component is assembled from; see ``integers``."""
    scope = source.scope
    if part.role == "gram":
        return _gram(part, index, scope, bind, inner)
    if not part.terms:
        return ["count(*)"]
    lowered = lower(part.terms[0], scope, bind)
    if part.role == "count":
        return [f"count({lowered[0]})"]
    total = f"sum({wide(lowered) if lowered[1].kind == 'bool' else lowered[0]})"
    return [total] if part.role == "sum" else [total, f"count({lowered[0]})"]


def _gram(part: Component, index: int, scope: Mapping[str, Lowered], bind: Parameters, inner: list[str]) -> list[str]:
    names, present = [], []
    for position, term in enumerate(part.terms):
        lowered = lower(term, scope, bind)
        name = f"g{index}_{position}"
        inner.append(f"{_unit_interval(lowered, part.grids[position], bind)} AS {name}")
        names.append(name)
        if lowered[1].nullable:
            present.append(f"{name} IS NOT NULL")
    where = f" FILTER (WHERE {' AND '.join(present)})" if present else ""
    sums = [f"count(*){where}"]
    sums += [f"sum({name}){where}" for name in names]
    for i, left in enumerate(names):
        sums += [f"sum({left} * {right}){where}" for right in names[i:]]
    return sums


def _unit_interval(lowered: Lowered, grid: Grid, bind: Parameters) -> str:
    """Return a term scaled to [-1, 1] in multiples of 1 / GRAM_SCALE, rounded half up on integers.

    Floor division is taken of a number that is never negative, so it does not matter how the engine rounds.
    """
    reach = grid.hi - grid.lo
    if reach == 0:
        return f"(CASE WHEN {lowered[0]} IS NOT NULL THEN {bind.integer(0)} END)"
    shifted = f"({bind.integer(4 * GRAM_SCALE)} * ({wide(lowered)} - {bind.integer(grid.lo)}) + {bind.integer(reach)})"
    return f"({shifted} // {bind.integer(2 * reach)} - {bind.integer(GRAM_SCALE)})"


def integers(part: Component, sums: list[int]) -> list[int]:
    """Return a component's integers from the sums ``compile`` asked for."""
    if part.role == "centred":
        grid = part.grids[0]
        return [2 * sums[0] - (grid.lo + grid.hi) * sums[1]]
    if part.role == "gram":
        size = len(part.terms)
        count, first, second = sums[0], sums[1 : size + 1], sums[size + 1 :]
        return [GRAM_SCALE**2 * count, *(GRAM_SCALE * value for value in first), *second]
    return sums
