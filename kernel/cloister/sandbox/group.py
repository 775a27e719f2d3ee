"""Group-bys over closed keys: every public value of a key is a group, whether it occurs or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import pandas as pd

from cloister.errors import PlanError
from cloister.plan.algebra import Count, VectorSum
from cloister.plan.layout import Layout, layout
from cloister.sandbox import entries, measures, quantiles, ratios, refuse
from cloister.sandbox.ask import Ask, terminal
from cloister.sandbox.operators import RowWise
from cloister.sandbox.rows import Rows, within
from cloister.sandbox.terms import Term


class GroupBy:
    """``visits.groupby("sex")``: choose columns, then aggregate."""

    def __init__(
        self, rows: Rows, keys: dict[str, Term], columns: dict[str, Term], selection: str | list[str] | None = None
    ) -> None:
        self._rows = rows
        self._keys = keys
        self._columns = columns
        self._selection = selection

    def __getitem__(self, key: Any) -> GroupBy:
        if isinstance(key, str):
            self._known(key)
            return GroupBy(self._rows, self._keys, self._columns, key)
        names = list(key) if isinstance(key, list | tuple | pd.Index) else None
        if names is None:
            raise refuse.explain("iloc", refuse.GROUPED["iloc"], self._words())
        for name in names:
            self._known(name)
        return GroupBy(self._rows, self._keys, self._columns, names)

    @terminal
    def size(self) -> Ask[pd.Series]:
        """Rows per group."""
        return measures.series(self._rows, self._keys, "size", None, None)

    @terminal
    def count(self) -> Ask[Any]:
        """Rows per group where the column is not missing."""
        return self._one("count")

    @terminal
    def sum(self, *, numeric_only: bool = False, min_count: int = 0) -> Ask[Any]:
        """Sum per group."""
        measures.plain(min_count=min_count)
        return self._one("sum", numeric_only=numeric_only)

    @terminal
    def mean(self, *, numeric_only: bool = False, skipna: bool = True) -> Ask[Any]:
        """Mean per group; of a condition, the rate."""
        measures.plain(skipna)
        return self._one("mean", numeric_only=numeric_only)

    @terminal
    def std(self, *, ddof: int = 1, numeric_only: bool = False) -> Ask[Any]:
        """Standard deviation per group."""
        return self._one(measures.spread("std", ddof), numeric_only=numeric_only)

    @terminal
    def var(self, *, ddof: int = 1, numeric_only: bool = False) -> Ask[Any]:
        """Variance per group."""
        return self._one(measures.spread("var", ddof), numeric_only=numeric_only)

    @terminal
    def sem(self, *, numeric_only: bool = False) -> Ask[Any]:
        """Standard error of the mean per group, by sampling."""
        return self._one("sem", numeric_only=numeric_only)

    @terminal
    def median(self, *, numeric_only: bool = False) -> Ask[Any]:
        """The middle value per group; missing where a group is too small."""
        chosen, alone = self._numbers("median", numeric_only)
        return quantiles.grouped(self._rows, self._keys, chosen, 0.5, "lower", alone=alone)

    @terminal
    def nunique(self) -> Ask[Any]:
        """How many people there are in each group, of the unit key."""
        return self._one("nunique")

    @terminal
    def quantile(self, q: Any = 0.5, interpolation: str = "linear", *, numeric_only: bool = False) -> Ask[Any]:
        """Quantiles per group; several levels are the last level of the index."""
        chosen, alone = self._numbers("quantile", numeric_only)
        return quantiles.grouped(self._rows, self._keys, chosen, q, interpolation, alone=alone)

    @terminal
    def describe(self, percentiles: Any = None) -> Ask[pd.DataFrame]:
        """Count, mean, standard deviation and quantiles per group, in one release."""
        chosen, alone = self._numbers("describe", numeric_only=True)
        return quantiles.describe(self._rows, self._keys, chosen, percentiles, alone=alone)

    @terminal
    def ratio_of_sums(self, above: str, below: str) -> Ask[pd.Series]:
        """``above.sum() / below.sum()`` per group, from one release."""
        return ratios.grouped(self, above, below)

    @terminal
    def agg(self, func: Any = None, **named: Any) -> Ask[Any]:
        """Several aggregates in one release: ``agg(["count", "mean"])`` or ``agg(rate=("senior", "mean"))``."""
        if isinstance(self._selection, str):
            term = self._columns[self._selection]
            if not named and (isinstance(func, str) or callable(func)):
                return measures.series(self._rows, self._keys, measures.function_name(func), term, self._selection)
            return measures.table(self._rows, self._keys, measures.single(func, named, term))
        items, _ = measures.aggregates(func, named, self._chosen())
        return measures.table(self._rows, self._keys, items)

    aggregate = agg

    @terminal
    def value_counts(
        self, normalize: bool = False, sort: bool = True, ascending: bool = False, dropna: bool = True
    ) -> Ask[pd.Series]:
        """Rows per group and value, sorted within groups."""
        if not isinstance(self._selection, str) or normalize:
            raise PlanError(
                "api.value_counts",
                "value_counts of one column, as counts",
                nearest=('visits.groupby("sex").region.value_counts()',),
            )
        keys = {**self._keys, _free(self._selection, self._keys): self._columns[self._selection]}
        options = {"normalize": normalize, "sort": sort, "ascending": ascending, "dropna": dropna}
        return measures.value_counts(self._rows, keys, options, len(self._keys))

    @property
    def ngroups(self) -> int:
        """How many cells the closed keys have (public)."""
        return self._layout().cells

    def __len__(self) -> int:
        return self.ngroups

    def __iter__(self) -> NoReturn:
        raise refuse.explain("iterrows", refuse.GROUPED["iterrows"], self._words())

    def _one(self, func: str, *, numeric_only: bool = False) -> Ask[Any]:
        if isinstance(self._selection, str):
            return measures.series(self._rows, self._keys, func, self._columns[self._selection], self._selection)
        chosen = measures.only_numbers(self._chosen(), func, numeric_only)
        items: Mapping[Any, tuple[str, Term | None]] = {name: (func, term) for name, term in chosen.items()}
        return measures.table(self._rows, self._keys, items)

    def _numbers(self, func: str, numeric_only: bool) -> tuple[dict[str, Term], bool]:
        """Return the columns a function of numbers applies to, and whether one column was chosen."""
        if isinstance(self._selection, str):
            return {self._selection: self._columns[self._selection]}, True
        return measures.only_numbers(self._chosen(), func, numeric_only), False

    def _chosen(self) -> dict[str, Term]:
        if isinstance(self._selection, list):
            return {name: self._columns[name] for name in self._selection}
        return {name: term for name, term in self._columns.items() if name not in self._keys}

    def _layout(self) -> Layout:
        source, names = self._rows.keyed(self._keys)
        return layout(VectorSum(source, (Count("size"),), "1", names), self._rows.session.about.cards)

    def _known(self, name: Any) -> str:
        if name not in self._columns:
            raise refuse.unknown_column(name, list(self._columns), self._rows.label)
        return str(name)

    def _words(self) -> dict[str, str]:
        return measures.words(self._rows, self._columns)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._columns:
            return self[name]
        if name in refuse.GROUPED:
            return refuse.look_up(refuse.GROUPED, name, self._words())
        raise refuse.unknown_column(name, list(self._columns), self._rows.label)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._columns)

    def __dir__(self) -> list[str]:
        return sorted({*(name for name in super().__dir__() if not name.startswith("_")), *self._columns})

    def __repr__(self) -> str:
        mode = " (mock)" if self._rows.session.mock else ""
        keys = ", ".join(
            f"{name}: {len(key.labels)} values" for name, key in zip(self._keys, self._layout().keys, strict=True)
        )
        return f"<{self._rows.label} grouped by {keys}; {self.ngroups} groups{mode}>"


def grouped(rows: Rows, columns: dict[str, Term], by: Any, options: dict[str, Any]) -> GroupBy:
    """Return the group-by of rows, after checking pandas' options.

    Raises:
        PlanError: An option that would need to look at data, or a key without a closed set of values.
    """
    allowed = {"sort": (True, False), "dropna": (True,), "observed": (False, None), "as_index": (True,), "axis": (0,)}
    for name, value in options.items():
        if value not in allowed.get(name, ()):
            error = PlanError(
                "api.option",
                f"groupby({name}={value!r}): groups are the public values of the keys, all of them",
                nearest=('visits.groupby("sex").bmi.mean()', 'visits.groupby("sex").bmi.mean().reset_index()'),
            )
            raise entries.instead(error, measures.words(rows))
    rows, keys = keys_of(rows, columns, by)
    found = GroupBy(rows, keys, columns)
    found._layout()
    return found


def keys_of(rows: Rows, columns: dict[str, Term], by: Any) -> tuple[Rows, dict[str, Term]]:
    """Return the keys that names and columns stand for, and the rows with the columns they need."""
    keys: dict[str, Term] = {}
    for item in by if isinstance(by, list | tuple) else [by]:
        if isinstance(item, RowWise):
            rows = within(rows, item._rows)
            keys[_free(item.name or "key", keys)] = item._term
        elif isinstance(item, str) and item in columns:
            keys[_free(item, keys)] = columns[item]
        elif isinstance(item, str):
            raise refuse.unknown_column(item, list(columns), rows.label)
        else:
            raise PlanError(
                "api.groupby",
                "group by column names or columns",
                nearest=('visits.groupby("sex")', "visits.groupby([visits.sex, cl.cut(visits.age, [0, 18, 65, 120])])"),
            )
    return rows, keys


def _free(name: str, taken: Mapping[str, Term]) -> str:
    """Return ``name``, numbered if another key has it: two conditions on one column are two keys."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free
