"""Scalars in SQL: exact integer expressions over generated identifiers and bound parameters.

Every lowered expression computes the integers of its grid (booleans as BOOLEAN). Ranges were checked by the typing
rules, so no operator can overflow; null follows the algebra's rules, which differ from SQL's in comparisons and
conditions, hence the ``COALESCE``s. ``least``/``greatest`` ignore null, so they serve non-null terms only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import LIMIT, Grid, shared_step
from cloister.plan.numbers import rational
from cloister.plan.rules import bounds, children, combine, edge_values, number
from cloister.vault import scalars_dates_sql as dates
from cloister.vault import scalars_numbers_sql as numbers
from cloister.vault import scalars_text_sql as texts
from cloister.vault.sql_terms import Lowered, Parameters, aligned, condition, rescaled, wide

_OPERATORS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_FLIPPED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}

__all__ = ["Lowered", "Parameters", "aligned", "condition", "lower", "wide"]


def lower(node: a.Scalar, scope: Mapping[str, Lowered], bind: Parameters) -> Lowered:
    """Return SQL and grid of ``node``; ``scope`` maps column names to their SQL and grid."""
    if isinstance(node, a.Col):
        return scope[node.name]
    parts = [lower(child, scope, bind) for child in children(node)]
    grid = combine(node, tuple(grid for _, grid in parts))
    return _sql(node, parts, grid, bind), grid


def _sql(node: a.Scalar, parts: list[Lowered], grid: Grid, bind: Parameters) -> str:
    match node:
        case a.Number() | a.Text() | a.Date():
            return bind.integer(grid.lo)
        case a.Boolean():
            return "TRUE" if node.value else "FALSE"
        case a.Arithmetic():
            return _arithmetic(node, parts[0], parts[1], bind)
        case a.Scale():
            return f"(-{wide(parts[0])})" if rational(node.factor) < 0 else wide(parts[0])
        case a.Negate():
            return f"(-{wide(parts[0])})"
        case a.Abs():
            return f"abs({wide(parts[0])})"
        case a.Compare():
            return _compare(node.kind, (node.left, node.right), parts, bind)
        case a.And():
            return "(" + " AND ".join(["TRUE", *map(condition, parts)]) + ")"
        case a.Or():
            return "(" + " OR ".join(["FALSE", *map(condition, parts)]) + ")"
        case a.Not():
            return f"(NOT {condition(parts[0])})"
        case a.IsNull():
            return f"({parts[0][0]} IS NULL)"
        case a.Fill():
            return f"COALESCE({', '.join(aligned(parts[0], parts[1], bind))})"
        case a.Case():
            then, otherwise = aligned(parts[1], parts[2], bind)
            return f"(CASE WHEN {condition(parts[0])} THEN {then} ELSE {otherwise} END)"
        case a.IsIn():
            return _is_in(node, parts[0], bind)
        case a.Clip():
            return _clip(node, parts[0], bind)
        case a.Cut():
            return _cut(node, parts[0], bind)
        case a.Only():
            return f"(CASE WHEN {condition(parts[1])} THEN {parts[0][0]} END)"
        case a.Modulo():
            return numbers.modulo(node, parts[0], bind)
        case a.Round():
            return numbers.rounded(node, parts[0], bind)
        case a.Quotient():
            return numbers.quotient(node, parts[0], parts[1], grid, bind)
        case a.Curve():
            return numbers.curve(node, parts[0], grid, bind)
        case a.DatePart():
            return dates.date_part(node, parts[0], bind)
        case a.DateFloor():
            return dates.date_floor(node, parts[0], bind)
        case a.DateShift():
            return f"({wide(parts[0])} + {bind.integer(node.days)})"
        case a.Letters() | a.Length() | a.Matches() | a.Slice() | a.Replace() | a.Concat() | a.Recode() | a.Parse():
            return texts.lowered(node, parts, grid, bind)
        case _:
            raise PlanError("plan.node", "this expression cannot be computed")


def _arithmetic(node: a.Arithmetic, left: Lowered, right: Lowered, bind: Parameters) -> str:
    if left[1].kind == right[1].kind == "date":
        return f"({wide(left)} - {wide(right)})"
    if left[1].kind == "date" or right[1].kind == "date":
        return dates.shifted(node, left, right, bind)
    if node.kind == "mul":
        return f"({wide(left)} * {wide(right)})"
    step = shared_step(number(left[1], ""), number(right[1], ""))
    operator = "+" if node.kind == "add" else "-"
    return f"({rescaled(left, step, bind)} {operator} {rescaled(right, step, bind)})"


def _compare(kind: str, nodes: tuple[a.Scalar, a.Scalar], parts: list[Lowered], bind: Parameters) -> str:
    left, right = parts
    if isinstance(nodes[0], a.Number) and not isinstance(nodes[1], a.Number):
        return _compare(_FLIPPED[kind], (nodes[1], nodes[0]), [right, left], bind)
    if isinstance(nodes[1], a.Number):
        test = _threshold(kind, left, rational(nodes[1].value), bind)
    elif left[1].kind in ("date", "category", "text"):
        sides = aligned(left, right, bind)
        test = f"({sides[0]} {_OPERATORS[kind]} {sides[1]})"
    else:
        step = shared_step(number(left[1], ""), number(right[1], ""))
        test = f"({rescaled(left, step, bind)} {_OPERATORS[kind]} {rescaled(right, step, bind)})"
    if left[1].nullable or right[1].nullable:
        return f"COALESCE({test}, {'TRUE' if kind == 'ne' else 'FALSE'})"
    return test


def _threshold(kind: str, term: Lowered, value: Fraction, bind: Parameters) -> str:
    """Compare grid integers with an exact limit that need not lie on the grid."""
    grid = number(term[1], "")
    limit = value / grid.step
    if kind in ("eq", "ne") and limit.denominator != 1:
        constant = "FALSE" if kind == "eq" else "TRUE"
        return f"(CASE WHEN {term[0]} IS NULL THEN NULL ELSE {constant} END)"
    index = math.ceil(limit) if kind in ("lt", "ge") else math.floor(limit)
    # Beyond the range every value compares alike, so the limit can be brought within 64 bits.
    index = min(max(index, grid.lo - 1), grid.hi + 1)
    return f"({wide(term)} {_OPERATORS[kind]} {bind.integer(index)})"


def _is_in(node: a.IsIn, term: Lowered, bind: Parameters) -> str:
    """List the grid integers that are meant; a literal off the grid or the domain equals nothing."""
    grid = term[1]
    if grid.kind == "text":
        return texts.is_in(node, term, bind)
    found = (_index(value, grid) for value in node.values)
    wanted = sorted({index for index in found if index is not None})
    if not wanted:
        return "FALSE"
    test = f"({wide(term)} IN ({', '.join(map(bind.integer, wanted))}))"
    return f"COALESCE({test}, FALSE)" if grid.nullable else test


def _index(value: a.Scalar, grid: Grid) -> int | None:
    match value:
        case a.Text():
            return grid.domain.index(value.value) if value.value in grid.domain else None
        case a.Number():
            index = rational(value.value) / grid.step
            return index.numerator if index.denominator == 1 and grid.lo <= index <= grid.hi else None
        case _:
            index = combine(value, ()).lo / grid.step
            return index.numerator if index.denominator == 1 else None


def _clip(node: a.Clip, term: Lowered, bind: Parameters) -> str:
    low, high = bounds(node, term[1].kind)
    if term[1].kind == "date":
        sql, first, last = wide(term), int(low), int(high)
    else:
        step = combine(node, (term[1],)).step
        sql, first, last = rescaled(term, step, bind), int(low / step), int(high / step)
    grid = combine(node, (term[1],))
    # The limits may lie far outside the term's range; what counts is where its values can end up.
    first, last = min(max(first, grid.lo), grid.hi), max(min(last, grid.hi), grid.lo)
    lower_, upper = bind.integer(first), bind.integer(last)
    if not term[1].nullable:
        return f"greatest(least({sql}, {upper}), {lower_})"
    return f"(CASE WHEN {sql} < {lower_} THEN {lower_} WHEN {sql} > {upper} THEN {upper} ELSE {sql} END)"


def _cut(node: a.Cut, term: Lowered, bind: Parameters) -> str:
    grid = term[1] if term[1].kind == "date" else number(term[1], "")
    marks = [math.ceil(edge / grid.step) for edge in edge_values(node, grid.kind)]
    sql, widths = wide(term), {high - low for low, high in pairwise(marks)}
    if len(marks) > 4 and len(widths) == 1 and max(map(abs, marks)) < LIMIT and 0 not in widths:
        first, last, width = bind.integer(marks[0]), bind.integer(marks[-1]), bind.integer(widths.pop())
        return f"(CASE WHEN {sql} >= {first} AND {sql} < {last} THEN ({sql} - {first}) // {width} END)"
    marks = [min(max(mark, grid.lo), grid.hi + 1) for mark in marks]
    branches = [f"WHEN {sql} < {bind.integer(marks[0])} THEN NULL"]
    branches += [
        f"WHEN {sql} < {bind.integer(mark)} THEN {bind.integer(index)}" for index, mark in enumerate(marks[1:])
    ]
    return f"(CASE {' '.join(branches)} END)"
