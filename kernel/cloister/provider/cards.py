"""Suggesting a data card: from names and types only, unless the provider asks to look at the values.

A suggestion is a start, with gaps a person fills (a bound nobody knows is left out, and the lint says so). What is
derived from values is public once the card is: minimum and maximum are two people's values, and a list of categories
says which occur. That is why looking needs a flag, and why the result says what it would reveal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from cloister.contract.card import Card, Column
from cloister.provider import readers, tables

REVEALS = (
    "bounds of {column} were read off the data: minimum and maximum are the values of two units",
    "categories of {column} were read off the data: the list says which values occur",
)
_MAX_CATEGORIES = 50
# Public ranges by the words in a column's name: (pattern, low, high, step, unit of measure).
_PUBLIC_RANGES = (
    (r"age|alter|years_old", "0", "110", "1", "years"),
    (r"year|jahr", "1900", "2100", "1", "year"),
    (r"month", "1", "12", "1", "month"),
    (r"hour", "0", "23", "1", "hour"),
    (r"bmi", "10.0", "60.0", "0.1", "kg/m2"),
    (r"height", "40", "250", "1", "cm"),
    (r"weight", "0", "400", "1", "kg"),
    (r"percent|pct|share|rate", "0", "100", "1", "%"),
    (r"children|kids|dependents", "0", "20", "1", ""),
)
_KEYS = re.compile(r"(^|_)(id|key|nr|no|number|uuid|ssn|mrn)$|^(id|uuid)", re.IGNORECASE)
_PERSONAL = re.compile(r"name|mail|phone|address|birth|id$", re.IGNORECASE)
_DOMAINS = {"sex": ("female", "male"), "gender": ("female", "male")}


class Suggestion(msgspec.Struct, frozen=True):
    """A proposed card, what a person still has to decide, and what publishing it would reveal of the data."""

    card: Card
    open_points: tuple[str, ...]
    reveals: tuple[str, ...]


def suggest(data: Any, name: str, *, look_at_values: bool = False) -> Suggestion:
    """Return a proposed card for a table.

    Args:
        data: A DataFrame, a PyArrow table, or the path of a CSV or Parquet file.
        name: The table's name, such as ``clinic.visits``.
        look_at_values: Also propose bounds and categories from the values; ``reveals`` then says of what.

    Raises:
        MalformedError: ``seal.format``.
    """
    table = tables.read(data)
    open_points: list[str] = []
    reveals: list[str] = []
    key = next((column for column in table.column_names if _KEYS.search(column)), None)
    if key is None:
        open_points.append("key: no column looks like a unit's identifier; name the one that does")
    columns = []
    for column_name in table.column_names:
        column = _column(column_name, table.schema.field(column_name), is_key=column_name == key)
        if look_at_values and column_name != key:
            column, said = _from_values(column, table.column(column_name))
            reveals += said
        columns.append(column)
        open_points += _gaps(column, is_key=column_name == key)
    open_points += ["rows_per_unit, row_limit, unit, population and purposes: facts only you know"]
    card = Card(
        name=name,
        title=name.replace("_", " ").replace(".", ": "),
        description=f"Table {name}",
        unit="person" if key else "none",
        key=(key,) if key else (),
        normaliser="ascii-lower-strip",
        population=name.split(".", maxsplit=1)[0] + ".people",
        rows_per_unit=1,
        # The next power of two of the actual size would be a statistic; a coarse class says little.
        row_limit=1 << 20,
        grade="production",
        columns=tuple(columns),
        source=_source_name(data),
        retention="not stated",
        purposes=("not-stated",),
    )
    return Suggestion(card, tuple(open_points), tuple(reveals))


def _source_name(data: Any) -> str:
    if isinstance(data, str) and "://" in data:
        return readers.label(data)  # never the address, which can hold a password
    return Path(data).name if isinstance(data, str | Path) else "not stated"


def _column(name: str, field: pa.Field, *, is_key: bool) -> Column:
    kind = _kind(field.type)
    personal = is_key or bool(_PERSONAL.search(name))
    base = Column(name, kind, 2 if is_key else 3, name.replace("_", " "), nullable=not is_key, personal=personal)
    if is_key:
        return base if kind in ("string", "int") else msgspec.structs.replace(base, type="string")
    if kind in ("int", "decimal"):
        for pattern, low, high, step, unit in _PUBLIC_RANGES:
            if re.search(rf"(^|_)({pattern})($|_)", name, re.IGNORECASE):
                kind_of_range: Literal["int", "decimal"] = "decimal" if "." in step or kind == "decimal" else "int"
                return msgspec.structs.replace(
                    base, type=kind_of_range, low=low, high=high, step=step, unit_of_measure=unit
                )
    if kind == "date":
        return msgspec.structs.replace(base, low="1900-01-01", high="2100-12-31")
    if kind == "string" and name.lower() in _DOMAINS:
        return msgspec.structs.replace(base, domain=_DOMAINS[name.lower()])
    return base


def _kind(kind: pa.DataType) -> Literal["bool", "int", "decimal", "date", "string"]:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "decimal"
    return "date" if pa.types.is_temporal(kind) else "string"


def _from_values(column: Column, values: pa.ChunkedArray) -> tuple[Column, list[str]]:
    if column.type == "string" and column.domain is None:
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        found = sorted(str(value) for value in pc.unique(values).to_pylist() if value is not None)
        if 1 <= len(found) <= _MAX_CATEGORIES:
            said = REVEALS[1].format(column=column.name)
            return msgspec.structs.replace(column, domain=tuple(found)), [said]
    if column.type in ("int", "decimal") and column.low is None:
        edges = pc.min_max(values).as_py()
        if edges["min"] is not None and edges["min"] < edges["max"]:
            low, high = int(edges["min"] // 1), int(-(-edges["max"] // 1))
            said = REVEALS[0].format(column=column.name)
            return msgspec.structs.replace(column, low=str(low), high=str(high), step="1"), [said]
    return column, []


def _gaps(column: Column, *, is_key: bool) -> list[str]:
    if is_key:
        return []
    if column.type in ("int", "decimal") and column.low is None:
        return [f"{column.name}: low, high and step, from what the column can mean (not from the data)"]
    if column.type == "string" and column.domain is None:
        return [f"{column.name}: the list of categories, or leave the column out"]
    return [f"{column.name}: is tier {column.tier} right?"]
