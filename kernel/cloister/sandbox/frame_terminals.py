"""What a table handle releases: aggregates of several columns in one question to the vault, with one price."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cloister.errors import PlanError
from cloister.sandbox import measures, refuse
from cloister.sandbox.ask import Ask, terminal
from cloister.sandbox.group import GroupBy, grouped
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term
from cloister.sandbox.unit import Order, UnitGroupBy, of_units


class FrameTerminals:
    """The terminals of a table handle."""

    _rows: Rows
    _columns: dict[str, Term]
    _order: Order

    def _need(self, name: Any) -> str:
        if not isinstance(name, str) or name not in self._columns:
            raise refuse.unknown_column(name, list(self._columns), self._rows.label)
        return name

    def groupby(self, by: Any = None, **options: Any) -> GroupBy | UnitGroupBy:
        """Group by categories, conditions, cuts, or numbers with few public values; or by the unit key."""
        per_unit = of_units(self._rows, self._columns, by, options, self._order)
        if per_unit is not None:
            return per_unit
        return grouped(self._rows, self._columns, by, options)

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
