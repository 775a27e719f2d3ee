"""Suggesting a data card: from names, types and public ranges, unless the provider asks to look at the values.

A suggestion is a start. Each guess has its reason, and what a person must confirm is marked ``TODO`` in the card: a
card with such a mark does not lint, so nobody signs a guess. What is derived from values is public once the card is:
a minimum and a maximum are two people's values, and a list of categories says which occur. That is why looking needs a
flag, why the result says what it would reveal, and why rounding goes outwards and rare categories are left out.
How texts look (is this a phone number?) is always considered, because it can only raise a tier.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from cloister.contract.card import Card, Column
from cloister.provider import column_kinds, readers, tables

REVEALS = (
    "bounds of {column} were read off the data and rounded outwards: they tell of the smallest and largest value",
    "categories of {column} were read off the data: the list says which values occur in {rare} rows or more",
)
DISCLOSURE = "DISCLOSURE"
RARE = 5
_MOST_CATEGORIES = 50
# Public ranges by the words in a column's name: (pattern, low, high, step, unit of measure).
_PUBLIC_RANGES = (
    (r"age|alter|years_old|年龄", "0", "110", "1", "years"),
    (r"year|jahr|年份", "1900", "2100", "1", "year"),
    (r"month|月份", "1", "12", "1", "month"),
    (r"hours_per_week", "0", "168", "1", "h"),
    (r"hour", "0", "23", "1", "hour"),
    (r"bmi", "10.0", "60.0", "0.1", "kg/m2"),
    (r"height|身高", "40", "250", "1", "cm"),
    (r"weight|体重", "0", "400", "1", "kg"),
    (r"percent|pct|share|rate", "0", "100", "1", "%"),
    (r"children|kids|dependents", "0", "20", "1", ""),
)
_KEYS = re.compile(r"(^|_)(id|key|nr|no|number|uuid|ssn|mrn)$|^(id|uuid)|编号$", re.IGNORECASE)
_DOMAINS = {"sex": ("female", "male"), "gender": ("female", "male")}


class Guess(msgspec.Struct, frozen=True):
    """One guess about a column, and why; ``open`` where the provider must fill something in."""

    column: str
    what: Literal["key", "tier", "bounds", "categories"]
    text: str
    open: bool = False


class Suggestion(msgspec.Struct, frozen=True):
    """A proposed card, what a person still has to decide, what publishing it would reveal, and a reason per guess."""

    card: Card
    open_points: tuple[str, ...]
    reveals: tuple[str, ...]
    guesses: tuple[Guess, ...] = ()


def suggest(data: Any, name: str, *, look_at_values: bool = False, look_at: Sequence[str] = ()) -> Suggestion:
    """Return a proposed card for a table.

    Args:
        data: A DataFrame, a PyArrow table, or the path of a CSV or Parquet file.
        name: The table's name, such as ``clinic.visits``.
        look_at_values: Also propose bounds, and categories of columns that look public, from the values; ``reveals``
            then says of what.
        look_at: Columns to look at whatever they look like.

    Raises:
        MalformedError: ``seal.format``.
    """
    table = tables.read(data)
    guesses: list[Guess] = []
    reveals: list[str] = []
    key = next((column for column in table.column_names if _KEYS.search(column)), None)
    columns = []
    for number, column_name in enumerate(table.column_names):
        is_key = column_name == key
        column, said = _column(column_name, table.column(number), is_key=is_key)
        public = column.tier <= 3 and not column.personal
        if not is_key and (look_at_values or column_name in look_at):
            column, read = _from_values(column, table.column(number), public=public or column_name in look_at)
            reveals += read
            said = [guess for guess in said if not (read and guess.open)]
            said += [
                Guess(column_name, "categories" if column.domain else "bounds", f"{DISCLOSURE}: {text}")
                for text in read
            ]
        columns.append(_marked(column, said))
        guesses += said
    return Suggestion(
        _card(name, data, key, columns), tuple(_open_points(key, guesses)), tuple(reveals), tuple(guesses)
    )


def _card(name: str, data: Any, key: str | None, columns: Sequence[Column]) -> Card:
    return Card(
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
        retention="TODO: how long you keep the data",
        purposes=("TODO: what the table may be used for",),
    )


def _source_name(data: Any) -> str:
    if isinstance(data, str) and "://" in data:
        return readers.label(data)  # never the address, which can hold a password
    return Path(data).name if isinstance(data, str | Path) else "TODO: where the data come from"


def _open_points(key: str | None, guesses: Sequence[Guess]) -> list[str]:
    points = [] if key else ["key: no column looks like a unit's identifier; name the one that does"]
    points += [f"{guess.column}: {guess.text}" for guess in guesses if guess.open]
    points.append("every column: is its tier right? its description, in words of yours, without TODO")
    return [*points, "rows_per_unit, row_limit, unit, population, retention and purposes: facts only you know"]


def _marked(column: Column, said: Sequence[Guess]) -> Column:
    """Return the column with its guesses in its description, marked so that it lints only after somebody read it."""
    text = "; ".join(guess.text for guess in said)
    return msgspec.structs.replace(column, description=f"{column.name.replace('_', ' ')} (TODO confirm: {text})")


def _column(name: str, values: pa.ChunkedArray, *, is_key: bool) -> tuple[Column, list[Guess]]:
    kind = _kind(values.type)
    column = Column(name, kind, 3, name, nullable=not is_key)
    column, said = _with_tier(column, values, is_key=is_key)
    if is_key:
        column = column if kind in ("string", "int") else msgspec.structs.replace(column, type="string")
        return column, [Guess(name, "key", "the unit key, for its name ends like an identifier's"), *said]
    if kind in ("int", "decimal"):
        column, bounds = _with_range(column)
        said.append(bounds)
    if kind == "date":
        said.append(Guess(name, "bounds", "two centuries; narrower bounds make answers more exact"))
        column = msgspec.structs.replace(column, low="1900-01-01", high="2100-12-31")
    if kind == "string":
        known = _DOMAINS.get(name.lower())
        column = msgspec.structs.replace(column, domain=known)
        text = "categories as the name suggests" if known else "the list of categories, or leave the column out"
        said.append(Guess(name, "categories", text, open=known is None))
    return column, said


def _with_tier(column: Column, values: pa.ChunkedArray, *, is_key: bool) -> tuple[Column, list[Guess]]:
    named, looks = column_kinds.by_name(column.name), column_kinds.by_look(_texts(values))
    why, found = "its name", named
    if looks is not None and (named is None or looks.tier > named.tier):
        why, found = "how its texts look", looks
    if found is None:
        tier: column_kinds.Tier = 2 if is_key else 3
        text = f"tier {tier}, for want of a better guess"
        return msgspec.structs.replace(column, tier=tier, personal=is_key), [Guess(column.name, "tier", text)]
    text = f"tier {found.tier}: {found.name}, by {why}; {found.why}"
    if is_key and found.tier > 2:
        text += "; `seal --recipe` can pseudonymise it"
    done = msgspec.structs.replace(column, tier=found.tier, personal=found.personal or is_key)
    return done, [Guess(column.name, "tier", text)]


def _texts(values: pa.ChunkedArray) -> list[str]:
    """The first texts of a column of texts or whole numbers; what it looks like is never part of a card."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        return []
    return [str(value) for value in values.slice(0, 2000).to_pylist() if value is not None]


def _with_range(column: Column) -> tuple[Column, Guess]:
    name = re.sub(r"[^0-9a-z一-鿿]+", "_", column.name.lower())
    for pattern, low, high, step, unit in _PUBLIC_RANGES:
        if re.search(rf"(^|_)({pattern})($|_)", name):
            kind: Literal["int", "decimal"] = "decimal" if "." in step or column.type == "decimal" else "int"
            done = msgspec.structs.replace(column, type=kind, low=low, high=high, step=step, unit_of_measure=unit)
            return done, Guess(column.name, "bounds", f"{low} to {high} {unit}".rstrip() + " is a public range")
    text = "low, high and step, from what the column can mean (not from the data)"
    return column, Guess(column.name, "bounds", text, open=True)


def _kind(kind: pa.DataType) -> Literal["bool", "int", "decimal", "date", "string"]:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "decimal"
    return "date" if pa.types.is_temporal(kind) else "string"


def _from_values(column: Column, values: pa.ChunkedArray, *, public: bool) -> tuple[Column, list[str]]:
    """Return the column with bounds or categories read off the data, and what that reveals."""
    if column.type == "string" and column.domain is None and public:
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        counted = pc.value_counts(values.combine_chunks()).to_pylist()
        found = {str(one["values"]): one["counts"] for one in counted if one["values"] not in (None, "")}
        kept = sorted(text for text, many in found.items() if many >= RARE)
        if kept and len(found) <= _MOST_CATEGORIES:
            said = REVEALS[1].format(column=column.name, rare=RARE)
            return msgspec.structs.replace(column, domain=tuple(kept)), [said]
    if column.type in ("int", "decimal") and column.low is None:
        finite = values.filter(pc.is_finite(values)) if pa.types.is_floating(values.type) else values
        edges = pc.min_max(finite).as_py()
        if edges["min"] is not None and edges["min"] < edges["max"]:
            low, high, step = _outwards(column.type, Fraction(edges["min"]), Fraction(edges["max"]))
            said = REVEALS[0].format(column=column.name)
            return msgspec.structs.replace(column, low=low, high=high, step=step), [said]
    return column, []


def _outwards(kind: str, least: Fraction, most: Fraction) -> tuple[str, str, str]:
    """Return bounds on one significant digit of the larger, and a step that divides them."""
    size = max(abs(least), abs(most))
    unit = Fraction(10) ** (len(str(int(size))) - 1) if size >= 1 else Fraction(1, 10)
    unit = max(unit, Fraction(1)) if kind == "int" else unit
    low, high = least // unit * unit, -(-most // unit) * unit
    step = unit / 1000 if kind == "decimal" else Fraction(1)
    while (high - low) / step > 2**30:
        step *= 10
    return _decimal(low), _decimal(high), _decimal(step)


def _decimal(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{float(value):.12g}"
