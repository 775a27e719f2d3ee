"""From the columns of a handle to the numbers a model works on, by public facts alone.

A number is itself, a condition is 0 or 1, a category becomes one 0/1 column per level of its declared domain except
the first, the *reference* (``(other)`` counts as the reference too). Learners that weigh every level have ``levels``
instead, a category with one column for each of them, and ``bins``, a number as one 0/1 column per bin of public edges.
The same description encodes a handle, where it is a plan, and a DataFrame, where it is NumPy (``encoding.py``); it
travels with the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Literal, NamedTuple

import msgspec

from cloister.contract.card import OTHER
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.codec import MAX_GRAM
from cloister.plan.rules import children
from cloister.sandbox import literals, terms, widen
from cloister.sandbox.frame import Frame
from cloister.sandbox.rows import Rows
from cloister.sandbox.terms import Term

Missing = Literal["refuse", "drop", "indicator"]
MISSING: tuple[Missing, ...] = ("refuse", "drop", "indicator")
MAX_COLUMNS = MAX_GRAM - 1


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of the analyst's table and how it is encoded; numbers are literals of the plan language.

    ``levels`` are those of a category (kind ``category``: the reference first; kind ``levels``: each has a column, and
    whatever is not listed counts as ``(other)`` if that is one of them); a ``flag`` is a condition with a column for
    each of its two values. ``edges`` are those of ``bins``, ascending:
    bins are closed on the left, the first and the last reach to infinity. ``fill`` stands in for a missing value, which
    an indicator column then marks; without it a missing value has no prediction.
    """

    name: str
    kind: Literal["number", "condition", "category", "levels", "bins", "flag"]
    low: str = "0"
    high: str = "1"
    step: str = "1"
    levels: tuple[str, ...] = ()
    fill: str | None = None
    edges: tuple[str, ...] = ()


class Encoded(NamedTuple):
    """One encoded column: its name, its feature, the level, bin or missing value it marks, and its public grid.

    ``ends`` are those of a bin; None is infinity.
    """

    name: str
    feature: Feature
    role: Literal["value", "level", "bin", "missing"]
    level: str
    step: Fraction
    reach: Fraction
    ends: tuple[Fraction | None, Fraction | None] = (None, None)


_ONE = Fraction(1)
FLAGS = ("false", "true")


def columns(features: tuple[Feature, ...]) -> Iterator[Encoded]:
    """Return the encoded columns in order."""
    for feature in features:
        match feature.kind:
            case "category" | "levels":
                for level in feature.levels[1 if feature.kind == "category" else 0 :]:
                    yield Encoded(f"{feature.name}={level}", feature, "level", level, _ONE, _ONE)
            case "flag":
                for level in FLAGS:
                    yield Encoded(f"{feature.name}={level}", feature, "level", level, _ONE, _ONE)
            case "bins":
                yield from _bins(feature)
            case _:
                reach = max(abs(Fraction(feature.low)), abs(Fraction(feature.high)))
                yield Encoded(feature.name, feature, "value", "", Fraction(feature.step), reach)
        if feature.fill is not None:
            yield Encoded(f"{feature.name} missing", feature, "missing", "", _ONE, _ONE)


def bin_labels(edges: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the bins of ``edges``, as ``pandas.cut(..., right=False)`` writes them."""
    return tuple(f"[{low}, {high})" for low, high in pairwise(edges))


def _bins(feature: Feature) -> Iterator[Encoded]:
    last = len(feature.edges) - 2
    for place, label in enumerate(bin_labels(feature.edges)):
        ends = (
            None if place == 0 else Fraction(feature.edges[place]),
            None if place == last else Fraction(feature.edges[place + 1]),
        )
        yield Encoded(f"{feature.name}={label}", feature, "bin", label, _ONE, _ONE, ends)


def describe(
    frame: Frame, missing: Missing, *, every: bool = False, most: int = MAX_COLUMNS
) -> tuple[Rows, tuple[Feature, ...]]:
    """Return the features of a handle, and the rows a model of them is made from.

    Args:
        frame: The handle.
        missing: What a missing value means.
        every: Whether every level of a category has a column of its own.
        most: How many encoded columns there may be.

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
        found.append(_feature(rows, name, term, filled=gaps and missing == "indicator", every=every))
    features = tuple(found)
    names = [column.name for column in columns(features)]
    if not 1 <= len(names) <= most:
        raise PlanError(
            "api.learn.features",
            f"a model has 1 to {most} columns; these features make {len(names)}",
            next_step="select fewer features, or cut categories into fewer levels with cl.case(...)",
        )
    if len(set(names)) < len(names):
        raise PlanError("api.learn.features", "two encoded columns would have one name", next_step="rename a column")
    return rows, features


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


def _feature(rows: Rows, name: str, term: Term, *, filled: bool, every: bool) -> Feature:
    grid, label = term.grid, rows.label
    if grid.kind == "category":
        levels = tuple(level for level in term.domain if level != OTHER)
        if len(levels) < 2:
            raise PlanError("api.learn.feature", f"{name} has one level: it says nothing", next_step="leave it out")
        if every:
            return Feature(name, "levels", levels=tuple(term.domain), fill="" if filled else None)
        return Feature(name, "category", levels=levels, fill="" if filled else None)
    if grid.kind == "bool":
        return Feature(name, "flag" if every else "condition", fill="0" if filled else None)
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
            'missing="drop"  # where the model is made: leaves such rows out',
            'missing="indicator"  # of a feature: a column of its own marks them',
        ),
    )
