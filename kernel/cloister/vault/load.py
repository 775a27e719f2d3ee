"""Canonical load: raw tables become integer tables in a locked-down, in-memory DuckDB.

What the analysis relies on is made a fact of storage here: every row belongs to one unit (a keyed hash of the
normalised key), no unit has more than ``rows_per_unit`` rows (kept by the keyed hash of the row, never by position),
every value is an integer within its grid. Rows are sorted by unit; nothing depends on the order in which rows arrive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cloister.contract.card import Card
from cloister.errors import MalformedError
from cloister.plan.grid import Grid, of_column
from cloister.vault.canonical import canonical, column, key_bytes

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

Unsigned = npt.NDArray[np.uint64]


class Store:
    """The vault's tables. Load with ``add``; queries run on ``cursor()``. The configuration is locked from the start.

    A table lives as ``t<i>`` with columns ``unit`` (dense number), ``uhash`` and ``row`` (keyed hashes) and ``c<j>``,
    the card's j-th column; identifiers are generated, so no name from outside reaches SQL.
    """

    def __init__(self, threads: int = 2, memory_limit: str | None = None) -> None:
        config: dict[str, Any] = {**CONFIG, "threads": str(threads)}
        if memory_limit is not None:
            config["memory_limit"] = memory_limit
        self._connection = duckdb.connect(":memory:", config=config)
        self._connection.execute("SET lock_configuration = true")
        self._loaded = 0
        self.tables: dict[str, str] = {}

    def add(self, name: str, card: Card, parts: Iterable[pa.Table], secret: bytes) -> None:
        """Load a table from its parts (each with all columns of the card, any order of rows).

        Args:
            name: Catalogue name.
            card: Its data card.
            parts: Arrow tables, each a range of rows.
            secret: Keys the hashes; must be the same across restarts, or answers would change.

        Raises:
            MalformedError: A column is missing, has an impossible type, or the table is loaded twice.
        """
        if name in self.tables:
            raise MalformedError("capsule.duplicate", f"the table {name} is loaded twice")
        grids = stored_grids(name, card)
        staged = [self._stage(card, grids, part, secret) for part in parts]
        rows = pa.concat_tables(staged) if staged else _empty(grids)
        identifier = f"t{self._loaded}"
        self._loaded += 1
        order = ", ".join(f'"{column}"' for column in rows.column_names)
        self._connection.register("staged", rows)
        rows = self._connection.sql(f"SELECT * FROM staged ORDER BY {order}").to_arrow_table()  # noqa: S608
        self._connection.unregister("staged")
        self._connection.register("kept", _cap(rows, card.rows_per_unit))
        self._connection.execute(f"CREATE TABLE {identifier} AS SELECT * FROM kept")  # noqa: S608
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

    def _stage(self, card: Card, grids: dict[int, Grid], part: pa.Table, secret: bytes) -> pa.Table:
        missing = [item.name for item in card.columns if item.name not in part.column_names]
        if missing:
            raise MalformedError("capsule.schema", f"the capsule of {card.name} lacks declared columns")
        keys = key_bytes(card, part)
        upper, lower = self._unit_hashes(keys, secret)
        keep = np.asarray(keys.is_valid().to_numpy(zero_copy_only=False))
        mixer = _Mixer(secret, upper, lower)
        arrays: dict[str, pa.Array] = {}
        for index, grid in grids.items():
            found = canonical(card.columns[index], grid, part[card.columns[index].name])
            keep = keep & ~found.dropped
            mixer.add(found.values, found.valid)
            arrays[f"c{index}"] = pa.array(found.values, mask=~found.valid).cast(storage_type(grid))
        first = {"upper": pa.array(upper), "lower": pa.array(lower), "row": pa.array(mixer.state)}
        return pa.table({**first, **arrays}).filter(pa.array(keep))

    def _unit_hashes(self, keys: pa.Array, secret: bytes) -> tuple[Unsigned, Unsigned]:
        """Return 128 bits of SHA-256(secret || key) for every row, in two halves."""
        salt = hashlib.sha256(b"cloister/unit/v1" + secret).digest()
        self._connection.register("keys", pa.table({"key": keys}))
        hashes = self._connection.execute(
            "SELECT ('0x' || hash[1:16])::UBIGINT AS upper, ('0x' || hash[17:32])::UBIGINT AS lower"
            " FROM (SELECT sha256($salt::BLOB || coalesce(key, ''::BLOB)) AS hash FROM keys)",
            {"salt": salt},
        ).fetchnumpy()
        self._connection.unregister("keys")
        return np.asarray(hashes["upper"], np.uint64), np.asarray(hashes["lower"], np.uint64)


def stored_grids(name: str, card: Card) -> dict[int, Grid]:
    """Return the grids of the columns that storage holds, by position in the card (opaque columns are not stored)."""
    grids = {index: of_column(name, item, is_key=item.name in card.key) for index, item in enumerate(card.columns)}
    for key in card.key:
        column(card, key)
    return {index: grid for index, grid in grids.items() if grid.kind != "opaque"}


def storage_type(grid: Grid) -> pa.DataType:
    """Return the narrowest Arrow type for a grid: narrow columns are what keeps scans at plain speed."""
    if grid.kind == "bool":
        return pa.bool_()
    for kind, bits in ((pa.int8(), 7), (pa.int16(), 15), (pa.int32(), 31)):
        if -(2**bits) <= grid.lo and grid.hi < 2**bits:
            return kind
    return pa.int64()


class _Mixer:
    """The keyed hash of rows: a splitmix64 chain over unit and values, column by column."""

    def __init__(self, secret: bytes, upper: Unsigned, lower: Unsigned) -> None:
        seed = hashlib.sha256(b"cloister/row/v1" + secret).digest()
        self._keys = np.frombuffer(seed, np.uint64)
        self.state: Unsigned = _mix(_mix(upper ^ self._keys[0]) ^ lower ^ self._keys[1])

    def add(self, values: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_]) -> None:
        """Fold one column into the hash of every row."""
        marked = np.where(valid, values.view(np.uint64) ^ self._keys[2], self._keys[3])
        self.state = _mix(self.state ^ _mix(marked))


def _mix(state: Unsigned) -> Unsigned:
    # Finaliser of splitmix64 (Steele, Lea, Flood 2014); arithmetic is modulo 2^64.
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _cap(rows: pa.Table, most: int) -> pa.Table:
    """Keep the first ``most`` rows of each unit of a table sorted by unit and row hash, and number the units."""
    upper, lower = (np.asarray(rows[name].to_numpy()) for name in ("upper", "lower"))
    starts = np.ones(len(upper), np.bool_)
    starts[1:] = (upper[1:] != upper[:-1]) | (lower[1:] != lower[:-1])
    unit = np.cumsum(starts) - 1
    position = np.arange(len(upper)) - np.flatnonzero(starts)[unit] if len(upper) else unit
    kept = rows.drop_columns(["upper", "lower", "row"])
    kept = kept.add_column(0, "row", pa.array(np.asarray(rows["row"].to_numpy()).view(np.int64)))
    kept = kept.add_column(0, "uhash", pa.array(upper.view(np.int64)))
    kept = kept.add_column(0, "unit", pa.array(unit.astype(np.int64)))
    return kept.filter(pa.array(position < most))


def _empty(grids: dict[int, Grid]) -> pa.Table:
    hashes = {name: pa.array([], pa.uint64()) for name in ("upper", "lower", "row")}
    return pa.table({**hashes, **{f"c{index}": pa.array([], storage_type(grid)) for index, grid in grids.items()}})
