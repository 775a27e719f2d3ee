"""The handle of a table: it looks and behaves like a DataFrame whose rows are somewhere else.

Columns, dtypes and the domain of a category are public and free. Everything that computes row by row builds an
expression; everything that aggregates asks the vault and spends; everything that would show rows is refused with the
nearest thing that works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import pandas as pd

from cloister.errors import PlanError
from cloister.plan import row_limits
from cloister.sandbox import dtypes, measures, query, refuse, rehearse, terms
from cloister.sandbox.column import Column
from cloister.sandbox.elementwise import Elementwise
from cloister.sandbox.frame_terminals import FrameTerminals
from cloister.sandbox.group import keys_of
from cloister.sandbox.relate import FrameRelations
from cloister.sandbox.rows import Rows, within
from cloister.sandbox.session import Session
from cloister.sandbox.terms import Term
from cloister.sandbox.unit import Order


class Frame(FrameTerminals, FrameRelations, Elementwise):
    """Rows of a table and its columns, declared or derived."""

    __hash__ = object.__hash__
    __array_priority__ = 1000
    ndim = 2

    def __init__(self, rows: Rows, columns: dict[str, Term], order: Order = ()) -> None:
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_columns", columns)
        object.__setattr__(self, "_order", order)

    def _like(self, columns: dict[str, Term], rows: Rows | None = None) -> Frame:
        """Return a handle with other columns (and rows), in the same order."""
        return Frame(self._rows if rows is None else rows, columns, self._order)

    @classmethod
    def of_table(cls, session: Session, name: str) -> Frame:
        """Return the handle of a table of the contract.

        Raises:
            PlanError: The contract has no such table.
        """
        card = session.card(name)
        rows = Rows(session, card, row_limits.table(session.about.contract, session.about.analyst, card))
        # A reference table is no relation of its own: nothing says whose its rows are. It is looked up.
        return cls(rows, {column.name: terms.of_card(card, column) for column in card.columns})

    # What is public ------------------------------------------------------------------------------------

    @property
    def columns(self) -> pd.Index:
        """The names of the columns."""
        return pd.Index(list(self._columns))

    @property
    def dtypes(self) -> pd.Series:
        """The pandas dtype of every column, as in a mock table."""
        return pd.Series({name: dtypes.of(term) for name, term in self._columns.items()}, dtype=object)

    def keys(self) -> pd.Index:
        """The names of the columns."""
        return self.columns

    def items(self) -> Iterator[tuple[str, Column]]:
        """Names and columns."""
        return ((name, self._column(name)) for name in self._columns)

    def mock(self, n: int = 5, *, seed: int = 0) -> pd.DataFrame:
        """Return ``n`` invented rows: generated from the data card alone, never from data.

        Filters and derived columns are applied to them, so code can be rehearsed on the result.
        """
        return rehearse.table(self._rows, self._columns, n, seed)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __copy__(self) -> Frame:
        return self.copy()

    def __deepcopy__(self, _memo: Any) -> Frame:
        return self.copy()

    def copy(self, deep: bool = True) -> Frame:  # noqa: ARG002 (the signature of pandas)
        """An independent handle of the same rows."""
        return self._like(dict(self._columns))

    def pipe(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """``function(frame, ...)``: plain Python on this side."""
        return function(self, *args, **options)

    # Columns -------------------------------------------------------------------------------------------

    def _column(self, name: str) -> Column:
        return Column(self._rows, self._columns[name], name)

    def get(self, name: str, default: Any = None) -> Any:
        """The column, or ``default`` if there is none."""
        return self._column(name) if name in self._columns else default

    def __getitem__(self, key: Any) -> Any:
        if callable(key) and not isinstance(key, Column):
            key = key(self)
        if isinstance(key, Column):
            return self._filtered(key)
        if isinstance(key, list | tuple | pd.Index):
            return self._like({self._need(name): self._columns[name] for name in key})
        if isinstance(key, slice):
            raise refuse.explain("head", refuse.COMMON["head"], self._words())
        return self._column(self._need(key))

    def __setitem__(self, name: str, value: Any) -> None:
        self._columns[_name(name)] = self._value(value)

    def __delitem__(self, name: str) -> None:
        del self._columns[self._need(name)]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._columns:
            self[name] = value
        elif name in {"_rows", "_columns", "_order"}:
            object.__setattr__(self, name, value)
        else:
            raise PlanError(
                "api.attribute",
                f"new columns are made with [{name!r}]",
                nearest=(f'{self._rows.label}["{name}"] = {self._rows.label}.age * 2',),
            )

    def _value(self, value: Any) -> Term:
        if callable(value) and not isinstance(value, Column):
            value = value(self)
        if isinstance(value, Column):
            object.__setattr__(self, "_rows", within(self._rows, value._rows))
            return value._term
        if isinstance(value, pd.Series | pd.DataFrame | Frame | list | tuple | dict) or hasattr(value, "__array__"):
            raise PlanError(
                "plan.literal",
                f"a {type(value).__name__} cannot become a column: rows have no positions here",
                nearest=('visits["x"] = visits.age * 2', 'visits["x"] = 1', "cl.case((visits.age < 18, 0), default=1)"),
            )
        return terms.literal(value, None)

    def assign(self, **columns: Any) -> Frame:
        """New columns: expressions, constants, or functions of the handle."""
        new = self.copy()
        for name, value in columns.items():
            new[name] = value
        return new

    def drop(self, labels: Any = None, *, axis: Any = 0, columns: Any = None) -> Frame:
        """Leave columns out."""
        wanted = columns if columns is not None else labels if axis in (1, "columns") else None
        if wanted is None:
            raise PlanError(
                "api.drop",
                "rows have no labels to drop",
                nearest=("visits[visits.age >= 18]", 'visits.drop(columns="age")'),
            )
        gone = {self._need(name) for name in ([wanted] if isinstance(wanted, str) else wanted)}
        return self._like({name: term for name, term in self._columns.items() if name not in gone})

    def rename(self, *, columns: Mapping[str, str] | Callable[[str], str]) -> Frame:
        """Give columns other names."""
        names = {name: columns(name) if callable(columns) else columns.get(name, name) for name in self._columns}
        if len(set(names.values())) < len(names):
            raise PlanError("api.rename", "two columns would have one name")
        return self._like({_name(names[name]): term for name, term in self._columns.items()})

    def filter(self, items: Any = None, like: str | None = None, regex: str | None = None) -> Frame:
        """Select columns by name, as pandas does."""
        kept = pd.DataFrame(columns=list(self._columns)).filter(items=items, like=like, regex=regex).columns
        return self[list(kept)]  # type: ignore[no-any-return]

    def select_dtypes(self, include: Any = None, exclude: Any = None) -> Frame:
        """Select columns by dtype."""
        kept = rehearse.empty(self._columns).select_dtypes(include=include, exclude=exclude).columns
        return self[list(kept)]  # type: ignore[no-any-return]

    # Rows ----------------------------------------------------------------------------------------------

    def _filtered(self, mask: Any) -> Frame:
        if not isinstance(mask, Column):
            raise query.no_condition()
        rows = within(self._rows, mask._rows)
        if mask._term.grid.kind != "bool":
            raise PlanError(
                "plan.types",
                "a filter needs a condition",
                nearest=(f"{self._rows.label}[{self._rows.label}.{mask.name} >= 18]",),
            )
        return self._like(dict(self._columns), rows.where(mask._term))

    def query(self, expr: str) -> Frame:
        """Rows for which a condition holds: ``query("age >= 18 and sex == 'F'")``; ``@name`` is a Python variable."""
        return self._filtered(query.evaluate(expr, dict(self.items()), query.caller()))

    @property
    def loc(self) -> _Loc:
        """``loc[mask]`` and ``loc[mask, columns]``."""
        return _Loc(self)

    def dropna(self, *, subset: Any = None, how: str = "any", axis: Any = 0) -> Frame:
        """Rows without missing values (in ``subset``)."""
        if how != "any" or axis not in (0, "index"):
            raise PlanError(
                "api.option", "dropna() drops rows with any missing value", nearest=('visits.dropna(subset=["bmi"])',)
            )
        names = list(self._columns) if subset is None else [subset] if isinstance(subset, str) else list(subset)
        found = self
        for name in names:
            term = self._columns[self._need(name)]
            if term.grid.nullable and term.grid.kind != "opaque":
                found = found._filtered(self._column(name).notna())
        return found

    def fillna(self, value: Any) -> Frame:
        """Fill missing values with one value, or one per column."""
        wanted = (
            value
            if isinstance(value, Mapping)
            else {
                name: value for name, term in self._columns.items() if term.grid.nullable and term.grid.kind != "opaque"
            }
        )
        return self.assign(**{self._need(name): self._column(name).fillna(item) for name, item in wanted.items()})

    def cap(self, rows: int, *, by: Any = None, groups: int | None = None) -> Frame:
        """At most ``rows`` rows per unit (per value of ``by``, and at most ``groups`` such values).

        Fewer rows per unit means less influence of one unit, and less noise. Which rows stay does not depend on
        other units.
        """
        source, keys = (self._rows, {}) if by is None else keys_of(self._rows, self._columns, by)
        return self._like(dict(self._columns), source.capped(int(rows), keys, groups))

    # What is refused -----------------------------------------------------------------------------------

    def _words(self) -> dict[str, str]:
        return measures.words(self._rows, self._columns)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"a table handle has no attribute {name!r}")
        if name in self._columns:
            return self._column(name)
        if name in {"head", "tail", "sample"}:
            return refuse.Refused(name, rehearse.with_rows(self._rows, self._columns, name, self._words()))
        if name in refuse.FRAME:
            return refuse.look_up(refuse.FRAME, name, self._words())
        raise refuse.unknown_column(name, list(self._columns), self._rows.label)

    def __bool__(self) -> NoReturn:
        raise refuse.truth()

    def __len__(self) -> NoReturn:
        raise refuse.length(self._words())

    def _no_rows(self, *_args: Any, **_options: Any) -> NoReturn:
        raise refuse.rows(self._words(), "values")

    __array__ = __float__ = __int__ = __dataframe__ = __arrow_c_stream__ = __reduce_ex__ = _no_rows
    __array_ufunc__ = __array_function__ = _no_rows

    def __format__(self, spec: str) -> str:
        return repr(self) if not spec else self._no_rows()

    def __eq__(self, _other: object) -> NoReturn:
        raise PlanError("api.frame", "compare columns, not whole tables", nearest=("visits.age == 40",))

    def __dir__(self) -> list[str]:
        return sorted({*(name for name in super().__dir__() if not name.startswith("_")), *self._columns})

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._columns)

    def __repr__(self) -> str:
        from cloister.sandbox import render  # noqa: PLC0415 (only when shown)

        return render.frame_text(self._rows, self._columns)

    def _repr_html_(self) -> str:
        from cloister.sandbox import render  # noqa: PLC0415 (only when shown)

        return render.frame_html(self._rows, self._columns)


class _Loc:
    """``frame.loc``: conditions select rows, names select columns."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def __getitem__(self, key: Any) -> Any:
        rows, columns = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        if callable(rows) and not isinstance(rows, Column):
            rows = rows(self._frame)
        if isinstance(rows, Column):
            found = self._frame[rows]
        elif isinstance(rows, slice) and rows == slice(None):
            found = self._frame
        else:
            raise refuse.explain("iloc", refuse.COMMON["iloc"], self._frame._words())
        return found if columns is None or columns == slice(None) else found[columns]

    def __setitem__(self, key: Any, value: Any) -> None:
        if not (isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], Column) and key[1] in self._frame):
            raise PlanError(
                "api.loc",
                "loc[mask, column] = value changes a column it names",
                nearest=('visits.loc[visits.age > 90, "age"] = 90',),
            )
        self._frame[key[1]] = self._frame[key[1]].mask(key[0], value)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise PlanError("api.name", "a column name is a text", nearest=('visits["senior"] = visits.age >= 65',))
    return name
