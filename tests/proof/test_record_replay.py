"""Record and replay (privacy.md section 8 c): with the noise fixed, neighbours look the same from outside the gate.

``CLOISTER_REPLAY_PAIRS`` sets the number of pairs of neighbours (12 by default; 500 nightly), each with several plans.
"""

from __future__ import annotations

import datetime
import os
import random
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from fit_checks import FitPlanner
from mutants import mutated
from replay_world import Record, divergence, overspent, run
from vault_fuzzing import Planner, make_card, make_rows, neighbour, to_arrow
from vault_world import PURPOSE, World

from cloister.contract.card import Card
from cloister.plan import algebra as a
from cloister.plan import codec
from cloister.vault import engine, fit, release, thresholds

PAIRS = int(os.environ.get("CLOISTER_REPLAY_PAIRS", "12"))
PLANS = 5
FITS = max(2, PAIRS // 4)
TABLE = "fuzz.rows"
SCRIPT = (
    a.VectorSum(a.Table(TABLE), (a.Count("n"),), "1/100"),
    a.VectorSum(a.Table(TABLE), (a.Count("n"), a.Mean("y", a.Col("y"))), "1/100", ("c",)),
)


class Pair:
    """A world, and two tables for its vaults that differ in all rows of one unit."""

    def __init__(self, root: Path, seed: int, size: int | None = None) -> None:
        rng = random.Random(seed)
        card = make_card(rng)
        # A sealed column lies on a grid with zero, and no aggregate of tier 4 leaves.
        columns = tuple(
            msgspec.structs.replace(
                column, tier=min(column.tier, 3), **({"low": "0", "high": "6"} if column.name == "z" else {})
            )
            for column in card.columns
            if column.name != "note"
        )
        self.card = msgspec.structs.replace(card, name=TABLE, columns=columns, purposes=(PURPOSE,), row_limit=1000)
        rows = [ada(self.card)] if size == 1 else make_rows(self.card, rng, size or rng.choice([2, 5, 30, 60]))
        other = neighbour(self.card, rows, rng)
        self.tables = [{TABLE: to_arrow(self.card, content, rng)} for content in (rows, other)]
        self.root, self.rng = root, rng
        self.world = World(root, card=self.card, data=pa.concat_tables(self.tables[0][TABLE]).slice(0, 0), serve=False)
        self.document = self.world.sign(self.world.contract())

    def records(self, plans: list[a.Plan]) -> tuple[Record, Record]:
        documents = [codec.encode(plan) for plan in plans]
        first, second = (run(self.world, self.document, documents, rows, self.root / "brokers") for rows in self.tables)
        return first, second

    def check(self, plans: list[a.Plan]) -> Record:
        first, second = self.records(plans)
        assert not (found := divergence(first, second)), found
        assert not (found := overspent(first, second)), found
        return first


def ada(card: Card) -> dict[str, object]:
    """A row with a value in every column."""
    values = {"bool": True, "string": "red", "date": datetime.date(2024, 1, 9), "int": 2, "decimal": 1.5}
    return {**{column.name: values[column.type] for column in card.columns}, "id": "ada"}


def test_neighbours_cannot_be_told_apart_by_anything_but_the_noise(tmp_path, record_property):
    """Random plans: same questions to the brokers, queries, shapes, prices, deadlines, codes and bytes."""
    plans = replies = events = 0
    for seed in range(PAIRS):
        pair = Pair(tmp_path / str(seed), seed)
        planner = Planner(pair.card, pair.rng)
        asked = [planner.plan()[0] for _ in range(PLANS)]
        # The first once more: it is recalled, and that shows only that it was asked before.
        record = pair.check([*asked, asked[0]])
        plans += len(record.inputs)
        events += len(record.seen)
        replies += sum(event[0] == "reply" for event in record.seen)
    assert replies > plans / 2, "most plans must get as far as an answer"
    record_property("plans", plans)
    record_property("events compared", events)


def test_fits_of_neighbours_ask_and_cost_the_same(tmp_path):
    """Random fits: with the noise fixed every step asks the same, and all steps together are paid for."""
    answered = 0
    for seed in range(FITS):
        pair = Pair(tmp_path / str(seed), seed)
        planner = FitPlanner(pair.card, pair.rng)
        record = pair.check([planner.fit()[0] for _ in range(2)])
        answered += sum(event[0] == "reply" for event in record.seen)
        assert sum(event[0] == "noise" for event in record.seen) % 4 == 0  # a Gram, the classes and two gradients
    assert answered >= FITS


def test_a_step_that_is_paid_for_in_part_is_caught(tmp_path):
    """One unit is all there is: what its rows add to every step is the distance."""
    pair = Pair(tmp_path, 5, 1)
    asked = a.Fit(
        a.Table(TABLE),
        (a.Col("x"), a.Col("e")),
        a.Compare("eq", a.Col("e"), a.Text("black")),
        a.Logistic(steps=2),
        "1/100",
    )
    pair.check([asked])
    with mutated(fit, "(price.sigmas[index],)", "(price.sigmas[index] / 8,)"):
        first, second = pair.records([asked])
    assert overspent(first, second)


def test_the_record_holds_the_whole_path(tmp_path):
    """The comparison is about something: every step, every message, the query, the noise, the wait and the reply."""
    record = Pair(tmp_path, 3, 30).check(list(SCRIPT))
    kinds = {event[0] for event in record.seen}
    assert kinds == {"plan", "step", "ask", "told", "load", "sleep", "query", "exact", "noise", "reply"}
    assert [event[1] for event in record.seen if event[0] == "step"] == [*range(1, 12), *range(1, 12)]
    paths = [event[2].rpartition("/")[2] for event in record.seen if event[0] == "ask"]
    assert paths == ["hello", "session", "append", "settle", "append", "settle"]


MUTANTS = [
    # Whether noise is drawn, the shape, the wait, the code, the order of messages or the reply itself depends on data.
    (thresholds, "noisy = add_noise(exact, price.sigmas)",
     "noisy = add_noise(exact, price.sigmas) if any(exact.values) else [0] * len(exact.values)"),
    (release, "    deadline.wait()  #", "    exact.values[0] and deadline.wait()  #"),
    (release, "answer = settle(state, question, receipt, envelope, source)",
     "answer = settle(state, question, receipt, envelope, source) if exact.values[0] else"
     " __import__('cloister.vault.recall').vault.recall.Answer(receipt, envelope, (), False)"),
    (release, "        at(8)  # noise", "        (exact.values[0] and state.brokers) and at(8)"),
    (release, "deadline = Deadline(cost.deadline_ms)",
     "deadline = Deadline(cost.deadline_ms + state.engine.run(analysis).values[0])"),
    (engine, "    values = [0] * (frame.cells * width)",
     "    rows = list(rows)\n    values = [0] * (frame.cells * width if rows else width)"),
    (engine, "            values = assemble(analysis.layout, query, rows)",
     "            values = assemble(analysis.layout, query, rows)\n            1 // any(values)"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new"), MUTANTS, ids=range(len(MUTANTS)))
def test_control_flow_that_depends_on_data_is_caught(tmp_path, module, old, new):
    """One unit is all there is; without it every sum is zero."""
    pair = Pair(tmp_path, 5, 1)
    pair.check(list(SCRIPT))
    with mutated(module, old, new):
        first, second = pair.records(list(SCRIPT))
    assert divergence(first, second)


def test_a_scale_that_is_too_small_is_caught(tmp_path):
    """The distance of the inputs in units of the scale is what was really spent."""
    pair = Pair(tmp_path, 5, 1)
    with mutated(thresholds, "add_noise(exact, price.sigmas)", "add_noise(exact, [s / 3 for s in price.sigmas])"):
        first, second = pair.records([a.VectorSum(a.Table(TABLE), (a.Count("n"),), "1/100")])
    assert not divergence(first, second)
    assert overspent(first, second)
