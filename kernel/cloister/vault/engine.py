"""Engine: runs an analysed plan on DuckDB and returns exact integers in layout order.

Cells that do not occur are zero, so the shape of the answer is a function of the plan. Whatever goes wrong inside the
engine becomes one constant fault: texts of the engine can hold data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa

from cloister.contract.card import Card
from cloister.errors import FaultError, MalformedError
from cloister.plan.layout import Layout, label_of
from cloister.vault.analyse import Analysis
from cloister.vault.compile import Query, compile_plan
from cloister.vault.load import Store
from cloister.vault.lookup import found
from cloister.vault.measures_sql import integers
from cloister.vault.targets import Targets

THREADS = 2


class Exact(msgspec.Struct, frozen=True):
    """Exact integers in layout order, and the width of each component. Never leaves the vault.

    ``levels`` names the components that are quantiles, by position, as numerators over a denominator: their integers
    are the rows at each candidate. ``labels`` are the values of the keys that occur, where they are not known before.
    """

    values: tuple[int, ...]
    widths: tuple[int, ...]
    levels: dict[int, tuple[tuple[int, ...], int]] = {}
    labels: tuple[tuple[str, ...], ...] | None = None


class Engine:
    """Tables in memory and one query at a time on them."""

    def __init__(self, threads: int = THREADS, memory_limit: str | None = None) -> None:
        self._store = Store(threads, memory_limit)
        self._cursor = self._store.cursor()
        self._stopped = threading.Event()

    def load(
        self, name: str, card: Card, parts: pa.Table | Iterable[pa.Table], secret: bytes, shared: bytes = b""
    ) -> None:
        """Load a table canonically; see ``Store.add``.

        Raises:
            MalformedError: The capsule does not fit its card; texts of the engine, which can hold data, are dropped.
        """
        try:
            self._store.add(name, card, [parts] if isinstance(parts, pa.Table) else parts, secret, shared)
        except (duckdb.Error, pa.ArrowException):
            raise MalformedError("capsule.load", f"the table {name} could not be loaded") from None

    def run(self, analysis: Analysis) -> Exact:
        """Return the exact integers of a release.

        Raises:
            FaultError: Anything failed or ``interrupt`` was called; constant code and text.
        """
        query = compile_plan(analysis, self._store.tables)
        try:
            rows = self._cursor.execute(query.sql, query.parameters).fetchall()
            if analysis.layout.found:
                return assemble_found(analysis.layout, rows)
            values = assemble(analysis.layout, query, rows)
        except (duckdb.Error, MemoryError, RuntimeError, ArithmeticError, IndexError, TypeError):
            raise FaultError("vault.engine", "the release could not be computed") from None
        parts = analysis.layout.components
        levels = {index: (part.at, part.parts) for index, part in enumerate(parts) if part.role == "quantile"}
        return Exact(values, tuple(part.exact_width for part in parts), levels)

    def rows(self, compiled: Callable[[Mapping[str, str]], tuple[str, dict[str, int | str]]]) -> list[tuple[Any, ...]]:
        """Return the rows of a query of an exit; ``compiled`` makes SQL and parameters from the tables' identifiers.

        Raises:
            FaultError: As ``run``.
        """
        sql, parameters = compiled(self._store.tables)
        try:
            return self._cursor.execute(sql, parameters).fetchall()
        except (duckdb.Error, MemoryError, RuntimeError):
            raise FaultError("vault.engine", "the release could not be computed") from None

    def arrays(self, compiled: Callable[[Mapping[str, str]], tuple[str, dict[str, int | str]]]) -> dict[str, Any]:
        """Return the columns of a query without nulls as numpy arrays, by name.

        Raises:
            FaultError: As ``run``.
        """
        sql, parameters = compiled(self._store.tables)
        try:
            return {
                name: np.ma.getdata(found) for name, found in self._cursor.execute(sql, parameters).fetchnumpy().items()
            }
        except (duckdb.Error, MemoryError, RuntimeError):
            raise FaultError("vault.engine", "the release could not be computed") from None

    def begin(self) -> None:
        """Forget an earlier interrupt: what follows is a new run."""
        self._stopped.clear()

    def check(self) -> None:
        """Stop here if the run was interrupted: for work outside the database.

        Raises:
            FaultError: ``interrupt`` was called since ``begin``.
        """
        if self._stopped.is_set():
            raise FaultError("vault.engine", "the release could not be computed")

    def found(self, name: str, holds: str, targets: Targets) -> tuple[bool, ...]:
        """Return for each target of a match whether a row of that unit fulfils ``holds`` (``lookup.condition``).

        Raises:
            FaultError: Anything failed or ``interrupt`` was called; constant code and text.
        """
        try:
            return found(self._cursor, self._store.tables[name], holds, targets)
        except (duckdb.Error, pa.ArrowException, MemoryError, RuntimeError, ArithmeticError, IndexError, TypeError):
            raise FaultError("vault.engine", "the release could not be computed") from None

    def interrupt(self) -> None:
        """Stop the running query; ``run`` then raises its fault.

        Safe from any thread. Without a running query it does nothing, so a watchdog repeats it until ``run`` ends.
        """
        self._stopped.set()
        self._cursor.interrupt()

    def close(self) -> None:
        """Release all tables."""
        self._store.close()


def assemble(frame: Layout, query: Query, rows: Iterable[Sequence[Any]]) -> tuple[int, ...]:
    """Return the integers of every cell from the rows of the engine."""
    width = sum(part.exact_width for part in frame.components)
    values = [0] * (frame.cells * width)
    sizes = [len(key.labels) for key in frame.keys]
    for row in rows:
        cell = 0
        for key, size, code in zip(frame.keys, sizes, row, strict=False):
            index = int(code or 0) - key.grid.lo
            if not 0 <= index < size:
                raise IndexError
            cell = cell * size + index
        position, at = query.keys, cell * width
        for part, taken in zip(frame.components, query.sums, strict=True):
            block = integers(part, row[position : position + taken])
            values[at : at + len(block)] = block
            position, at = position + taken, at + len(block)
    return tuple(values)


def assemble_found(frame: Layout, rows: Iterable[Sequence[Any]]) -> Exact:
    """Return the values of the keys that occur, in an order of their own, with the number of units of each."""
    found = sorted(
        (tuple(label_of(code, key.grid) for code, key in zip(row, frame.keys, strict=False)), int(row[-1]))
        for row in rows
    )
    return Exact(tuple(count for _, count in found), (1,), labels=tuple(labels for labels, _ in found))
