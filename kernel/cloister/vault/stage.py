"""Staging: raw rows become integer columns and a keyed hash of every row, a block of rows at a time.

Blocks are converted by several threads. What is made of a row is a function of this row and of public inputs only, so
neither the blocks nor the threads can show in it. Columns are kept as narrow as their grids allow.
"""

from __future__ import annotations

import hashlib
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


class Text(msgspec.Struct, frozen=True):
    """A staged column of free text, with a keyed hash of every value."""

    values: pa.Array
    hashed: Unsigned

    def take(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Return the column in the order of ``rows``."""
        return self.values.take(pa.array(rows))


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

    def rows(self, raw: pa.Table, texts: dict[int, Text], mixer: Mixer, keep: Mask) -> Rows:
        """Return the rows of ``raw``, which has the card's columns.

        Args:
            raw: The columns of the card.
            texts: The columns of free text, staged already, by position in the card.
            mixer: The keyed hash, not begun yet.
            keep: Which rows have a unit; rows that must be dropped are taken out of it here.
        """
        columns: dict[str, Column] = {}
        for index, grid in self._grids.items():
            columns[f"c{index}"] = texts[index] if index in texts else _empty(grid, raw.num_rows)
        rows = Rows(mixer.state, np.zeros(raw.num_rows, flags_type(self._card)), keep, columns)
        with ThreadPoolExecutor(self._threads) as pool:
            # Collected, so that what fails in a thread fails here.
            list(pool.map(lambda start: self._convert(raw, rows, mixer, start), range(0, raw.num_rows, _BLOCK)))
        return rows

    def _convert(self, raw: pa.Table, rows: Rows, mixer: Mixer, start: int) -> None:
        block = slice(start, start + _BLOCK)
        mixer.start(block)
        for index, grid in self._grids.items():
            staged = rows.columns[f"c{index}"]
            if isinstance(staged, Text):
                mixer.add(block, staged.hashed[block].view(np.int64), _present(staged.values.slice(start, _BLOCK)))
                continue
            declared = self._card.columns[index]
            found = canonical(declared, grid, raw[declared.name].slice(start, _BLOCK))
            staged.values[block], staged.valid[block] = found.values, found.valid
            mixer.add(block, found.values, found.valid)
            rows.keep[block] &= ~found.dropped
            if index < LAST_BIT:
                rows.flags[block] |= found.limited.astype(rows.flags.dtype) << (index + 1)


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
    """The keyed hash of rows: a splitmix64 chain over unit and values, column by column.

    Attributes:
        state: The hash of every row so far.
    """

    def __init__(self, secret: bytes, units: Units) -> None:
        seed = hashlib.sha256(b"cloister/row/v1" + secret).digest()
        self._keys = np.frombuffer(seed, np.uint64)
        self._units: Unsigned = _mix(_mix(units.upper ^ self._keys[0]) ^ units.lower ^ self._keys[1])
        self._codes = units.codes
        self.state = np.empty(len(units.present), np.uint64)

    def start(self, rows: slice) -> None:
        """Begin with the hashes of the units of some rows."""
        self.state[rows] = self._units[rows if self._codes is None else self._codes[rows]]

    def add(self, rows: slice, values: npt.NDArray[np.int64], valid: Mask) -> None:
        """Fold one column into the hash of some rows."""
        marked = np.where(valid, values.view(np.uint64) ^ self._keys[2], self._keys[3])
        self.state[rows] = _mix(self.state[rows] ^ _mix(marked))


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
