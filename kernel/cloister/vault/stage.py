"""Staging: raw rows become integer columns and a keyed hash of every row, a block of rows at a time.

Blocks are converted by several threads. What is made of a row is a function of this row and of public inputs only, so
neither the blocks nor the threads can show in it. Columns are kept as narrow as their grids allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cloister.contract.card import Card
from cloister.plan.components import LAST_BIT
from cloister.plan.grid import Grid
from cloister.vault.canonical import canonical
from cloister.vault.units import Units, Unsigned

# Rows converted at once: their intermediate columns stay in the processor's cache.
_BLOCK = 1 << 17

Mask = npt.NDArray[np.bool_]


class Integers(msgspec.Struct, frozen=True):
    """A staged column: integers of its grid, and which of them are values."""

    values: npt.NDArray[Any]
    valid: Mask
    kind: pa.DataType

    def take(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Return the column in the order of ``rows``."""
        values = self.values[rows]
        return pa.array(values.view(np.bool_) if pa.types.is_boolean(self.kind) else values, mask=~self.valid[rows])

    def mixed(self, block: slice) -> tuple[npt.NDArray[np.int64], Mask]:
        """Return what the hash of a row takes in, and where there is a value."""
        return self.values[block].astype(np.int64), self.valid[block]


class Text(msgspec.Struct, frozen=True):
    """A staged column of free text, with a keyed hash of every value."""

    values: pa.Array
    hashed: Unsigned

    def take(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Return the column in the order of ``rows``."""
        return self.values.take(pa.array(rows))

    def mixed(self, block: slice) -> tuple[npt.NDArray[np.int64], Mask]:
        """Return what the hash of a row takes in, and where there is a value."""
        return self.hashed[block].view(np.int64), _present(self.values.slice(block.start, _BLOCK))


Column = Integers | Text


class Rows(msgspec.Struct, frozen=True):
    """Staged rows: the keyed hash of each, its limited columns as bits, which are kept, and the columns ``c<j>``."""

    hashed: Unsigned
    flags: npt.NDArray[Any]
    keep: Mask
    columns: dict[str, Column]


class Stage:
    """Converts the rows of one table, ``threads`` blocks at a time."""

    def __init__(self, card: Card, grids: dict[int, Grid], threads: int) -> None:
        self._card = card
        self._grids = grids
        self._threads = threads

    def rows(self, raw: pa.Table, texts: dict[int, Text]) -> Rows:
        """Return the rows of ``raw``, which has the card's columns, not hashed yet.

        Args:
            raw: The columns of the card.
            texts: The columns of free text, staged already, by position in the card.
        """
        columns: dict[str, Column] = {}
        for index, grid in self._grids.items():
            columns[f"c{index}"] = texts[index] if index in texts else _empty(grid, raw.num_rows)
        size = raw.num_rows
        rows = Rows(np.empty(size, np.uint64), np.zeros(size, flags_type(self._card)), np.ones(size, np.bool_), columns)
        in_blocks(size, self._threads, lambda block: self._convert(raw, rows, block))
        return rows

    def hash(self, rows: Rows, mixer: Mixer, present: Mask) -> None:
        """Hash every row; rows without a unit are no longer kept.

        Args:
            rows: What ``rows`` returned.
            mixer: The keyed hash.
            present: Which rows have a unit.
        """
        np.logical_and(rows.keep, present, out=rows.keep)
        in_blocks(len(present), self._threads, lambda block: mixer.mix(rows, block))

    def _convert(self, raw: pa.Table, rows: Rows, block: slice) -> None:
        for index, grid in self._grids.items():
            staged = rows.columns[f"c{index}"]
            if isinstance(staged, Text):
                continue
            declared = self._card.columns[index]
            found = canonical(declared, grid, raw[declared.name].slice(block.start, _BLOCK))
            staged.values[block], staged.valid[block] = found.values, found.valid
            rows.keep[block] &= ~found.dropped
            if index < LAST_BIT:
                rows.flags[block] |= found.limited.astype(rows.flags.dtype) << (index + 1)


def in_blocks(size: int, threads: int, work: Callable[[slice], None]) -> None:
    """Do ``work`` for every block of ``size`` rows, ``threads`` blocks at a time."""
    with ThreadPoolExecutor(threads) as pool:
        # Collected, so that what fails in a thread fails here.
        list(pool.map(lambda start: work(slice(start, start + _BLOCK)), range(0, size, _BLOCK)))


def _empty(grid: Grid, size: int) -> Integers:
    kind = storage_type(grid)
    width = np.dtype("int8" if pa.types.is_boolean(kind) else str(kind))
    return Integers(np.empty(size, width), np.empty(size, np.bool_), kind)


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


def flags_type(card: Card) -> npt.DTypeLike:
    """Return the integer type for one bit per column and one for the unit."""
    widths = ((np.int8, 7), (np.int16, 15), (np.int32, 31))
    return next((kind for kind, bits in widths if len(card.columns) < bits), np.int64)


class Mixer:
    """The keyed hash of rows: a splitmix64 chain over unit and values, column by column."""

    def __init__(self, secret: bytes, units: Units) -> None:
        seed = hashlib.sha256(b"cloister/row/v1" + secret).digest()
        self._keys = np.frombuffer(seed, np.uint64)
        self._units: Unsigned = _mix(_mix(units.upper ^ self._keys[0]) ^ units.lower ^ self._keys[1])
        self._codes = units.codes

    def mix(self, rows: Rows, block: slice) -> None:
        """Hash some rows: their units, then their columns in the order of the card."""
        state = self._units[block if self._codes is None else self._codes[block]]
        for column in rows.columns.values():
            values, valid = column.mixed(block)
            marked = np.where(valid, values.view(np.uint64) ^ self._keys[2], self._keys[3])
            state = _mix(state ^ _mix(marked))
        rows.hashed[block] = state


def _mix(state: Unsigned) -> Unsigned:
    # Finaliser of splitmix64 (Steele, Lea, Flood 2014); arithmetic is modulo 2^64.
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _present(array: pa.Array) -> Mask:
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
