"""Typing rules of dates: parts, periods and shifts, all within the years 1 to 9999."""

from __future__ import annotations

import calendar
import datetime

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import Grid
from cloister.plan.kinds import as_number, mismatch

_EPOCH = datetime.date(1970, 1, 1).toordinal()
FIRST_DAY = 1 - _EPOCH
LAST_DAY = datetime.date.max.toordinal() - _EPOCH


def date_of(day: int) -> datetime.date:
    """Return the date ``day`` days after 1970-01-01."""
    return datetime.date.fromordinal(day + _EPOCH)


def part_of(part: str, date: datetime.date) -> int:
    """Return a part of a date as a whole number."""
    match part:
        case "year":
            return date.year
        case "quarter":
            return (date.month + 2) // 3
        case "month":
            return date.month
        case "week":
            return date.isocalendar().week
        case "day":
            return date.day
        case "weekday":
            return date.weekday()
        case _:
            return date.timetuple().tm_yday


def date_part(node: a.DatePart, term: Grid) -> Grid:
    """Return the grid of a part of a date: the exact smallest and largest part within the range of the date."""
    first, last = date_of(_date(term, "`date_part`").lo), date_of(term.hi)
    low, high = part_of(node.part, first), part_of(node.part, last)
    if node.part != "year" and _cycle(node.part, first) != _cycle(node.part, last):
        low, high = (0, 6) if node.part == "weekday" else (1, max(high, _longest(node.part, first, last)))
    return Grid("number", low, high, nullable=term.nullable)


def floor_day(unit: str, day: int) -> int:
    """Return the first day of the period in which ``day`` lies."""
    date = date_of(day)
    match unit:
        case "week":
            return day - date.weekday()
        case "month":
            first = date.replace(day=1)
        case "quarter":
            first = date.replace(month=(date.month - 1) // 3 * 3 + 1, day=1)
        case _:
            first = date.replace(month=1, day=1)
    return first.toordinal() - _EPOCH


def date_floor(node: a.DateFloor, term: Grid) -> Grid:
    """Return the grid of the first days of periods."""
    low, high = (floor_day(node.unit, end) for end in (_date(term, "`date_floor`").lo, term.hi))
    return Grid("date", low, high, nullable=term.nullable)


def date_shift(node: a.DateShift, term: Grid) -> Grid:
    """Return the grid of dates some days later."""
    _date(term, "`date_shift`")
    return calendar_range(Grid("date", term.lo + node.days, term.hi + node.days, nullable=term.nullable))


def shifted(kind: str, left: Grid, right: Grid) -> Grid:
    """Return the grid of a date plus or minus a whole number of days."""
    if left.kind != "date":
        left, right = right, left
        if kind != "add":
            raise mismatch(f"`{kind}`", "a date on its left side", right)
    if right.kind == "bool":
        right = as_number(right, f"`{kind}`")
    if kind == "mul" or right.kind != "number" or right.step.denominator != 1:
        raise mismatch("a date", "a whole number of days to be added or subtracted", right)
    ends = sorted((right.lo * right.step.numerator, right.hi * right.step.numerator))
    if kind == "sub":
        ends = [-ends[1], -ends[0]]
    return calendar_range(Grid("date", left.lo + ends[0], left.hi + ends[1], nullable=left.nullable or right.nullable))


def calendar_range(grid: Grid) -> Grid:
    """Return a grid of dates if all of them are dates of the years 1 to 9999."""
    if grid.lo >= FIRST_DAY and grid.hi <= LAST_DAY:
        return grid
    raise PlanError(
        "plan.range",
        "a date could leave the years 1 to 9999",
        next_step="clip the dates or the days first",
        nearest=("term.clip(low, high)",),
    )


def _date(term: Grid, what: str) -> Grid:
    if term.kind != "date":
        raise mismatch(what, "a date", term)
    return term


def _cycle(part: str, date: datetime.date) -> tuple[int, ...]:
    """Return the period within which a part only grows."""
    match part:
        case "week":
            return (date.isocalendar().year,)
        case "day":
            return (date.year, date.month)
        case "weekday":
            return ((date.toordinal() - 1) // 7,)
        case _:
            return (date.year,)


def _longest(part: str, first: datetime.date, last: datetime.date) -> int:
    """Return the largest part at the end of a period that ends in the range (all periods repeat within 40 years)."""
    if part in ("quarter", "month"):
        return {"quarter": 4, "month": 12}[part]
    if part == "day":
        months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month - 1)
        return max(calendar.monthrange(month // 12, month % 12 + 1)[1] for month in months[:120])
    if part == "week":
        years = range(first.isocalendar().year, last.isocalendar().year)
        return max(datetime.date(max(year, 1), 12, 28).isocalendar().week for year in years[:40])
    return max(365 + calendar.isleap(year) for year in range(first.year, last.year)[:40])
