"""Reference interpreter of scalars: the value of an expression on one row, in exact fractions, dates and texts."""

from __future__ import annotations

import datetime
import math
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

from cloister.plan import algebra as a
from cloister.plan.curves import CURVE_STEP, curve_index
from cloister.plan.grid import Grid
from cloister.plan.rules import children
from cloister.vault.interpret_values import Value, date_value, number, quotient, text_value, whole

__all__ = ["Value", "evaluate", "index_of", "natural", "number", "whole"]

_EPOCH = datetime.date(1970, 1, 1)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip


def natural(index: int | bool | str | None, grid: Grid) -> Value:
    """Return the natural value of a stored integer (or free text)."""
    if index is None or isinstance(index, str):
        return index
    if grid.kind == "bool":
        return bool(index)
    if grid.kind == "category":
        return grid.domain[index]
    return _EPOCH + datetime.timedelta(days=index) if grid.kind == "date" else index * grid.step


def index_of(value: Value, grid: Grid) -> int | str | None:
    """Return the grid integer of a natural value (True counts 1 on a grid of numbers; free text stays as it is)."""
    if value is None:
        return None
    if isinstance(value, str):
        return value if grid.kind == "text" else grid.domain.index(value)
    if isinstance(value, datetime.date):
        return (value - _EPOCH).days
    return int(value) if grid.kind == "bool" else whole(number(value) / grid.step)


def evaluate(node: a.Scalar, values: Mapping[str, Value]) -> Value:
    """Return the value of a scalar on one row."""
    match node:
        case a.Col():
            return values[node.name]
        case a.Number():
            return Fraction(node.value)
        case a.Text() | a.Boolean():
            return node.value
        case a.Date():
            return datetime.date.fromisoformat(node.value)
        case a.And():
            return all(evaluate(term, values) is True for term in node.terms)
        case a.Or():
            return any(evaluate(term, values) is True for term in node.terms)
        case a.Not():
            return evaluate(node.term, values) is not True
        case a.IsNull():
            return evaluate(node.term, values) is None
        case a.Fill():
            value = evaluate(node.term, values)
            return evaluate(node.value, values) if value is None else value
        case a.Case():
            return evaluate(node.then if evaluate(node.when, values) is True else node.otherwise, values)
        case a.IsIn():
            value = evaluate(node.term, values)
            return value is not None and any(value == evaluate(other, values) for other in node.values)
        case a.Compare():
            left, right = evaluate(node.left, values), evaluate(node.right, values)
            if left is None or right is None:
                return node.kind == "ne"
            return _COMPARE[node.kind](left, right)
        case a.Only():
            return evaluate(node.term, values) if evaluate(node.when, values) is True else None
        case a.Letters() | a.Length() | a.Matches() | a.Slice() | a.Replace() | a.Concat() | a.Recode() | a.Parse():
            return text_value(node, [evaluate(term, values) for term in children(node)])
        case _:
            return _arithmetic(node, values)


def _arithmetic(node: a.Scalar, values: Mapping[str, Value]) -> Value:
    if isinstance(node, a.Arithmetic):
        left, right = evaluate(node.left, values), evaluate(node.right, values)
        if left is None or right is None:
            return None
        if isinstance(left, datetime.date) and isinstance(right, datetime.date):
            return Fraction((left - right).days)
        if isinstance(left, datetime.date):
            return left + datetime.timedelta(whole(number(right))) * (1 if node.kind == "add" else -1)
        if isinstance(right, datetime.date):
            return right + datetime.timedelta(whole(number(left)))
        x, y = number(left), number(right)
        return {"add": x + y, "sub": x - y, "mul": x * y}[node.kind]
    if isinstance(node, a.Quotient):
        return quotient(node, evaluate(node.left, values), evaluate(node.right, values))
    value = evaluate(node.term, values)  # type: ignore[union-attr]
    if value is None:
        return None
    match node:
        case a.Modulo():
            return number(value) % Fraction(node.divisor)
        case a.Round():
            kinds: dict[str, Callable[[Fraction], int]] = {"floor": math.floor, "ceil": math.ceil, "even": round}
            return kinds[node.kind](number(value) / Fraction(node.step)) * Fraction(node.step)
        case a.Curve():
            index = curve_index(node.kind, number(value))
            return None if index is None else index * CURVE_STEP
        case a.DatePart() | a.DateFloor() | a.DateShift() if isinstance(value, datetime.date):
            return date_value(node, value)
        case a.Scale():
            return number(value) * Fraction(node.factor)
        case a.Negate():
            return -number(value)
        case a.Abs():
            return abs(number(value))
        case a.Clip():
            low, high = _literal(node.low, value), _literal(node.high, value)
            clipped: Value = low if value < low else high if value > high else _plain(value)
            return clipped
        case a.Cut():
            edges = [_literal(edge, value) for edge in node.edges]
            for position, (low, high) in enumerate(pairwise(edges)):
                if low <= _plain(value) < high:
                    return f"[{node.edges[position]}, {node.edges[position + 1]})"
    return None


def _literal(text: str, like: Value) -> Any:
    return datetime.date.fromisoformat(text) if isinstance(like, datetime.date) else Fraction(text)


def _plain(value: Any) -> Any:
    return value if isinstance(value, datetime.date) else Fraction(value)
