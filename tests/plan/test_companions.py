"""Companions: the shares of rows that storage limited or left out, beside every measure they could bias."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest

from cloister.contract.card import Card, Column
from cloister.plan import algebra as a
from cloister.plan.companions import behind, companions, fits, notes
from cloister.plan.layout import layout
from cloister.plan.shape import Shaped, shape
from cloister.plan.typing import infer

T = "t"
CARD = Card(
    name=T, title="", description="", unit="person", key=("id",), normaliser="exact", population="p", rows_per_unit=4,
    row_limit=1024, grade="demonstration", source="", retention="", purposes=("x",),
    columns=(
        Column("id", "string", 2, ""),
        Column("age", "int", 2, "", low="0", high="120", step="1"),
        Column("bmi", "decimal", 2, "", low="10", high="60", step="0.1", nullable=True),
        Column("sex", "string", 2, "", domain=("F", "M")),
        Column("ill", "bool", 2, ""),
    ),
)  # fmt: skip
CARDS = {T: CARD}
AGE, BMI, SEX, ILL = (a.Col(name) for name in ("age", "bmi", "sex", "ill"))
MEAN = (a.Mean("mean", AGE), a.Clipped("clipped", AGE), a.Capped("capped"))
KINDS = (
    a.Count("m"), a.Sum("m", AGE), a.Mean("m", AGE), a.Mean("m", BMI), a.Variance("m", BMI),
    a.Quantile("m", AGE, ("1/2",)), a.Ratio("m", AGE, BMI), a.Covariance("m", (AGE, BMI)),
)  # fmt: skip


def of(*measures: a.Measure) -> tuple[a.Measure, ...]:
    return companions(measures, infer(a.Table(T), CARDS), CARDS)


def plan(*measures: a.Measure, keys: tuple[str, ...] = ()) -> a.VectorSum:
    return a.VectorSum(a.Table(T), measures, "1", keys)


def shaped(asked: a.VectorSum, **cells: list[int]) -> Shaped:
    """Shape a release whose components of each role hold these integers, cell by cell, with little noise."""
    frame = layout(asked, CARDS)
    rows = range(frame.cells)
    raw = [cells.get(part.role, [0] * frame.cells)[row] for row in rows for part in frame.components]
    return shape(asked, CARDS, raw, [1.0] * len(frame.components))


def test_each_set_of_bounded_columns_has_one_clipped_share_and_each_release_one_capped():
    old = a.Compare("ge", AGE, a.Number("65"))
    assert of(a.Mean("m", AGE), a.Sum("s", AGE), a.Mean("o", old)) == (a.Clipped("clipped", AGE), a.Capped("capped"))
    assert of(a.Mean("m", old)) == (a.Clipped("clipped", AGE), a.Capped("capped"))
    assert of(a.Ratio("r", AGE, BMI)) == (a.Clipped("clipped", AGE), a.Clipped("clipped", BMI), a.Capped("capped"))
    both = a.Arithmetic("mul", AGE, BMI)
    assert of(a.Sum("s", both))[0] == a.Clipped("clipped", both)
    assert of(a.Mean("m", a.Compare("eq", SEX, a.Text("F"))))[0] == a.Clipped("clipped", SEX)


def test_what_storage_cannot_limit_has_no_companion():
    assert of(a.Units("u")) == ()
    assert of(a.Gram("g", (AGE, BMI))) == ()
    assert of(a.Count("n")) == of(a.Mean("m", ILL)) == (a.Capped("capped"),)


@pytest.mark.parametrize("measure", KINDS, ids=lambda measure: type(measure).__name__)
def test_companions_cost_at_most_four_per_cent_of_the_price_and_two_of_the_error(measure):
    alone, beside = (layout(plan(measure, *more), CARDS).components for more in ((), of(measure)))
    weights = {(part.role, part.terms): part.weight for part in beside}
    assert sum(part.weight for part in beside) == 1
    for part in alone:
        grown = math.sqrt(part.weight / weights[part.role, part.terms])
        assert grown <= 1.0207


def test_many_columns_share_the_two_per_cent():
    measures = tuple(a.Mean(f"m{n}", column) for n, column in enumerate((AGE, BMI, a.Compare("eq", SEX, a.Text("F")))))
    named = [
        type(item)(f"c{n}", item.of) if isinstance(item, a.Clipped) else item for n, item in enumerate(of(*measures))
    ]
    found = layout(plan(*measures, *named), CARDS)
    clipped = [part.weight for part in found.components if part.role == "clipped"]
    assert clipped == [Fraction(1, 50) / 3 * Fraction(4, 5)] * 3
    assert sum(part.weight for part in found.components) == 1


def test_a_count_beside_quantiles_costs_a_tenth():
    found = layout(plan(a.Quantile("q", AGE, ("1/2",)), a.Count("n")), CARDS)
    assert {part.role: part.weight for part in found.components} == {
        "quantile": Fraction(9, 10),
        "count": Fraction(1, 10),
    }
    found = layout(plan(a.Quantile("q", AGE, ("1/2",)), a.Count("n"), a.Sum("s", AGE)), CARDS)
    assert {part.weight for part in found.components} == {Fraction(1, 3)}


def test_shares_are_shaped_with_an_interval_between_0_and_1():
    found = shaped(plan(*MEAN), count=[1000], clipped=[40], capped=[0]).measures
    clipped, capped = found[1:]
    assert clipped.values == (0.04,)
    assert 0.03 < clipped.low[0] < 0.04 < clipped.high[0] < 0.05
    assert (capped.values, capped.low) == ((0.0,), (0.0,))
    assert 0 < capped.high[0] < 0.01
    assert shaped(plan(*MEAN), count=[0], clipped=[3]).measures[1].unreliable == (True,)


def test_a_notable_share_is_named_with_its_bounds_and_what_it_biases():
    def said(**cells: list[int]) -> tuple[str, ...]:
        asked = plan(*MEAN)
        return notes(asked, CARDS, shaped(asked, **cells))

    assert said(count=[1000], clipped=[40]) == (
        "about 4 % of the values were outside 0..120 and were limited: the mean may be biased",
    )
    assert said(count=[1000], capped=[100]) == (
        "about 10 % of the rows are of units that had more rows than the 4 kept: the mean may be biased",
    )
    assert said(count=[1000], clipped=[1]) == said(count=[1000]) == ()
    assert said(count=[2], clipped=[2]) == ()
    assert said(count=[10**6], clipped=[900]) == ()


def test_in_a_table_the_worst_cell_is_named_and_chance_among_cells_is_not():
    asked = plan(*MEAN, keys=("sex",))
    found = notes(asked, CARDS, shaped(asked, count=[1000, 1000, 1000], clipped=[100, 2, 2]))
    assert found == ("about 10 % of the values were outside 0..120 and were limited (in F): the mean may be biased",)
    assert notes(asked, CARDS, shaped(asked, count=[1000] * 3, clipped=[2, 0, 2])) == ()


def test_noise_alone_hardly_ever_makes_a_note():
    """Of 1,200 releases of clean rows, 6 cells and 2 companions each, 1.2 have a note on average, and 9 are far out.

    At a level of .025 a companion there would be about 60.
    """
    asked = plan(*MEAN, keys=("ill", "sex"))
    frame, rng = layout(asked, CARDS), random.Random(5)
    sigma, said = 30.0, 0
    for _ in range(1_200):
        raw = [
            round(1_000 * (part.role == "count") + rng.gauss(0.0, sigma))
            for _ in range(frame.cells)
            for part in frame.components
        ]
        said += bool(notes(asked, CARDS, shape(asked, CARDS, raw, [sigma] * len(frame.components))))
    assert said <= 9


def test_a_measure_finds_its_own_companions():
    measures = (a.Mean("x", AGE), a.Mean("y", ILL), a.Units("u"), a.Clipped("clipped", AGE), a.Capped("capped"))
    asked = plan(*measures)
    found = shaped(asked).measures
    names = [[part.name for part in behind(measure, asked, CARDS, found)] for measure in measures[:3]]
    assert names == [["clipped", "capped"], ["capped"], []]


def test_a_release_that_would_be_too_large_has_none():
    counts = [a.Count(f"n{number}") for number in range(64)]
    assert fits(plan(*counts), CARDS)
    assert not fits(plan(*counts, a.Capped("capped")), CARDS)
    wide = tuple(f"k{number}" for number in range(5))
    keys = a.Derive(a.Table(T), tuple((name, a.Modulo(AGE, "10")) for name in wide))
    large = [a.Sum(f"s{number}", a.Scale(AGE, str(number + 1))) for number in range(5)]
    assert fits(a.VectorSum(keys, tuple(large), "1", wide), CARDS)
    assert not fits(a.VectorSum(keys, (*large, a.Capped("capped")), "1", wide), CARDS)
