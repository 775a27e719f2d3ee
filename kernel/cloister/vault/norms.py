"""Norms: how far one unit can move a component, from how its rows change and how far one row reaches.

With ``add`` a unit's rows only appear (or only vanish): at most r of them, at most k in one cell of the keys, in at
most g cells, each moving an integer by at most M. Only min(r, gk) rows count, which gives

    L1 = r M,   L2 = M sqrt(q k^2 + (r - q k)^2) with q = floor(r / k),   Linf = min(r, k) M

for a component of one integer; in a block (Gram, quantiles) the reaches add up in L1, and their squares in L2; a step
of a learner has an L2 norm of its own (``plan/learning/queries.py``), given whatever earlier steps answered. With
``replace`` up to r rows vanish and up to r others appear. If before and after are vectors a and b, then L1 <= 2 r M; a
row adds between lo- = min(lo, 0) and hi+ = max(hi, 0), so one integer moves by at most min(r, k) (hi+ - lo-); and
|a - b|^2 <= |a|^2 + |b|^2 if both have the same sign everywhere (lo >= 0 or hi <= 0), else at most 2 |a|^2 + 2 |b|^2.

Distinct units: a unit adds 1 to each of at most g cells, g = min(r, cells, caps of groups).

A quantile is not a sum, but its score moves like one: a row moves the score of every candidate in its cell by at most
max(q, 1 - q), in units of the common denominator, so n rows move it by at most D = n max(q, 1 - q) up or down. A noisy
maximum with Gumbel noise of scale b on such scores costs rho = D^2 / (2 b^2) (bounded range: epsilon = 2 D / b and
rho = epsilon^2 / 8; Cesar and Rogers 2021, Durfee and Rogers 2019), just as a discrete Gaussian of scale b: over cells
and levels the D^2 add up to L2^2.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from cloister.plan.layout import Component

Mode = Literal["add", "replace"]


class Bound(msgspec.Struct, frozen=True):
    """Norms of the change one unit can make to a component (all cells), in grid integers; L2 is squared."""

    l1: int
    linf: int
    l2_squared: int


def bound(
    part: Component,
    rows: int,
    per_cell: int,
    mode: Mode = "add",
    *,
    cells: int | None = None,
    groups: int | None = None,
) -> Bound:
    """Return the norms of a component.

    Args:
        part: The component.
        rows: The most rows of one unit that appear or vanish.
        per_cell: The most of them in one cell.
        mode: How the unit's rows change.
        cells: How many cells there are.
        groups: The most cells that hold rows of one unit, if a cap says so.
    """
    most = min(number for number in (rows, cells, groups) if number is not None)
    if part.role == "units":
        changed = most if mode == "add" else min(2 * most, cells or 2 * most)
        return Bound(changed, 1, changed)
    rows = min(rows, most * per_cell)
    full, rest = divmod(rows, per_cell)
    total, square = _reaches(part)
    added = Bound(rows * total, min(rows, per_cell) * max(1, reach(part)), square * (full * per_cell**2 + rest**2))
    return added if mode == "add" else _replaced(part, added, rows, per_cell, cells)


def _replaced(part: Component, added: Bound, rows: int, per_cell: int, cells: int | None) -> Bound:
    spread = max(1, max(part.hi, 0) - min(part.lo, 0))
    one_sign = part.width == 1 and (part.lo >= 0 or part.hi <= 0)
    most = min(rows, per_cell) * spread
    l1, l2_squared = 2 * added.l1, (2 if one_sign else 4) * added.l2_squared
    if cells == 1 and part.width == 1:
        l1, l2_squared = min(l1, most), min(l2_squared, most**2)
    return Bound(l1, most, l2_squared)


def _reaches(part: Component) -> tuple[int, int]:
    """Return the sum of the reaches of a block's integers, and the sum of their squares."""
    if part.role == "step":
        # By Cauchy and Schwarz: L1 <= sqrt(width) L2, rounded up.
        return math.isqrt(part.width * part.squared) + 1, part.squared
    if part.role == "quantile":
        each = [max(place, part.parts - place) for place in part.at]
        return sum(each), sum(number**2 for number in each)
    most = max(1, reach(part))
    return part.width * most, part.width * most**2


def reach(part: Component) -> int:
    """Return the largest integer one row adds to a component, in absolute value."""
    return max(abs(part.lo), abs(part.hi))
