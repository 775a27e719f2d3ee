"""Typing rules of texts: closed in, closed out; free text stays free until ``Recode`` or another kind closes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from cloister.contract.card import OTHER
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import BOOL, MAX_TEXT, Grid, fit
from cloister.plan.kinds import mismatch
from cloister.plan.numbers import rational
from cloister.plan.rules_numbers import limits, positive
from cloister.plan.texts import TextNode, results

MAX_LABELS = 1000
MAX_TERMS = 64


def rule(node: TextNode, parts: Sequence[Grid]) -> Grid:
    """Return the grid of a text scalar.

    Raises:
        PlanError: A term is no text, or a public argument is beyond its limits.
    """
    for part in parts:
        if part.kind not in ("category", "text"):
            raise mismatch(f"`{type(node).__name__.lower()}`", "a text", part)
    _check(node)
    nullable = any(part.nullable for part in parts)
    if isinstance(node, a.Matches):
        return BOOL
    if isinstance(node, a.Recode):
        return Grid("category", 0, len(node.labels), nullable=nullable, domain=(*node.labels, OTHER))
    if all(part.kind == "category" for part in parts):
        return _closed(node, parts, nullable)
    longest = [length(part) for part in parts]
    if isinstance(node, a.Length):
        return Grid("number", 0, longest[0], nullable=nullable)
    if isinstance(node, a.Parse):
        step = positive(node.step, "the step")
        return Grid("number", *limits(node.low, node.high, step), step, True)
    return Grid("text", 0, min(_longest(node, longest), MAX_TEXT), nullable=nullable)


def length(grid: Grid) -> int:
    """Return the most code points a text of this grid has."""
    return grid.hi if grid.kind == "text" else max(len(label[:MAX_TEXT]) for label in grid.domain)


def micro(node: a.Parse) -> tuple[Fraction, int, int]:
    """Return the step of a parsed number in millionths, and limits in millionths that enclose its own."""
    step = rational(node.step) * 10**6
    return step, math.floor(rational(node.low) * 10**6), math.ceil(rational(node.high) * 10**6)


def _closed(node: TextNode, parts: Sequence[Grid], nullable: bool) -> Grid:
    if math.prod(len(part.domain) for part in parts) > MAX_LABELS and len(parts) > 1:
        raise PlanError(
            "plan.labels",
            f"texts put together have more than {MAX_LABELS} public values",
            next_step="recode the terms to fewer values first",
            nearest=("recode(term, labels)",),
        )
    found = results(node, [part.domain for part in parts])
    if isinstance(node, a.Length | a.Parse):
        numbers = [int(value) for value in found if value is not None]
        step = rational(node.step) if isinstance(node, a.Parse) else Fraction(1)
        return Grid(
            "number",
            min(numbers, default=0),
            max(numbers, default=0),
            step,
            nullable or len(numbers) < len(found),
        )
    domain = tuple(dict.fromkeys(str(value) for value in found))
    return Grid("category", 0, len(domain) - 1, nullable=nullable, domain=domain)


def _longest(node: TextNode, longest: Sequence[int]) -> int:
    most = sum(longest)
    if isinstance(node, a.Slice):
        return max(0, min(most, node.stop) - node.start)
    if isinstance(node, a.Replace) and len(node.new) > len(node.old):
        times, rest = divmod(most, len(node.old))
        return times * len(node.new) + rest
    return most


def _check(node: TextNode) -> None:
    texts: tuple[str, ...] = ()
    match node:
        case a.Matches():
            texts = (node.text,)
        case a.Replace():
            texts = (node.old, node.new)
            if not node.old:
                raise PlanError("plan.text", "the text to be replaced is empty", next_step="name a text to replace")
        case a.Slice():
            if not 0 <= node.start <= node.stop:
                raise PlanError("plan.text", "a slice needs 0 <= start <= stop", next_step="count from 0, upwards")
        case a.Concat():
            if not 1 <= len(node.terms) <= MAX_TERMS:
                raise PlanError("plan.text", f"1 to {MAX_TERMS} texts can be put together", next_step="use fewer")
        case a.Recode():
            texts = node.labels
            if not 1 <= len(texts) <= MAX_LABELS or len(set(texts)) < len(texts) or OTHER in texts:
                raise PlanError(
                    "plan.labels",
                    f"a recoding has 1 to {MAX_LABELS} distinct labels, and {OTHER} is always the last",
                    next_step=f"list each label once, without {OTHER}",
                )
        case a.Parse():
            step, low, high = micro(node)
            limits(node.low, node.high, positive(node.step, "the step"))
            # The engine divides a number that is not negative: millionths above the lower limit.
            reach = (high - low) * step.denominator + step.numerator
            fit(Grid("number", low * step.denominator, max(high * step.denominator, reach), step))
    if any(len(text) > MAX_TEXT for text in texts):
        raise PlanError("plan.text", f"a text has at most {MAX_TEXT} characters", next_step="use a shorter text")
