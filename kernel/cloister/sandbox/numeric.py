"""Rounding, remainders, types and curves of columns, and dates moved by days."""

from __future__ import annotations

import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from cloister.contract.card import OTHER
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import literals, refuse, terms
from cloister.sandbox.rows import same

if TYPE_CHECKING:
    from cloister.sandbox.column import Column


class Numeric:
    """What a number column does beside arithmetic."""

    def round(self: Any, decimals: int = 0, *_numpy: Any, **_options: Any) -> Column:
        """The nearest number with ``decimals`` digits behind the point; ties go to the even one."""
        return rounded(self, Fraction(10) ** -int(decimals), "even")

    def __round__(self: Any, digits: int | None = None) -> Column:
        return rounded(self, Fraction(10) ** -(digits or 0), "even")

    def __floor__(self: Any) -> Column:
        return rounded(self, Fraction(1), "floor")

    def __ceil__(self: Any) -> Column:
        return rounded(self, Fraction(1), "ceil")

    def __floordiv__(self: Any, other: Any) -> Column:
        return rounded(self / _constant(other, "floordiv", self), Fraction(1), "floor")

    def __mod__(self: Any, other: Any) -> Column:
        divisor = literals.fraction(_constant(other, "mod", self))
        if divisor < 0:
            # As in Python: the remainder has the sign of the divisor.
            return -((-self) % -divisor)  # type: ignore[no-any-return]
        if divisor == 0:
            raise PlanError("plan.zero", "division by zero")
        return self._with(terms.node(a.Modulo(self._term.scalar, literals.text_of(divisor)), self._term))  # type: ignore[no-any-return]

    def __divmod__(self: Any, other: Any) -> tuple[Column, Column]:
        return self // other, self % other

    def _no_divisor(self: Any, _other: Any) -> Column:
        raise refuse.explain("rdiv", refuse.COLUMN["rdiv"], self._words())

    __rfloordiv__ = __rmod__ = __rdivmod__ = _no_divisor

    def floordiv(self: Any, other: Any) -> Column:
        """``column // other``, by a constant."""
        return self // other  # type: ignore[no-any-return]

    def mod(self: Any, other: Any) -> Column:
        """``column % other``, by a constant."""
        return self % other  # type: ignore[no-any-return]

    def divmod(self: Any, other: Any) -> tuple[Column, Column]:
        """``column // other`` and ``column % other``."""
        return self // other, self % other

    def astype(self: Any, dtype: Any, *_options: Any, **_more: Any) -> Column:
        """The column as another type, where that means something without looking: bool, int, float, category, str."""
        return _as(self, dtype)

    def convert_dtypes(self: Any) -> Column:
        """The same column: types are declared."""
        return self  # type: ignore[no-any-return]

    infer_objects = convert_dtypes


def rounded(column: Any, step: Fraction, kind: Literal["floor", "ceil", "even"]) -> Column:
    """Return the column as a multiple of ``step``."""
    term = column._term
    if term.grid.kind == "number" and (term.grid.step / step).denominator == 1:
        return column  # type: ignore[no-any-return]
    return column._with(terms.node(a.Round(term.scalar, literals.text_of(step), kind), term))  # type: ignore[no-any-return]


def curve(column: Any, kind: Literal["log1p", "sqrt", "exp"]) -> Column:
    """Return ``log(1 + x)``, ``sqrt(x)`` or ``exp(x)``, rounded down to a multiple of 2^-20."""
    return column._with(terms.node(a.Curve(kind, column._term.scalar), column._term))  # type: ignore[no-any-return]


def ratio(left: Any, right: Any, low: Any, high: Any, step: Any) -> Column:
    """Return ``left / right``, rounded down to a multiple of ``step`` and limited to ``low..high``.

    A quotient of columns has no bounds of its own, so you state them. It is missing where ``right`` is 0.

    Example:
        ``cl.ratio(visits.cost, visits.age, low=0, high=200, step=0.1)``
    """
    from cloister.sandbox.column import Column  # noqa: PLC0415 (columns build on this)

    if not isinstance(left, Column):
        if not isinstance(right, Column):
            raise PlanError("api.ratio", "a ratio needs a column", nearest=(_RATIO,))
        left = Column(right._rows, terms.literal(left, None), None)
    over = right._term if isinstance(right, Column) else terms.literal(right, None)
    rows = same(left._rows, right._rows) if isinstance(right, Column) else left._rows
    ends = [literals.number_text(end) for end in (low, high, step)]
    node = a.Quotient(left._term.scalar, over.scalar, *ends)
    return Column(rows, terms.node(node, left._term, over), left.name)


def moved(column: Any, other: Any, sign: int) -> Any:
    """Return the date column moved by a public span of whole days, or None if ``other`` is no span."""
    if column._term.grid.kind != "date":
        return None
    if isinstance(other, np.timedelta64):
        other = pd.Timedelta(other)
    if isinstance(other, datetime.timedelta):
        if other % datetime.timedelta(days=1):
            raise PlanError("plan.literal", "dates move by whole days", nearest=("visits.date + pd.Timedelta(days=7)",))
        return column._with(terms.later(column._term, sign * other.days))
    if isinstance(other, pd.offsets.Day):
        return column._with(terms.later(column._term, sign * other.n))
    return None


_RATIO = "cl.ratio(visits.cost, visits.age, low=0, high=200, step=0.1)"


def _constant(other: Any, name: str, column: Any) -> Any:
    if hasattr(other, "_term"):
        raise PlanError(
            "plan.ratio",
            f"{name} by a column has no public bounds: state them",
            nearest=("cl.ratio(visits.cost, visits.age, low=0, high=200, step=1)", f"{column._rows.label}.cost // 10"),
        )
    return other


def _as(column: Any, dtype: Any) -> Column:
    name = str(dtype if isinstance(dtype, str) else getattr(dtype, "name", getattr(dtype, "__name__", dtype)))
    kind, nullable = column._term.grid.kind, column._term.grid.nullable
    if isinstance(dtype, pd.CategoricalDtype) and dtype.categories is not None:
        if kind in {"category", "text"}:
            return column.cat.set_categories(list(dtype.categories))  # type: ignore[no-any-return]
    elif name in {"category", "str", "string", "object"}:
        if kind in {"category", "text"}:
            return column  # type: ignore[no-any-return]
    elif name.startswith("datetime64") and kind == "date":
        return column  # type: ignore[no-any-return]
    elif kind in {"number", "bool"}:
        if name in {"bool", "boolean"} and not nullable:
            return column if kind == "bool" else column != 0  # type: ignore[no-any-return]
        if name in {"float", "float64", "float32", "Float64"}:
            return column * 1 if kind == "bool" else column  # type: ignore[no-any-return]
        if name.startswith(("int", "uint", "Int", "UInt")) and (not nullable or name[0] in "IU"):
            if kind == "bool":
                return column * 1  # type: ignore[no-any-return]
            # Towards zero, as in NumPy.
            down, up = rounded(column, Fraction(1), "floor"), rounded(column, Fraction(1), "ceil")
            if column._term.grid.lo >= 0 or down is column:
                return down
            return down.where(column >= 0, up) if not nullable else down.where((column >= 0) | column.isna(), up)
    missing = " (it may be missing: fillna() first)" if nullable and name.lower().startswith(("int", "bool")) else ""
    raise PlanError(
        "api.astype",
        f"a {kind} column cannot become {name}{missing}",
        nearest=("visits.smoker.astype(int)", "visits.bmi.fillna(0).astype(int)", "(visits.age >= 18).astype(float)"),
        next_step=f"texts become categories with cl.recode(x, labels); {OTHER} holds the rest",
    )
