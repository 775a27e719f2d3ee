"""A column of a handle: an expression over rows that stay where they are.

Operators and methods mean what pandas means. Anything that would need the values (truth, iteration, conversion to
an array) is refused, so that NumPy, scikit-learn and plotting libraries raise instead of computing something else.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import dtypes, refuse
from cloister.sandbox.accessors import Accessors
from cloister.sandbox.column_terminals import ColumnTerminals
from cloister.sandbox.rows import within
from cloister.sandbox.ufuncs import UFUNCS


class Column(ColumnTerminals, Accessors):
    """One column: ``visits.bmi``, or anything computed row by row from columns of the same rows."""

    # What is public ------------------------------------------------------------------------------------

    @property
    def dtype(self) -> Any:
        """The pandas dtype the column has in a mock table."""
        return dtypes.of(self._term)

    @property
    def domain(self) -> list[str]:
        """The public domain of a category, in its declared order."""
        return list(self._term.domain)

    @property
    def dtypes(self) -> Any:
        """The pandas dtype the column has in a mock table."""
        return self.dtype

    ndim = 1

    def copy(self, deep: bool = True) -> Column:  # noqa: ARG002 (the signature of pandas)
        """The column itself: an expression does not change."""
        return self

    def mock(self, n: int = 5, *, seed: int = 0) -> pd.Series:
        """Return ``n`` invented values: generated from the data card alone, never from data."""
        from cloister.sandbox import rehearse  # noqa: PLC0415 (pandas evaluation is only needed here)

        name = self.name or "value"
        return rehearse.table(self._rows, {name: self._term}, n, seed)[name].rename(self.name)

    def dropna(self) -> Column:
        """The column over the rows where it is not missing."""
        return self[self.notna()] if self._term.grid.nullable else self

    def __getitem__(self, key: Any) -> Column:
        if not isinstance(key, Column):
            raise refuse.explain("iloc", refuse.COLUMN["iloc"], self._words())
        return Column(within(self._rows, key._rows).where(key._term), self._term, self.name)

    @property
    def loc(self) -> Column:
        """``column.loc[mask]``."""
        return self

    # What is refused -----------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name in {"dt", "str", "cat"}:
            raise refuse.no_accessor(name, self._words())
        if name.startswith("_"):
            raise AttributeError(f"a column has no attribute {name!r}")
        if name not in refuse.COLUMN:
            raise refuse.unknown_part(name, self, self._words())
        return refuse.look_up(refuse.COLUMN, name, self._words())

    def __bool__(self) -> NoReturn:
        raise refuse.truth()

    def __len__(self) -> NoReturn:
        raise refuse.length(self._words())

    def _no_rows(self, *_args: Any, **_options: Any) -> NoReturn:
        raise refuse.rows(self._words(), "values")

    __array__ = __iter__ = __contains__ = __float__ = __int__ = __index__ = __complex__ = __reversed__ = _no_rows
    __dataframe__ = __arrow_c_stream__ = __setitem__ = __delitem__ = __reduce_ex__ = _no_rows

    def __copy__(self) -> Column:
        return self

    def __deepcopy__(self, _memo: Any) -> Column:
        return self

    def __format__(self, spec: str) -> str:
        return repr(self) if not spec else self._no_rows()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = UFUNCS.get(ufunc.__name__)
        arrays = any(not isinstance(item, Column) and getattr(item, "ndim", 0) for item in inputs)
        if method != "__call__" or function is None or options or arrays:
            raise PlanError(
                f"api.np.{ufunc.__name__}",
                f"np.{ufunc.__name__} cannot run on columns: their values never leave the enclave",
                nearest=("abs(visits.cost - 1000) * 2", "visits.cost.mean()"),
            )
        return function(*(item.item() if isinstance(item, np.generic) else item for item in inputs))

    def __array_function__(self, function: Any, _types: Any, args: Any, options: Any) -> Any:
        from cloister.sandbox import functions  # noqa: PLC0415 (functions builds on columns)

        return functions.numpy(function, args, options)

    def __repr__(self) -> str:
        from cloister.sandbox import render  # noqa: PLC0415 (only when shown)

        return render.column_text(self)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]
