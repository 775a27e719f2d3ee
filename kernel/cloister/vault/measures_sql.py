"""Measures in SQL: the sums a component is assembled from, and the component's integers from those sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloister.plan.components import moment_reach
from cloister.plan.grid import Grid
from cloister.plan.layout import GRAM_SCALE, Component
from cloister.vault.relations_sql import Source
from cloister.vault.scalars_sql import Lowered, Parameters, lower, wide


def sums(part: Component, index: int, source: Source, bind: Parameters, inner: list[str]) -> list[str]:
    """Return the aggregates a component is assembled from; see ``integers``.

    What an aggregate is taken of is added to ``inner`` as a column, if it is more than a term.
    """
    scope = source.scope
    if part.role == "gram":
        return _gram(part, index, scope, bind, inner)
    if part.role == "units":
        return ["count(DISTINCT unit)"]
    if part.role in ("clipped", "capped"):
        # A reference table has no flags: what is looked up is public or the provider's.
        masks = [(source.flags[table], mask) for table, mask in part.flags if table in source.flags]
        tests = [f"({flags} & {bind.integer(mask)}) <> 0" for flags, mask in masks]
        limited = f"({' OR '.join(tests) or 'FALSE'})"
        present = [f"{lower(term, scope, bind)[0]} IS NOT NULL" for term in part.terms]
        return [f"count(*) FILTER (WHERE {' AND '.join([limited, *present])})"]
    found = [lower(term, scope, bind) for term in part.terms]
    nullable = [sql for sql, grid in found if grid.nullable]
    # Aggregates leave nulls out by themselves, and much faster than with a filter; a filter is for what pairs terms.
    where = _where(nullable) if len(found) > 1 else ""
    count = f"count({nullable[0]})" if nullable and not where else f"count(*){where}"
    match part.role:
        case "count":
            return [count]
        case "sum" | "centred":
            total = f"sum({wide(found[0]) if found[0][1].kind == 'bool' else found[0][0]}){where}"
            return [total] if part.role == "sum" else [total, count]
        case "quantile":
            name = f"q{index}"
            inner.append(f"{_candidate(found[0], part, bind)} AS {name}")
            return [f"histogram({name}){_where(nullable)}"]
        case _:
            names = [f"z{index}_{position}" for position in range(1 + (part.role == "product"))]
            for name, lowered, grid in zip(names, found, part.grids, strict=False):
                inner.append(f"{_moment(lowered, grid, bind)} AS {name}")
            return [f"sum({names[0]} * {names[-1]}){where}", count]


def _where(nullable: Sequence[str]) -> str:
    present = " AND ".join(f"{sql} IS NOT NULL" for sql in nullable)
    return f" FILTER (WHERE {present})" if present else ""


def _gram(part: Component, index: int, scope: Mapping[str, Lowered], bind: Parameters, inner: list[str]) -> list[str]:
    names, nullable = [], []
    for position, term in enumerate(part.terms):
        lowered = lower(term, scope, bind)
        name = f"g{index}_{position}"
        inner.append(f"{scaled(lowered, part.grids[position], GRAM_SCALE, bind)} AS {name}")
        names.append(name)
        if lowered[1].nullable:
            nullable.append(name)
    where = _where(nullable)
    sums = [f"count(*){where}"]
    sums += [f"sum({name}){where}" for name in names]
    for i, left in enumerate(names):
        sums += [f"sum({left} * {right}){where}" for right in names[i:]]
    return sums


def scaled(lowered: Lowered, grid: Grid, scale: int, bind: Parameters) -> str:
    """Return a term scaled to [-1, 1] in multiples of 1 / ``scale``, rounded half up on integers.

    Floor division is taken of a number that is never negative, so it does not matter how the engine rounds.
    """
    reach = grid.hi - grid.lo
    if reach == 0:
        return f"(CASE WHEN {lowered[0]} IS NOT NULL THEN {bind.integer(0)} END)"
    shifted = f"({bind.integer(4 * scale)} * ({wide(lowered)} - {bind.integer(grid.lo)}) + {bind.integer(reach)})"
    return f"({shifted} // {bind.integer(2 * reach)} - {bind.integer(scale)})"


def _moment(lowered: Lowered, grid: Grid, bind: Parameters) -> str:
    """Return the centred value that squares and products are made of: exact if its range is narrow enough."""
    reach, top = grid.hi - grid.lo, moment_reach(grid)
    if top < reach:
        return scaled(lowered, grid, top, bind)
    return f"({bind.integer(2)} * ({wide(lowered)} - {bind.integer(grid.lo)}) - {bind.integer(reach)})"


def _candidate(lowered: Lowered, part: Component, bind: Parameters) -> str:
    """Return the index of the candidate nearest to a value, from 0 (ties upwards)."""
    grid, stride = part.grids[0], stride_of(part)
    index = f"({wide(lowered)} - {bind.integer(grid.lo)})"
    if stride == 1:
        return index
    nearest = f"({bind.integer(2)} * {index} + {bind.integer(stride)}) // {bind.integer(2 * stride)}"
    return f"least({nearest}, {bind.integer(part.candidates - 1)})"


def stride_of(part: Component) -> int:
    """Return how many grid steps lie between two candidates of a quantile."""
    return int(part.step / part.grids[0].step)


def integers(part: Component, sums: Sequence[Any]) -> list[int]:
    """Return a component's integers from the sums ``compile`` asked for; no rows give null, which is zero."""
    if part.role == "quantile":
        rows = [0] * part.candidates
        for index, count in (sums[0] or {}).items():
            rows[index] = count
        return rows
    found = [int(value or 0) for value in sums]
    match part.role:
        case "centred":
            grid = part.grids[0]
            return [2 * found[0] - (grid.lo + grid.hi) * found[1]]
        case "square":
            return [2 * found[0] - moment_reach(part.grids[0]) ** 2 * found[1]]
        case "product":
            return found[:1]
        case "gram":
            size = len(part.terms)
            count, first, second = found[0], found[1 : size + 1], found[size + 1 :]
            return [GRAM_SCALE**2 * count, *(GRAM_SCALE * value for value in first), *second]
        case _:
            return found
