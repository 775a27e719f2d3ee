"""Relations in SQL: every relation of the algebra as a subquery over the canonical tables.

A subquery has the columns ``unit``, its order columns (the hashes of the stored rows it is made from), one ``flags``
column per table, and a generated identifier for every column that can be computed with. Wherever rows are chosen or
numbered, the order is total: what the plan says, then the order columns, then all columns and flags; rows that still
tie are equal in everything a plan can see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import Grid
from cloister.plan.lookups import lookup_grids
from cloister.plan.rules import literal
from cloister.plan.typing import Typed, scalar
from cloister.vault.scalars_sql import Lowered, Parameters, aligned, condition, lower, wide

GROUP_SALT = "cloister/groups/v1"
SPLIT_SALT = "cloister/split/v1"


class Source(msgspec.Struct, frozen=True):
    """A relation in SQL: a subquery, and what its columns are called.

    Attributes:
        sql: The subquery.
        scope: Identifier and grid of each column; columns that storage does not hold are left out.
        order: The order columns.
        flags: The identifier of each table's ``flags``.
    """

    sql: str
    scope: dict[str, Lowered]
    order: tuple[str, ...]
    flags: dict[str, str]

    @property
    def every(self) -> list[str]:
        """The order columns, then all columns and flags: a total order of the rows of a unit."""
        flags = [self.flags[table] for table in sorted(self.flags)]
        return [*self.order, *dict.fromkeys(sql for sql, _ in self.scope.values()), *flags]


class Relations:
    """Compiles the relations of one plan."""

    def __init__(self, cards: Mapping[str, Card], tables: Mapping[str, str], bind: Parameters) -> None:
        self._cards = cards
        self._tables = tables
        self._bind = bind
        self._made = 0

    def source(self, relation: Typed) -> Source:
        """Return a relation as a subquery."""
        parts = [self.source(part) for part in relation.sources]
        match relation.node:
            case a.Table() as node:
                return self._table(node, relation)
            case a.Filter() as node:
                test = condition(lower(node.where, parts[0].scope, self._bind))
                return self._over(parts[0], f"SELECT * FROM ({parts[0].sql}) WHERE {test}")  # noqa: S608
            case a.Derive() as node:
                return self._derive(node, parts[0])
            case a.Select() as node:
                kept = {name: parts[0].scope[name] for name in node.columns if name in parts[0].scope}
                return msgspec.structs.replace(parts[0], scope=kept)
            case a.Cap() as node:
                return self._over(parts[0], self._cap(node, parts[0]))
            case a.Align() as node:
                return self._align(node, parts[0], parts[1])
            case a.Lookup() as node:
                return self._lookup(node, parts[0], relation)
            case a.PerUnit() as node:
                return self._per_unit(node, parts[0], relation)
            case a.Window() as node:
                return self._window(node, parts[0], relation)
            case a.Stack() as node:
                return self._stack(node, parts, relation)
            case a.Split() as node:
                return self._over(parts[0], self._split(node, parts[0]))
        raise PlanError("plan.node", "this relation cannot be computed")

    def _over(self, source: Source, sql: str) -> Source:
        return msgspec.structs.replace(source, sql=sql)

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{kind}{self._made}"

    def _table(self, node: a.Table, relation: Typed) -> Source:
        positions = {column.name: index for index, column in enumerate(self._cards[node.name].columns)}
        stored = {name: grid for name, grid in relation.schema.columns.items() if grid.kind != "opaque"}
        scope = {name: (f"c{positions[name]}", grid) for name, grid in stored.items()}
        columns = ["unit", '"row"', "flags", *(sql for sql, _ in scope.values())]
        sql = f"SELECT {', '.join(columns)} FROM {self._tables[node.name]}"  # noqa: S608
        return Source(sql, scope, ('"row"',), {node.name: "flags"})

    def _derive(self, node: a.Derive, source: Source) -> Source:
        scope = dict(source.scope)
        added = []
        for name, expression in node.columns:
            if isinstance(expression, a.Col) and expression.name not in source.scope:
                # A copy of a column that is not stored; the typing rules keep anyone from computing with it.
                scope.pop(name, None)
                continue
            sql, grid = lower(expression, source.scope, self._bind)
            identifier = self._name("d")
            added.append(f"{sql} AS {identifier}")
            scope[name] = (identifier, grid)
        sql = f"SELECT {', '.join(['*', *added])} FROM ({source.sql})"  # noqa: S608
        return msgspec.structs.replace(source, sql=sql, scope=scope)

    def _cap(self, node: a.Cap, source: Source) -> str:
        by = [source.scope[name] for name in node.by]
        names = [sql for sql, _ in by]
        window = _over(["unit", *names], [f"{sql} ASC NULLS LAST" for sql in source.every])
        window = f"row_number() {window}"
        if node.groups is None:
            return f"SELECT * FROM ({source.sql}) QUALIFY {window} <= {self._bind.integer(node.rows)}"  # noqa: S608
        hashed = self._name("h")
        groups = f"dense_rank() {_over(['unit'], [hashed, *(f'{sql} ASC NULLS LAST' for sql in names)])}"
        return (
            f"SELECT * EXCLUDE ({hashed}) FROM (SELECT *, {self._group_hash(by)} AS {hashed} FROM ({source.sql}))"  # noqa: S608
            f" QUALIFY {window} <= {self._bind.integer(node.rows)} AND {groups} <= {self._bind.integer(node.groups)}"
        )

    def _group_hash(self, by: Iterable[Lowered]) -> str:
        """A hash of unit and value: which values of a unit are kept depends on nothing else.

        The unit is written in hexadecimal: the engine takes a thousand times as long to write 128 bits in decimal.
        """
        pieces = [f"COALESCE({_text(part)}, '-')" for part in by]
        return f"sha256(concat_ws('|', {', '.join([self._bind.text(GROUP_SALT), 'hex(unit)', *pieces])}))"

    def _split(self, node: a.Split, source: Source) -> str:
        salt = [self._bind.text(SPLIT_SALT), self._bind.text(node.salt), "hex(unit)"]
        drawn = (
            f"(('0x' || sha256(concat_ws('|', {', '.join(salt)}))[1:15])::BIGINT % {self._bind.integer(node.parts)})"
        )
        taken = ", ".join(self._bind.integer(part) for part in sorted(node.take))
        return f"SELECT * FROM ({source.sql}) WHERE {drawn} IN ({taken})"  # noqa: S608

    def _align(self, node: a.Align, left: Source, right: Source) -> Source:
        selected = ["l.unit AS unit"]
        scope: dict[str, Lowered] = {}
        for name, (sql, grid) in left.scope.items():
            scope[name] = (self._select(f"l.{sql}", selected), grid)
        for name, new in node.columns:
            if name in right.scope:
                sql, grid = right.scope[name]
                nullable = grid.nullable or node.how == "left"
                grid = msgspec.structs.replace(grid, nullable=nullable)
                scope[new] = (self._select(f"r.{sql}", selected), grid)
        order = tuple(self._select(f"{side}.{sql}", selected) for side, made in (("l", left), ("r", right))
                      for sql in made.order)  # fmt: skip
        flags = {}
        for table in left.flags | right.flags:
            sides = [f"l.{left.flags[table]}"] if table in left.flags else []
            sides += [f"COALESCE(r.{right.flags[table]}, 0)"] if table in right.flags else []
            flags[table] = self._select(" | ".join(sides), selected)
        join = "LEFT JOIN" if node.how == "left" else "JOIN"
        sql = f"SELECT {', '.join(selected)} FROM ({left.sql}) AS l {join} ({right.sql}) AS r ON l.unit = r.unit"  # noqa: S608
        return Source(sql, scope, order, flags)

    def _select(self, sql: str, selected: list[str]) -> str:
        name = self._name("a")
        selected.append(f"{sql} AS {name}")
        return name

    def _lookup(self, node: a.Lookup, source: Source, relation: Typed) -> Source:
        keys, values = lookup_grids(node, self._cards)
        rows, names = self._public_rows(node, [*keys, *values])
        tests = []
        for name, grid, mine in zip(node.keys, keys, names, strict=False):
            left, right = aligned(source.scope[name], (f"k.{mine}", grid), self._bind)
            tests.append(f"{left} = {right}")
        scope, selected = dict(source.scope), ["s.*"]
        for name, mine in zip(node.columns, names[len(keys) :], strict=True):
            scope[name] = (self._select(f"k.{mine}", selected), relation.schema.columns[name])
        join = "JOIN" if node.inner else "LEFT JOIN"
        sql = f"SELECT {', '.join(selected)} FROM ({source.sql}) AS s {join} ({rows}) AS k ON {' AND '.join(tests)}"  # noqa: S608
        return msgspec.structs.replace(source, sql=sql, scope=scope)

    def _public_rows(self, node: a.Lookup, grids: Sequence[Grid]) -> tuple[str, list[str]]:
        """Return the rows that are looked up as a subquery, and its identifiers: keys, then values."""
        if isinstance(node.rows, a.Reference):
            card = self._cards[node.rows.table]
            positions = {column.name: index for index, column in enumerate(card.columns)}
            stored = [f"c{positions[name]}" for name in (*node.rows.keys, *node.rows.columns)]
            names = [self._name("k") for _ in stored]
            selected = ", ".join(f"{sql} AS {name}" for sql, name in zip(stored, names, strict=True))
            return f"SELECT {selected} FROM {self._tables[node.rows.table]}", names  # noqa: S608
        names = [self._name("k") for _ in grids]
        rows = ", ".join(
            f"({', '.join(self._code(value, grid) for value, grid in zip(row, grids, strict=True))})"
            for row in node.rows.rows
        )
        return f"SELECT * FROM (VALUES {rows}) AS v({', '.join(names)})", names  # noqa: S608

    def _code(self, value: a.Scalar, grid: Grid) -> str:
        """Return a literal as an integer of a column that holds it."""
        mine = literal(value)  # type: ignore[arg-type]
        if grid.kind == "bool":
            return "TRUE" if mine.lo else "FALSE"
        if grid.kind == "category":
            return self._bind.integer(grid.domain.index(mine.domain[0]))
        return self._bind.integer(int(mine.lo * mine.step / grid.step))

    def _per_unit(self, node: a.PerUnit, source: Source, relation: Typed) -> Source:
        by = [source.scope[name] for name in node.by]
        scope, selected, grouped = {}, ["unit"], ["unit", *(sql for sql, _ in by)]
        for name, (sql, _) in zip(node.by, by, strict=True):
            scope[name] = (self._select(sql, selected), relation.schema.columns[name])
        for measure in node.measures:
            sql = self._unit_measure(measure, source, relation.sources[0])
            scope[measure.name] = (self._select(sql, selected), relation.schema.columns[measure.name])
        flags = {table: self._select(f"bit_or({sql})", selected) for table, sql in source.flags.items()}
        closed = [f"{sql} IS NOT NULL" for sql, grid in by if grid.nullable]
        where = f" WHERE {' AND '.join(closed)}" if closed else ""
        # Keys order the rows of a unit alone, kept or not: a choice of rows must not depend on what was measured.
        order = tuple(self._select(wide(key), selected) for key in by)
        sql = f"SELECT {', '.join(selected)} FROM ({source.sql}){where} GROUP BY {', '.join(grouped)}"  # noqa: S608
        return Source(sql, scope, order, flags)

    def _unit_measure(self, measure: a.UnitMeasure, source: Source, before: Typed) -> str:
        if measure.of is None:
            return "count(*)"
        term = lower(measure.of, source.scope, self._bind)
        match measure.kind:
            case "count":
                return f"count({term[0]})"
            case "distinct":
                return f"count(DISTINCT {term[0]})"
            case "any":
                return f"bool_or({term[0]})"
            case "all":
                return f"bool_and({term[0]})"
            case "sum":
                return f"CAST(sum({wide(term)}) AS BIGINT)"
            case "mean":
                # Floor division is taken of a number that is never negative: it does not matter how the engine rounds.
                low = self._bind.integer(scalar(measure.of, before.schema).lo)
                total = f"(sum({wide(term)}) - {low} * count({term[0]}))"
                return f"CAST({total} // nullif(count({term[0]}), 0) + {low} AS BIGINT)"
            case _:
                return f"{measure.kind}({wide(term)})"

    def _window(self, node: a.Window, source: Source, relation: Typed) -> Source:
        partition = ["unit", *(source.scope[name][0] for name in node.by)]
        along = [f"{source.scope[name][0]} {direction.upper()} NULLS LAST" for name, direction in node.order]
        over = _over(partition, [*along, *(f"{sql} ASC NULLS LAST" for sql in source.every)])
        scope, selected = dict(source.scope), ["*"]
        for function in node.functions:
            sql = self._window_function(function, source, over)
            scope[function.name] = (self._select(sql, selected), relation.schema.columns[function.name])
        sql = f"SELECT {', '.join(selected)} FROM ({source.sql})"  # noqa: S608
        return msgspec.structs.replace(source, sql=sql, scope=scope)

    def _window_function(self, function: a.Lag | a.RowNumber | a.RunningSum, source: Source, over: str) -> str:
        match function:
            case a.RowNumber():
                return f"row_number() {over}"
            case a.Lag():
                term = lower(function.of, source.scope, self._bind)
                kind = "lag" if function.rows > 0 else "lead"
                return f"{kind}({term[0]}, {self._bind.integer(abs(function.rows))}) {over}"
            case a.RunningSum():
                term = lower(function.of, source.scope, self._bind)
                running = f"{over[:-1]} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
                return f"CAST(COALESCE(sum({wide(term)}) {running}, 0) AS BIGINT)"

    def _stack(self, node: a.Stack, parts: Sequence[Source], relation: Typed) -> Source:
        columns = {name: grid for name, grid in relation.schema.columns.items() if grid.kind != "opaque"}
        names = {name: self._name("s") for name in columns}
        order = [self._name("o") for _ in range(1 + max(len(part.order) for part in parts))]
        flags = {table: self._name("f") for part in parts for table in part.flags}
        selects = []
        for place, part in enumerate(parts):
            selected = ["unit"]
            for name, grid in columns.items():
                code = str(place) if name == node.column else self._on(part.scope[name], grid)
                selected.append(f"{code} AS {names[name]}")
            given = [str(place), *part.order]
            given += ["CAST(NULL AS BIGINT)"] * (len(order) - len(given))
            selected += [f"{sql} AS {mine}" for sql, mine in zip(given, order, strict=True)]
            selected += [f"CAST({part.flags.get(table, '0')} AS BIGINT) AS {mine}" for table, mine in flags.items()]
            selects.append(f"SELECT {', '.join(selected)} FROM ({part.sql})")  # noqa: S608
        scope = {name: (names[name], grid) for name, grid in columns.items()}
        return Source(" UNION ALL ".join(selects), scope, tuple(order), flags)

    def _on(self, term: Lowered, grid: Grid) -> str:
        """Return a column's integers on the wider grid of a stack."""
        if grid.kind == "bool":
            return term[0]
        blank = msgspec.structs.replace(grid, nullable=True)
        return aligned(("CAST(NULL AS BIGINT)", blank), term, self._bind)[1]


def _over(partition: Sequence[str], order: Sequence[str]) -> str:
    ordered = f" ORDER BY {', '.join(order)}" if order else ""
    return f"OVER (PARTITION BY {', '.join(partition)}{ordered})"


def _text(part: Lowered) -> str:
    sql, grid = part
    return sql if grid.kind == "text" else f"CAST({wide(part)} AS VARCHAR)"
