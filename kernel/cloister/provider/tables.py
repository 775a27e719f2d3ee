"""Bringing a provider's table into the types of its card, with a report for the provider.

The vault enforces the card in any case (privacy.md section 1 of the design); what is counted here only tells the
provider how much of the data the card would clip, map to ``(other)`` or drop.
"""

from __future__ import annotations

import datetime
import io
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from cloister.contract.capsule import PRESENT
from cloister.contract.card import OTHER, Card, Column
from cloister.errors import MalformedError, RefusedError
from cloister.provider import readers

MAX_TEXT = 256
_MIN_KEY_WIDTH = 32
_MAX_INT = 2**62
_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int": pa.int64(),
    "decimal": pa.float64(),
    "date": pa.date32(),
    "string": pa.string(),
}


class ColumnReport(msgspec.Struct, frozen=True):
    """What the card would change in one column, as counts of rows."""

    out_of_bounds: int = 0
    unknown_category: int = 0
    unreadable: int = 0
    null: int = 0


class Report(msgspec.Struct, frozen=True):
    """The check of a table against its card. It describes the data: for the provider's eyes only."""

    rows: int
    null_keys: int
    rows_over_limit: int
    left_out: tuple[str, ...]
    columns: dict[str, ColumnReport]


read = readers.read


def prepare(card: Card, table: pa.Table) -> tuple[pa.Table, Report]:
    """Return the declared columns in the card's types, and what the card would change in them.

    Raises:
        RefusedError: ``seal.column`` (a declared column is missing), ``seal.rows``.
        MalformedError: ``seal.type``.
    """
    missing = [column.name for column in card.columns if column.name not in table.column_names]
    if missing:
        raise RefusedError(
            "seal.column", "the data have no column " + ", ".join(missing), next_step="correct the card or the data"
        )
    if table.num_rows > card.row_limit:
        raise readers.too_many_rows()
    arrays, reports = {}, {}
    for column in card.columns:
        arrays[column.name], reports[column.name] = _conform(
            column, table.column(column.name), card.identifies(column.name)
        )
    _check_types(card, table.num_rows, reports)
    conformed = pa.table(arrays)
    left_out = tuple(name for name in table.column_names if card.column(name) is None)
    null_keys, over = _units(card, conformed)
    return conformed, Report(table.num_rows, null_keys, over, left_out, reports)


def _check_types(card: Card, rows: int, reports: dict[str, ColumnReport]) -> None:
    """Refuse columns of which no value can be read as the card declares them; some that cannot are reported only.

    Raises:
        MalformedError: ``seal.type``: which columns, and of how many rows; no value is named.
    """
    wrong = [
        f"{column.name} as {column.type} (0 of {reports[column.name].unreadable:,} values)"
        for column in card.columns
        if reports[column.name].unreadable and reports[column.name].null == rows
    ]
    if wrong:
        raise MalformedError(
            "seal.type",
            f"{len(wrong)} of {len(card.columns)} columns cannot be read as the card says, in {rows:,} rows: "
            + ", ".join(wrong),
            clause="columns",
            next_step="correct the types in the card, or convert the columns",
        )


def fixed_width(table: pa.Table, rows: int) -> pa.Table:
    """Return ``rows`` rows without Parquet nulls and of fixed width: values and ``c?`` per column (capsule.py)."""
    arrays: list[pa.Array] = []
    fields: list[pa.Field] = []
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        padded = pa.concat_arrays([*_chunks(column), pa.nulls(rows - len(column), column.type)])
        values = pc.fill_null(padded, _filler(column.type))
        arrays += [values, pc.is_valid(padded)]
        fields += [pa.field(name, values.type, nullable=False), pa.field(name + PRESENT, pa.bool_(), nullable=False)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def plain_bytes(table: pa.Table) -> bytes:
    """Return the bytes of a table of fixed width, for commitments to it."""
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return out.getvalue()


def _chunks(column: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return list(column.chunks) if isinstance(column, pa.ChunkedArray) else [column]


def _filler(kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_fixed_size_binary(kind):
        return pa.scalar(bytes(kind.byte_width), kind)
    return pa.scalar(0, pa.int32()).cast(kind) if pa.types.is_date32(kind) else pa.scalar(0).cast(kind)


def _conform(column: Column, source: pa.ChunkedArray, is_key: bool) -> tuple[pa.Array, ColumnReport]:
    present = pc.sum(pc.is_valid(source)).as_py() or 0
    values = _cast(column, source)
    if column.type == "string":
        values = _without_empty(column, values, is_key)
        present = len(values) - values.null_count
    kept = len(values) - values.null_count
    outside = unknown = 0
    if column.type in ("int", "decimal", "date") and not is_key:
        outside = _count_outside(column, values)
    if column.type == "string":
        if column.domain is not None:
            known = pc.is_in(values, value_set=pa.array(column.domain, pa.string()))
            unknown = (pc.sum(pc.and_(pc.is_valid(values), pc.invert(known))).as_py()) or 0
            values = pc.if_else(pc.or_(known, pc.is_null(values)), values, pa.scalar(OTHER))
        values = _fixed_text(column, values)
    return values, ColumnReport(outside, unknown, present - kept, len(values) - kept)


def _without_empty(column: Column, values: pa.Array, is_key: bool) -> pa.Array:
    """Return texts with null for the empty ones: rows without a key must not become one unit called ``""``.

    A blank key is empty, for keys are compared without the space around them; a domain may list the empty text.
    """
    if not is_key and "" in (column.domain or ()):
        return values
    text = pc.utf8_trim_whitespace(values) if is_key else values
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, values.type), values)


def _cast(column: Column, source: pa.ChunkedArray) -> pa.Array:
    """Cast to the card's type; NaN, infinities and values that are none of this type become null."""
    kind = _TYPES[column.type]
    array = source.combine_chunks()
    array = pa.concat_arrays(_chunks(array)) if isinstance(array, pa.ChunkedArray) else array
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
            array = array.cast(pa.string())
        if pa.types.is_null(array.type):
            return array.cast(kind)
        if column.type in ("int", "decimal", "bool"):
            return _number(array, kind)
        if column.type == "date" and pa.types.is_timestamp(array.type):
            # Down, not towards 1970: half a second before midnight is still that day.
            return pc.floor_temporal(array, unit="second").cast(pa.timestamp("s"), safe=False).cast(kind, safe=False)
        return array.cast(kind)
    except pa.ArrowInvalid:
        return _one_by_one(array, kind)
    except pa.ArrowException:
        raise MalformedError(
            "seal.type",
            f"column {column.name} cannot be read as {column.type}: its {len(array):,} rows are {array.type}",
            clause=f"columns.{column.name}",
            next_step="correct the type in the card, or convert the column",
        ) from None


def _number(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_floating(array.type):
        # NaN and infinities first: no cast may see them.
        array = pc.if_else(pc.is_finite(array), array, pa.scalar(None, array.type))
        if pa.types.is_integer(kind):
            array = pc.round(array, round_mode="half_to_even")
            fits = pc.less(pc.abs(array), pa.scalar(float(_MAX_INT), array.type))
            array = pc.if_else(fits, array, pa.scalar(None, array.type))
    numbers = array.cast(kind)
    if pa.types.is_floating(kind):
        numbers = pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, kind))
    return numbers


def _one_by_one(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The slow way for text with some unreadable values: each is tried alone and becomes null if it fails."""
    read = _READERS.get(kind)

    def attempt(value: Any) -> Any:
        text = value.strip() if isinstance(value, str) else value
        if read is None or text is None or text == "":
            return None
        try:
            result = read(text)
        except (ValueError, KeyError, OverflowError):
            return None
        return result if not isinstance(result, int) or abs(result) < _MAX_INT else None

    return _number(pa.array([attempt(value) for value in array.to_pylist()], kind), kind)


def _whole(text: Any) -> int:
    try:
        return int(text)
    except ValueError:
        return round(float(text))


def _truth(text: Any) -> bool:
    # The words that Arrow reads as a condition where all of a column are such words.
    return {"true": True, "1": True, "false": False, "0": False}[str(text).lower()]


_READERS: dict[pa.DataType, Callable[[Any], Any]] = {
    pa.bool_(): _truth,
    pa.int64(): _whole,
    pa.float64(): float,
    pa.date32(): lambda text: datetime.date.fromisoformat(str(text)[:10]),
}


def bounds(column: Column) -> tuple[pa.Scalar, pa.Scalar]:
    """Return the bounds of a column of numbers or dates, in the type it is sealed in."""
    if column.type == "date":
        low, high = (pa.scalar(text).cast(pa.date32()) for text in (column.low, column.high))
    elif column.type == "int":
        # As whole numbers: Arrow compares none beyond 2^53 with a float.
        ends = (int(Fraction(text or "0")) for text in (column.low, column.high))
        low, high = (pa.scalar(max(-_MAX_INT, min(end, _MAX_INT)), pa.int64()) for end in ends)
    else:
        low, high = (pa.scalar(float(Fraction(text or "0"))) for text in (column.low, column.high))
    return low, high


def _count_outside(column: Column, values: pa.Array) -> int:
    low, high = bounds(column)
    outside = pc.or_(pc.less(values, low), pc.greater(values, high))
    return pc.sum(outside).as_py() or 0


def _fixed_text(column: Column, values: pa.Array) -> pa.Array:
    cut = pc.utf8_slice_codeunits(values, 0, MAX_TEXT)
    if column.domain is not None:
        width = max(len(value.encode()) for value in (*column.domain, OTHER))
    else:
        longest = pc.max(pc.binary_length(cut)).as_py() or 0
        width = max(_MIN_KEY_WIDTH, 1 << (longest - 1).bit_length()) if longest else _MIN_KEY_WIDTH
    data = [None if text is None else text.encode().ljust(width, b"\0") for text in cut.to_pylist()]
    return pa.array(data, pa.binary(width))


def _units(card: Card, table: pa.Table) -> tuple[int, int]:
    """Return the rows without a unit key and the rows beyond ``rows_per_unit``."""
    if not card.key:
        return 0, 0
    keys = list(zip(*(table.column(name).to_pylist() for name in card.key), strict=True))
    whole = [key for key in keys if None not in key]
    counts = Counter(tuple(_normal(card, part) for part in key) for key in whole)
    return len(keys) - len(whole), sum(max(0, count - card.rows_per_unit) for count in counts.values())


def _normal(card: Card, value: Any) -> Any:
    if isinstance(value, bytes) and card.normaliser == "ascii-lower-strip":
        return value.rstrip(b"\0").strip().lower()
    return value
