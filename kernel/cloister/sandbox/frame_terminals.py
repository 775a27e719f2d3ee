"""What a table handle releases: aggregates of several columns in one question to the vault, with one price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import crosstabs, entries, measures, pairs, quantiles, refuse
from cloister.sandbox.ask import Ask, terminal
from cloister.sandbox.group import GroupBy, grouped
from cloister.sandbox.resample import Dated, resampled
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term
from cloister.sandbox.unit import Order, UnitGroupBy, of_units

if TYPE_CHECKING:
    from cloister.sandbox.deliver import Deliver


class FrameTerminals:
    """The terminals of a table handle."""

    _rows: Rows
    _columns: dict[str, Term]
    _order: Order

    def _need(self, name: Any) -> str:
        if not isinstance(name, str) or name not in self._columns:
            raise refuse.unknown_column(name, list(self._columns), self._rows.label)
        return name

    def _words(self) -> dict[str, str]:
        return measures.words(self._rows, self._columns)

    def groupby(self, by: Any = None, **options: Any) -> GroupBy | UnitGroupBy:
        """Group by categories, conditions, cuts, or numbers with few public values; or by the unit key."""
        per_unit = of_units(self._rows, self._columns, by, options, self._order)
        if per_unit is not None:
            return per_unit
        return grouped(self._rows, self._columns, by, options)

    def resample(self, rule: Any, on: Any = None, **options: Any) -> GroupBy:
        """Group by the weeks, months, quarters or years of a date column, all of its public range.

        ``rule`` as in pandas: ``"D"``, ``"W"``, ``"ME"``, ``"MS"``, ``"QE"``, ``"QS"``, ``"YE"``, ``"YS"``.
        """
        return resampled(self._rows, self._columns, rule, on, options)

    def set_index(self, keys: str) -> Dated:
        """The rows with a date column as index: to ``resample``."""
        if self._columns[self._need(keys)].grid.kind != "date":
            raise PlanError(
                "api.set_index",
                "rows have no labels here; a date as index is there to resample by",
                nearest=(
                    'visits.set_index("date").resample("ME").size()',
                    'visits.groupby("sex").bmi.mean().reset_index()',
                ),
            )
        return Dated(self._rows, dict(self._columns), keys)

    @property
    def deliver(self) -> Deliver:
        """Deliver one rounded score per unit, sealed to a receiver: ``deliver(score, step=0.01, receiver="bureau")``.

        Outside the formal guarantee, and only a plan that every provider signed: ``deliver.proposal`` gives its digest.
        """
        from cloister.sandbox.deliver import Deliver  # noqa: PLC0415 (most notebooks never deliver)

        return Deliver(self)  # type: ignore[arg-type]

    @property
    def _typ(self) -> str:
        """What pandas asks of everything it is given."""
        entries.type_asked(self._words())

    @terminal
    def count(self) -> Ask[pd.Series]:
        """Rows per column where it is not missing (one count serves all complete columns)."""
        return measures.row(
            self._rows, {name: ("count", self._countable(term)) for name, term in self._columns.items()}
        )

    @terminal
    def sum(self, *, numeric_only: bool = False, skipna: bool = True) -> Ask[pd.Series]:
        """Sum of every column."""
        return self._each("sum", numeric_only, skipna)

    @terminal
    def mean(self, *, numeric_only: bool = False, skipna: bool = True) -> Ask[pd.Series]:
        """Mean of every column."""
        return self._each("mean", numeric_only, skipna)

    @terminal
    def std(self, *, numeric_only: bool = False, ddof: int = 1, skipna: bool = True) -> Ask[pd.Series]:
        """Standard deviation of every column."""
        return self._each(measures.spread("std", ddof), numeric_only, skipna)

    @terminal
    def var(self, *, numeric_only: bool = False, ddof: int = 1, skipna: bool = True) -> Ask[pd.Series]:
        """Variance of every column."""
        return self._each(measures.spread("var", ddof), numeric_only, skipna)

    @terminal
    def sem(self, *, numeric_only: bool = False, skipna: bool = True) -> Ask[pd.Series]:
        """Standard error of the mean of every column, by sampling."""
        return self._each("sem", numeric_only, skipna)

    @terminal
    def median(self, *, numeric_only: bool = False, skipna: bool = True) -> Ask[pd.Series]:
        """The middle value of every column."""
        return self._each("median", numeric_only, skipna)

    @terminal
    def quantile(self, q: Any = 0.5, *, numeric_only: bool = False, interpolation: str = "linear") -> Ask[Any]:
        """Quantiles of every column, at one level or several."""
        chosen = measures.only_numbers(self._columns, "quantile", numeric_only)
        return quantiles.quantile(self._rows, chosen, q, interpolation, alone=False)

    @terminal
    def describe(self, percentiles: Any = None) -> Ask[pd.DataFrame]:
        """Count, mean, standard deviation and quantiles of every number column, in one release.

        1 % and 99 % quantiles stand where pandas has minimum and maximum, which would be single people's values.
        """
        chosen = {name: term for name, term in self._columns.items() if term.grid.kind == "number"}
        return quantiles.describe(self._rows, {}, chosen, percentiles, alone=False)

    @terminal
    def cov(self, *, numeric_only: bool = False, ddof: int = 1) -> Ask[pd.DataFrame]:
        """Covariances of every pair of columns, in one release."""
        chosen = measures.only_numbers(self._columns, "cov", numeric_only)
        return pairs.matrix(self._rows, chosen, correlation=False, ddof=ddof)

    @terminal
    def corr(self, method: str = "pearson", *, numeric_only: bool = False) -> Ask[pd.DataFrame]:
        """Correlations of every pair of columns, in one release."""
        pairs.pearson(method)
        chosen = measures.only_numbers(self._columns, "corr", numeric_only)
        return pairs.matrix(self._rows, chosen, correlation=True)

    @terminal
    def pivot_table(  # noqa: PLR0917 (the order of pandas)
        self,
        values: Any = None,
        index: Any = None,
        columns: Any = None,
        aggfunc: Any = "mean",
        margins: bool = False,
        margins_name: str = "All",
    ) -> Ask[pd.DataFrame]:
        """Aggregates per cell of some keys as rows and others as columns, in one release.

        ``margins`` are computed from the released cells: sums of the cells as shown, means of their noisy sums.
        """
        spec = {"values": values, "index": index, "columns": columns, "aggfunc": aggfunc}
        return crosstabs.pivot_table(self._rows, self._columns, spec, margins, margins_name)

    @terminal
    def agg(self, func: Any = None, **named: Any) -> Ask[Any]:
        """Several aggregates of several columns in one release."""
        items, flat = measures.aggregates(func, named, self._columns)
        if named or not flat:
            raise PlanError(
                "api.agg",
                "a frame takes one aggregate per column",
                nearest=(
                    'visits.agg({"bmi": "mean", "cost": "sum"})',
                    'visits.groupby("sex").cost.agg(["count", "mean"])',
                ),
            )
        return measures.row(self._rows, items)

    aggregate = agg

    @terminal
    def value_counts(
        self,
        subset: Any = None,
        normalize: bool = False,
        sort: bool = True,
        ascending: bool = False,
        dropna: bool = True,
    ) -> Ask[pd.Series]:
        """Rows per combination of values of closed columns."""
        names = list(self._columns) if subset is None else [subset] if isinstance(subset, str) else list(subset)
        options = {"normalize": normalize, "sort": sort, "ascending": ascending, "dropna": dropna}
        return measures.value_counts(self._rows, {self._need(name): self._columns[name] for name in names}, options)

    def _each(self, func: str, numeric_only: bool, skipna: bool) -> Ask[pd.Series]:
        measures.plain(skipna)
        chosen = measures.only_numbers(self._columns, func, numeric_only)
        return measures.row(self._rows, {name: (func, term) for name, term in chosen.items()})

    @staticmethod
    def _countable(term: Term) -> Term | None:
        return None if term.grid.kind == "opaque" and not term.grid.nullable else term
