"""What a column releases: the aggregates of one column, each a question to the vault with a price."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cloister.sandbox import measures
from cloister.sandbox.ask import Ask, terminal
from cloister.sandbox.group import GroupBy, grouped
from cloister.sandbox.operators import RowWise
from cloister.sandbox.unit import UnitGroupBy, of_units


class ColumnTerminals(RowWise):
    """The terminals of a column."""

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

    def groupby(self, by: Any, **options: Any) -> GroupBy | UnitGroupBy:
        """``visits.bmi.groupby(visits.sex)``."""
        name = self.name or "value"
        per_unit = of_units(self._rows, {name: self._term}, by, options)
        if per_unit is not None:
            return per_unit[name]
        return grouped(self._rows, {name: self._term}, by, options)[name]
