"""Mock rows on this side: what the data card alone invents, with the handle's own filters and expressions applied.

This is for looking at and for rehearsing code that takes a DataFrame. It evaluates with pandas what the vault
evaluates exactly, so values may differ in the last binary digit; mock values never carry a receipt.
"""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from cloister.contract import mock
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.typing import chain
from cloister.sandbox import dtypes, refuse, terms
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

_MAX_ROWS = 100_000
_ENOUGH = 20
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {"add": operator.add, "sub": operator.sub, "mul": operator.mul}


def table(rows: Rows, columns: Mapping[str, Term], n: int, seed: int) -> pd.DataFrame:
    """Return at most ``n`` mock rows of a handle (fewer if its filters leave fewer).

    Raises:
        PlanError: ``n`` is not between 1 and 100,000.
    """
    if not isinstance(n, int | np.integer) or not 1 <= n <= _MAX_ROWS:
        raise PlanError("api.mock", f"a mock table has 1 to {_MAX_ROWS:,} rows")
    plain = isinstance(rows.relation, a.Table)
    source = _source(rows, int(n) if plain else min(_MAX_ROWS, _ENOUGH * int(n) + 200), seed)
    for node in chain(rows.relation):
        if isinstance(node, a.Filter):
            source = source[_series(node.where, source).astype(bool)]
        elif isinstance(node, a.Derive):
            source = source.assign(**{name: _series(scalar, source) for name, scalar in node.columns})
        elif isinstance(node, a.Cap):
            keys = [*rows.card.key, *node.by]
            source = source[source.groupby(keys, observed=True).cumcount() < node.rows]
    source = source.head(int(n))
    found = {name: _typed(_series(term.scalar, source), term) for name, term in columns.items()}
    return pd.DataFrame(found, index=source.index).reset_index(drop=True)


def empty(columns: Mapping[str, Term]) -> pd.DataFrame:
    """Return a DataFrame with the columns' dtypes and no rows."""
    return pd.DataFrame({name: pd.Series([], dtype=dtypes.of(term)) for name, term in columns.items()})


def with_rows(rows: Rows, columns: Mapping[str, Term], name: str, words: dict[str, str]) -> PlanError:
    """Return the refusal of ``head()`` and its like, showing mock rows instead."""
    error = refuse.explain(name, refuse.COMMON[name], words)
    shown = table(rows, columns, 3, 0).to_string(max_cols=8)
    lines = "\n".join(f"    {line}" for line in shown.splitlines())
    error.reason += f". Invented rows of the same shape (mock, from the data card alone):\n{lines}"
    return error


def _source(rows: Rows, n: int, seed: int) -> pd.DataFrame:
    data = mock.rows(rows.card, n, seed)
    return pd.DataFrame(
        {
            column.name: _typed(pd.Series(data[column.name], dtype=object), terms.of_card(rows.card, column))
            for column in rows.card.columns
        }
    )


def _typed(values: pd.Series, term: Term) -> pd.Series:
    if term.grid.kind == "category" and not isinstance(values.dtype, pd.CategoricalDtype):
        if term.labels:
            values = values.map(dict(zip(term.grid.domain, term.labels, strict=True)))
        return pd.Series(pd.Categorical(values, categories=list(term.domain)), index=values.index)
    if term.grid.kind == "date":
        return pd.to_datetime(values).astype("datetime64[s]")
    if term.grid.kind in ("opaque", "text"):
        return values if pd.api.types.is_numeric_dtype(values.dtype) else values.astype(str)
    return values.astype(dtypes.of(term))


def _series(node: a.Scalar, source: pd.DataFrame) -> pd.Series:
    found = _value(node, source)
    return found if isinstance(found, pd.Series) else pd.Series(found, index=source.index)


def _value(node: a.Scalar, source: pd.DataFrame) -> Any:
    match node:
        case a.Col():
            found = source[node.name]
            return found.astype(object) if isinstance(found.dtype, pd.CategoricalDtype) else found
        case a.Number():
            exact = Fraction(node.value)
            return int(exact) if exact.denominator == 1 else float(exact)
        case a.Text() | a.Boolean():
            return node.value
        case a.Date():
            return pd.Timestamp(datetime.date.fromisoformat(node.value))
        case a.Arithmetic():
            found = _ARITHMETIC[node.kind](_number(node.left, source), _number(node.right, source))
            return found.dt.days if isinstance(found, pd.Series) and found.dtype.kind == "m" else found
        case a.Scale():
            return _number(node.term, source) * float(Fraction(node.factor))
        case a.Negate():
            return -_number(node.term, source)
        case a.Abs():
            return abs(_number(node.term, source))
        case a.Compare():
            return _COMPARE[node.kind](_value(node.left, source), _value(node.right, source))
        case a.And() | a.Or():
            parts = [_series(term, source).fillna(False).astype(bool) for term in node.terms]
            joined = parts[0]
            for part in parts[1:]:
                joined = joined & part if isinstance(node, a.And) else joined | part
            return joined
        case a.Not():
            return ~_series(node.term, source).fillna(False).astype(bool)
        case a.IsNull():
            return _series(node.term, source).isna()
        case a.Fill():
            return _series(node.term, source).fillna(_value(node.value, source))
        case a.Case():
            when = _series(node.when, source).fillna(False).astype(bool)
            return _series(node.then, source).where(when, _value(node.otherwise, source))
        case a.IsIn():
            return _series(node.term, source).isin([_value(value, source) for value in node.values])
        case a.Clip():
            return _clip(_number(node.term, source), node)
        case a.Cut():
            return _cut(_number(node.term, source), node)


def _number(node: a.Scalar, source: pd.DataFrame) -> Any:
    found = _value(node, source)
    return found.astype("int64") if isinstance(found, pd.Series) and found.dtype == bool else found


def _bound(text: str, *, date: bool) -> Any:
    return pd.Timestamp(text) if date else float(Fraction(text))


def _clip(values: pd.Series, node: a.Clip) -> pd.Series:
    date = values.dtype.kind == "M"
    return values.clip(_bound(node.low, date=date), _bound(node.high, date=date))


def _cut(values: pd.Series, node: a.Cut) -> pd.Series:
    date = values.dtype.kind == "M"
    edges = [_bound(edge, date=date) for edge in node.edges]
    names = [f"[{low}, {high})" for low, high in zip(node.edges, node.edges[1:], strict=False)]
    return pd.cut(values, edges, right=False, labels=names).astype(object)
