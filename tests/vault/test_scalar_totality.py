"""Every scalar on every extreme value: the engine never fails, stays in the typed range, and always says the same.

A refusal may depend on plan and card only, and a fault is counted as a leak; so no value of any row may make an
expression fail, overflow or leave its range.
"""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction
from typing import get_args

import duckdb
import msgspec
import pyarrow as pa
import pytest
from fuzz_scalars import TEXTS, nodes_of
from scalar_checks import CurveFuzz, check_scalars

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.curves import curve_index
from cloister.plan.grid import BOOL, LIMIT, Grid
from cloister.plan.rules import children, combine
from cloister.vault.interpret_scalars import evaluate, index_of, natural
from cloister.vault.scalars_sql import Parameters, lower

WIDE = Grid("number", -LIMIT, LIMIT, Fraction(1), True)
SCOPE = {
    "n": ("n", Grid("number", -(2**40), 2**40, Fraction(1, 2), True)),
    "wide": ("wide", WIDE),
    "small": ("small", Grid("number", -9, 9, Fraction(1, 4), True)),
    "whole": ("whole", Grid("number", -9, 9)),
    "d": ("d", Grid("date", -719162, 2932896, nullable=True)),
    "near": ("near", Grid("date", -3, 3, nullable=True)),
    "b": ("b", Grid("bool", 0, 1, nullable=True)),
    "c": ("c", Grid("category", 0, 3, nullable=True, domain=("Red ", "", "-7.25", "😀" * 256))),
    "e": ("e", Grid("category", 0, 1, domain=("7", "x"))),
    "t": ("t", Grid("text", 0, 256, nullable=True)),
}
TYPES = {"b": "BOOLEAN", "t": "VARCHAR"}
N, SMALL, D, NEAR, B, C, T = (a.Col(name) for name in ("n", "small", "d", "near", "b", "c", "t"))
W, WHOLE, E = a.Col("wide"), a.Col("whole"), a.Col("e")

EVERY: tuple[a.Scalar, ...] = (
    N, a.Number("1/3"), a.Text("red"), a.Boolean(True), a.Date("2024-02-29"),
    *(a.Arithmetic(kind, N, SMALL) for kind in ("add", "sub", "mul")), a.Arithmetic("add", NEAR, B),
    a.Arithmetic("sub", D, NEAR), a.Arithmetic("sub", NEAR, a.Round(SMALL, "1", "even")),
    a.Scale(W, "-1"), a.Negate(W), a.Abs(W), a.Compare("lt", N, SMALL), a.Compare("eq", T, C), a.Compare("ne", T, T),
    a.And((B, B)), a.Or((B, B)), a.Not(B), a.IsNull(T), a.Fill(W, a.Number("0")), a.Case(B, N, SMALL),
    a.Case(B, T, C), a.IsIn(W, (a.Number("0"),)), a.IsIn(T, (a.Text("'"), a.Text("\0"))), a.Clip(N, "-1/3", "1/3"),
    a.Cut(N, ("-1", "0", "1/3")), a.Only(T, B), a.Only(W, B),
    *(a.Modulo(W, divisor) for divisor in ("1", "7", "1000000007", str(2**61 - 1))),
    *(a.Round(N, step, kind) for step in ("1", "3", "0.5", "1/3", "1000000") for kind in ("floor", "ceil", "even")),
    *(a.Round(a.Clip(W, str(-(2**60)), str(2**60)), step, kind)
      for step in ("1", "4", "12345") for kind in ("floor", "ceil", "even")),
    *(a.Quotient(left, right, "-1000", "1000", step)
      for left, right in itertools.product((N, SMALL, B), (SMALL, N, a.Abs(SMALL), a.Negate(a.Abs(N))))
      for step in ("1", "1/4")),
    a.Quotient(W, W, str(-(2**40)), str(2**40), "1"),
    *(a.Curve(kind, term) for kind in ("log1p", "sqrt", "exp") for term in (SMALL, a.Clip(N, "-9", "16"), B)),
    a.Curve("sqrt", N), a.Curve("log1p", N),
    *(a.DatePart(part, term) for part in ("year", "quarter", "month", "week", "day", "weekday", "dayofyear")
      for term in (D, NEAR)),
    *(a.DateFloor(unit, term) for unit in ("week", "month", "quarter", "year") for term in (D, NEAR)),
    a.Quotient(WHOLE, WHOLE, "-9", "9", "1/3"), a.Modulo(WHOLE, "4"), a.Round(WHOLE, "4", "even"),
    *(a.Curve(kind, WHOLE) for kind in ("log1p", "sqrt", "exp")), a.Arithmetic("sub", WHOLE, N), a.Only(WHOLE, B),
    a.DateShift(NEAR, 2932893), a.DateShift(NEAR, -719159),
    *(a.Letters(kind, term) for kind in ("lower", "upper", "strip") for term in (T, C)),
    *(a.Length(term) for term in (T, C)),
    *(a.Matches(kind, term, text) for kind in ("starts_with", "ends_with", "contains") for term in (T, C)
      for text in ("", "r", "\0", "😀" * 256)),
    *(a.Slice(term, *ends) for term in (T, C) for ends in ((0, 0), (0, 256), (255, 400), (2**40, 2**50))),
    *(a.Replace(term, old, new) for term in (T, C) for old, new in (("x", "😀" * 256), ("😀", ""), ("😀", "ab"))),
    a.Replace(a.Slice(T, 0, 3), "x", "yy"), a.Concat((T, T, C)),
    a.Concat((C, a.Text("/"), C)), a.Recode(T, ("", "\0", "x" * 256)), a.Recode(C, ("-7.25",)),
    a.Parse(E, "0", "9", "1"), a.Length(E), a.Matches("contains", E, "x"),
    *(a.Parse(term, *limits) for term in (T, C)
      for limits in (("-999999999999", "999999999999", "1/1000000"), ("0", "0", "1"),
                     ("-7", "7", "1/3"), ("-13", "13", "1/3"))),
)  # fmt: skip
LETTERS = [*TEXTS, "x" * 256, "😀" * 256, "e\u0301" * 128, "\0" * 256, "+" * 256, "9" * 256, "0.0000001", "-0"]


def values(name: str) -> list:
    """The extreme values of a column, in storage form."""
    grid = SCOPE[name][1]
    if grid.kind == "text":
        return [None, *(text[:256] for text in LETTERS)]
    if grid.kind == "bool":
        return [None, False, True]
    around = {grid.lo, grid.lo + 1, -2, -1, 0, 1, 2, 3, grid.hi - 1, grid.hi, 18322, 11016}
    inside = sorted(value for value in around if grid.lo <= value <= grid.hi)
    return [None, *inside] if grid.nullable else inside


def rows(names: list[str]) -> list[tuple]:
    """Every combination of extreme values, or a thousand of them."""
    choices = [values(name) for name in names]
    if math.prod(map(len, choices)) <= 1000:
        return list(itertools.product(*choices))
    rng = random.Random(5)
    return [tuple(map(rng.choice, choices)) for _ in range(1000)]


def columns_of(node: a.Scalar) -> list[str]:
    if isinstance(node, a.Col):
        return [node.name]
    return list(dict.fromkeys(name for child in children(node) for name in columns_of(child)))


def typed(node: a.Scalar) -> Grid:
    if isinstance(node, a.Col):
        return SCOPE[node.name][1]
    return combine(node, tuple(typed(child) for child in children(node)))


def computed(node: a.Scalar, names: list[str], content: list[tuple], threads: int = 1) -> list:
    """What the engine makes of these rows, in their order."""
    bind = Parameters()
    sql, _ = lower(node, SCOPE, bind)
    kinds = {"BOOLEAN": pa.bool_(), "VARCHAR": pa.string()}
    columns = {name: pa.array([row[place] for row in content], kinds.get(TYPES.get(name, ""), pa.int64()))
               for place, name in enumerate(names)}  # fmt: skip
    with duckdb.connect(config={"threads": threads}) as engine:
        engine.register("given", pa.table({"position": pa.array(range(len(content))), **columns}))
        query = f"SELECT {sql} FROM given ORDER BY position"
        return [found for (found,) in engine.execute(query, bind.used(sql)).fetchall()]


def test_every_scalar_of_the_algebra_is_here():
    assert set().union(*map(nodes_of, EVERY)) == set(get_args(a.Scalar))


@pytest.mark.parametrize("node", EVERY, ids=[f"{type(node).__name__}-{index}" for index, node in enumerate(EVERY)])
def test_no_value_makes_a_scalar_fail_or_leave_its_range(node):
    grid, names = typed(node), columns_of(node)
    content = rows(names)
    found = computed(node, names, content)
    curve = any(issubclass(kind, a.Curve) for kind in nodes_of(node))
    for row, code in zip(content, found, strict=True):
        if code is None:
            assert grid.nullable
        else:
            assert grid.lo <= (len(code) if isinstance(code, str) else int(code)) <= grid.hi
        given = {name: natural(value, SCOPE[name][1]) for name, value in zip(names, row, strict=True)}
        wanted = index_of(evaluate(node, given), grid)
        if curve and code is not None and wanted is not None:
            assert abs(int(code) - wanted) <= 1
        else:
            assert (code if code is None or isinstance(code, str) else int(code)) == wanted, row


def test_threads_and_the_order_of_rows_change_nothing():
    """More rows than one block of the engine holds, in another order and on more threads."""
    rng = random.Random(11)
    for node in EVERY:
        names = columns_of(node)
        if not names:
            continue
        content = rows(names)
        content = (content * (4500 // len(content) + 1))[:4500]
        order = rng.sample(range(4500), 4500)
        shuffled = computed(node, names, [content[index] for index in order], threads=4)
        assert [found for _, found in sorted(zip(order, shuffled, strict=True), key=lambda pair: pair[0])] == computed(
            node, names, content
        ), node


def test_the_fuzz_draws_every_scalar():
    drawn: set[type] = set()
    check_scalars(60, drawn=drawn)
    assert drawn == set(get_args(a.Scalar)) - {a.Curve}


def test_curves_differ_by_one_step_of_their_grid_at_most():
    drawn: set[type] = set()
    check_scalars(25, drawn=drawn, planner=CurveFuzz)
    assert a.Curve in drawn


def test_a_curve_is_rounded_down_on_its_grid():
    for kind, function in (("log1p", math.log1p), ("sqrt", math.sqrt), ("exp", math.exp)):
        for x in (Fraction(0), Fraction(1, 3), Fraction(5), Fraction(-1, 2), Fraction(-2), Fraction(16)):
            index = curve_index(kind, x)
            if index is None:
                assert x < 0 and kind != "exp"
            else:
                assert index <= function(x) * 2**20 + 1e-3
                assert index + 1 >= function(x) * 2**20 - 1e-3
    assert curve_index("exp", Fraction(0)) == 2**20
    assert curve_index("sqrt", Fraction(49)) == 7 * 2**20
    assert curve_index("log1p", Fraction(0)) == 0


@pytest.mark.parametrize("kind", ["year", "quarter", "month", "week", "day", "weekday", "dayofyear"])
def test_the_range_of_a_part_of_a_date_is_exact(kind):
    """No smaller range would do, and none is needed: compared with every day of random periods."""
    from cloister.plan.rules_dates import date_of, part_of

    rng = random.Random(3)
    for _ in range(150):
        first = rng.randint(-3000, 22000)
        last = first + rng.choice([0, 1, 5, 8, 28, 31, 100, 366, 800, 4000])
        grid = combine(a.DatePart(kind, D), (Grid("date", first, last),))
        parts = [part_of(kind, date_of(day)) for day in range(first, last + 1)]
        assert (grid.lo, grid.hi) == (min(parts), max(parts)), (first, last)


REFUSED = [
    (a.Round(N, "0", "floor"), "plan.step"),
    (a.Modulo(N, "-1"), "plan.step"),
    (a.Quotient(N, N, "0", "1", "2"), "plan.step"),
    (a.Quotient(N, N, "1", "0", "1"), "plan.clip"),
    (a.Quotient(W, SMALL, "0", "1", "1/8"), "plan.range"),
    (a.Modulo(W, str(2**62)), "plan.range"),
    (a.Round(W, "2", "floor"), "plan.range"),
    (a.Curve("exp", N), "plan.range"),
    (a.Curve("sqrt", a.Arithmetic("mul", N, a.Number(str(2**22)))), "plan.range"),
    (a.Curve("log1p", a.Scale(W, "1/3")), "plan.range"),
    (a.Curve("sqrt", T), "plan.types"),
    (a.DateShift(D, 1), "plan.range"),
    (a.Arithmetic("add", D, SMALL), "plan.types"),
    (a.Arithmetic("sub", SMALL, D), "plan.types"),
    (a.Arithmetic("add", D, a.Round(N, "1", "floor")), "plan.range"),
    (a.DatePart("year", N), "plan.types"),
    (a.Only(N, N), "plan.types"),
    (a.Letters("lower", N), "plan.types"),
    (a.Replace(T, "", "x"), "plan.text"),
    (a.Replace(T, "x", "y" * 257), "plan.text"),
    (a.Slice(T, 3, 2), "plan.text"),
    (a.Concat(()), "plan.text"),
    (a.Concat((C, C, C, C, C)), "plan.labels"),
    (a.Recode(T, ("a", "a")), "plan.labels"),
    (a.Recode(T, ("(other)",)), "plan.labels"),
    (a.Recode(T, ()), "plan.labels"),
    (a.Parse(T, "0", "1/2", "1"), "plan.step"),
    (a.Parse(T, "0", "999999999999", f"1/{10**13}"), "plan.range"),
    (a.Compare("lt", T, C), "plan.types"),
    (a.Compare("eq", T, N), "plan.types"),
    (a.Case(B, T, N), "plan.types"),
]


@pytest.mark.parametrize(("node", "code"), REFUSED)
def test_what_is_refused_is_refused_by_type(node, code):
    assert refusal(node) == code


def refusal(node: a.Scalar) -> str | None:
    """The code of the refusal, if the expression is refused."""
    try:
        typed(node)
    except PlanError as error:
        return error.code
    return None


def test_a_condition_has_no_range_of_its_own():
    assert msgspec.structs.replace(typed(a.Matches("contains", T, "x")), uses=frozenset()) == BOOL
