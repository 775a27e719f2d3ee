"""Analysis: norms, lineage, tiers, operations, cost; from plan and card only."""

from __future__ import annotations

import time

import pytest
from fit_engine_checks import small
from price_checks import CARD, ROWS, analysed, check_analysis, check_lineage
from vault_fuzzing import TABLE

from cloister.contract.card import Card, Column
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.vault.analyse import analyse


def test_norms():
    check_analysis()


def test_tiers_uses_and_operations():
    check_lineage()


def test_totals_that_could_leave_64_bits_are_refused():
    wide = Card(
        "rows", "Rows", "", "person", ("id",), "exact", "people", 1, 10**6, "demonstration",
        (Column("id", "string", 1, ""), Column("w", "int", 1, "", low="0", high=str(2**50), step="1")),
        "s", "r", ("testing",),
    )  # fmt: skip
    with pytest.raises(PlanError) as refused:
        analysed(a.Sum("s", a.Col("w")), card=wide)
    assert refused.value.code == "plan.range"
    analysed(a.Sum("s", a.Clip(a.Col("w"), "0", "1000")), card=wide)


def test_work_is_bounded_from_the_card():
    term: a.Scalar = a.Col("x")
    for _ in range(30):
        term = a.Case(a.Col("b"), term, a.Negate(a.Col("x")))
    huge = Card(**{**{name: getattr(CARD, name) for name in CARD.__struct_fields__}, "row_limit": 10**11})
    with pytest.raises(PlanError) as refused:
        analysed(a.Sum("s", term), source=a.Cap(ROWS, 1), card=huge)
    assert refused.value.code == "plan.cost"
    small = analysed(a.Sum("s", term)).cost
    assert small.operations > 60
    assert small.rows == CARD.row_limit


def test_the_analysis_of_unknown_tables_is_refused():
    with pytest.raises(PlanError) as refused:
        analysed(source=a.Table("fuzz.row"))
    assert refused.value.nearest == (TABLE,)


def _doubling(times: int) -> a.Relation:
    """Columns each of which mentions the one before twice: 2^times mentions if they are written out."""
    relation: a.Relation = a.Derive(ROWS, (("d0", a.IsNull(a.Col("x"))),))
    for index in range(times):
        term = a.Compare("eq", a.Col(f"d{index}"), a.Col(f"d{index}"))
        relation = a.Derive(relation, ((f"d{index + 1}", term),))
    return relation


def test_filters_are_priced_with_their_columns_written_out():
    """The engine moves filters below derivations: sixteen small steps took it half a minute, twenty its memory."""
    assert analysed(a.Count("n"), source=a.Filter(_doubling(4), a.Col("d4"))).cost.operations > 2**4
    with pytest.raises(PlanError) as refused:
        analysed(a.Count("n"), source=a.Filter(_doubling(16), a.Col("d16")))
    assert refused.value.code == "plan.cost"
    analysed(a.Count("n"), source=_doubling(16))


def test_keys_that_can_be_null_are_priced_with_their_columns_written_out():
    """They are filters too. One that cannot is grouped by, and the engine computes it once: 18 steps in 20 ms."""
    source = a.Derive(_doubling(16), (("key", a.Only(a.Col("d16"), a.Col("d0"))),))
    with pytest.raises(PlanError) as refused:
        analysed(a.Count("n"), source=source, keys=("key",))
    assert refused.value.code == "plan.cost"
    found = analysed(a.Count("n"), source=_doubling(16), keys=("d16",))
    assert found.cost.operations < 200
    # It is: written out, this would take the engine minutes.
    engine, known = small()
    assert sum(engine.run(analyse(found.plan, known.cards)).values) > 0


def test_what_is_left_out_where_it_is_null_is_priced_written_out():
    """Keys per unit and terms of a fit: seven such steps took the engine a second on eleven rows, ten minutes."""
    relation: a.Relation = a.Derive(ROWS, (("d0", a.Col("x")),))
    for index in range(16):
        before = a.Col(f"d{index}")
        relation = a.Derive(relation, ((f"d{index + 1}", a.Only(before, a.Compare("eq", before, before))),))
    counted = (a.UnitMeasure("n", "count"),)
    analysed(a.Count("n"), source=relation)
    with pytest.raises(PlanError) as refused:
        analysed(a.Sum("s", a.Col("n")), source=a.PerUnit(relation, counted, ("d16",)))
    assert refused.value.code == "plan.cost"
    fit = a.Fit(relation, (a.Col("d16"),), a.Col("b"), a.Logistic(), "1/100")
    with pytest.raises(PlanError) as refused:
        analyse(fit, {TABLE: CARD})
    assert refused.value.code == "plan.cost"


def _labelled(size: int) -> Card:
    domain = tuple(f"v{index}" for index in range(size))
    return Card(
        "rows", "Rows", "", "person", ("id",), "exact", "people", 4, 10_000, "demonstration",
        (
            Column("id", "string", 1, ""),
            Column("c", "string", 1, "", domain=domain),
            Column("b", "bool", 1, "", nullable=True),
        ),
        "generated", "none", ("testing",),
    )  # fmt: skip


def test_categories_that_are_recoded_one_by_one_are_priced():
    """Twenty columns of 9,000 labels made ten megabytes of SQL, and kept the engine busy for half a minute."""
    columns = tuple((f"k{index}", a.Case(a.Col("b"), a.Text("v5"), a.Col("c"))) for index in range(20))
    with pytest.raises(PlanError) as refused:
        analysed(a.Count("n"), source=a.Derive(ROWS, columns), card=_labelled(9_000))
    assert refused.value.code == "plan.cost"
    analysed(a.Count("n"), source=a.Derive(ROWS, columns), card=_labelled(9))


def test_caps_of_wide_relations_are_priced_by_their_width():
    wide = a.Derive(ROWS, tuple((f"k{index}", a.Negate(a.Col("x"))) for index in range(900)))
    narrow = analysed(a.Count("n"), source=a.Cap(ROWS, 2))
    assert analysed(a.Count("n"), source=a.Cap(wide, 2)).cost.sorts > 5 * narrow.cost.sorts
    with pytest.raises(PlanError) as refused:
        analysed(a.Count("n"), source=a.Cap(wide, 2, ("c",), 2))
    assert refused.value.code == "plan.cost"


def test_categories_of_one_domain_are_joined_at_once():
    """A price is answered by the thread that reads the link: it must not spend seconds on 75 equal domains."""
    term: a.Scalar = a.Col("c")
    for _ in range(75):
        term = a.Case(a.Col("b"), term, a.Col("c"))
    start = time.process_time()
    analysed(*(a.Count(f"n{index}", term) for index in range(10)), card=_labelled(9_900))
    assert time.process_time() - start < 5
