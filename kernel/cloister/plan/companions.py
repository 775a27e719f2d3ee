"""Companions: the shares of rows that storage limited or left out, asked beside measures to say what they may hide.

A data card is enforced when data are loaded: a value out of bounds is clipped, one out of the domain becomes
``(other)``, and of a unit with more rows than the card says some are left out. A measure over such values may be
biased, by how much nobody knows; the companions say how many rows it concerns. They are part of the plan and of its
price (2 % for all clipped shares, 2 % for the capped one, ``shares``), so every release that could be biased says
so.

Left out where nothing can be limited: a measure of units does not depend on how many rows a unit keeps, a bool has no
bounds. A Gram, and the models fitted from it, carry none (what is fitted says so in its document); nor does a release
that would be too large with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from statistics import NormalDist

from cloister.contract.card import OTHER, Card, Column
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.codec import MAX_MEASURES
from cloister.plan.components import clipped_bit
from cloister.plan.gaussian import threshold
from cloister.plan.layout import layout
from cloister.plan.numbers import rational
from cloister.plan.rules import children
from cloister.plan.shape import LIMITED, Shaped, ShapedMeasure
from cloister.plan.typing import Schema, infer, scalar

NOTABLE = 0.001
FALSE_ALARM = 0.001
"""How often, at most, a release says that storage limited something where it did not: an analyst reads hundreds."""
_WORDS: dict[type[a.Measure], str] = {
    a.Count: "count", a.Sum: "sum", a.Mean: "mean", a.Ratio: "ratio", a.Variance: "spread", a.Covariance: "covariance",
    a.Quantile: "quantile",
}  # fmt: skip
_LIMITED = (a.Clipped, a.Capped)


def terms(measure: a.Measure) -> tuple[a.Scalar, ...]:
    """Return the terms of a measure whose size matters: none of a count, nor of what has no companions."""
    match measure:
        case a.Sum() | a.Mean() | a.Variance() | a.Quantile():
            return (measure.of,)
        case a.Ratio():
            return (measure.of, measure.over)
        case a.Covariance():
            return measure.of
        case _:
            return ()


def uses(term: a.Scalar, schema: Schema, cards: Mapping[str, Card]) -> frozenset[tuple[str, str]]:
    """Return the columns, by table, that a term depends on and that storage may have limited values of."""
    found = scalar(term, schema).uses
    return frozenset(
        (table, name)
        for table, name in found
        if _limitable(cards[table].column(name)) and clipped_bit(cards[table], name) is not None
    )


def companions(measures: Sequence[a.Measure], schema: Schema, cards: Mapping[str, Card]) -> tuple[a.Measure, ...]:
    """Return what goes with measures: a clipped share for each set of columns they depend on, and a capped share."""
    found: dict[frozenset[tuple[str, str]], a.Measure] = {}
    for term in (term for measure in measures for term in terms(measure)):
        columns = uses(term, schema, cards)
        if columns:
            found.setdefault(columns, a.Clipped("clipped", _shortest(term, columns, schema, cards)))
    biased = [measure for measure in measures if not isinstance(measure, a.Units | a.Gram | a.Clipped | a.Capped)]
    return (*found.values(), *([a.Capped("capped")] if biased else []))


def fits(plan: a.VectorSum, cards: Mapping[str, Card]) -> bool:
    """Return whether a plan is not too large."""
    try:
        layout(plan, cards)
    except PlanError:
        return False
    return len(plan.measures) <= MAX_MEASURES


def behind(
    measure: a.Measure, plan: a.Plan, cards: Mapping[str, Card], shaped: Sequence[ShapedMeasure]
) -> list[ShapedMeasure]:
    """Return the companions of one measure of a shaped release: of each of its terms, and the capped share."""
    schema = infer(plan.source, cards)
    wanted = [uses(term, schema, cards) for term in terms(measure)]
    names = {
        item.name
        for item in plan.measures
        if (isinstance(item, a.Clipped) and uses(item.of, schema, cards) in wanted)
        or (isinstance(item, a.Capped) and not isinstance(measure, a.Units | a.Gram))
    }
    return [part for part in shaped if part.kind in LIMITED and part.name in names]


def notes(plan: a.Plan, cards: Mapping[str, Card], shaped: Shaped) -> tuple[str, ...]:
    """Say what was limited or left out, where it is more than the noise of the companions could show, in any cell.

    Noise alone makes a note of a release with probability ``FALSE_ALARM`` at most, however many companions and cells it
    has (Bonferroni).
    """
    asked = [item for item in plan.measures if not isinstance(item, _LIMITED)]
    if not asked or len(asked) == len(plan.measures):
        return ()
    schema = infer(plan.source, cards)
    cells = shaped.cells()
    found = []
    parts = {part.name: part for part in shaped.measures if part.kind in LIMITED}
    sure = NormalDist().inv_cdf(1 - FALSE_ALARM / max(len(cells) * len(parts), 1))
    for item in plan.measures:
        if not isinstance(item, _LIMITED) or (text := _how_many(parts[item.name], cells, sure)) is None:
            continue
        share, where = text
        if isinstance(item, a.Clipped):
            columns = uses(item.of, schema, cards)
            biased = [other for other in asked if any(uses(term, schema, cards) == columns for term in terms(other))]
            what = f"about {share} of the values were {_outside(columns, cards)} and were limited{where}"
        else:
            biased = [other for other in asked if not isinstance(other, a.Units)]
            what = f"about {share} of the rows are of units that had more rows than {_most(schema, cards)}{where}"
        found.append(f"{what}: {_listed(biased)} may be biased")
    return tuple(found)


def left_out(plan: a.ThresholdKeys, sigma: float, rho: Fraction, unit: str = "unit") -> str:
    """Say which values are not among those released: what ``sigma``, ``rho`` (charged) and the plan's delta imply."""
    changed = max(math.floor(2 * Fraction(sigma) ** 2 * rho), 1)
    least = threshold(sigma, rational(plan.delta) / changed) + 1
    many = f"a {unit} counts for at most {plan.groups} values" if plan.groups > 1 else f"a {unit} counts for one value"
    return f"values that fewer than about {least:,} {unit}s have are left out; {many}"


def _shortest(
    term: a.Scalar, columns: frozenset[tuple[str, str]], schema: Schema, cards: Mapping[str, Card]
) -> a.Scalar:
    """Return a column within the term that depends on the same columns, or else the term: a flag has no expression."""
    stack = [term]
    while stack:
        node = stack.pop()
        if isinstance(node, a.Col) and uses(node, schema, cards) == columns:
            return node
        stack += reversed(children(node))
    return term


def _limitable(column: Column | None) -> bool:
    return column is not None and (column.low is not None or column.domain is not None)


def _how_many(part: ShapedMeasure, cells: Sequence[tuple[object, ...]], sure: float) -> tuple[str, str] | None:
    """Return the largest share above ``sure`` standard errors of its noise, and where it is."""
    seen = [
        (value, index)
        for index, value in enumerate(part.values)
        if not part.unreliable[index] and value >= NOTABLE and value > sure * part.stderr[index]
    ]
    if not seen:
        return None
    share, index = max(seen)
    text = f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %"
    if len(cells) == 1:
        return text, ""
    label = " / ".join(map(str, cells[index]))
    return text, f" (in {label}; and in {len(seen) - 1} other cells)" if len(seen) > 1 else f" (in {label})"


def _outside(columns: Iterable[tuple[str, str]], cards: Mapping[str, Card]) -> str:
    named = sorted(columns)
    if len(named) == 1:
        table, name = named[0]
        column = cards[table].column(name)
        if column is not None and column.low is not None:
            return f"outside {column.low}..{column.high}"
        return f"not in the domain of {name} ({OTHER})"
    return f"outside the declared bounds or domains of {', '.join(name for _, name in named)}"


def _most(schema: Schema, cards: Mapping[str, Card]) -> str:
    tables = list(dict.fromkeys(schema.tables))
    if len(tables) == 1:
        most = cards[tables[0]].rows_per_unit
        return f"the {most:,} kept" if most > 1 else "the one kept"
    return "are kept"


def _listed(measures: Iterable[a.Measure]) -> str:
    words = list(dict.fromkeys(_WORDS.get(type(item), "value") for item in measures))
    return " and ".join(f"the {word}" for word in words)
