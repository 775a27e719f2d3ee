"""``column.dt``: parts of dates. A date here is a day, without a time and without a time zone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import refuse, terms
from cloister.sandbox.terms import Term

if TYPE_CHECKING:
    from cloister.sandbox.column import Column

Part = Literal["year", "quarter", "month", "week", "day", "weekday", "dayofyear"]
Period = Literal["week", "month", "quarter", "year"]
_PERIODS: dict[str, Period] = {
    "W": "week", "W-SUN": "week", "M": "month", "ME": "month", "MS": "month", "Q": "quarter", "QE": "quarter",
    "QS": "quarter", "Y": "year", "YE": "year", "YS": "year", "A": "year", "week": "week", "month": "month",
    "quarter": "quarter", "year": "year",
}  # fmt: skip
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Dates:
    """Parts of the dates of a column."""

    def __init__(self, column: Column) -> None:
        self._column = column

    def _part(self, part: Part) -> Column:
        return self._column._with(terms.node(a.DatePart(part, self._column._term.scalar), self._column._term))

    def _first(self, unit: Period, term: Term | None = None) -> Term:
        source = self._column._term if term is None else term
        return terms.node(a.DateFloor(unit, source.scalar), source)

    def _starts(self, unit: Period, later: int = 0) -> Column:
        """Return whether the day ``later`` days on is the first of its period."""
        day = terms.later(self._column._term, later)
        return self._column._with(terms.compare("eq", self._first(unit, day), day))

    year = property(lambda self: self._part("year"), doc="The year.")
    quarter = property(lambda self: self._part("quarter"), doc="The quarter, 1 to 4.")
    month = property(lambda self: self._part("month"), doc="The month, 1 to 12.")
    day = property(lambda self: self._part("day"), doc="The day of the month.")
    weekday = dayofweek = day_of_week = property(lambda self: self._part("weekday"), doc="The weekday, Monday is 0.")
    dayofyear = day_of_year = property(lambda self: self._part("dayofyear"), doc="The day of the year, from 1.")
    date = property(lambda self: self._column, doc="The day itself.")
    is_month_start = property(lambda self: self._starts("month"), doc="Whether it is the first day of a month.")
    is_month_end = property(lambda self: self._starts("month", 1), doc="Whether it is the last day of a month.")
    is_quarter_start = property(lambda self: self._starts("quarter"), doc="Whether it is the first day of a quarter.")
    is_quarter_end = property(lambda self: self._starts("quarter", 1), doc="Whether it is the last day of a quarter.")
    is_year_start = property(lambda self: self._starts("year"), doc="Whether it is the first of January.")
    is_year_end = property(lambda self: self._starts("year", 1), doc="Whether it is the last of December.")

    @property
    def is_leap_year(self) -> Column:
        """Whether the year has 366 days."""
        year = self.year
        return ((year % 4 == 0) & (year % 100 != 0)) | (year % 400 == 0)  # type: ignore[no-any-return]

    @property
    def days_in_month(self) -> Column:
        """How many days the month has."""
        first = self._first("month")
        # The 31st day after the first of a month lies in the next month.
        after = self._first("month", terms.later(first, 31))
        return self._column._with(terms.arithmetic("sub", after, first))

    daysinmonth = days_in_month

    def isocalendar(self) -> IsoCalendar:
        """Year, week and day of ISO 8601."""
        return IsoCalendar(self)

    def normalize(self) -> Column:
        """The day itself: there is no time."""
        return self._column

    def floor(self, freq: str) -> Column:
        """The first day of the week, month, quarter or year: ``floor("month")``; ``floor("D")`` is the day itself."""
        if freq in {"D", "h", "min", "s"}:
            return self._column
        return self.to_period(freq)

    def to_period(self, freq: str = "M") -> Column:
        """The first day of the period each date lies in, as a date."""
        if freq not in _PERIODS:
            raise PlanError(
                "api.dt", f"{freq!r} is not a period", nearest=('visits.date.dt.to_period("M")', "visits.date.dt.year")
            )
        return self._column._with(self._first(_PERIODS[freq]))

    def month_name(self) -> Column:
        """The English name of the month."""
        return _named(self.month, dict(enumerate(_MONTHS, 1)))

    def day_name(self) -> Column:
        """The English name of the weekday."""
        return _named(self.weekday, dict(enumerate(_DAYS)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"dates have no {name!r}")
        words = refuse.part(self._column._words(), "dt")
        if name not in refuse.DT:
            raise refuse.unknown_part(name, self, words)
        return refuse.look_up(refuse.DT, name, words)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]


class IsoCalendar:
    """``column.dt.isocalendar()``."""

    def __init__(self, dates: Dates) -> None:
        self._dates = dates

    @property
    def week(self) -> Column:
        """The ISO week."""
        return self._dates._part("week")

    @property
    def day(self) -> Column:
        """The ISO weekday, Monday is 1."""
        return self._dates.weekday + 1  # type: ignore[no-any-return]

    @property
    def year(self) -> Column:
        """The ISO year: that of the week's Thursday."""
        thursday = terms.later(self._dates._first("week"), 3)
        return self._dates._column._with(terms.node(a.DatePart("year", thursday.scalar), thursday))


class Days:
    """``column.dt`` of a difference of dates, which is a number of days here."""

    def __init__(self, column: Column) -> None:
        self._column = column

    @property
    def days(self) -> Column:
        """The number of days."""
        return self._column


def _named(column: Column, names: dict[int, str]) -> Column:
    """Return the names of the numbers of a column."""
    (_, last), *others = reversed(names.items())
    found = terms.literal(last, None)
    for number, name in others:
        found = terms.case(
            terms.compare("eq", column._term, terms.literal(number, None)), terms.literal(name, None), found
        )
    if column._term.grid.nullable:
        found = terms.only(found, terms.negation(terms.is_null(column._term)))
    return column._with(found)
