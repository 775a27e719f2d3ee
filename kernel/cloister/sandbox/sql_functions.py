"""SQL's functions of one row as nodes of the plan algebra: dates, texts, rounding.

Where SQL and the algebra differ (ties of ``ROUND``, signs of ``%``, Sunday as 0) the node that means what SQL means is
built; where there is none, the function is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from sqlglot import exp

from cloister.plan import algebra as a
from cloister.sandbox import literals, terms
from cloister.sandbox.terms import Term

if TYPE_CHECKING:
    from cloister.sandbox.sql_scalars import Reader

_PARTS: dict[str, Literal["year", "quarter", "month", "week", "day", "weekday", "dayofyear"]] = {
    "YEAR": "year", "QUARTER": "quarter", "MONTH": "month", "WEEK": "week", "DAY": "day", "DAYOFMONTH": "day",
    "DOY": "dayofyear", "DAYOFYEAR": "dayofyear",
}  # fmt: skip
_PERIODS: dict[str, Literal["week", "month", "quarter", "year"]] = {
    "WEEK": "week", "MONTH": "month", "QUARTER": "quarter", "YEAR": "year",
}  # fmt: skip


def _extract(reader: Reader, node: exp.Extract) -> Term:
    return _part(reader, node, str(node.this.name).upper(), node.expression)


def _part(reader: Reader, node: exp.Expr, word: str, inside: exp.Expr) -> Term:
    term = reader.column(inside)._term
    if word in _PARTS:
        return terms.node(a.DatePart(_PARTS[word], term.scalar), term)
    day = terms.node(a.DatePart("weekday", term.scalar), term)
    after = terms.arithmetic("add", day, terms.literal(1, None))
    if word in {"ISODOW", "DAYOFWEEKISO"}:
        return after
    if word in {"DOW", "DAYOFWEEK", "WEEKDAY"}:
        # Sunday is 0 here, and Monday is 0 in the algebra.
        return terms.node(a.Modulo(after.scalar, "7"), after)
    raise reader.unknown(node)


def _named(word: str) -> Callable[[Reader, Any], Term]:
    return lambda reader, node: _part(reader, node, word, node.this)


def _period(reader: Reader, node: exp.TimestampTrunc | exp.DateTrunc) -> Term:
    term, word = reader.column(node.this)._term, str(node.args["unit"].name).upper()
    if word not in _PERIODS:
        raise reader.unknown(node)
    return terms.node(a.DateFloor(_PERIODS[word], term.scalar), term)


def _letters(kind: Literal["lower", "upper", "strip"]) -> Callable[[Reader, Any], Term]:
    def build(reader: Reader, node: exp.Expr) -> Term:
        reader.only(node, "this")
        term = reader.column(node.this)._term
        return terms.node(a.Letters(kind, term.scalar), term)

    return build


def _length(reader: Reader, node: exp.Length) -> Term:
    reader.only(node, "this")
    term = reader.column(node.this)._term
    return terms.node(a.Length(term.scalar), term)


def _matches(kind: Literal["starts_with", "ends_with", "contains"]) -> Callable[[Reader, Any], Term]:
    def build(reader: Reader, node: exp.Expr) -> Term:
        term, text = reader.column(node.this)._term, reader.text(node.expression)
        return terms.node(a.Matches(kind, term.scalar, text), term)

    return build


def _substring(reader: Reader, node: exp.Substring) -> Term:
    reader.only(node, "this", "start", "length")
    term, start = reader.column(node.this)._term, reader.whole(node.args["start"])
    length = node.args.get("length")
    stop = 256 if length is None else start - 1 + reader.whole(length)
    if start < 1:
        raise reader.unknown(node)
    return terms.node(a.Slice(term.scalar, start - 1, max(start - 1, min(stop, 256))), term)


def _replace(reader: Reader, node: exp.Replace) -> Term:
    reader.only(node, "this", "expression", "replacement")
    term = reader.column(node.this)._term
    old, new = reader.text(node.expression), reader.text(node.args["replacement"])
    return terms.node(a.Replace(term.scalar, old, new), term)


def _concat(reader: Reader, node: exp.DPipe) -> Term:
    parts = [reader.column(part)._term for part in node.flatten()]
    return terms.node(a.Concat(tuple(part.scalar for part in parts)), *parts)


def _rounded(kind: Literal["floor", "ceil"]) -> Callable[[Reader, Any], Term]:
    def build(reader: Reader, node: exp.Expr) -> Term:
        reader.only(node, "this")
        term = reader.column(node.this)._term
        return terms.node(a.Round(term.scalar, "1", kind), term)

    return build


def _round(reader: Reader, node: exp.Round) -> Term:
    reader.only(node, "this", "decimals")
    term = reader.column(node.this)._term
    decimals = node.args.get("decimals")
    step = Fraction(1, 10 ** (0 if decimals is None else reader.whole(decimals, most=9)))
    # SQL rounds ties away from zero: for what is not negative, half a step up and down to a multiple.
    reader.not_negative(node, term)
    raised = terms.arithmetic("add", term, terms.literal(step / 2, None))
    return terms.node(a.Round(raised.scalar, literals.text_of(step), "floor"), raised)


def _modulo(reader: Reader, node: exp.Mod) -> Term:
    term, divisor = reader.column(node.this)._term, reader.whole(node.expression, least=1)
    reader.not_negative(node, term)
    return terms.node(a.Modulo(term.scalar, str(divisor)), term)


def _whole_division(reader: Reader, node: exp.IntDiv) -> Term:
    term, divisor = reader.column(node.this)._term, reader.whole(node.expression, least=1)
    reader.not_negative(node, term)
    part = terms.scale(term, Fraction(1, divisor))
    return terms.node(a.Round(part.scalar, "1", "floor"), part)


FUNCTIONS: dict[type[exp.Expr], Callable[[Reader, Any], Term]] = {
    exp.Extract: _extract,
    exp.Year: _named("YEAR"),
    exp.Quarter: _named("QUARTER"),
    exp.Month: _named("MONTH"),
    exp.Week: _named("WEEK"),
    exp.Day: _named("DAY"),
    exp.DayOfMonth: _named("DAY"),
    exp.DayOfYear: _named("DOY"),
    exp.DayOfWeek: _named("DOW"),
    exp.DayOfWeekIso: _named("ISODOW"),
    exp.TimestampTrunc: _period,
    exp.DateTrunc: _period,
    exp.Lower: _letters("lower"),
    exp.Upper: _letters("upper"),
    exp.Trim: _letters("strip"),
    exp.Length: _length,
    exp.StartsWith: _matches("starts_with"),
    exp.EndsWith: _matches("ends_with"),
    exp.Contains: _matches("contains"),
    exp.Substring: _substring,
    exp.Replace: _replace,
    exp.DPipe: _concat,
    exp.Floor: _rounded("floor"),
    exp.Ceil: _rounded("ceil"),
    exp.Round: _round,
    exp.Mod: _modulo,
    exp.IntDiv: _whole_division,
}
