"""``resample``: a group-by over the periods of a date, all of those that the data card's range of dates touches.

In pandas the first and last period are those of the data; here they are public. Periods without rows are there too, as
in pandas. Labels are those of pandas: ends of weeks, months, quarters and years (``"MS"``, ``"QS"``, ``"YS"``: their
first days).
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal, NoReturn

from cloister.errors import PlanError
from cloister.sandbox import refuse, terms
from cloister.sandbox.group import GroupBy
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

MOST = 1_000
Unit = Literal["day", "week", "month", "quarter", "year"]
_UNITS: dict[str, Unit] = {
    "D": "day", "W": "week", "W-SUN": "week", "M": "month", "ME": "month", "MS": "month", "Q": "quarter",
    "QE": "quarter", "QS": "quarter", "Y": "year", "YE": "year", "YS": "year", "A": "year",
}  # fmt: skip
_ALIASES = {"M": "ME", "Q": "QE", "Y": "YE", "A": "YE", "W": "W-SUN"}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_FORMS = ('visits.resample("ME", on="date").cost.mean()', 'visits.set_index("date").cost.resample("W").sum()')


def resampled(rows: Rows, columns: dict[str, Term], rule: Any, on: Any, options: dict[str, Any]) -> GroupBy:
    """Return the group-by of rows over the periods of the date column ``on``.

    Raises:
        PlanError: No such period or date column, more than 1,000 periods, or an option that is not pandas' default.
    """
    term = columns.get(on)
    if not isinstance(on, str) or term is None or term.grid.kind != "date":
        raise PlanError("api.resample", "rows are resampled on a column of dates: say which", nearest=_FORMS)
    for name, value in options.items():
        if value is not None:
            raise PlanError("api.option", f"resample({name}={value!r}) is not part of it here", nearest=_FORMS)
    return GroupBy(rows, {on: periods(term, rule)}, columns)


def periods(term: Term, rule: Any) -> Term:
    """Return the period that a date lies in, as a category of all periods of its public range.

    Raises:
        PlanError: No such period, or more than 1,000 of them.
    """
    unit = _UNITS.get(rule) if isinstance(rule, str) else None
    if unit is None:
        raise PlanError("api.resample", f"{rule!r} is not a period; {', '.join(_UNITS)} are", nearest=_FORMS)
    first, last = (datetime.date(1970, 1, 1) + datetime.timedelta(days=end) for end in (term.grid.lo, term.grid.hi))
    starts = []
    for start in _starts(first, unit):
        starts.append(start)
        if start > last or len(starts) > MOST:
            break
    if len(starts) > MOST:
        raise PlanError(
            "api.resample",
            f"the public range of the dates has more than {MOST:,} such periods",
            next_step="use longer periods, or first keep a part of the range: d = visits[visits.date >= '2024-01-01']",
            nearest=_FORMS,
        )
    alias = _ALIASES.get(rule, rule)
    ends = alias not in {"D", "MS", "QS", "YS"}
    labels = [after - datetime.timedelta(days=1) if ends else start for start, after in pairwise(starts)]
    return dataclasses.replace(terms.cut(term, starts, [label.isoformat() for label in labels]), freq=alias)


def _starts(first: datetime.date, unit: Unit) -> Iterator[datetime.date]:
    """Yield the first days of periods, from that of ``first`` on."""
    if unit in {"day", "week"}:
        day = first - datetime.timedelta(days=first.weekday() if unit == "week" else 0)
        while True:
            yield day
            day += datetime.timedelta(days=7 if unit == "week" else 1)
    length = _MONTHS[unit]
    month = 12 * first.year + (first.month - 1) // length * length
    while True:
        yield datetime.date(month // 12, month % 12 + 1, 1)
        month += length


class Dated:
    """``visits.set_index("date")``: the rows with their dates as index, to be resampled."""

    def __init__(self, rows: Rows, columns: dict[str, Term], on: str, selection: Any = None) -> None:
        self._rows = rows
        self._columns = columns
        self._on = on
        self._selection = selection

    def resample(self, rule: Any, **options: Any) -> GroupBy:
        """Group by the weeks, months, quarters or years of the index."""
        found = resampled(self._rows, self._columns, rule, self._on, options)
        return found if self._selection is None else found[self._selection]

    def __getitem__(self, key: Any) -> Dated:
        for name in [key] if isinstance(key, str) else list(key):
            if name not in self._columns or name == self._on:
                raise refuse.unknown_column(name, self._others(), self._rows.label)
        return Dated(self._rows, self._columns, self._on, key if isinstance(key, str) else list(key))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._others():
            return self[name]
        raise NotDatedError(
            "api.set_index",
            f"with dates as index rows are resampled; {name} is asked of the table itself",
            nearest=(f'{self._rows.label}.set_index("{self._on}").resample("ME").size()', *_FORMS),
        )

    def __iter__(self) -> NoReturn:
        raise refuse.fresh(PlanError("api.set_index", "rows are not listed", nearest=_FORMS))

    def __dir__(self) -> list[str]:
        return ["resample", *self._others()]

    def _ipython_key_completions_(self) -> list[str]:
        return self._others()

    def _others(self) -> list[str]:
        return [name for name in self._columns if name != self._on]

    def __repr__(self) -> str:
        return f"<{self._rows.label} by {self._on}; resample it by weeks, months, quarters or years>"


class NotDatedError(PlanError, AttributeError):
    """Also an ``AttributeError``, so that ``hasattr`` and completion work."""
