"""Compiler: a plan becomes one SQL query for exact integers.

Identifiers are generated, literals are bound parameters: no text of the analyst ever reaches SQL. The query returns one
row per occurring cell: key integers, then the sums each component is assembled from.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cloister.plan import algebra as a
from cloister.plan.typing import chain, table_schema
from cloister.vault.analyse import Analysis
from cloister.vault.measures_sql import sums
from cloister.vault.scalars_sql import Lowered, Parameters, condition, lower

GROUP_SALT = "cloister/groups/v1"


class Source(msgspec.Struct, frozen=True):
    """A relation in SQL: a subquery, and the identifier and grid of each column."""

    sql: str
    scope: dict[str, Lowered]


class Query(msgspec.Struct, frozen=True):
    """SQL with parameters; a row holds ``keys`` integers, then for each component the sums it is made of."""

    sql: str
    parameters: dict[str, int | str]
    keys: int
    sums: tuple[int, ...]


def compile_plan(analysis: Analysis, tables: Mapping[str, str]) -> Query:
    """Return the query of an analysed plan; ``tables`` maps catalogue names to table identifiers."""
    plan, frame = analysis.plan, analysis.layout
    bind = Parameters()
    source = relation(plan.source, analysis, tables, bind)
    keys = [source.scope[key.name] for key in frame.keys]
    columns: list[str] = []
    inner: list[str] = []
    widths = []
    for index, part in enumerate(frame.components):
        taken = sums(part, index, source.scope, bind, inner)
        columns += taken
        widths.append(len(taken))
    body = f"FROM ({source.sql})"
    if inner:
        body = f"FROM (SELECT *, {', '.join(inner)} {body})"
    closed = [f"{sql} IS NOT NULL" for sql, grid in keys if grid.nullable]
    if closed:
        body += f" WHERE {' AND '.join(closed)}"
    if keys:
        body += f" GROUP BY {', '.join(sql for sql, _ in keys)}"
    selected = ", ".join([*(sql for sql, _ in keys), *columns])
    sql = f"SELECT {selected} {body}"
    return Query(sql, bind.used(sql), len(keys), tuple(widths))


def relation(node: a.Relation, analysis: Analysis, tables: Mapping[str, str], bind: Parameters) -> Source:
    """Return a relation as a subquery with ``unit``, ``uhash``, ``row`` and its columns."""
    first, *rest = chain(node)
    schema = table_schema(first, analysis.cards)
    positions = {column.name: index for index, column in enumerate(schema.card.columns)}
    scope = {name: (f"c{positions[name]}", grid) for name, grid in schema.columns.items() if grid.kind != "opaque"}
    columns = ["unit", "uhash", '"row"', *(sql for sql, _ in scope.values())]
    source = Source(f"SELECT {', '.join(columns)} FROM {tables[schema.table]}", scope)  # noqa: S608
    for number, step in enumerate(rest):
        source = _step(step, source, number, bind)
    return source


def _step(node: a.Relation, source: Source, number: int, bind: Parameters) -> Source:
    match node:
        case a.Filter():
            test = condition(lower(node.where, source.scope, bind))
            return Source(f"SELECT * FROM ({source.sql}) WHERE {test}", source.scope)  # noqa: S608
        case a.Derive():
            scope = dict(source.scope)
            added = []
            for position, (name, expression) in enumerate(node.columns):
                if isinstance(expression, a.Col) and expression.name not in source.scope:
                    # A copy of a column that is not stored; the typing rules keep anyone from computing with it.
                    scope.pop(name, None)
                    continue
                sql, grid = lower(expression, source.scope, bind)
                identifier = f"d{number}_{position}"
                added.append(f"{sql} AS {identifier}")
                scope[name] = (identifier, grid)
            return Source(f"SELECT {', '.join(['*', *added])} FROM ({source.sql})", scope)  # noqa: S608
        case a.Select():
            scope = {name: source.scope[name] for name in node.columns if name in source.scope}
            return Source(source.sql, scope)
        case a.Cap():
            return Source(_cap(node, source, bind), source.scope)
        case _:
            return source


def _cap(node: a.Cap, source: Source, bind: Parameters) -> str:
    by = [source.scope[name][0] for name in node.by]
    every = [sql for sql, _ in source.scope.values()]
    # Total order: row hash, then all columns; rows that still tie are equal in everything a plan can see.
    order = ", ".join([f"{sql} ASC NULLS LAST" for sql in dict.fromkeys(['"row"', *every])])
    window = f"row_number() OVER (PARTITION BY {', '.join(['unit', *by])} ORDER BY {order})"
    if node.groups is None:
        return f"SELECT * FROM ({source.sql}) QUALIFY {window} <= {bind.integer(node.rows)}"  # noqa: S608
    pieces = [f"COALESCE(CAST(CAST({sql} AS BIGINT) AS VARCHAR), '-')" for sql in by]
    hashed = f"sha256(concat_ws('|', {', '.join([bind.text(GROUP_SALT), 'CAST(uhash AS VARCHAR)', *pieces])}))"
    order = ", ".join(["grouphash", *(f"{sql} ASC NULLS LAST" for sql in by)])
    groups = f"dense_rank() OVER (PARTITION BY unit ORDER BY {order})"
    return (
        f"SELECT * EXCLUDE (grouphash) FROM (SELECT *, {hashed} AS grouphash FROM ({source.sql}))"  # noqa: S608
        f" QUALIFY {window} <= {bind.integer(node.rows)} AND {groups} <= {bind.integer(node.groups)}"
    )
