"""Compiler: a plan becomes one SQL query for exact integers.

Identifiers are generated, literals are bound parameters: no text of the analyst ever reaches SQL. The query returns one
row per occurring cell: key integers, then the sums each component is assembled from.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cloister.vault.analyse import Analysis
from cloister.vault.measures_sql import sums
from cloister.vault.relations_sql import Relations
from cloister.vault.scalars_sql import Parameters


class Query(msgspec.Struct, frozen=True):
    """SQL with parameters; a row holds ``keys`` integers, then for each component the sums it is made of."""

    sql: str
    parameters: dict[str, int | str]
    keys: int
    sums: tuple[int, ...]


def compile_plan(analysis: Analysis, tables: Mapping[str, str]) -> Query:
    """Return the query of an analysed plan; ``tables`` maps catalogue names to table identifiers."""
    frame = analysis.layout
    bind = Parameters()
    source = Relations(analysis.cards, tables, bind).source(analysis.typed)
    keys = [source.scope[key.name] for key in frame.keys]
    columns: list[str] = []
    inner: list[str] = []
    widths = []
    for index, part in enumerate(frame.components):
        taken = sums(part, index, source, bind, inner)
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
