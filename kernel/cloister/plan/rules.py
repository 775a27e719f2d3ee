"""Typing rules of scalars: the grid of an expression from the grids of its parts.

One function, ``combine``, serves type inference, the analysis of norms and the compiler to SQL, so that the range a
claim rests on is the range the engine computes on. Arithmetic on ranges is exact.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TypeAlias

import msgspec

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan import rules_dates as dates
from cloister.plan import rules_numbers as numbers
from cloister.plan import rules_text as texts
from cloister.plan.grid import BOOL, Grid, Uses, fit, merged_domain, on_step, shared_step
from cloister.plan.kinds import as_number, mismatch
from cloister.plan.numbers import common_step, days, rational

MAX_IS_IN = 1000
MAX_EDGES = 1001
number = as_number
LITERALS = (a.Number, a.Text, a.Boolean, a.Date)
LiteralNode: TypeAlias = a.Number | a.Text | a.Boolean | a.Date


def children(node: a.Scalar) -> tuple[a.Scalar, ...]:
    """Return the direct sub-expressions of ``node``, in a fixed order."""
    match node:
        case a.Arithmetic() | a.Compare() | a.Quotient():
            return (node.left, node.right)
        case a.And() | a.Or() | a.Concat():
            return node.terms
        case a.Fill():
            return (node.term, node.value)
        case a.Case():
            return (node.when, node.then, node.otherwise)
        case a.IsIn():
            return (node.term, *node.values)
        case a.Only():
            return (node.term, node.when)
        case a.Col() | a.Number() | a.Text() | a.Boolean() | a.Date():
            return ()
        case _:
            return (node.term,)


def literal(node: LiteralNode) -> Grid:
    """Return the one-point grid of a literal; the step of a number is its own magnitude."""
    match node:
        case a.Number():
            value = rational(node.value)
            sign = (value > 0) - (value < 0)
            return fit(Grid("number", sign, sign, abs(value) or Fraction(1)))
        case a.Text():
            return Grid("category", domain=(node.value,))
        case a.Boolean():
            return Grid("bool", int(node.value), int(node.value))
        case a.Date():
            day = days(node.value)
            return Grid("date", day, day)


def combine(node: a.Scalar, parts: tuple[Grid, ...]) -> Grid:
    """Return the grid of ``node``, given the grids of ``children(node)``.

    Raises:
        PlanError: The kinds do not fit, or a range cannot be kept in exact 64-bit arithmetic.
    """
    uses: Uses = frozenset().union(*(part.uses for part in parts))
    return msgspec.structs.replace(_rule(node, parts), uses=uses)


def bounds(node: a.Clip, kind: str) -> tuple[Fraction, Fraction]:
    """Return the public limits of a clip (days since 1970-01-01 for dates)."""
    if kind == "date":
        return Fraction(days(node.low)), Fraction(days(node.high))
    return rational(node.low), rational(node.high)


def edge_values(node: a.Cut, kind: str) -> tuple[Fraction, ...]:
    """Return the edges of a cut as exact numbers (days since 1970-01-01 for dates)."""
    return tuple(Fraction(days(edge)) if kind == "date" else rational(edge) for edge in node.edges)


def cut_labels(node: a.Cut) -> tuple[str, ...]:
    """Return the names of the bins, written as ``pandas.cut(..., right=False)`` writes them."""
    return tuple(f"[{low}, {high})" for low, high in pairwise(node.edges))


def _rule(node: a.Scalar, parts: tuple[Grid, ...]) -> Grid:
    match node:
        case a.Number() | a.Text() | a.Boolean() | a.Date():
            return literal(node)
        case a.Arithmetic():
            return _arithmetic(node, *parts)
        case a.Scale() | a.Negate() | a.Abs():
            return _unary(node, parts[0])
        case a.Compare():
            comparable(parts[0], parts[1], ordered=node.kind not in ("eq", "ne"))
            if not isinstance(node.left, a.Number) and not isinstance(node.right, a.Number):
                # A literal is compared exactly wherever it lies; two terms are compared on their common grid.
                union("a comparison", parts[0], parts[1])
            return BOOL
        case a.And() | a.Or() | a.Not():
            for part in parts:
                if part.kind != "bool":
                    raise mismatch(f"`{node.__class__.__name__.lower()}`", "a condition", part)
            return BOOL
        case a.IsNull():
            _refuse_opaque(parts[0])
            return BOOL
        case a.Fill():
            _need_literals("fill", (node.value,))
            return msgspec.structs.replace(union("fill", parts[0], parts[1]), nullable=False)
        case a.Case():
            if parts[0].kind != "bool":
                raise mismatch("`case`", "a condition", parts[0])
            joined = union("case", parts[1], parts[2])
            return msgspec.structs.replace(joined, nullable=parts[1].nullable or parts[2].nullable)
        case a.IsIn():
            _need_literals("is_in", node.values)
            for part in parts[1:]:
                comparable(parts[0], part, ordered=False)
            return BOOL
        case a.Clip():
            return _clip(node, parts[0])
        case a.Cut():
            return _cut(node, parts[0])
        case a.Only():
            _refuse_opaque(parts[0])
            if parts[1].kind != "bool":
                raise mismatch("`only`", "a condition", parts[1])
            return msgspec.structs.replace(parts[0], nullable=True)
        case a.Modulo() | a.Round() | a.Quotient() | a.Curve():
            return _numeric(node, parts)
        case a.DatePart():
            return dates.date_part(node, parts[0])
        case a.DateFloor():
            return dates.date_floor(node, parts[0])
        case a.DateShift():
            return dates.date_shift(node, parts[0])
        case a.Letters() | a.Length() | a.Matches() | a.Slice() | a.Replace() | a.Concat() | a.Recode() | a.Parse():
            return texts.rule(node, parts)
        case _:
            raise PlanError("plan.node", "a column reference is resolved against its relation")


def _numeric(node: a.Modulo | a.Round | a.Quotient | a.Curve, parts: tuple[Grid, ...]) -> Grid:
    match node:
        case a.Modulo():
            return numbers.modulo(node, parts[0])
        case a.Round():
            return numbers.rounded(node, parts[0])
        case a.Quotient():
            return numbers.quotient(node, *parts)
        case a.Curve():
            return numbers.curve(node, parts[0])


def _arithmetic(node: a.Arithmetic, left: Grid, right: Grid) -> Grid:
    nullable = left.nullable or right.nullable
    if left.kind == right.kind == "date" and node.kind == "sub":
        return fit(Grid("number", left.lo - right.hi, left.hi - right.lo, nullable=nullable))
    if left.kind == "date" or right.kind == "date":
        return dates.shifted(node.kind, left, right)
    left, right = number(left, f"`{node.kind}`"), number(right, f"`{node.kind}`")
    if node.kind == "mul":
        corners = sorted(x * y for x in (left.lo, left.hi) for y in (right.lo, right.hi))
        low, high = corners[0], corners[-1]
        if node.left == node.right:
            # A square is never negative; without this, x * x would be centred in the wrong place.
            low = 0 if left.lo <= 0 <= left.hi else min(left.lo**2, left.hi**2)
        return fit(Grid("number", low, high, left.step * right.step, nullable))
    step = shared_step(left, right)
    left, right = on_step(left, step), on_step(right, step)
    if node.kind == "add":
        return fit(Grid("number", left.lo + right.lo, left.hi + right.hi, step, nullable))
    return fit(Grid("number", left.lo - right.hi, left.hi - right.lo, step, nullable))


def _unary(node: a.Scale | a.Negate | a.Abs, term: Grid) -> Grid:
    term = number(term, f"`{node.__class__.__name__.lower()}`")
    low, high, step = term.lo, term.hi, term.step
    if isinstance(node, a.Abs):
        low = 0 if low <= 0 <= high else min(abs(low), abs(high))
        high = max(abs(term.lo), abs(term.hi))
        return Grid("number", low, high, step, term.nullable)
    factor = rational(node.factor) if isinstance(node, a.Scale) else Fraction(-1)
    if factor == 0:
        raise PlanError("plan.scale", "a term cannot be scaled by zero", next_step="leave the term out")
    if factor < 0:
        low, high = -high, -low
    return fit(Grid("number", low, high, step * abs(factor), term.nullable))


def _clip(node: a.Clip, term: Grid) -> Grid:
    if term.kind != "date":
        term = number(term, "`clip`")
    low, high = bounds(node, term.kind)
    if low > high:
        raise PlanError("plan.clip", "the lower limit of a clip is above its upper limit", next_step="swap the limits")
    step = term.step
    if term.kind == "number":
        for limit in (low, high):
            if limit:
                step = common_step(step, abs(limit))
        term = on_step(term, step)
    first, last = int(low / step), int(high / step)
    return msgspec.structs.replace(
        fit(term), lo=min(max(term.lo, first), last), hi=min(max(term.hi, first), last), step=step
    )


def _cut(node: a.Cut, term: Grid) -> Grid:
    if term.kind != "date":
        term = number(term, "`cut`")
    edges = edge_values(node, term.kind)
    if not 2 <= len(edges) <= MAX_EDGES or any(low >= high for low, high in pairwise(edges)):
        raise PlanError("plan.cut", "a cut needs 2 to 1,001 ascending edges", next_step="sort the edges, drop repeats")
    labels = cut_labels(node)
    covered = edges[0] <= term.lo * term.step and term.hi * term.step < edges[-1]
    return Grid("category", 0, len(labels) - 1, nullable=term.nullable or not covered, domain=labels)


def union(what: str, left: Grid, right: Grid) -> Grid:
    """Return the smallest grid that holds the values of both; nullability is the caller's."""
    if left.kind == right.kind == "category":
        domain = merged_domain(left, right)
        return Grid("category", 0, len(domain) - 1, domain=domain)
    if {left.kind, right.kind} in ({"text"}, {"text", "category"}):
        return Grid("text", 0, max(texts.length(left), texts.length(right)))
    if left.kind == right.kind and left.kind in ("bool", "date"):
        return Grid(left.kind, min(left.lo, right.lo), max(left.hi, right.hi))
    if left.kind in ("opaque", "date") or right.kind in ("opaque", "date", "category"):
        raise mismatch(f"`{what}`", f"a {left.kind} in both branches", right if left.kind != "opaque" else left)
    left, right = number(left, f"`{what}`"), number(right, f"`{what}`")
    step = shared_step(left, right)
    left, right = on_step(left, step), on_step(right, step)
    return Grid("number", min(left.lo, right.lo), max(left.hi, right.hi), step)


def comparable(left: Grid, right: Grid, *, ordered: bool) -> None:
    """Refuse kinds of values that cannot be compared."""
    _refuse_opaque(left)
    _refuse_opaque(right)
    pairs = (("number", "bool"), ("category", "text"))
    if left.kind != right.kind and not any(left.kind in pair and right.kind in pair for pair in pairs):
        raise mismatch("a comparison", f"a {left.kind} on both sides", right)
    if left.kind in ("category", "text") and ordered:
        raise PlanError(
            "plan.types",
            "categories and texts have no order",
            next_step="compare with == or !=, or list the values",
            nearest=("column.isin([...])",),
        )


def _refuse_opaque(grid: Grid) -> None:
    if grid.kind == "opaque":
        raise mismatch("an expression", "a typed value", grid)


def _need_literals(what: str, values: tuple[a.Scalar, ...]) -> None:
    if len(values) > MAX_IS_IN:
        raise PlanError("plan.is_in", "at most 1,000 values can be listed", next_step="list fewer values")
    if not all(isinstance(value, LITERALS) for value in values):
        raise PlanError(
            "plan.literal", f"`{what}` takes literals only", next_step="use `case` to choose between columns"
        )
