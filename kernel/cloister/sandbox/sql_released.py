"""SQL over released values: computed columns, ``HAVING``, ``ORDER BY`` and ``LIMIT`` are free post-processing.

What is computed here has passed the gate already. ``NULL`` is NaN, and a condition on it is not true.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sqlglot import exp

from cloister.sandbox.sql_text import Source, number

Table = pd.DataFrame
Computed = Callable[[Table], Any]
_FUNCTIONS: dict[type[exp.Expr], Callable[..., Any]] = {
    exp.Add: lambda x, y: x + y,
    exp.Sub: lambda x, y: x - y,
    exp.Mul: lambda x, y: x * y,
    exp.Div: lambda x, y: _number(x) / _number(y).replace(0, np.nan),
    exp.Neg: lambda x: -x,
    exp.Abs: abs,
    exp.Sqrt: lambda x: _number(x).where(_number(x) >= 0) ** 0.5,
    exp.Floor: lambda x: np.floor(_number(x)),
    exp.Ceil: lambda x: np.ceil(_number(x)),
    exp.EQ: lambda x, y: _known(x, y) & (x == y),
    exp.NEQ: lambda x, y: _known(x, y) & (x != y),
    exp.LT: lambda x, y: x < y,
    exp.LTE: lambda x, y: x <= y,
    exp.GT: lambda x, y: x > y,
    exp.GTE: lambda x, y: x >= y,
    exp.And: lambda x, y: x & y,
    exp.Or: lambda x, y: x | y,
    exp.Not: lambda x: ~x,
    exp.Nullif: lambda x, y: x.where(x != y),
    exp.Coalesce: lambda x, *rest: _first(x, rest),
    exp.Between: lambda x, low, high: (x >= low) & (x <= high),
    exp.In: lambda x, *values: _any([_known(x, value) & (x == value) for value in values]),
    exp.Round: lambda x, digits=None: _number(x).round(0 if digits is None else int(digits.iloc[0])),
}
_PARTS = ("this", "expression", "expressions", "low", "high", "decimals")
_MARKS = {"typed", "safe", "big_int", "null", "casts_non_integer_decimals", "truncate"}


def read(node: exp.Expr, source: Source, find: Callable[[exp.Expr], Computed | None]) -> Computed:
    """Return the function of the released table that an expression stands for.

    Args:
        node: The expression.
        source: The query, for refusals.
        find: Knows aggregates, keys and aliases; ``None`` for anything else.

    Raises:
        PlanError: Not part of the language.
    """
    found = find(node)
    if found is not None:
        return found
    if isinstance(node, exp.Paren):
        return read(node.this, source, find)
    if isinstance(node, exp.Literal):
        constant: Any = str(node.this) if node.is_string else float(number(node.this))
        return lambda table: pd.Series(constant, table.index)
    if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
        inside = read(node.this, source, find)
        return lambda table: inside(table).isna()
    if isinstance(node, exp.Case):
        return _case(node, source, find)
    function = _FUNCTIONS.get(type(node))
    if function is None:
        raise source.refuse(
            node, f"{node.key.upper()} of released values is not part of this SQL; compute it in pandas, it is free"
        )
    source.only(node, *_PARTS, *_MARKS)
    parts = [part for name in _PARTS for part in _listed(node.args.get(name))]
    inner = [read(part, source, find) for part in parts]
    return lambda table: function(*(part(table) for part in inner))


def _listed(value: Any) -> list[exp.Expr]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, exp.Expr)]


def _case(node: exp.Case, source: Source, find: Callable[[exp.Expr], Computed | None]) -> Computed:
    source.only(node, "ifs", "default")
    branches = [(read(one.this, source, find), read(one.args["true"], source, find)) for one in node.args["ifs"]]
    default = node.args.get("default")
    last = None if default is None else read(default, source, find)

    def run(table: Table) -> pd.Series:
        found = pd.Series(np.nan, table.index) if last is None else last(table)
        for when, then in reversed(branches):
            found = then(table).where(when(table), found)
        return found

    return run


def _number(values: Any) -> Any:
    return values.astype(float)


def _known(x: pd.Series, y: pd.Series) -> Any:
    return x.notna() & y.notna()


def _first(x: pd.Series, rest: tuple[pd.Series, ...]) -> pd.Series:
    for other in rest:
        x = x.where(x.notna(), other)
    return x


def _any(parts: list[Any]) -> Any:
    found = parts[0]
    for part in parts[1:]:
        found = found | part
    return found
