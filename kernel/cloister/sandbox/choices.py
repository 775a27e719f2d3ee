"""Values chosen by value: ``map``, ``replace``, ``case_when``, ``combine_first``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import literals, refuse, terms
from cloister.sandbox.rows import same

if TYPE_CHECKING:
    from cloister.sandbox.column import Column

_MOST_REPLACED = 50


class Choices:
    """Row-wise choices of a column."""

    def map(self: Any, arg: Any, na_action: str | None = None) -> Column:
        """Other values by a dict or Series of public values (at most 1,000); what is not in it becomes missing."""
        from cloister.sandbox.relate import looked_up  # noqa: PLC0415 (relations build on columns)

        if callable(arg) or not isinstance(arg, Mapping | pd.Series) or na_action not in (None, "ignore"):
            raise refuse.explain("map", refuse.COLUMN["apply"], self._words())
        if self._term.labels or self._term.grid.kind in {"opaque"}:
            raise PlanError(
                "api.map",
                "a column without declared values, or a cut with labels, cannot be looked up",
                nearest=('visits.sex.map({"F": "female", "M": "male"})',),
            )
        pairs = [(key, value) for key, value in arg.items() if not literals.is_missing(key)]
        rows, (found,) = looked_up(self._rows, [self._term], pairs, 1)
        return type(self)(rows, found, self.name)  # type: ignore[no-any-return]

    def replace(self: Any, to_replace: Any = None, value: Any = None) -> Column:
        """Other values for some, the others stay: ``replace("x", "y")`` ``replace([1, 2], 0)`` ``replace({1: 2})``."""
        if isinstance(to_replace, Mapping) and value is None:
            pairs = list(to_replace.items())
        elif isinstance(to_replace, list | tuple) and isinstance(value, list | tuple):
            pairs = list(zip(to_replace, value, strict=True))
        else:
            olds = list(to_replace) if isinstance(to_replace, list | tuple | set) else [to_replace]
            pairs = [(old, value) for old in olds]
        if len(pairs) > _MOST_REPLACED:
            raise PlanError(
                "api.replace", f"at most {_MOST_REPLACED} values are replaced", nearest=('visits.sex.map({"F": "f"})',)
            )
        found = self
        for old, new in reversed(pairs):
            mask = self.isna() if literals.is_missing(old) else self == old
            found = found.mask(mask, new)
        return found  # type: ignore[no-any-return]

    def case_when(self: Any, caselist: Sequence[tuple[Any, Any]]) -> Column:
        """The value of the first condition that holds, else the column's own: ``[(cond, value), ...]``."""
        found = self
        for condition, value in reversed(list(caselist)):
            found = found.mask(
                condition(self) if callable(condition) and not hasattr(condition, "_term") else condition, value
            )
        return found  # type: ignore[no-any-return]

    def combine_first(self: Any, other: Any) -> Column:
        """The column, or where it is missing the other one."""
        if not hasattr(other, "_term"):
            raise PlanError("api.combine_first", "it takes a column", nearest=("visits.bmi.combine_first(visits.age)",))
        rows = same(self._rows, other._rows)
        return type(self)(rows, terms.case(terms.is_null(self._term), other._term, self._term), self.name)  # type: ignore[no-any-return]

    def to_frame(self: Any, name: str | None = None) -> Any:
        """The column as a handle of one column."""
        from cloister.sandbox.frame import Frame  # noqa: PLC0415 (frames build on columns)

        return Frame(self._rows, {name or self.name or "value": self._term})
