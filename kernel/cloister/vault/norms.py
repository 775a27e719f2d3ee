"""Norms: how far one unit can move a component, from how many rows it has and how far one row reaches.

A unit contributes at most r rows, at most k of them to one cell of the keys, and each row at most M, which gives

    L1 = r M,   L2 = M sqrt(q k^2 + (r - q k)^2) with q = floor(r / k),   Linf = min(r, k) M

for a component of one integer; a block of T integers (Gram) has L1 and L2 times T and sqrt(T).
"""

from __future__ import annotations

import msgspec

from cloister.plan.layout import Component


class Bound(msgspec.Struct, frozen=True):
    """Norms of the change one unit can make to a component (all cells), in grid integers; L2 is squared."""

    l1: int
    linf: int
    l2_squared: int


def bound(part: Component, rows: int, per_cell: int, mode: str = "add") -> Bound:
    """Return the norms of a component for units of at most ``rows`` rows, ``per_cell`` of them in one cell.

    Where rows are replaced, one vector takes the place of another: L1 doubles; so does L2, but for values of one sign
    the two vectors have no negative product, and L2 grows by sqrt(2) only; a single integer moves from one end of its
    range to the other.
    """
    full, rest = divmod(rows, per_cell)
    most = max(1, reach(part))
    square = part.width * most**2 * (full * per_cell**2 + rest**2)
    here = min(rows, per_cell)
    if mode == "add":
        return Bound(part.width * rows * most, here * most, square)
    span = max(1, max(part.hi, 0) - min(part.lo, 0))
    one_sign = part.lo >= 0 or part.hi <= 0
    return Bound(2 * part.width * rows * most, here * span, (2 if one_sign else 4) * square)


def reach(part: Component) -> int:
    """Return the largest integer one row adds to a component, in absolute value."""
    return max(abs(part.lo), abs(part.hi))
