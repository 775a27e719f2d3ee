"""From the columns of a handle to the numbers a model works on, by public facts alone.

A number is itself, a condition is 0 or 1, a category becomes one 0/1 column per level of its declared domain except
the first, the *reference* (``(other)`` counts as the reference too). The same description encodes a handle, where it
is a plan, and a DataFrame, where it is NumPy; it travels with the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from cloister.contract.card import OTHER
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.codec import MAX_GRAM
from cloister.plan.rules import children
from cloister.sandbox import literals, refuse, terms, widen
from cloister.sandbox.frame import Frame
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

Missing = Literal["refuse", "drop", "indicator"]
MISSING: tuple[Missing, ...] = ("refuse", "drop", "indicator")
MAX_COLUMNS = MAX_GRAM - 1


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of the analyst's table and how it is encoded; numbers are literals of the plan language.

    ``levels`` are those of a category, the reference first. ``fill`` stands in for a missing value, which an
    indicator column then marks; without it a missing value has no prediction.
    """

    name: str
    kind: Literal["number", "condition", "category"]
    low: str = "0"
    high: str = "1"
    step: str = "1"
    levels: tuple[str, ...] = ()
    fill: str | None = None


class Encoded(NamedTuple):
    """One encoded column: its name, its feature, the level or the missing value it marks, and its public grid."""

    name: str
    feature: Feature
    role: Literal["value", "level", "missing"]
    level: str
    step: Fraction
    reach: Fraction


def columns(features: tuple[Feature, ...]) -> Iterator[Encoded]:
    """Return the encoded columns in order."""
    for feature in features:
        if feature.kind == "category":
            for level in feature.levels[1:]:
                yield Encoded(f"{feature.name}={level}", feature, "level", level, Fraction(1), Fraction(1))
        else:
            reach = max(abs(Fraction(feature.low)), abs(Fraction(feature.high)))
            yield Encoded(feature.name, feature, "value", "", Fraction(feature.step), reach)
        if feature.fill is not None:
            yield Encoded(f"{feature.name} missing", feature, "missing", "", Fraction(1), Fraction(1))


def describe(frame: Frame, missing: Missing) -> tuple[Rows, tuple[Feature, ...]]:
    """Return the features of a handle, and the rows a model of them is made from.

    Raises:
        PlanError: A column that cannot be a feature, or may be missing while ``missing`` is ``"refuse"``.
    """
    rows, found = frame._rows, []
    for name, term in frame._columns.items():
        gaps = gappy(rows, term)
        if gaps and missing == "refuse":
            raise missing_error(rows, name, term)
        if gaps and missing == "drop":
            rows = rows.where(terms.negation(terms.is_null(term)))
        found.append(_feature(rows, name, term, filled=gaps and missing == "indicator"))
    features = tuple(found)
    names = [column.name for column in columns(features)]
    if not 1 <= len(names) <= MAX_COLUMNS:
        raise PlanError(
            "api.learn.features",
            f"a model has 1 to {MAX_COLUMNS} columns; these features make {len(names)}",
            next_step="select fewer features, or cut categories into fewer levels with cl.case(...)",
        )
    if len(set(names)) < len(names):
        raise PlanError("api.learn.features", "two encoded columns would have one name", next_step="rename a column")
    return rows, features


def on_handle(frame: Frame, features: tuple[Feature, ...]) -> dict[str, Term]:
    """Return the encoded columns of a handle as expressions, by name.

    Raises:
        PlanError: A feature is not there, or is of another kind.
    """
    found: dict[str, Term] = {}
    for column in columns(features):
        term = frame._columns[frame._need(column.feature.name)]
        _check_kind(frame._rows, column.feature, term)
        found[column.name] = _term(column, term)
    return found


def on_table(table: pd.DataFrame, features: tuple[Feature, ...]) -> pd.DataFrame:
    """Return the encoded columns of an ordinary DataFrame; what is missing and not filled is NaN.

    Raises:
        PlanError: A feature is not there, or holds something else than its kind.
    """
    found: dict[str, np.ndarray] = {}
    for column in columns(features):
        feature = column.feature
        if feature.name not in table.columns:
            raise refuse.unknown_column(feature.name, [str(name) for name in table.columns], "the DataFrame")
        values = table[feature.name]
        if not isinstance(values, pd.Series):
            raise PlanError("api.learn.features", f"the DataFrame has several columns {feature.name!r}")
        gone = values.isna().to_numpy(dtype=bool)
        if column.role == "missing":
            numbers = gone.astype(float)
        elif column.role == "level":
            numbers = np.where(gone & (feature.fill is None), np.nan, (values.astype(object) == column.level))
        else:
            numbers = _numbers(values, feature)
            if feature.fill is not None:
                numbers = np.where(gone, float(Fraction(feature.fill)), numbers)
        found[column.name] = np.asarray(numbers, dtype=float)
    return pd.DataFrame(found, index=table.index)


def gappy(rows: Rows, term: Term) -> bool:
    """Return whether a column can be missing in these rows (``dropna`` takes that away)."""
    if not term.grid.nullable:
        return False
    there: set[a.Scalar] = set()
    for node in widen.same_columns(rows.relation):
        if isinstance(node, a.Filter):
            parts = node.where.terms if isinstance(node.where, a.And) else (node.where,)
            there |= {part.term.term for part in parts if isinstance(part, a.Not) and isinstance(part.term, a.IsNull)}
    nullable = {name for name, grid in rows.schema.columns.items() if grid.nullable}

    def present(node: a.Scalar) -> bool:
        match node:
            case _ if node in there:
                return True
            case a.Col():
                return node.name not in nullable
            case a.Cut():
                return False
            case a.Compare() | a.And() | a.Or() | a.Not() | a.IsNull() | a.IsIn() | a.Fill():
                return True
            case a.Case():
                return present(node.then) and present(node.otherwise)
            case _:
                return all(present(child) for child in children(node))

    return not present(term.scalar)


def _feature(rows: Rows, name: str, term: Term, *, filled: bool) -> Feature:
    grid, label = term.grid, rows.label
    if grid.kind == "category":
        levels = tuple(level for level in term.domain if level != OTHER)
        if len(levels) < 2:
            raise PlanError("api.learn.feature", f"{name} has one level: it says nothing", next_step="leave it out")
        return Feature(name, "category", levels=levels, fill="" if filled else None)
    if grid.kind == "bool":
        return Feature(name, "condition", fill="0" if filled else None)
    if grid.kind != "number" or grid.lo == grid.hi:
        date = grid.kind == "date"
        raise PlanError(
            "api.learn.feature",
            f"{name} cannot be a feature: "
            + {"date": "dates are no numbers", "number": "it has one value"}.get(
                grid.kind, "it names people or is text"
            ),
            nearest=(f'{label}["days"] = {label}["{name}"] - "2022-01-01"',) if date else (),
            next_step="" if date else "select the features: model.fit(visits[[...]], visits.cost)",
        )
    fill = literals.grid_text(grid, (grid.lo + grid.hi) // 2) if filled else None
    low, high = literals.grid_text(grid, grid.lo), literals.grid_text(grid, grid.hi)
    return Feature(name, "number", low, high, literals.text_of(grid.step), fill=fill)


def _term(column: Encoded, term: Term) -> Term:
    feature = column.feature
    if column.role == "missing":
        return terms.is_null(term)
    if column.role == "level":
        # The plan knows the bins of a labelled cut by their edges.
        level = term.grid.domain[term.domain.index(column.level)]
        return terms.compare("eq", dataclasses.replace(term, labels=()), terms.literal(level, term.grid))
    if feature.fill is None or not term.grid.nullable:
        return term
    value: a.Scalar = a.Boolean(False) if feature.kind == "condition" else a.Number(feature.fill)
    return terms.node(a.Fill(term.scalar, value), term, terms.node(value))


def _check_kind(rows: Rows, feature: Feature, term: Term) -> None:
    kind = {"bool": "condition"}.get(term.grid.kind, term.grid.kind)
    if kind != feature.kind or not set(feature.levels) <= set(term.domain):
        what = f"a {feature.kind}" + (f" of {', '.join(feature.levels[:6])}" if feature.levels else "")
        raise PlanError(
            "api.learn.feature",
            f"the model learned {feature.name!r} as {what}; this column is something else",
            next_step="predict on the columns the model was fitted on",
        )
    if kind == "category" and feature.fill is None and gappy(rows, term):
        raise missing_error(rows, feature.name, term)


def _numbers(values: pd.Series, feature: Feature) -> np.ndarray:
    try:
        return values.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise PlanError(
            "api.learn.feature", f"the model learned {feature.name!r} as a {feature.kind}; this column holds no numbers"
        ) from error


def missing_error(rows: Rows, name: str, term: Term) -> PlanError:
    """Return the refusal of a column that may be missing."""
    nullable = {column.name for column in rows.card.columns if column.nullable}
    sources = sorted({column for _, column in term.grid.uses} & nullable) or [name]
    label = rows.label
    return PlanError(
        "api.learn.missing",
        f"{name} may be missing, and a model needs to know what that means",
        nearest=(
            f"{label} = {label}.dropna(subset={sources!r})",
            'LinearRegression(missing="drop")  # leaves such rows out',
            'LinearRegression(missing="indicator")  # of a feature: a column of its own marks them',
        ),
    )
