"""Components: the blocks of integers that measures are made of, and how a measure's price is split among them.

Every component adds, for a row whose terms are all non-null, an integer of a public range:

* ``count``: 1; ``units``: 1 for each unit that has a row, however many it has;
* ``clipped``: 1 if storage limited a value the term depends on; ``capped``: 1 if storage left out rows of the unit;
* ``sum``: the value on a grid that contains 0; ``centred``: the value on the grid centred at the midpoint of its range;
* ``square``: ``2 z^2 - Z^2`` and ``product``: ``z z'``, where ``z`` in ``-Z..Z`` is the centred value (rounded to
  ``MOMENT_SCALE`` steps if its range is wider; this moves a variance by less than 2^-15 of the half range squared);
* ``gram``: the upper triangle of ``z z'``, ``z = (1, z1, ...)`` in multiples of 2^-12;
* ``quantile``: nothing is added up: the index of a public candidate is chosen by a noisy maximum;
* ``step``: a vector sum of a learner (``plan/learning``), whose L2 norm for one row has a bound of its own.

Measures of the same terms share components, so that mean, standard deviation and count of a column are one vector.
``shares.py`` splits a price among the measures; within a measure it is split by fixed
weights, which cannot depend on data.

With ``u`` the value scaled to [-1, 1], the squared error of a mean is ``1/w_sum + mean(u)^2/w_count``. A split made for
a known mean reaches ``(1 + |mean(u)|)^2``, which is also what the one number ``sum(u - mean(u))`` would cost. The mean
is not known, and 3/4 and 1/4 are the split whose worst loss is least: the squared error is 4/3 of the best at
``|mean(u)| = 0``, falls to the best at 1/3 and rises to 4/3 of it at 1; any other split loses more at one of the ends.
Noise that correlates sum and count does not help: it must cover ``(u, 1)`` at both ``u = 1`` and ``u = -1``, and what a
correlation spares at one it pays at the other.

The squared error of a variance is ``.25/w_square + 4 mean(u)^2/w_sum + (mean(u^2) - 1/2 - 2 mean(u)^2)^2/w_count``:
thirds are within 11 % in error of the best split for extreme data (19.5 against 16) and 22 % for data around the centre
(1.5 against 1).
Covariance, likewise: 2/5 for the product, 1/5 for each sum and the count (at most 5 % off for extreme data). A ratio:
halves, as the size of the ratio is not known. A clipped or capped share is a small one: 4/5 for its rows, 1/5 for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal

import msgspec

from cloister.contract.card import Card
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import Grid, fit
from cloister.plan.numbers import rational
from cloister.plan.rules import number
from cloister.plan.shares import shares
from cloister.plan.typing import Schema, scalar, token

GRAM_SCALE = 2**12
CAPPED_BIT = 0
LAST_BIT = 62
MOMENT_SCALE = 2**16
MAX_CANDIDATES = 2048
MAX_QUANTILES = 32
MAX_QUANTILE_PARTS = 10**6
_ZERO, _ONE = Fraction(0), Fraction(1)
_HALF, _THIRD, _QUARTER, _FIFTH = Fraction(1, 2), Fraction(1, 3), Fraction(1, 4), Fraction(1, 5)
_CORRELATION = (Fraction(1, 4), *[Fraction(3, 20)] * 5)
_SHARE = (Fraction(4, 5), _FIFTH)
_DRAWS_PER_CHOICE, _SCORES_PER_DRAW = 50, 8

Role = Literal["count", "units", "clipped", "capped", "sum", "centred", "square", "product", "gram", "quantile", "step"]
Kind = Literal[
    "count",
    "units",
    "clipped",
    "capped",
    "sum",
    "mean",
    "ratio",
    "variance",
    "std",
    "covariance",
    "correlation",
    "gram",
    "quantile",
]


class Component(msgspec.Struct, frozen=True):
    """A block of ``width`` integers per cell with one noise level.

    A row adds integers within ``lo..hi`` to it if none of ``terms`` is null; an integer ``n`` stands for ``n * step``
    in the measure's unit (for ``centred``: the sum of ``value - offset``). ``weight`` is its part of the price; all
    weights add up to 1. A ``quantile`` chooses one of ``candidates``, ``offset + index * step``, for each of ``at``,
    numerators over ``parts``; a row moves the score of a candidate by at most ``max(at, parts - at)``. ``flags`` are
    the bits of each table's flags that count a row. ``squared`` bounds the squared L2 norm of what one row adds to a
    ``step``; of the others it follows from width and reach.
    """

    role: Role
    measure: str
    terms: tuple[a.Scalar, ...]
    grids: tuple[Grid, ...]
    step: Fraction
    offset: Fraction
    lo: int
    hi: int
    weight: Fraction
    width: int = 1
    candidates: int = 0
    at: tuple[int, ...] = ()
    parts: int = 1
    flags: tuple[tuple[str, int], ...] = ()
    squared: int = 0

    @property
    def exact_width(self) -> int:
        """How many integers the engine computes per cell: for a quantile the rows at each candidate."""
        return self.candidates or self.width

    @property
    def draws(self) -> int:
        """How much work its noise is per cell, counted in integers that get one draw."""
        if self.role != "quantile":
            return self.width
        return self.width * (_DRAWS_PER_CHOICE + self.candidates // _SCORES_PER_DRAW)


class MeasureLayout(msgspec.Struct, frozen=True):
    """A measure and the positions of its components.

    mean: centred, count; ratio: sum, sum; variance and std: centred, square, count; covariance: centred, centred,
    product, count; correlation: centred, centred, square, square, product, count; clipped and capped: clipped or capped
    rows, count.
    """

    name: str
    kind: Kind
    components: tuple[int, ...]
    ddof: int = 0
    levels: tuple[str, ...] = ()


class Builder:
    """Collects components; equal ones are shared, and their weights add up."""

    def __init__(self, schema: Schema, measures: Sequence[a.Measure], cards: Mapping[str, Card]) -> None:
        self._schema = schema
        self._cards = cards
        self._measures = measures
        self._shares = shares(measures)
        self._share = _ZERO
        self._components: dict[tuple[str, ...], Component] = {}

    def build(self) -> tuple[tuple[Component, ...], tuple[MeasureLayout, ...]]:
        """Return the components and the measures made of them.

        Raises:
            PlanError: A term has no derivable bounds, or its kind does not fit the measure.
        """
        measures = []
        for measure, share in zip(self._measures, self._shares, strict=True):
            self._share = share
            measures.append(self._add(measure))
        return tuple(self._components.values()), tuple(measures)

    def _add(self, measure: a.Measure) -> MeasureLayout:
        name, whole = measure.name, _ONE
        match measure:
            case a.Count():
                of = () if measure.of is None else (measure.of,)
                return MeasureLayout(name, "count", (self._count(name, of, whole),))
            case a.Units():
                return MeasureLayout(
                    name, "units", (self._put(Component("units", name, (), (), _ONE, _ZERO, 0, 1, whole)),)
                )
            case a.Sum():
                return MeasureLayout(name, "sum", (self._sum(name, (measure.of,), whole, "a sum"),))
            case a.Mean():
                of = (measure.of,)
                return MeasureLayout(
                    name, "mean", (self._centred(name, of, 3 * _QUARTER, "a mean"), self._count(name, of, _QUARTER))
                )
            case a.Ratio():
                above = self._sum(name, (measure.of, measure.over), _HALF, "a ratio")
                below = self._sum(name, (measure.over, measure.of), _HALF, "a ratio")
                return MeasureLayout(name, "ratio", (above, below))
            case a.Variance():
                return self._variance(measure)
            case a.Covariance():
                return self._covariance(measure)
            case a.Gram():
                return MeasureLayout(name, "gram", (self._gram(measure),))
            case a.Quantile():
                return MeasureLayout(name, "quantile", (self._quantile(measure),), levels=measure.at)
            case a.Clipped():
                uses = usable(scalar(measure.of, self._schema)).uses
                flags = [
                    (table, bit)
                    for table, column in uses
                    if (bit := clipped_bit(self._cards[table], column)) is not None
                ]
                return self._limited("clipped", name, flags, (measure.of,))
            case a.Capped():
                flags = [(table, CAPPED_BIT) for table in self._schema.tables]
                return self._limited("capped", name, flags, ())

    def _limited(
        self, kind: Literal["clipped", "capped"], name: str, flags: Sequence[tuple[str, int]], of: tuple[a.Scalar, ...]
    ) -> MeasureLayout:
        return MeasureLayout(name, kind, (self._flagged(kind, name, flags, of), self._count(name, of, _SHARE[1])))

    def _flagged(
        self, role: Literal["clipped", "capped"], name: str, flags: Sequence[tuple[str, int]], of: tuple[a.Scalar, ...]
    ) -> int:
        # A share is of the rows that have a value: a limited value behind a null of the term biases nothing.
        present = self._nullable(of)
        grids = tuple(scalar(term, self._schema) for term in present)
        masks = dict.fromkeys(sorted({table for table, _ in flags}), 0)
        for table, bit in flags:
            masks[table] |= 1 << bit
        part = Component(role, name, present, grids, _ONE, _ZERO, 0, 1, _SHARE[0], flags=tuple(masks.items()))
        return self._put(part, *(f"{table} {mask}" for table, mask in part.flags))

    def _variance(self, measure: a.Variance) -> MeasureLayout:
        name, of = measure.name, (measure.of,)
        found = (
            self._centred(name, of, _THIRD, "a variance"),
            self._square(name, of, _THIRD),
            self._count(name, of, _THIRD),
        )
        return MeasureLayout(name, "std" if measure.root else "variance", found, measure.ddof)

    def _covariance(self, measure: a.Covariance) -> MeasureLayout:
        name, (x, y) = measure.name, measure.of
        if not measure.correlation:
            sums = (
                self._centred(name, (x, y), _FIFTH, "a covariance"),
                self._centred(name, (y, x), _FIFTH, "a covariance"),
            )
            rest = (self._product(name, (x, y), 2 * _FIFTH), self._count(name, (x, y), _FIFTH))
            return MeasureLayout(name, "covariance", (*sums, *rest), measure.ddof)
        product, each = _CORRELATION[0], _CORRELATION[1]
        found = (
            self._centred(name, (x, y), each, "a correlation"),
            self._centred(name, (y, x), each, "a correlation"),
            self._square(name, (x, y), each),
            self._square(name, (y, x), each),
            self._product(name, (x, y), product),
            self._count(name, (x, y), each),
        )
        return MeasureLayout(name, "correlation", found, measure.ddof)

    def _count(self, name: str, terms: tuple[a.Scalar, ...], weight: Fraction) -> int:
        for term in terms:
            usable(scalar(term, self._schema))
        present = self._nullable(terms)
        grids = tuple(scalar(term, self._schema) for term in present)
        return self._put(Component("count", name, present, grids, _ONE, _ZERO, 0, 1, weight))

    def _sum(self, name: str, terms: tuple[a.Scalar, ...], weight: Fraction, what: str) -> int:
        terms, grids = self._numbers(terms, what)
        return self._put(Component("sum", name, terms, grids, grids[0].step, _ZERO, grids[0].lo, grids[0].hi, weight))

    def _centred(self, name: str, terms: tuple[a.Scalar, ...], weight: Fraction, what: str) -> int:
        terms, grids = self._numbers(terms, what)
        grid = grids[0]
        reach = grid.hi - grid.lo
        middle = Fraction(grid.lo + grid.hi, 2) * grid.step
        return self._put(Component("centred", name, terms, grids, grid.step / 2, middle, -reach, reach, weight))

    def _square(self, name: str, terms: tuple[a.Scalar, ...], weight: Fraction) -> int:
        terms, grids = self._numbers(terms, "a variance")
        self._scalable(grids[0])
        unit, top = moment_unit(grids[0]), moment_reach(grids[0])
        return self._put(Component("square", name, terms, grids, unit**2 / 2, _ZERO, -(top**2), top**2, weight))

    def _product(self, name: str, terms: tuple[a.Scalar, ...], weight: Fraction) -> int:
        terms = tuple(sorted(terms, key=lambda term: token(term, self._schema)))
        grids = tuple(self._number(term, "a covariance") for term in terms)
        for grid in grids:
            self._scalable(grid)
        top = moment_reach(grids[0]) * moment_reach(grids[1])
        unit = moment_unit(grids[0]) * moment_unit(grids[1])
        return self._put(Component("product", name, terms, grids, unit, _ZERO, -top, top, weight))

    def _gram(self, measure: a.Gram) -> int:
        grids = tuple(self._number(term, "a Gram") for term in measure.of)
        for grid in grids:
            self._scalable(grid, GRAM_SCALE)
        size, top = len(grids) + 1, GRAM_SCALE**2
        width = size * (size + 1) // 2
        step = Fraction(1, top)
        return self._put(Component("gram", measure.name, measure.of, grids, step, _ZERO, -top, top, _ONE, width))

    def _quantile(self, measure: a.Quantile) -> int:
        grid = usable(scalar(measure.of, self._schema))
        grid = grid if grid.kind == "date" else number(grid, "a quantile")
        levels = quantile_levels(measure)
        parts = math.lcm(*(level.denominator for level in levels))
        stride = -(-(grid.points - 1) // (MAX_CANDIDATES - 1)) or 1
        candidates = (grid.hi - grid.lo) // stride + 1
        at = tuple(int(level * parts) for level in levels)
        worst = max(max(place, parts - place) for place in at)
        part = Component(
            "quantile", measure.name, (measure.of,), (grid,), grid.step * stride, grid.lo * grid.step, -worst, worst,
            _ONE, len(at), candidates, at, parts,
        )  # fmt: skip
        return self._put(part, *measure.at)

    def _numbers(self, terms: tuple[a.Scalar, ...], what: str) -> tuple[tuple[a.Scalar, ...], tuple[Grid, ...]]:
        """Return the first term, those others whose being null matters, and their grids as numbers."""
        grids = {term: self._number(term, what) for term in terms}
        kept = (terms[0], *self._nullable(terms[1:]))
        return kept, tuple(grids[term] for term in kept)

    def _nullable(self, terms: tuple[a.Scalar, ...]) -> tuple[a.Scalar, ...]:
        found = {token(term, self._schema): term for term in terms if scalar(term, self._schema).nullable}
        return tuple(found[name] for name in sorted(found))

    def _number(self, term: a.Scalar, what: str) -> Grid:
        grid = usable(scalar(term, self._schema))
        if grid.kind == "date":
            raise PlanError(
                "plan.types", f"{what} of dates has no meaning", next_step="subtract a date to get days",
                nearest=("column - date",),
            )  # fmt: skip
        return number(grid, what)

    @staticmethod
    def _scalable(grid: Grid, scale: int = MOMENT_SCALE) -> None:
        # Rounding to ``scale`` steps multiplies the range by four times as much on the way.
        fit(Grid("number", 0, 4 * scale * (grid.hi - grid.lo)))

    def _put(self, part: Component, *more: str) -> int:
        """Keep a component, its weight being a part of its measure's share; return its position."""
        name = (part.role, *(token(term, self._schema) for term in part.terms), *more)
        known = self._components.get(name)
        weight = part.weight * self._share + (Fraction(0) if known is None else known.weight)
        self._components[name] = msgspec.structs.replace(known or part, weight=weight)
        return list(self._components).index(name)


def clipped_bit(card: Card, column: str) -> int | None:
    """Return the bit of a table's flags that says that storage limited a value of ``column``.

    None: the flags have no bit left for it. A shared bit would tell of columns that the plan does not use.
    """
    positions = {item.name: index for index, item in enumerate(card.columns)}
    place = positions[column] + 1
    return place if place <= LAST_BIT else None


def moment_reach(grid: Grid) -> int:
    """Return ``Z``, the largest centred value that squares and products are made of."""
    return min(grid.hi - grid.lo, MOMENT_SCALE)


def moment_unit(grid: Grid) -> Fraction:
    """Return what 1 in ``z`` stands for in the term's unit."""
    return (grid.hi - grid.lo) * grid.step / 2 / (moment_reach(grid) or 1)


def quantile_levels(measure: a.Quantile) -> tuple[Fraction, ...]:
    """Return the levels asked as exact numbers.

    Raises:
        PlanError: ``plan.quantile``: not 1 to 32 distinct levels in (0, 1), or too fine ones.
    """
    levels = tuple(rational(text) for text in measure.at)
    fine = math.lcm(*(level.denominator for level in levels)) > MAX_QUANTILE_PARTS
    if not 1 <= len(set(levels)) == len(levels) <= MAX_QUANTILES or not all(0 < x < 1 for x in levels) or fine:
        raise PlanError(
            "plan.quantile",
            "quantiles are asked at 1 to 32 different levels between 0 and 1, in at most millionths",
            next_step="write quantile([0.25, 0.5, 0.75]); for the ends ask for 0.01 and 0.99",
        )
    return levels


def usable(grid: Grid) -> Grid:
    """Return ``grid`` unless it is opaque.

    Raises:
        PlanError: ``plan.bounds``.
    """
    if grid.kind != "opaque":
        return grid
    names = ", ".join(sorted(column for _, column in grid.uses))
    raise PlanError(
        "plan.bounds",
        f"{names} has no declared bounds or domain, so what one unit can add to a release is unknown",
        clause="every measure needs bounds that can be derived from the data card",
        next_step="measure a column with declared bounds; count rows with count()",
    )
