"""Reference semantics of dates, quotients and texts on natural values; shares no code with typing rules or compiler."""

from __future__ import annotations

import datetime
import math
import re
from fractions import Fraction
from typing import Any

from cloister.plan import algebra as a

Value = bool | Fraction | datetime.date | str | None


def date_value(node: a.DatePart | a.DateFloor | a.DateShift, date: datetime.date) -> Value:
    """Return a part of a date, the first day of its period, or a later date."""
    if isinstance(node, a.DateShift):
        return date + datetime.timedelta(days=node.days)
    quarter = -(-date.month // 3)
    if isinstance(node, a.DateFloor):
        starts = {
            "week": date - datetime.timedelta(days=date.isoweekday() - 1),
            "month": datetime.date(date.year, date.month, 1),
            "quarter": datetime.date(date.year, 3 * quarter - 2, 1),
            "year": datetime.date(date.year, 1, 1),
        }
        return starts[node.unit]
    parts = {
        "year": date.year,
        "quarter": quarter,
        "month": date.month,
        "week": date.isocalendar()[1],
        "day": date.day,
        "weekday": date.isoweekday() - 1,
        "dayofyear": date.toordinal() - datetime.date(date.year, 1, 1).toordinal() + 1,
    }
    return Fraction(parts[node.part])


def quotient(node: a.Quotient, left: Value, right: Value) -> Value:
    """Return a quotient, rounded down to the step and limited."""
    if left is None or right is None or number(right) == 0:
        return None
    return _stepped(number(left) / number(right), node)


def text_value(node: Any, texts: list[Any]) -> Value:
    """Return what a text scalar makes of its terms' texts."""
    if any(text is None for text in texts):
        return False if isinstance(node, a.Matches) else None
    text = "".join(part[:256] for part in texts)[:256]
    match node:
        case a.Letters(kind="strip"):
            return re.sub("\\A[ \t\n\v\f\r]+|[ \t\n\v\f\r]+\\Z", "", text)
        case a.Letters():
            return re.sub("[a-zA-Z]", lambda found: getattr(found[0], node.kind)(), text)
        case a.Length():
            return Fraction(len(text))
        case a.Matches():
            places = [i for i in range(len(text) + 1) if text[i : i + len(node.text)] == node.text]
            wanted = {"starts_with": 0, "ends_with": len(text) - len(node.text)}.get(node.kind)
            return wanted in places if wanted is not None else bool(places)
        case a.Slice():
            return "".join(letter for i, letter in enumerate(text) if node.start <= i < node.stop)
        case a.Replace():
            return node.new.join(text.split(node.old))[:256]
        case a.Recode():
            return text if text in node.labels else "(other)"
        case a.Parse():
            found = re.fullmatch("([+-]?)([0-9]{1,12})(?:\\.([0-9]{1,6}))?", text)
            if not found:
                return None
            size = int(found[2]) + Fraction(int(found[3] or "0"), 10 ** len(found[3] or ""))
            return _stepped(-size if found[1] == "-" else size, node)
    return text


def whole(value: Fraction) -> int:
    """Return a value that must be an integer."""
    if value.denominator != 1:
        raise ArithmeticError("a value is not on its grid")
    return value.numerator


def number(value: Any) -> Fraction:
    """Return a number, True as 1 and False as 0."""
    return Fraction(int(value)) if isinstance(value, bool) else value


def _stepped(value: Fraction, node: a.Quotient | a.Parse) -> Fraction:
    step = Fraction(node.step)
    return min(max(math.floor(value / step) * step, Fraction(node.low)), Fraction(node.high))
