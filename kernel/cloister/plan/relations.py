"""Typing rules of relations: the schema of each relation from those of its sources.

What the rules say about rows per unit is what the norms rest on: a unit never has more than ``Schema.rows`` rows, more
than ``Bound.most`` of them for one value of a cap's columns, or more than that many values of a group limit's columns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import Grid, Uses, fit
from cloister.plan.lookups import joined, lookup_grids
from cloister.plan.rules import comparable, number, union
from cloister.plan.typing import MAX_CAP, Bound, Schema, key, scalar, token
from cloister.wire import canonical

MAX_STACKED = 64
MAX_PARTS = 1000
MAX_LAG = 1000
_replace = msgspec.structs.replace
Cards = Mapping[str, Card]


def rule(node: a.Relation, parts: Sequence[Schema], cards: Cards) -> Schema:
    """Return the schema of ``node``.

    Raises:
        PlanError: Unknown columns, kinds that do not fit, or numbers out of their limits.
    """
    match node:
        case a.Filter():
            return _filter(node, parts[0])
        case a.Derive():
            return _derive(node, parts[0])
        case a.Select():
            kept = {name: parts[0].grid(name) for name in node.columns}
            return _replace(parts[0], columns=kept, tokens={name: parts[0].tokens[name] for name in kept})
        case a.Cap():
            return _cap(node, parts[0])
        case a.Align():
            return _align(node, parts[0], parts[1])
        case a.Lookup():
            return _lookup(node, parts[0], cards)
        case a.PerUnit():
            return _per_unit(node, parts[0])
        case a.Window():
            return _window(node, parts[0])
        case a.Stack():
            return _stack(node, parts)
        case a.Split():
            return _split(node, parts[0])
        case _:
            raise PlanError("plan.source", "a table can only be the start of a relation")


@functools.lru_cache(maxsize=1024)
def _digest(node: a.Relation) -> str:
    """Return the digest of a relation; a plan is typed many times, and each of its relations holds those below it."""
    return canonical.digest(msgspec.to_builtins(node))


def _filter(node: a.Filter, source: Schema) -> Schema:
    condition = scalar(node.where, source)
    if condition.kind != "bool":
        raise PlanError("plan.types", "a filter needs a condition", next_step="compare the column with a value")
    return _replace(source, uses=source.uses | condition.uses)


def _derive(node: a.Derive, source: Schema) -> Schema:
    columns, tokens = dict(source.columns), dict(source.tokens)
    for name, expression in node.columns:
        columns[name] = scalar(expression, source)
        tokens[name] = token(expression, source)
    return _replace(source, columns=columns, tokens=tokens)


def _cap(node: a.Cap, source: Schema) -> Schema:
    limits = [node.rows] if node.groups is None else [node.rows, node.groups]
    if not all(1 <= limit <= MAX_CAP for limit in limits) or (node.groups is not None and not node.by):
        raise PlanError(
            "plan.cap",
            "a cap needs at least one row, and at least one group if it names groups",
            next_step="write cap(rows=k) or cap(rows=k, by=[...], groups=m) with positive numbers",
        )
    tokens = frozenset(source.tokens[name] for name in node.by if _usable("cap", name, source))
    # Null is a value of its own here, hence one group more than the grid has points.
    values = math.prod(_points(source.grid(name)) + 1 for name in node.by)
    groups = values if node.groups is None else min(values, node.groups)
    return _replace(
        source,
        rows=min(source.rows, node.rows * groups),
        caps=(*source.caps, Bound(tokens, node.rows)),
        groups=source.groups if node.groups is None else (*source.groups, Bound(tokens, node.groups)),
        uses=source.uses | _uses(source, node.by),
    )


def _align(node: a.Align, left: Schema, right: Schema) -> Schema:
    _same_unit("aligned", left, right)
    outer = node.how == "left"
    columns, tokens = dict(left.columns), dict(left.tokens)
    # A right row stands beside many rows, and the same table may be on both sides: other rows, other tokens.
    mine = _digest(node)
    renamed: dict[str, str] = {}
    for name, new in node.columns:
        _fresh(new, columns)
        grid = right.grid(name)
        columns[new] = _replace(grid, nullable=True) if outer else grid
        tokens[new] = renamed[right.tokens[name]] = f"{mine}\x00{right.tokens[name]}"
    partners = max(right.rows, 1)
    return Schema(
        left.tables + right.tables,
        left.unit,
        columns,
        tokens,
        rows=left.rows * partners,
        limit=left.limit * partners if outer else min(left.limit * partners, right.limit * left.rows),
        caps=(*_scaled(left.caps, partners), *_scaled(_renamed(right.caps, renamed), left.rows)),
        groups=(*left.groups, *(() if outer else _renamed(right.groups, renamed))),
        uses=left.uses | right.uses,
    )


def _lookup(node: a.Lookup, source: Schema, cards: Cards) -> Schema:
    if not node.keys or not node.columns:
        raise PlanError("plan.lookup", "a lookup needs a key and a new column", next_step="name both")
    keys, values = lookup_grids(node, cards)
    uses = _uses(source, node.keys)
    for name, grid in zip(node.keys, keys, strict=True):
        comparable(source.grid(name), grid, ordered=False)
        union("a lookup", source.grid(name), grid)
        uses |= grid.uses
    columns, tokens, mine = dict(source.columns), dict(source.tokens), _digest(node)
    for place, (name, grid) in enumerate(zip(node.columns, values, strict=True)):
        _fresh(name, columns)
        columns[name] = _replace(grid, nullable=grid.nullable or not node.inner, uses=uses | grid.uses)
        tokens[name] = f"{mine}\x00{place}"
    scanned = (node.rows.table,) if isinstance(node.rows, a.Reference) else ()
    return _replace(
        source,
        tables=(*source.tables, *scanned),
        columns=columns,
        tokens=tokens,
        uses=source.uses | uses if node.inner else source.uses,
    )


def _per_unit(node: a.PerUnit, source: Schema) -> Schema:
    if not node.measures:
        raise PlanError("plan.per_unit", "nothing is computed per unit", next_step="name a measure")
    mine = _digest(node)
    columns = {name: _replace(key(name, source), nullable=False) for name in node.by}
    tokens = {name: source.tokens[name] for name in node.by}
    by = _uses(source, node.by)
    for measure in node.measures:
        _fresh(measure.name, columns)
        grid = _unit_grid(measure, source)
        columns[measure.name] = _replace(grid, uses=grid.uses | by)
        tokens[measure.name] = f"{mine}\x00{measure.name}"
    values = math.prod(columns[name].points for name in node.by)
    return _replace(
        source,
        columns=columns,
        tokens=tokens,
        rows=min(source.rows, values),
        caps=(Bound(frozenset(tokens[name] for name in node.by), 1),),
        groups=tuple(bound for bound in source.groups if bound.tokens <= set(tokens.values())),
        uses=source.uses | by,
    )


def _unit_grid(measure: a.UnitMeasure, source: Schema) -> Grid:
    rows = source.rows
    if measure.of is None:
        if measure.kind != "count":
            raise PlanError("plan.per_unit", f"{measure.kind} needs a term", next_step="name a column")
        return Grid("number", 1, rows)
    term = scalar(measure.of, source)
    match measure.kind:
        case "count":
            _closed(term)
            return Grid("number", 0, rows, uses=term.uses)
        case "distinct":
            _closed(term)
            return Grid("number", 0, min(rows, _points(term)), uses=term.uses)
        case "any" | "all":
            if term.kind != "bool":
                raise PlanError("plan.types", f"{measure.kind} needs a condition", next_step="compare with a value")
            return term
        case "sum":
            term = number(term, "a sum per unit")
            return fit(_replace(term, lo=rows * min(term.lo, 0), hi=rows * max(term.hi, 0)))
        case "mean":
            return number(term, "a mean per unit")
        case _:
            return term if term.kind == "date" else number(term, f"a {measure.kind} per unit")


def _window(node: a.Window, source: Schema) -> Schema:
    if not node.functions:
        raise PlanError("plan.window", "nothing is computed along the rows", next_step="name a function")
    columns, tokens, mine = dict(source.columns), dict(source.tokens), _digest(node)
    along = [name for name, _ in node.order]
    for name in (*along, *node.by):
        _usable("window", name, source)
    chosen = _uses(source, (*along, *node.by))
    for function in node.functions:
        _fresh(function.name, columns)
        grid = _window_grid(function, source)
        columns[function.name] = _replace(grid, uses=grid.uses | chosen)
        tokens[function.name] = f"{mine}\x00{function.name}"
    return _replace(source, columns=columns, tokens=tokens)


def _window_grid(function: a.Lag | a.RowNumber | a.RunningSum, source: Schema) -> Grid:
    match function:
        case a.RowNumber():
            return Grid("number", 1, source.rows)
        case a.Lag():
            if not 1 <= abs(function.rows) <= MAX_LAG:
                raise PlanError("plan.window", f"a lag is 1 to {MAX_LAG} rows", next_step="look back fewer rows")
            grid = scalar(function.of, source)
            _closed(grid, text=True)
            return _replace(grid, nullable=True)
        case a.RunningSum():
            term = number(scalar(function.of, source), "a running sum")
            rows = source.rows
            return fit(_replace(term, lo=rows * min(term.lo, 0), hi=rows * max(term.hi, 0), nullable=False))


def _stack(node: a.Stack, parts: Sequence[Schema]) -> Schema:
    if not 2 <= len(parts) <= MAX_STACKED:
        raise PlanError("plan.stack", f"2 to {MAX_STACKED} relations can be stacked", next_step="stack fewer")
    first = parts[0]
    for part in parts[1:]:
        _same_unit("stacked", first, part)
        if set(part.columns) != set(first.columns):
            odd = sorted(set(part.columns) ^ set(first.columns))
            raise PlanError(
                "plan.stack",
                f"the relations differ in their columns: {', '.join(odd[:5])}",
                next_step="select or rename columns so that all have the same",
            )
    mine = _digest(node)
    columns = {name: _stacked([part.columns[name] for part in parts]) for name in first.columns}
    tokens = {name: f"{mine}\x00{name}" for name in columns}
    caps: tuple[Bound, ...] = ()
    if node.column is not None:
        _fresh(node.column, columns)
        if len(node.labels) != len(parts) or len(set(node.labels)) != len(parts):
            raise PlanError("plan.stack", "each stacked relation needs a label of its own", next_step="name them all")
        columns[node.column] = Grid("category", 0, len(parts) - 1, domain=node.labels)
        tokens[node.column] = f"{mine}\x01"
        caps = (Bound(frozenset({tokens[node.column]}), max(part.rows for part in parts)),)
    return Schema(
        tuple(name for part in parts for name in part.tables),
        first.unit,
        columns,
        tokens,
        rows=sum(part.rows for part in parts),
        limit=sum(part.limit for part in parts),
        caps=caps,
        uses=frozenset().union(*(part.uses for part in parts)),
    )


def _stacked(grids: Sequence[Grid]) -> Grid:
    nullable = any(grid.nullable for grid in grids)
    uses: Uses = frozenset().union(*(grid.uses for grid in grids))
    if {grid.kind for grid in grids} == {"opaque"}:
        return Grid("opaque", nullable=nullable, uses=uses)
    return _replace(joined(grids), nullable=nullable, uses=uses)


def _split(node: a.Split, source: Schema) -> Schema:
    if not 2 <= node.parts <= MAX_PARTS or not node.take or len(set(node.take)) < len(node.take):
        raise PlanError("plan.split", f"a split has 2 to {MAX_PARTS} parts and takes some of them", next_step="parts=5")
    if not all(0 <= part < node.parts for part in node.take):
        raise PlanError("plan.split", "a part that is taken does not exist", next_step="parts count from 0")
    return source


def _same_unit(what: str, left: Schema, right: Schema) -> None:
    if msgspec.structs.replace(left.unit, hashed=right.unit.hashed) == right.unit != left.unit:
        raise PlanError(
            "plan.keys",
            f"{left.tables[0]} and {right.tables[0]} cannot be {what}: {_sealed(left, right)}",
            clause="card.hashed",
            next_step="the providers seal both tables with one salt file, or neither with one",
        )
    if left.unit != right.unit:
        raise PlanError(
            "plan.unit",
            f"{left.tables[0]} and {right.tables[0]} cannot be {what}: a {left.unit.name} and a {right.unit.name},"
            " or keys that are not compared alike",
            clause="card.unit, card.key, card.normaliser",
            next_step=f"tables are {what} on the unit key, if they protect the same unit and normalise its key alike",
        )


def _sealed(left: Schema, right: Schema) -> str:
    if left.unit.hashed and right.unit.hashed:
        return "their keys were hashed under different salts, so nothing says which are equal"
    hashed, other = (left, right) if left.unit.hashed else (right, left)
    return f"the keys of {hashed.tables[0]} were hashed when it was sealed, those of {other.tables[0]} were not"


def _usable(what: str, name: str, source: Schema) -> bool:
    if source.grid(name).kind == "opaque":
        raise PlanError(
            f"plan.{what}",
            f"{name!r} cannot be used here: it has no declared bounds or domain",
            next_step="use a column with declared bounds or domain",
        )
    return True


def _closed(grid: Grid, *, text: bool = False) -> None:
    if grid.kind == "opaque" or (grid.kind == "text" and not text):
        raise PlanError("plan.opaque", "a column without bounds or domain cannot be used here", next_step="recode it")


def _points(grid: Grid) -> int:
    """Return how many values a grid has; free text has no bound."""
    return MAX_CAP if grid.kind in ("text", "opaque") else grid.points


def _fresh(name: str, columns: Mapping[str, Grid]) -> None:
    if name in columns:
        raise PlanError("plan.name", f"there already is a column {name[:60]!r}", next_step="give it another name")


def _uses(source: Schema, names: Sequence[str]) -> Uses:
    return frozenset().union(*(source.grid(name).uses for name in names))


def _scaled(caps: Sequence[Bound], factor: int) -> tuple[Bound, ...]:
    return tuple(Bound(cap.tokens, cap.most * factor) for cap in caps)


def _renamed(bounds: Sequence[Bound], names: Mapping[str, str]) -> tuple[Bound, ...]:
    """Return the bounds whose columns all come along, under their new tokens."""
    return tuple(
        Bound(frozenset(names[token] for token in bound.tokens), bound.most)
        for bound in bounds
        if bound.tokens <= names.keys()
    )
