"""Expressions on mock rows, with pandas: what the vault evaluates exactly, up to the last binary digit."""

from __future__ import annotations

import datetime
import functools
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from cloister.contract.card import OTHER
from cloister.plan import algebra as a

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {"add": operator.add, "sub": operator.sub, "mul": operator.mul}
_CURVES: dict[str, Callable[[Any], Any]] = {"log1p": np.log1p, "sqrt": np.sqrt, "exp": np.exp}
_PERIODS = {"week": "W", "month": "M", "quarter": "Q", "year": "Y"}
_PARSED = re.compile(r"[+-]?\d{1,12}(\.\d{1,6})?")


def series(node: a.Scalar, source: pd.DataFrame) -> pd.Series:
    """Return an expression over the columns of ``source``."""
    found = value(node, source)
    return found if isinstance(found, pd.Series) else pd.Series(found, index=source.index)


def value(node: a.Scalar, source: pd.DataFrame) -> Any:
    """Return an expression over the columns of ``source``: a Series, or a literal as it is."""
    match node:
        case a.Col():
            found = source[node.name]
            return found.astype(object) if isinstance(found.dtype, pd.CategoricalDtype) else found
        case a.Number():
            return _plain(node.value)
        case a.Text() | a.Boolean():
            return node.value
        case a.Date():
            return pd.Timestamp(datetime.date.fromisoformat(node.value))
        case a.Arithmetic() | a.Scale() | a.Negate() | a.Abs() | a.Modulo() | a.Round() | a.Quotient() | a.Curve():
            return _number_node(node, source)
        case a.DatePart() | a.DateFloor() | a.DateShift():
            return _date_node(node, source)
        case a.Letters() | a.Length() | a.Matches() | a.Slice() | a.Replace() | a.Concat() | a.Recode() | a.Parse():
            return _text_node(node, source)
        case a.Clip() | a.Cut():
            return _limited(node, _number(node.term, source))
        case _:
            return _choice(node, source)


def _choice(node: a.Scalar, source: pd.DataFrame) -> Any:
    match node:
        case a.Compare():
            return _COMPARE[node.kind](value(node.left, source), value(node.right, source))
        case a.And() | a.Or():
            join = operator.and_ if isinstance(node, a.And) else operator.or_
            return functools.reduce(join, (holds(term, source) for term in node.terms))
        case a.Not():
            return ~holds(node.term, source)
        case a.IsNull():
            return series(node.term, source).isna()
        case a.Fill():
            return series(node.term, source).fillna(value(node.value, source))
        case a.Case():
            return series(node.then, source).where(holds(node.when, source), value(node.otherwise, source))
        case a.Only():
            return series(node.term, source).where(holds(node.when, source))
        case a.IsIn():
            return series(node.term, source).isin([value(item, source) for item in node.values])
        case _:
            raise TypeError(type(node).__name__)


def holds(node: a.Scalar, source: pd.DataFrame) -> pd.Series:
    """Return a condition in which missing counts as False."""
    return series(node, source).astype("boolean").fillna(False).astype(bool)


def _number_node(node: Any, source: pd.DataFrame) -> Any:
    if isinstance(node, a.Arithmetic):
        found = _ARITHMETIC[node.kind](_number(node.left, source), _number(node.right, source))
        return found.dt.days if isinstance(found, pd.Series) and found.dtype.kind == "m" else found
    if isinstance(node, a.Quotient):
        step = float(Fraction(node.step))
        right = series(node.right, source).astype(float)
        found = np.floor(_number(node.left, source) / right.where(right != 0) / step) * step
        return found.clip(float(Fraction(node.low)), float(Fraction(node.high)))
    term = _number(node.term, source)
    match node:
        case a.Scale():
            return term * float(Fraction(node.factor))
        case a.Negate():
            return -term
        case a.Abs():
            return abs(term)
        case a.Modulo():
            return term % _plain(node.divisor)
        case a.Round():
            step = float(Fraction(node.step))
            return {"floor": np.floor, "ceil": np.ceil, "even": np.rint}[node.kind](term / step) * step
        case _:
            with np.errstate(invalid="ignore"):
                return np.floor(_CURVES[node.kind](term.astype(float)) * 2**20) / 2**20


def _date_node(node: Any, source: pd.DataFrame) -> Any:
    dates = pd.to_datetime(series(node.term, source))
    match node:
        case a.DatePart(part="week"):
            return dates.dt.isocalendar().week.astype(float)
        case a.DatePart():
            name = {"weekday": "day_of_week", "dayofyear": "day_of_year"}.get(node.part, node.part)
            return getattr(dates.dt, name).astype(float)
        case a.DateFloor():
            return dates.dt.to_period(_PERIODS[node.unit]).dt.start_time
        case _:
            return dates + pd.Timedelta(days=node.days)


def _text_node(node: Any, source: pd.DataFrame) -> Any:
    if isinstance(node, a.Concat):
        return functools.reduce(operator.add, (series(term, source).astype(object) for term in node.terms))
    texts = series(node.term, source).astype(object)
    if isinstance(node, a.Matches):
        test = {"starts_with": str.startswith, "ends_with": str.endswith, "contains": str.__contains__}[node.kind]
        return texts.map(lambda text: isinstance(text, str) and bool(test(text, node.text))).astype(bool)
    if isinstance(node, a.Parse):
        return _parsed(texts, node)
    found = texts.map(lambda text: _changed(node, text), na_action="ignore")
    return found.astype(float) if isinstance(node, a.Length) else found


def _changed(node: Any, text: str) -> Any:
    match node:
        case a.Letters():
            return {"lower": text.lower, "upper": text.upper, "strip": text.strip}[node.kind]()
        case a.Length():
            return len(text)
        case a.Slice():
            return text[node.start : node.stop]
        case a.Replace():
            return text.replace(node.old, node.new)
        case _:
            return text if text in node.labels else OTHER


def _parsed(texts: pd.Series, node: a.Parse) -> pd.Series:
    step, low, high = (float(Fraction(part)) for part in (node.step, node.low, node.high))
    numbers = texts.map(lambda text: float(text) if isinstance(text, str) and _PARSED.fullmatch(text) else np.nan)
    return (numbers.astype(float) // step * step).clip(low, high)


def _limited(node: a.Clip | a.Cut, values: pd.Series) -> pd.Series:
    date = values.dtype.kind == "M"
    if isinstance(node, a.Clip):
        return values.clip(_bound(node.low, date=date), _bound(node.high, date=date))
    edges = [_bound(edge, date=date) for edge in node.edges]
    names = [f"[{low}, {high})" for low, high in zip(node.edges, node.edges[1:], strict=False)]
    return pd.cut(values, edges, right=False, labels=names).astype(object)


def _number(node: a.Scalar, source: pd.DataFrame) -> Any:
    found = value(node, source)
    return found.astype("int64") if isinstance(found, pd.Series) and found.dtype == bool else found


def _plain(text: str) -> int | float:
    exact = Fraction(text)
    return int(exact) if exact.denominator == 1 else float(exact)


def _bound(text: str, *, date: bool) -> Any:
    return pd.Timestamp(text) if date else float(Fraction(text))
