"""Reference interpreter: what a plan means, in plain Python, one row at a time.

It follows the wording of ``plan/algebra.py`` with exact fractions, dates and texts instead of grid integers, shares no
code with the compiler, and must agree with the engine to the last integer. It is slow and used by tests only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import msgspec

from cloister.contract.card import Card
from cloister.plan import algebra as a
from cloister.plan.layout import layout
from cloister.plan.typing import Schema, chain, step, table_schema
from cloister.vault.interpret_measures import contribution
from cloister.vault.interpret_scalars import Value, evaluate, index_of


class Row(msgspec.Struct, frozen=True):
    """A stored row: its unit, the two hashes, and natural values by column name."""

    unit: int
    uhash: int
    row: int
    values: dict[str, Value]


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
