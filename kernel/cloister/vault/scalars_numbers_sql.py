"""Remainders, rounding, quotients and curves in SQL.

The engine's integer division truncates and fails on zero, so it is only ever given a divisor that is not zero (or null)
and, where that is cheap, a dividend that is not negative. Every form is total on the range that the typing rules allow.
"""

from __future__ import annotations

from cloister.plan import algebra as a
from cloister.plan.curves import CURVE_STEP
from cloister.plan.grid import Grid
from cloister.plan.numbers import rational
from cloister.plan.rules import number
from cloister.plan.rules_numbers import base_of, division, first_inside, spread
from cloister.vault.sql_terms import Lowered, Parameters, rescaled, wide


def modulo(node: a.Modulo, term: Lowered, bind: Parameters) -> str:
    """Return the remainder of a term, never negative."""
    grid, width = spread(number(term[1], ""), rational(node.divisor))
    sql, divisor = rescaled(term, grid.step, bind), bind.integer(width)
    rest = f"({sql} % {divisor})"
    return rest if grid.lo >= 0 else f"(({rest} + {divisor}) % {divisor})"


def rounded(node: a.Round, term: Lowered, bind: Parameters) -> str:
    """Return a term rounded to a step; to even mentions it twice."""
    grid, width = spread(number(term[1], ""), rational(node.step))
    sql, base = rescaled(term, grid.step, bind), base_of(grid, width)
    divisor, start = bind.integer(width), bind.integer(base // width)
    ahead = {"floor": 0, "ceil": width - 1, "even": width // 2}[node.kind]
    moved = f"({sql} + {bind.integer(ahead - base)})" if ahead != base else sql
    found = f"({moved} // {divisor})" if width > 1 else moved
    if node.kind == "even" and width % 2 == 0:
        # Half a step was added: a tie has no remainder, and is one too high if the result is odd.
        tie = f"{moved} % {bind.integer(2 * width)} = {divisor}"
        found = f"({found} - CASE WHEN {tie} THEN 1 ELSE 0 END)"
    return f"({found} + {start})" if base else found


def quotient(node: a.Quotient, left: Lowered, right: Lowered, grid: Grid, bind: Parameters) -> str:
    """Return a quotient, rounded down and limited; null where a side is null or the divisor zero."""
    over, under = number(left[1], ""), number(right[1], "")
    way = division(node, over, under)
    top, bottom = _times(wide(left), way.up, bind), _times(wide(right), way.down, bind)
    plus = _floored(top, f"nullif({bottom}, 0)", over.lo >= 0)
    minus = _floored(f"(-{top})", f"nullif(-{bottom}, 0)", over.hi <= 0)
    if under.lo >= 0:
        found = plus
    elif under.hi <= 0:
        found = minus
    else:
        found = f"(CASE WHEN {bottom} > 0 THEN {plus} ELSE {minus} END)"
    limited = f"greatest(least({found}, {bind.integer(grid.hi)}), {bind.integer(grid.lo)})"
    return f"(CASE WHEN {bottom} <> 0 AND {top} IS NOT NULL THEN {limited} END)"


def curve(node: a.Curve, term: Lowered, grid: Grid, bind: Parameters) -> str:
    """Return a curve on its grid, limited to its typed range: what claims rest on is not left to the C library."""
    inside = number(term[1], "")
    sql, step = wide(term), inside.step
    least = bind.integer(first_inside(node.kind, step))
    if node.kind == "log1p":
        # 1 + x is computed on integers, and is never below one part of its denominator: ln cannot fail.
        whole = f"(greatest({sql}, {least}) * {bind.integer(step.numerator)} + {bind.integer(step.denominator)})"
        value = f"ln(CAST({whole} AS DOUBLE) / CAST({bind.integer(step.denominator)} AS DOUBLE))"
    elif node.kind == "sqrt":
        value = f"sqrt(CAST(greatest({sql}, {least}) AS DOUBLE) * {bind.real(step)})"
    else:
        value = f"exp(CAST({sql} AS DOUBLE) * {bind.real(step)})"
    scale = bind.integer(CURVE_STEP.denominator)
    index = f"CAST(floor({value} * CAST({scale} AS DOUBLE)) AS BIGINT)"
    limited = f"greatest(least({index}, {bind.integer(grid.hi)}), {bind.integer(grid.lo)})"
    if not grid.nullable:
        return limited
    test = f"{sql} IS NOT NULL" if node.kind == "exp" else f"{sql} >= {least}"
    return f"(CASE WHEN {test} THEN {limited} END)"


def _times(sql: str, factor: int, bind: Parameters) -> str:
    return sql if factor == 1 else f"({sql} * {bind.integer(factor)})"


def _floored(top: str, bottom: str, positive: bool) -> str:
    """Return ``floor(top / bottom)`` for a divisor that is above zero or null."""
    if positive:
        return f"({top} // {bottom})"
    return f"(({top} - (({top} % {bottom}) + {bottom}) % {bottom}) // {bottom})"
