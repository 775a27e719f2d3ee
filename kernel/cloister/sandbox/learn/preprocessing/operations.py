"""What a fitted step does to a column: plain data, applied alike to a handle (a plan) and to a DataFrame (NumPy).

The operations are a closed union, so a pipeline is a JSON document that holds no code. Numbers are literals of the plan
language.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.sandbox import refuse, terms
from cloister.sandbox.frame import Frame
from cloister.sandbox.terms import Term

MOST_LEVELS = 48


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op"):
    """One column and what becomes of it."""

    column: str

    def on_handle(self, frame: Frame) -> Frame:
        """Return the handle with the column changed."""
        term = frame._columns[frame._need(self.column)]
        return _replaced(frame, self.column, self.new_terms(frame, term))

    def on_table(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the DataFrame with the column changed; the one given stays as it is."""
        if self.column not in table.columns:
            raise refuse.unknown_column(self.column, [str(name) for name in table.columns], "the DataFrame")
        return _replaced_here(table, self.column, self.new_values(table[self.column]))

    def new_terms(self, frame: Frame, term: Term) -> dict[str, Term]:
        """Return the columns that stand in place of the column."""
        raise NotImplementedError

    def new_values(self, values: pd.Series) -> dict[str, Any]:
        """Return the same of values that are here."""
        raise NotImplementedError


class Bins(Operation, frozen=True, tag="bins"):
    """A number becomes its bin ``[low, high)``; what lies outside of all bins counts in the nearest one."""

    edges: tuple[str, ...]

    def new_terms(self, frame: Frame, term: Term) -> dict[str, Term]:
        """Return the bin as a category."""
        number(frame, self.column, term)
        edges, grid = [Fraction(edge) for edge in self.edges], term.grid
        if grid.lo * grid.step < edges[0] or grid.hi * grid.step >= edges[-1]:
            # The column of another card may reach further than that of the fit.
            term = terms.clip(term, edges[0], max(edges[-1] - grid.step, edges[0]))
        return {self.column: terms.cut(term, edges, None)}

    def new_values(self, values: pd.Series) -> dict[str, Any]:
        """Return the bin's name."""
        edges = [float(Fraction(edge)) for edge in self.edges]
        names = np.array([f"[{low}, {high})" for low, high in pairwise(self.edges)], dtype=object)
        found = values.to_numpy(dtype=float, na_value=np.nan)
        place = np.searchsorted(edges, found, side="right") - 1
        shown = names[np.clip(place, 0, len(names) - 1)]
        shown[np.isnan(found)] = None
        return {self.column: pd.Series(shown, values.index, dtype=object)}


class Affine(Operation, frozen=True, tag="affine"):
    """``(x - offset) * factor``."""

    offset: str
    factor: str

    def new_terms(self, frame: Frame, term: Term) -> dict[str, Term]:
        """Return the scaled number."""
        found = number(frame, self.column, term)
        if offset := Fraction(self.offset):
            found = terms.arithmetic("sub", found, terms.literal(offset, None))
        return {self.column: terms.scale(found, Fraction(self.factor))}

    def new_values(self, values: pd.Series) -> dict[str, Any]:
        """Return the scaled number."""
        found = values.to_numpy(dtype=float, na_value=np.nan)
        return {self.column: (found - float(Fraction(self.offset))) * float(Fraction(self.factor))}


class Limit(Operation, frozen=True, tag="limit"):
    """A number limited to ``low..high``."""

    low: str
    high: str

    def new_terms(self, frame: Frame, term: Term) -> dict[str, Term]:
        """Return the limited number."""
        return {self.column: terms.clip(number(frame, self.column, term), Fraction(self.low), Fraction(self.high))}

    def new_values(self, values: pd.Series) -> dict[str, Any]:
        """Return the limited number."""
        return {self.column: values.clip(float(Fraction(self.low)), float(Fraction(self.high)))}


class Fill(Operation, frozen=True, tag="fill"):
    """``value`` where the column is missing: a number, a text or ``true``/``false``, as the column's kind says."""

    value: str
    kind: str

    def new_terms(self, _frame: Frame, term: Term) -> dict[str, Term]:
        """Return the filled column; a category keeps the labels it shows."""
        value = self._value()
        if not term.labels or not term.grid.nullable:
            return {self.column: terms.fill(term, value)}
        # The plan knows the bins of a labelled cut by their edges.
        known = dict(zip(term.labels, term.grid.domain, strict=True))
        shown = {level: label for label, level in known.items()}
        found = terms.fill(dataclasses.replace(term, labels=()), known.get(value, value))
        labels = tuple(shown.get(level, level) for level in found.grid.domain)
        return {self.column: dataclasses.replace(found, labels=labels)}

    def new_values(self, values: pd.Series) -> dict[str, Any]:
        """Return the filled column."""
        value = self._value()
        shown = float(value) if isinstance(value, Fraction) else value
        return {self.column: values.astype(object).where(values.notna(), shown).infer_objects()}

    def _value(self) -> Any:
        return {"number": Fraction, "bool": lambda text: text == "true"}.get(self.kind, str)(self.value)


class Mark(Operation, frozen=True, tag="mark"):
    """A condition beside the column that says whether it is missing."""

    def new_terms(self, _frame: Frame, term: Term) -> dict[str, Term]:
        """Return the column and its mark."""
        return {self.column: term, f"{self.column} missing": terms.is_null(term)}

    def new_values(self, values: pd.Series) -> dict[str, Any]:
        """Return the column and its mark."""
        return {self.column: values, f"{self.column} missing": values.isna()}


class Expand(Operation, frozen=True, tag="expand"):
    """One condition per level of a category instead of it."""

    levels: tuple[str, ...]

    def new_terms(self, _frame: Frame, term: Term) -> dict[str, Term]:
        """Return the conditions."""
        return {f"{self.column}={level}": is_level(self.column, term, (level,)) for level in self.levels}

    def new_values(self, values: pd.Series) -> dict[str, Any]:
        """Return the conditions."""
        plain = values.astype(object)
        return {f"{self.column}={level}": (plain == level) for level in self.levels}


class Weigh(Operation, frozen=True, tag="weigh"):
    """A public number for each level of a category; 0 for a missing value and any other."""

    levels: tuple[str, ...]
    weights: tuple[str, ...]

    def new_terms(self, _frame: Frame, term: Term) -> dict[str, Term]:
        """Return the number."""
        groups: dict[Fraction, list[str]] = {}
        for level, text in zip(self.levels, self.weights, strict=True):
            groups.setdefault(Fraction(text), []).append(level)
        found = terms.literal(Fraction(0), None)
        for weight, levels in groups.items():
            if weight:
                found = terms.case(is_level(self.column, term, tuple(levels)), terms.literal(weight, None), found)
        if found.grid.lo == found.grid.hi:
            # A choice that never falls on the second number: no model takes a column of one value, and that all
            # weights are equal is known only after they were paid.
            other = terms.literal(found.grid.hi * found.grid.step + 1, None)
            found = terms.case(terms.literal(False, None), other, found)
        return {self.column: found}

    def new_values(self, values: pd.Series) -> dict[str, Any]:
        """Return the number."""
        known = {level: float(Fraction(weight)) for level, weight in zip(self.levels, self.weights, strict=True)}
        return {self.column: values.astype(object).map(known).astype(float).fillna(0.0)}


Any_ = Bins | Affine | Limit | Fill | Mark | Expand | Weigh


def number(frame: Frame, name: str, term: Term) -> Term:
    """Return a term that is a number.

    Raises:
        PlanError: ``api.step.number``.
    """
    if term.grid.kind != "number":
        raise PlanError(
            "api.step.number",
            f"{name} is no number with bounds",
            nearest=(f"Scaler(columns=[...])  # numbers of {frame._rows.label}",),
        )
    return term


def is_level(name: str, term: Term, levels: tuple[str, ...]) -> Term:
    """Return whether a category has one of these levels, as they are shown.

    Raises:
        PlanError: ``api.step.level``: the category is another.
    """
    if term.grid.kind != "category" or not set(levels) <= set(term.domain):
        raise PlanError(
            "api.step.level",
            f"{name} is not the category this step was fitted on",
            next_step="apply a pipeline to the columns it was fitted on",
        )
    # The plan knows the bins of a labelled cut by their edges.
    known = [term.grid.domain[term.domain.index(level)] for level in levels]
    plain = dataclasses.replace(term, labels=())
    if len(known) == 1:
        return terms.compare("eq", plain, terms.node(a.Text(known[0])))
    return terms.is_in(plain, known)


def _replaced(frame: Frame, name: str, new: dict[str, Term]) -> Frame:
    columns: dict[str, Term] = {}
    for known, term in frame._columns.items():
        columns |= new if known == name else {known: term}
    return frame._like(columns)


def _replaced_here(table: pd.DataFrame, name: str, new: dict[str, Any]) -> pd.DataFrame:
    place = list(table.columns).index(name)
    found = table.drop(columns=[*(known for known in new if known != name and known in table.columns), name])
    for step, (known, values) in enumerate(new.items()):
        found.insert(min(place + step, len(found.columns)), known, values)
    return found
