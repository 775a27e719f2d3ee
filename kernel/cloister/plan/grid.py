"""Grids: the exact type of every value a plan can compute.

A value is an integer ``i`` on a grid; a number is ``i * step``, a date is ``i`` days after 1970-01-01, a
category is the ``i``-th entry of a closed domain, a boolean is 0 or 1. Only a free text is no integer: its
range is that of its length in code points. Every grid knows the whole range ``lo..hi`` its integers can take.
Ranges are computed exactly, and a value whose range might not fit in 62 bits is refused: storage and engine never
saturate behind the analyst's back.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import msgspec

from cloister.contract.card import OTHER, Column
from cloister.errors import PlanError
from cloister.plan.numbers import common_step, days, rational

LIMIT = 2**62
MAX_COLUMN_POINTS = 2**53
MAX_TEXT = 256
_MAX_STEP_BITS = 512

Kind = Literal["bool", "number", "date", "category", "text", "opaque"]
Uses = frozenset[tuple[str, str]]


class Grid(msgspec.Struct, frozen=True):
    """The type of a column or expression.

    ``lo`` and ``hi`` bound its integers, both included; ``uses`` names every (table, column) the value depends on.
    An ``opaque`` column (a unit key, a number without bounds) can be computed with by nobody.
    """

    kind: Kind
    lo: int = 0
    hi: int = 0
    step: Fraction = Fraction(1)
    nullable: bool = False
    domain: tuple[str, ...] = ()
    uses: Uses = frozenset()

    @property
    def zero(self) -> bool:
        """Whether the value is always zero: then it lies on every grid."""
        return self.lo == self.hi == 0

    @property
    def points(self) -> int:
        """How many values the grid has (of free text: more than can be counted)."""
        return LIMIT if self.kind == "text" else self.hi - self.lo + 1


BOOL = Grid("bool", 0, 1)


def fit(grid: Grid) -> Grid:
    """Return ``grid`` if all its integers fit in 62 bits.

    Raises:
        PlanError: The range is too wide for exact 64-bit arithmetic.
    """
    bits = max(grid.step.numerator.bit_length(), grid.step.denominator.bit_length())
    if -LIMIT <= grid.lo <= grid.hi <= LIMIT and bits <= _MAX_STEP_BITS:
        return grid
    raise PlanError(
        "plan.range",
        "an expression could leave the range of exact 64-bit arithmetic on its grid",
        clause="every value of a plan is an integer on a public grid and is never silently cut off",
        next_step="clip the terms to a narrower range, or use fewer decimal places in the literals",
        nearest=("term.clip(low, high)",),
    )


def on_step(grid: Grid, step: Fraction) -> Grid:
    """Return the number grid re-expressed on ``step``, a whole fraction of its own step."""
    factor = 1 if grid.zero else int(grid.step / step)
    return fit(msgspec.structs.replace(grid, step=step, lo=grid.lo * factor, hi=grid.hi * factor))


def shared_step(a: Grid, b: Grid) -> Fraction:
    """Return the coarsest step on which both number grids can be written exactly."""
    if a.zero:
        return b.step
    return a.step if b.zero else common_step(a.step, b.step)


def merged_domain(a: Grid, b: Grid) -> tuple[str, ...]:
    """Return the domain of ``a`` followed by what only ``b`` has; codes of ``a`` keep their meaning."""
    if a.domain == b.domain:
        return a.domain
    known = set(a.domain)
    return a.domain + tuple(label for label in b.domain if label not in known)


def moved_codes(grid: Grid, domain: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return the codes of a category with what they are in ``domain``, which holds all its labels."""
    codes = {label: code for code, label in enumerate(domain)}
    return [(code, codes[label]) for code, label in enumerate(grid.domain)]


def column_domain(column: Column) -> tuple[str, ...]:
    """Return the stored domain of a category column: as declared, always with ``(other)``."""
    domain = column.domain or ()
    return domain if OTHER in domain else (*domain, OTHER)


def column_step(column: Column) -> Fraction:
    """Return the declared step of a number column (1 for integers and dates if none is declared)."""
    return rational(column.step) if column.step is not None else Fraction(1)


def of_column(table: str, column: Column, *, is_key: bool) -> Grid:
    """Return the grid on which storage holds ``column``: a fact the loader enforces.

    Numbers are multiples of the gcd of step and lower bound, so that every grid contains zero.

    Raises:
        PlanError: The declared bounds are not usable (reversed, or finer than 2^53 points).
    """
    uses = frozenset({(table, column.name)})
    opaque = Grid("opaque", nullable=column.nullable, uses=uses)
    if is_key:
        return opaque
    if column.type == "bool":
        return Grid("bool", 0, 1, nullable=column.nullable, uses=uses)
    if column.type == "string":
        if column.domain is None:
            return Grid("text", 0, MAX_TEXT, nullable=column.nullable, uses=uses)
        domain = column_domain(column)
        return Grid("category", 0, len(domain) - 1, nullable=column.nullable, domain=domain, uses=uses)
    if column.low is None or column.high is None or (column.type == "decimal" and column.step is None):
        return opaque
    if column.type == "date":
        low, high = days(column.low), days(column.high)
        _check_column(column, Fraction(high - low))
        return Grid("date", low, high, nullable=column.nullable, uses=uses)
    lower, upper, step = rational(column.low), rational(column.high), column_step(column)
    _check_column(column, (upper - lower) / step if step > 0 else Fraction(-1))
    fine = common_step(step, lower) if lower else step
    grid = Grid("number", int(lower / fine), int(upper / fine), fine, column.nullable, uses=uses)
    return fit(grid)


def _check_column(column: Column, points: Fraction) -> None:
    if points < 0 or points.denominator != 1 or points > MAX_COLUMN_POINTS:
        raise PlanError(
            "card.grid",
            f"the bounds and step declared for {column.name!r} do not form a grid of at most 2^53 points",
            next_step="the provider must declare low <= high and a step that divides high - low",
        )
