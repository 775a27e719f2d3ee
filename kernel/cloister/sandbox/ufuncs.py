"""NumPy's row-wise functions on columns, as expressions."""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from cloister.sandbox import terms
from cloister.sandbox.numeric import curve, rounded


def _sign(x: Any) -> Any:
    one, zero = terms.literal(1, None), terms.literal(0, None)
    below = terms.case((x < 0)._term, terms.literal(-1, None), zero)
    found = x._with(terms.case((x > 0)._term, one, below))
    return found.where(x.notna()) if x._term.grid.nullable else found


def _larger(x: Any, y: Any, *, smaller: bool = False) -> Any:
    x, y = (x, y) if hasattr(x, "_term") else (y, x)
    found = x.where(x <= y if smaller else x >= y, y)
    for part in (x, y):
        if hasattr(part, "_term") and part._term.grid.nullable:
            found = found.where(part.notna())
    return found


def _trunc(x: Any) -> Any:
    return rounded(x, Fraction(1), "floor").where(x >= 0, rounded(x, Fraction(1), "ceil"))


UFUNCS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "true_divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "power": operator.pow,
    "square": lambda x: x**2,
    "negative": operator.neg,
    "positive": operator.pos,
    "absolute": operator.abs,
    "fabs": operator.abs,
    "sign": _sign,
    "maximum": _larger,
    "minimum": lambda x, y: _larger(x, y, smaller=True),
    "floor": lambda x: rounded(x, Fraction(1), "floor"),
    "ceil": lambda x: rounded(x, Fraction(1), "ceil"),
    "rint": lambda x: rounded(x, Fraction(1), "even"),
    "trunc": _trunc,
    "log1p": lambda x: curve(x, "log1p"),
    "sqrt": lambda x: curve(x, "sqrt"),
    "exp": lambda x: curve(x, "exp"),
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "logical_and": operator.and_,
    "logical_or": operator.or_,
    "logical_xor": operator.xor,
    "logical_not": operator.invert,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "invert": operator.invert,
    "isnan": lambda x: x.isna(),
    "isfinite": lambda x: x.notna(),
}
