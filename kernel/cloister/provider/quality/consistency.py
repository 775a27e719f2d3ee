"""Consistency: do the rows agree with each other, and with other tables?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from cloister.errors import RefusedError
from cloister.provider.engine import Rows
from cloister.provider.quality.context import Context
from cloister.provider.quality.measures import Measure


def measures(it: Context, other: Callable[[str], pa.Table]) -> Iterator[Measure]:
    """Yield duplicate rows, units with too many rows or several spellings, contradictions, and dangling keys.

    Args:
        it: The table.
        other: Reads another table that a rule refers to.

    Raises:
        RefusedError: ``quality.reference``: the other table has no such column.
    """
    yield _duplicates(it)
    key = it.key()
    if key is not None and it.card is not None and it.card.unit == "none":
        once = _by_unit(it, key)
        total, good = it.rows.one(f"SELECT count(*), count(*) FILTER (n = 1) FROM ({once})")
        bad = it.examples(f"SELECT v FROM ({once}) WHERE n > 1")
        yield Measure("consistency", "keys that occur once", ", ".join(it.card.key), good, total, examples=bad)
    if key is not None and it.card is not None and it.card.unit != "none":
        yield from _units(it, key, it.card.rows_per_unit)
        for name in it.rules.constant:
            pairs = f"SELECT {key} AS u, {it.spelling()} AS e, {it.rows.text(name)} AS v FROM t"
            yield _grouped(it, "one value per unit", name, pairs, by="u")
        # One item that belongs to several persons (PBoC draft, article 32): a mix-up, or a shared phone.
        for name in it.rules.one_unit:
            pairs = f"SELECT {it.rows.text(name)} AS v, {it.rows.text(name)} AS e, {key} AS u FROM t"
            yield _grouped(it, "one unit per value", name, pairs, by="v")
    elif it.rules.constant or it.rules.one_unit:
        raise RefusedError(
            "quality.key", "rules about units need a card whose key columns the data have", next_step="--card CARD"
        )
    for first, second in it.rules.order:
        yield _order(it, first, second)
    for rule in it.rules.references:
        yield _reference(it, rule.column, rule.key, rule.data, other(rule.data))


def _duplicates(it: Context) -> Measure:
    texts = ", ".join(it.rows.text(name) for name in it.names) or "i"
    distinct = it.rows.one(f"SELECT count(*) FROM (SELECT DISTINCT {texts} FROM t)")[0]
    return Measure("consistency", "rows that are no copy of another", "table", distinct, it.rows.rows)


def _by_unit(it: Context, key: str) -> str:
    """SQL of the units: their rows, their spellings, and one of these."""
    pairs = f"SELECT {key} AS u, {it.spelling()} AS k FROM t"
    return f"SELECT u, count(*) AS n, count(DISTINCT k) AS m, min(k) AS v FROM ({pairs}) WHERE u IS NOT NULL GROUP BY u"


def _units(it: Context, key: str, limit: int) -> Iterator[Measure]:
    grouped = _by_unit(it, key)
    units, spelt, within = it.rows.one(
        f"SELECT count(*), count(*) FILTER (m = 1), count(*) FILTER (n <= {limit:d}) FROM ({grouped})"
    )
    subject = ", ".join(it.card.key if it.card else ())
    yield Measure(
        "consistency", f"units with at most {limit} rows", subject, within, units,
        examples=it.examples(f"SELECT v FROM ({grouped}) WHERE n > {limit:d}"),
    )  # fmt: skip
    yield Measure(
        "consistency", "units spelt in one way", subject, spelt, units,
        note="the card's normaliser makes them one" if spelt < units else "",
        examples=it.examples(f"SELECT v FROM ({grouped}) WHERE m > 1"),
    )  # fmt: skip


def _grouped(it: Context, name: str, subject: str, pairs: str, *, by: str) -> Measure:
    """Groups with one value only, of the groups that have any."""
    value = "v" if by == "u" else "u"
    filled = f"SELECT * FROM ({pairs}) WHERE u IS NOT NULL AND v IS NOT NULL AND v <> ''"
    counted = f"SELECT min(e) AS v, count(DISTINCT {value}) AS n FROM ({filled}) GROUP BY {by}"
    total, good = it.rows.one(f"SELECT count(*), count(*) FILTER (n = 1) FROM ({counted})")
    bad = f"SELECT v FROM ({counted}) WHERE n > 1"
    return Measure("consistency", name, subject, good, total, examples=it.examples(bad))


def _order(it: Context, first: str, second: str) -> Measure:
    days = f"SELECT {it.rows.day(first)} AS a, {it.rows.day(second)} AS b FROM t"
    total, good = it.rows.one(
        f"SELECT count(*), count(*) FILTER (a <= b) FROM ({days}) WHERE a IS NOT NULL AND b IS NOT NULL"
    )
    bad = f"SELECT CAST(a AS VARCHAR) || ' > ' || CAST(b AS VARCHAR) AS v FROM ({days}) WHERE a > b"
    return Measure("consistency", "dates in order", f"{first}, {second}", good, total, examples=it.examples(bad))


def _reference(it: Context, column: str, key: str, name: str, table: pa.Table) -> Measure:
    if key not in table.column_names:
        raise RefusedError("quality.reference", f"{name} has no column {key}", next_step="correct the rules")
    with Rows(table.select([key])) as others:
        known = others.column(others.text(key))
    with it.rows.beside(known.cast(pa.string())):
        text = it.rows.text(column)
        total, good = it.rows.one(
            f"SELECT count(*), count(*) FILTER ({text} IN (SELECT v FROM other)) FROM t WHERE {it.filled(column)}"
        )
        bad = f"SELECT {text} AS v FROM t WHERE {it.filled(column)} AND {text} NOT IN (SELECT v FROM other)"
        return Measure("consistency", f"found in {key} of {name}", column, good, total, examples=it.examples(bad))
