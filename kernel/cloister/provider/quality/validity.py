"""Validity: is what is there what the card says it is? Counted with the code that seals."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import duckdb

from cloister.contract.card import Column
from cloister.errors import MalformedError
from cloister.provider.engine import literal
from cloister.provider.quality.context import Context
from cloister.provider.quality.measures import Measure


def measures(it: Context) -> Iterator[Measure]:
    """Yield, by column: values of the declared type, within bounds, in the domain, and matching a pattern."""
    for column in it.declared():
        if it.sealing is None:
            continue
        found = it.sealing.columns[column.name]
        present = it.rows.rows - found.null + found.unreadable
        readable = present - found.unreadable
        if column.type != "string":
            yield Measure(
                "validity", f"readable as {column.type}", column.name, readable, present,
                examples=it.examples(_unreadable(it, column)) if found.unreadable else (),
            )  # fmt: skip
        if column.low is not None and column.high is not None:
            yield Measure(
                "validity", f"within {column.low} to {column.high}", column.name, readable - found.out_of_bounds,
                readable, examples=it.examples(_outside(it, column)) if found.out_of_bounds else (),
            )  # fmt: skip
        if column.domain is not None:
            yield Measure(
                "validity", f"one of {len(column.domain)} categories", column.name, readable - found.unknown_category,
                readable, examples=it.examples(_unknown(it, column)) if found.unknown_category else (),
            )  # fmt: skip
    for name, pattern in it.rules.patterns.items():
        matches = f"regexp_full_match({it.rows.text(name)}, {literal(pattern)})"
        try:
            total, good = it.rows.one(f"SELECT count(*), count(*) FILTER ({matches}) FROM t WHERE {it.filled(name)}")
        except duckdb.Error as error:
            raise MalformedError(
                "quality.rules", f"the pattern of {name} is no regular expression (RE2)", next_step="correct it"
            ) from error
        bad = f"SELECT {it.rows.text(name)} AS v FROM t WHERE {it.filled(name)} AND NOT {matches}"
        yield Measure("validity", "matches its pattern", name, good, total, examples=it.examples(bad))


def _unreadable(it: Context, column: Column) -> str:
    text = it.rows.text(column.name)
    if column.type == "date":
        bad = f"({it.rows.day(column.name)}) IS NULL"
    elif column.type == "bool":
        bad = f"TRY_CAST({text} AS BOOLEAN) IS NULL"
    else:
        bad = f"NOT coalesce(isfinite(TRY_CAST({text} AS DOUBLE)), false)"
    return f"SELECT {text} AS v FROM t WHERE {it.filled(column.name)} AND {bad}"


def _outside(it: Context, column: Column) -> str:
    text = it.rows.text(column.name)
    if column.type == "date":
        value, low, high = it.rows.day(column.name), f"DATE '{column.low}'", f"DATE '{column.high}'"
    else:
        value = f"TRY_CAST({text} AS DOUBLE)"
        low, high = (repr(float(Fraction(end or "0"))) for end in (column.low, column.high))
    return f"SELECT {text} AS v FROM t WHERE isfinite({value}) AND NOT ({value} BETWEEN {low} AND {high})"


def _unknown(it: Context, column: Column) -> str:
    known = ", ".join(literal(value) for value in column.domain or ())
    text = it.rows.text(column.name)
    return f"SELECT {text} AS v FROM t WHERE {it.filled(column.name)} AND {text} NOT IN ({known})"
