"""Measuring a table: every dimension, its score, and whether it reaches what was asked."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from cloister.contract.card import Card
from cloister.contract.findings import exact
from cloister.contract.lineage import DIMENSIONS, Dimension
from cloister.provider import tables
from cloister.provider.quality import across, completeness, consistency, timeliness, validity
from cloister.provider.quality.context import Context, context
from cloister.provider.quality.measures import Measure, Plots, QualityReport, Score, grade
from cloister.provider.quality.rules import Rules, thresholds

_LONGEST = 20


def measure(
    data: Any,
    card: Card | None = None,
    rules: Rules | None = None,
    *,
    as_of: datetime.date,
    show_examples: bool = False,
    name: str = "",
    other: Callable[[str], pa.Table] = tables.read,
    beside: Sequence[tuple[Card, pa.Table]] = (),
) -> QualityReport:
    """Return the quality report of a table.

    Args:
        data: Whatever ``seal`` takes.
        card: What the table is measured against; without one its validity is not measured.
        rules: What else the provider knows of it, and thresholds.
        as_of: The day that ages are counted from.
        show_examples: Also collect values that are not as they should be.
        name: The table's name where there is no card.
        other: Reads the tables that the rules refer to.
        beside: The other tables of the capsule: units of this one that they do not have are counted.

    Raises:
        MalformedError: ``seal.format``, ``quality.column``, ``quality.rules``, ``quality.threshold``.
        RefusedError: ``quality.reference``, ``quality.key``.
    """
    rules = rules or Rules()
    wanted = thresholds(rules.at_least)
    it = context(tables.read(data, card), card, rules, as_of=as_of, show_examples=show_examples)
    with it.rows:
        found = (
            *completeness.measures(it),
            *validity.measures(it),
            *consistency.measures(it, other),
            *across.measures(it, beside),
            *timeliness.measures(it),
        )
        scores = tuple(_score(dimension, found, wanted.get(dimension, "")) for dimension in DIMENSIONS)  # type: ignore[arg-type]
        return QualityReport(
            card.name if card else name, as_of.isoformat(), it.rows.rows, len(it.names), scores, found, _plots(it),
            secrets.token_hex(32),
        )  # fmt: skip


def _score(dimension: Dimension, found: tuple[Measure, ...], at_least: str) -> Score:
    mine = [one for one in found if one.dimension == dimension and one.scored and one.total]
    if not mine:
        # What was not measured cannot have reached a threshold.
        return Score(dimension, None, "", at_least, below=bool(at_least))
    worst = min(mine, key=lambda one: (one.ratio, one.subject, one.name))
    least = exact(at_least)
    below = least is not None and worst.good < least * worst.total
    return Score(dimension, worst, grade(worst.ratio), at_least, below)


def _plots(it: Context) -> Plots:
    cells: dict[str, dict[str, int]] = {}
    for name in it.names:
        found = it.sealing.columns.get(name) if it.sealing else None
        if found is None:
            here = it.rows.one(f"SELECT count(*) FILTER ({it.filled(name)}) FROM t")[0]
            cells[name] = {"as declared" if it.card is None else "not declared": here, "empty": it.rows.rows - here}
            continue
        wrong = {
            "out of bounds": found.out_of_bounds,
            "unknown category": found.unknown_category,
            "unreadable": found.unreadable,
            "empty": found.null - found.unreadable,
        }
        cells[name] = {"as declared": it.rows.rows - sum(wrong.values()), **wrong}
    key = it.key()
    units: dict[int, int] = {}
    if key is not None:
        sizes = (
            f"SELECT least(count(*), {_LONGEST}) AS n FROM (SELECT {key} AS u FROM t) WHERE u IS NOT NULL GROUP BY u"
        )
        units = dict(sorted(it.rows.all(f"SELECT n, count(*) FROM ({sizes}) GROUP BY n")))
    return Plots(cells, {name: timeliness.months(it, name) for name in it.dates()}, units)
