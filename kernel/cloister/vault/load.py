"""Canonical load: raw tables become integer tables in a locked-down, in-memory DuckDB.

What the analysis relies on is made a fact of storage here: every row belongs to one unit (a hash of the
normalised key), no unit has more than ``rows_per_unit`` rows (kept by the keyed hash of the row, never by position),
every value is an integer within its grid (free text: Unicode of at most 256 code points). Rows are sorted by unit;
nothing depends on the order in which rows arrive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cloister.contract.card import Card, Column
from cloister.contract.unit_keys import unit_salt
from cloister.errors import MalformedError
from cloister.plan.grid import Grid, of_column
from cloister.plan.typing import NO_UNIT
from cloister.vault.canonical import column, free_text
from cloister.vault.order import Kept, kept_rows
from cloister.vault.stage import Mixer, Rows, Stage, Text
from cloister.vault.units import Ranks, Units, hashes, units_of

CONFIG = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_unsigned_extensions": "false",
    "allow_persistent_secrets": "false",
    "temp_directory": "",
    "max_temp_directory_size": "0KB",
    "python_enable_replacements": "false",
    "python_scan_all_frames": "false",
}

MAX_ROWS = 2**31 - 1


class Store:
    """The vault's tables. Load with ``add``; queries run on ``cursor()``. The configuration is locked from the start.

    A table lives as ``t<i>`` with columns ``unit`` (128 bits of a hash of the normalised key), ``row`` (a keyed hash of
    the row), ``flags`` and ``c<j>``, the card's j-th column; a reference table has the columns only, each key once.
    Identifiers are generated, so no name from outside reaches SQL. Bit 0 of ``flags``: the unit had more rows than are
    kept; bit j + 1: the value of ``c<j>`` was limited (of all columns from the 62nd on: bit 62).
    """

    def __init__(self, threads: int = 2, memory_limit: str | None = None) -> None:
        config: dict[str, Any] = {**CONFIG, "threads": str(threads)}
        if memory_limit is not None:
            config["memory_limit"] = memory_limit
        self._connection = duckdb.connect(":memory:", config=config)
        self._connection.execute("SET lock_configuration = true")
        self._threads = threads
        self._loaded = 0
        self.tables: dict[str, str] = {}

    def add(self, name: str, card: Card, parts: Iterable[pa.Table], secret: bytes, shared: bytes = b"") -> None:
        """Load a table from its parts (each with all columns of the card, any order of rows).

        Args:
            name: Catalogue name.
            card: Its data card.
            parts: Arrow tables, each a range of rows.
            secret: Keys the hashes of rows; must be the same across restarts, or answers would change.
            shared: Salts the hashes of units; the same for all tables of a contract, so that they can be aligned. It
                need not be secret: nothing that leaves rests on nobody knowing a hash.

        Raises:
            MalformedError: A column is missing, has an impossible type, or the table is loaded twice.
        """
        if name in self.tables:
            raise MalformedError("capsule.duplicate", f"the table {name} is loaded twice")
        grids = stored_grids(name, card)
        raw = _columns(card, parts)
        texts = {index: self._text(card.columns[index], raw, secret) for index, grid in grids.items()
                 if grid.kind == "text"}  # fmt: skip
        stage = Stage(card, grids, self._threads)
        with ThreadPoolExecutor(1) as aside:
            # To find the units takes one thread most of the time: the other columns are converted beside it.
            staged = aside.submit(stage.rows, raw, texts)
            units = self._units(card, raw, shared)
            rows = staged.result()
            ranked = aside.submit(units.ranks)
            stage.hash(rows, Mixer(secret, units), units.present)
            ranks = ranked.result()
        most = None if card.unit == NO_UNIT else card.rows_per_unit
        kept = kept_rows(self._connection, ranks, rows, most, self._threads)
        self._connection.register("kept", _stored(units, ranks, rows, kept, self._threads))
        columns = list(rows.columns)
        if card.unit == NO_UNIT:
            selected = _each_key_once(card, columns)
        else:
            stored = ", ".join(["(upper::UHUGEINT << 64) | lower::UHUGEINT AS unit", '"row"', "flags", *columns])
            selected = f"SELECT {stored} FROM kept"  # noqa: S608
        identifier = f"t{self._loaded}"
        self._loaded += 1
        self._connection.execute(f"CREATE TABLE {identifier} AS {selected}")
        self._connection.unregister("kept")
        self.tables[name] = identifier

    def drop(self, name: str) -> None:
        """Forget a table and free its memory."""
        self._connection.execute(f"DROP TABLE {self.tables.pop(name)}")

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own on the same tables; it can be interrupted from another thread."""
        return self._connection.cursor()

    def close(self) -> None:
        """Release all memory."""
        self._connection.close()

    def _units(self, card: Card, raw: pa.Table, shared: bytes) -> Units:
        if card.unit != NO_UNIT:
            return units_of(self._connection, card, raw, salt_of_units(card, shared))
        no_unit = np.zeros(1, np.uint64)
        return Units(no_unit, no_unit, np.zeros(raw.num_rows, np.int32), np.ones(raw.num_rows, np.bool_))

    def _text(self, declared: Column, raw: pa.Table, secret: bytes) -> Text:
        text = free_text(declared, raw[declared.name])
        salt = hashlib.sha256(b"cloister/text/v1" + secret).digest()
        hashed, _ = hashes(self._connection, pc.cast(text, pa.large_binary()), salt)
        return Text(text, hashed)


def _columns(card: Card, parts: Iterable[pa.Table]) -> pa.Table:
    """Return the card's columns of all parts as one table."""
    names = [item.name for item in card.columns]
    found = []
    for part in parts:
        if not set(names) <= set(part.column_names):
            raise MalformedError("capsule.schema", f"the capsule of {card.name} lacks declared columns")
        found.append(part.select(names))
    if len({tuple(part.schema.types) for part in found}) > 1 or sum(map(len, found)) > MAX_ROWS:
        raise MalformedError("capsule.schema", f"the parts of the capsule of {card.name} do not fit together")
    return pa.concat_tables(found) if found else pa.table({name: pa.nulls(0) for name in names})


def _stored(units: Units, ranks: Ranks, rows: Rows, kept: Kept, threads: int) -> pa.Table:
    """Return the rows that are kept, in their order."""
    key = ranks.keys[kept.ranks]
    made: dict[str, Callable[[], Any]] = {
        "upper": lambda: units.upper[key],
        "lower": lambda: units.lower[key],
        "row": lambda: rows.hashed[kept.rows].view(np.int64),
        "flags": lambda: rows.flags[kept.rows] | kept.more.astype(rows.flags.dtype),
        **{name: partial(column.take, kept.rows) for name, column in rows.columns.items()},
    }
    with ThreadPoolExecutor(threads) as pool:
        return pa.table(dict(zip(made, pool.map(lambda make: make(), made.values()), strict=True)))


def stored_grids(name: str, card: Card) -> dict[int, Grid]:
    """Return the grids of the columns that storage holds, by position in the card (opaque columns are not stored)."""
    grids = {index: of_column(name, item, is_key=card.identifies(item.name)) for index, item in enumerate(card.columns)}
    for key in card.key:
        column(card, key)
    return {index: grid for index, grid in grids.items() if grid.kind != "opaque"}


def salt_of_units(card: Card, shared: bytes) -> bytes:
    """Units of one type whose keys are compared alike get comparable hashes, others do not."""
    return unit_salt(card.unit, [column(card, name).type for name in card.key], card.normaliser, shared)


def _each_key_once(card: Card, columns: list[str]) -> str:
    """Select the first row of each stored key: what is equal after clipping is one key, or rows would multiply."""
    positions = {item.name: index for index, item in enumerate(card.columns)}
    keys = [f"c{positions[name]}" for name in card.key]
    first = f'row_number() OVER (PARTITION BY {", ".join(keys)} ORDER BY "row", {", ".join(columns)}) = 1'
    present = " AND ".join(f"{name} IS NOT NULL" for name in keys)
    return f"SELECT {', '.join(columns)} FROM kept WHERE {present} QUALIFY {first}"  # noqa: S608
