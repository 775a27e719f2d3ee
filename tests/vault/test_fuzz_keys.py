"""Differential fuzz of released keys: neighbours differ in at most as many values as claimed, by one unit each.

Random plans, with free text, nulls and ties among the keys; what the engine counts is what the interpreter counts.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from vault_fuzzing import TABLE, Bench, Planner, make_card, make_rows, neighbour, to_arrow

from cloister.errors import PlanError
from cloister.plan import algebra as a
from cloister.plan.layout import counted, label_of
from cloister.plan.typing import typed
from cloister.vault.analyse import analyse
from cloister.vault.compile import compile_plan
from cloister.vault.engine import assemble_found
from cloister.vault.interpret import rows_of
from cloister.vault.interpret_scalars import index_of

PAIRS = 60


def draw(planner: Planner, rng: random.Random) -> tuple[a.ThresholdKeys, object]:
    """A random plan for keys with its analysis."""
    while True:
        plan, _ = planner.plan()
        names = [name for name, grid in planner.schema.columns.items() if grid.kind != "opaque"]
        keys = tuple(rng.sample(names, min(len(names), rng.choice([1, 1, 2]))))
        asked = a.ThresholdKeys(plan.source, keys, rng.randint(1, 3), "1/10", "1/1000000")
        try:
            return asked, analyse(asked, planner.cards)
        except PlanError:
            continue


def counts(loaded, analysis) -> Counter:
    query = compile_plan(analysis, {TABLE: loaded.store.tables[loaded.name]})
    found = assemble_found(analysis.layout, loaded.cursor.execute(query.sql, query.parameters).fetchall())
    assert list(found.labels) == sorted(set(found.labels))
    return Counter(dict(zip(found.labels, found.values, strict=True)))


def reference(loaded, plan, analysis) -> Counter:
    rows = rows_of(typed(counted(plan, {TABLE: loaded.card}), {TABLE: loaded.card}), {TABLE: loaded.rows()})
    units = {
        (row.unit, tuple(label_of(_code(row.values[key.name], key.grid), key.grid) for key in analysis.layout.keys))
        for row in rows
    }
    return Counter(label for _, label in units)


def _code(value, grid):
    return value if grid.kind == "text" else index_of(value, grid)


@pytest.mark.timeout(600)
def test_neighbours_differ_in_as_many_values_as_claimed():
    bench, texts, moved = Bench(), 0, 0
    for seed in range(PAIRS):
        rng = random.Random(f"keys {seed}")
        card = make_card(rng)
        rows = make_rows(card, rng, rng.choice([5, 12, 30, 60]))
        tables = [bench.load(card, to_arrow(card, content, rng), rng.randint(1, 4))
                  for content in (rows, neighbour(card, rows, rng))]  # fmt: skip
        planner = Planner(card, rng)
        for _ in range(4):
            plan, analysis = draw(planner, rng)
            first, second = (counts(table, analysis) for table in tables)
            for table, found in zip(tables, (first, second), strict=True):
                assert found == reference(table, plan, analysis), plan
            change = [abs(first[label] - second[label]) for label in first | second]
            (bound,) = analysis.bounds
            assert sum(change) <= bound.l1 <= plan.groups, plan
            assert max(change, default=0) <= 1, plan
            texts += any(key.grid.kind == "text" for key in analysis.layout.keys)
            moved += sum(change) == bound.l1
        for table in tables:
            table.drop()
    assert texts > PAIRS / 10
    assert moved > PAIRS, "the claims are reached"
