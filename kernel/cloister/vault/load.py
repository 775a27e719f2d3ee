"""Canonical load: raw tables become integer tables in a locked-down, in-memory DuckDB.

What the analysis relies on is made a fact of storage here: every row belongs to one unit (a hash of the
normalised key), no unit has more than ``rows_per_unit`` rows (kept by the keyed hash of the row, never by position),
every value is an integer within its grid (free text: Unicode of at most 256 code points). Rows are sorted by unit;
nothing depends on the order in which rows arrive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cloister.contract.card import Card
from cloister.contract.unit_keys import unit_salt
from cloister.errors import MalformedError
from cloister.plan.grid import Grid, of_column
from cloister.plan.typing import NO_UNIT
from cloister.vault.canonical import canonical, column, free_text, key_bytes

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
        staged = [self._stage(card, grids, part, secret, shared) for part in parts]
        rows = pa.concat_tables(staged) if staged else _empty(grids)
        identifier = f"t{self._loaded}"
        self._loaded += 1
        order = ", ".join(f'"{column}"' for column in rows.column_names)
        self._connection.register("staged", rows)
        rows = self._connection.sql(f"SELECT * FROM staged ORDER BY {order}").to_arrow_table()  # noqa: S608
        self._connection.unregister("staged")
        columns = [f"c{index}" for index in grids]
        if card.unit == NO_UNIT:
            self._connection.register("kept", rows)
            selected = _each_key_once(card, columns)
        else:
            self._connection.register("kept", _cap(rows, card.rows_per_unit))
            unit = "(upper::UHUGEINT << 64) | lower::UHUGEINT AS unit"
            flags = f"flags::{_narrowest(len(card.columns))} AS flags"
            stored = ", ".join([unit, '"row"', flags, *columns])
            selected = f"SELECT {stored} FROM kept"  # noqa: S608
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

    def _stage(self, card: Card, grids: dict[int, Grid], part: pa.Table, secret: bytes, shared: bytes) -> pa.Table:
        missing = [item.name for item in card.columns if item.name not in part.column_names]
        if missing:
            raise MalformedError("capsule.schema", f"the capsule of {card.name} lacks declared columns")
        if card.unit == NO_UNIT:
            upper = lower = np.zeros(part.num_rows, np.uint64)
            keep = np.ones(part.num_rows, np.bool_)
        else:
            keys = key_bytes(card, part)
            upper, lower = self._hashes(keys, salt_of_units(card, shared))
            keep = np.asarray(keys.is_valid().to_numpy(zero_copy_only=False))
        mixer = _Mixer(secret, upper, lower)
        arrays: dict[str, pa.Array] = {}
        flags = np.zeros(len(upper), np.int64)
        for index, grid in grids.items():
            if grid.kind == "text":
                text = arrays[f"c{index}"] = free_text(card.columns[index], part[card.columns[index].name])
                salt = hashlib.sha256(b"cloister/text/v1" + secret).digest()
                hashed, _ = self._hashes(pc.cast(text, pa.large_binary()), salt)
                mixer.add(hashed.view(np.int64), np.asarray(text.is_valid().to_numpy(zero_copy_only=False)))
                continue
            found = canonical(card.columns[index], grid, part[card.columns[index].name])
            keep = keep & ~found.dropped
            mixer.add(found.values, found.valid)
            flags |= found.limited.astype(np.int64) << min(index + 1, 62)
            arrays[f"c{index}"] = pa.array(found.values, mask=~found.valid).cast(storage_type(grid))
        first = {"upper": pa.array(upper), "lower": pa.array(lower), "row": pa.array(mixer.state)}
        return pa.table({**first, **arrays, "flags": pa.array(flags)}).filter(pa.array(keep))

    def _hashes(self, keys: pa.Array, salt: bytes) -> tuple[Unsigned, Unsigned]:
        """Return 128 bits of SHA-256(salt || key) for every row, in two halves."""
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
    opaque = card.key if card.unit != NO_UNIT else ()
    grids = {index: of_column(name, item, is_key=item.name in opaque) for index, item in enumerate(card.columns)}
    for key in card.key:
        column(card, key)
    return {index: grid for index, grid in grids.items() if grid.kind != "opaque"}


def storage_type(grid: Grid) -> pa.DataType:
    """Return the narrowest Arrow type for a grid: narrow columns are what keeps scans at plain speed."""
    if grid.kind == "text":
        return pa.large_string()
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


def _cap(rows: pa.Table, most: int) -> pa.Table:
    """Keep the first ``most`` rows of each unit of a table sorted by unit and row hash; flag units that had more."""
    upper, lower = (np.asarray(rows[name].to_numpy()) for name in ("upper", "lower"))
    starts = np.ones(len(upper), np.bool_)
    starts[1:] = (upper[1:] != upper[:-1]) | (lower[1:] != lower[:-1])
    unit = np.cumsum(starts) - 1
    position = np.arange(len(upper)) - np.flatnonzero(starts)[unit] if len(upper) else unit
    flags = np.asarray(rows["flags"].to_numpy()) | (np.bincount(unit)[unit] > most if len(unit) else unit)
    kept = rows.set_column(rows.column_names.index("row"), "row", pa.array(_signed(rows["row"])))
    kept = kept.set_column(kept.column_names.index("flags"), "flags", pa.array(flags))
    return kept.filter(pa.array(position < most))


def _signed(hashes: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(hashes.to_numpy()).view(np.int64)


def _narrowest(columns: int) -> str:
    """Return the integer type for one bit per column and one for the unit."""
    return next(
        (kind for kind, bits in (("TINYINT", 7), ("SMALLINT", 15), ("INTEGER", 31)) if columns < bits), "BIGINT"
    )


def _empty(grids: dict[int, Grid]) -> pa.Table:
    hashes = {name: pa.array([], pa.uint64()) for name in ("upper", "lower", "row")}
    columns = {f"c{index}": pa.array([], storage_type(grid)) for index, grid in grids.items()}
    return pa.table({**hashes, **columns, "flags": pa.array([], pa.int64())})
