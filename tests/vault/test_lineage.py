"""Unit lineage: the influence of every account on every kind of relation, and worst cases that show it is needed."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest

from cloister.contract.card import Card, Column
from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.typing import typed
from cloister.vault.analyse import analyse
from cloister.vault.engine import Engine
from cloister.vault.lineage import Influence, influences


def card(name: str, population: str, rows: int, **changes: object) -> Card:
    columns = (
        Column("id", "string", 3, "key"),
        Column("x", "int", 1, "", low="-2", high="3", step="1"),
        Column("c", "string", 1, "", domain=("red", "blue")),
    )
    made = Card(
        name,
        name,
        "",
        "person",
        ("id",),
        "exact",
        population,
        rows,
        1000,
        "demonstration",
        columns,
        "s",
        "r",
        ("testing",),
    )
    return msgspec.structs.replace(made, **changes)


WEIGHT = Column("z", "int", 3, "", low="0", high="9", step="1")
CARDS = {"a": card("a", "A", 2), "b": card("b", "B", 3), "a2": card("a2", "A", 5)}
A, B, A2 = a.Table("a"), a.Table("b"), a.Table("a2")
INNER, LEFT = a.Align(A, B, "inner", (("x", "bx"),)), a.Align(A, B, "left", (("x", "bx"),))
STACK = a.Stack((A, B))
COUNT = (a.UnitMeasure("n", "count"),)


def add(rows: int, *, essential: bool = True) -> Influence:
    return Influence(rows, "add", essential)


def replace(rows: int) -> Influence:
    return Influence(rows, "replace", essential=False)


@pytest.mark.parametrize(
    ("relation", "wanted"),
    [
        (A, {"A": add(2)}),
        (a.Cap(A, 1), {"A": add(1)}),
        (a.PerUnit(A, COUNT), {"A": add(1)}),
        (a.PerUnit(A2, COUNT, ("c",)), {"A": add(3)}),
        (a.Window(A, (), (a.RowNumber("k"),)), {"A": add(2)}),
        (a.Split(A, 2, (0,)), {"A": add(2)}),
        (INNER, {"A": add(6), "B": add(6)}),
        (LEFT, {"A": add(6), "B": replace(6)}),
        (a.Cap(LEFT, 1), {"A": add(1), "B": replace(1)}),
        (a.Cap(INNER, 1), {"A": add(1), "B": add(1)}),
        (a.Filter(LEFT, a.IsNull(a.Col("bx"))), {"A": add(6), "B": replace(6)}),
        (STACK, {"A": add(2, essential=False), "B": add(3, essential=False)}),
        (a.Cap(STACK, 1), {"A": replace(1), "B": replace(1)}),
        (a.PerUnit(STACK, COUNT), {"A": replace(1), "B": replace(1)}),
        (a.Window(STACK, (), (a.RowNumber("k"),)), {"A": replace(5), "B": replace(5)}),
        (a.Stack((A, A2)), {"A": add(7)}),
        (a.Stack((A, A)), {"A": add(4)}),
        (a.Cap(a.Stack((A, A2)), 3), {"A": add(3)}),
        (a.Align(A, A2, "left", (("x", "x2"),)), {"A": add(10)}),
        (a.Align(STACK, B, "left", (("x", "x2"),)), {"A": add(6, essential=False), "B": replace(15)}),
        (a.Align(STACK, B, "inner", (("x", "x2"),)), {"A": add(6, essential=False), "B": add(15)}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_influences(relation: a.Relation, wanted: dict[str, Influence]) -> None:
    assert influences(typed(relation, CARDS), {"a": "A", "b": "B", "a2": "A"}) == wanted


def rows(**values: list) -> pa.Table:
    size = len(values["id"])
    columns = {"x": [0] * size, "c": ["red"] * size, **values}
    return pa.table({"id": columns["id"], "x": pa.array(columns["x"], pa.int64()), "c": columns["c"]})


def distance(plan: a.VectorSum, account: str, whole: dict[str, pa.Table], other: dict[str, pa.Table]) -> tuple:
    """Return L1 distance, Linf and squared L2 between two worlds, and what the account's claim says."""
    found = analyse(plan, CARDS)
    exact = []
    for world in (whole, other):
        engine = Engine()
        for name, table in world.items():
            engine.load(name, CARDS[name], table, b"k", b"contract")
        exact.append(engine.run(found).values)
        engine.close()
    change = [abs(x - y) for x, y in zip(*exact, strict=True)]
    (claim,) = found.claims[account].bounds
    return (sum(change), max(change), sum(x * x for x in change)), (claim.l1, claim.linf, claim.l2_squared)


NOBODY = rows(id=[])


def test_a_left_align_replaces_rows_and_reaches_its_claim() -> None:
    """Without its claims a person's row stands in another cell: two cells change, not one."""
    counted = a.VectorSum(
        a.Derive(a.Align(A, B, "left", (("c", "bc"),)), (("k", a.Fill(a.Col("bc"), a.Text("none"))),)),
        (a.Count("n"),), "1", ("k",),
    )  # fmt: skip
    person = rows(id=["p"])
    moved, claimed = distance(counted, "B", {"a": person, "b": rows(id=["p"])}, {"a": person, "b": NOBODY})
    assert moved == (2, 1, 2)
    assert all(m <= c for m, c in zip(moved, claimed, strict=True))
    assert claimed == (12, 6, 72)


def test_a_cap_over_a_stack_replaces_rows() -> None:
    """The row that is kept may be of either table: when one vanishes, the other comes forward."""
    relation = a.Cap(a.Stack((A, B), "side", ("a", "b")), 1)
    counted = a.VectorSum(relation, (a.Count("n"),), "1", ("side",))
    moved, claimed = distance(
        counted, "A", {"a": rows(id=["p"]), "b": rows(id=["p"])}, {"a": NOBODY, "b": rows(id=["p"])}
    )
    assert moved == (2, 1, 2) == claimed


def test_a_number_per_unit_over_a_stack_moves_from_end_to_end() -> None:
    sums = a.VectorSum(a.PerUnit(STACK, (a.UnitMeasure("s", "min", a.Col("x")),)), (a.Sum("t", a.Col("s")),), "1")
    whole = {"a": rows(id=["p"], x=[-2]), "b": rows(id=["p"], x=[3])}
    moved, claimed = distance(sums, "A", whole, {**whole, "a": NOBODY})
    assert moved[1] == 5 == claimed[1]
    assert moved[0] <= claimed[0] and moved[2] <= claimed[2]


def test_fan_out_is_counted() -> None:
    counted = a.VectorSum(a.Align(A, B, "inner", ()), (a.Count("n"),), "1")
    whole = {"a": rows(id=["p"] * 9), "b": rows(id=["p"] * 9)}
    moved, claimed = distance(counted, "A", whole, {**whole, "a": NOBODY})
    assert moved == (6, 6, 36) == claimed


def test_a_cap_of_one_side_does_not_hold_for_the_pairs() -> None:
    """One left row per colour, three partners: three pairs in one cell."""
    capped = a.Align(a.Cap(A, 1, ("c",)), B, "inner", ())
    counted = a.VectorSum(capped, (a.Count("n"),), "1", ("c",))
    whole = {"a": rows(id=["p"], c=["red"]), "b": rows(id=["p"] * 3)}
    moved, claimed = distance(counted, "A", whole, {**whole, "a": NOBODY})
    assert moved == (3, 3, 9)
    assert all(m <= c for m, c in zip(moved, claimed, strict=True))


def test_a_self_align_has_other_rows_under_its_right_names() -> None:
    """A cap by a left column says nothing about the same column of the right rows beside it."""
    relation = a.Align(a.Cap(A, 1, ("c",)), A, "inner", (("c", "c2"),))
    counted = analyse(a.VectorSum(relation, (a.Count("n"),), "1", ("c2",)), CARDS)
    assert counted.rows_per_cell == counted.typed.schema.rows == 4


def test_other_units_cannot_be_aligned_or_stacked() -> None:
    cards = {**CARDS, "h": card("h", "H", 1, unit="household"), "n": card("n", "N", 1, normaliser="ascii-lower-strip")}
    for name in ("h", "n"):
        for relation in (a.Align(A, a.Table(name), "inner", ()), a.Stack((A, a.Table(name)))):
            with pytest.raises(PlanError, match=r"plan\.unit"):
                typed(relation, cards)


def test_a_reference_table_is_looked_up_and_its_keys_are_unique_after_clipping() -> None:
    """Keys that storage makes equal would multiply rows: only the first of them is kept."""
    cards = {**CARDS, "r": card("r", "", 1, unit="none", key=("x",), columns=CARDS["a"].columns[1:])}
    relation = a.Lookup(A, ("x",), a.Reference("r", ("x",), ("c",)), ("colour",))
    found = analyse(a.VectorSum(relation, (a.Count("n"),), "1", ("colour",)), cards)
    engine = Engine()
    engine.load("a", CARDS["a"], rows(id=["p"], x=[3]), b"k", b"contract")
    engine.load("r", cards["r"], pa.table({"x": [3, 7, 9], "c": ["red", "blue", "blue"]}), b"k", b"contract")
    assert sum(engine.run(found).values) == 1
    assert found.claims["A"].bounds[0].l1 == 2
    with pytest.raises(PlanError, match=r"plan\.unit"):
        typed(a.Table("r"), cards)
    with pytest.raises(PlanError, match=r"plan\.lookup"):
        typed(a.Lookup(A, ("x",), a.Reference("b", ("x",), ("c",)), ("colour",)), cards)


def test_a_key_stands_once_in_public_rows() -> None:
    twice = a.PublicRows(((a.Number("1"), a.Number("5")), (a.Number("1.0"), a.Number("6"))))
    with pytest.raises(PlanError, match="twice"):
        typed(a.Lookup(A, ("x",), twice, ("y",)), CARDS)


def test_splits_with_one_salt_agree_across_tables_and_share_no_unit() -> None:
    people = [f"p{number}" for number in range(60)]
    engine = Engine()
    for name in ("a", "b"):
        engine.load(name, CARDS[name], rows(id=people), name.encode(), b"contract")

    def count(relation: a.Relation) -> int:
        return engine.run(analyse(a.VectorSum(relation, (a.Count("n"),), "1"), CARDS)).values[0]

    def part(source: a.Relation, take: int) -> a.Relation:
        return a.Split(source, 2, (take,), "s")

    assert count(part(A, 0)) + count(part(A, 1)) == 60
    assert count(a.Align(part(A, 0), part(B, 0), "inner", ())) == count(part(A, 0)) > 10
    assert count(a.Align(part(A, 0), part(B, 1), "inner", ())) == 0


def test_which_rows_of_a_unit_are_kept_depends_on_nothing_the_plan_does_not_use() -> None:
    """What was measured beside the kept column orders nothing: it is in no ``uses``, so no tier would stand for it."""
    per_colour = a.PerUnit(
        A2, (a.UnitMeasure("w", "max", a.Col("z")), a.UnitMeasure("m", "max", a.Col("x"))), ("c",)
    )  # fmt: skip
    kept = a.Cap(a.Select(per_colour, ("w", "m")), 1)
    numbered = a.Filter(
        a.Window(a.Select(per_colour, ("w", "m")), (), (a.RowNumber("k"),)), a.Compare("eq", a.Col("k"), a.Number("1"))
    )
    wide = {"a2": msgspec.structs.replace(CARDS["a2"], columns=(*CARDS["a2"].columns, WEIGHT))}
    for relation in (kept, numbered):
        plan = a.VectorSum(relation, (a.Sum("s", a.Col("m")),), "1")
        found = analyse(plan, wide)
        assert ("a2", "z") not in found.uses
        sums = set()
        for weights in ([0, 9], [9, 0]):
            engine = Engine()
            table = rows(id=["p", "p"], x=[1, 3], c=["red", "blue"]).append_column("z", pa.array(weights))
            engine.load("a2", wide["a2"], table, b"k", b"contract")
            sums.add(engine.run(found).values)
            engine.close()
        assert len(sums) == 1
