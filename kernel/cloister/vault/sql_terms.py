"""Terms of a query: bound parameters, and the few forms in which every lowered expression is read.

A lowered expression is SQL that computes the integers of its grid (booleans as BOOLEAN, free text as VARCHAR). Each
form here mentions the expression once, unless it says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from cloister.plan.grid import MAX_TEXT, Grid, merged_domain, moved_codes, shared_step
from cloister.plan.rules import number

_PARAMETER = re.compile(r"\$(p[0-9]+)")

Lowered = tuple[str, Grid]


class Parameters:
    """Bound parameters of one query; equal values share one."""

    def __init__(self) -> None:
        self.values: dict[str, int | str] = {}
        self._names: dict[int | str, str] = {}

    def integer(self, value: int) -> str:
        """Return the SQL for a 64-bit integer parameter."""
        return f"CAST({self._name(value)} AS BIGINT)"

    def text(self, value: str) -> str:
        """Return the SQL for a text parameter."""
        return f"CAST({self._name(value)} AS VARCHAR)"

    def real(self, value: Fraction) -> str:
        """Return the SQL for the double nearest to a public number."""
        return f"CAST({self.text(repr(float(value)))} AS DOUBLE)"

    def used(self, sql: str) -> dict[str, int | str]:
        """Return the parameters that ``sql`` mentions (the engine refuses others)."""
        names = set(_PARAMETER.findall(sql))
        return {name: value for name, value in self.values.items() if name in names}

    def _name(self, value: int | str) -> str:
        name = self._names.get(value)
        if name is None:
            name = self._names[value] = f"p{len(self._names)}"
            self.values[name] = value
        return f"${name}"


def wide(lowered: Lowered) -> str:
    """Return the expression as a 64-bit integer."""
    return f"CAST({lowered[0]} AS BIGINT)"


def condition(lowered: Lowered) -> str:
    """Return a boolean expression with null as False."""
    sql, grid = lowered
    return f"COALESCE({sql}, FALSE)" if grid.nullable else sql


def rescaled(lowered: Lowered, step: Fraction, bind: Parameters) -> str:
    """Return a number's integers on a finer step."""
    grid = number(lowered[1], "")
    factor = Fraction(1) if grid.zero else grid.step / step
    return wide(lowered) if factor == 1 else f"({wide(lowered)} * {bind.integer(int(factor))})"


def recoded(lowered: Lowered, domain: tuple[str, ...], bind: Parameters) -> str:
    """Return the codes of a category in a larger domain."""
    if domain == lowered[1].domain:
        return wide(lowered)
    return looked_up(wide(lowered), [new for _, new in moved_codes(lowered[1], domain)], bind)


def looked_up(code: str, values: Sequence[int | None], bind: Parameters) -> str:
    """Return the value at position ``code`` of a public list; null stays null."""
    shifts = {None if value is None else value - index for index, value in enumerate(values)}
    if len(shifts) == 1 and None not in shifts:
        shift = shifts.pop() or 0
        return f"({code} + {bind.integer(shift)})" if shift else code
    listed = ", ".join("CAST(NULL AS BIGINT)" if value is None else bind.integer(value) for value in values)
    return f"([{listed}])[{code} + {bind.integer(1)}]"


def as_text(lowered: Lowered, bind: Parameters) -> str:
    """Return a free text, or the label of a category."""
    sql, grid = lowered
    if grid.kind == "text":
        return sql
    labels = ", ".join(bind.text(label[:MAX_TEXT]) for label in grid.domain)
    return f"([{labels}])[{wide(lowered)} + {bind.integer(1)}]"


def aligned(left: Lowered, right: Lowered, bind: Parameters) -> tuple[str, str]:
    """Return both expressions on one common grid: as integers, booleans or texts."""
    kinds = {left[1].kind, right[1].kind}
    if kinds == {"bool"}:
        return left[0], right[0]
    if "text" in kinds:
        return as_text(left, bind), as_text(right, bind)
    if kinds == {"date"}:
        return wide(left), wide(right)
    if kinds == {"category"}:
        return wide(left), recoded(right, merged_domain(left[1], right[1]), bind)
    step = shared_step(number(left[1], ""), number(right[1], ""))
    return rescaled(left, step, bind), rescaled(right, step, bind)
