"""A column of a handle: an expression over rows that stay where they are.

Operators and methods mean what pandas means. Anything that would need the values (truth, iteration, conversion to
an array) is refused, so that NumPy, scikit-learn and plotting libraries raise instead of computing something else.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NoReturn

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import dtypes, literals, measures, refuse, terms
from cloister.sandbox.ask import Ask, terminal
from cloister.sandbox.group import GroupBy
from cloister.sandbox.rows import Rows, same
from cloister.sandbox.terms import Term

_MAX_POWER = 4


class Column:
    """One column: ``visits.bmi``, or anything computed row by row from columns of the same rows."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    __array_priority__ = 1000

    def __init__(self, rows: Rows, term: Term, name: str | None) -> None:
        self._rows = rows
        self._term = term
        self.name = name

    # What is public ------------------------------------------------------------------------------------

    @property
    def dtype(self) -> Any:
        """The pandas dtype the column has in a mock table."""
        return dtypes.of(self._term)

    @property
    def domain(self) -> list[str]:
        """The public domain of a category, in its declared order."""
        return list(self._term.domain)

    ndim = 1

    def mock(self, n: int = 5, *, seed: int = 0) -> pd.Series:
        """Return ``n`` invented values: generated from the data card alone, never from data."""
        from cloister.sandbox import rehearse  # noqa: PLC0415 (pandas evaluation is only needed here)

        name = self.name or "value"
        return rehearse.table(self._rows, {name: self._term}, n, seed)[name].rename(self.name)

    # Row-wise operators --------------------------------------------------------------------------------

    def _with(self, term: Term, name: str | None = None) -> Column:
        return Column(self._rows, term, self.name if name is None else name)

    def _pair(self, other: Any) -> tuple[Rows, Term, str | None]:
        if isinstance(other, Column):
            name = self.name if self.name == other.name else None
            return same(self._rows, other._rows), other._term, name
        if isinstance(other, Iterable) and not isinstance(other, str):
            raise PlanError(
                "plan.literal",
                f"a {type(other).__name__} cannot be combined with rows: rows have no positions here",
                nearest=("isin([...]) for sets of values", "a single number, text or date"),
            )
        return self._rows, terms.literal(other, self._term.grid), self.name

    def _binary(self, other: Any, build: Callable[[Term, Term], Term], *, swap: bool = False) -> Column:
        rows, term, name = self._pair(other)
        pair = (term, self._term) if swap else (self._term, term)
        return Column(rows, build(*pair), name)

    def __add__(self, other: Any) -> Column:
        return self._binary(other, lambda x, y: terms.arithmetic("add", x, y))

    def __radd__(self, other: Any) -> Column:
        return self._binary(other, lambda x, y: terms.arithmetic("add", x, y), swap=True)

    def __sub__(self, other: Any) -> Column:
        return self._binary(other, lambda x, y: terms.arithmetic("sub", x, y))

    def __rsub__(self, other: Any) -> Column:
        return self._binary(other, lambda x, y: terms.arithmetic("sub", x, y), swap=True)

    def __mul__(self, other: Any) -> Column:
        return self._binary(other, lambda x, y: terms.arithmetic("mul", x, y))

    def __rmul__(self, other: Any) -> Column:
        return self._binary(other, lambda x, y: terms.arithmetic("mul", x, y), swap=True)

    def __truediv__(self, other: Any) -> Column:
        if isinstance(other, Column):
            raise PlanError(
                "plan.ratio",
                "a column divided by a column has no public bounds",
                nearest=("visits.a.sum() / visits.b.sum()  (a ratio of releases)", "division by a number"),
            )
        divisor = literals.fraction(other)
        if divisor == 0:
            raise PlanError("plan.zero", "division by zero")
        return self._with(terms.scale(self._term, 1 / divisor))

    def __rtruediv__(self, _other: Any) -> NoReturn:
        raise PlanError("plan.ratio", "division by a column has no public bounds", nearest=("division by a number",))

    def __floordiv__(self, _other: Any) -> NoReturn:
        raise refuse.explain("floordiv", refuse.COLUMN["floordiv"], self._words())

    __rfloordiv__ = __mod__ = __rmod__ = __divmod__ = __floordiv__

    def __round__(self, _digits: int | None = None) -> NoReturn:
        raise refuse.explain("round", refuse.COLUMN["round"], self._words())

    def __pow__(self, power: Any) -> Column:
        if not isinstance(power, int | np.integer) or not 1 <= int(power) <= _MAX_POWER:
            raise PlanError(
                "plan.power", f"powers are whole numbers from 1 to {_MAX_POWER}", nearest=("visits.a ** 2",)
            )
        term = base = self._term
        for _ in range(int(power) - 1):
            term = terms.arithmetic("mul", term, base)
        return self._with(term)

    def __rpow__(self, _base: Any) -> NoReturn:
        raise PlanError("plan.power", "a column as an exponent is not in the algebra", nearest=("visits.a ** 2",))

    def __neg__(self) -> Column:
        return self._with(terms.negate(self._term))

    def __pos__(self) -> Column:
        return self

    def __abs__(self) -> Column:
        return self._with(terms.absolute(self._term))

    def abs(self) -> Column:
        """The absolute value."""
        return abs(self)

    def __eq__(self, other: object) -> Column:  # type: ignore[override]
        return self._compare("eq", other)

    def __ne__(self, other: object) -> Column:  # type: ignore[override]
        return self._compare("ne", other)

    def __lt__(self, other: Any) -> Column:
        return self._compare("lt", other)

    def __le__(self, other: Any) -> Column:
        return self._compare("le", other)

    def __gt__(self, other: Any) -> Column:
        return self._compare("gt", other)

    def __ge__(self, other: Any) -> Column:
        return self._compare("ge", other)

    def _compare(self, kind: Any, other: Any) -> Column:
        terms.note_domain(self._term, [other])
        return self._binary(other, lambda x, y: terms.compare(kind, x, y))

    def __and__(self, other: Any) -> Column:
        return self._binary(other, terms.every)

    def __or__(self, other: Any) -> Column:
        return self._binary(other, terms.some)

    def __xor__(self, other: Any) -> Column:
        return self._binary(other, terms.exclusive)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Column:
        return self._with(terms.negation(self._term))

    # Row-wise methods ----------------------------------------------------------------------------------

    def isna(self) -> Column:
        """Whether the value is missing."""
        return self._with(terms.is_null(self._term))

    def notna(self) -> Column:
        """Whether the value is there."""
        return ~self.isna()

    isnull, notnull = isna, notna

    def fillna(self, value: Any) -> Column:
        """``value`` where the column is missing."""
        return self._with(terms.fill(self._term, value))

    def dropna(self) -> Column:
        """The column over the rows where it is not missing."""
        return self[self.notna()] if self._term.grid.nullable else self

    def isin(self, values: Iterable[Any]) -> Column:
        """Whether the value is one of ``values`` (at most 1,000)."""
        if isinstance(values, str | Column):
            raise PlanError("plan.literal", "isin takes a list of values", nearest=("isin([...])",))
        found = list(values)
        terms.note_domain(self._term, found)
        return self._with(terms.is_in(self._term, found))

    def between(self, left: Any, right: Any, inclusive: str = "both") -> Column:
        """Whether the value lies between two values."""
        sides = {"both": ("ge", "le"), "left": ("ge", "lt"), "right": ("gt", "le"), "neither": ("gt", "lt")}
        if inclusive not in sides:
            raise PlanError("api.option", "inclusive is 'both', 'left', 'right' or 'neither'")
        low, high = sides[inclusive]
        return self._compare(low, left) & self._compare(high, right)

    def clip(self, lower: Any = None, upper: Any = None, **_numpy: Any) -> Column:
        """The value limited to public bounds; tighter bounds mean less noise."""
        return self._with(terms.clip(self._term, lower, upper))

    def where(self, cond: Column, other: Any = None) -> Column:
        """The value where ``cond`` holds, else ``other``."""
        if literals.is_missing(other):
            raise PlanError(
                "api.where",
                "where() needs a value for the other rows: a plan cannot make values missing",
                nearest=("visits.a.where(cond, 0)", "visits[cond].a  (only the rows where it holds)"),
            )
        rows, when, _ = self._pair(cond)
        _, otherwise, _ = self._pair(other)
        return Column(rows, terms.case(when, self._term, otherwise), self.name)

    def mask(self, cond: Column, other: Any = None) -> Column:
        """``other`` where ``cond`` holds, else the value."""
        return self.where(~cond, other)

    def rename(self, name: str) -> Column:
        """The same column under another name."""
        return Column(self._rows, self._term, name)

    def pipe(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """``function(column, ...)``: plain Python on this side."""
        return function(self, *args, **options)

    def add(self, other: Any) -> Column:
        """``column + other``."""
        return self + other

    def sub(self, other: Any) -> Column:
        """``column - other``."""
        return self - other

    def mul(self, other: Any) -> Column:
        """``column * other``."""
        return self * other

    def div(self, other: Any) -> Column:
        """``column / other``."""
        return self / other

    def pow(self, other: Any) -> Column:
        """``column ** other``."""
        return self**other

    radd, rmul, subtract, multiply, divide, truediv = add, mul, sub, mul, div, div

    def rsub(self, other: Any) -> Column:
        """``other - column``."""
        return other - self

    def eq(self, other: Any) -> Column:
        """``column == other``."""
        return self == other

    def ne(self, other: Any) -> Column:
        """``column != other``."""
        return self != other

    def lt(self, other: Any) -> Column:
        """``column < other``."""
        return self < other

    def le(self, other: Any) -> Column:
        """``column <= other``."""
        return self <= other

    def gt(self, other: Any) -> Column:
        """``column > other``."""
        return self > other

    def ge(self, other: Any) -> Column:
        """``column >= other``."""
        return self >= other

    def __getitem__(self, key: Any) -> Column:
        if not isinstance(key, Column):
            raise refuse.explain("iloc", refuse.COLUMN["iloc"], self._words())
        if not key._rows.covers(self._rows):
            same(self._rows, key._rows)
        return Column(self._rows.where(key._term), self._term, self.name)

    @property
    def loc(self) -> Column:
        """``column.loc[mask]``."""
        return self

    # Terminals -----------------------------------------------------------------------------------------

    @terminal
    def count(self) -> Ask[Any]:
        """Number of rows where the column is not missing."""
        return measures.scalar(self._rows, self.name, "count", self._term)

    @terminal
    def sum(self, *, skipna: bool = True, min_count: int = 0) -> Ask[Any]:
        """Sum; missing values count as nothing. Of a condition: how many rows hold."""
        measures.plain(skipna, min_count)
        return measures.scalar(self._rows, self.name, "sum", self._term)

    @terminal
    def mean(self, *, skipna: bool = True) -> Ask[Any]:
        """Mean of the values that are not missing; of a condition, the rate at which it holds."""
        measures.plain(skipna)
        return measures.scalar(self._rows, self.name, "mean", self._term)

    @terminal
    def value_counts(
        self, normalize: bool = False, sort: bool = True, ascending: bool = False, dropna: bool = True
    ) -> Ask[pd.Series]:
        """Rows per value of the closed domain; every value of the domain is listed."""
        options = {"normalize": normalize, "sort": sort, "ascending": ascending, "dropna": dropna}
        return measures.value_counts(self._rows, {self.name or "value": self._term}, options)

    @terminal
    def agg(self, func: Any = None, **named: Any) -> Ask[Any]:
        """Several aggregates in one release: ``agg(["count", "mean"])``."""
        if not named and not isinstance(func, list | tuple):
            return measures.scalar(self._rows, self.name, measures.function_name(func), self._term)
        return measures.row(self._rows, measures.single(func, named, self._term), self.name)

    aggregate = agg

    def groupby(self, by: Any, **options: Any) -> GroupBy:
        """``visits.bmi.groupby(visits.sex)``."""
        from cloister.sandbox.frame import grouped  # noqa: PLC0415 (frames build on columns)

        name = self.name or "value"
        return grouped(self._rows, {name: self._term}, by, options)[name]

    # What is refused -----------------------------------------------------------------------------------

    def _words(self) -> dict[str, str]:
        return {**measures.words(self._rows), "c": f"{self._rows.label}.{self.name or 'column'}"}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in refuse.COLUMN:
            raise AttributeError(f"a column has no attribute {name!r}")
        return refuse.look_up(refuse.COLUMN, name, self._words())

    def __bool__(self) -> NoReturn:
        raise refuse.truth(self._words())

    def __len__(self) -> NoReturn:
        raise refuse.length(self._words())

    def _no_rows(self, *_args: Any, **_options: Any) -> NoReturn:
        raise refuse.rows(self._words(), "values")

    __array__ = __iter__ = __contains__ = __float__ = __int__ = __index__ = __complex__ = __reversed__ = _no_rows
    __dataframe__ = __arrow_c_stream__ = __setitem__ = __delitem__ = __reduce_ex__ = _no_rows

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = _UFUNCS.get(ufunc.__name__)
        if method != "__call__" or function is None or options:
            raise PlanError(
                f"api.np.{ufunc.__name__}",
                f"np.{ufunc.__name__} cannot run on columns: their values never leave the enclave",
                nearest=("column arithmetic: +, -, *, / by a number, ** 2, abs()", "visits.a.mean()"),
            )
        return function(*inputs)

    def __array_function__(self, function: Any, _types: Any, args: Any, options: Any) -> Any:
        from cloister.sandbox import functions  # noqa: PLC0415 (functions builds on columns)

        return functions.numpy(function, args, options)

    def __repr__(self) -> str:
        from cloister.sandbox import render  # noqa: PLC0415 (only when shown)

        return render.column_text(self)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]


Column.__hash__ = None  # type: ignore[assignment]


_UFUNCS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "true_divide": operator.truediv,
    "power": operator.pow,
    "square": lambda x: x**2,
    "negative": operator.neg,
    "positive": operator.pos,
    "absolute": operator.abs,
    "fabs": operator.abs,
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
}
