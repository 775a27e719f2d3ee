"""Row-wise methods of a table handle that apply to every column: ``visits.isna()``, ``visits[["a", "b"]] + 1``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cloister.errors import PlanError

if TYPE_CHECKING:
    from cloister.sandbox.frame import Frame


def _each(name: str, words: str) -> Callable[..., Frame]:
    def method(self: Any, *args: Any, **options: Any) -> Frame:
        if isinstance(options.get("axis"), str | int) and options.pop("axis") not in (1, "columns"):
            raise PlanError("api.axis", "rows have no labels: it works column by column")
        return self._every(lambda column: getattr(column, name)(*args, **options))  # type: ignore[no-any-return]

    method.__name__, method.__doc__ = name, words
    return method


class Elementwise:
    """What a table handle does column by column."""

    def _every(self: Any, function: Callable[[Any], Any], columns: Any = None) -> Frame:
        """Return the handle with ``function`` of every column (or of those named)."""
        new = self.copy()
        for name in list(self) if columns is None else columns:
            new[name] = function(self[name])
        return new  # type: ignore[no-any-return]

    isna = isnull = _each("isna", "Whether each value is missing.")
    notna = notnull = _each("notna", "Whether each value is there.")
    isin = _each("isin", "Whether each value is one of a list.")
    clip = _each("clip", "Every column limited to public bounds.")
    where = _each("where", "Every column where a condition holds, else missing or another value.")
    mask = _each("mask", "Every column where a condition does not hold, else missing or another value.")
    abs = _each("abs", "The absolute value of every column.")
    add = _each("add", "``frame + other``.")
    radd = _each("radd", "``other + frame``.")
    sub = subtract = _each("sub", "``frame - other``.")
    rsub = _each("rsub", "``other - frame``.")
    mul = multiply = _each("mul", "``frame * other``.")
    rmul = _each("rmul", "``other * frame``.")
    div = divide = truediv = _each("div", "``frame / other``, by a constant.")
    floordiv = _each("floordiv", "``frame // other``, by a constant.")
    mod = _each("mod", "``frame % other``, by a constant.")
    pow = _each("pow", "``frame ** other``.")
    eq = _each("eq", "``frame == other``, column by column.")
    ne = _each("ne", "``frame != other``, column by column.")
    lt = _each("lt", "``frame < other``, column by column.")
    le = _each("le", "``frame <= other``, column by column.")
    gt = _each("gt", "``frame > other``, column by column.")
    ge = _each("ge", "``frame >= other``, column by column.")
    __add__, __radd__, __sub__, __rsub__, __mul__, __rmul__ = add, radd, sub, rsub, mul, rmul
    __floordiv__, __mod__ = floordiv, mod
    __truediv__, __lt__, __le__, __gt__, __ge__ = div, lt, le, gt, ge
    __pow__ = _each("pow", "``frame ** other``.")

    def round(self: Any, decimals: Any = 0) -> Frame:
        """Every number column rounded, or those in ``{column: decimals}``."""
        if isinstance(decimals, Mapping):
            new = self.copy()
            for name, digits in decimals.items():
                new[name] = self[self._need(name)].round(digits)
            return new  # type: ignore[no-any-return]
        numbers = [name for name, term in self._columns.items() if term.grid.kind == "number"]
        return self._every(lambda column: column.round(decimals), numbers)  # type: ignore[no-any-return]

    def astype(self: Any, dtype: Any) -> Frame:
        """Every column as another type, or those in ``{column: dtype}``."""
        if isinstance(dtype, Mapping):
            new = self.copy()
            for name, kind in dtype.items():
                new[name] = self[self._need(name)].astype(kind)
            return new  # type: ignore[no-any-return]
        return self._every(lambda column: column.astype(dtype))  # type: ignore[no-any-return]

    def convert_dtypes(self: Any) -> Frame:
        """The same handle: types are declared."""
        return self.copy()  # type: ignore[no-any-return]

    infer_objects = convert_dtypes

    def __neg__(self) -> Frame:
        return self._every(lambda column: -column)

    def __invert__(self) -> Frame:
        return self._every(lambda column: ~column)

    def __abs__(self) -> Frame:
        return self._every(lambda column: column.abs())

    def add_prefix(self: Any, prefix: str) -> Frame:
        """The columns with a text before their names."""
        return self.rename(columns=lambda name: f"{prefix}{name}")  # type: ignore[no-any-return]

    def add_suffix(self: Any, suffix: str) -> Frame:
        """The columns with a text behind their names."""
        return self.rename(columns=lambda name: f"{name}{suffix}")  # type: ignore[no-any-return]

    def replace(self: Any, to_replace: Any = None, value: Any = None) -> Frame:
        """Other values for some: of every column, or ``{column: {old: new}}``."""
        nested = isinstance(to_replace, Mapping) and any(isinstance(item, Mapping) for item in to_replace.values())
        if nested:
            new = self.copy()
            for name, pairs in to_replace.items():
                new[name] = self[self._need(name)].replace(pairs)
            return new  # type: ignore[no-any-return]
        return self._every(lambda column: column.replace(to_replace, value))  # type: ignore[no-any-return]

    def insert(self: Any, loc: int, column: str, value: Any, allow_duplicates: bool = False) -> None:
        """Put a new column at a place among the others."""
        if column in self and not allow_duplicates:
            raise ValueError(f"cannot insert {column}, already exists")
        names = [name for name in self if name != column]
        self[column] = value
        names.insert(loc, column)
        found = {name: self._columns[name] for name in names}
        self._columns.clear()
        self._columns.update(found)

    def pop(self: Any, item: str) -> Any:
        """Take a column out of the handle and return it."""
        found = self[self._need(item)]
        del self[item]
        return found

    def eval(self: Any, expr: str) -> Any:
        """An expression of the query language: a column, or the handle with new ones (``"x = a + b"``)."""
        from cloister.sandbox import query  # noqa: PLC0415 (only when asked)

        return query.evaluate_all(expr, self, query.caller())
