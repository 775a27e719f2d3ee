"""The look-up of a match: for which of these units the match column holds. The answer has the shape of the question.

One unit is found by the order in which tables are sorted, many by one pass over the table; which of the two follows
from the number of targets, and how long the answer may take from that and the declared size (``lookup_ms``).
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from cloister.contract.card import Card
from cloister.contract.exits import MatchTerms
from cloister.errors import PlanError
from cloister.plan.grid import of_column
from cloister.vault.targets import Targets

# Finer than the ladder of releases: one target is to be answered while a clerk waits.
LADDER_MS = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000, 120_000)
_FIXED_MS = 3.0
_MS_PER_ROW = 1.2e-5
_MS_PER_TARGET = 1e-2
_UNIT = "(upper::UHUGEINT << 64) | lower::UHUGEINT AS unit"


def condition(card: Card, terms: MatchTerms) -> str:
    """Return what a stored row must fulfil for its unit to match: what the clause declares, never the asker.

    A match on the table's key column is whether the unit is in the table at all.
    """
    if terms.column in card.key:
        return "TRUE"
    place = next(index for index, item in enumerate(card.columns) if item.name == terms.column)
    if card.columns[place].type == "bool":
        return f"c{place}"
    grid = of_column(card.name, card.columns[place], is_key=False)
    return f"c{place} = {grid.lo + grid.domain.index(terms.value)}"


def found(cursor: duckdb.DuckDBPyConnection, table: str, holds: str, targets: Targets) -> tuple[bool, ...]:
    """Return for each target whether a row of that unit in the stored table fulfils ``holds`` (``condition``)."""
    if len(targets.units) == 1:
        number = int.from_bytes(targets.units[0], "big")
        query = f"SELECT count(*) FROM {table} WHERE unit = ?::UHUGEINT AND {holds}"  # noqa: S608
        rows = cursor.execute(query, [str(number)]).fetchall()
        return (bool(rows[0][0]) and targets.possible[0],)
    halves = np.frombuffer(b"".join(targets.units), ">u8").astype(np.uint64).reshape(-1, 2)
    asked = {"place": np.arange(len(halves)), "upper": halves[:, 0], "lower": halves[:, 1]}
    cursor.register("asked", pa.table(asked))
    try:
        units = f"SELECT place, {_UNIT} FROM asked"  # noqa: S608
        query = f"SELECT place FROM ({units}) SEMI JOIN (SELECT unit FROM {table} WHERE {holds}) USING (unit)"  # noqa: S608
        places = cursor.execute(query).fetchnumpy()["place"]
    finally:
        cursor.unregister("asked")
    there = np.zeros(len(halves), np.bool_)
    there[np.asarray(places, np.int64)] = True
    return tuple((there & np.asarray(targets.possible)).tolist())


def lookup_ms(targets: int, row_limit: int, rows_per_unit: int) -> int:
    """Return the planned time of an answer: the next step of the ladder above twice the predicted time.

    One target reads the rows a unit can have, more of them read every row.

    Raises:
        PlanError: The prediction is beyond the ladder.
    """
    rows = min(rows_per_unit, row_limit) if targets == 1 else row_limit
    predicted = _FIXED_MS + rows * _MS_PER_ROW + targets * _MS_PER_TARGET
    for step in LADDER_MS:
        if step > 2 * predicted:
            return step
    raise PlanError(
        "plan.cost",
        "the match would take longer than two minutes on a table of the declared size",
        next_step="ask about fewer units at once",
    )
