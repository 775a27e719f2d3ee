"""Group-bys over the unit key: one row per unit, or new columns along the rows of each unit.

``visits.groupby("patient_id").cost.sum()`` is a column with one value per patient, to be filtered, merged and
aggregated like any other. ``visits.sort_values("date").groupby("patient_id").bmi.shift(1)`` is a column of the visits
themselves. Nothing is released here: both stay where the rows are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import refuse, terms, widen
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

if TYPE_CHECKING:
    from cloister.sandbox.column import Column
    from cloister.sandbox.frame import Frame

Kind = Literal["count", "sum", "min", "max", "mean", "any", "all", "distinct"]
Order = tuple[tuple[Term, Literal["asc", "desc"]], ...]
_KINDS: dict[str, Kind] = {
    "count": "count", "size": "count", "sum": "sum", "min": "min", "max": "max", "mean": "mean", "any": "any",
    "all": "all", "nunique": "distinct",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class UnitGroupBy:
    """``visits.groupby("patient_id")``: choose columns, then compute per unit or along its rows."""

    _rows: Rows
    _columns: dict[str, Term]
    _by: dict[str, Term]
    _order: Order = ()
    _selection: tuple[str, ...] | str | None = None

    def __getitem__(self, key: Any) -> UnitGroupBy:
        names = (key,) if isinstance(key, str) else tuple(key)
        for name in names:
            if name not in self._columns:
                raise refuse.unknown_column(name, list(self._columns), self._rows.label)
        return dataclasses.replace(self, _selection=key if isinstance(key, str) else names)

    # One row per unit ----------------------------------------------------------------------------------

    def agg(self, func: Any = None, **named: Any) -> Any:
        """Several aggregates per unit: ``agg(visits=("cost", "count"), total=("cost", "sum"))``."""
        if isinstance(self._selection, str):
            if not named and not isinstance(func, list | tuple):
                return self._column(_name(func))
            wanted = named or {_name(item): item for item in func}
            return self._frame({label: (self._selection, _name(item)) for label, item in wanted.items()})
        if named:
            return self._frame({label: self._pair(pair) for label, pair in named.items()})
        if isinstance(func, Mapping) and not any(isinstance(item, list | tuple) for item in func.values()):
            return self._frame({name: (name, _name(item)) for name, item in func.items()})
        if isinstance(func, str) or callable(func):
            return self._frame({name: (name, _name(func)) for name in self._chosen()})
        raise PlanError("api.agg", "aggregates per unit have names", nearest=self._forms())

    aggregate = agg

    def size(self) -> Column:
        """Rows per unit."""
        return self._column("size")

    def count(self) -> Any:
        """Rows per unit where the column is not missing."""
        return self.agg("count")

    def sum(self) -> Any:
        """Sum per unit."""
        return self.agg("sum")

    def mean(self) -> Any:
        """Mean per unit, rounded down to the column's own grid."""
        return self.agg("mean")

    def min(self) -> Any:
        """Smallest value per unit; it stays where the rows are."""
        return self.agg("min")

    def max(self) -> Any:
        """Largest value per unit; it stays where the rows are."""
        return self.agg("max")

    def any(self) -> Any:
        """Whether a condition holds in any row of the unit."""
        return self.agg("any")

    def all(self) -> Any:
        """Whether a condition holds in all rows of the unit."""
        return self.agg("all")

    def nunique(self) -> Any:
        """How many different values a closed column has per unit."""
        return self.agg("nunique")

    def transform(self, func: Any) -> Column:
        """The aggregate of the unit in each of its rows: ``visits.cost - g.cost.transform("mean")``."""
        if self._by or not isinstance(self._selection, str):
            raise PlanError("api.transform", "transform takes one column, per unit", nearest=self._forms("transform"))
        kind = _name(func)
        measure, wrap = self._measure(self._selection, kind)
        right = a.PerUnit(self._rows.relation, (measure,))
        name = widen.name_of(f"unit_{measure.kind}", widen.pruned(right, {measure.name}))
        rows = self._rows.on(a.Align(self._rows.relation, right, "inner", ((measure.name, name),)))
        return _column_of(rows, wrap(rows.term(name)), self._selection)

    # Along the rows of a unit --------------------------------------------------------------------------

    def shift(self, periods: int = 1, *, fill_value: Any = None) -> Any:
        """The value ``periods`` rows earlier within the unit, in the order of ``sort_values``."""

        def lag(term: Term) -> tuple[Rows, Term]:
            rows, found = self._along("lag", lambda name: a.Lag(name, term.scalar, int(periods)))
            return rows, found if fill_value is None else terms.fill(found, fill_value)

        return self._each(lag)

    def diff(self, periods: int = 1) -> Any:
        """The change since ``periods`` rows earlier; of dates, a number of days."""

        def since(term: Term) -> tuple[Rows, Term]:
            rows, found = self._along("lag", lambda name: a.Lag(name, term.scalar, int(periods)))
            change = terms.arithmetic("sub", term, found)
            # Along its own order a column only grows: half the range, and half the noise.
            grows = bool(self._order) and self._order[0] == (term, "asc") and periods > 0
            return rows, dataclasses.replace(terms.clip(change, 0, None), days=change.days) if grows else change

        return self._each(since)

    def cumsum(self) -> Any:
        """The sum over the unit's rows so far, this one included."""

        def total(term: Term) -> tuple[Rows, Term]:
            rows, found = self._along("running_sum", lambda name: a.RunningSum(name, term.scalar))
            return rows, terms.only(found, terms.negation(terms.is_null(term))) if term.grid.nullable else found

        return self._each(total)

    def cumcount(self, ascending: bool = True) -> Column:
        """The number of the row within the unit, from 0."""
        rows, found = self._along("row_number", a.RowNumber, flip=not ascending)
        return _column_of(rows, terms.arithmetic("sub", found, terms.literal(1, None)), None)

    def rank(self, method: str = "first", ascending: bool = True) -> Any:
        """The rank within the unit, from 1; equal values are told apart by the row hash (``method="first"``)."""
        if method != "first":
            raise PlanError("api.rank", 'only rank(method="first") is a number of rows', nearest=self._forms("rank"))

        def position(term: Term) -> tuple[Rows, Term]:
            ordered = dataclasses.replace(self, _order=((term, "asc" if ascending else "desc"),))
            rows, found = ordered._along("row_number", a.RowNumber)
            return rows, terms.only(found, terms.negation(terms.is_null(term))) if term.grid.nullable else found

        return self._each(position)

    def head(self, n: int = 5) -> Frame:
        """The handle of the first ``n`` rows of every unit, in the order of ``sort_values``."""
        return self._first(n, flip=False)

    def tail(self, n: int = 5) -> Frame:
        """The handle of the last ``n`` rows of every unit, in the order of ``sort_values``."""
        return self._first(n, flip=True)

    # How -----------------------------------------------------------------------------------------------

    def _first(self, n: int, *, flip: bool) -> Frame:
        from cloister.sandbox.frame import Frame  # noqa: PLC0415 (frames build on group-bys)

        rows, number = self._along("row_number", a.RowNumber, flip=flip)
        kept = rows.where(terms.compare("le", number, terms.literal(int(n), None)))
        return Frame(kept, {name: self._columns[name] for name in self._columns}, self._order)

    def _along(
        self, what: str, function: Callable[[str], a.Lag | a.RowNumber | a.RunningSum], *, flip: bool = False
    ) -> tuple[Rows, Term]:
        """Return the rows with one new column along the rows of each unit, and this column."""
        order = self._order or self._declared()
        if flip:
            order = tuple((term, "asc" if way == "desc" else "desc") for term, way in order)
        keys = {widen.name_of("order", term.scalar): term for term, _ in order}
        keys |= {widen.name_of("by", term.scalar): term for term in self._by.values()}
        source, names = self._rows.keyed(keys)
        ways = tuple((name, way) for name, (_, way) in zip(names, order, strict=False))
        content = [widen.core(self._rows.relation), *(term.scalar for term, _ in order), [way for _, way in order]]
        name = widen.name_of(what, *content, *(term.scalar for term in self._by.values()), function(""))
        rows = self._rows.on(a.Window(source, ways, (function(name),), names[len(order) :]))
        return rows, rows.term(name)

    def _declared(self) -> Order:
        name = self._rows.card.order
        if name is None or name not in self._rows.schema.columns:
            raise PlanError(
                "api.order",
                "rows are in no order until you name one",
                nearest=(
                    f'{self._rows.label}.sort_values("date").groupby("{self._rows.key[0]}").cumcount()',
                    f'{self._rows.label}.within(order="date").cumcount()',
                ),
            )
        return ((self._rows.term(name), "asc"),)

    def _each(self, build: Callable[[Term], tuple[Rows, Term]]) -> Any:
        if isinstance(self._selection, str):
            return _column_of(*build(self._columns[self._selection]), self._selection)
        from cloister.sandbox.frame import Frame  # noqa: PLC0415 (frames build on group-bys)

        found, columns = self._rows, {}
        for name in self._chosen():
            rows, columns[name] = build(self._columns[name])
            found = rows.joined(found) or rows
        return Frame(found, columns)

    def _column(self, kind: str) -> Column:
        label = self._selection if isinstance(self._selection, str) else None
        rows, found = self._computed({"value": (label, kind)})
        return _column_of(rows, found["value"], label)

    def _frame(self, wanted: Mapping[str, tuple[str | None, str]]) -> Frame:
        from cloister.sandbox.frame import Frame  # noqa: PLC0415 (frames build on group-bys)

        rows, found = self._computed(wanted)
        return Frame(rows, found)

    def _computed(self, wanted: Mapping[str, tuple[str | None, str]]) -> tuple[Rows, dict[str, Term]]:
        if not wanted:
            raise PlanError("api.agg", "nothing to compute per unit", nearest=self._forms())
        made = {label: self._measure(name, kind) for label, (name, kind) in wanted.items()}
        keys = {widen.name_of("by", term.scalar): term for term in self._by.values()}
        source, names = self._rows.keyed(keys)
        measures = {measure.name: measure for measure, _ in made.values()}
        caption = f"one row per {self._rows.card.unit}" + "".join(f" and {name}" for name in self._by)
        rows = self._rows.on(a.PerUnit(source, tuple(measures.values()), names), caption)
        columns = {label: rows.term(name) for label, name in zip(self._by, names, strict=True)}
        return rows, columns | {label: wrap(rows.term(measure.name)) for label, (measure, wrap) in made.items()}

    def _measure(self, column: str | None, kind: str) -> tuple[a.UnitMeasure, Callable[[Term], Term]]:
        """Return the measure, and what pandas shows of it."""
        term = None if column is None else self._columns[column]
        if kind == "size" or (kind == "count" and term is not None and not term.grid.nullable):
            return a.UnitMeasure("rows", "count"), lambda found: found
        if term is None:
            raise PlanError("api.agg", f"{kind} per unit needs a column", nearest=self._forms())
        if kind in {"any", "all"} and term.grid.kind != "bool":
            raise PlanError("api.agg", f"{kind} is of a condition", nearest=self._forms())
        name = widen.name_of(_KINDS[kind], term.scalar)
        # In pandas the sum of nothing is 0.
        wrap = (lambda found: terms.fill(found, 0)) if kind == "sum" else (lambda found: found)
        return a.UnitMeasure(name, _KINDS[kind], term.scalar), wrap

    def _pair(self, pair: Any) -> tuple[str, str]:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise PlanError("api.agg", "named aggregates are pairs", nearest=self._forms())
        if pair[0] not in self._columns:
            raise refuse.unknown_column(pair[0], list(self._columns), self._rows.label)
        return pair[0], _name(pair[1])

    def _chosen(self) -> Iterable[str]:
        if self._selection is not None:
            return self._selection if isinstance(self._selection, tuple) else (self._selection,)
        taken = {*self._rows.key, *self._by}
        return [name for name, term in self._columns.items() if name not in taken and term.grid.kind != "opaque"]

    def _forms(self, what: str = "agg") -> tuple[str, ...]:
        group = f'{self._rows.label}.groupby("{self._rows.key[0]}")'
        number = next((name for name, term in self._columns.items() if term.grid.kind == "number"), "cost")
        forms = {
            "agg": (f'{group}.agg(rows=("{number}", "count"), total=("{number}", "sum"))', f"{group}.{number}.sum()"),
            "transform": (f'{group}.{number}.transform("mean")',),
            "rank": (f'{group}.{number}.rank(method="first")',),
        }
        return forms[what]

    def _words(self) -> dict[str, str]:
        from cloister.sandbox import measures  # noqa: PLC0415 (only on a mistake)

        words = measures.words(self._rows, self._columns)
        return {**words, "c": f'{words["f"]}.groupby("{words["key"]}")'}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._columns:
            return self[name]
        if name in refuse.UNIT:
            return refuse.look_up(refuse.UNIT, name, self._words())
        raise refuse.unknown_column(name, list(self._columns), self._rows.label)

    def __iter__(self) -> NoReturn:
        raise refuse.explain("groups", refuse.UNIT["groups"], self._words())

    def __len__(self) -> NoReturn:
        raise refuse.length(self._words())

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._columns)

    def __dir__(self) -> list[str]:
        return sorted({*(name for name in super().__dir__() if not name.startswith("_")), *self._columns})

    def __repr__(self) -> str:
        also = "".join(f" and {name}" for name in self._by)
        mode = " (mock)" if self._rows.session.mock else ""
        return f"<{self._rows.label} per {self._rows.card.unit}{also}: nothing is released{mode}>"


def of_units(
    rows: Rows, columns: dict[str, Term], by: Any, options: Mapping[str, Any], order: Order = ()
) -> UnitGroupBy | None:
    """Return the group-by over the unit key, if ``by`` names it."""
    names = [_spelled(rows, item) for item in (by if isinstance(by, list | tuple) else [by])]
    keys = [name for name in names if isinstance(name, str) and _means_unit(rows, columns, name)]
    if not keys:
        return None
    if len(keys) < len(rows.key):
        raise PlanError("api.groupby", f"the unit key is {', '.join(rows.key)}: name all of it")
    from cloister.sandbox.group import keys_of  # noqa: PLC0415 (group-bys of both kinds need each other)

    wide, others = keys_of(rows, columns, [name for name in names if not (isinstance(name, str) and name in keys)])
    for name, value in options.items():
        if name not in {"sort", "observed", "as_index", "group_keys", "dropna"} or (name == "dropna" and not value):
            raise PlanError("api.option", f"groupby({name}={value!r}) has no meaning per unit")
    return UnitGroupBy(wide, columns, others, order)


def _spelled(rows: Rows, item: Any) -> Any:
    """Return the name of a unit key that is given as a column, anything else as it is."""
    term = getattr(item, "_term", None)
    if term is None or term.grid.kind != "opaque" or not isinstance(term.scalar, a.Col):
        return item
    return term.scalar.name if term.scalar.name in rows.key else item


def _means_unit(rows: Rows, columns: Mapping[str, Term], name: str) -> bool:
    """Return whether a name stands for the unit: its key column, or the key where it is no column (as an index is)."""
    return is_key(rows, columns, name) or (name in rows.key and name not in columns)


def is_key(rows: Rows, columns: Mapping[str, Term], name: str) -> bool:
    """Return whether a column of a handle is (a part of) the unit key."""
    term = columns.get(name)
    return (
        term is not None
        and isinstance(term.scalar, a.Col)
        and term.scalar.name in rows.key
        and (term.grid.kind == "opaque")
    )


def _name(func: Any) -> str:
    name = {"len": "size"}.get(getattr(func, "__name__", ""), getattr(func, "__name__", func))
    if name not in _KINDS or (callable(func) and getattr(func, "__module__", "") not in {"numpy", "builtins"}):
        raise PlanError(
            "api.agg",
            f"{func if isinstance(func, str) else name} is not computed per unit",
            nearest=('visits.groupby("patient_id").cost.agg(["sum", "max"])',),
            next_step=f"per unit there are {', '.join(_KINDS)}",
        )
    return str(name)


def _column_of(rows: Rows, term: Term, name: str | None) -> Column:
    from cloister.sandbox.column import Column  # noqa: PLC0415 (columns build on group-bys)

    return Column(rows, term, name)
