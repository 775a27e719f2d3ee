"""Literals of the plan language: exact rationals and calendar dates, written as text.

A number is ``-?digits``, ``-?digits.digits`` or ``-?digits/digits``; a date is ``YYYY-MM-DD`` and stands for
the days since 1970-01-01. Nothing here is a float, so a literal means the same on every machine.
"""

from __future__ import annotations

import datetime
import math
import re
from fractions import Fraction

from cloister.errors import PlanError

MAX_DIGITS = 40
_DECIMAL = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}(\.[0-9]{{1,{MAX_DIGITS}}})?")
_RATIO = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}/[0-9]{{1,{MAX_DIGITS}}}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH = datetime.date(1970, 1, 1).toordinal()


def rational(text: str) -> Fraction:
    """Return the exact value of a number literal.

    Raises:
        PlanError: ``text`` is not a number literal, is too long, or divides by zero.
    """
    if _DECIMAL.fullmatch(text) or (_RATIO.fullmatch(text) and int(text.partition("/")[2]) != 0):
        return Fraction(text)
    raise PlanError(
        "plan.number",
        f"{text[:60]!r} is not a number of the plan language",
        next_step='write numbers as "18", "-0.5" or "1/3", with at most 40 digits in each part',
    )


def days(text: str) -> int:
    """Return the days from 1970-01-01 to the ISO date ``text``.

    Raises:
        PlanError: ``text`` is not a date of years 1 to 9999.
    """
    if _DATE.fullmatch(text):
        try:
            return datetime.date.fromisoformat(text).toordinal() - _EPOCH
        except ValueError:
            pass
    raise PlanError("plan.date", f"{text[:60]!r} is not a calendar date", next_step='write dates as "2024-01-31"')


def iso(day: int) -> str:
    """Return the ISO date ``day`` days after 1970-01-01."""
    return datetime.date.fromordinal(day + _EPOCH).isoformat()


def common_step(a: Fraction, b: Fraction) -> Fraction:
    """Return the largest step of which both steps are whole multiples (their rational gcd)."""
    return Fraction(math.gcd(a.numerator * b.denominator, b.numerator * a.denominator), a.denominator * b.denominator)


def text_of(value: Fraction) -> str:
    """Return ``value`` as the shortest literal of the form ``p`` or ``p/q``."""
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
