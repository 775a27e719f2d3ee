"""Timeliness: how old are the dates, and is there something for every period?"""

from __future__ import annotations

from collections.abc import Iterator

from cloister.provider.quality.context import Context
from cloister.provider.quality.measures import Measure

MOST_MONTHS = 1200


def measures(it: Context) -> Iterator[Measure]:
    """Yield, by date column: dates not in the future, the newest date's age, periods with rows."""
    for name in dict.fromkeys((*it.dates(), *it.rules.frequency, *it.rules.newest_within_days)):
        day, today = it.rows.day(name), f"DATE '{it.as_of.isoformat()}'"
        total, past, newest, oldest = it.rows.one(
            f"SELECT count(d), count(*) FILTER (d <= {today}), date_diff('day', max(d) FILTER (d <= {today}), {today}),"
            f" date_diff('day', min(d), {today}) FROM (SELECT {day} AS d FROM t)"
        )
        note = "" if newest is None else f"the newest is {newest:,} days old, the oldest {oldest:,}"
        later = f"SELECT d AS v FROM (SELECT {day} AS d FROM t) WHERE d > {today}"
        yield Measure(
            "timeliness", "dates not in the future", name, past, total, note=note, examples=it.examples(later)
        )
        if (most := it.rules.newest_within_days.get(name)) is not None:
            fresh = newest is not None and newest <= most
            yield Measure("timeliness", f"newest date within {most:,} days", name, int(fresh), 1)
        if (unit := it.rules.frequency.get(name)) is not None:
            yield _periods(it, name, unit)


def _periods(it: Context, name: str, unit: str) -> Measure:
    """Periods with rows, of those from the first to the last that has any."""
    day = f"date_trunc('{unit}', {it.rows.day(name)})"
    periods = f"SELECT {day} AS p FROM t"
    there, span = it.rows.one(
        f"SELECT count(DISTINCT p), coalesce(date_diff('{unit}', min(p), max(p)) + 1, 0) FROM ({periods})"
    )
    gap = it.rows.one(
        f"SELECT coalesce(max(date_diff('{unit}', q, p)) - 1, 0) FROM (SELECT p, lag(p) OVER (ORDER BY p) AS q "
        f"FROM (SELECT DISTINCT {day} AS p FROM t) WHERE p IS NOT NULL)"
    )[0]
    note = f"the longest gap is {gap:,} {unit}s" if gap else ""
    return Measure("timeliness", f"a row in every {unit}", name, there, span, note=note)


def months(it: Context, name: str) -> dict[str, int]:
    """Return rows by month (YYYY-MM), empty months too; by year (YYYY) where there are more than a century of them."""
    day = it.rows.day(name)
    days = f"SELECT year(d) * 12 + month(d) - 1 AS m FROM (SELECT {day} AS d FROM t) WHERE d IS NOT NULL"
    found = dict(it.rows.all(f"SELECT m, count(*) FROM ({days}) GROUP BY m"))
    if not found:
        return {}
    first, last = min(found), max(found)
    if last - first < MOST_MONTHS:
        return {f"{at // 12:04d}-{at % 12 + 1:02d}": found.get(at, 0) for at in range(first, last + 1)}
    years: dict[str, int] = {}
    for at in sorted(found):
        years[f"{at // 12:04d}"] = years.get(f"{at // 12:04d}", 0) + found[at]
    return years
