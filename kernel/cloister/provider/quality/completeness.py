"""Completeness: is there a value where one should be?"""

from __future__ import annotations

from collections.abc import Iterator

from cloister.provider.quality.context import Context
from cloister.provider.quality.measures import Measure


def measures(it: Context) -> Iterator[Measure]:
    """Yield the values there are by column, and the rows that have all they must have.

    A column that the card lets be empty is measured and does not count towards the score; without a card each counts.
    """
    if it.card is not None:
        declared = len(it.card.columns)
        here = sum(1 for _ in it.declared())
        missing = ", ".join(column.name for column in it.card.columns if column.name not in it.names)
        yield Measure(
            "completeness", "declared columns", "table", here, declared, note=missing and f"absent: {missing}"
        )
    optional = {column.name for column in it.declared() if column.nullable}
    columns = [column.name for column in it.declared()] if it.card else list(it.names)
    for name in columns:
        good = it.rows.one(f"SELECT count(*) FILTER ({it.filled(name)}) FROM t")[0]
        note = "may be empty" if name in optional else ""
        yield Measure("completeness", "values", name, good, it.rows.rows, scored=name not in optional, note=note)
    required = [name for name in columns if name not in optional]
    if required:
        whole = " AND ".join(it.filled(name) for name in required)
        good = it.rows.one(f"SELECT count(*) FILTER ({whole}) FROM t")[0]
        yield Measure("completeness", "whole rows", "table", good, it.rows.rows)
