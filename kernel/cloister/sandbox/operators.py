"""Operators and row-wise methods of columns: what pandas computes row by row, written down instead of computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NoReturn, Self

import numpy as np

from cloister.errors import PlanError
from cloister.sandbox import literals, measures, terms
from cloister.sandbox.choices import Choices
from cloister.sandbox.numeric import Numeric, moved
from cloister.sandbox.rows import Rows, same
from cloister.sandbox.terms import Term

_MAX_POWER = 4


class RowWise(Numeric, Choices):
    """An expression over rows, with pandas' operators on it."""

    __hash__: ClassVar[None]  # type: ignore[assignment]
    __array_priority__ = 1000

    def __init__(self, rows: Rows, term: Term, name: str | None) -> None:
        self._rows = rows
        self._term = term
        self.name = name

    def _words(self) -> dict[str, str]:
        return {**measures.words(self._rows), "c": f"{self._rows.label}.{self.name or 'column'}"}

    # Row-wise operators --------------------------------------------------------------------------------

    def _with(self, term: Term, name: str | None = None) -> Self:
        return type(self)(self._rows, term, self.name if name is None else name)

    def _pair(self, other: Any) -> tuple[Rows, Term, str | None]:
        if isinstance(other, RowWise):
            name = self.name if self.name == other.name else None
            return same(self._rows, other._rows), other._term, name
        if isinstance(other, Iterable) and not isinstance(other, str):
            raise PlanError(
                "plan.literal",
                f"a {type(other).__name__} cannot be combined with rows: rows have no positions here",
                nearest=("visits.age.isin([40, 41])", "visits.age + 1"),
            )
        return self._rows, terms.literal(other, self._term.grid), self.name

    def _binary(self, other: Any, build: Callable[[Term, Term], Term], *, swap: bool = False) -> Self:
        rows, term, name = self._pair(other)
        pair = (term, self._term) if swap else (self._term, term)
        return type(self)(rows, build(*pair), name)

    def __add__(self, other: Any) -> Self:
        if (found := moved(self, other, 1)) is not None:
            return found  # type: ignore[no-any-return]
        return self._binary(other, terms.sum_of)

    def __radd__(self, other: Any) -> Self:
        if (found := moved(self, other, 1)) is not None:
            return found  # type: ignore[no-any-return]
        return self._binary(other, terms.sum_of, swap=True)

    def __sub__(self, other: Any) -> Self:
        if (found := moved(self, other, -1)) is not None:
            return found  # type: ignore[no-any-return]
        return self._binary(other, lambda x, y: terms.arithmetic("sub", x, y))

    def __rsub__(self, other: Any) -> Self:
        return self._binary(other, lambda x, y: terms.arithmetic("sub", x, y), swap=True)

    def __mul__(self, other: Any) -> Self:
        return self._binary(other, lambda x, y: terms.arithmetic("mul", x, y))

    def __rmul__(self, other: Any) -> Self:
        return self._binary(other, lambda x, y: terms.arithmetic("mul", x, y), swap=True)

    def __truediv__(self, other: Any) -> Self:
        if isinstance(other, RowWise):
            raise PlanError(
                "plan.ratio",
                "a column divided by a column has no public bounds",
                next_step="state the bounds and the step of the result",
                nearest=("cl.ratio(visits.cost, visits.age, low=0, high=200, step=0.1)", "visits.cost / 100"),
            )
        divisor = literals.fraction(other)
        if divisor == 0:
            raise PlanError("plan.zero", "division by zero")
        return self._with(terms.scale(self._term, 1 / divisor))

    def __rtruediv__(self, _other: Any) -> NoReturn:
        raise PlanError("plan.ratio", "division by a column has no public bounds", nearest=("visits.cost / 100",))

    def __pow__(self, power: Any) -> Self:
        if not isinstance(power, int | np.integer) or not 1 <= int(power) <= _MAX_POWER:
            raise PlanError(
                "plan.power", f"powers are whole numbers from 1 to {_MAX_POWER}", nearest=("visits.age ** 2",)
            )
        term = base = self._term
        for _ in range(int(power) - 1):
            term = terms.arithmetic("mul", term, base)
        return self._with(term)

    def __rpow__(self, _base: Any) -> NoReturn:
        raise PlanError("plan.power", "a column as an exponent is not in the algebra", nearest=("visits.age ** 2",))

    def __neg__(self) -> Self:
        return self._with(terms.negate(self._term))

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Self:
        return self._with(terms.absolute(self._term))

    def abs(self) -> Self:
        """The absolute value."""
        return self.__abs__()

    def __eq__(self, other: object) -> Self:  # type: ignore[override]
        return self._compare("eq", other)

    def __ne__(self, other: object) -> Self:  # type: ignore[override]
        return self._compare("ne", other)

    def __lt__(self, other: Any) -> Self:
        return self._compare("lt", other)

    def __le__(self, other: Any) -> Self:
        return self._compare("le", other)

    def __gt__(self, other: Any) -> Self:
        return self._compare("gt", other)

    def __ge__(self, other: Any) -> Self:
        return self._compare("ge", other)

    def _compare(self, kind: Any, other: Any) -> Self:
        terms.note_domain(self._term, [other])
        return self._binary(other, lambda x, y: terms.compare(kind, x, y))

    def __and__(self, other: Any) -> Self:
        return self._binary(other, terms.every)

    def __or__(self, other: Any) -> Self:
        return self._binary(other, terms.some)

    def __xor__(self, other: Any) -> Self:
        return self._binary(other, terms.exclusive)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Self:
        return self._with(terms.negation(self._term))

    # Row-wise methods ----------------------------------------------------------------------------------

    def isna(self) -> Self:
        """Whether the value is missing."""
        return self._with(terms.is_null(self._term))

    def notna(self) -> Self:
        """Whether the value is there."""
        return ~self.isna()

    isnull, notnull = isna, notna

    def fillna(self, value: Any) -> Self:
        """``value``, a constant or a column, where the column is missing."""
        if isinstance(value, RowWise):
            return self.combine_first(value)  # type: ignore[return-value]
        return self._with(terms.fill(self._term, value))

    def isin(self, values: Iterable[Any]) -> Self:
        """Whether the value is one of ``values`` (at most 1,000)."""
        if isinstance(values, str | RowWise):
            raise PlanError("plan.literal", "isin takes a list of values", nearest=("visits.age.isin([40, 41])",))
        found = list(values)
        terms.note_domain(self._term, found)
        return self._with(terms.is_in(self._term, found))

    def between(self, left: Any, right: Any, inclusive: str = "both") -> Self:
        """Whether the value lies between two values."""
        sides = {"both": ("ge", "le"), "left": ("ge", "lt"), "right": ("gt", "le"), "neither": ("gt", "lt")}
        if inclusive not in sides:
            raise PlanError("api.option", "inclusive is 'both', 'left', 'right' or 'neither'")
        low, high = sides[inclusive]
        return self._compare(low, left) & self._compare(high, right)

    def clip(self, lower: Any = None, upper: Any = None, **_numpy: Any) -> Self:
        """The value limited to public bounds; tighter bounds mean less noise."""
        return self._with(terms.clip(self._term, lower, upper))

    def where(self, cond: Any, other: Any = None) -> Self:
        """The value where ``cond`` holds, else ``other`` (by default missing)."""
        cond = cond(self) if callable(cond) and not isinstance(cond, RowWise) else cond
        if not isinstance(cond, RowWise):
            raise PlanError("api.where", "a condition is a column", nearest=("visits.cost.where(visits.age >= 18, 0)",))
        rows, when, _ = self._pair(cond)
        if literals.is_missing(other):
            return type(self)(rows, terms.only(self._term, when), self.name)
        other_rows, otherwise, _ = self._pair(other)
        return type(self)(same(rows, other_rows), terms.case(when, self._term, otherwise), self.name)

    def mask(self, cond: Any, other: Any = None) -> Self:
        """``other`` (by default missing) where ``cond`` holds, else the value."""
        cond = cond(self) if callable(cond) and not isinstance(cond, RowWise) else cond
        return self.where(~cond, other)

    def rename(self, name: str) -> Self:
        """The same column under another name."""
        return type(self)(self._rows, self._term, name)

    def pipe(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """``function(column, ...)``: plain Python on this side."""
        return function(self, *args, **options)

    # pandas' names of the operators --------------------------------------------------------------------

    def add(self, other: Any) -> Self:
        """``column + other``."""
        return self.__add__(other)

    def sub(self, other: Any) -> Self:
        """``column - other``."""
        return self.__sub__(other)

    def rsub(self, other: Any) -> Self:
        """``other - column``."""
        return self.__rsub__(other)

    def mul(self, other: Any) -> Self:
        """``column * other``."""
        return self.__mul__(other)

    def div(self, other: Any) -> Self:
        """``column / other``."""
        return self.__truediv__(other)

    def pow(self, other: Any) -> Self:
        """``column ** other``."""
        return self.__pow__(other)

    radd, rmul, subtract, multiply, divide, truediv = add, mul, sub, mul, div, div

    def eq(self, other: Any) -> Self:
        """``column == other``."""
        return self._compare("eq", other)

    def ne(self, other: Any) -> Self:
        """``column != other``."""
        return self._compare("ne", other)

    def lt(self, other: Any) -> Self:
        """``column < other``."""
        return self._compare("lt", other)

    def le(self, other: Any) -> Self:
        """``column <= other``."""
        return self._compare("le", other)

    def gt(self, other: Any) -> Self:
        """``column > other``."""
        return self._compare("gt", other)

    def ge(self, other: Any) -> Self:
        """``column >= other``."""
        return self._compare("ge", other)
