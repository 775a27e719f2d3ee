"""Layout: components, shares of the price, cells."""

from __future__ import annotations

from fractions import Fraction

import pytest
from plan_cards import CARDS, VISITS, ask

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.layout import GRAM_SCALE, layout

AGE, BMI, COST = a.Col("age"), a.Col("bmi"), a.Col("cost")


def parts(*measures, **settings):
    return layout(ask(*measures, **settings), CARDS)


def test_a_mean_is_a_centred_sum_and_a_count_in_one_vector():
    frame = parts(a.Mean("m", BMI))
    centred, count = frame.components
    assert (centred.role, centred.offset, centred.step, centred.lo, centred.hi) == (
        "centred",
        40,
        Fraction(1, 20),
        -600,
        600,
    )
    assert (count.role, count.terms, count.lo, count.hi) == ("count", (BMI,), 0, 1)
    assert frame.measures[0].components == (0, 1)


def test_the_split_of_a_mean_has_the_least_worst_loss():
    def worst(centred: Fraction) -> Fraction:
        """The squared error over that of the best split for this mean, at the mean where that is largest."""
        means = [Fraction(number, 60) for number in range(61)]
        return max((1 / centred + mean**2 / (1 - centred)) / (1 + mean) ** 2 for mean in means)

    weights = {part.role: part.weight for part in parts(a.Mean("m", BMI)).components}
    assert worst(weights["centred"]) == Fraction(4, 3)
    others = [Fraction(number, 100) for number in range(1, 100)]
    assert all(worst(other) > Fraction(4, 3) for other in others if other != weights["centred"])


def test_measures_of_one_term_share_their_count():
    frame = parts(a.Count("n", BMI), a.Mean("m", BMI), a.Count("rows"), a.Mean("age", AGE), a.Count("ages", AGE))
    assert [part.role for part in frame.components] == ["count", "centred", "count", "centred"]
    assert [measure.components for measure in frame.measures] == [(0,), (1, 0), (2,), (3, 2), (2,)]
    assert sum(part.weight for part in frame.components) == 1


def test_equal_names_after_redefinition_do_not_share():
    source = a.Derive(VISITS, (("copy", BMI), ("other", a.Negate(BMI))))
    frame = parts(a.Sum("s1", BMI), a.Sum("s2", a.Col("copy")), a.Sum("s3", a.Col("other")), source=source)
    assert [measure.components for measure in frame.measures] == [(0,), (0,), (1,)]


def test_a_sum_lies_on_a_grid_with_zero():
    (part,) = parts(a.Sum("s", COST)).components
    assert (part.lo, part.hi, part.step, part.offset) == (-10_000, 5_000_000, Fraction(1, 100), 0)
    (rate,) = parts(a.Sum("s", a.Col("smoker"))).components
    assert (rate.lo, rate.hi, rate.step) == (0, 1, 1)


def test_a_gram_is_the_upper_triangle_at_one_scale():
    frame = parts(a.Gram("g", (AGE, BMI, a.Col("smoker"))), a.Count("n"))
    gram, count = frame.components
    assert (gram.width, gram.hi, count.width, frame.width) == (10, GRAM_SCALE**2, 1, 11)


def test_cells_are_row_major_over_public_values():
    frame = parts(keys=("smoker", "sex"))
    assert [key.labels for key in frame.keys] == [(False, True), ("F", "M", "(other)")]
    assert frame.cells == 6
    days = parts(keys=("seen",)).keys[0].labels
    assert (days[0], days[-1], len(days)) == ("2024-01-01", "2024-01-31", 31)
    assert parts(keys=("shift",)).keys[0].labels == (0.5, 1, 1.5, 2, 2.5)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"keys": ("age", "bmi", "seen")}, "plan.cells"),
        ({"measures": (a.Mean("m", a.Col("seen")),)}, "plan.types"),
        ({"measures": (a.Sum("s", a.Col("sex")),)}, "plan.types"),
        ({"measures": (a.Mean("m", a.Col("raw")),)}, "plan.bounds"),
        ({"measures": (a.Count("n", a.Col("id")),)}, "plan.bounds"),
        (
            {"measures": (a.Gram("g", (a.Scale(a.Arithmetic("mul", COST, a.Arithmetic("mul", COST, COST)), "1/7"),)),)},
            "plan.range",
        ),
    ],
)
def test_what_cannot_be_laid_out_is_refused(settings, code):
    measures = settings.pop("measures", ())
    with pytest.raises(PlanError) as refused:
        parts(*measures, **settings)
    assert refused.value.code == code
    assert refused.value.next_step
