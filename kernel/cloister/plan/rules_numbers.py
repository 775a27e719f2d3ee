"""Typing rules of numbers beyond sums and products: remainders, rounding, quotients and curves."""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.curves import CURVE_STEP, MAX_EXPONENT, MAX_ROOT, curve_index
from cloister.plan.grid import Grid, fit, on_step
from cloister.plan.kinds import as_number
from cloister.plan.numbers import common_step, rational


class Division(msgspec.Struct, frozen=True):
    """A quotient on integers: ``floor(i * up / (j * down))``, limited to ``first..last``."""

    up: int
    down: int
    first: int
    last: int


def positive(text: str, what: str) -> Fraction:
    """Return a public number above zero, or refuse."""
    value = rational(text)
    if value <= 0:
        raise PlanError("plan.step", f"{what} must be above zero", next_step=f"write {what} as a number above zero")
    return value


def steps(text: str, step: Fraction) -> int:
    """Return a public limit in units of ``step``, of which it must be a multiple."""
    index = rational(text) / step
    if index.denominator != 1:
        raise PlanError(
            "plan.step", f"the limit {text[:60]} is no multiple of the step", next_step="choose limits on the step"
        )
    return index.numerator


def limits(low: str, high: str, step: Fraction) -> tuple[int, int]:
    """Return both public limits in units of ``step``."""
    first, last = steps(low, step), steps(high, step)
    if first > last:
        raise PlanError("plan.clip", "the lower limit is above the upper limit", next_step="swap the limits")
    fit(Grid("number", first, last, step))
    return first, last


def spread(term: Grid, step: Fraction) -> tuple[Grid, int]:
    """Return the term on a grid that has multiples of ``step`` as points, and ``step`` in units of that grid."""
    common = step if term.zero else common_step(term.step, step)
    width = int(step / common)
    fit(Grid("number", 0, 2 * width))
    return on_step(term, common), width


def base_of(term: Grid, width: int) -> int:
    """Return a multiple of ``2 * width`` that no integer of the term is below (0 if none is negative)."""
    return min(0, term.lo // (2 * width)) * 2 * width


def modulo(node: a.Modulo, term: Grid) -> Grid:
    """Return the grid of a remainder."""
    term, width = spread(as_number(term, "`modulo`"), positive(node.divisor, "the divisor"))
    low, high = 0, width - 1
    if term.lo // width == term.hi // width:
        low, high = term.lo % width, term.hi % width
    return fit(Grid("number", low, high, term.step, term.nullable))


def rounded(node: a.Round, term: Grid) -> Grid:
    """Return the grid of a rounded number."""
    step = positive(node.step, "the step")
    term, width = spread(as_number(term, "`round`"), step)
    # The engine rounds a number that is not negative: the term less a multiple of the step.
    fit(Grid("number", 0, term.hi - base_of(term, width) + width))
    low, high = (round_index(node.kind, end, width) for end in (term.lo, term.hi))
    return fit(Grid("number", low, high, step, term.nullable))


def round_index(kind: str, index: int, width: int) -> int:
    """Return ``index / width`` as a whole number, rounded as ``kind`` says."""
    if kind == "even":
        return round(Fraction(index, width))
    return index // width if kind == "floor" else -(-index // width)


def division(node: a.Quotient, left: Grid, right: Grid) -> Division:
    """Return how a quotient is computed on the integers of its terms.

    Raises:
        PlanError: Limits off the step, or terms that do not fit in 64 bits when brought to one step.
    """
    step = positive(node.step, "the step")
    first, last = limits(node.low, node.high, step)
    ratio = left.step / (right.step * step)
    up, down = ratio.numerator, ratio.denominator
    fit(Grid("number", left.lo * up, left.hi * up))
    fit(Grid("number", right.lo * down, right.hi * down))
    return Division(up, down, first, last)


def quotient(node: a.Quotient, left: Grid, right: Grid) -> Grid:
    """Return the grid of a quotient."""
    left, right = as_number(left, "`quotient`"), as_number(right, "`quotient`")
    way = division(node, left, right)
    low, high = way.first, way.last
    zero = right.lo <= 0 <= right.hi
    if not zero:
        corners = [i * way.up // (j * way.down) for i in (left.lo, left.hi) for j in (right.lo, right.hi)]
        low, high = (min(max(end, way.first), way.last) for end in (min(corners), max(corners)))
    return Grid("number", low, high, rational(node.step), left.nullable or right.nullable or zero)


def curve(node: a.Curve, term: Grid) -> Grid:
    """Return the grid of a curve; all three grow with their term, so the ends of its range are enough."""
    term = as_number(term, f"`{node.kind}`")
    low, high = term.lo * term.step, term.hi * term.step
    if (node.kind == "exp" and high > MAX_EXPONENT) or (node.kind == "sqrt" and high > MAX_ROOT):
        most = MAX_EXPONENT if node.kind == "exp" else MAX_ROOT
        raise PlanError(
            "plan.range",
            f"`{node.kind}` is exact to its grid up to {most} only",
            next_step="clip the term first",
            nearest=(f"term.clip(low, {most})",),
        )
    if node.kind == "log1p":
        low_, high_ = (end * term.step.numerator + term.step.denominator for end in (term.lo, term.hi))
        fit(Grid("number", low_, high_))
    first, last = curve_index(node.kind, low), curve_index(node.kind, high)
    outside = first is None
    if first is None:
        smallest = first_inside(node.kind, term.step)
        first = curve_index(node.kind, smallest * term.step) if smallest <= term.hi else 0
    return fit(Grid("number", first or 0, last or 0, CURVE_STEP, term.nullable or outside))


def first_inside(kind: str, step: Fraction) -> int:
    """Return the smallest integer of a grid of ``step`` at which a curve has a value."""
    return math.floor(-1 / step) + 1 if kind == "log1p" else 0
