"""Quantiles and summaries: ``quantile``, ``median`` and ``describe`` of columns, tables and group-bys.

All quantiles of a column in one release are asked in one measure, so they come out in order. ``describe`` holds the
1 % and 99 % quantiles where pandas has minimum and maximum, which would be single people's values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.shape import quantile_names
from cloister.sandbox import literals
from cloister.sandbox.answer import Answer, Shown
from cloister.sandbox.ask import Ask
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

SUMMARY = (0.01, 0.25, 0.5, 0.75, 0.99)
NOTE = "quantiles stand where pandas has minimum and maximum: those would be single people's values"


def quantile(rows: Rows, columns: Mapping[str, Term], q: Any, interpolation: str, *, alone: bool) -> Ask[Any]:
    """Ask for quantiles of columns; ``alone``: one column, as a number or a Series."""
    levels, single = _levels(q, interpolation)
    made = {name: _measure(name, term, levels) for name, term in columns.items()}

    def build(values: Mapping[Shown, np.ndarray]) -> Any:
        table = pd.DataFrame(
            {
                name: [_date(values[part], columns[name])[0] for part in _parts(measure)]
                for name, measure in made.items()
            },
            _index(q, single),
        )
        if alone:
            return table.iloc[:, 0]
        return table.iloc[0] if single else table

    def present(answer: Answer) -> Any:
        if alone and single and next(iter(columns.values())).grid.kind != "date":
            return answer.scalar(_parts(next(iter(made.values())))[0])
        return answer.bind(build, [part for measure in made.values() for part in _parts(measure)])

    return Ask(rows, tuple(made.values()), present)


def grouped(
    rows: Rows, keys: dict[str, Term], columns: Mapping[str, Term], q: Any, interpolation: str, *, alone: bool
) -> Ask[Any]:
    """Ask for quantiles of columns per cell of the keys; several levels become the last level of the index."""
    levels, single = _levels(q, interpolation)
    made = {name: _measure(name, term, levels) for name, term in columns.items()}

    def present(answer: Answer) -> Any:
        index = answer.index()

        def build(values: Mapping[Shown, np.ndarray]) -> Any:
            found = {
                name: pd.concat(
                    {
                        level: pd.Series(_date(values[part], columns[name]), index)
                        for level, part in zip(_index(q, single), _parts(measure), strict=True)
                    },
                    axis=1,
                )
                for name, measure in made.items()
            }
            if single:
                table = pd.DataFrame({name: part.iloc[:, 0] for name, part in found.items()})
            else:
                table = pd.DataFrame({name: part.stack(future_stack=True) for name, part in found.items()})
            return table.iloc[:, 0].rename(next(iter(columns))) if alone else table

        return answer.bind(build, [part for measure in made.values() for part in _parts(measure)])

    # The count says which groups are too small for their quantiles to be more than noise.
    return Ask(rows, (*made.values(), a.Count("rows")), present, keys)


def describe(
    rows: Rows, keys: dict[str, Term], columns: Mapping[str, Term], percentiles: Any, *, alone: bool
) -> Ask[Any]:
    """Ask for count, mean, standard deviation and quantiles of columns in one release.

    Raises:
        PlanError: A column that is not a number.
    """
    levels, _ = _levels(SUMMARY if percentiles is None else list(percentiles), "lower")
    labels = ["count", "mean", "std", *(f"{float(100 * level):.15g}%" for level in levels)]
    measures: list[a.Measure] = []
    parts: dict[tuple[str, str], str] = {}
    for name, term in columns.items():
        _number(term, "describe")
        quantiles = _measure(f"{name}.quantile", term, levels)
        counted = a.Count(f"{name}.count", term.scalar if term.grid.nullable else None)
        spread = (a.Mean(f"{name}.mean", term.scalar), a.Variance(f"{name}.std", term.scalar, root=True), quantiles)
        known = next((item.name for item in measures if isinstance(item, a.Count) and item.of == counted.of), None)
        measures += [*spread] if known else [counted, *spread]
        names = [known or counted.name, f"{name}.mean", f"{name}.std", *_parts(quantiles)]
        parts |= {(name, label): part for label, part in zip(labels, names, strict=True)}

    def present(answer: Answer) -> Any:
        def build(values: Mapping[Shown, np.ndarray]) -> Any:
            if keys:
                table = pd.DataFrame({label: values[part] for label, part in parts.items()}, answer.index())
                return table[next(iter(columns))] if alone else table
            flat = pd.DataFrame({name: [values[parts[name, label]][0] for label in labels] for name in columns}, labels)
            return flat.iloc[:, 0] if alone else flat

        return answer.bind(build, list(dict.fromkeys(parts.values())), NOTE)

    return Ask(rows, tuple(measures), present, keys)


def _levels(q: Any, interpolation: str) -> tuple[tuple[Fraction, ...], bool]:
    if interpolation not in {"linear", "lower", "higher", "nearest", "midpoint"}:
        raise PlanError("api.option", "interpolation is that of pandas", nearest=("visits.bmi.quantile(0.5)",))
    single = isinstance(q, int | float | np.number | Fraction)
    found = tuple(literals.fraction(level) for level in ([q] if single else list(q)))
    if any(level in {0, 1} for level in found):
        raise PlanError(
            "api.quantile",
            "the quantiles 0 and 1 are a minimum and a maximum: one person's value",
            clause="each person's influence on a released value is bounded",
            nearest=("visits.bmi.quantile([0.01, 0.99])",),
        )
    return found, single


def _index(q: Any, single: bool) -> list[float]:
    return [float(level) for level in ([q] if single else q)]


def _measure(name: str, term: Term, levels: Sequence[Fraction]) -> a.Quantile:
    if term.grid.kind != "date":
        _number(term, "quantile")
    return a.Quantile(name, term.scalar, tuple(literals.text_of(level) for level in levels))


def _number(term: Term, what: str) -> None:
    if term.grid.kind not in {"number", "bool"}:
        raise PlanError(
            "plan.types",
            f"{what} needs numbers",
            nearest=('visits[["age", "bmi"]].describe()', "visits.sex.value_counts()"),
        )


def _parts(measure: a.Quantile) -> tuple[str, ...]:
    return quantile_names(measure)


def _date(values: np.ndarray, term: Term) -> Any:
    """Return days since 1970 as dates; errors and ends of intervals, which dates do not have, as they are."""
    if term.grid.kind != "date" or values.dtype == bool or np.isnan(values.astype(float)).all():
        return values
    return pd.to_datetime(values.astype("int64"), unit="D").astype("datetime64[s]")
