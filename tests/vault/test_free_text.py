"""Free text from table to release: stored, filtered, capped by, ordered by, stacked, and closed by ``Recode``."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from vault_fuzzing import TABLE, Bench, make_card, make_rows, neighbour, to_arrow, violations

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.vault.analyse import analyse
from cloister.vault.canonical import flat
from cloister.vault.interpret import interpret

ROWS = a.Table(TABLE)
NOTE = a.Col("note")
LABELS = a.Derive(ROWS, (("label", a.Recode(NOTE, ("red", "", "b\x00lue", "it's", "😀" * 200))),))
EARLIER = a.Window(ROWS, (("note", "asc"),), (a.Lag("before", NOTE), a.RowNumber("place")))
LATER = a.Window(ROWS, (("note", "desc"),), (a.Lag("before", NOTE, -1), a.RowNumber("place")))
BOTH = a.Stack(
    (
        a.Select(a.Derive(ROWS, (("label", NOTE),)), ("label",)),
        a.Select(a.Derive(ROWS, (("label", a.Col("c")),)), ("label",)),
    )
)


def count(relation: a.Relation, *keys: str) -> a.VectorSum:
    return a.VectorSum(relation, (a.Count("n"),), "1/100", keys)


PLANS = {
    "key": count(LABELS, "label"),
    "filter": count(a.Filter(ROWS, a.Matches("contains", a.Letters("lower", NOTE), "e"))),
    "listed": count(a.Filter(ROWS, a.IsIn(NOTE, (a.Text("; DROP TABLE t0; --"), a.Text("\x0b\x0c"), a.Text("é"))))),
    "cap": count(a.Cap(ROWS, 1, ("note",), 2)),
    "cap-by-two": count(a.Cap(ROWS, 1, ("note", "e"), 1), "e"),
    "earlier": count(a.Filter(EARLIER, a.Compare("eq", NOTE, a.Col("before")))),
    "later": count(a.Filter(LATER, a.Compare("ne", NOTE, a.Col("before")))),
    "stack": count(a.Derive(BOTH, (("is", a.Compare("eq", a.Col("label"), a.Text("red"))),)), "is"),
    "length": a.VectorSum(ROWS, (a.Sum("letters", a.Length(NOTE)), a.Count("n", NOTE)), "1/100"),
    "number": a.VectorSum(ROWS, (a.Sum("parsed", a.Parse(NOTE, "-100", "100", "0.5")),), "1/100"),
}


@pytest.mark.parametrize("name", PLANS)
def test_free_text_means_the_same_in_engine_and_interpreter_and_keeps_the_claims(name):
    bench, seen = Bench(), 0
    for seed in range(12):
        rng = random.Random(seed)
        card = make_card(rng)
        rows = make_rows(card, rng, 60)
        analysis = analyse(PLANS[name], {TABLE: card})
        tables = [bench.load(card, to_arrow(card, content, rng), rng.randint(1, 4))
                  for content in (rows, neighbour(card, rows, rng))]  # fmt: skip
        results = [table.exact(analysis) for table in tables]
        assert not violations(analysis, *results)
        for table, found in zip(tables, results, strict=True):
            assert interpret(PLANS[name], {TABLE: card}, {TABLE: table.rows()}) == found
            seen += sum(map(bool, found))
            table.drop()
    assert seen


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (count(ROWS, "note"), "plan.key"),
        (count(a.PerUnit(ROWS, (a.UnitMeasure("n", "count"),), ("note",))), "plan.key"),
        (a.VectorSum(ROWS, (a.Sum("s", NOTE),), "1/100"), "plan.types"),
        (count(a.Filter(ROWS, a.Compare("eq", a.Col("id"), a.Text("Unit0")))), "plan.opaque"),
        (count(a.Derive(ROWS, (("l", a.Length(a.Col("id"))),))), "plan.opaque"),
    ],
)
def test_free_text_is_no_key_and_a_unit_key_is_no_text(plan, code):
    """Which texts occur would itself be an answer about people."""
    with pytest.raises(PlanError) as refusal:
        analyse(plan, {TABLE: make_card(random.Random(0))})
    assert refusal.value.code == code


def test_texts_of_all_parts_together_may_be_longer_than_32_bits_count() -> None:
    """A column of parts is one array: with 32-bit offsets, two GiB of text would not load."""
    parts = pa.chunked_array([["a"], [None, "b"]], pa.string())
    assert flat(parts).type == pa.large_string()
    assert flat(parts).to_pylist() == ["a", None, "b"]
