"""Reference interpreter: what a plan means, in plain Python, one row at a time.

It follows the wording of ``plan/algebra.py`` with exact fractions, dates and texts instead of grid integers, shares no
code with the compiler, and must agree with the engine to the last integer. It is slow and used by tests only.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import combinations_with_replacement, pairwise, product
from typing import Any

import msgspec

from cloister.contract.card import Card
from cloister.plan import algebra as a
from cloister.plan.grid import Grid
from cloister.plan.layout import GRAM_SCALE, Component, layout
from cloister.plan.typing import Schema, chain, step, table_schema

Value = bool | Fraction | datetime.date | str | None
_EPOCH = datetime.date(1970, 1, 1)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip


class Row(msgspec.Struct, frozen=True):
    """A stored row: its unit, the two hashes, and natural values by column name."""

    unit: int
    uhash: int
    row: int
    values: dict[str, Value]


def natural(index: int | bool | None, grid: Grid) -> Value:
    """Return the natural value of a stored integer."""
    if index is None:
        return None
    if grid.kind == "bool":
        return bool(index)
    if grid.kind == "category":
        return grid.domain[index]
    return _EPOCH + datetime.timedelta(days=index) if grid.kind == "date" else index * grid.step


def index_of(value: Value, grid: Grid) -> int | None:
    """Return the grid integer of a natural value (True counts 1 on a grid of numbers)."""
    if value is None:
        return None
    if isinstance(value, str):
        return grid.domain.index(value)
    if isinstance(value, datetime.date):
        return (value - _EPOCH).days
    return int(value) if grid.kind == "bool" else _whole(_number(value) / grid.step)


def interpret(plan: a.Plan, cards: Mapping[str, Card], rows: Iterable[Row]) -> list[int]:
    """Return the exact integers of a release in layout order."""
    first, *rest = chain(plan.source)
    schema = table_schema(first, cards)
    kept = list(rows)
    for node in rest:
        kept = _relation(node, kept, schema)
        schema = step(node, schema)
    frame = layout(plan, cards)
    cells = {cell: index for index, cell in enumerate(product(*(range(len(key.labels)) for key in frame.keys)))}
    totals = [[0] * frame.width for _ in cells]
    for row in kept:
        codes = [index_of(row.values[key.name], key.grid) for key in frame.keys]
        if any(code is None for code in codes):
            continue
        cell = cells[tuple((code or 0) - key.grid.lo for code, key in zip(codes, frame.keys, strict=True))]
        added = [number for part in frame.components for number in contribution(part, row.values)]
        totals[cell] = [total + number for total, number in zip(totals[cell], added, strict=True)]
    return [number for total in totals for number in total]


def contribution(part: Component, values: Mapping[str, Value]) -> list[int]:
    """Return what one row adds to a component."""
    found = [evaluate(term, values) for term in part.terms]
    if any(value is None for value in found):
        return [0] * part.width
    if part.role == "count":
        return [1]
    numbers = [Fraction(_number(value)) for value in found]
    if part.role == "gram":
        scaled = [GRAM_SCALE, *(_scaled(x, grid) for x, grid in zip(numbers, part.grids, strict=True))]
        return [x * y for x, y in combinations_with_replacement(scaled, 2)]
    return [_whole((numbers[0] - part.offset) / part.step)]


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
        case _:
            return _arithmetic(node, values)


def _arithmetic(node: a.Scalar, values: Mapping[str, Value]) -> Value:
    if isinstance(node, a.Arithmetic):
        left, right = evaluate(node.left, values), evaluate(node.right, values)
        if left is None or right is None:
            return None
        if isinstance(left, datetime.date) and isinstance(right, datetime.date):
            return Fraction((left - right).days)
        x, y = _number(left), _number(right)
        return {"add": x + y, "sub": x - y, "mul": x * y}[node.kind]
    value = evaluate(node.term, values)  # type: ignore[union-attr]
    if value is None:
        return None
    match node:
        case a.Scale():
            return _number(value) * Fraction(node.factor)
        case a.Negate():
            return -_number(value)
        case a.Abs():
            return abs(_number(value))
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


def _relation(node: a.Relation, rows: Sequence[Row], schema: Schema) -> list[Row]:
    replace = msgspec.structs.replace
    match node:
        case a.Filter():
            return [row for row in rows if evaluate(node.where, row.values) is True]
        case a.Derive():
            return [
                replace(row, values={**row.values, **{name: _copy(term, row.values) for name, term in node.columns}})
                for row in rows
            ]
        case a.Select():
            return [replace(row, values={name: row.values.get(name) for name in node.columns}) for row in rows]
        case a.Cap():
            return _cap(node, rows, schema)
        case _:
            return list(rows)


def _cap(node: a.Cap, rows: Sequence[Row], schema: Schema) -> list[Row]:
    units: dict[int, dict[tuple[int | None, ...], list[Row]]] = {}
    for row in rows:
        group = tuple(index_of(row.values[name], schema.grid(name)) for name in node.by)
        units.setdefault(row.unit, {}).setdefault(group, []).append(row)
    kept = []
    for groups in units.values():
        order = sorted(groups, key=lambda group: (_group_hash(groups[group][0].uhash, group), _last(group)))
        for group in order[: node.groups]:
            ranked = sorted(groups[group], key=lambda row: (row.row, _last(_indices(row, schema))))
            kept.extend(ranked[: node.rows])
    return kept


def _group_hash(uhash: int, group: tuple[int | None, ...]) -> str:
    pieces = ["cloister/groups/v1", str(uhash), *("-" if code is None else str(code) for code in group)]
    return hashlib.sha256("|".join(pieces).encode()).hexdigest()


def _indices(row: Row, schema: Schema) -> list[int | None]:
    stored = [(name, grid) for name, grid in schema.columns.items() if grid.kind != "opaque"]
    return [index_of(row.values[name], grid) for name, grid in stored]


def _last(codes: Iterable[int | None]) -> list[tuple[bool, int]]:
    return [(code is None, code or 0) for code in codes]


def _copy(term: a.Scalar, values: Mapping[str, Value]) -> Value:
    return values.get(term.name) if isinstance(term, a.Col) else evaluate(term, values)


def _whole(value: Fraction) -> int:
    if value.denominator != 1:
        raise ArithmeticError("a value is not on its grid")
    return value.numerator


def _literal(text: str, like: Value) -> Any:
    return datetime.date.fromisoformat(text) if isinstance(like, datetime.date) else Fraction(text)


def _plain(value: Any) -> Any:
    return value if isinstance(value, datetime.date) else Fraction(value)


def _number(value: Any) -> Fraction:
    return Fraction(int(value)) if isinstance(value, bool) else value


def _scaled(value: Fraction, grid: Grid) -> int:
    half = (grid.hi - grid.lo) * grid.step / 2
    if half == 0:
        return 0
    middle = (grid.lo + grid.hi) * grid.step / 2
    return math.floor(GRAM_SCALE * (value - middle) / half + Fraction(1, 2))
