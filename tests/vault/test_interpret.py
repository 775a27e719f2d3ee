"""The reference interpreter: by hand where pandas and SQL differ, and equal to the engine on random scalars."""

from __future__ import annotations

import datetime
import os
from fractions import Fraction

import pytest
from scalar_checks import check_scalars

from cloister.plan import algebra as a
from cloister.vault.interpret_scalars import evaluate

ROUNDS = int(os.environ.get("CLOISTER_FUZZ_SCALARS", "60"))
NULL, FIVE, DAY = a.Col("null"), a.Col("five"), a.Col("day")
VALUES = {"null": None, "five": Fraction(5), "day": datetime.date(2024, 2, 29), "red": "red", "yes": True}


def test_engine_interpreter_and_types_agree_row_by_row():
    assert check_scalars(ROUNDS) > ROUNDS * 100


@pytest.mark.parametrize(
    ("term", "wanted"),
    [
        (a.Compare("lt", NULL, FIVE), False),
        (a.Compare("eq", NULL, NULL), False),
        (a.Compare("ne", NULL, FIVE), True),
        (a.Compare("ne", NULL, NULL), True),
        (a.Not(NULL), True),
        (a.And((NULL, a.Boolean(True))), False),
        (a.Or((NULL, a.Boolean(True))), True),
        (a.And(()), True),
        (a.Or(()), False),
        (a.Arithmetic("add", NULL, FIVE), None),
        (a.Negate(NULL), None),
        (a.Fill(NULL, a.Number("7")), 7),
        (a.Case(NULL, FIVE, a.Number("1")), 1),
        (a.IsIn(NULL, (a.Number("1"),)), False),
        (a.IsIn(FIVE, (a.Number("10/2"),)), True),
        (a.Clip(NULL, "0", "1"), None),
        (a.Clip(FIVE, "0", "1/3"), Fraction(1, 3)),
        (a.Scale(FIVE, "1/3"), Fraction(5, 3)),
        (a.Arithmetic("sub", DAY, a.Date("2024-02-01")), 28),
        (a.Arithmetic("mul", a.Col("yes"), FIVE), 5),
        (a.Cut(FIVE, ("0", "5", "6")), "[5, 6)"),
        (a.Cut(FIVE, ("0", "5")), None),
        (a.Cut(DAY, ("2024-01-01", "2024-03-01")), "[2024-01-01, 2024-03-01)"),
        (a.Compare("eq", a.Col("red"), a.Text("red")), True),
        (a.IsNull(NULL), True),
    ],
)
def test_meaning(term, wanted):
    assert evaluate(term, VALUES) == wanted
