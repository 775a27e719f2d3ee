"""Attacks on unit lineage (fan-out, self-joins, nulls of a left align, caps after windows, lookups, ties), by hand.

``CLOISTER_LINEAGE_SEEDS`` sets the number of pairs of neighbours (4 by default; 400 nightly).
"""

from __future__ import annotations

import os

import pyarrow as pa
import pytest
from lineage_checks import (
    BANK,
    CARDS,
    CLAIMS,
    CLINIC,
    LEFT,
    PAIRS,
    SHAPES,
    TYPES,
    VISITS,
    check_shapes,
)

from cloister.contract.card import Card, Column
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.vault.analyse import analyse
from cloister.vault.compile import compile_plan
from cloister.vault.engine import Engine, assemble
from cloister.vault.load import Store

SEEDS = int(os.environ.get("CLOISTER_LINEAGE_SEEDS", "4"))


def ask(source: a.Relation, *measures: a.Measure, keys: tuple[str, ...] = ()) -> a.VectorSum:
    return a.VectorSum(source, measures or (a.Count("n"),), "1/10", keys)


def engine(**tables: list[tuple[object, ...]]) -> Engine:
    found = Engine(1)
    for name, rows in (("clinic.visits", tables.get("visits", [])), ("bank.claims", tables.get("claims", []))):
        made = pa.Table.from_pylist([dict(zip(TYPES.names, row, strict=True)) for row in rows], schema=TYPES)
        found.load(name, CARDS[name], made, b"k")
    return found


@pytest.mark.timeout(3600)
def test_no_shape_moves_further_than_is_claimed_for_any_account(record_property):
    record_property("lineage trials", check_shapes(range(SEEDS)))
    record_property("shapes", len(SHAPES))


def test_a_cap_keeps_rows_of_every_person():
    """Which rows of one person are kept never depends on another's."""
    whole = engine(visits=[("ada", 1, "red", True), ("ada", 2, "red", True), ("ben", 1, "red", True)])
    for by in ((), ("c",)):
        assert whole.run(analyse(ask(a.Cap(VISITS, 1, by)), CARDS)).values == (2,)


def test_fan_out_is_in_the_norms():
    """Three visits and two claims of one person are six rows, and all six go with either account."""
    person = ("ada", 1, "red", True)
    whole = engine(visits=[person] * 3, claims=[person] * 2)
    analysis = analyse(ask(PAIRS), CARDS)
    assert whole.run(analysis).values == (6,)
    assert {account: claim.bounds[0].l1 for account, claim in analysis.claims.items()} == {"bank": 6, "clinic": 6}


def test_a_left_align_replaces_rows_of_the_right_account():
    """Without the claims the visits stay, with nulls: what was one row is another."""
    claims = analyse(ask(LEFT, a.Mean("m", a.Col("rx")), keys=("rb",)), CARDS).claims
    assert (claims["clinic"].influence.mode, claims["bank"].influence.mode) == ("add", "replace")
    lost = a.Filter(LEFT, a.IsNull(a.Col("rx")))
    visit, claim = ("ada", 1, "red", True), ("ada", 7, "red", True)
    analysis = analyse(ask(lost), CARDS)
    with_claim = engine(visits=[visit] * 3, claims=[claim] * 2).run(analysis).values[0]
    assert (with_claim, engine(visits=[visit] * 3).run(analysis).values[0]) == (0, 3)
    assert analysis.claims["bank"].bounds[0].l1 >= 3


def test_a_cap_of_rows_chosen_among_two_accounts_replaces():
    capped = a.Cap(a.Stack((VISITS, CLAIMS)), 1)
    for claim in analyse(ask(capped), CARDS).claims.values():
        assert (claim.influence.rows, claim.influence.mode, claim.influence.essential) == (1, "replace", False)


def test_a_stack_keeps_the_mode_of_its_parts():
    filled = a.Derive(LEFT, (("x", a.Fill(a.Col("rx"), a.Number("7"))),))
    stacked = a.Stack((VISITS, a.Select(filled, ("id", "x", "c", "b"))))
    claims = analyse(ask(stacked, a.Mean("m", a.Col("x"))), CARDS).claims
    assert (claims["clinic"].influence.mode, claims["bank"].influence.mode) == ("add", "replace")


def test_a_cap_of_one_side_is_multiplied_by_the_other():
    """One visit per colour beside two claims is two rows of that colour, and so the other way around."""
    person, other = ("ada", 1, "red", True), ("ada", 2, "red", False)
    world = engine(visits=[person, other, person], claims=[person, other])
    for capped, key in (
        (a.Align(a.Cap(VISITS, 1, ("c",)), CLAIMS, "inner", (("x", "rx"),)), "c"),
        (a.Align(VISITS, a.Cap(CLAIMS, 1, ("c",)), "inner", (("c", "rc"),)), "rc"),
    ):
        analysis = analyse(ask(capped, keys=(key,)), CARDS)
        rows = max(world.run(analysis).values)
        assert rows == (2 if key == "c" else 3)
        assert all(claim.bounds[0].linf == rows for claim in analysis.claims.values())


@pytest.mark.parametrize(
    "keys",
    [
        (a.Text("red"), a.Text("red")),
        (a.Number("1"), a.Number("2/2")),
        (a.Number("1"), a.Boolean(True)),
        (a.Boolean(False), a.Number("0")),
    ],
)
def test_a_lookup_finds_each_key_once(keys):
    """A key in two spellings would find two rows, and double every count without a word in the norms."""
    rows = a.PublicRows(tuple((key, a.Number(str(place))) for place, key in enumerate(keys)))
    name = "c" if isinstance(keys[0], a.Text) else "x"
    with pytest.raises(PlanError) as refused:
        analyse(ask(a.Lookup(VISITS, (name,), rows, ("v",))), CARDS)
    assert refused.value.code == "plan.lookup"


def test_a_reference_table_finds_each_key_once_whatever_its_provider_wrote():
    """Keys that are different as written and equal as stored (clipped, out of domain) are one."""
    card = Card(
        "bank.rates", "Rates", "", "none", ("k",), "exact", "none", 1, 50, "demonstration",
        (
            Column("k", "int", 1, "", low="-2", high="7", step="1"),
            Column("rate", "int", 1, "", low="0", high="9", step="1"),
        ),
        "generated", "none", ("testing",),
    )  # fmt: skip
    cards = {**CARDS, card.name: card}
    store = Store(1)
    visits = pa.Table.from_pylist([{"id": "ada", "x": 7, "c": "red", "b": True}] * 3, schema=TYPES)
    store.add(CLINIC, CARDS[CLINIC], [visits], b"k")
    store.add(card.name, card, [pa.table({"k": [7, 8, 90, 7, None], "rate": [1, 2, 3, 4, 5]})], b"k")
    source = a.Lookup(VISITS, ("x",), a.Reference(card.name, ("k",), ("rate",)), ("rate",))
    analysis = analyse(ask(source), cards)
    query = compile_plan(analysis, store.tables)
    found = store.cursor().execute(query.sql, query.parameters).fetchall()
    assert assemble(analysis.layout, query, found) == (3,)


def test_a_cap_does_not_follow_a_name_across_an_align():
    """The right column of a self-align has the left one's name and history, and is another column."""
    capped = a.Cap(VISITS, 1, ("c",))
    twice = a.Align(VISITS, capped, "inner", (("c", "rc"),))
    assert analyse(ask(twice, keys=("c",)), CARDS).claims["clinic"].bounds[0].linf == 9
    assert analyse(ask(twice, keys=("rc",)), CARDS).claims["clinic"].bounds[0].linf == 3


def test_rows_that_tie_in_all_columns_are_told_apart_by_their_flags():
    """Of two rows that look alike one was clipped in storage: which is kept must not depend on other units."""
    source = a.Cap(a.Select(a.PerUnit(VISITS, (a.UnitMeasure("n", "count"),), ("c",)), ("n",)), 1)
    sql = compile_plan(analyse(ask(source), CARDS), {CLINIC: "t0", BANK: "t1"}).sql
    order = sql[sql.index("QUALIFY row_number()") :]
    assert order.count("ASC NULLS LAST") == 3, "the key per unit, the one column that is left, and the flags"


def test_tables_without_a_unit_start_no_relation():
    cards = {**CARDS, BANK: CARDS[BANK].__class__(**{**_fields(CARDS[BANK]), "unit": "none"})}
    for source in (CLAIMS, PAIRS, LEFT, a.Stack((VISITS, CLAIMS))):
        with pytest.raises(PlanError) as refused:
            analyse(ask(source), cards)
        assert refused.value.code in ("plan.unit", "plan.stack")


def test_units_of_another_kind_or_spelling_are_never_paired():
    for change in ({"unit": "customer"}, {"normaliser": "ascii-lower-strip"}):
        cards = {**CARDS, BANK: CARDS[BANK].__class__(**{**_fields(CARDS[BANK]), **change})}
        for source in (PAIRS, LEFT, a.Stack((VISITS, CLAIMS))):
            with pytest.raises(PlanError) as refused:
                analyse(ask(source), cards)
            assert refused.value.code == "plan.unit"


def _fields(card: Card) -> dict[str, object]:
    return {name: getattr(card, name) for name in card.__struct_fields__}
