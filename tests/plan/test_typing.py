"""Types: exact ranges, closed keys, refusals with advice."""

from __future__ import annotations

from fractions import Fraction

import pytest
from plan_cards import CARDS, TABLE, VISITS

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.grid import LIMIT
from cloister.plan.typing import infer, key, scalar, token

SCHEMA = infer(VISITS, CARDS)
AGE, BMI, COST, SEX, SEEN, SMOKER = (a.Col(name) for name in ("age", "bmi", "cost", "sex", "seen", "smoker"))


def span(term):
    grid = scalar(term, SCHEMA)
    return (grid.kind, grid.lo * grid.step, grid.hi * grid.step, grid.step, grid.nullable)


def refused(call) -> PlanError:
    with pytest.raises(PlanError) as error:
        call()
    return error.value


def test_columns_lie_on_grids_that_contain_zero():
    assert span(AGE) == ("number", 0, 110, 1, False)
    assert span(BMI) == ("number", 10, 70, Fraction(1, 10), True)
    assert span(a.Col("shift")) == ("number", Fraction(1, 2), Fraction(5, 2), Fraction(1, 2), False)
    assert scalar(SEX, SCHEMA).domain == ("F", "M", "(other)")
    assert span(SMOKER) == ("bool", 0, 1, 1, True)


@pytest.mark.parametrize(
    ("term", "wanted"),
    [
        (a.Arithmetic("add", AGE, BMI), ("number", 10, 180, Fraction(1, 10), True)),
        (a.Arithmetic("sub", AGE, BMI), ("number", -70, 100, Fraction(1, 10), True)),
        (a.Arithmetic("mul", COST, AGE), ("number", -11000, 5_500_000, Fraction(1, 100), False)),
        (a.Arithmetic("mul", COST, COST), ("number", 0, 2_500_000_000, Fraction(1, 10_000), False)),
        (a.Arithmetic("mul", COST, a.Negate(COST)), ("number", -2_500_000_000, 5_000_000, Fraction(1, 10_000), False)),
        (a.Arithmetic("sub", SEEN, a.Date("2024-01-01")), ("number", 0, 30, 1, True)),
        (a.Scale(AGE, "-1/3"), ("number", Fraction(-110, 3), 0, Fraction(1, 3), False)),
        (a.Abs(COST), ("number", 0, 50000, Fraction(1, 100), False)),
        (a.Abs(a.Negate(BMI)), ("number", 10, 70, Fraction(1, 10), True)),
        (a.Clip(AGE, "18", "65"), ("number", 18, 65, 1, False)),
        (a.Clip(AGE, "1/2", "65"), ("number", Fraction(1, 2), 65, Fraction(1, 2), False)),
        (a.Clip(AGE, "200", "300"), ("number", 200, 200, 1, False)),
        (a.Fill(BMI, a.Number("0")), ("number", 0, 70, Fraction(1, 10), False)),
        (a.Fill(SMOKER, a.Boolean(False)), ("bool", 0, 1, 1, False)),
        (a.Case(SMOKER, AGE, BMI), ("number", 0, 110, Fraction(1, 10), True)),
        (a.Compare("lt", BMI, a.Number("25")), ("bool", 0, 1, 1, False)),
        (a.Cut(AGE, ("0", "18", "111")), ("category", 0, 1, 1, False)),
        (a.Cut(AGE, ("18", "65", "111")), ("category", 0, 1, 1, True)),
        (a.Cut(AGE, ("0", "18", "110")), ("category", 0, 1, 1, True)),
    ],
)
def test_ranges_are_exact(term, wanted):
    assert span(term) == wanted


def test_categories_merge_and_bins_are_named_like_pandas():
    assert scalar(a.Fill(SEX, a.Text("unknown")), SCHEMA).domain == ("F", "M", "(other)", "unknown")
    assert scalar(a.Case(SMOKER, a.Text("yes"), a.Text("no")), SCHEMA).domain == ("yes", "no")
    assert scalar(a.Cut(AGE, ("0", "18", "65")), SCHEMA).domain == ("[0, 18)", "[18, 65)")


def test_ranges_that_leave_64_bits_are_refused_never_saturated():
    big = AGE
    for _ in range(9):
        big = a.Arithmetic("mul", big, AGE)
    assert refused(lambda: scalar(big, SCHEMA)).code == "plan.range"
    fine = a.Arithmetic("add", COST, a.Number("0." + "0" * 30 + "1"))
    assert refused(lambda: scalar(fine, SCHEMA)).code == "plan.range"
    assert refused(lambda: scalar(a.Number("1" + "0" * 39), SCHEMA) and scalar(
        a.Arithmetic("add", a.Number("1" + "0" * 39), AGE), SCHEMA)).code == "plan.range"  # fmt: skip
    other = a.Arithmetic("sub", AGE, AGE)
    assert refused(lambda: scalar(a.Compare("lt", a.Scale(AGE, "1" + "0" * 30), other), SCHEMA)).code == "plan.range"
    edge = a.Scale(AGE, "1" + "0" * 30)
    assert abs(scalar(edge, SCHEMA).hi) < LIMIT


def test_a_literal_can_be_compared_wherever_it_lies():
    for text in ("1" + "0" * 39, "0." + "0" * 39 + "1", "-1/3"):
        assert scalar(a.Compare("lt", COST, a.Number(text)), SCHEMA).kind == "bool"


@pytest.mark.parametrize(
    ("term", "code"),
    [
        (a.Col("bmmi"), "plan.column"),
        (a.Arithmetic("add", SEX, AGE), "plan.types"),
        (a.Arithmetic("add", SEEN, SEEN), "plan.types"),
        (a.Compare("lt", SEX, a.Text("F")), "plan.types"),
        (a.Compare("eq", SEX, AGE), "plan.types"),
        (a.Compare("eq", SEEN, a.Text("2024-01-01")), "plan.types"),
        (a.Not(AGE), "plan.types"),
        (a.And((SMOKER, AGE)), "plan.types"),
        (a.Case(AGE, AGE, AGE), "plan.types"),
        (a.Case(SMOKER, AGE, SEX), "plan.types"),
        (a.Fill(BMI, AGE), "plan.literal"),
        (a.IsIn(AGE, (BMI,)), "plan.literal"),
        (a.IsIn(AGE, tuple(a.Number(str(i)) for i in range(1001))), "plan.is_in"),
        (a.Scale(AGE, "0"), "plan.scale"),
        (a.Clip(AGE, "2", "1"), "plan.clip"),
        (a.Cut(AGE, ("1",)), "plan.cut"),
        (a.Cut(AGE, ("1", "1")), "plan.cut"),
        (a.Cut(SEX, ("1", "2")), "plan.types"),
        (a.Number("1e5"), "plan.number"),
        (a.Date("2023-02-29"), "plan.date"),
        (a.IsNull(a.Col("id")), "plan.opaque"),
        (a.Compare("lt", a.Col("note"), a.Text("x")), "plan.types"),
        (a.Arithmetic("add", a.Col("raw"), AGE), "plan.opaque"),
    ],
)
def test_refusals_name_the_code_and_the_next_step(term, code):
    error = refused(lambda: scalar(term, SCHEMA))
    assert error.code == code
    assert error.next_step


def test_unknown_names_come_with_the_nearest():
    assert refused(lambda: scalar(a.Col("bmmi"), SCHEMA)).nearest == ("bmi",)
    assert refused(lambda: infer(a.Table("clinic.visit"), CARDS)).nearest == (TABLE,)


def test_keys_are_closed():
    derived = infer(a.Derive(VISITS, (("band", a.Cut(AGE, ("0", "18", "200"))), ("days", SEEN))), CARDS)
    for name in ("sex", "smoker", "age", "band", "days", "bmi"):
        assert key(name, derived).points <= 1000
    assert refused(lambda: key("cost", SCHEMA)).code == "plan.key"
    assert refused(lambda: key("cost", SCHEMA)).nearest
    assert refused(lambda: key("note", SCHEMA)).code == "plan.key"
    assert refused(lambda: key("id", SCHEMA)).code == "plan.key"


def test_relations_track_columns_uses_and_identity():
    older = a.Derive(
        a.Filter(VISITS, a.Compare("ge", COST, a.Number("1"))), (("age", a.Scale(AGE, "2")), ("copy", AGE))
    )
    schema = infer(a.Select(older, ("age", "copy")), CARDS)
    assert list(schema.columns) == ["age", "copy"]
    assert schema.uses == {(TABLE, "cost")}
    assert schema.grid("age").uses == {(TABLE, "age")}
    assert schema.tokens["copy"] == SCHEMA.tokens["age"] != schema.tokens["age"]
    assert token(a.Scale(a.Col("copy"), "2"), schema) == schema.tokens["age"]
    with pytest.raises(PlanError):
        schema.grid("cost")


@pytest.mark.parametrize(
    "node",
    [a.Cap(VISITS, 0), a.Cap(VISITS, 1, (), 1), a.Cap(VISITS, 1, ("sex",), 0), a.Cap(VISITS, 1, ("id",)),
     a.Cap(VISITS, 2**40), a.Filter(VISITS, AGE), a.Select(VISITS, ("gone",))],
)  # fmt: skip
def test_bad_relations_are_refused(node):
    assert refused(lambda: infer(node, CARDS)).code in ("plan.cap", "plan.types", "plan.column")
