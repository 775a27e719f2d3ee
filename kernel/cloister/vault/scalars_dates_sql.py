"""Dates in SQL: parts, periods and shifts of whole days since 1970-01-01, within the years 1 to 9999."""

from __future__ import annotations

from cloister.plan import algebra as a
from cloister.plan.rules_dates import FIRST_DAY
from cloister.vault.sql_terms import Lowered, Parameters, wide

_FUNCTIONS = {"year": "year", "quarter": "quarter", "month": "month", "week": "weekofyear", "day": "day",
              "dayofyear": "dayofyear"}  # fmt: skip


def date_part(node: a.DatePart, term: Lowered, bind: Parameters) -> str:
    """Return a part of a date."""
    if node.part == "weekday":
        return f"({_from_monday(term, bind)} % {bind.integer(7)})"
    return f"CAST({_FUNCTIONS[node.part]}({_date(term)}) AS BIGINT)"


def date_floor(node: a.DateFloor, term: Lowered, bind: Parameters) -> str:
    """Return the first day of a period."""
    if node.unit == "week":
        seven = bind.integer(7)
        return f"({_from_monday(term, bind)} // {seven} * {seven} + {bind.integer(FIRST_DAY)})"
    return f"CAST(CAST(date_trunc('{node.unit}', {_date(term)}) AS DATE) - DATE '1970-01-01' AS BIGINT)"


def shifted(node: a.Arithmetic, left: Lowered, right: Lowered, bind: Parameters) -> str:
    """Return a date plus or minus a number of days."""
    date, number = (left, right) if left[1].kind == "date" else (right, left)
    days = f"({wide(number)} * {bind.integer(number[1].step.numerator)})"
    return f"({wide(date)} {'+' if node.kind == 'add' else '-'} {days})"


def _from_monday(term: Lowered, bind: Parameters) -> str:
    """Return the days since 0001-01-01, which is a Monday: never negative."""
    return f"({wide(term)} - {bind.integer(FIRST_DAY)})"


def _date(term: Lowered) -> str:
    return f"(DATE '1970-01-01' + CAST({term[0]} AS INTEGER))"
