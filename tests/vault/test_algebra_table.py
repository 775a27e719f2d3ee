"""docs/algebra.md is complete and says what the code does."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import get_args

from cloister.plan import algebra as a
from cloister.plan.grid import Grid
from cloister.vault.costs import _nodes
from cloister.vault.scalars_sql import Parameters, lower

PAGE = (Path(__file__).parents[2] / "docs" / "algebra.md").read_text()
TABLE = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE, re.MULTILINE))


def test_every_expression_node_is_in_the_table_and_no_other():
    assert set(TABLE) == {node.__name__ for node in get_args(a.Scalar)}


def test_the_table_gives_meaning_null_rule_range_and_cost_of_each():
    for name, row in TABLE.items():
        assert [bool(cell.strip()) for cell in row.split("|")] == [True] * 4, name


def test_the_costs_in_the_table_are_those_that_are_counted():
    x, t = a.Col("x"), a.Col("t")
    samples: dict[str, tuple[a.Scalar, int]] = {
        "Clip": (a.Clip(x, "0", "1"), 1 + 4),
        "Cut": (a.Cut(x, ("0", "1", "2")), 1 + 3),
        "Round": (a.Round(x, "1", "even"), 1 + 2),
        "Quotient": (a.Quotient(x, x, "0", "1", "1"), 8 + 5 + 10),
        "Curve": (a.Curve("sqrt", x), 1 + 2),
        "Length": (a.Length(t), 8 + 1),
        "Replace": (a.Replace(t, "a", "b" * 4), 8 + 1 + 256 * 4 // 32),
        "Recode": (a.Recode(t, ("a", "b")), 8 + 2 + 2),
        "Parse": (a.Parse(t, "0", "1", "1"), 8 + 2),
        "Modulo": (a.Modulo(x, "2"), 1 + 1),
    }
    for name, (node, operations) in samples.items():
        assert _nodes(node) == operations, name
    for name, cost in (("Clip", "4 x term"),
                       ("Quotient", "5 x left, 10 x right"), ("Length", "8"), ("Curve", "2 x term"),
                       ("Recode", "2 x term"), ("Parse", "2 x term"), ("Round", "2 x term")):  # fmt: skip
        assert cost in TABLE[name].split("|")[3]


def test_terms_are_counted_as_often_as_the_query_repeats_them():
    """The term is a marker, so that the text of the query can be counted."""
    number = {"x": ("marker", Grid("number", -50, 50, Fraction(1), True)),
              "y": ("divisor", Grid("number", -50, 50, Fraction(1), True)),
              "t": ("marker", Grid("text", 0, 256, nullable=True)),
              "d": ("marker", Grid("date", 0, 400, nullable=True))}  # fmt: skip
    x, y, t, d = (a.Col(name) for name in "xytd")
    for node in (
        a.Clip(x, "0", "7"), a.Cut(x, ("0", "1", "2", "7")), a.Modulo(x, "3"), a.Abs(x), a.Round(x, "4", "even"),
        a.Round(x, "3", "ceil"), a.Curve("log1p", x), a.Curve("sqrt", x), a.Curve("exp", a.Clip(x, "-9", "9")),
        a.DatePart("week", d), a.DatePart("weekday", d), a.DateFloor("week", d), a.DateFloor("month", d),
        a.Letters("lower", t), a.Slice(t, 1, 3), a.Replace(t, "a", "bb"), a.Recode(t, ("a",)),
        a.Parse(t, "-5", "5", "1/3"),
        a.Matches("contains", t, "a"), a.Concat((t, t)), a.Quotient(x, y, "-9", "9", "1/7"),
    ):  # fmt: skip
        sql = lower(node, number, Parameters())[0]
        assert sql.count("marker") <= _nodes(node, {"x": 1, "t": 1, "d": 1, "y": 0}), node
        alone = {"x": 1000, "y": 0, "t": 1000, "d": 1000}
        assert sql.count("marker") * 1000 <= _nodes(node, alone), node
        assert sql.count("divisor") * 1000 <= _nodes(node, {"x": 0, "y": 1000, "t": 0, "d": 0}), node
