"""Canonical columns: raw Arrow columns to integers on the grids of the data card.

Every conversion is a function of one value only and never fails on a value: NaN, infinities and what cannot be read are
null, out of bounds is clipped, out of domain is ``(other)``. A null in a column that was not declared nullable is
``(other)`` for categories, empty for free text and otherwise marks the row to be dropped. Free text is Unicode, cut to
256 code points. After this step no float exists.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cloister.contract.card import OTHER, Card, Column
from cloister.contract.unit_keys import HASH_BYTES
from cloister.errors import MalformedError
from cloister.plan.grid import MAX_TEXT, Grid, column_step
from cloister.plan.numbers import rational

_DAY_MS = 86_400_000
_WIDE = 2**62

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Canonical(msgspec.Struct, frozen=True):
    """A column on its grid: integers, which of them are values, which rows must go, and which values were limited.

    Limited are values out of bounds (clipped) or out of the domain (``(other)``).
    """

    values: Integers
    valid: Mask
    dropped: Mask
    limited: Mask


def canonical(column: Column, grid: Grid, raw: pa.ChunkedArray) -> Canonical:
    """Return the grid integers of a raw column.

    Raises:
        MalformedError: The Arrow type cannot hold what the card declares (a property of the capsule, not of a value).
    """
    array = flat(raw)
    if pa.types.is_null(array.type):
        values, valid, limited = np.zeros(len(array), np.int64), *(np.zeros(len(array), np.bool_) for _ in range(2))
    elif grid.kind == "category":
        values, valid, limited = _codes(column, grid, array)
    elif grid.kind == "bool":
        values, valid = _booleans(column, array)
        limited = np.zeros(len(values), np.bool_)
    elif grid.kind == "date":
        values, valid, limited = _days(column, grid, array)
    else:
        values, valid, limited = _numbers(column, grid, array)
    dropped = np.zeros(len(values), np.bool_)
    if not grid.nullable:
        if grid.kind == "category":
            values = np.where(valid, values, grid.domain.index(OTHER))
        else:
            dropped = ~valid
        valid = np.ones(len(values), np.bool_)
    return Canonical(np.where(valid, values, 0), valid, dropped, limited)


def free_text(column: Column, raw: pa.ChunkedArray) -> pa.Array:
    """Return a column of free text as valid Unicode of at most 256 code points.

    Raises:
        MalformedError: The Arrow type is not one of text.
    """
    array = flat(raw)
    if not (_is_text(array.type) or pa.types.is_null(array.type)):
        raise _mismatch(column, array.type)
    data = pc.cast(array, pa.large_binary())
    try:
        text = pc.utf8_slice_codeunits(pc.cast(data, pa.large_string()), 0, MAX_TEXT)
    except pa.ArrowInvalid:
        text = _read_bytes(data)
    return text if column.nullable else pc.fill_null(text, "")


def key_bytes(card: Card, table: pa.Table) -> pa.Array:
    """Return the normalised unit key of each row as bytes; null where any part of the key is null."""
    parts = [_key_text(card, column(card, name), flat(table[name])) for name in card.key]
    if card.salt_id:
        # What is no hash was not sealed as the card says: it is nobody's key.
        form = f"^[0-9a-f]{{{2 * HASH_BYTES}}}$"
        parts = [pc.if_else(pc.match_substring_regex(part, form), part, pa.scalar(None, part.type)) for part in parts]
    if len(parts) == 1:
        return parts[0]
    framed = []
    for part in parts:
        # A length before each part: ("a", "bc") and ("ab", "c") are different keys.
        framed += [pc.cast(pc.cast(pc.binary_length(part), pa.string()), pa.large_binary()), part]
    return pc.binary_join_element_wise(*framed, pa.scalar(b":", pa.large_binary()), null_handling="emit_null")


def column(card: Card, name: str) -> Column:
    """Return the declared column ``name``, which the card must have."""
    found = card.column(name)
    if found is None:
        raise MalformedError("card.column", f"the card of {card.name} names an undeclared column")
    return found


def flat(raw: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array of plain values; texts with 64-bit offsets, for all together may exceed 2 GiB."""
    if pa.types.is_string(raw.type):
        raw = pc.cast(raw, pa.large_string())
    array = raw.combine_chunks() if isinstance(raw, pa.ChunkedArray) else raw
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], raw.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array


def _key_text(card: Card, column: Column, array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_floating(kind):
        values = np.asarray(array.to_numpy(zero_copy_only=False), np.float64)
        bad = ~np.isfinite(values) | (np.abs(values) >= _WIDE)
        array = pa.array(np.rint(np.where(bad, 0.0, values)).astype(np.int64), mask=bad)
    elif pa.types.is_timestamp(kind) or pa.types.is_date64(kind):
        array = pc.cast(array, pa.date32(), safe=False)
    elif not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_date32(kind) or pa.types.is_null(kind)):
        raise _mismatch(column, kind)
    text = pc.cast(array, pa.large_string())
    if card.normaliser == "ascii-lower-strip":
        text = pc.ascii_lower(pc.ascii_trim_whitespace(text))
    return pc.cast(text, pa.large_binary())


def _codes(column: Column, grid: Grid, array: pa.Array) -> tuple[Integers, Mask, Mask]:
    if not _is_text(array.type):
        raise _mismatch(column, array.type)
    valid = _valid(array)
    text = pc.cast(array, pa.large_string())
    if len(text) and (pc.max(pc.binary_length(text)).as_py() or 0) > MAX_TEXT:
        text = _read_bytes(pc.cast(text, pa.large_binary()))
    domain = pa.array([label.encode() for label in grid.domain], pa.large_binary())
    found = pc.index_in(pc.cast(text, pa.large_binary()), value_set=domain, skip_nulls=True)
    codes = pc.fill_null(pc.cast(found, pa.int64()), grid.domain.index(OTHER))
    unknown = np.asarray(found.is_null().to_numpy(zero_copy_only=False))
    return codes.to_numpy(zero_copy_only=False), valid, valid & unknown


def _read_bytes(data: pa.Array) -> pa.Array:
    texts = [None if item is None else item.decode(errors="replace")[:MAX_TEXT] for item in data.to_pylist()]
    return pa.array(texts, pa.large_string())


def _booleans(column: Column, array: pa.Array) -> tuple[Integers, Mask]:
    if not (pa.types.is_boolean(array.type) or pa.types.is_integer(array.type)):
        raise _mismatch(column, array.type)
    values = pc.fill_null(array, pa.scalar(0).cast(array.type)).to_numpy(zero_copy_only=False)
    return (values != 0).astype(np.int64), _valid(array)


def _days(column: Column, grid: Grid, array: pa.Array) -> tuple[Integers, Mask, Mask]:
    valid = _valid(array)
    if pa.types.is_date32(array.type):
        days = _int64(pc.cast(array, pa.int32()))
    elif pa.types.is_date64(array.type):
        days = _int64(pc.cast(array, pa.int64())) // _DAY_MS
    elif pa.types.is_timestamp(array.type):
        per_day = {"s": 86_400, "ms": _DAY_MS, "us": _DAY_MS * 1000, "ns": _DAY_MS * 10**6}[array.type.unit]
        days = _int64(pc.cast(array, pa.int64())) // per_day
    else:
        raise _mismatch(column, array.type)
    return np.clip(days, grid.lo, grid.hi), valid, valid & ((days < grid.lo) | (days > grid.hi))


def _numbers(column: Column, grid: Grid, array: pa.Array) -> tuple[Integers, Mask, Mask]:
    low, high, step = rational(column.low or "0"), rational(column.high or "0"), column_step(column)
    points, stretch = int((high - low) / step), int(step / grid.step)
    kind = array.type
    if pa.types.is_boolean(kind):
        array = pc.cast(array, pa.int8())
    valid = _valid(array)
    whole = low.denominator == step.denominator == 1 and max(abs(low), abs(high), step) < _WIDE
    if whole and pa.types.is_integer(array.type):
        given = _int64(array)
        limited = (given < int(low)) | (given > int(high))
        values = np.clip(given, int(low), int(high)) - int(low)
        index = (values + int(step) // 2) // int(step)
    elif pa.types.is_integer(array.type) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        real = pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        finite = np.isfinite(real)
        valid = valid & finite
        limited = (real < float(low)) | (real > float(high))
        real = np.clip(np.where(finite, real, float(low)), float(low), float(high))
        index = np.rint((real - float(low)) / float(step)).astype(np.int64)
    else:
        raise _mismatch(column, kind)
    return np.clip(index, 0, points) * stretch + grid.lo, valid, valid & limited


def _int64(array: pa.Array) -> Integers:
    values = pc.fill_null(array, pa.scalar(0).cast(array.type)).to_numpy(zero_copy_only=False)
    if values.dtype == np.uint64:
        values = np.minimum(values, np.uint64(2**63 - 1))
    return np.asarray(values.astype(np.int64))


def _valid(array: pa.Array) -> Mask:
    return np.asarray(pc.is_valid(array).to_numpy(zero_copy_only=False))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _mismatch(column: Column, kind: Any) -> MalformedError:
    return MalformedError(
        "capsule.schema",
        f"column {column.name!r} is declared as {column.type} but stored as {kind}",
        next_step="the provider must seal the table again with the declared types",
    )
