"""Checks of analysis and price, used by their tests and against mutants."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import product

from vault_fuzzing import TABLE, Planner, make_card

from cloister.contract.card import Card, Column
from cloister.plan import algebra as a
from cloister.vault import analyse as analysis_module
from cloister.vault import price as price_module

CARD = Card(
    "rows", "Rows", "", "person", ("id",), "exact", "people", 4, 10_000, "demonstration",
    (
        Column("id", "string", 5, ""),
        Column("x", "int", 2, "", low="-7", high="3", step="1"),
        Column("y", "decimal", 4, "", low="0", high="10", step="0.5", nullable=True),
        Column("c", "string", 1, "", domain=("red", "blue")),
        Column("b", "bool", 3, ""),
    ),
    "generated", "none", ("testing",),
)  # fmt: skip
ROWS = a.Table(TABLE)


def analysed(*measures, source=ROWS, keys=(), card=CARD):
    plan = a.VectorSum(source, measures or (a.Count("n"),), "1/10", tuple(keys))
    return analysis_module.analyse(plan, {TABLE: card})


def worst_l2(rows: int, per_cell: int, reach: int, cells: int) -> int:
    """The largest squared L2 norm by enumeration: every way to spread at most ``rows`` rows over cells."""
    spreads = product(range(min(rows, per_cell) + 1), repeat=min(rows, cells))
    return max(sum((n * reach) ** 2 for n in spread) for spread in spreads if sum(spread) <= rows)


def check_analysis() -> None:
    x, y = a.Col("x"), a.Col("y")
    count, total = analysed(a.Count("n"), a.Sum("s", x)).bounds
    assert (count.l1, count.linf, count.l2_squared) == (4, 4, 16)
    assert (total.l1, total.linf, total.l2_squared) == (28, 28, 28**2)
    centred, _ = analysed(a.Mean("m", x)).bounds
    assert centred.l1 == 40
    (gram,) = analysed(a.Gram("g", (x, y))).bounds
    assert (gram.l1, gram.l2_squared) == (4 * 6 * 2**24, 6 * (4 * 2**24) ** 2)
    for rows, by, groups, keys, wanted in [
        (1, ("c",), None, ("c",), (4, 1)),
        (1, ("c",), 2, ("c",), (2, 1)),
        (2, ("c",), 1, ("c",), (2, 2)),
        (3, ("c",), None, ("c",), (4, 3)),
        (3, (), None, ("c",), (3, 3)),
        (1, ("c",), None, ("b",), (4, 4)),
        (1, ("c",), None, ("c", "b"), (4, 1)),
        (1, ("c", "b"), None, ("c",), (4, 4)),
        (1, ("b",), None, ("b",), (3, 1)),
    ]:
        capped = analysed(source=a.Cap(ROWS, rows, by, groups), keys=keys)
        found = (capped.typed.schema.rows, capped.rows_per_cell)
        assert found == wanted, f"cap {rows} by {by}, {groups} groups, keys {keys}: {found}"
        assert capped.bounds[0].l2_squared == worst_l2(*found, 1, capped.layout.cells)
    capped = a.Cap(ROWS, 1, ("c",))
    changed = a.Derive(capped, (("c", a.Case(a.Col("b"), a.Text("red"), a.Text("blue"))),))
    assert analysed(source=changed, keys=("c",)).rows_per_cell == 4
    renamed = a.Derive(capped, (("k", a.Col("c")),))
    assert analysed(source=renamed, keys=("k",)).rows_per_cell == 1
    assert analysed(source=a.Cap(a.Cap(ROWS, 3), 2, ("c",), 1)).typed.schema.rows == 2


def check_lineage() -> None:
    x, c = a.Col("x"), a.Col("c")
    plain = analysed(a.Count("n"))
    assert (plain.tier, plain.uses, plain.operations) == (1, frozenset(), {"aggregate"})
    hot = a.Compare("gt", a.Col("y"), a.Number("1"))
    assert analysed(source=a.Filter(ROWS, hot)).tier == 4
    assert analysed(source=a.Derive(ROWS, (("k", hot),)), keys=("k",)).tier == 4
    assert analysed(source=a.Derive(ROWS, (("k", hot),))).tier == 1
    assert analysed(source=a.Cap(ROWS, 1, ("y",))).tier == 4
    assert analysed(source=a.Derive(a.Filter(ROWS, hot), (("y", x),))).tier == 4
    assert (
        analysed(a.Sum("s", a.Case(a.Compare("eq", c, a.Text("red")), x, a.Fill(a.Col("y"), a.Number("0"))))).tier == 4
    )
    assert analysed(a.Gram("g", (x,)), a.Count("n")).operations == {"model", "aggregate"}
    found = analysed(a.Sum("s", x), keys=("b",))
    assert (found.tier, found.typed.schema.unit.name, list(found.claims), found.tables) == (
        3,
        "person",
        ["people"],
        (TABLE,),
    )
    assert found.uses == {(TABLE, "x"), (TABLE, "b")}


def check_price(rounds: int = 150) -> None:
    rng = random.Random(3)
    planner = Planner(make_card(rng), rng)
    for _ in range(rounds):
        _, analysis = planner.plan()
        rho = Fraction(rng.randint(1, 10**6), rng.choice([10**4, 10**7, 10**9, 3**13]))
        priced = price_module.price(analysis, rho)
        assert priced.rho <= priced.rho_asked == rho
        assert priced.rho > rho * (1 - Fraction(1, 10**12))
        assert priced.rho == sum(part.rho for part in priced.components)
        assert priced.rho.denominator <= price_module.CHARGE_GRID
        for part, bound in zip(priced.components, analysis.bounds, strict=True):
            exact = Fraction(bound.l2_squared) / (2 * Fraction(part.sigma) ** 2)
            assert exact <= part.rho, "less is charged than the noise costs"
            assert part.rho - exact < Fraction(1, 2**95)
            below = math.nextafter(part.sigma, 0.0)
            assert Fraction(bound.l2_squared) / (2 * Fraction(below) ** 2) > exact
        assert priced == price_module.price(analysis, rho)
        assert priced.deadline_ms in price_module.LADDER_MS


def check_deadline() -> None:
    cost = analysis_module.Cost
    ladder = [price_module.deadline_ms(cost(rows, 5 * rows, 0, 10)) for rows in (1, 10**6, 10**7, 10**8, 10**9)]
    assert ladder == sorted(ladder)
    assert ladder[0] == price_module.LADDER_MS[0] < ladder[-1]
    plain = price_module.deadline_ms(cost(10**7, 5 * 10**7, 0, 10))
    assert price_module.deadline_ms(cost(10**7, 5 * 10**7, 10**7, 10)) > plain
    assert price_module.deadline_ms(cost(10**7, 5 * 10**7, 0, 10, 60 * 10**7)) > plain
    gram = analysed(a.Gram("g", (a.Col("x"), a.Col("y")))).cost
    assert gram.products == 6 * gram.rows
    assert price_module.deadline_ms(cost(10, 50, 0, 400_000)) > 2 * 0.03 * 400_000
    assert price_module.deadline_ms(cost(10, 50, 0, 1, tables=20)) > 2 * 2.5 * 20
