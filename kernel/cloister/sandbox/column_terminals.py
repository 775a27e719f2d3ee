"""What a column releases: the aggregates of one column, each a question to the vault with a price."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import entries, measures, open_values, pairs, quantiles
from cloister.sandbox.ask import Ask, terminal
from cloister.sandbox.bins import bins_of
from cloister.sandbox.column_plot import ColumnPlot, draw_hist
from cloister.sandbox.group import GroupBy, grouped
from cloister.sandbox.operators import RowWise
from cloister.sandbox.unit import UnitGroupBy, of_units


class ColumnTerminals(RowWise):
    """The terminals of a column."""

    @property
    def _typ(self) -> str:
        """What pandas asks of everything it is given."""
        entries.type_asked(self._words())

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
    def std(self, *, ddof: int = 1, skipna: bool = True) -> Ask[Any]:
        """Standard deviation of the values that are not missing (``np.std``: ``ddof=0``)."""
        measures.plain(skipna)
        return measures.scalar(self._rows, self.name, measures.spread("std", ddof), self._term)

    @terminal
    def var(self, *, ddof: int = 1, skipna: bool = True) -> Ask[Any]:
        """Variance of the values that are not missing."""
        measures.plain(skipna)
        return measures.scalar(self._rows, self.name, measures.spread("var", ddof), self._term)

    @terminal
    def sem(self, *, ddof: int = 1, skipna: bool = True) -> Ask[Any]:
        """Standard error of the mean by sampling: ``std / sqrt(count)``, from one release."""
        measures.plain(skipna)
        if ddof != 1:
            raise PlanError("api.option", "sem divides by n - 1", nearest=("visits.bmi.sem()",))
        return measures.scalar(self._rows, self.name, "sem", self._term)

    @terminal
    def median(self, *, skipna: bool = True) -> Ask[Any]:
        """The middle value, as one of the column's public values; its error is one of rank, not of size."""
        measures.plain(skipna)
        return quantiles.quantile(self._rows, {self.name or "value": self._term}, 0.5, "lower", alone=True)

    @terminal
    def quantile(self, q: Any = 0.5, interpolation: str = "linear") -> Ask[Any]:
        """Quantiles at one level or several; a public value of the column each, in order."""
        return quantiles.quantile(self._rows, {self.name or "value": self._term}, q, interpolation, alone=True)

    @terminal
    def describe(self, percentiles: Any = None) -> Ask[pd.Series]:
        """Count, mean, standard deviation and quantiles in one release; 1 % and 99 % stand for minimum and maximum."""
        return quantiles.describe(self._rows, {}, {self.name or "value": self._term}, percentiles, alone=True)

    @terminal
    def nunique(self, dropna: bool = True) -> Ask[Any]:
        """How many people there are, of the unit key; what other columns hold is public (``domain``)."""
        if dropna is not True:
            raise PlanError("api.option", "a missing key is nobody", nearest=("visits.patient_id.nunique()",))
        return measures.scalar(self._rows, self.name, "nunique", self._term)

    @terminal
    def cov(self, other: Any, *, ddof: int = 1) -> Ask[Any]:
        """Covariance with another column of the same rows, where neither is missing."""
        rows, term, _ = self._pair(other)
        return pairs.pair(rows, self._term, term, correlation=False, ddof=ddof)

    @terminal
    def corr(self, other: Any, method: str = "pearson") -> Ask[Any]:
        """Pearson correlation with another column of the same rows, where neither is missing."""
        pairs.pearson(method)
        rows, term, _ = self._pair(other)
        return pairs.pair(rows, self._term, term, correlation=True)

    @terminal
    def value_counts(
        self,
        normalize: bool = False,
        sort: bool = True,
        ascending: bool = False,
        bins: Any = None,
        dropna: bool = True,
    ) -> Ask[pd.Series]:
        """Rows per value of the closed domain, or per bin; every value or bin is listed.

        Of an open text: the texts that many people have, and how many people have each (a part of the contract's
        delta for keys is spent); the rest is left out.

        ``bins`` are edges, or a number of equal bins over the public range (not the data's); bins are ``[low, high)``.
        """
        options = {"normalize": normalize, "sort": sort, "ascending": ascending, "dropna": dropna}
        if bins is None and self._term.grid.kind == "text":
            return open_values.value_counts(self._rows, self.name or "value", self._term, options)
        term = self._term if bins is None else bins_of(self._term, bins)
        return measures.value_counts(self._rows, {self.name or "value": term}, options)

    @property
    def plot(self) -> ColumnPlot:
        """Plots that are a release each: ``plot.hist(bins=20)``, ``plot.box()``, ``plot.bar()``."""
        return ColumnPlot(self)

    @terminal
    def hist(self, bins: Any = 10, **options: Any) -> Ask[Any]:
        """Release counts per bin and draw them: the same as ``plot.hist``."""
        return draw_hist(self, bins, **options)

    @terminal
    def agg(self, func: Any = None, **named: Any) -> Ask[Any]:
        """Several aggregates in one release: ``agg(["count", "mean"])``."""
        if not named and not isinstance(func, list | tuple):
            return measures.scalar(self._rows, self.name, measures.function_name(func), self._term)
        return measures.row(self._rows, measures.single(func, named, self._term), self.name)

    aggregate = agg

    def groupby(self, by: Any, **options: Any) -> GroupBy | UnitGroupBy:
        """``visits.bmi.groupby(visits.sex)``."""
        name = self.name or "value"
        per_unit = of_units(self._rows, {name: self._term}, by, options)
        if per_unit is not None:
            return per_unit[name]
        return grouped(self._rows, {name: self._term}, by, options)[name]
