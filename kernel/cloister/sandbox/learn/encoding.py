"""The encoded columns of a handle, where they are expressions, and of an ordinary DataFrame, where they are NumPy.

Both follow the features of a model (``features.py``) and agree row by row.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pandas as pd

from cloister.contract.card import OTHER
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.typing import scalar
from cloister.sandbox import refuse, terms
from cloister.sandbox.frame import Frame
from cloister.sandbox.learn.features import Encoded, Feature, columns, gappy, missing_error
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term


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


class Steps(NamedTuple):
    """A step function of a number: whether it reaches each inner edge, and (if that is marked) whether it is missing.

    The sum of these, each times the difference of two values, is half as long as the sum over its bins, and it mentions
    the number once an edge. A missing ``number`` reaches no edge: where that is no value of its own, whoever makes the
    sum leaves it out.
    """

    conditions: list[Term]
    number: Term
    values: int


def steps(frame: Frame, feature: Feature) -> Steps | None:
    """Return a feature in bins as a step function: ``bins`` of a number, or the levels of a column that is a cut.

    None: the feature is something else.

    Raises:
        PlanError: The feature is not there, or is of another kind.
    """
    term = frame._columns[frame._need(feature.name)]
    if feature.kind == "bins":
        _check_kind(frame._rows, feature, term)
        edges, number = list(map(Fraction, feature.edges)), term
    elif feature.kind in {"levels", "category"} and isinstance(term.scalar, a.Cut):
        cut = term.scalar
        number = Term(cut.term, scalar(cut.term, frame._rows.schema))
        grid = number.grid
        if grid.kind != "number" or tuple(feature.levels) != term.domain:
            return None
        edges = list(map(Fraction, cut.edges))
        if edges[0] > grid.lo * grid.step or edges[-1] <= grid.hi * grid.step:
            return None  # what lies outside is missing too
        _check_kind(frame._rows, feature, term)
        number = _unlimited(frame, number, edges[1:-1])
    else:
        return None
    found = [terms.compare("ge", number, terms.literal(edge, number.grid)) for edge in edges[1:-1]]
    if feature.fill is not None:
        found.append(terms.is_null(number))
    return Steps(found, number, len(edges) - 1)


def _unlimited(frame: Frame, number: Term, edges: list[Fraction]) -> Term:
    """Return a number without the limits that make no difference to whether it reaches these edges."""
    node = number.scalar
    while isinstance(node, a.Clip) and all(Fraction(node.low) < edge <= Fraction(node.high) for edge in edges):
        node = node.term
    return number if node is number.scalar else Term(node, scalar(node, frame._rows.schema))


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
        unknown = gone & (feature.fill is None)
        if column.role == "missing":
            numbers = gone.astype(float)
        elif column.role == "level":
            numbers = np.where(unknown, np.nan, _is_level(values, column) & ~gone)
        elif column.role == "bin":
            numbers = np.where(unknown, np.nan, _in_bin(_numbers(values, feature), column) & ~gone)
        else:
            numbers = _numbers(values, feature)
            if feature.fill is not None:
                numbers = np.where(gone, float(Fraction(feature.fill)), numbers)
        found[column.name] = np.asarray(numbers, dtype=float)
    return pd.DataFrame(found, index=table.index)


def _is_level(values: pd.Series, column: Encoded) -> np.ndarray:
    if column.feature.kind == "flag":
        return np.asarray(np.nan_to_num(_numbers(values, column.feature)) == float(column.level == "true"))
    texts = values.astype(object)
    if column.level == OTHER:
        # Everything that is not listed counts as it, as where the data are.
        listed = [level for level in column.feature.levels if level != OTHER]
        return np.asarray(~texts.isin(listed) & values.notna(), dtype=bool)
    return np.asarray(texts == column.level, dtype=bool)


def _in_bin(numbers: np.ndarray, column: Encoded) -> np.ndarray:
    low, high = column.ends
    above = np.ones(len(numbers), dtype=bool) if low is None else numbers >= float(low)
    return above if high is None else above & (numbers < float(high))


def _term(column: Encoded, term: Term) -> Term:
    feature = column.feature
    if column.role == "missing":
        return terms.is_null(term)
    if feature.kind == "flag":
        return _flag_term(column, term)
    if column.level == OTHER and set(term.domain) - set(feature.levels):
        listed = terms.is_in(term, [level for level in feature.levels if level != OTHER])
        return terms.every(terms.negation(listed), terms.negation(terms.is_null(term)))
    if column.role == "level":
        # The plan knows the bins of a labelled cut by their edges.
        level = term.grid.domain[term.domain.index(column.level)]
        return terms.compare("eq", dataclasses.replace(term, labels=()), terms.literal(level, term.grid))
    if column.role == "bin":
        return _bin_term(column, term)
    if feature.fill is None or not term.grid.nullable:
        return term
    value: a.Scalar = a.Boolean(False) if feature.kind == "condition" else a.Number(feature.fill)
    return terms.node(a.Fill(term.scalar, value), term, terms.node(value))


def _flag_term(column: Encoded, term: Term) -> Term:
    found = term if column.level == "true" else terms.negation(term)
    if not term.grid.nullable:
        return found
    known = terms.negation(terms.is_null(term))
    # Where the condition is missing it has neither value: 0 in both columns if that is marked, else missing.
    return terms.every(found, known) if column.feature.fill is not None else terms.only(found, known)


def _bin_term(column: Encoded, term: Term) -> Term:
    low, high = column.ends
    parts = []
    if low is not None:
        parts.append(terms.compare("ge", term, terms.literal(low, term.grid)))
    if high is not None:
        parts.append(terms.compare("lt", term, terms.literal(high, term.grid)))
    found = parts[0] if len(parts) == 1 else terms.every(*parts)
    if term.grid.nullable and column.feature.fill is None:
        return terms.only(found, terms.negation(terms.is_null(term)))
    return found


def _check_kind(rows: Rows, feature: Feature, term: Term) -> None:
    fitted = {"levels": "category", "bins": "number", "flag": "condition"}.get(feature.kind, feature.kind)
    kind = {"bool": "condition"}.get(term.grid.kind, term.grid.kind)
    if kind != fitted or not set(feature.levels) <= set(term.domain):
        what = f"a {fitted}" + (f" of {', '.join(feature.levels[:6])}" if feature.levels else "")
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
        kind = "number" if feature.kind == "bins" else feature.kind
        raise PlanError(
            "api.learn.feature", f"the model learned {feature.name!r} as a {kind}; this column holds no numbers"
        ) from error
