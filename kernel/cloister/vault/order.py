"""The order of storage and the cap on rows per unit: which rows of a unit are kept, never by position.

Rows are ordered by unit, keyed hash of the row, and all columns: a total order but for rows that are equal.
"""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cloister.vault.stage import Mask, Rows, in_blocks
from cloister.vault.units import Positions, Ranks, tied


class Kept(msgspec.Struct, frozen=True):
    """Which rows are kept, in the order of storage, with the rank of each one's unit and whether that had more."""

    rows: Positions
    ranks: npt.NDArray[Any]
    more: Mask


def kept_rows(
    connection: duckdb.DuckDBPyConnection, ranks: Ranks, rows: Rows, most: int | None, threads: int = 1
) -> Kept:
    """Return the first ``most`` rows of each unit (all of them if None) in the order of storage."""
    order, unit = _storage_order(connection, ranks, rows, threads)
    most = len(order) if most is None else most
    over = np.zeros(len(order), np.bool_)
    over[most:] = unit[most:] == unit[:-most]
    crowded = np.zeros(len(ranks.keys), np.bool_)
    crowded[unit[over]] = True
    return Kept(order[~over], unit[~over], crowded[unit[~over]])


def _storage_order(
    connection: duckdb.DuckDBPyConnection, ranks: Ranks, rows: Rows, threads: int
) -> tuple[Positions, npt.NDArray[Any]]:
    """Return the rows that are not dropped, ordered by unit, row hash and all columns, and their units' ranks.

    One sort of 64-bit words: rank, as much of the row hash as there is room for, position. Rows that tie in the first
    two are few, unless they are equal; they are put in order by everything.
    """
    place = max(1, len(rows.keep).bit_length())
    room = 64 - place - len(ranks.keys).bit_length()
    words = np.empty(len(rows.keep), np.uint64)

    def compose(block: slice) -> None:
        word = ranks.of_row[block].astype(np.uint64) << np.uint64(room)
        word |= rows.hashed[block] >> np.uint64(64 - room)
        word <<= np.uint64(place)
        words[block] = word | np.arange(block.start, block.start + len(word), dtype=np.uint64)

    in_blocks(len(words), threads, compose)
    words = words if rows.keep.all() else words[rows.keep]
    words.sort()
    order = (words & np.uint64((1 << place) - 1)).view(np.int64)
    words >>= np.uint64(place)
    equal = np.flatnonzero(tied(words))
    if len(equal):
        order[equal] = _by_everything(connection, ranks, rows, order[equal])
    words >>= np.uint64(room)
    return order, words.astype(np.int32)


def _by_everything(connection: duckdb.DuckDBPyConnection, ranks: Ranks, rows: Rows, some: Positions) -> Positions:
    columns = {name: column.take(some) for name, column in rows.columns.items()}
    first = {"rank": pa.array(ranks.of_row[some]), "hashed": pa.array(rows.hashed[some])}
    connection.register("tied", pa.table({**first, **columns, "flags": rows.flags[some], "place": some}))
    order = ", ".join([*first, *columns, "flags"])
    places = connection.execute(f"SELECT place FROM tied ORDER BY {order}").fetchnumpy()["place"]  # noqa: S608
    connection.unregister("tied")
    return np.asarray(places, np.int64)
