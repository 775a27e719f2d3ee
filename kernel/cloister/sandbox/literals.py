"""Python values as literals of the plan: exact numbers, dates and texts, never a binary float.

A float becomes the decimal number the analyst wrote: ``24.9`` is 249/10, not the binary fraction nearest to it.
"""

from __future__ import annotations

import datetime
import decimal
import math
import numbers
import re
from fractions import Fraction
from typing import Any

import numpy as np

from cloister.errors import PlanError
from cloister.plan.grid import Grid
from cloister.plan.numbers import MAX_DIGITS, iso

_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?(?:[T ]00:00(?::00)?)?")
_MAX_EXPONENT = 39


def fraction(value: Any) -> Fraction:
    """Return the exact rational a Python or NumPy number stands for.

    Raises:
        PlanError: Not a finite number.
    """
    if isinstance(value, bool | np.bool_):
        return Fraction(int(value))
    if isinstance(value, numbers.Rational | np.integer):
        return Fraction(int(value)) if isinstance(value, np.integer) else Fraction(value)
    if isinstance(value, float | np.floating | decimal.Decimal):
        if not math.isfinite(value):
            raise PlanError(
                "plan.literal",
                f"{value} is not a number a plan can hold",
                next_step="use isna() for missing values, and one-sided clip(lower=...) instead of infinity",
            )
        exact = value if isinstance(value, decimal.Decimal) else decimal.Decimal(repr(float(value)))
        if abs(exact.adjusted()) > _MAX_EXPONENT:
            raise PlanError("plan.literal", f"{value} is out of range")
        return Fraction(exact)
    raise PlanError(
        "plan.literal",
        f"a {type(value).__name__} cannot be used as a number in a plan",
        next_step="use a Python or NumPy number, or a column of the same handle",
    )


def text_of(value: Fraction) -> str:
    """Return the plan's text of a rational: a decimal if it ends, else ``p/q``."""
    twos = fives = 0
    rest = value.denominator
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    digits = max(twos, fives)
    if rest != 1 or digits > MAX_DIGITS:
        return f"{value.numerator}/{value.denominator}"
    if digits == 0:
        return str(value.numerator)
    scaled = abs(value.numerator) * 10**digits // value.denominator
    whole, part = divmod(scaled, 10**digits)
    return f"{'-' if value < 0 else ''}{whole}.{part:0{digits}d}"


def number_text(value: Any) -> str:
    """Return the plan's text of a number."""
    return text_of(fraction(value))


def date_text(value: Any) -> str:
    """Return the ISO date of a date, a midnight timestamp or a text such as ``2024-01-31``, ``2024-01``, ``2024``.

    Raises:
        PlanError: Not a calendar date.
    """
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[s]").item()
    if isinstance(value, datetime.datetime):
        if value.time() != datetime.time() or value.tzinfo is not None:
            raise _no_date(value, "only whole days without a time zone are compared")
        value = value.date()
    if isinstance(value, datetime.date):
        return value.isoformat()
    found = _DATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise _no_date(value, "it is not a date")
    year, month, day = (int(part or 1) for part in found.groups())
    try:
        return datetime.date(year, month, day).isoformat()
    except ValueError as error:
        raise _no_date(value, "there is no such day") from error


def is_date(value: Any) -> bool:
    """Return whether a value is a date or a timestamp."""
    return isinstance(value, datetime.date | np.datetime64) and not is_missing(value)


def grid_text(grid: Grid, point: int) -> str:
    """Return the literal text of one integer point of a number or date grid."""
    return iso(point) if grid.kind == "date" else text_of(point * grid.step)


def plain(text: str) -> int | float:
    """Return a number literal as the Python number it looks like.

    Raises:
        ValueError: A date.
    """
    value = Fraction(text)
    return int(value) if value.denominator == 1 else float(value)


def is_missing(value: Any) -> bool:
    """Return whether a value is one of pandas' spellings of *missing* (None, NaN, NaT, NA)."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def _no_date(value: Any, why: str) -> PlanError:
    return PlanError(
        "plan.literal", f"{value!r} cannot be compared with a date: {why}", next_step='write dates as "2024-01-31"'
    )
