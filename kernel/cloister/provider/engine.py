"""DuckDB on the provider's machine: in memory, no files, no network, columns by position.

Column names are whatever the provider's file says; DuckDB compares names without case. So a table is registered with
its columns as ``c0``, ``c1``, ..., and only numbers that are made here appear in SQL.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from cloister.contract.findings import twice
from cloister.errors import MalformedError

_CONFIG = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
}


class Rows:
    """A table inside DuckDB, to be asked with SQL over ``t`` and :meth:`ref`."""

    def __init__(self, table: pa.Table) -> None:
        """Register ``table``.

        Raises:
            MalformedError: ``seal.format``: two columns have one name.
        """
        if same := twice(table.column_names):
            raise MalformedError("seal.format", f"two columns are called {same[0]!r}", next_step="rename one of them")
        self._position = {name: number for number, name in enumerate(table.column_names)}
        arrays = [plain(table.column(name)) for name in table.column_names]
        self.types: Mapping[str, pa.DataType] = {
            name: array.type for name, array in zip(table.column_names, arrays, strict=True)
        }
        self.rows: int = table.num_rows
        self._connection = duckdb.connect(":memory:", config=dict(_CONFIG))
        names = [f"c{number}" for number in range(len(arrays))]
        # One more column, so that a table without any still has its rows.
        index = pa.array(range(table.num_rows), pa.int64())
        self._connection.register("t", pa.Table.from_arrays([*arrays, index], [*names, "i"]))

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ref(self, name: str) -> str:
        """Return the column called ``name`` as it is written in SQL."""
        return f"c{self._position[name]}"

    def text(self, name: str) -> str:
        """Return SQL of a column's values as text, in one spelling: 7.0 of a float column with gaps is ``7``."""
        ref, kind = self.ref(name), self.types[name]
        if pa.types.is_floating(kind):
            whole = f"isfinite({ref}) AND {ref} = trunc({ref}) AND abs({ref}) < 9e15"
            return f"CASE WHEN {whole} THEN CAST(CAST({ref} AS BIGINT) AS VARCHAR) ELSE CAST({ref} AS VARCHAR) END"
        if pa.types.is_timestamp(kind):
            return f"regexp_replace(CAST({ref} AS VARCHAR), ' 00:00:00$', '')"
        return f"CAST({ref} AS VARCHAR)"

    def day(self, name: str) -> str:
        """Return SQL of a column's values as dates; null where they are none."""
        ref, kind = self.ref(name), self.types[name]
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            found = f"TRY_CAST({ref} AS DATE)"
        else:
            found = f"TRY_CAST(left(trim(CAST({ref} AS VARCHAR)), 10) AS DATE)"
        # Beyond these years a date is a mistake, and Python has no word for it.
        return f"CASE WHEN isfinite({found}) AND year({found}) BETWEEN 1 AND 9999 THEN {found} END"

    @contextlib.contextmanager
    def beside(self, values: pa.Array) -> Iterator[None]:
        """Have the distinct values of another table as ``v`` of ``other``, for as long as the block lasts."""
        self._connection.register("other", pa.table({"v": values.unique().drop_null()}))
        try:
            yield
        finally:
            self._connection.unregister("other")

    def one(self, sql: str, parameters: list[Any] | None = None) -> tuple[Any, ...]:
        """Return the first row of a query."""
        return self.all(sql, parameters)[0]

    def all(self, sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Return every row of a query."""
        return self._connection.execute(sql, parameters or []).fetchall()

    def column(self, sql: str) -> pa.Array:
        """Return an expression's value for every row, in the order of the rows."""
        found = self._connection.sql(f"SELECT {sql} AS v, i FROM t").to_arrow_table()
        found = found.take(pc.sort_indices(found.column("i")))
        return pa.concat_arrays([pa.array([], found.column("v").type), *found.column("v").chunks])


def literal(text: str) -> str:
    """Return a text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column without dictionaries, time zones (UTC) and types that DuckDB reads in another way."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us"), safe=False)
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    return column
