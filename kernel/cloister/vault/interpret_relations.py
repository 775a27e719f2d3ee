"""Reference interpreter of relations: the rows of each relation from those of its sources, one unit at a time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import msgspec

from cloister.plan import algebra as a
from cloister.plan.typing import Schema, Typed, scalar
from cloister.vault.interpret_scalars import Value, evaluate, index_of, number

_replace = msgspec.structs.replace


class Row(msgspec.Struct, frozen=True):
    """A row: its unit, what orders it (hashes; keys after PerUnit), values by column name, ``flags`` by table."""

    unit: int
    order: tuple[int | None, ...]
    values: dict[str, Value]
    flags: dict[str, int] = {}


def apply(relation: Typed, parts: Sequence[list[Row]], tables: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Return the rows of a relation that is no table."""
    node, rows = relation.node, parts[0]
    before = relation.sources[0].schema
    match node:
        case a.Filter():
            return [row for row in rows if evaluate(node.where, row.values) is True]
        case a.Derive():
            return [_with(row, {name: _copy(term, row.values) for name, term in node.columns}) for row in rows]
        case a.Select():
            return [_replace(row, values={name: row.values.get(name) for name in node.columns}) for row in rows]
        case a.Cap():
            return [row for unit in _units(rows) for row in _capped(node, unit, before)]
        case a.Align():
            return _align(node, rows, parts[1], relation.sources[1].schema)
        case a.Lookup():
            return _lookup(node, rows, tables)
        case a.PerUnit():
            return [made for unit in _units(rows) for made in _per_unit(node, unit, before)]
        case a.Window():
            return [made for unit in _units(rows) for made in _window(node, unit, before)]
        case a.Stack():
            return _stack(node, parts)
        case a.Split():
            return [row for row in rows if _drawn(node, row.unit) in node.take]
        case _:
            raise LookupError("no such relation")


def _units(rows: Iterable[Row]) -> list[list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row.unit, []).append(row)
    return list(found.values())


def _with(row: Row, values: Mapping[str, Value]) -> Row:
    return _replace(row, values={**row.values, **values})


def _grouped(rows: Iterable[Row], by: Sequence[str], schema: Schema) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        code = tuple(index_of(row.values[name], schema.grid(name)) for name in by)
        found.setdefault(code, []).append(row)
    return found


def _capped(node: a.Cap, unit: list[Row], schema: Schema) -> list[Row]:
    groups = _grouped(unit, node.by, schema)
    order = sorted(groups, key=lambda group: (_group_hash(unit[0].unit, group), _last(group)))
    return [
        row
        for group in order[: node.groups]
        for row in sorted(groups[group], key=lambda row: _total(row, schema))[: node.rows]
    ]


def _group_hash(unit: int, group: tuple[Any, ...]) -> str:
    pieces = ["cloister/groups/v1", f"{unit:X}", *("-" if code is None else str(code) for code in group)]
    return hashlib.sha256("|".join(pieces).encode()).hexdigest()


def _drawn(node: a.Split, unit: int) -> int:
    text = "|".join(["cloister/split/v1", node.salt, f"{unit:X}"])
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16) % node.parts


def _total(row: Row, schema: Schema) -> list[tuple[bool, Any]]:
    """The total order of the rows of a unit: hashes, then all columns that storage holds, null last, then flags."""
    stored = [index_of(row.values[name], grid) for name, grid in schema.columns.items() if grid.kind != "opaque"]
    return _last([*row.order, *stored, *(row.flags.get(table, 0) for table in sorted(set(schema.tables)))])


def _last(codes: Iterable[Any]) -> list[tuple[bool, Any]]:
    return [(code is None, 0 if code is None else code) for code in codes]


def _align(node: a.Align, left: list[Row], right: list[Row], other: Schema) -> list[Row]:
    partners = {unit[0].unit: unit for unit in _units(right)}
    blank = Row(0, (None,) * len(right[0].order if right else ()), dict.fromkeys(other.columns))
    found = []
    for row in left:
        for partner in partners.get(row.unit, [blank] if node.how == "left" else []):
            taken = {new: partner.values.get(name) for name, new in node.columns}
            flags = dict(row.flags)
            for table, bits in partner.flags.items():
                flags[table] = flags.get(table, 0) | bits
            found.append(Row(row.unit, (*row.order, *partner.order), {**row.values, **taken}, flags))
    return found


def _lookup(node: a.Lookup, rows: list[Row], tables: Mapping[str, Sequence[Row]]) -> list[Row]:
    known = {}
    if isinstance(node.rows, a.Reference):
        for stored in tables[node.rows.table]:
            key = tuple(_plain(stored.values[name]) for name in node.rows.keys)
            known[key] = [stored.values[name] for name in node.rows.columns]
    else:
        for literals in node.rows.rows:
            values = [evaluate(value, {}) for value in literals]
            known[tuple(map(_plain, values[: len(node.keys)]))] = values[len(node.keys) :]
    found = []
    for row in rows:
        key = tuple(_plain(row.values[name]) for name in node.keys)
        match = None if None in key else known.get(key)
        if match is not None or not node.inner:
            found.append(_with(row, dict(zip(node.columns, match or [None] * len(node.columns), strict=True))))
    return found


def _plain(value: Value) -> Any:
    """True and 1 are one key, as in the algebra."""
    return Fraction(int(value)) if isinstance(value, bool) else value


def _per_unit(node: a.PerUnit, unit: list[Row], schema: Schema) -> list[Row]:
    found = []
    for code, rows in _grouped(unit, node.by, schema).items():
        if None in code:
            continue
        values = {name: rows[0].values[name] for name in node.by}
        values |= {measure.name: _measure(measure, rows, schema) for measure in node.measures}
        flags: dict[str, int] = {}
        for row in rows:
            for table, bits in row.flags.items():
                flags[table] = flags.get(table, 0) | bits
        found.append(Row(unit[0].unit, tuple(int(key) for key in code), values, flags))
    return found


_UNIT: dict[str, Callable[[list[Any]], Any]] = {
    "sum": sum, "min": min, "max": max, "any": any, "all": all,
}  # fmt: skip


def _measure(measure: a.UnitMeasure, rows: list[Row], schema: Schema) -> Value:
    if measure.of is None:
        return Fraction(len(rows))
    found: list[Any] = [value for row in rows if (value := evaluate(measure.of, row.values)) is not None]
    if measure.kind == "count":
        return Fraction(len(found))
    if measure.kind == "distinct":
        return Fraction(len(set(found)))
    if not found:
        return None
    if measure.kind not in ("any", "all") and not hasattr(found[0], "year"):
        found = [number(value) for value in found]
    if measure.kind == "mean":
        step = scalar(measure.of, schema).step
        return Fraction(math.floor(sum(found) / len(found) / step)) * step
    return _UNIT[measure.kind](found)  # type: ignore[no-any-return]


def _window(node: a.Window, unit: list[Row], schema: Schema) -> list[Row]:
    found = []
    for rows in _grouped(unit, node.by, schema).values():
        ordered = sorted(rows, key=lambda row: _along(node, row, schema))
        running = {function.name: Fraction(0) for function in node.functions}
        for place, row in enumerate(ordered):
            values: dict[str, Value] = {}
            for function in node.functions:
                if isinstance(function, a.RowNumber):
                    values[function.name] = Fraction(place + 1)
                elif isinstance(function, a.Lag):
                    at = place - function.rows
                    values[function.name] = (
                        evaluate(function.of, ordered[at].values) if 0 <= at < len(ordered) else None
                    )
                else:
                    value = evaluate(function.of, row.values)
                    running[function.name] += 0 if value is None else number(value)
                    values[function.name] = running[function.name]
            found.append(_with(row, values))
    return found


def _along(node: a.Window, row: Row, schema: Schema) -> list[Any]:
    keys: list[Any] = []
    for name, direction in node.order:
        code = index_of(row.values[name], schema.grid(name))
        shown = 0 if code is None else code
        keys.append((code is None, _Down(shown) if direction == "desc" and code is not None else shown))
    return [*keys, *_total(row, schema)]


class _Down:
    """Reverses the order of a code (numbers and texts alike)."""

    def __init__(self, code: Any) -> None:
        self.code = code

    def __lt__(self, other: Any) -> bool:
        return bool(other.code < self.code)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Down) and other.code == self.code

    def __hash__(self) -> int:
        return hash(self.code)


def _stack(node: a.Stack, parts: Sequence[list[Row]]) -> list[Row]:
    most = max((len(row.order) for rows in parts for row in rows), default=0)
    found = []
    for place, rows in enumerate(parts):
        for row in rows:
            label = {} if node.column is None else {node.column: node.labels[place]}
            order = (place, *row.order, *(None,) * (most - len(row.order)))
            found.append(_replace(row, order=order, values={**row.values, **label}))
    return found


def _copy(term: a.Scalar, values: Mapping[str, Value]) -> Value:
    return values.get(term.name) if isinstance(term, a.Col) else evaluate(term, values)
